import json
import os
import pathlib
import signal
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from dance2wave.errors import InputError
from dance2wave.training import optimizer as optimizer_lib
from dance2wave.training import sharding
from dance2wave.training.checkpoint import Checkpoints
from dance2wave.training.state import TrainState

OPTIMIZER = optimizer_lib.make_optimizer(
  lambda count: 1e-3, weight_decay=0.1, clip_norm=1.0
)


def make_params(width=16, dtype=np.float32, seed=0):
  rng = np.random.default_rng(seed)

  def draw(dtype, *shape):
    return jnp.asarray(rng.standard_normal(shape).astype(dtype))

  return {
    'layers': {
      0: {'kernel': draw(dtype, 8, width)},
      1: {'kernel': draw(jnp.bfloat16, width, 8)},
      10: {'bias': draw(np.float32, 3)},
    },
    'taps': draw(np.float32, 2, 8, 16),
  }


def scaled(tree, factor):
  def scale(leaf):
    return jnp.asarray((np.asarray(leaf) * factor).astype(leaf.dtype))

  return jax.tree.map(scale, tree)


def make_state(params=None, step=7):
  """A state in which no two trees are equal."""
  params = make_params() if params is None else params
  rng = np.random.default_rng(step)
  opt_state = jax.tree.map(
    lambda x: jnp.asarray(rng.uniform(1, 9, x.shape).astype(x.dtype)),
    OPTIMIZER.init(params),
  )
  return TrainState(jnp.int32(step), params, scaled(params, 0.5), opt_state)


def abstract(tree):
  return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree)


def assert_same_bits(tree, other):
  assert jax.tree.structure(tree) == jax.tree.structure(other)
  for a, b in zip(jax.tree.leaves(tree), jax.tree.leaves(other)):
    assert a.dtype == b.dtype
    assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


@pytest.fixture
def checkpoints(tmp_path):
  with Checkpoints(tmp_path / 'checkpoints', max_to_keep=2) as checkpoints:
    yield checkpoints


@pytest.fixture(scope='module')
def saved(tmp_path_factory):
  """A directory with one checkpoint of `make_state`."""
  directory = tmp_path_factory.mktemp('run') / 'checkpoints'
  with Checkpoints(directory, max_to_keep=2) as checkpoints:
    checkpoints.save(7, make_state(), {'styles': ('a', 'b'), 'x': None})
  return directory


def test_a_state_survives_bit_by_bit_with_its_types_and_int_keys(saved):
  with Checkpoints(saved, max_to_keep=2) as checkpoints:
    restored = checkpoints.restore_state(abstract(make_state()))
    assert checkpoints.restore_config() == {'styles': ['a', 'b'], 'x': None}
  assert isinstance(restored, TrainState)
  assert list(restored.params['layers']) == [0, 1, 10]
  assert_same_bits(restored, make_state())


@pytest.mark.parametrize('shape', [(1, 1), (8, 1)])
def test_a_state_moves_to_another_mesh(checkpoints, shape):
  state = make_state()
  here = sharding.shardings(state, sharding.make_mesh(*shape))
  checkpoints.save(7, jax.device_put(state, here), {})
  target = sharding.with_shardings(state, sharding.make_mesh(2, 4))
  restored = checkpoints.restore_state(target)
  assert_same_bits(restored, state)
  muon = restored.opt_state[1].inner_states['muon'].inner_state[0]
  kernel = muon.mu['layers'][0]['kernel']
  assert kernel.sharding.shard_shape(kernel.shape) == (8, 4)
  for leaf, wanted in zip(jax.tree.leaves(restored), jax.tree.leaves(target)):
    assert leaf.sharding.is_equivalent_to(wanted.sharding, leaf.ndim)


def test_sampling_needs_neither_the_mesh_nor_the_optimizer(checkpoints):
  state = make_state()
  places = sharding.shardings(state, sharding.make_mesh(2, 4))
  checkpoints.save(7, jax.device_put(state, places), {})
  ema = checkpoints.restore_ema(abstract(state.ema))
  assert_same_bits(ema, state.ema)
  assert all(len(x.devices()) == 1 for x in jax.tree.leaves(ema))


def without_bias():
  params = make_params()
  del params['layers'][10]
  return params


@pytest.mark.parametrize(
  ('make', 'name', 'there', 'here'),
  [
    (
      lambda: make_params(width=24),
      'layers/0/kernel',
      'float32[8, 16]',
      'float32[8, 24]',
    ),
    (
      lambda: make_params(dtype=jnp.bfloat16),
      'layers/0/kernel',
      'float32[8, 16]',
      'bfloat16[8, 16]',
    ),
    (without_bias, 'layers/10/bias', 'float32[3]', 'absent'),
    (
      lambda: {**make_params(), 'style': jnp.ones((2, 2))},
      'style',
      'absent',
      'float32[2, 2]',
    ),
  ],
)
def test_another_model_is_refused_by_name(saved, make, name, there, here):
  params = make()
  with Checkpoints(saved, max_to_keep=2) as checkpoints:
    with pytest.raises(InputError) as error:
      checkpoints.restore_state(abstract(make_state(params)))
    assert f'params/{name} is {there} there and {here} here' in str(error.value)
    assert str(saved) in str(error.value)
    assert '--workdir' in str(error.value)
    with pytest.raises(InputError) as error:
      checkpoints.restore_ema(abstract(params))
    assert f'ema/{name} is {there} there and {here} here' in str(error.value)


def test_another_optimizer_is_refused_by_name(saved):
  params = make_params()
  other = TrainState(jnp.int32(0), params, params, {'momentum': params})
  with (
    Checkpoints(saved, max_to_keep=2) as checkpoints,
    pytest.raises(InputError, match='opt_state/momentum/layers/0/kernel'),
  ):
    checkpoints.restore_state(abstract(other))


def test_reading_where_nothing_was_saved_says_so_and_leaves_no_trace(tmp_path):
  directory = tmp_path / 'no' / 'run'
  state = abstract(make_state())
  with Checkpoints(directory, max_to_keep=1) as checkpoints:
    assert checkpoints.latest_step() is None
    for restore in (
      lambda: checkpoints.restore_state(state),
      lambda: checkpoints.restore_ema(state.ema),
      checkpoints.restore_config,
    ):
      with pytest.raises(InputError, match=f'no checkpoint in {directory}'):
        restore()
  assert not (tmp_path / 'no').exists()


def test_an_item_that_a_checkpoint_lacks_is_named(checkpoints):
  manager = ocp.CheckpointManager(checkpoints.directory)
  tree = {'a': jnp.ones(2)}
  manager.save(3, args=ocp.args.Composite(other=ocp.args.StandardSave(tree)))
  manager.close()
  with Checkpoints(checkpoints.directory, max_to_keep=1) as foreign:
    with pytest.raises(InputError, match=r'holds no item ema'):
      foreign.restore_ema(tree)
    with pytest.raises(InputError, match=r'holds no item config'):
      foreign.restore_config()


def test_a_step_that_is_not_there_is_refused(saved):
  with (
    Checkpoints(saved, max_to_keep=2) as checkpoints,
    pytest.raises(InputError, match=r'no checkpoint of step 5 .* one of 7'),
  ):
    checkpoints.restore_config(5)


def test_the_newest_steps_and_every_period_are_kept(tmp_path):
  state = make_state()
  with Checkpoints(tmp_path, max_to_keep=2, keep_period=4) as checkpoints:
    for step in (2, 4, 6, 8, 10):
      assert checkpoints.save(step, state, {'step': step})
      assert checkpoints.latest_step() == step
  assert sorted(p.name for p in tmp_path.iterdir()) == ['10', '4', '8']
  with Checkpoints(tmp_path, max_to_keep=None) as checkpoints:
    assert checkpoints.restore_config(4) == {'step': 4}
    checkpoints.save(12, state, {})
  assert len(list(tmp_path.iterdir())) == 4


def test_steps_only_go_forward(saved):
  with Checkpoints(saved, max_to_keep=2) as checkpoints:
    assert not checkpoints.save(7, make_state(), {'other': 1})
    assert 'other' not in checkpoints.restore_config(7)
    with pytest.raises(InputError, match=r'step 6 .* the later step 7'):
      checkpoints.save(6, make_state(), {})


def test_a_state_may_be_donated_while_it_is_being_written(checkpoints):
  add_one = jax.jit(
    lambda tree: jax.tree.map(lambda x: x + 1, tree), donate_argnums=0
  )
  params = {str(i): jnp.zeros((512, 512)) for i in range(8)}
  state = TrainState(jnp.int32(0), params, {'a': jnp.zeros(2)}, ())
  wanted = abstract(state)
  checkpoints.save(1, state, {})
  for _ in range(20):
    state = add_one(state)
  jax.block_until_ready(state)
  restored = checkpoints.restore_state(wanted)
  assert all(not np.any(x) for x in jax.tree.leaves(restored))


def fail(*_, **__):
  raise OSError('no space left on device')


@pytest.mark.parametrize('max_to_keep', [1, 2])
def test_a_save_that_fails_in_the_background_is_raised_and_not_counted(
  tmp_path, monkeypatch, max_to_keep
):
  state = make_state()
  with Checkpoints(tmp_path, max_to_keep=max_to_keep) as checkpoints:
    checkpoints.save(1, state, {})
    checkpoints.wait()
    with monkeypatch.context() as patch:
      patch.setattr(ocp.StandardCheckpointHandler, 'finalize', fail)
      assert checkpoints.save(2, state, {})
      with pytest.raises(OSError, match='no space left'):
        checkpoints.wait()
    assert checkpoints.latest_step() == 1
    assert_same_bits(checkpoints.restore_state(abstract(state)), state)
    assert checkpoints.save(2, state, {})
    assert checkpoints.latest_step() == 2
  names = sorted(path.name for path in tmp_path.iterdir())
  assert names == ['1', '2'][-max_to_keep:]


def test_the_next_save_raises_what_the_last_one_met(checkpoints, monkeypatch):
  with monkeypatch.context() as patch:
    patch.setattr(ocp.StandardCheckpointHandler, 'finalize', fail)
    checkpoints.save(1, make_state(), {})
    with pytest.raises(OSError, match='no space left'):
      checkpoints.save(2, make_state(), {})
  assert checkpoints.latest_step() is None


def test_a_config_that_json_cannot_hold_is_refused_before_anything_is_written(
  tmp_path,
):
  with Checkpoints(tmp_path, max_to_keep=1) as checkpoints:
    with pytest.raises(TypeError, match='not JSON serializable'):
      checkpoints.save(1, make_state(), {'rate': jnp.ones(2)})
    assert checkpoints.latest_step() is None
  assert list(tmp_path.iterdir()) == []


def test_leaving_reports_a_failed_save(tmp_path, monkeypatch):
  monkeypatch.setattr(ocp.StandardCheckpointHandler, 'finalize', fail)
  with (
    pytest.raises(OSError, match='no space left'),
    Checkpoints(tmp_path, max_to_keep=1) as checkpoints,
  ):
    checkpoints.save(1, make_state(), {})


PROGRAM = """
import os, signal, sys, time
import jax, jax.numpy as jnp
from absl import app
from dance2wave.training.checkpoint import Checkpoints
from dance2wave.training.state import TrainState

def state(step):
  params = {i: jnp.full((256, 256), 1.0 * step) for i in range(16)}
  return TrainState(jnp.int32(step), params, params, ())

def main(argv):
  with Checkpoints(argv[1], max_to_keep=2) as checkpoints:
    checkpoints.save(1, state(1), {'step': 1})
    checkpoints.wait()
    checkpoints.save(2, state(2), {'step': 2})
    if len(argv) > 2:
      time.sleep(float(argv[2]))
      os.kill(os.getpid(), signal.SIGKILL)
    checkpoints.restore_state(jax.eval_shape(lambda: state(2)))

app.run(main)
"""


def run_program(*arguments):
  return subprocess.run(
    [sys.executable, '-c', PROGRAM, *map(str, arguments)],
    capture_output=True,
    text=True,
    timeout=120,
    cwd=pathlib.Path(__file__).parents[1],
    env={**os.environ, 'JAX_PLATFORMS': 'cpu'},
  )


@pytest.mark.parametrize('delay_s', [0.0, 0.03])
def test_a_killed_save_leaves_a_whole_step_and_can_be_repeated(
  tmp_path, delay_s
):
  done = run_program(tmp_path, delay_s)
  assert done.returncode == -signal.SIGKILL, done.stderr
  with Checkpoints(tmp_path, max_to_keep=2) as checkpoints:
    step = checkpoints.latest_step()
    assert step in (1, 2)
    params = {i: jnp.full((256, 256), 1.0 * step) for i in range(16)}
    state = TrainState(jnp.int32(step), params, params, ())
    assert_same_bits(checkpoints.restore_state(abstract(state)), state)
    assert checkpoints.restore_config() == {'step': step}
    checkpoints.save(2, state, {'step': 2})
    assert checkpoints.latest_step() == 2
  assert sorted(p.name for p in tmp_path.iterdir()) == ['1', '2']


def test_an_entry_point_says_nothing_of_saving_and_restoring(tmp_path):
  done = run_program(tmp_path)
  assert done.returncode == 0, done.stderr
  assert done.stderr == ''
  metadata = json.loads((tmp_path / '2' / '_CHECKPOINT_METADATA').read_text())
  assert metadata['commit_timestamp_nsecs']


@pytest.mark.parametrize('call', ['item_metadata', 'restore'])
def test_a_signal_while_it_reads_is_heard_when_all_is_read(
  checkpoints, monkeypatch, hears_sigint, call
):
  state, done = make_state(), []
  checkpoints.save(7, state, {})
  checkpoints.wait()
  read = getattr(checkpoints._manager, call)

  def interrupted(*args, **kwargs):
    signal.raise_signal(signal.SIGINT)
    done.append(read(*args, **kwargs))
    return done[-1]

  with monkeypatch.context() as patch:
    patch.setattr(checkpoints._manager, call, interrupted)
    with pytest.raises(KeyboardInterrupt):
      checkpoints.restore_state(abstract(state))
  assert len(done) == 1
  assert_same_bits(checkpoints.restore_state(abstract(state)), state)
