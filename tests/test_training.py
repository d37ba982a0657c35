"""The real loop on a shrunken real config: resume, meshes, cropping."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flashing import flashing_clip
from small_config import options_with

from configs import debug, wavenet_large
from dance2wave import options as options_lib
from dance2wave import pipeline
from dance2wave.datasets import augment
from dance2wave.errors import InputError
from dance2wave.pose.features import MOTION_DIM
from dance2wave.training import cost, loop, sharding, step, window, workdir
from dance2wave.training.programs import Programs, make_programs
from dance2wave.training.state import TrainState


def make_options(data_dir, **changes):
  return options_with(dataset__data_dir=str(data_dir), **changes)


def losses(folder):
  lines = (folder / 'metrics.jsonl').read_text().splitlines()
  rows = [json.loads(line) for line in lines]
  return {row['step']: row['loss'] for row in rows if 'loss' in row}


@pytest.mark.parametrize(
  'mesh',
  [
    {},
    pytest.param({'mesh__fsdp': 2, 'mesh__tensor': 2}, marks=pytest.mark.slow),
  ],
)
def test_resumed_run_is_bit_identical(data_dir, tmp_path, mesh):
  options = make_options(data_dir, train__save_every=5, **mesh)
  straight = loop.train(options, tmp_path / 'straight')
  checkpoints = tmp_path / 'resumed'
  with pytest.raises(KeyboardInterrupt):
    _train_until(options, checkpoints, 13)
  resumed = loop.train(options, checkpoints)
  assert losses(checkpoints) == losses(tmp_path / 'straight')
  for a, b in zip(
    jax.tree.leaves(straight.params), jax.tree.leaves(resumed.params)
  ):
    np.testing.assert_array_equal(a, b)


def _train_until(options, folder, last):
  """Train, interrupted when batch `last` is asked for."""
  real = pipeline.Pipeline.iterate

  def interrupted(self, start_step=0, **kwargs):
    batches = real(self, start_step, **kwargs)
    for number, batch in enumerate(batches, start_step + 1):
      if number > last:
        raise KeyboardInterrupt
      yield batch

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(pipeline.Pipeline, 'iterate', interrupted)
    loop.train(options, folder)


SHORT = {
  'train__batch_size': 8,
  'train__pose_steps': 2,
  'train__joint_steps': 2,
}


@pytest.fixture(scope='module')
def losses_of_one_device(data_dir, tmp_path_factory):
  folder = tmp_path_factory.mktemp('one')
  loop.train(make_options(data_dir, **SHORT), folder)
  return losses(folder)


@pytest.mark.slow  # of one step, and of runs on meshes, others ask the same
@pytest.mark.parametrize('data, fsdp', [(8, 1), (2, 4)])
def test_eight_devices_have_the_same_loss_as_one(
  data_dir, tmp_path, losses_of_one_device, data, fsdp
):
  mesh = {'mesh__data': data, 'mesh__fsdp': fsdp}
  many = make_options(data_dir, **SHORT, **mesh)
  loop.train(many, tmp_path)
  assert losses(tmp_path).keys() == losses_of_one_device.keys()
  for number, loss in losses_of_one_device.items():
    assert losses(tmp_path)[number] == pytest.approx(loss, rel=1e-5)


def test_loss_falls_and_the_heads_learn(data_dir, tmp_path):
  options = make_options(
    data_dir, train__pose_steps=60, train__joint_steps=0, train__eval_every=60
  )
  loop.train(options, tmp_path)
  curve = losses(tmp_path)
  assert np.mean([curve[i] for i in range(51, 61)]) < 0.8 * curve[1]


def test_too_many_devices_are_refused(data_dir, tmp_path):
  options = make_options(data_dir, train__batch_size=16, mesh__data=16)
  with pytest.raises(InputError, match='mesh'):
    loop.train(options, tmp_path)


@pytest.mark.slow
def test_bfloat16_computes_and_keeps_float32_parameters(data_dir, tmp_path):
  options = make_options(
    data_dir, train__compute_dtype='bfloat16', train__pose_steps=0
  )
  trained = loop.train(options, tmp_path)
  dtypes = {leaf.dtype for leaf in jax.tree.leaves(trained.params)}
  assert dtypes == {jnp.dtype('float32')}
  assert all(np.isfinite(v) for v in losses(tmp_path).values())


@pytest.mark.parametrize('start', [0, 7, 30, 'last'])
def test_window_keeps_sound_and_context_together(data_dir, start):
  """Bugs 2 and 3 of the predecessor: crops apart, shapes that do not fit.

  The context counts frames and the sound counts samples, so that a cut can
  be checked value by value.
  """
  options = make_options(
    data_dir, wave__is_levelled=False, wave__is_whitened=False
  )
  frames, hop = 50, options.samples_per_frame
  context = jnp.arange(frames, dtype=jnp.float32)[None, :, None]
  samples = jnp.arange(frames * hop, dtype=jnp.float32)[None]
  batch = {
    'audio_BT': samples,
    'valid_BF': jnp.ones((1, frames), bool),
    'has_audio_B': jnp.array([True]),
  }
  if start == 'last':
    (start,) = np.asarray(window.last_start(options, batch)).tolist()
  mesh, starts = sharding.make_mesh(1, 1), jnp.array([start])
  cut = window.cut_window(options, mesh, context, None, batch, starts)
  count = cut['context'].shape[1] - 1
  assert cut['audio'].shape == cut['past'].shape == (1, count * hop)
  np.testing.assert_array_equal(
    cut['context'][0, :, 0], start + np.arange(count + 1)
  )
  np.testing.assert_array_equal(
    cut['audio'][0], start * hop + np.arange(count * hop)
  )
  expected_past = start * hop + np.arange(count * hop) - 1
  expected_past[0] = 0  # heard by no sample that is scored
  np.testing.assert_array_equal(cut['past'][0], expected_past)
  lead = options.receptive_frames if start else 0
  np.testing.assert_array_equal(
    cut['mask'][0], np.arange(count * hop) >= lead * hop
  )


def test_the_start_of_a_crop_is_drawn_as_often_as_a_lead_of_frames():
  options, frames = make_options('', wave__layers_per_cycle=10), 50
  lead, clips = options.receptive_frames, 20_000
  valid = jnp.ones((clips, frames), bool).at[-1, 5:].set(False)
  starts = window.draw_start(options, jax.random.key(0), {'valid_BF': valid})
  assert starts[-1] == 0  # of a clip that is shorter than a window
  last = frames - options.window_frames - 1
  shares = np.bincount(starts, minlength=last + 1) / clips
  places = lead + last + 1
  wanted = np.where(np.arange(last + 1) == 0, lead + 1, 1) / places
  assert lead > 1 and shares.shape == wanted.shape
  np.testing.assert_allclose(shares, wanted, atol=4 * (places * clips) ** -0.5)


def test_large_config_has_the_sizes_that_it_says():
  options = options_lib.parse(wavenet_large.get_config())
  _, init = step.split_model(options, MOTION_DIM)
  shapes = jax.eval_shape(init, jax.random.key(0))
  assert shapes['wave']['taps'].shape == (30, 128, 128)
  count = sum(leaf.size for leaf in jax.tree.leaves(shapes))
  assert 5e6 < count < 2e7


def test_large_config_shards_its_step_over_eight_devices():
  """Parameters split over fsdp, a step that compiles, FLOPs that fall."""
  config = wavenet_large.get_config().to_dict()
  config['wave'] |= {'num_cycles': 1, 'layers_per_cycle': 3}
  config['pose'] |= {'num_blocks': 1, 'stem_dilations': (1,)}
  config['train'] |= {'batch_size': 8, 'audio_crop_s': 0.1}
  config['dataset'] |= {'crop_s': 1.0}
  flops = {}
  for fsdp in (1, 8):
    config['mesh'] |= {'fsdp': fsdp}
    options = options_lib.parse(config)
    mesh = sharding.make_mesh(1, fsdp)
    made = make_programs(options, mesh)
    kernel = made.abstract.params['wave']['taps']
    assert kernel.sharding.shard_shape(kernel.shape)[-1] == 128 // fsdp
    batch = cost.abstract_batch(options, mesh)
    lowered = made.steps[True].lower(made.abstract, batch, jax.random.key(0))
    # What one device does is told without compiling it, to 2 %.
    program = lowered.compile() if fsdp > 1 else lowered
    flops[fsdp] = program.cost_analysis()['flops']
  assert flops[8] < 0.2 * flops[1]


def test_workdir_config_may_change_only_where_it_is_harmless(tmp_path):
  options = make_options('')
  workdir.open_workdir(tmp_path, options)
  workdir.open_workdir(
    tmp_path, make_options('', sample__temperature=0.5, mesh__data=2)
  )
  # Nothing has been trained yet, so that a corrected config is welcome.
  workdir.open_workdir(tmp_path, make_options('', train__clip_norm=2.0))
  workdir.open_workdir(tmp_path, make_options('', sample__temperature=0.5))
  (tmp_path / 'checkpoints' / '10').mkdir(parents=True)
  with pytest.raises(InputError, match='learning_rate'):
    workdir.open_workdir(tmp_path, make_options('', train__learning_rate=1.0))
  assert workdir.read_options(tmp_path).sample.temperature == 0.5


def test_a_worn_past_differs_by_gain_and_noise_and_its_targets_do_not():
  config = debug.get_config().to_dict()
  config['train'] |= {'past_noise': 0.0, 'past_gain_db': 0.0}
  plain = options_lib.parse(config)
  config['train'] |= {'past_noise': 0.1, 'past_gain_db': 6.0}
  worn = options_lib.parse(config)
  key = jax.random.key(0)
  past = jnp.full((64, 400), 0.1)
  bent = window._worn(worn, key, past)
  clean = window.bend(past, plain.wave.levels)
  gains, noises = np.mean(bent - clean, axis=1), np.std(bent, axis=1)
  assert gains.std() > 0.03 and abs(gains.mean()) < 0.03
  assert noises.min() < 0.01 and 0.08 < noises.max() < 0.11
  nothing = window._worn(plain, key, past)
  np.testing.assert_allclose(nothing, clean, atol=1e-7)


def test_only_crops_that_are_trained_on_are_augmented(monkeypatch):
  monkeypatch.setattr(loop, 'open_split', lambda *_: [flashing_clip(3.0)])
  for split, asked in (('train', True), ('train', False), ('validation', True)):
    options = make_options('', dataset__is_augmented=asked)
    made = loop.make_pipeline(options, split).augmentation
    assert (made != augment.NONE) == (split == 'train' and asked)


SPLITS = {'train': 3, 'validation': 4}


class Fed:
  """A stand-in for the batches of a split, which tell which one it is."""

  source = ()

  def __init__(self, split):
    self._split = split

  def batch(self, step):
    return {'clip_index_B': np.array([SPLITS[self._split]])}

  def iterate(self, start, then):
    return (then(self.batch(step)) for step in range(start, 99))


def test_the_averaged_weights_are_scored_on_clips_that_are_held_out(
  monkeypatch, tmp_path
):
  """Of a run, and of a run that is found finished."""
  scored = []

  def step_once(state, batch, key):
    params, ema = {'w': state.params['w'] + 1}, {'w': state.ema['w'] + 10}
    step = state.step + 1
    figures = {'loss': 0.0, 'skipped': False, 'grad_norm': 0.0}
    return dataclasses.replace(
      state, step=step, params=params, ema=ema
    ), figures

  def evaluate(params, batch):
    scored.append((float(params['w']), int(batch['clip_index_B'][0])))
    return {'nll': (params['w'], 1.0)}

  def make_state(key=None):
    start = {'w': jnp.zeros(())}
    return TrainState(jnp.int32(0), start, start, start)

  mesh = sharding.make_mesh(1, 1)
  made = Programs(
    None,
    make_state,
    sharding.with_shardings(jax.eval_shape(make_state), mesh),
    dict.fromkeys((False, True), step_once),
    evaluate,
  )
  monkeypatch.setattr(loop, 'make_programs', lambda *_: made)
  monkeypatch.setattr(loop, 'make_pipeline', lambda _, split, mesh: Fed(split))
  options = make_options('', train__pose_steps=1, train__joint_steps=1)
  for _ in range(2):
    trained = loop.train(options, tmp_path)
    assert trained.figures == {'nll': 20.0} and trained.params['w'] == 20.0
  assert scored == [(20.0, SPLITS['validation'])] * 2
