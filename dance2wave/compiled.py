"""Compiled programs are kept on disk: a run that starts again has them."""

import os
import pathlib


def keep_compiled_programs() -> None:
  """Keep what JAX compiles in the user's cache, small programs included.

  JAX_COMPILATION_CACHE_DIR names another folder, and
  JAX_ENABLE_COMPILATION_CACHE=false keeps nothing. Call it before JAX
  compiles anything.
  """
  import jax

  if jax.config.jax_compilation_cache_dir is None:
    root = os.environ.get('XDG_CACHE_HOME') or pathlib.Path.home() / '.cache'
    folder = pathlib.Path(root) / 'dance2wave' / 'compiled'
    jax.config.update('jax_compilation_cache_dir', str(folder))
    jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.0)
    jax.config.update('jax_persistent_cache_min_entry_size_bytes', -1)
