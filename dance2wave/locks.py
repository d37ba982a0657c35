"""One process at a time where two would spoil each other's files."""

import contextlib
import os
import pathlib
from collections.abc import Iterator

from absl import logging

from dance2wave.errors import InputError


def _take(path: pathlib.Path) -> int | None:
  """Return a file descriptor that holds the lock, None if another one does."""
  import fcntl  # Not on Windows, where data can still be read.

  while True:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
      fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
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

  The system gives the lock back when its process ends, however it ends; a file
  that a killed process left is no hindrance.

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
