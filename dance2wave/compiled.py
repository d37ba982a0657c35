"""Compiled programs are kept on disk: a run that starts again has them."""

import os
import pathlib


def keep_compiled_programs(workdir: pathlib.Path | None = None) -> None:
  """Keep what JAX compiles in the user's cache, small programs included.

  Of several processes the first alone writes, so that they keep programs in
  the folder of their run, which all see. JAX_COMPILATION_CACHE_DIR names
  another folder, and JAX_ENABLE_COMPILATION_CACHE=false keeps nothing. Call it
  before JAX compiles anything.

  Args:
    workdir: of a run of several processes, None for one process.
  """
  import jax

  if jax.config.jax_compilation_cache_dir is None:
    root = os.environ.get('XDG_CACHE_HOME') or pathlib.Path.home() / '.cache'
    folder = workdir or pathlib.Path(root) / 'dance2wave'
    jax.config.update('jax_compilation_cache_dir', str(folder / 'compiled'))
    jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.0)
    jax.config.update('jax_persistent_cache_min_entry_size_bytes', -1)
