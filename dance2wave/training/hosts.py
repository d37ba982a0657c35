"""Several processes that train one model: who they are, and what all know.

Every process runs the same program on its own clips, sees the same figures
and takes part in every save. The first alone writes logs and results, and
builds a dataset that is not there yet.

Processes come to the same place at different times: one builds the dataset,
one has a busy machine. On processors the first collective of some devices,
which connects them, waits 30 s for the others, and later ones half an hour. So
all meet at a barrier, which waits as long as it takes, before each first one.
"""

import contextlib
import functools
import itertools
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent import futures

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from dance2wave.errors import InputError, first_line
from dance2wave.training.checkpoint import barrier

_DAY_S = 24 * 3600
_NUMBERS = itertools.count()  # of barriers, which need names of their own
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
  # It would take SIGTERM from us; the training loop turns it on.
  jax.config.update('jax_enable_preemption_service', False)
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
  _connect()


def _connect() -> None:
  """Make the collective that others of JAX and orbax begin with, together."""
  devices = np.reshape(jax.devices(), (jax.process_count(), -1))
  mesh = Mesh(devices, ('process', 'device'))
  x = jax.make_array_from_process_local_data(
    NamedSharding(mesh, P('process')), np.zeros(1, np.float32)
  )
  everywhere = NamedSharding(mesh, P())
  together(jax.jit(lambda x: x, out_shardings=everywhere))(x)


def is_first() -> bool:
  """Return whether this process writes what only one may write."""
  return jax.process_index() == 0


def wait(name: str) -> None:
  """Wait until every process is here, for a day at most; signals are heard."""
  if jax.process_count() == 1:
    return
  arrived = futures.Future()

  def meet():
    try:
      arrived.set_result(barrier(f'{name}-{next(_NUMBERS)}', _DAY_S))
    except RuntimeError as error:
      arrived.set_exception(error)

  # Not of an executor, whose threads the end of the process would wait for.
  threading.Thread(target=meet, daemon=True).start()
  arrived.result()


def on_all(work: Callable, *arguments):
  """Return work(*arguments) where it fails on no process; all call it.

  Without it the others would wait for one that has left, and JAX would end all
  of them after five minutes.

  Raises:
    InputError: on every process, what the first that failed has said. What is
      no InputError is raised as it is where it happened.
  """
  if jax.process_count() == 1:
    return work(*arguments)
  try:
    found = work(*arguments)
  except InputError as error:
    said = _exchange(str(error))
  except Exception as error:
    _exchange(first_line(error))
    raise
  else:
    said = _exchange(None)
  for index, reason in enumerate(said):
    if reason is not None:
      raise InputError(f'process {index}: {reason}')
  return found


def on_first(work: Callable, *arguments) -> None:
  """Do on the first process what all wait for, and on no other.

  Raises:
    InputError: on every process, as `on_all` does.
  """
  on_all(work if is_first() else lambda *_: None, *arguments)


def check_same(values: dict) -> None:
  """Compare what processes must have in common; all call it.

  Args:
    values: by name, what JSON can hold.

  Raises:
    InputError: on every process, the first value that is another there.
  """
  if jax.process_count() == 1:
    return
  first, *others = _exchange(values)
  for index, mine in enumerate(others, 1):
    for name in sorted(first | mine):
      here, there = mine.get(name), first.get(name)
      if here != there:
        raise InputError(
          f'process {index} has {name}={here!r}, but process 0 has {there!r}; '
          'expected the same on all; start every process with the same flags '
          'and data'
        )


def _exchange(value) -> list:
  """Return what every process gives, which JSON can hold, once all are here."""
  wait('exchange')
  mine = np.frombuffer(json.dumps(value).encode(), np.uint8)
  lengths = multihost_utils.process_allgather(np.int32(len(mine)))
  padded = np.zeros(max(lengths), np.uint8)
  padded[: len(mine)] = mine
  rows = multihost_utils.process_allgather(padded)
  return [json.loads(bytes(row[:n])) for row, n in zip(rows, lengths)]


def together(jitted):
  """Return a jitted function that processes call first once all have it.

  Each compiles it in its own time, at the first call.
  """
  if jax.process_count() == 1:
    return jitted
  is_ready = False

  @functools.wraps(jitted)
  def call(*arguments):
    nonlocal is_ready
    if not is_ready:
      compiled = jitted.lower(*arguments).compile()
      wait('compiled')
      is_ready = True
      return compiled(*arguments)
    return jitted(*arguments)

  return call


@contextlib.contextmanager
def joined(is_multihost: bool) -> Iterator[None]:
  """Join the other processes, if any, and leave once all are done.

  The first process holds what joins them: without it the others would die. One
  that was given bad input lets the others finish; a defect ends all.

  Raises:
    InputError: as `start` does.
  """
  if is_multihost:
    start()
  try:
    yield
  except InputError:
    wait('done')
    raise
  wait('done')


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
