"""The flag --config of all entry points that take a config file."""

import pathlib

from absl import flags
from ml_collections import config_flags

from dance2wave.errors import InputError


def define(
  default: str | None = None,
  text: str = 'Config file, such as configs/wavenet.py.',
) -> flags.FlagHolder:
  """Define --config, a file whose keys are flags: --config.seed=1."""
  return config_flags.DEFINE_config_file(
    'config', default, text, lock_config=True
  )


def check() -> pathlib.Path:
  """Return the file that --config names, without what follows a colon.

  Raises:
    InputError: --config is missing, or there is no such file.
  """
  flag = flags.FLAGS['config']
  if flag.value is None:
    raise InputError(
      '--config is missing; expected a config file; give '
      '--config=configs/wavenet.py'
    )
  path = pathlib.Path(flag.config_filename.partition(':')[0])
  if not path.is_file():
    raise InputError(
      f'--config={path} does not exist; expected a config file, such as '
      'configs/wavenet.py; correct the path'
    )
  return path
