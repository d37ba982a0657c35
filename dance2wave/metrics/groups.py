"""Clips that belong together: cut from one video, of one song or performance.

What was played to a clip's neighbour of the same video has its tempo and its
song, so that it tells nothing of chance; and clips that agree with each other
make no figure surer.
"""

from collections.abc import Sequence

import numpy as np

from dance2wave.metrics.statistics import mean_of_known


def next_of_others(groups: Sequence[str]) -> list[int | None]:
  """Return for each clip the index of the next one of another group.

  The first follows the last. None where all are of one group.
  """
  count = len(groups)
  return [
    next(
      (
        (index + step) % count
        for step in range(1, count)
        if groups[(index + step) % count] != groups[index]
      ),
      None,
    )
    for index in range(count)
  ]


def mean_of_each(
  values: Sequence[float], groups: Sequence[str] | None
) -> np.ndarray:
  """Return the mean of each group (G,), in order of appearance.

  NaN is left out; a group of nothing else is NaN. None are groups of one.
  """
  values = np.asarray(values, float)
  if groups is None:
    return values
  mine = ([n == group for n in groups] for group in dict.fromkeys(groups))
  return np.array([mean_of_known(values[is_mine]) for is_mine in mine])


def pairs_of_groups(pairs_NN: np.ndarray, groups: Sequence[str]) -> np.ndarray:
  """Return scores of groups against groups (G, G) from those of clips.

  Off the diagonal each is the mean over both groups' clips; on it, the mean
  of the right pairs alone. NaN is left out.
  """
  names = list(dict.fromkeys(groups))
  member_GN = np.array([[g == name for g in groups] for name in names], float)
  known_NN = np.isfinite(pairs_NN)

  def mean(known_NN):
    total_GG = member_GN @ np.where(known_NN, pairs_NN, 0.0) @ member_GN.T
    count_GG = member_GN @ known_NN @ member_GN.T
    return np.where(count_GG, total_GG / np.maximum(count_GG, 1), np.nan)

  own_GG = mean(known_NN & np.eye(len(pairs_NN), dtype=bool))
  return np.where(np.eye(len(names), dtype=bool), own_GG, mean(known_NN))
