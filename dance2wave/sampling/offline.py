"""Whole clips at once: motion in, waveforms out."""

import dataclasses
import functools
import math
import operator
import threading
from concurrent import futures

import jax
import jax.numpy as jnp
import numpy as np

from dance2wave import cores
from dance2wave.errors import InputError
from dance2wave.options import Options
from dance2wave.sampling import search
from dance2wave.sampling.engines import make_engine
from dance2wave.sampling.listen import BLOCK_FRAMES, Listener, concatenated
from dance2wave.sampling.play import Player
from dance2wave.sampling.xla import Draw


@dataclasses.dataclass(frozen=True)
class Dance:
  """What sampling needs of one clip.

  Attributes:
    motion_FM: motion features at pose rate.
    num_samples: length of the waveform that is wanted.
    style: index of the style that is wanted, -1 to let the dance decide.
    tempo_bpm: tempo that is wanted, NaN to let the dance decide.
    energy_db: mean level of the sound that is wanted, in dB of full scale,
      NaN to let the dance decide.
    chords: that are wanted, four beats each, such as 'Am,F,C,G'; '' for none.
  """

  motion_FM: np.ndarray
  num_samples: int
  style: int = -1
  tempo_bpm: float = math.nan
  energy_db: float = math.nan
  chords: str = ''


def make_draw(options: Options, **changes) -> Draw:
  """Return how the options want samples drawn, with some of it changed."""
  chosen = {
    'temperature': options.sample.temperature,
    'top_p': options.sample.top_p,
    'guidance': options.sample.guidance,
    'style_strength': options.sample.style_strength,
    'weights': options.sample.weights,
  }
  chosen |= {k: v for k, v in changes.items() if v is not None}
  if chosen['guidance'] != 1.0 and options.train.context_dropout == 0:
    raise InputError(
      f'guidance={chosen["guidance"]} for a model that was trained with '
      'train.context_dropout=0; expected 1; train with about 0.1 to use it'
    )
  is_mixture = options.wave.output == 'mixture'
  return Draw(**chosen, levels=options.wave.levels, is_mixture=is_mixture)


def _collate(dances, num_frames):
  """Pad motion to `num_frames` (F, B, M); valid (F, B) tells which are real."""
  width = dances[0].motion_FM.shape[1]
  motion = np.zeros((num_frames, len(dances), width), np.float32)
  valid = np.zeros((num_frames, len(dances)), bool)
  for row, dance in enumerate(dances):
    frames = min(len(dance.motion_FM), num_frames)
    motion[:frames, row] = dance.motion_FM[:frames]
    valid[:frames, row] = True
  return motion, valid


class Generator:
  """Draw waveforms for batches of dances.

  Args:
    options: of the model.
    graphdef: of the model.
    params: its parameters.
    draw: how samples are drawn.
    engine: one of `ENGINES`.
    devices: over which clips are spread; None for all accelerators of this
      process.
    best_of: candidates of which the best is kept, block by block; see
      `sampling/search.py`. None for as many as in the options; 1 is no search.

  Attributes:
    options: of the model.
    engine: what draws samples.
    engine_name: 'cpu', 'gpu' or 'xla'.
    best_of: candidates of each clip.
    num_devices: over which clips are spread.
    is_on_accelerator: whether these are no processors.
    listener: what hears the dance.
    lead_samples: how much earlier sound is played than it was drawn.
  """

  def __init__(
    self,
    options,
    graphdef,
    params,
    draw,
    engine='auto',
    devices=None,
    best_of=None,
  ):
    self.options = options
    self.best_of = options.sample.best_of if best_of is None else best_of
    self.lead_samples = round(options.sample.lead_s * options.sample_rate_hz)
    self.engine = make_engine(engine, graphdef, params, draw)
    self.engine_name = self.engine.name
    self.listener = Listener(graphdef, params, draw.style_strength)
    self._devices = list(devices or _devices())
    if self.engine_name == 'cpu':  # it knows no others
      self._devices = [self.engine.device]
    self.num_devices = len(self._devices)
    self.is_on_accelerator = self._devices[0].platform != 'cpu'
    self._engines = [self.engine] + [
      make_engine(
        self.engine_name, graphdef, jax.device_put(params, device), draw
      )
      for device in self._devices[1:]
    ]

  def num_frames(self, num_samples):
    """Return how many pose frames are drawn for so many samples."""
    return -(
      -(num_samples + self.lead_samples) // self.options.samples_per_frame
    )

  def keys(self, seed, rows):
    """Return the key (B,) of the draws of the clips at some places."""
    root = jax.random.key(seed)
    return jax.vmap(lambda row: jax.random.fold_in(root, row))(jnp.array(rows))

  def listen(self, dances, num_samples=0):
    """Return what is `Heard` of padded dances, numpy.

    F covers the longest clip, or `num_samples` if they are more, and one
    closing frame.
    """
    longest = max(num_samples, *(dance.num_samples for dance in dances))
    frames = self.num_frames(longest) + 1
    ahead = self.listener.look_ahead
    motion, valid = _collate(dances, frames + ahead)
    state = self.listener.start(
      len(dances),
      [dance.style for dance in dances],
      [dance.tempo_bpm for dance in dances],
      [dance.energy_db for dance in dances],
    )
    heard, _ = self.listener.run(motion, valid, state)
    return heard.map(lambda x: x[ahead:])

  def generate(
    self, dances, *, seed=0, progress=None, rows=None, as_if_alone=False
  ):
    """Return one float32 waveform of `num_samples` for every dance.

    Args:
      dances: list of `Dance`.
      seed: of the draws; a clip's sound depends on it and on the clip's
        place in the list, not on the other clips.
      progress: called with the share that is done after every piece.
      rows: places of the dances that are wanted; None for all.
      as_if_alone: whether each sounds as if it was the only one of a list.
    """
    rows = range(len(dances)) if rows is None else rows
    if not len(rows):
      return []
    longest = max(dance.num_samples for dance in dances)
    dances = [dances[row] for row in rows]
    # What is heard in larger batches may be rounded otherwise.
    batches = [[dance] for dance in dances] if as_if_alone else [dances]
    with futures.ThreadPoolExecutor(cores.usable()) as threads:
      listen = functools.partial(self.listen, num_samples=longest)
      heard = concatenated(list(threads.map(listen, batches)))
    style = jnp.array([dance.style for dance in dances], jnp.int32)
    keys = self.keys(seed, [0] * len(rows) if as_if_alone else rows)
    drawn = (len(heard.gain_FB) - 1) * len(dances) * self.best_of
    shares = _Shares(drawn, progress)
    groups, each = groups_of(len(dances), self.num_devices, self.engine)

    def one_group(number, group):
      mine = heard.map(lambda x: x[:, group])
      which = number % self.num_devices
      context = np.moveaxis(mine.context_FBC, 0, 1)
      inputs = jax.device_put(
        (context, style[group], keys[group]), self._devices[which]
      )
      with jax.default_device(self._devices[which]):
        if self.best_of == 1:
          drawn_BT = self._draw_group(
            self._engines[which], *inputs, shares, each
          )
        else:
          drawn_BT = self._draw_best(
            self._engines[which], *inputs, mine, dances[group], shares, each
          )
      chords = [dance.chords for dance in dances[group]]
      return Player(self.options, chords).play(drawn_BT, mine)

    with futures.ThreadPoolExecutor(len(groups)) as threads, shares:
      played = threads.map(one_group, range(len(groups)), groups)
      audio_BT = np.concatenate(list(played))[:, self.lead_samples :]
    return [audio_BT[i, : d.num_samples] for i, d in enumerate(dances)]

  def _draw_group(self, engine, context, style, keys, shares, each):
    """Draw a group of clips: (B, T)."""
    draw = self._drawer(engine, context, style, keys, shares)
    return draw(0, context.shape[1] - 1, engine.start(len(style), each))[0]

  def _drawer(self, engine, context, style, keys, shares):
    """Return what draws `count` frames from `first` on, piece by piece."""

    def draw(first, count, state):
      pieces = []
      for begin in range(first, first + count, BLOCK_FRAMES):
        size = min(BLOCK_FRAMES, first + count - begin)
        part = context[:, begin : begin + size + 1]
        uniform = engine.draw_uniform(keys, begin, BLOCK_FRAMES)[:size]
        samples, state = engine.run(part, style, uniform, state)
        pieces.append(np.asarray(samples))
        shares.add(size * len(style))
      return np.concatenate(pieces, axis=1), state

    return draw

  def _judge(self, dances, rhythm_FBR):
    hop = self.options.samples_per_frame
    return search.Judge(
      sample_rate_hz=self.options.sample_rate_hz,
      hop=hop,
      lead_samples=self.lead_samples,
      rhythm_FBR=rhythm_FBR,
      num_frames_B=np.array([dance.num_samples // hop for dance in dances]),
    )

  def _draw_best(
    self, engine, context, style, keys, heard, dances, shares, each
  ):
    """Draw several candidates of a group of clips, keep the best: (B, T)."""
    judge = self._judge(dances, heard.rhythm_FBR)
    context, style = (jnp.repeat(x, self.best_of, 0) for x in (context, style))
    keys = search.candidate_keys(keys, self.best_of)
    heard = heard.map(lambda x: np.repeat(x, self.best_of, axis=1))
    chords = [dance.chords for dance in dances for _ in range(self.best_of)]
    player = Player(self.options, chords)

    def play(drawn_BT, first):
      now = slice(first, first + drawn_BT.shape[1] // judge.hop + 1)
      return player.play(drawn_BT, heard.map(operator.itemgetter(now)))

    return search.draw_best(
      engine,
      self._drawer(engine, context, style, keys, shares),
      play,
      player.fork,
      judge,
      num_frames=context.shape[1] - 1,
      block_frames=round(search.BLOCK_S * self.options.pose_rate_hz),
      best_of=self.best_of,
      cores=each,
    )


def _devices():
  """Return what clips are spread over; virtual processors share the cores."""
  count = 1 if jax.default_backend() == 'cpu' else None
  return jax.local_devices()[:count]


def groups_of(num_clips, num_devices, engine):
  """Split clips over devices, and over processor cores: each step is small.

  An accelerator takes all of its clips at once, but beside one the `cpu` engine
  still draws with all cores. Of a few clips it may be the reading of weights
  that takes an engine's time: then cores that share these draw more than cores
  that share the clips.

  Args:
    num_clips: at least one.
    num_devices: that may be used.
    engine: what draws.

  Returns:
    A slice of the clips for each group, and how many cores each may use.
  """
  by_cores = engine.name == 'cpu' or jax.default_backend() == 'cpu'
  workers = cores.usable() if by_cores else 1
  teams, each = workers // engine.team, 1
  if engine.team > 1 and teams and engine.team_pays(-(-num_clips // teams)):
    workers, each = teams, engine.team
  count = max(1, min(max(workers, num_devices), num_clips))
  size = -(-num_clips // count)
  return [slice(i, i + size) for i in range(0, num_clips, size)], each


class _Shares:
  """Count finished frames of all groups and tell the share that is done.

  When its context is left no group goes on: after Ctrl-C nobody wants them.
  """

  def __init__(self, total, progress):
    self._total, self._done = total, 0
    self._progress, self._lock = progress, threading.Lock()
    self._is_left = False

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self._is_left = True

  def add(self, count):
    """Note that `count` frames of clips are done."""
    if self._is_left:
      raise futures.CancelledError
    if self._progress is None:
      return
    with self._lock:
      self._done += count
      self._progress(self._done / self._total)
