"""The debug config with some keys changed."""

from configs import debug
from dance2wave import options as options_lib


def config_with(**changes):
  """The debug config as nested dicts; `train__batch_size=2` changes a key."""
  config = debug.get_config().to_dict()
  for key, value in changes.items():
    group = config
    *path, last = key.split('__')
    for name in path:
      group = group[name]
    group[last] = value
  return config


def options_with(**changes):
  """The same, as options."""
  return options_lib.parse(config_with(**changes))
