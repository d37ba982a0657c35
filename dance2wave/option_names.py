"""The names of all config keys."""

import dataclasses
import difflib
import typing

from dance2wave.options import Options


def nearest_key(name: str) -> str:
  """Return the config key, such as 'train.batch_size', most like a name."""
  keys = list(_keys(Options, ''))
  return difflib.get_close_matches(name, keys, n=1, cutoff=0.0)[0]


def _keys(cls, prefix):
  for key, hint in typing.get_type_hints(cls).items():
    if dataclasses.is_dataclass(hint):
      yield from _keys(hint, f'{prefix}{key}.')
    else:
      yield prefix + key
