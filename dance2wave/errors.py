"""The one error that a user is meant to read."""

import contextlib
import sys
from collections.abc import Iterator


class InputError(ValueError):
  """Bad input: what is wrong with its value; what was expected; what to do.

  Entry points print it as one line and exit with status 2; every other
  exception is a defect and keeps its traceback.
  """


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
  """Turn an `InputError` into one line on stderr and exit status 2."""
  try:
    yield
  except InputError as error:
    print(f'dance2wave: {" ".join(str(error).split())}', file=sys.stderr)
    sys.exit(2)
