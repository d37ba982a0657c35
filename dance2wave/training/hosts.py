"""Several processes that train one model: who they are, and what all know.

Every process runs the same program on its own clips, sees the same figures
and takes part in every save. The first alone writes logs and results, and
builds a dataset that is not there yet.
"""

import os
import signal

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from dance2wave.errors import InputError

# What tells a process its place where no cluster does.
_PLACE = ('JAX_COORDINATOR_ADDRESS', 'JAX_NUM_PROCESSES', 'JAX_PROCESS_ID')


def start() -> None:
  """Join the other processes; call it before anything else asks for devices.

  On TPU, under Slurm and in other clusters that JAX knows, all is found by
  itself. Elsewhere the environment gives JAX_COORDINATOR_ADDRESS (the first
  process's host:port), JAX_NUM_PROCESSES and JAX_PROCESS_ID.

  Raises:
    InputError: neither tells it, or no others are found.
  """
  given = [os.environ.get(name) for name in _PLACE]
  try:
    if all(given):
      jax.distributed.initialize(given[0], int(given[1]), int(given[2]))
    else:
      jax.distributed.initialize()
  except (ValueError, TypeError, RuntimeError) as error:
    said = ', '.join(f'{k}={v}' for k, v in zip(_PLACE, given))
    raise InputError(
      f'--multihost: the processes do not find each other ({error}; {said}); '
      f'expected a cluster that JAX knows, or {", ".join(_PLACE)} in the '
      'environment; set them, or drop --multihost for one process'
    ) from error


def is_first() -> bool:
  """Return whether this process writes what only one may write."""
  return jax.process_index() == 0


def wait(name: str) -> None:
  """Wait until every process is here."""
  if jax.process_count() > 1:
    multihost_utils.sync_global_devices(name)


def preempted(number: int) -> signal.Signals | None:
  """Return SIGTERM once all processes are to save step `number` and leave.

  One process that is told suffices. They agree on a step that none has passed.
  Ask after every step; a process that is alone hears its signals itself.
  """
  if jax.process_count() == 1:
    return None
  is_reached = multihost_utils.reached_preemption_sync_point(number)
  return signal.SIGTERM if is_reached else None


def fetch(tree):
  """Return a tree of arrays on any mesh as whole numpy arrays, everywhere."""

  def one(leaf):
    if not leaf.is_fully_addressable:
      everywhere = NamedSharding(leaf.sharding.mesh, P())
      leaf = jax.jit(lambda x: x, out_shardings=everywhere)(leaf)
      return np.asarray(leaf.addressable_data(0))
    return np.asarray(leaf)

  return jax.tree.map(one, tree)


def share(count: int) -> range:
  """Return which of `count` things this process does."""
  return range(jax.process_index(), count, jax.process_count())


def gather(mine: list[np.ndarray], lengths: list[int]) -> list[np.ndarray]:
  """Return what all processes made, in order; every process calls it.

  Args:
    mine: float32 vectors, those of `share(len(lengths))`.
    lengths: of every vector.
  """
  count = jax.process_count()
  if count == 1:
    return mine
  padded = np.zeros((-(-len(lengths) // count), max(lengths)), np.float32)
  for row, vector in zip(padded, mine):
    row[: len(vector)] = vector
  every = multihost_utils.process_allgather(padded)
  return [every[i % count, i // count, :n] for i, n in enumerate(lengths)]
