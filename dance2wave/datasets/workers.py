"""Run a function over tasks in child processes, in order, in bounded memory."""

import collections
import contextlib
import dataclasses
import functools
import itertools
import multiprocessing
import multiprocessing.connection
import os
import shutil
import signal
import sys
import tempfile
import threading
import types
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from dance2wave import cores
from dance2wave.errors import InputError, sigterm_later
from dance2wave.media import watchdog

_AHEAD = 3  # tasks in flight per worker
_STARTING = threading.Lock()
# A child holds it but for while it is at a task, and must not leave with it: a
# result of which half is written would be waited for without end.
_NOT_AT_A_TASK = threading.Lock()
# A socket's path has 104 letters or less, 31 of which multiprocessing needs.
_LONGEST_FOLDER = 72


def _half_the_memory() -> int:
  total = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
  return max(4 << 30, total // 2)


@dataclasses.dataclass(frozen=True)
class Limits:
  """What a task may take before it is given up, so that the others go on.

  Attributes:
    silent_s: seconds without progress: without a packet or a frame of a file,
      or for the whole of a task that reads none.
    num_bytes: memory of one process; by default half of the machine's, and at
      least 4 GiB.
  """

  silent_s: float = 600.0
  num_bytes: int = dataclasses.field(default_factory=_half_the_memory)


@dataclasses.dataclass(frozen=True)
class WorkerDied:
  """Stands for the result of a task that had to be given up.

  Attributes:
    task: which one.
    reason: 'died': it killed its process twice; 'stalled' and 'memory': it
      went beyond its `Limits`.
    message: one line for the user.
  """

  task: Any
  reason: str = 'died'
  message: str = (
    'the process that read it was killed twice (out of memory, or a crash or '
    'an endless loop in a decoder)'
  )


def _limit_memory(num_bytes: int) -> None:
  """Let an allocation fail before the system has to kill somebody."""
  import resource  # Not on Windows, where data can still be read.

  _, hard = resource.getrlimit(resource.RLIMIT_DATA)
  soft = num_bytes if hard == resource.RLIM_INFINITY else min(num_bytes, hard)
  with contextlib.suppress(OSError, ValueError):  # Not every system has it.
    resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _start_child(
  limits: Limits,
  given_up: multiprocessing.connection.Connection,
  scratch: str,
) -> None:
  """Leave silently when given up, as on Ctrl-C, and when the parent is gone.

  What a task leaves in the temporary folder is in that of the whole pool.
  """
  _limit_memory(limits.num_bytes)
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  parent, tempfile.tempdir = multiprocessing.parent_process().sentinel, scratch
  _NOT_AT_A_TASK.acquire()

  def follow_parent():
    gone = multiprocessing.connection.wait([parent, given_up])
    while parent not in gone and not _NOT_AT_A_TASK.acquire(timeout=0.1):
      gone = multiprocessing.connection.wait([parent], timeout=0)
    if parent in gone:
      shutil.rmtree(scratch, ignore_errors=True)
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
  with _STARTING, _heard_later():
    yield from _without_main()


@contextlib.contextmanager
def _heard_later() -> Iterator[None]:
  """Hold back Ctrl-C and SIGTERM: a child that is half started has no owner."""
  if threading.current_thread() is not threading.main_thread():
    yield
    return
  heard = []
  before = signal.signal(signal.SIGINT, lambda *_: heard.append(True))
  try:
    with sigterm_later():
      yield
  finally:
    # One that was not set from Python cannot be read, nor set again.
    signal.signal(signal.SIGINT, before or signal.SIG_DFL)
    if heard:
      signal.raise_signal(signal.SIGINT)


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


def _watched(function: Callable, silent_s: float, task: Any) -> Any:
  """Return function(task), or `WorkerDied` where it goes beyond limits."""
  _NOT_AT_A_TASK.release()
  try:
    with watchdog.watching(silent_s):
      return function(task)
  except watchdog.Stalled as error:
    return WorkerDied(task, 'stalled', str(error))
  except MemoryError:
    return WorkerDied(task, 'memory', 'it needs too much memory')
  finally:
    _NOT_AT_A_TASK.acquire()


@contextlib.contextmanager
def _pool(
  num_workers: int, function: Callable, limits: Limits
) -> Iterator[futures.ProcessPoolExecutor]:
  """Keep a pool of children of a fork server, never of this process.

  The server imports what the function needs once; its children start at once
  and have none of this process's threads (jax) or memory. What they still do
  when the pool is left is given up.
  """
  _check_temporary_folder(tempfile.gettempdir())
  context = multiprocessing.get_context('forkserver')
  context.set_forkserver_preload([__name__, function.__module__])
  given_up, end = context.Pipe(duplex=False)
  with tempfile.TemporaryDirectory(prefix='dance2wave-') as scratch, given_up:
    pool = futures.ProcessPoolExecutor(
      num_workers, context, _start_child, (limits, given_up, scratch)
    )
    try:
      yield pool
    finally:
      end.close()
      pool.shutdown(wait=True, cancel_futures=True)


def _check_temporary_folder(folder: str) -> None:
  if len(os.fsencode(folder)) > _LONGEST_FOLDER:
    raise InputError(
      f'the temporary folder {folder} has {len(os.fsencode(folder))} letters; '
      f'expected {_LONGEST_FOLDER} at most, or processes cannot start; set '
      'TMPDIR to a shorter one, such as /tmp'
    )


def _alone(function: Callable, task: Any, limits: Limits) -> Any:
  """Run one task in a process of its own; WorkerDied if that dies, too."""
  with _pool(1, function, limits) as pool:
    with _clean_start():
      running = pool.submit(_watched, function, limits.silent_s, task)
    try:
      return running.result()
    except BrokenProcessPool:
      return WorkerDied(task)


def _run_pool(
  function: Callable,
  tasks: Iterator,
  pending: collections.deque,
  workers: int,
  limits: Limits,
) -> Iterator[Any]:
  """Yield results until done or until a process dies; tasks stay in pending."""
  running = collections.deque()
  with _pool(workers, function, limits) as pool:
    submit = functools.partial(pool.submit, _watched, function, limits.silent_s)
    with _clean_start():
      running.extend(submit(task) for task in pending)
      for task in itertools.islice(tasks, _AHEAD * workers - len(pending)):
        pending.append(task)
        running.append(submit(task))
    while running:
      result = running.popleft().result()
      pending.popleft()
      yield result
      for task in itertools.islice(tasks, 1):
        pending.append(task)
        running.append(submit(task))


def ordered_map(
  function: Callable[[Any], Any],
  tasks: Iterable[Any],
  *,
  num_workers: int | None = None,
  limits: Limits | None = None,
) -> Iterator[Any]:
  """Yield function(task) in the order of the tasks.

  Args:
    function: importable by name; exceptions it raises come out here.
    tasks: read only a few ahead of the results.
    num_workers: processes; by default one for every core, and for 0 all is
      done in this one, without limits.
    limits: of each task; the default ones if not given.

  Raises:
    InputError: the name of the temporary folder is too long.

  Yields:
    The results; `WorkerDied` for a task whose process was killed (out of
    memory, a crash in a decoder) twice, that got no memory, or that made no
    progress for too long. The other tasks go on.
  """
  if num_workers == 0:
    yield from map(function, tasks)
    return
  num_workers, limits = num_workers or cores.usable(), limits or Limits()
  tasks, pending = iter(tasks), collections.deque()
  while True:
    try:
      yield from _run_pool(function, tasks, pending, num_workers, limits)
      return
    except BrokenProcessPool:
      yield _alone(function, pending.popleft(), limits)
