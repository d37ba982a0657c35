"""Checkpoints that were damaged, torn or not written, and other models."""

import json
import logging
import os
import pathlib
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_config import options_with
from test_checkpoint import abstract, assert_same_bits, make_params, make_state

from dance2wave import options as options_lib
from dance2wave.errors import InputError
from dance2wave.pose.features import MOTION_DIM
from dance2wave.training import manifest, sharding, step, warm_start, workdir
from dance2wave.training.checkpoint import Checkpoints
from dance2wave.training.state import TrainState

CONFIG = {'wave': {'residual': 8}, 'sample_rate_hz': 8000}


def state_of(step):
  return make_state(make_params(seed=step), step=step)


@pytest.fixture(scope='module')
def two_steps(tmp_path_factory):
  """A directory with the good steps 1 and 2."""
  directory = tmp_path_factory.mktemp('run') / 'checkpoints'
  with Checkpoints(directory, max_to_keep=2) as checkpoints:
    for number in (1, 2):
      checkpoints.save(number, state_of(number), CONFIG)
  return directory


def copied(directory, place):
  """Copy by links; whoever changes a file replaces it."""
  return pathlib.Path(shutil.copytree(directory, place, copy_function=os.link))


def files_of(folder):
  return sorted(p for p in folder.rglob('*') if p.is_file())


def truncated(data, rng):
  return data[: rng.integers(len(data))]


def zeroed(data, rng):
  start = rng.integers(len(data))
  length = rng.integers(len(data) - start) + 1
  changed = data[:start] + bytes(length) + data[start + length :]
  return changed if changed != data else bytes(len(data))


def flipped(data, rng):
  changed = bytearray(data)
  changed[rng.integers(len(data))] ^= 1 << rng.integers(8)
  return bytes(changed)


def deleted(data, rng):
  return None


MUTATIONS = (deleted, truncated, zeroed, flipped)


def mutate(path, mutation, rng):
  data = path.read_bytes()
  changed = mutation(data, rng)
  assert changed != data
  path.unlink()
  if changed is not None:
    path.write_bytes(changed)


def assert_falls_back(directory, changed, caplog, *, is_ema_only):
  """The older step is used, and one warning names the newer and the file."""
  caplog.clear()
  with Checkpoints(directory, max_to_keep=2) as checkpoints:
    if is_ema_only:
      target = abstract(state_of(1).ema)
      restored = checkpoints.restore_ema(target, config=CONFIG)
      assert_same_bits(restored, state_of(1).ema)
    else:
      target = abstract(state_of(1))
      restored = checkpoints.restore_state(target, config=CONFIG)
      assert_same_bits(restored, state_of(1))
    assert checkpoints.latest_step() == 1
  (warning,) = (r for r in caplog.records if r.levelno >= logging.WARNING)
  assert 'step 2 is damaged' in warning.getMessage()
  assert changed in warning.getMessage()
  assert 'step 1 is used' in warning.getMessage()


def sweep(directory, tmp_path, caplog, count, seed):
  """Mutate `count` times; files and mutations take turns."""
  rng = np.random.default_rng(seed)
  names = [p.relative_to(directory / '2') for p in files_of(directory / '2')]
  for i in range(count):
    name = names[i % len(names)]
    # Every file meets every mutation, one after the other.
    mutation = MUTATIONS[(i + i // len(names)) % len(MUTATIONS)]
    place = copied(directory, tmp_path / str(i))
    mutate(place / '2' / name, mutation, rng)
    assert_falls_back(place, str(name), caplog, is_ema_only=bool(i % 2))
    shutil.rmtree(place)


def test_no_mutation_of_any_file_is_read(two_steps, tmp_path, caplog):
  count = len(files_of(two_steps / '2'))
  assert 20 < count < 40
  sweep(two_steps, tmp_path, caplog, count, seed=0)


@pytest.mark.parametrize('mutation', MUTATIONS)
def test_a_damaged_description_is_one_warning_too(
  two_steps, tmp_path, caplog, mutation
):
  """It is read as soon as a folder is opened."""
  place = copied(two_steps, tmp_path / 'run')
  mutate(
    place / '2' / '_CHECKPOINT_METADATA', mutation, np.random.default_rng(0)
  )
  assert_falls_back(place, '_CHECKPOINT_METADATA', caplog, is_ema_only=False)


@pytest.mark.slow
def test_no_mutation_of_two_hundred_is_read(two_steps, tmp_path, caplog):
  sweep(two_steps, tmp_path, caplog, 200, seed=1)


def damage(directory, number):
  """Flip a bit in the largest file of a step; return the file's name."""
  folder = directory / str(number)
  path = max(files_of(folder / 'state'), key=lambda p: p.stat().st_size)
  mutate(path, flipped, np.random.default_rng(number))
  return path.relative_to(folder).as_posix()


def test_where_no_step_is_good_one_error_names_them_all(two_steps, tmp_path):
  place = copied(two_steps, tmp_path / 'run')
  names = [damage(place, number) for number in (1, 2)]
  with Checkpoints(place, max_to_keep=2) as checkpoints:
    for ask in (
      checkpoints.latest_step,
      lambda: checkpoints.restore_state(abstract(state_of(1))),
      lambda: checkpoints.restore_ema(abstract(state_of(1).ema)),
      checkpoints.restore_config,
    ):
      with pytest.raises(InputError, match='no good checkpoint') as error:
        ask()
      for number, name in zip((1, 2), names):
        assert f'step {number} is damaged ({name} ' in str(error.value)
    with pytest.raises(InputError, match='step 2 is damaged'):
      checkpoints.restore_config(2)
  assert sorted(p.name for p in place.iterdir()) == ['1', '2']


@pytest.mark.parametrize('max_to_keep', [1, 2])
def test_a_damaged_step_is_made_again_and_never_counts(
  two_steps, tmp_path, max_to_keep
):
  place = copied(two_steps, tmp_path / 'run')
  damage(place, 2)
  with Checkpoints(place, max_to_keep=max_to_keep) as checkpoints:
    checkpoints.restore_state(abstract(state_of(1)))
    assert sorted(p.name for p in place.iterdir()) == ['1', '2']
    assert checkpoints.save(2, state_of(2), CONFIG)
    assert checkpoints.latest_step() == 2
    assert_same_bits(
      checkpoints.restore_state(abstract(state_of(2))), state_of(2)
    )
  kept = ['1', '2', '2.damaged'][2 - max_to_keep :]
  assert sorted(p.name for p in place.iterdir()) == kept


def test_the_last_good_step_outlives_a_save_that_fails(
  two_steps, tmp_path, monkeypatch
):
  place = copied(two_steps, tmp_path / 'run')
  damage(place, 2)

  def fail(*_):
    raise OSError(28, 'No space left on device')

  with Checkpoints(place, max_to_keep=1) as checkpoints:
    checkpoints.latest_step()
    with monkeypatch.context() as patch:
      patch.setattr(manifest, 'write', fail)
      checkpoints.save(2, state_of(2), CONFIG)
      with pytest.raises(OSError, match='No space left'):
        checkpoints.wait()
    assert checkpoints.latest_step() == 1
    assert checkpoints.save(2, state_of(2), CONFIG)
    assert checkpoints.latest_step() == 2


def test_steps_from_before_manifests_are_used_with_a_warning(
  two_steps, tmp_path, caplog
):
  place = copied(two_steps, tmp_path / 'run')
  for number in (1, 2):
    (place / str(number) / manifest.NAME).unlink()
  with Checkpoints(place, max_to_keep=2) as checkpoints:
    restored = checkpoints.restore_state(abstract(state_of(2)))
    assert_same_bits(restored, state_of(2))
    assert checkpoints.restore_config(1) == CONFIG
  (warning,) = (r for r in caplog.records if r.levelno >= logging.WARNING)
  assert 'without a check' in warning.getMessage()
  assert str(place) in warning.getMessage()


def test_halves_of_killed_runs_are_swept_before_the_first_save(
  two_steps, tmp_path
):
  place = copied(two_steps, tmp_path / 'run')
  for name in ('3.unsigned', '3.orbax-checkpoint-tmp', '5.unsigned'):
    shutil.copytree(place / '2', place / name)
  with Checkpoints(place, max_to_keep=3) as checkpoints:
    assert checkpoints.latest_step() == 2
    assert len(list(place.iterdir())) == 5
    checkpoints.save(3, state_of(3), CONFIG)
  assert sorted(p.name for p in place.iterdir()) == ['1', '2', '3']


@pytest.mark.parametrize('text', ['', 'null', '[1]', '{}'])
def test_a_manifest_of_another_kind_is_damage(tmp_path, text):
  (tmp_path / manifest.NAME).write_text(text)
  wrong = manifest.problem(tmp_path)
  assert wrong == f'{manifest.NAME} is not what was written'


def test_a_manifest_says_what_was_saved(two_steps):
  text = (two_steps / '2' / manifest.NAME).read_text()
  content = json.loads(text)['content']
  names = [
    p.relative_to(two_steps / '2').as_posix() for p in files_of(two_steps / '2')
  ]
  assert sorted([*content['files'], manifest.NAME]) == sorted(names)
  assert content['versions']['jax'] == jax.__version__
  assert len(content['config_sha256']) == 64


def test_a_step_has_no_name_before_it_has_its_manifest(tmp_path, monkeypatch):
  seen = []
  real = manifest.write

  def write(folder, config):
    seen.append((folder.name, (tmp_path / '7').exists()))
    real(folder, config)

  monkeypatch.setattr(manifest, 'write', write)
  with Checkpoints(tmp_path, max_to_keep=1) as checkpoints:
    checkpoints.save(7, state_of(7), CONFIG)
  assert seen == [('7.unsigned', False)]


PROGRAM = """
import os, resource, sys
from absl import app
from test_damage import *
from dance2wave.errors import one_line_errors

def main(argv):
  with one_line_errors(), Checkpoints(argv[1], max_to_keep=1) as checkpoints:
    big = {'a': jnp.ones(100_000)}
    large = TrainState(jnp.int32(3), big, big, ())
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(argv[2]),) * 2)
    checkpoints.save(3, large, {})
    checkpoints.wait()

app.run(main)
"""


def test_a_disk_without_room_is_one_line_and_costs_no_step(two_steps, tmp_path):
  place = copied(two_steps, tmp_path / 'run')
  tests = pathlib.Path(__file__).parent
  done = subprocess.run(
    [sys.executable, '-c', PROGRAM, str(place), '2000'],
    capture_output=True,
    text=True,
    env=os.environ | {'PYTHONPATH': f'{tests}:{tests.parent}'},
  )
  assert done.returncode == 2, done.stderr
  assert 'File too large' in done.stderr.splitlines()[-1]
  with Checkpoints(place, max_to_keep=1) as checkpoints:
    assert checkpoints.latest_step() == 2
    assert_same_bits(
      checkpoints.restore_state(abstract(state_of(2))), state_of(2)
    )


def test_from_one_to_eight_devices_and_back_no_bit_changes(tmp_path):
  state = state_of(1)
  with Checkpoints(tmp_path, max_to_keep=1) as checkpoints:
    for number, shape in enumerate(
      [(1, 1), (2, 1), (1, 4), (2, 4), (4, 1), (1, 1)], 1
    ):
      mesh = sharding.make_mesh(*shape)
      if number > 1:
        target = sharding.with_shardings(state_of(1), mesh)
        state = checkpoints.restore_state(target)
        assert_same_bits(state, state_of(1))
      placed = jax.device_put(state, sharding.shardings(state, mesh))
      checkpoints.save(number, placed, CONFIG)


def params_of(options):
  _, init = step.split_model(options, MOTION_DIM)
  return jax.eval_shape(init, jax.random.key(0))


@pytest.fixture(scope='module')
def real_run(tmp_path_factory):
  """A workdir with one step of the debug model, as training leaves it."""
  folder = tmp_path_factory.mktemp('real')
  options = options_with()
  workdir.open_workdir(folder, options)
  params = jax.tree.map(
    lambda x: jnp.zeros(x.shape, x.dtype), params_of(options)
  )
  with Checkpoints(folder / 'checkpoints', max_to_keep=1) as checkpoints:
    state = TrainState(jnp.int32(1), params, params, ())
    checkpoints.save(1, state, options_lib.to_dict(options))
  return folder


@pytest.mark.parametrize(
  ('changes', 'words'),
  [
    (
      {'wave__layers_per_cycle': 5},
      (
        'wave/',
        'float32[24, 64] there',
        'float32[24, 80] here',
        'wave.layers_per_cycle=4',
      ),
    ),
    (
      {'wave__residual': 12},
      ('wave/', '8', '12', '--config.wave.residual=8'),
    ),
    (
      {'pose__width': 32},
      ('pose/', '16', '32', 'pose.width=16 there and 32 here'),
    ),
    (
      {'wave__levels': 128},
      ('wave/', '256]', '128]', 'wave.levels=256 there and 128 here'),
    ),
    (
      {'pose__num_blocks': 2},
      ('pose/', 'absent', '--config.pose.num_blocks=1'),
    ),
    (
      {'pose__num_blocks': 0},
      ('pose/', 'absent', '--config.pose.num_blocks=1'),
    ),
    ({'sample_rate_hz': 16000}, ('sample_rate_hz=8000 there and 16000 here',)),
    ({'pose__num_heads': 4}, ('pose.num_heads=2 there and 4 here',)),
  ],
)
def test_another_model_names_parameter_and_config_key(
  real_run, tmp_path, changes, words
):
  """Also where somebody has edited config.json, or only the rate differs."""
  options = options_with(**changes)
  folder = copied(real_run, tmp_path / 'run')
  (folder / 'config.json').unlink()
  workdir.write_json(folder / 'config.json', options_lib.to_dict(options))
  with pytest.raises(InputError) as error:
    warm_start.load_ema(folder)
  for word in words:
    assert word in str(error.value)
  with Checkpoints(folder / 'checkpoints', max_to_keep=1) as checkpoints:
    params = params_of(options)
    other = TrainState(jax.ShapeDtypeStruct((), jnp.int32), params, params, ())
    with pytest.raises(InputError) as error:
      checkpoints.restore_state(other, config=options_lib.to_dict(options))
  for word in words:
    assert word in str(error.value)


def test_a_checkpoint_of_a_release_with_fewer_keys_is_read(tmp_path):
  options = options_with(wave__num_bands=0, wave__is_whitened=False)
  ours = options_lib.to_dict(options)
  theirs = options_lib.to_dict(options)
  del theirs['wave']['num_bands']
  params = jax.tree.map(lambda x: jnp.ones(x.shape), params_of(options))
  state = TrainState(jnp.int32(1), params, params, ())
  with Checkpoints(tmp_path, max_to_keep=1) as checkpoints:
    checkpoints.save(1, state, theirs)
    checkpoints.wait()
    read = checkpoints.restore_ema(params_of(options), config=ours)
    jax.tree.map(np.testing.assert_array_equal, read, params)
    other = options_lib.to_dict(
      options_with(wave__num_bands=12, wave__is_whitened=False)
    )
    with pytest.raises(InputError, match=r'wave\.num_bands=0 there and 12'):
      checkpoints.restore_ema(params_of(options), config=other)


def test_another_dtype_is_named_and_never_cast(real_run):
  options = options_with()
  params = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, jnp.bfloat16), params_of(options)
  )
  with (
    Checkpoints(real_run / 'checkpoints', max_to_keep=1) as checkpoints,
    pytest.raises(InputError, match=r'float32\[.* there and bfloat16\['),
  ):
    checkpoints.restore_ema(params, config=options_lib.to_dict(options))
