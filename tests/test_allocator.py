import subprocess
import sys

import pytest

_FAULTS = """
import ctypes, resource, sys
from dance2wave.allocator import keep_freed_memory
kept = keep_freed_memory() if sys.argv[1] == 'keep' else False
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p

def use_a_block():
  block = ctypes.c_void_p(libc.malloc(100 * 2**20))
  ctypes.memset(block, 1, 100 * 2**20)
  libc.free(block)

use_a_block()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3):
  use_a_block()
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


_on_linux = pytest.mark.skipif(
  not sys.platform.startswith('linux'), reason='glibc is on Linux only'
)


def _page_faults(word):
  command = [sys.executable, '-c', _FAULTS, word]
  done = subprocess.run(command, capture_output=True, text=True, check=True)
  kept, faults = done.stdout.split()
  return kept == 'True', int(faults)


@_on_linux
def test_a_freed_block_is_used_again():
  kept, faults = _page_faults('keep')
  assert kept
  assert faults < _page_faults('not')[1] / 10


_RELEASED = """
import ctypes
from dance2wave.allocator import release_freed_memory
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p

def resident_mb():
  with open('/proc/self/status') as file:
    (line,) = [line for line in file if line.startswith('VmRSS')]
  return int(line.split()[1]) / 1e3

blocks = [ctypes.c_void_p(libc.malloc(2**16)) for _ in range(1600)]
for block in blocks:
  ctypes.memset(block, 1, 2**16)
for block in blocks[:-1]:  # The last one holds the heap's end where it is.
  libc.free(block)
before = resident_mb()
release_freed_memory()
print(before - resident_mb())
"""


@_on_linux
def test_freed_memory_is_released():
  command = [sys.executable, '-c', _RELEASED]
  done = subprocess.run(command, capture_output=True, text=True, check=True)
  assert float(done.stdout) > 90  # Of 105 MB.
