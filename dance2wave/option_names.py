"""The names of all config keys."""

import dataclasses
import difflib
import functools
import typing

from dance2wave.options import Options


@functools.cache
def all_keys() -> tuple[str, ...]:
  """Return all config keys, such as 'train' and 'train.batch_size'."""
  return tuple(_keys(Options, ''))


def nearest_key(name: str) -> str:
  """Return the config key, such as 'train.batch_size', most like a name."""
  return difflib.get_close_matches(name, all_keys(), n=1, cutoff=0.0)[0]


def _keys(cls, prefix):
  for key, hint in typing.get_type_hints(cls).items():
    yield prefix + key
    if dataclasses.is_dataclass(hint):
      yield from _keys(hint, f'{prefix}{key}.')
