"""Splits by group, for sources that publish none."""

import hashlib
from collections.abc import Iterable

import numpy as np

SPLITS = ('train', 'validation', 'test')
_SHARES = {'train': 0.8, 'validation': 0.1, 'test': 0.1}


def _place(group: str) -> float:
  """Return a number in [0, 1) that depends on the group's name alone."""
  digest = hashlib.sha256(group.encode()).digest()
  return int.from_bytes(digest[:8], 'big') / 2**64


def assign_splits(groups: Iterable[str]) -> dict[str, str]:
  """Give every group a split: about 8 in 10 to train, 1 in 10 to the others.

  A group's place depends on its name alone. Only while a split would be empty
  the nearest group of the fullest one moves over; train is served first.
  """
  groups = sorted(set(groups), key=_place)
  splits, bounds = list(_SHARES), np.cumsum(list(_SHARES.values()))[:-1]
  chosen = {
    group: splits[np.searchsorted(bounds, _place(group), side='right')]
    for group in groups
  }
  for place, split in enumerate(splits[: len(groups)]):
    members = {s: [g for g in groups if chosen[g] == s] for s in splits}
    givers = [s for s in splits if len(members[s]) > 1] or splits[place + 1 :]
    if not members[split]:
      fullest = max(givers, key=lambda s: len(members[s]))
      chosen[members[fullest][-1]] = split
  return chosen
