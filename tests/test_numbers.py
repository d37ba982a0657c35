"""NaN and infinity in a batch, a loss, gradients or weights; odd sounds."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flashing import flashing_clip
from test_checkpoint import abstract, assert_same_bits, make_params, make_state

from configs import debug
from dance2wave import experiment, pipeline
from dance2wave import options as options_lib
from dance2wave.datasets import mixture
from dance2wave.errors import InputError
from dance2wave.sampling import offline
from dance2wave.training import (
  loop,
  programs,
  sharding,
  state,
  step,
  workdir,
)
from dance2wave.training.checkpoint import Checkpoints
from dance2wave.training.programs import make_programs
from dance2wave.training.skips import Skips


def make_options(**train):
  config = debug.get_config().to_dict()
  config['train'] |= {'pose_steps': 4, 'joint_steps': 4, 'save_every': 2}
  config['train'] |= {'eval_every': 8, **train}
  config['sample'] |= {'num_clips': 1}
  config['dataset']['is_augmented'] = False
  return options_lib.parse(config)


def clip_list(audio=None):
  made = [flashing_clip(5.0, index=i) for i in range(4)]
  if audio is not None:
    made = [{**clip, 'audio': audio(len(clip['audio']))} for clip in made]
  return made


@pytest.fixture
def on_clips(monkeypatch):
  """Train on a list of clips in place of a built dataset."""

  def use(clips):
    source = mixture.Mixture([clips])
    monkeypatch.setattr(loop, 'open_split', lambda options, split: source)

  use(clip_list())
  return use


@pytest.fixture(scope='module')
def machinery():
  """Options, both compiled steps, and a function that makes a new state."""
  options = make_options()
  made = make_programs(options, sharding.make_mesh(1, 1))
  new = functools.partial(made.make_state, jax.random.key(0))
  return options, made.steps, new


@pytest.fixture(scope='module')
def batch(machinery):
  with pytest.MonkeyPatch.context() as patch:
    source = mixture.Mixture([clip_list()])
    patch.setattr(loop, 'open_split', lambda options, split: source)
    made = loop.make_pipeline(machinery[0], 'train').batch(0)
  return {k: v for k, v in made.items() if k not in ('beats_BK', 'num_beats_B')}


def made_step(machinery, batch, *, is_joint):
  """Return what a step makes of a new state, placed as in the loop."""
  _, steps, new = machinery
  placed = sharding.shard_batch(batch, sharding.make_mesh(1, 1))
  return steps[is_joint](new(), placed, jax.random.key(1))


def poisoned(batch, name, place, value):
  values = np.array(batch[name])
  values.reshape(-1)[place] = value
  return {**batch, name: values}


@pytest.mark.parametrize(
  'is_joint', [pytest.param(False, marks=pytest.mark.slow), True]
)
def test_a_good_step_changes_weights_average_and_optimizer(
  machinery, batch, is_joint
):
  after, figures = made_step(machinery, batch, is_joint=is_joint)
  assert not figures['skipped'] and np.isfinite(figures['loss'])
  for part in ('params', 'ema', 'opt_state'):
    pairs = zip(
      jax.tree.leaves(getattr(machinery[2](), part)),
      jax.tree.leaves(getattr(after, part)),
    )
    assert any(np.any(a != b) for a, b in pairs)


def test_the_rate_is_that_of_the_step_whatever_was_skipped(machinery, batch):
  _, steps, new = machinery
  placed = sharding.shard_batch(batch, sharding.make_mesh(1, 1))

  def moved_at(number):
    before = dataclasses.replace(new(), step=jnp.int32(number))
    start = jax.device_get(before.params)
    after, _ = steps[False](before, placed, jax.random.key(1))
    pairs = zip(jax.tree.leaves(start), jax.tree.leaves(after.params))
    return max(float(np.abs(a - b).max()) for a, b in pairs)

  schedule = programs.make_schedule(machinery[0])
  wanted = float(schedule(1) / schedule(0))
  # The optimizer has counted no update before either.
  assert moved_at(1) / moved_at(0) == pytest.approx(wanted, rel=0.2)
  assert wanted > 1.4


@pytest.mark.parametrize('is_joint', [False, True])
@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
  'name', ['motion_BFM', 'audio_BT', 'onset_BF', 'level_BF', 'label_BS']
)
@pytest.mark.parametrize('place', [0, -1])
def test_a_batch_that_is_no_number_changes_nothing(
  machinery, batch, is_joint, name, value, place
):
  bad = poisoned(batch, name, place, value)
  after, figures = made_step(machinery, bad, is_joint=is_joint)
  assert figures['skipped'] and int(after.step) == 1
  before = machinery[2]()
  for part in ('params', 'ema', 'opt_state'):
    assert_same_bits(getattr(after, part), getattr(before, part))


def test_gradients_that_are_no_numbers_change_nothing():
  def loss_fn(params, batch, key):
    return jnp.sum(jnp.sqrt(jnp.abs(params['w']))), {}  # no slope at zero

  optimizer = optax.adam(1e-3)
  params = {'w': jnp.array([0.0, 1.0])}
  before = state.TrainState(
    jnp.int32(3), params, params, optimizer.init(params)
  )
  key, batch = jax.random.key(0), {'x': jnp.ones(1)}
  train = make_options().train
  after, figures = step._update(
    lambda step: loss_fn, optimizer, train, before, batch, key
  )
  assert np.isfinite(figures['loss']) and not np.isfinite(figures['grad_norm'])
  assert figures['skipped'] and int(after.step) == 4
  assert_same_bits(after.params, before.params)
  assert_same_bits(after.opt_state, before.opt_state)


@pytest.mark.parametrize('number', [0, 10**6])
def test_a_step_draws_anew_and_its_weights_are_averaged(number):
  """The first weights are forgotten sooner than `ema_decay` alone does."""

  def loss_fn(params, batch, key):
    return jnp.sum(params['w']) + jax.random.uniform(key), {}

  train, optimizer = make_options().train, optax.sgd(1.0)
  params, ema = {'w': jnp.ones(1)}, {'w': jnp.full(1, 5.0)}
  before = state.TrainState(
    jnp.int32(number), params, ema, optimizer.init(params)
  )
  made = functools.partial(step._update, lambda step: loss_fn, optimizer, train)
  rest = {'x': jnp.ones(1)}, jax.random.key(0)
  after, figures = made(before, *rest)
  decay = train.ema_decay if number else 0.1
  assert after.params['w'] == 0.0
  np.testing.assert_allclose(after.ema['w'], decay * 5.0, rtol=1e-6)
  _, again = made(before, *rest)
  _, later = made(dataclasses.replace(before, step=after.step), *rest)
  assert again['loss'] == figures['loss'] != later['loss']


def poison_steps(monkeypatch, numbers):
  """Put a NaN into the sound of the batches of these steps."""
  real = pipeline.Pipeline.batch

  def batch(self, at):
    made = real(self, at)
    if at + 1 not in numbers or not hasattr(self, '_trains'):
      return made
    return poisoned(made, 'audio_BT', 0, np.nan)

  def make(options, split, *mesh):
    made = real_make(options, split, *mesh)
    if split == 'train':
      object.__setattr__(made, '_trains', True)
    return made

  real_make = loop.make_pipeline
  monkeypatch.setattr(pipeline.Pipeline, 'batch', batch)
  monkeypatch.setattr(loop, 'make_pipeline', make)


def rows_of(folder):
  lines = (folder / 'metrics.jsonl').read_text().splitlines()
  return [json.loads(line) for line in lines]


@pytest.mark.parametrize(
  'log_every', [pytest.param(1, marks=pytest.mark.slow), 4]
)
def test_a_run_goes_on_after_skipped_steps_and_counts_them(
  on_clips, tmp_path, monkeypatch, caplog, log_every
):
  poison_steps(monkeypatch, {2, 3, 7})
  options = make_options(max_skipped=3, log_every=log_every, save_every=8)
  trained = loop.train(options, tmp_path)
  assert trained.num_steps == 8
  skipped = {row['step']: row['skipped'] for row in rows_of(tmp_path)}
  by_step = {1: 0, 2: 1, 3: 1, 4: 0, 5: 0, 6: 0, 7: 1, 8: 0}
  assert skipped == (by_step if log_every == 1 else {4: 2, 8: 1})
  said = [r.getMessage() for r in caplog.records if 'skipped' in r.getMessage()]
  assert [line.split(':')[0] for line in said] == [
    f'Step {n} is skipped' for n in (2, 3, 7)
  ]
  assert 'flash_' in said[0]


def test_too_many_skipped_in_a_row_stop_the_run_and_name_the_clips(
  on_clips, tmp_path, monkeypatch
):
  poison_steps(monkeypatch, {1, *range(3, 9)})
  options = make_options(max_skipped=3)
  with pytest.raises(InputError, match='step 5 is the last of 3') as error:
    loop.train(options, tmp_path)
  for word in ('audio_BT of', 'learning_rate', 'train.max_skipped'):
    assert word in str(error.value)
  assert str(error.value).count('flash_') == 1  # the one in row 0
  with Checkpoints(tmp_path / 'checkpoints', max_to_keep=2) as checkpoints:
    assert checkpoints.latest_step() == 4


def test_a_diverged_loss_names_every_clip_of_its_batch(batch):
  skips = Skips(2, clip_list())
  figures = {'skipped': True, 'loss': np.inf, 'grad_norm': np.nan}
  skips.push(1, figures, batch)
  skips.push(2, figures, batch)
  with pytest.raises(InputError, match='loss inf, grad_norm nan') as error:
    skips.flush()
  for index in batch['clip_index_B']:
    assert f'flash_{index}' in str(error.value)


@pytest.mark.parametrize('part', ['params', 'ema', 'opt_state'])
@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_a_checkpoint_never_holds_what_is_no_number(tmp_path, part, value):
  good = make_state(make_params(), step=1)
  spoiled = jax.tree.map(
    lambda x: (
      x.at[(0,) * x.ndim].set(value)
      if jnp.issubdtype(x.dtype, jnp.floating)
      else x
    ),
    getattr(good, part),
  )
  bad = state.TrainState(
    **{
      name: spoiled if name == part else getattr(good, name)
      for name in ('step', 'params', 'ema', 'opt_state')
    }
  )
  with Checkpoints(tmp_path, max_to_keep=1) as checkpoints:
    checkpoints.save(1, good, {})
    with pytest.raises(InputError, match=f'{part}/.* of step 2 hold'):
      checkpoints.save(2, bad, {})
    assert checkpoints.latest_step() == 1
    assert_same_bits(checkpoints.restore_state(abstract(good)), good)


def silence(length):
  return np.zeros(length, np.int16)


def full_scale(length):
  return np.where(np.arange(length) // 20 % 2, 32767, -32768).astype(np.int16)


def constant(length):
  return np.full(length, 32767, np.int16)


@pytest.mark.parametrize(
  'sound',
  [
    silence,
    pytest.param(full_scale, marks=pytest.mark.slow),
    pytest.param(constant, marks=pytest.mark.slow),
  ],
)
def test_odd_sounds_train_and_sample(on_clips, tmp_path, sound):
  on_clips(clip_list(sound))
  options = make_options()
  trained = loop.train(options, tmp_path)
  for row in rows_of(tmp_path):
    assert row['skipped'] == 0
    assert all(value is not None for value in row.values())
  clips = experiment.read_clips(options, 'test')
  draw = offline.make_draw(options)
  generator = offline.Generator(options, trained.graphdef, trained.params, draw)
  (audio_T,) = experiment.sample_clips(generator, clips)
  assert audio_T.shape == clips[0].audio_T.shape
  assert np.all(np.abs(audio_T) <= 1)


def test_a_run_from_before_the_key_can_be_read(tmp_path):
  options = make_options()
  config = options_lib.to_dict(options)
  del config['train']['max_skipped']
  workdir.write_json(tmp_path / 'config.json', config)
  assert workdir.read_options(tmp_path) == options
