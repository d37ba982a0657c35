"""Let glibc keep the memory that every step needs again, or give it back.

XLA allocates the temporary memory of a program anew at each call. glibc maps
blocks of more than 32 MiB from the kernel and gives them back when they are
freed, so that a training step of the default config touches 160,000 fresh
pages: a quarter of its processor time.
"""

import ctypes
import sys

# From malloc.h: M_ARENA_MAX, M_MMAP_MAX, M_TOP_PAD, M_TRIM_THRESHOLD.
_SETTINGS = ((-8, 1), (-4, 0), (-2, 2**26), (-1, 2**31 - 1))


def keep_freed_memory() -> bool:
  """Keep up to 2 GiB of freed memory in the process; return whether it does.

  Call it before jax allocates. Without glibc nothing happens.
  """
  mallopt = _find('mallopt')
  if mallopt is None:
    return False
  return all(mallopt(name, value) == 1 for name, value in _SETTINGS)


def release_freed_memory() -> None:
  """Give all memory that was freed back to the system, once.

  What compiles leaves more than a hundred MB, which other threads do not use.
  Without glibc nothing happens.
  """
  trim = _find('malloc_trim')
  if trim is not None:
    trim(0)


def _find(name):
  """Return a function of glibc's, or None."""
  if not sys.platform.startswith('linux'):
    return None
  return getattr(ctypes.CDLL(None), name, None)
