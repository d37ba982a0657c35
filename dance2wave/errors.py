"""The one error that a user is meant to read."""

import contextlib
import errno
import sys
from collections.abc import Iterator

from absl import flags


class InputError(ValueError):
  """Bad input: what is wrong with its value; what was expected; what to do.

  Entry points print it as one line and exit with status 2; every other
  exception is a defect and keeps its traceback.
  """


# What the disk may refuse; anything else of the system is a defect.
_DISK = (
  errno.ENOSPC,
  errno.EDQUOT,
  errno.EFBIG,
  errno.EACCES,
  errno.EPERM,
  errno.EROFS,
)


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
  """Turn an `InputError` into one line on stderr and exit status 2.

  A full disk and a lack of permission are the user's to mend as well.
  """
  try:
    yield
  except InputError as error:
    _leave(str(error))
  except OSError as error:
    if error.errno not in _DISK:
      raise
    _leave(
      f'{error.filename or "a file"}: {error.strerror}; expected a place with '
      'room and permission; free some space or choose another place'
    )


def _leave(line: str) -> None:
  print(f'dance2wave: {" ".join(line.split())}', file=sys.stderr)
  sys.exit(2)


def parse_flags(argv: list[str]) -> list[str]:
  """Parse absl flags; a bad one is an `InputError`."""
  try:
    return flags.FLAGS(argv)
  except (flags.Error, AttributeError, KeyError, TypeError, OSError) as error:
    raise InputError(f'{error}; correct the flag, or see --help') from error
