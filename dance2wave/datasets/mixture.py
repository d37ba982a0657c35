"""Several sources as one: clips one after the other, and a weight for each."""

import bisect
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from dance2wave.errors import InputError


class Mixture(Sequence):
  """The clips of several sources by one index, in the order of the sources.

  Attributes:
    parts: the sources.
    weights: of each, summing to one: its share of the training examples,
      however many clips it has.
    offsets: index of the first clip of each part.
  """

  def __init__(
    self, parts: Sequence[Sequence[Any]], weights: Sequence[float] = ()
  ):
    """Join parts; without weights all have the same.

    Raises:
      InputError: not one positive weight for each part.
    """
    weights = tuple(weights) or (1.0,) * len(parts)
    if len(weights) != len(parts) or not all(w > 0 for w in weights):
      raise InputError(
        f'dataset.weights={weights} for {len(parts)} dataset(s); expected one '
        'number above 0 for each; set --config.dataset.weights'
      )
    self.parts = tuple(parts)
    self.weights = tuple(w / sum(weights) for w in weights)
    ends = list(itertools.accumulate(len(part) for part in parts))
    self.offsets = (0, *ends[:-1])
    self._length = ends[-1]

  def __len__(self) -> int:
    return self._length

  def __getitem__(self, index: int) -> Any:
    index = range(len(self))[index]
    part = bisect.bisect_right(self.offsets, index) - 1
    return self.parts[part][index - self.offsets[part]]

  def in_turns(self) -> Iterator[int]:
    """Yield all indices: the first of each part, the second of each, ..."""
    for place in range(max(len(part) for part in self.parts)):
      for offset, part in zip(self.offsets, self.parts):
        if place < len(part):
          yield offset + place


def as_mixture(source: Sequence[Any]) -> Mixture:
  """Return a mixture as it is, any other source as a mixture of one."""
  return source if isinstance(source, Mixture) else Mixture([source])
