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


def _page_faults(word):
  command = [sys.executable, '-c', _FAULTS, word]
  done = subprocess.run(command, capture_output=True, text=True, check=True)
  kept, faults = done.stdout.split()
  return kept == 'True', int(faults)


@pytest.mark.skipif(
  not sys.platform.startswith('linux'), reason='glibc is on Linux only'
)
def test_a_freed_block_is_used_again():
  kept, faults = _page_faults('keep')
  assert kept
  assert faults < _page_faults('not')[1] / 10
