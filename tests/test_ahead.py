"""Programs that are compiled ahead: the run that follows compiles none."""

import jax
import pytest
from command_line import assert_one_line
from command_line import run as run_command
from jax.experimental.compilation_cache import compilation_cache
from small_config import options_with

from dance2wave.training import ahead, loop, programs

KEPT = {
  'jax_persistent_cache_min_compile_time_secs': 0.0,
  'jax_persistent_cache_min_entry_size_bytes': -1,
}


@pytest.fixture
def cache(tmp_path):
  """A folder of its own for programs, small ones included."""
  names = ('jax_compilation_cache_dir', *KEPT)
  before = {name: getattr(jax.config, name) for name in names}
  folder = tmp_path / 'cache'
  for name, value in {names[0]: str(folder), **KEPT}.items():
    jax.config.update(name, value)
  compilation_cache.reset_cache()
  yield folder
  for name, value in before.items():
    jax.config.update(name, value)
  compilation_cache.reset_cache()


def kept_names(folder):
  """Names of the programs that are kept."""
  return {path.name.split('-')[0] for path in folder.glob('*-cache')}


@pytest.mark.parametrize(
  'mesh',
  [
    {},
    pytest.param({'mesh__fsdp': 2, 'mesh__tensor': 2}, marks=pytest.mark.slow),
  ],
)
def test_a_run_finds_all_that_was_compiled_ahead(
  cache, data_dir, tmp_path, mesh
):
  options = options_with(
    dataset__data_dir=str(data_dir),
    train__pose_steps=2,
    train__joint_steps=2,
    train__eval_every=2,
    **mesh,
  )
  made = [name for name, _ in ahead.compile_programs(options)]
  assert made == ['first state', 'pose step', 'joint step', 'held-out figures']
  large = kept_names(cache)
  kept = {path.name for path in cache.glob('*-cache')}
  programs._make_programs.cache_clear()  # as in another process
  loop.train(options, tmp_path / 'run')
  new = {p.name for p in cache.glob('*-cache')} - kept
  assert len(large) >= 3
  assert not [name for name in new if name.split('-')[0] in large], new


def test_several_processes_must_say_where_programs_go():
  result = run_command(
    'dance2wave.compile', '--config=configs/debug.py', '--multihost'
  )
  assert_one_line(result, '--workdir is missing')
