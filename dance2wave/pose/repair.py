"""Repair of single landmarks before anything is averaged.

The functions take pose_FJD (F, 14, 3) float64 of core14 in which a missing
joint has NaN coordinates, and time_F; each looks at most NEIGHBOUR_S ahead.
Thresholds are relative to the body, so a camera's zoom does not matter.
"""

import numpy as np

from dance2wave.pose.skeleton import CORE14_MIRROR, SKELETONS

NEIGHBOUR_S = 0.1
FUTURE_S = 3 * NEIGHBOUR_S  # What `repair` looks ahead, and back.
PAST_S = 5 * NEIGHBOUR_S
_MEDIAN_HALF_S = 0.0601  # 0.12 s: three frames at 15-30 Hz, seven at 60 Hz.
_MAX_JUMP_HZ = 10.0  # Body spreads per second, out and back again.
_MIN_JUMP = 0.25  # Body spreads.
_MIN_SWAP_GAIN = 0.3  # Body spreads.
_NAMES = SKELETONS['core14']
_RIGHT = np.array([j for j, n in enumerate(_NAMES) if n.startswith('right')])
_LEFT = np.array(CORE14_MIRROR)[_RIGHT]


def blank_missing(pose_FJD: np.ndarray, min_confidence: float) -> np.ndarray:
  """Return a float64 copy with NaN coordinates where confidence is too low."""
  pose_FJD = np.array(pose_FJD, np.float64)
  missing_FJ = ~(pose_FJD[..., 2] >= max(min_confidence, 1e-6))
  pose_FJD[missing_FJ] = (np.nan, np.nan, 0.0)
  return pose_FJD


def _middle(value_FN: np.ndarray) -> np.ndarray:
  """Median over the last axis without NaN; the upper one of an even count."""
  count_F = np.isfinite(value_FN).sum(axis=-1)
  ordered_FN = np.sort(value_FN, axis=-1)
  return np.take_along_axis(ordered_FN, count_F[..., None] // 2, -1)[..., 0]


def _spread(pose_FJD: np.ndarray) -> np.ndarray:
  """Median distance of the joints from the median joint, about 0.7 torsos."""
  with_end = np.pad(  # One NaN, so that `_middle` of nothing is NaN.
    pose_FJD[..., :2], ((0, 0), (0, 1), (0, 0)), constant_values=np.nan
  )
  x_FJ, y_FJ = with_end[..., 0], with_end[..., 1]
  x_FJ = x_FJ - _middle(x_FJ)[:, None]
  y_FJ = y_FJ - _middle(y_FJ)[:, None]
  return _middle(np.sqrt(x_FJ * x_FJ + y_FJ * y_FJ))


def _distance(a_FJD: np.ndarray, b_FJD: np.ndarray) -> np.ndarray:
  x, y = a_FJD[..., 0] - b_FJD[..., 0], a_FJD[..., 1] - b_FJD[..., 1]
  return np.sqrt(x * x + y * y)


def undo_swaps(pose_FJD: np.ndarray, time_F: np.ndarray) -> np.ndarray:
  """Exchange left and right where one frame alone has them exchanged.

  A pair of joints is exchanged when that fits the middle of its neighbours
  in time at least twice as well, by a clear distance, and the neighbours
  agree with each other.
  """
  if len(time_F) < 3:
    return pose_FJD
  right, left = pose_FJD[:, _RIGHT], pose_FJD[:, _LEFT]
  middle_R, middle_L = (right[:-2] + right[2:]) / 2, (left[:-2] + left[2:]) / 2
  here_R, here_L = right[1:-1], left[1:-1]
  keep = _distance(here_R, middle_R) + _distance(here_L, middle_L)
  swap = _distance(here_R, middle_L) + _distance(here_L, middle_R)
  row, pair = np.nonzero(swap < keep / 2)
  if not len(row):
    return pose_FJD
  before, after = (row, pair), (row + 2, pair)
  drift = _distance(right[before], right[after])
  drift += _distance(left[before], left[after])
  gain = keep[row, pair] - swap[row, pair]
  found = drift < 2 * _distance(middle_R[row, pair], middle_L[row, pair])
  found &= gain > _MIN_SWAP_GAIN * _spread(pose_FJD[row + 1])
  found &= time_F[row + 1] - time_F[row] <= NEIGHBOUR_S
  found &= time_F[row + 2] - time_F[row + 1] <= NEIGHBOUR_S
  row, pair = row[found] + 1, pair[found]
  pose_FJD = pose_FJD.copy()
  pose_FJD[row, _RIGHT[pair]] = left[row, pair]
  pose_FJD[row, _LEFT[pair]] = right[row, pair]
  return pose_FJD


def _seen_before(valid_FJ: np.ndarray) -> np.ndarray:
  """Index of the last valid frame before each frame, or -1."""
  row_F1 = np.arange(len(valid_FJ))[:, None]
  last = np.maximum.accumulate(np.where(valid_FJ, row_F1, -1), axis=0)
  return np.concatenate([np.full_like(last[:1], -1), last[:-1]])


def _seen_after(valid_FJ: np.ndarray) -> np.ndarray:
  """Index of the first valid frame after each frame and a last row of -1."""
  before = _seen_before(valid_FJ[::-1])[::-1]
  after = np.where(before < 0, -1, len(valid_FJ) - 1 - before)
  return np.concatenate([after, np.full_like(after[:1], -1)])


def drop_spikes(pose_FJD: np.ndarray, time_F: np.ndarray) -> np.ndarray:
  """Blank joints that jump away and back within one or two valid frames."""
  # The extra row stands for 'no such frame' and is reached by index -1.
  pose = np.concatenate([pose_FJD, np.full_like(pose_FJD[:1], np.nan)])
  time_F = np.append(time_F, np.nan)
  valid_FJ = np.isfinite(pose[..., 0])
  before, after = _seen_before(valid_FJ), _seen_after(valid_FJ[:-1])
  limit_F = _spread(pose)
  joint = np.arange(pose.shape[1])
  out = _distance(pose, pose[before, joint])
  row, joint = np.nonzero(out > _MIN_JUMP * limit_F[:, None])
  # From here on only the few joints that jump at all.
  start, end = before[row, joint], row
  limit = limit_F[row]
  away = out[row, joint] > _jump_limit(limit, time_F[row] - time_F[start])
  away &= limit > 0
  spikes = []
  for _ in range(2):  # Excursions of one, then of two valid frames.
    back = after[end, joint]
    home = _distance(pose[end, joint], pose[back, joint])
    home_s = time_F[back] - time_F[end]
    closed = 2 * _distance(pose[start, joint], pose[back, joint])
    found = away & (home > _jump_limit(limit, home_s))
    found &= closed < np.minimum(out[row, joint], home)
    found &= time_F[row] - time_F[start] <= NEIGHBOUR_S
    found &= time_F[back] - time_F[row] <= NEIGHBOUR_S
    spikes += [(row[found], joint[found]), (end[found], joint[found])]
    end = back
  for frames, joints in spikes:
    pose[frames, joints] = (np.nan, np.nan, 0.0)
  return pose[:-1]


def _jump_limit(spread: np.ndarray, gap_s: np.ndarray) -> np.ndarray:
  return spread * np.maximum(_MAX_JUMP_HZ * gap_s, _MIN_JUMP)


def _median_of_three(xy_FJ2: np.ndarray) -> np.ndarray:
  a, b, c = xy_FJ2[:-2], xy_FJ2[1:-1], xy_FJ2[2:]
  low, high = np.minimum(a, b), np.maximum(a, b)
  return np.maximum(low, np.minimum(high, c))  # NaN if any of them is.


def _half_windows(time_F: np.ndarray) -> np.ndarray:
  """Frames on either side within 0.06 s, at least the adjacent ones."""
  row_F, last = np.arange(len(time_F)), len(time_F) - 1
  left = row_F - np.searchsorted(time_F, time_F - _MEDIAN_HALF_S)
  right = np.searchsorted(time_F, time_F + _MEDIAN_HALF_S, 'right') - 1 - row_F
  half_F = np.minimum(left, right)
  inner = (row_F > 0) & (row_F < last)
  gap_F = np.maximum(
    time_F - time_F[np.maximum(row_F - 1, 0)],
    time_F[np.minimum(row_F + 1, last)] - time_F,
  )
  return np.where(inner & (gap_F <= NEIGHBOUR_S), np.maximum(half_F, 1), 0)


def median_filter(pose_FJD: np.ndarray, time_F: np.ndarray) -> np.ndarray:
  """Median of each coordinate over about 0.12 s of valid native frames.

  The window is symmetric, so a beat is not moved; next to a missing frame it
  narrows to three frames, then to the frame itself. Everybody Dance Now
  (1808.07371) takes seven frames.
  """
  half_F = _half_windows(time_F)
  if not half_F.any():
    return pose_FJD
  xy = pose_FJD[..., :2].copy()
  rows = np.flatnonzero(half_F)
  three = _median_of_three(pose_FJD[..., :2])[rows - 1]
  xy[rows] = np.where(np.isnan(three), xy[rows], three)
  for half in np.unique(half_F[half_F > 1]):
    rows = np.flatnonzero(half_F == half)
    around = rows[:, None] + np.arange(-half, half + 1)
    ordered = np.sort(pose_FJD[around, :, :2], axis=1)
    xy[rows] = np.where(np.isnan(ordered[:, -1]), xy[rows], ordered[:, half])
  return np.concatenate([xy, pose_FJD[..., 2:]], axis=-1)


def repair(pose_FJD: np.ndarray, time_F: np.ndarray) -> np.ndarray:
  """Undo swaps, drop spikes and take the median, in this order."""
  pose_FJD = drop_spikes(undo_swaps(pose_FJD, time_F), time_F)
  return median_filter(pose_FJD, time_F)
