"""A dataset on a disk that is full or not to be written: one line."""

import contextlib
import errno
import os
import pathlib
from collections.abc import Iterator

from dance2wave.errors import InputError

_ADVICE = {
  errno.ENOSPC: 'free some space',
  errno.EDQUOT: 'free some of your quota',
  errno.EACCES: 'choose a folder in which you may write',
  errno.EPERM: 'choose a folder in which you may write',
  errno.EROFS: 'choose a folder in which you may write',
  errno.ENOTDIR: 'choose a folder, not a file',
  errno.EEXIST: 'another process built it meanwhile: just use it',
  errno.ENOTEMPTY: 'another process built it meanwhile: just use it',
}
# ArrayRecord reports the system's errors as RuntimeError with their text.
_ARRAY_RECORD_ADVICE = {
  'No space left': errno.ENOSPC,
  'quota exceeded': errno.EDQUOT,
  'Permission denied': errno.EACCES,
  'Read-only file system': errno.EROFS,
}


@contextlib.contextmanager
def errors(data_dir: str) -> Iterator[None]:
  """Turn an error of the disk of data_dir into an InputError of one line."""
  try:
    yield
  except OSError as error:
    number = error.errno
    if number is None and isinstance(error, FileExistsError):
      number = errno.EEXIST  # As TFDS renames folders.
    if number not in _ADVICE or _is_elsewhere(error.filename, data_dir):
      raise
    _refuse(data_dir, os.strerror(number), number)
  except RuntimeError as error:
    for text, number in _ARRAY_RECORD_ADVICE.items():
      if text in str(error):
        _refuse(data_dir, text, number)
    raise


def _is_elsewhere(filename: str | None, data_dir: str) -> bool:
  """Return whether a file is known and neither below nor above data_dir."""
  if filename is None:
    return False
  path, root = (pathlib.Path(p).absolute() for p in (filename, data_dir))
  return not (path.is_relative_to(root) or root.is_relative_to(path))


def _refuse(data_dir: str, wrong: str, number: int) -> None:
  raise InputError(
    f'cannot write the dataset in {data_dir} ({wrong}); expected a folder '
    f'that can be written; {_ADVICE[number]}, or give another --data_dir'
  ) from None
