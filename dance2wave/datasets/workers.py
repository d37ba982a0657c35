"""Run a function over tasks in child processes, in order, in bounded memory."""

import collections
import contextlib
import dataclasses
import itertools
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
import types
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from concurrent.futures.process import BrokenProcessPool
from typing import Any

_AHEAD = 3  # tasks in flight per worker
_STARTING = threading.Lock()


@dataclasses.dataclass(frozen=True)
class WorkerDied:
  """Stands for the result of a task that killed its process twice."""

  task: Any


def num_cores() -> int:
  """Return how many cores this process may use."""
  if hasattr(os, 'sched_getaffinity'):  # Not on macOS.
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1


def _start_child() -> None:
  """Leave silently on Ctrl-C, and when the parent is gone."""
  signal.signal(signal.SIGINT, lambda *_: os._exit(130))
  parent = multiprocessing.parent_process().sentinel

  def follow_parent():
    multiprocessing.connection.wait([parent])
    os._exit(1)

  threading.Thread(target=follow_parent, daemon=True).start()


@contextlib.contextmanager
def _clean_start() -> Iterator[None]:
  """Start children that import neither the caller's script nor jax.

  A child would import the parent's `__main__` again: a script without the
  `__name__` guard would start itself over, and an entry point would bring
  jax. One thread each: the pool already has a process for every core, and sums
  do not depend on the number of cores. One pool starts at a time, because all
  threads of this process share `__main__` and the environment.
  """
  with _STARTING:
    yield from _without_main()


def _without_main() -> Iterator[None]:
  main, environ = sys.modules['__main__'], dict(os.environ)
  sys.modules['__main__'] = types.ModuleType('__main__')
  os.environ.update(OMP_NUM_THREADS='1', OPENBLAS_NUM_THREADS='1')
  try:
    yield
  finally:
    sys.modules['__main__'] = main
    for name in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS'):
      os.environ.pop(name)
      os.environ.update({name: environ[name]} if name in environ else {})


def _pool(num_workers: int, function: Callable) -> futures.ProcessPoolExecutor:
  """Return a pool of children of a fork server, never of this process.

  The server imports what the function needs once; its children start at once
  and have none of this process's threads (jax) or memory.
  """
  context = multiprocessing.get_context('forkserver')
  context.set_forkserver_preload([__name__, function.__module__])
  return futures.ProcessPoolExecutor(num_workers, context, _start_child)


def _alone(function: Callable, task: Any) -> Any:
  """Run one task in a process of its own; WorkerDied if that dies, too."""
  with _pool(1, function) as pool:
    with _clean_start():
      running = pool.submit(function, task)
    try:
      return running.result()
    except BrokenProcessPool:
      return WorkerDied(task)


def _run_pool(
  function: Callable, tasks: Iterator, pending: collections.deque, workers: int
) -> Iterator[Any]:
  """Yield results until done or until a process dies; tasks stay in pending."""
  pool = _pool(workers, function)
  running = collections.deque()
  try:
    with _clean_start():
      running.extend(pool.submit(function, task) for task in pending)
      for task in itertools.islice(tasks, _AHEAD * workers - len(pending)):
        pending.append(task)
        running.append(pool.submit(function, task))
    while running:
      result = running.popleft().result()
      pending.popleft()
      yield result
      for task in itertools.islice(tasks, 1):
        pending.append(task)
        running.append(pool.submit(function, task))
  finally:
    pool.shutdown(wait=True, cancel_futures=True)


def ordered_map(
  function: Callable[[Any], Any],
  tasks: Iterable[Any],
  *,
  num_workers: int | None = None,
) -> Iterator[Any]:
  """Yield function(task) in the order of the tasks.

  Args:
    function: importable by name; exceptions it raises come out here.
    tasks: read only a few ahead of the results.
    num_workers: processes; by default one for every core.

  Yields:
    The results; `WorkerDied` for a task whose process was killed (out of
    memory, a crash in a decoder) twice. The other tasks go on.
  """
  num_workers = num_workers or num_cores()
  tasks, pending = iter(tasks), collections.deque()
  while True:
    try:
      yield from _run_pool(function, tasks, pending, num_workers)
      return
    except BrokenProcessPool:
      yield _alone(function, pending.popleft())
