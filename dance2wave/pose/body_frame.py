"""Where the body is and how large: the slow frame that poses are told in.

Everybody Dance Now (1808.07371, sec. 4) maps ankle heights and body heights
of a whole video. A stream has no whole video, so the frame here is a running
one: a body size from the last seconds and a heavily smoothed hip centre. The
bounce and the travel of the hips stay in the poses; distance, zoom, place in
the picture and slow pans of the camera go.
"""

import numpy as np

from dance2wave.pose.skeleton import SKELETONS

KNOT_S = 0.05  # The statistics live on this coarse grid of times.
FUTURE_KNOTS = 3  # Frame look-ahead = (FUTURE_KNOTS + 1) * KNOT_S.
_PAST_KNOTS = 60
_SMOOTH_KNOTS = 20
_MAX_SAMPLE_AGE_S = 0.1
_QUANTILE = 0.7  # Foreshortening only shortens: lean to the longer ones.
_MIN_SIZE, _DEFAULT_SIZE, _DEFAULT_CENTRE = 0.01, 0.25, 0.5

_JOINT = {name: j for j, name in enumerate(SKELETONS['core14'])}
# Lengths in torsos, for bodies of which the torso cannot be seen.
_PROPORTIONS = (
  ('nose', 'neck', 0.45),
  ('right_shoulder', 'left_shoulder', 0.68),
  *(
    (f'{side}_{upper}', f'{side}_{lower}', length)
    for side in ('right', 'left')
    for upper, lower, length in (
      ('shoulder', 'elbow', 0.56),
      ('elbow', 'wrist', 0.5),
      ('hip', 'knee', 0.82),
      ('knee', 'ankle', 0.8),
    )
  ),
)
_FROM = [_JOINT[a] for a, _, _ in _PROPORTIONS]
_TO = [_JOINT[b] for _, b, _ in _PROPORTIONS]
_LENGTH = np.array([length for _, _, length in _PROPORTIONS])


def _length(vector: np.ndarray) -> np.ndarray:
  return np.sqrt(vector[..., 0] ** 2 + vector[..., 1] ** 2)


def measure(xy_FJ2: np.ndarray) -> np.ndarray:
  """Return (F, 3) body size and hip centre x, y of single frames.

  NaN where too little of the body is seen. Without a torso the size is that
  of the least foreshortened limb; without hips they are thought one torso
  below the neck.
  """
  hips = (xy_FJ2[:, _JOINT['right_hip']] + xy_FJ2[:, _JOINT['left_hip']]) / 2
  neck = xy_FJ2[:, _JOINT['neck']]
  torso = _length(neck - hips)
  limbs = _length(xy_FJ2[:, _FROM] - xy_FJ2[:, _TO]) / _LENGTH
  size = np.where(np.isnan(torso), np.fmax.reduce(limbs, axis=1), torso)
  below = neck + np.stack([np.zeros_like(size), size], axis=1)
  centre = np.where(np.isnan(hips), below, hips)
  return np.concatenate([size[:, None], centre], axis=1)


def _windows(value_K: np.ndarray, length: int) -> np.ndarray:
  return np.lib.stride_tricks.sliding_window_view(value_K, length, axis=0)


def _quantile(window_KN: np.ndarray) -> np.ndarray:
  count_K = np.isfinite(window_KN).sum(axis=1)
  index_K = (_QUANTILE * np.maximum(count_K - 1, 0)).astype(int)
  return np.take_along_axis(np.sort(window_KN, axis=1), index_K[:, None], 1)[
    :, 0
  ]


def _mean(value: np.ndarray, length: int) -> np.ndarray:
  """Mean of every `length` successive rows, without NaN.

  Summed row by row: the order, and so every bit, is the same for any chunk.
  """
  num = len(value) - length + 1
  valid = np.isfinite(value)
  value = np.where(valid, value, 0.0)
  total = value[:num].copy()
  for offset in range(1, length):
    total += value[offset : offset + num]
  valid = np.concatenate([np.zeros_like(valid[:1]), valid])
  count = np.cumsum(valid, axis=0)
  count = count[length:] - count[:num]
  return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _hold(value: np.ndarray, last: np.ndarray) -> np.ndarray:
  """Replace NaN by the last finite value of the column, at first by `last`."""
  value = np.concatenate([last[None], value])
  row = np.arange(len(value))[(...,) + (None,) * (value.ndim - 1)]
  index = np.maximum.accumulate(np.where(np.isfinite(value), row, 0), axis=0)
  return np.take_along_axis(value, index, axis=0)[1:]


class BodyFrame:
  """The running size and centre, from a stream of repaired native frames."""

  def __init__(self) -> None:
    self._xy: np.ndarray | None = None
    self._time = np.zeros(0)
    self._num_measured = 0
    self._measured = np.zeros((0, 3))  # From knot num_final - _PAST_KNOTS on.
    self._quantiles: np.ndarray | None = None  # The last _SMOOTH_KNOTS - 1.
    self._num_final = 0
    self._frame = np.zeros((0, 3))  # size, x, y per knot from `_first` on.
    self._first = 0
    self._last = np.array([_DEFAULT_SIZE, _DEFAULT_CENTRE, _DEFAULT_CENTRE])

  def push(self, xy_FJ2: np.ndarray, time_F: np.ndarray) -> None:
    """Take native frames, NaN where a joint is missing."""
    if not len(time_F):
      return
    self._xy = (
      xy_FJ2 if self._xy is None else np.concatenate([self._xy, xy_FJ2])
    )
    self._time = np.concatenate([self._time, time_F])
    # A knot is measured once a frame at or after it has come.
    self._measure(int(np.floor(time_F[-1] / KNOT_S + 1e-6)) + 1)
    self._finalise(self._num_measured - FUTURE_KNOTS)

  def finish(self, last_time_s: float) -> None:
    """Complete the knots around every time up to `last_time_s`."""
    num_knots = int(last_time_s / KNOT_S) + 2
    self._measure(max(num_knots, self._num_measured) + FUTURE_KNOTS)
    self._finalise(self._num_measured - FUTURE_KNOTS)

  def normalise(self, pose_KJD: np.ndarray, time_K: np.ndarray) -> np.ndarray:
    """Tell poses at times whose knots are complete in torsos from the hips."""
    knot_K = time_K / KNOT_S
    below_K = np.floor(knot_K).astype(int)
    weight_K1 = (knot_K - below_K)[:, None]
    low = self._frame[below_K - self._first]
    high = self._frame[below_K + 1 - self._first]
    frame_K3 = low + weight_K1 * (high - low)
    self._first, self._frame = self._trimmed(below_K)
    size_K = np.maximum(frame_K3[:, 0], _MIN_SIZE)
    xy = pose_KJD[..., :2] - frame_K3[:, None, 1:]
    xy = xy / size_K[:, None, None]
    return np.concatenate([xy, pose_KJD[..., 2:]], axis=-1)

  def _trimmed(self, below_K: np.ndarray) -> tuple[int, np.ndarray]:
    first = int(below_K[-1]) if len(below_K) else self._first
    return first, self._frame[first - self._first :]

  def _measure(self, num_knots: int) -> None:
    """Measure at knots up to `num_knots`, each from the last frame before."""
    time_K = np.arange(self._num_measured, num_knots) * KNOT_S
    if not len(time_K):
      return
    row_K = np.searchsorted(self._time, time_K + 1e-9, 'right') - 1
    measured = measure(self._xy[row_K])
    too_old = time_K - self._time[row_K] > _MAX_SAMPLE_AGE_S
    measured[too_old | (row_K < 0)] = np.nan
    self._measured = np.concatenate([self._measured, measured])
    self._num_measured = num_knots
    start = max(row_K[-1], 0)
    self._xy, self._time = self._xy[start:], self._time[start:]

  def _start(self) -> None:
    """Pretend that the dancer stood still before the clip began."""
    centre = _mean(self._measured[: FUTURE_KNOTS + 1], FUTURE_KNOTS + 1)
    before = np.repeat(centre, _PAST_KNOTS, axis=0)
    before[:, 0] = np.nan  # The size needs no such help.
    self._measured = np.concatenate([before, self._measured])

  def _finalise(self, num_knots: int) -> None:
    new = num_knots - self._num_final
    if new <= 0:
      return
    if self._num_final == 0:
      self._start()
    length = _PAST_KNOTS + 1 + FUTURE_KNOTS
    window = self._measured[: new + length - 1]
    quantile_K = _quantile(_windows(window[:, 0], length))
    if self._quantiles is None:
      self._quantiles = np.full(_SMOOTH_KNOTS - 1, quantile_K[0])
    quantiles = np.concatenate([self._quantiles, quantile_K])
    size_K1 = _mean(quantiles[:, None], _SMOOTH_KNOTS)
    frame = np.concatenate([size_K1, _mean(window[:, 1:], length)], axis=1)
    frame = _hold(frame, self._last)
    self._last, self._num_final = frame[-1], num_knots
    self._frame = np.concatenate([self._frame, frame])
    self._quantiles = quantiles[-(_SMOOTH_KNOTS - 1) :]
    self._measured = self._measured[new:]
