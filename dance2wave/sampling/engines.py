"""Choose the engine that draws samples.

`auto` takes `cpu` on processors and `xla` on everything else. The rule is
measured, in samples per second of one core's time, `cpu` over `xla`:

    clips             1    8    64
    debug model     2.7  1.7   0.8   (4 layers of 8 channels: a toy)
    default         3.4  2.6   1.9
    wavenet_large   3.2  2.5   2.0
"""

import time

import jax
from absl import logging

from dance2wave.errors import InputError
from dance2wave.sampling.xla import XlaEngine

ENGINES = ('auto', 'xla', 'cpu')


def make_engine(name, graphdef, params, draw):
  """Return an engine: `start`, `run`, `fork`, `draw_uniform` and a `name`.

  Args:
    name: one of `ENGINES`.
    graphdef: of a `Dance2Wave`.
    params: its parameters.
    draw: how samples are drawn.

  Raises:
    InputError: unknown name, or `cpu` where Numba cannot compile it.
  """
  if name not in ENGINES:
    raise InputError(
      f'engine={name!r}; expected one of {", ".join(ENGINES)}; choose one'
    )
  if name == 'xla' or (name == 'auto' and jax.default_backend() != 'cpu'):
    return XlaEngine(graphdef, params, draw)
  try:
    return _make_cpu_engine(graphdef, params, draw)
  except Exception as error:
    # Whatever Numba and LLVM raise where they do not fit this machine.
    reason = f'{type(error).__name__}: {" ".join(str(error).split())[:200]}'
    if name == 'cpu':
      raise InputError(
        f'engine=cpu does not compile here ({reason}); expected a working '
        'numba; install one, or use engine=xla'
      ) from error
    logging.warning('engine xla: cpu does not compile here (%s)', reason)
    return XlaEngine(graphdef, params, draw)


def _make_cpu_engine(graphdef, params, draw):
  began = time.monotonic()
  from dance2wave.sampling.cpu import CpuEngine  # Numba is loaded if needed.

  engine = CpuEngine(graphdef, params, draw)
  logging.info('engine cpu: ready in %.1f s', time.monotonic() - began)
  return engine
