"""One process at a time where two would spoil each other's files.

The system gives a lock back when its process ends, however it ends.
"""

import contextlib
import os
import pathlib
from collections.abc import Callable, Iterator

from absl import logging

from dance2wave.errors import InputError


def _lock(handle: int, *, is_patient: bool) -> bool:
  """Lock an open file or folder; return False if another process has it."""
  import fcntl  # Not on Windows, where data can still be read.

  try:
    fcntl.flock(handle, fcntl.LOCK_EX | (0 if is_patient else fcntl.LOCK_NB))
    return True
  except BlockingIOError:
    return False


def _take(path: pathlib.Path) -> int | None:
  """Return a file descriptor that holds the lock, None if another one does."""
  while True:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
      if not _lock(handle, is_patient=False):
        os.close(handle)
        return None
    except OSError as error:  # Some shared disks have no locks.
      logging.warning('%s cannot be locked: %s', path, error.strerror)
      return handle
    # Whoever held it may have removed the file while it was being opened.
    with contextlib.suppress(FileNotFoundError):
      if os.path.samestat(os.fstat(handle), os.stat(path)):
        return handle
    os.close(handle)


@contextlib.contextmanager
def held(path: pathlib.Path, busy: str) -> Iterator[None]:
  """Hold a lock file, which is gone afterwards.

  A file that a killed process left is no hindrance.

  Raises:
    InputError: another process holds it; `busy` is the message.
  """
  handle = _take(path)
  if handle is None:
    raise InputError(busy)
  try:
    yield
  finally:
    path.unlink(missing_ok=True)
    os.close(handle)


@contextlib.contextmanager
def _opened(path: pathlib.Path) -> Iterator[int]:
  try:  # On some shared disks only what can be written can be locked.
    handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
  except OSError:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
  try:
    yield handle
  finally:
    os.close(handle)


@contextlib.contextmanager
def existing(
  path: pathlib.Path, on_wait: Callable[[], None] = lambda: None
) -> Iterator[None]:
  """Hold the lock of a file or a folder that stays; wait while another does.

  It goes with the folder when that is renamed. Where the disk has no locks of
  folders nothing is locked. `on_wait` is called before there is a wait.
  """
  with _opened(path) as handle:
    with contextlib.suppress(OSError):
      if not _lock(handle, is_patient=False):
        on_wait()
        _lock(handle, is_patient=True)
    yield


@contextlib.contextmanager
def existing_if_free(path: pathlib.Path) -> Iterator[bool]:
  """Hold the lock of a folder; yield False if another does, or none can."""
  with _opened(path) as handle:
    try:
      is_mine = _lock(handle, is_patient=False)
    except OSError:
      is_mine = False
    yield is_mine
