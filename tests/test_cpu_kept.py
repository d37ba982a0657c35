"""The compiled kernel is kept on disk, and never used where it is not right."""

import os
import pathlib
import subprocess
import sys

import jax
import numba
import numpy as np
import pytest
from command_line import ROOT
from engine_cases import make_case, tokens

from dance2wave.sampling import cpu, cpu_kept

_CASE = {'batch': 1, 'frames': 1, 'weights': 'int8'}
_DRAW = f"""
import sys
sys.path.insert(0, 'tests')
from engine_cases import make_case
from dance2wave.sampling import cpu
case = make_case(**{_CASE})
print(case.run(cpu.CpuEngine).tobytes().hex())
print(sum(cpu.draw_clips.stats.cache_hits.values()))
"""


def test_a_second_process_has_the_kernel_and_draws_the_same():
  case = make_case(**_CASE)
  sound = case.run(cpu.CpuEngine)  # Its kernel is now on disk.
  np.testing.assert_array_equal(tokens(sound), tokens(case.audio))
  done = subprocess.run(
    [sys.executable, '-W', 'error', '-c', _DRAW],
    cwd=ROOT,
    capture_output=True,
    text=True,
  )
  assert not done.returncode, done.stderr[-2000:]
  assert done.stdout.split() == [sound.tobytes().hex(), '1']
  folder = pathlib.Path(jax.config.jax_compilation_cache_dir) / 'numba'
  sizes = [path.stat().st_size for path in folder.glob('*.nbc')]
  assert sizes and max(sizes) < 2**20


def _double(x):
  return 2 * x


@pytest.fixture
def folder(tmp_path):
  old = jax.config.jax_compilation_cache_dir
  jax.config.update('jax_compilation_cache_dir', str(tmp_path))
  yield tmp_path / 'numba'
  jax.config.update('jax_compilation_cache_dir', old)


def _is_there(argument=1):
  """Call the function as a process that starts does; was it on disk?"""
  function = numba.njit(_double)
  cpu_kept.keep(function)
  assert function(argument) == 2 * argument
  return bool(function.stats.cache_hits)


def test_each_signature_is_kept(folder):
  assert [_is_there(1), _is_there(1)] == [False, True]
  assert [_is_there(0.5), _is_there(0.5), _is_there(1)] == [False, True, True]
  assert len(list(folder.glob('*.nbc'))) == 2


def test_one_of_other_sources_is_replaced(folder, monkeypatch):
  _is_there()
  with monkeypatch.context() as patch:
    patch.setattr(cpu_kept, '_SOURCES', bytes(32))
    assert [_is_there(), _is_there()] == [False, True]
  assert not _is_there()
  assert len(list(folder.glob('*.nbc'))) == 1


@pytest.mark.parametrize('change', ['cut', 'bit', 'empty'])
def test_a_damaged_one_is_made_again(folder, change):
  _is_there()
  (path,) = folder.glob('*.nbc')
  data = path.read_bytes()
  damaged = {
    'cut': data[:-100],
    'bit': data[:-9] + bytes([data[-9] ^ 1]) + data[-8:],
    'empty': b'',
  }
  path.write_bytes(damaged[change])
  assert [_is_there(), _is_there()] == [False, True]


def test_a_damaged_index_is_made_again(folder):
  _is_there()
  (path,) = folder.glob('*.nbi')
  path.write_bytes(b'nothing')
  assert [_is_there(), _is_there()] == [False, True]


def test_one_that_numba_cannot_read_is_made_again(folder, monkeypatch):
  _is_there()

  def fail(*_):
    raise TypeError('of another version')

  with monkeypatch.context() as patch:
    patch.setattr(cpu_kept.compiler.CompileResult, '_rebuild', fail)
    assert not _is_there()
  assert _is_there()


def test_nothing_is_kept_where_jax_keeps_nothing(folder):
  jax.config.update('jax_enable_compilation_cache', False)
  try:
    assert not _is_there()
  finally:
    jax.config.update('jax_enable_compilation_cache', True)
  jax.config.update('jax_compilation_cache_dir', 'gs://bucket/folder')
  assert not _is_there()
  assert not folder.exists() and not os.path.exists('gs:')


def test_a_folder_that_cannot_be_written_does_no_harm(folder):
  folder.write_text('a file where the folder should be')
  assert [_is_there(), _is_there()] == [False, False]


def test_code_that_holds_addresses_is_not_kept(folder):
  from ctypes import CDLL

  function = CDLL(None).sched_yield
  function.argtypes = []
  compiled = numba.njit(lambda: function())
  cpu_kept.keep(compiled)
  compiled()
  assert not folder.exists()
