"""The folder that a tool writes to."""

import pathlib

from dance2wave.errors import InputError


def make_output(folder: pathlib.Path) -> None:
  """Make the folder of --output, if it is not there.

  Raises:
    InputError: it cannot be made.
  """
  try:
    folder.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise InputError(
      f'output {folder} cannot be made ({error.strerror}); expected a folder '
      'that may be written; choose another --output'
    ) from None
