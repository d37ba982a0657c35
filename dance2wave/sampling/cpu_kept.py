"""The compiled kernel is kept on disk: a run that starts again has it.

Numba's own cache asks only whether the file of a function has changed. Here
all sources of the package count, since the kernel is made of many. It lies in
a folder of the one where JAX keeps its programs (see `compiled.py`), and is
kept if and where those are. What cannot be read or written is compiled anew.
"""

import hashlib
import pathlib
import platform

import jax
import llvmlite
import numba
from absl import logging
from numba.core import caching, compiler

_PACKAGE = pathlib.Path(__file__).parents[1]


def _digest_of_sources():
  """Return a digest of all that the kernel is made of."""
  digest = hashlib.sha256()
  versions = numba.__version__, llvmlite.__version__, platform.python_version()
  digest.update(repr(versions).encode())
  for path in sorted(_PACKAGE.rglob('*.py')):
    digest.update(hashlib.sha256(path.read_bytes()).digest())
  return digest.digest()


# At import, where these are what is imported; it takes some milliseconds.
_SOURCES = _digest_of_sources()
_KEY = 'kernel'  # Of the one entry that Numba's index has.


def keep(function):
  """Let a function of Numba's be kept, unless JAX keeps nothing or elsewhere.

  Args:
    function: compiled or not.
  """
  folder = jax.config.jax_compilation_cache_dir
  is_kept = jax.config.jax_enable_compilation_cache and folder
  if is_kept and '://' not in folder:
    function._cache = Kept(function.py_func, pathlib.Path(folder) / 'numba')


class Kept:
  """What Numba asks for a compiled function, and gives one to.

  Args:
    function: in Python.
    cache_path: where files lie, of each signature and processor: Numba's own
      two, of which a later version takes the place of an earlier, and the
      digest of what was written.
  """

  def __init__(self, function, cache_path):
    self._name = f'{function.__module__}.{function.__qualname__}'
    self.cache_path = cache_path

  def _files(self, signature, codegen):
    """Return Numba's files of one, and where its data and digest lie."""
    key = str(_PACKAGE), self._name, str(signature), codegen.magic_tuple()
    name = hashlib.sha256(repr(key).encode()).hexdigest()[:32]
    files = caching.IndexDataCacheFile(str(self.cache_path), name, _SOURCES)
    data, digest = (
      self.cache_path / f'{name}.{x}' for x in ('1.nbc', 'sha256')
    )
    return files, data, digest

  def load_overload(self, sig, target_context):
    """Return the compiled function, or None."""
    target_context.refresh()
    try:
      files, data, digest = self._files(sig, target_context.codegen())
      if digest.read_bytes() != hashlib.sha256(data.read_bytes()).digest():
        return None
      parts = files.load(_KEY)
      if parts is None:
        return None
      return compiler.CompileResult._rebuild(target_context, *parts)
    except FileNotFoundError:
      return None
    except Exception as error:
      logging.info('engine cpu: a kept kernel is not used (%r)', error)
      return None

  def save_overload(self, sig, data):
    """Keep a compiled function, if that is possible."""
    if data.library.has_dynamic_globals:
      return  # Addresses of this process.
    try:
      files, written, digest = self._files(sig, data.codegen)
      self.cache_path.mkdir(parents=True, exist_ok=True)
      files.flush()  # A damaged index is not read but written anew.
      files.save(_KEY, data._reduce())
      digest.write_bytes(hashlib.sha256(written.read_bytes()).digest())
    except Exception as error:
      logging.info('engine cpu: the kernel is not kept (%r)', error)
