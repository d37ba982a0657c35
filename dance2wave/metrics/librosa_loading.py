"""Load librosa in one process at a time.

librosa compiles some functions when it is first imported and caches them on
disk, each as a pair of files that numba does not write together
(numba/numba#10128). Two processes that do so at once can leave a pair of which
each wrote one half, and whoever loads it dies of a segmentation fault.
"""

import functools
import importlib
import importlib.util
import pathlib

from dance2wave import locks

# Those that we use and that compile while they are imported.
_COMPILED = (
  'librosa.util.utils',
  'librosa.core.audio',
  'librosa.core.pitch',
  'librosa.beat',
)


def _locked() -> pathlib.Path:
  return pathlib.Path(importlib.util.find_spec('librosa').origin)


@functools.cache
def load_librosa():
  """Return librosa with all that it compiles at import compiled.

  Waits while another process does the same. The first time
  after an installation it takes about 25 s of one core, later one second.
  """
  with locks.existing(_locked()):
    for name in _COMPILED:
      importlib.import_module(name)
  return importlib.import_module('librosa')
