"""The training loop: from options to trained weights, resuming if it can."""

import contextlib
import dataclasses
import pathlib
import time

import jax
import tqdm
from absl import logging

from dance2wave import options as options_lib
from dance2wave import pipeline
from dance2wave.datasets import augment, mixture, opening
from dance2wave.errors import Interrupted
from dance2wave.options import Options
from dance2wave.training import hosts, sharding
from dance2wave.training.checkpoint import Checkpoints
from dance2wave.training.held_out import mean_over_batches
from dance2wave.training.interrupt import hold_signals
from dance2wave.training.pace import Pace
from dance2wave.training.programs import make_programs, make_schedule
from dance2wave.training.skips import Skips
from dance2wave.training.warm_start import warm_start
from dance2wave.training.writer import MetricWriter

# Which split of a built dataset is held out during training.
_HELD_OUT = 'validation'


@dataclasses.dataclass(frozen=True)
class Trained:
  """What training leaves behind.

  Attributes:
    graphdef: of the model.
    params: the averaged weights.
    num_steps: steps made.
    figures: held-out figures after the last step.
    seconds: spent in this call.
  """

  graphdef: object
  params: dict
  num_steps: int
  figures: dict
  seconds: float


def open_split(options: Options, split: str) -> mixture.Mixture:
  """Open a split of every dataset, as one mixture.

  Clips without sound are left out where the WaveNet is trained.

  Where a dataset's split is empty, one that is nearer to training is used: a
  folder of a few videos may leave nothing for validation or test. Figures on
  what was trained on are better than none as long as it is said.
  """
  needs_sound = options.train.joint_steps > 0
  open_one = opening.open_with_sound if needs_sound else opening.open_source
  parts = []
  order = ('test', 'validation', 'train')
  for name in options.dataset.names:
    data_dir = options.dataset.data_dir or None
    there = opening.split_names(name, data_dir)
    nearer = [word for word in order[order.index(split) :] if word in there]
    chosen = nearer[0] if nearer else split
    if chosen != split:
      logging.warning(
        'There are no %s clips in %s: %s is used instead', split, name, chosen
      )
    parts.append(open_one(name, data_dir, split=chosen))
  return mixture.Mixture(parts, options.dataset.weights)


def make_pipeline(options: Options, split: str, mesh=None):
  """Return the batches of one split; only training crops are augmented.

  Of every batch this process gets what its devices of the mesh hold.
  """
  source = open_split(options, split)
  augmented = options.dataset.is_augmented and split == 'train'
  return pipeline.Pipeline(
    source,
    batch_size=options.train.batch_size,
    crop_s=options.dataset.crop_s,
    sample_rate_hz=options.sample_rate_hz,
    pose_rate_hz=options.pose_rate_hz,
    styles=options.styles,
    seed=options.seed,
    rows=mesh and sharding.batch_rows(mesh, options.train.batch_size),
    augmentation=augment.Augmentation() if augmented else augment.NONE,
    cache_bytes=options.dataset.cache_bytes,
    need_audio=options.train.joint_steps > 0,
    with_motion=not options.train.is_audio_only,
    with_features='audio_features' in options.pose.describes,
  )


def dropout_key(options: Options):
  """Return the key of all that steps draw."""
  return jax.random.key(options.seed + 1)


def restore_or_init(options, checkpoints, programs):
  """Return the newest saved state, or a new one drawn from the seed.

  A new one starts from the runs of `train.init_from`, and says what it took.
  """
  if checkpoints.latest_step() is not None:
    config = options_lib.to_dict(options)
    return checkpoints.restore_state(programs.abstract, config=config)
  state = hosts.together(programs.make_state)(jax.random.key(options.seed))
  state, coverages = warm_start(options, state)
  for coverage in coverages if hosts.is_first() else ():
    print(coverage, flush=True)
  return state


class _HeldOut:
  """Held-out figures over fixed batches of the validation split."""

  def __init__(self, options, evaluate, mesh):
    batches = make_pipeline(options, _HELD_OUT, mesh)
    self._batches = [
      batches.batch(i) for i in range(options.train.eval_batches)
    ]
    self._step = hosts.together(evaluate)
    self._mesh = mesh

  def __call__(self, params) -> dict[str, float]:
    rows = [
      jax.device_get(self._step(params, _place(batch, self._mesh)))
      for batch in self._batches
    ]
    return mean_over_batches(rows)


def _place(batch, mesh):
  """Put on the mesh what the steps read of a batch."""
  unused = ('beats_BK', 'num_beats_B')
  kept = {k: v for k, v in batch.items() if k not in unused}
  return sharding.shard_batch(kept, mesh)


def _with_placed(mesh):
  """Return what makes (batch, the same on the mesh) of a batch."""
  return lambda batch: (batch, _place(batch, mesh))


class _Log:
  """Read the figures of step N - 1 when step N has been dispatched."""

  def __init__(self, options, writer, schedule, progress, skips, pace):
    self._every = options.train.log_every
    self._last = options.train.num_steps
    self._writer, self._schedule = writer, schedule
    self._progress, self._waiting = progress, None
    self._skips, self._pace = skips, pace

  def push(self, number, figures, batch, *, is_kept=False):
    """Note the figures of a step that has been dispatched."""
    self.flush()
    self._skips.push(number, figures, batch)
    if is_kept or number % self._every == 0 or number == self._last:
      self._waiting = (number, figures)

  def add(self, figures):
    """Put more figures into the row of the step that was pushed last."""
    self._waiting = (self._waiting[0], {**self._waiting[1], **figures})

  def flush(self):
    """Write what waits; stop where too many steps were skipped."""
    self._skips.flush()
    if self._waiting is None:
      return
    number, figures = self._waiting
    self._waiting = None
    figures = {k: float(v) for k, v in jax.device_get(figures).items()}
    figures['skipped'] = self._skips.take()
    rate = float(self._schedule(number - 1))
    with self._pace.spend('logging'):
      self._writer.write_scalars(number, {**figures, 'learning_rate': rate})
    shown = {k: figures[k] for k in ('loss', 'nll', 'phase') if k in figures}
    self._progress.set_postfix({k: f'{v:.3f}' for k, v in shown.items()})


def train(
  options: Options,
  workdir: pathlib.Path,
  profile: tuple[int, int] | None = None,
) -> Trained:
  """Train until `train.num_steps`, going on from the newest checkpoint.

  Args:
    options: checked options.
    workdir: where checkpoints/, metrics.jsonl, timing.jsonl and tensorboard/
      go.
    profile: first and last step of which a trace is written to profile/.

  Returns:
    The averaged weights and the last held-out figures.

  Raises:
    Interrupted: on SIGTERM or SIGINT, after the current step was saved.
    InputError: `train.max_skipped` steps in a row were skipped.
  """
  began = time.monotonic()
  mesh = sharding.make_mesh(*dataclasses.astuple(options.mesh))
  made = make_programs(options, mesh)
  steps = {k: hosts.together(one_step) for k, one_step in made.steps.items()}
  schedule, key = make_schedule(options), dropout_key(options)
  held_out = _HeldOut(options, made.evaluate, mesh)
  is_first = hosts.is_first()
  with (
    hold_signals() as held,
    Checkpoints(
      workdir / 'checkpoints', max_to_keep=options.train.max_to_keep
    ) as checkpoints,
    MetricWriter(workdir, active=is_first) as writer,
    Pace(workdir, options.train.log_every, profile, is_first) as pace,
    contextlib.ExitStack() as stack,
  ):
    state = restore_or_init(options, checkpoints, made)
    start, last = int(state.step), options.train.num_steps
    writer.rewind(start)
    pace.resume(start, last)
    pipe = make_pipeline(options, 'train', mesh)
    batches = stack.enter_context(
      contextlib.closing(pipe.iterate(start, then=_with_placed(mesh)))
    )
    skips = Skips(options.train.max_skipped, pipe.source)
    figures = {}
    with tqdm.tqdm(
      total=last, initial=start, desc='train', unit='step', disable=not is_first
    ) as progress:
      log = _Log(options, writer, schedule, progress, skips, pace)
      for number in range(start + 1, last + 1):
        pace.begin(number)
        with pace.spend('input'):
          batch, placed = next(batches)
        is_joint = number > options.train.pose_steps
        state, news = steps[is_joint](state, placed, key)
        with pace.spend('saving'):  # the step before, while this one is made
          checkpoints.wait()
        stopped = held.signal or hosts.preempted(number)
        is_saved = number % options.train.save_every == 0 or number == last
        is_saved = is_saved or stopped is not None
        is_scored = number % options.train.eval_every == 0 or number == last
        log.push(number, news, batch, is_kept=is_saved or is_scored)
        progress.update()
        if is_scored:
          with pace.spend('saving'):
            figures = held_out(state.ema)
          log.add({f'eval_{k}': v for k, v in figures.items()})
        if is_saved:
          log.flush()
          with pace.spend('saving'):
            checkpoints.save(number, state, options_lib.to_dict(options))
        pace.end(number, news)
        if stopped is not None:
          checkpoints.wait()
          raise Interrupted(stopped, f'step {number} is saved')
      log.flush()
    figures = figures or held_out(state.ema)
    checkpoints.wait()
    stopped = held.signal or hosts.preempted(last + 1)
    if stopped:  # Since the last step was made.
      raise Interrupted(stopped, f'step {last} is saved')
  seconds = time.monotonic() - began
  return Trained(made.graphdef, state.ema, last, figures, seconds)
