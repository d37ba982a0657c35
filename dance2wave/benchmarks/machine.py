"""What the figures were measured on, and what it can do at most."""

import os
import pathlib
import platform

import jax
import jax.numpy as jnp
import numba
import numpy as np

from dance2wave import cores
from dance2wave.benchmarks.rounds import Case
from dance2wave.benchmarks.wave import MATMUL, READ


def describe() -> dict:
  """Return the machine, its load and the versions that matter."""
  return {
    'processor': _processor(),
    'cores': os.cpu_count(),
    'usable_cores': cores.usable(),
    'load': round(os.getloadavg()[0], 2),
    'device': jax.devices()[0].device_kind,
    'backend': jax.default_backend(),
    'python': platform.python_version(),
    'jax': jax.__version__,
    'numba': numba.__version__,
    'numpy': np.__version__,
  }


def _processor() -> str:
  path = pathlib.Path('/proc/cpuinfo')
  lines = path.read_text().splitlines() if path.exists() else []
  names = [x.partition(':')[2] for x in lines if x.startswith('model name')]
  return names[0].strip() if names else platform.processor()


@numba.njit(nogil=True, fastmath=True)
def _read(weights, times):
  total = np.float32(0)
  for time in range(times):
    part = np.float32(0)
    for i in range(weights.size):
      part += weights[i]
    total += part * np.float32(time)
  return total


def ceilings(read_bytes: int, side: int) -> list[Case]:
  """Return the cases that bound others: reading weights, matrix products.

  Args:
    read_bytes: weights that a sample needs.
    side: of the square matrices.
  """
  weights, times = np.ones(read_bytes // 4, np.float32), 50
  square = jnp.ones((side, side))
  product = jax.jit(jnp.matmul)
  return [
    Case(READ, 'bytes', times * weights.nbytes, lambda: _read(weights, times)),
    Case(
      MATMUL,
      'multiply-adds',
      side**3,
      lambda: product(square, square).block_until_ready(),
    ),
  ]
