"""Choose the engine that draws samples.

`auto` takes `cpu` on processors, `gpu` on GPUs and `xla` on everything else.
The first is measured, in samples per second of one core's time, `cpu` over
`xla` on an Intel Xeon:

    clips             1    8    64
    debug model     8.4  3.0   1.3   (4 layers of 8 channels: a toy)
    default         6.4  2.6   1.8
    wavenet_large   7.7  2.0   1.9   (drafts of one clip)

`gpu` over `xla` on an H100: docs/benchmarks.md, "On a GPU".
"""

import time

import jax
from absl import logging

from dance2wave.allocator import release_freed_memory
from dance2wave.errors import InputError
from dance2wave.sampling.xla import XlaEngine

ENGINES = ('auto', 'xla', 'cpu', 'gpu')
_REMEDY = {
  'cpu': 'expected a working numba; install one, or use engine=xla',
  'gpu': 'expected a GPU that Triton compiles for; use engine=xla',
}


def make_engine(name, graphdef, params, draw):
  """Return an engine: `start`, `run`, `fork`, `draw_uniform` and a `name`.

  Args:
    name: one of `ENGINES`.
    graphdef: of a `Dance2Wave`.
    params: its parameters.
    draw: how samples are drawn.

  Raises:
    InputError: unknown name, or an engine that does not run on this machine.
  """
  if name not in ENGINES:
    raise InputError(
      f'engine={name!r}; expected one of {", ".join(ENGINES)}; choose one'
    )
  backend = jax.default_backend()
  if name == 'gpu' and backend != 'gpu':
    raise InputError(
      f'engine=gpu on a machine where JAX runs on {backend}; expected an '
      "NVIDIA GPU and pip install -e '.[cuda]'; use engine=xla elsewhere"
    )
  chosen = name
  if name == 'auto':
    chosen = backend if backend in _REMEDY else 'xla'
  if chosen == 'xla':
    return XlaEngine(graphdef, params, draw)
  try:
    return _make_compiled(chosen, graphdef, params, draw)
  except Exception as error:
    # Whatever Numba, Triton and LLVM raise where they do not fit this machine.
    reason = f'{type(error).__name__}: {" ".join(str(error).split())[:200]}'
    if name == chosen:
      raise InputError(
        f'engine={name} does not compile here ({reason}); {_REMEDY[name]}'
      ) from error
    logging.warning('engine xla: %s does not compile here (%s)', chosen, reason)
    return XlaEngine(graphdef, params, draw)


def _make_compiled(name, graphdef, params, draw):
  began = time.monotonic()
  if name == 'cpu':
    from dance2wave.sampling.cpu import CpuEngine as Engine  # Loads Numba.
  else:
    from dance2wave.sampling.gpu import GpuEngine as Engine  # Loads Pallas.
  engine = Engine(graphdef, params, draw)
  release_freed_memory()
  logging.info('engine %s: ready in %.1f s', name, time.monotonic() - began)
  return engine
