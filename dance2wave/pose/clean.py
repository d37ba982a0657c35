"""From raw landmarks to poses a model can trust: one stream for all uses.

    native frames ── undo swaps ── drop spikes ── median ──┬── fill, resample ──┐
    (any rate)                                             └── body frame ─ normalise ─> k / pose_rate_hz

The pose at time t depends on nothing after t + CLEAN_DELAY_S. Offline
cleaning is one push and a finish, so that training and live use agree to the
last bit however the input was cut.
"""  # noqa: E501

import math

import numpy as np

from dance2wave.errors import InputError
from dance2wave.pose import body_frame, repair
from dance2wave.pose.skeleton import SKELETONS, to_core14
from dance2wave.pose.stream import MIN_STEP_S, LocalStream
from dance2wave.pose.track import PoseTrack

MAX_GAP_S = 0.2  # Longer gaps are held with confidence 0.
CLEAN_DELAY_S = repair.FUTURE_S + MAX_GAP_S  # Half a second.
MIN_CONFIDENCE = 0.2

_MAX_TORSOS = 8.0
_SLACK_S = 1e-6
_NUM_JOINTS = len(SKELETONS['core14'])
assert (body_frame.FUTURE_KNOTS + 1) * body_frame.KNOT_S <= MAX_GAP_S + 1e-9

# A standing dancer for joints never seen, in torsos from the hips; y down.
_RIGHT_HALF = {
  'shoulder': (-0.34, -1.0),
  'elbow': (-0.45, -0.45),
  'wrist': (-0.5, 0.05),
  'hip': (-0.18, 0.0),
  'knee': (-0.2, 0.82),
  'ankle': (-0.2, 1.62),
}


def _neutral_pose() -> np.ndarray:
  places = {'nose': (0.0, -1.4), 'neck': (0.0, -1.0)}
  for part, (x, y) in _RIGHT_HALF.items():
    places[f'right_{part}'], places[f'left_{part}'] = (x, y), (-x, y)
  return np.array([places[name] for name in SKELETONS['core14']])


NEUTRAL_POSE_J2 = _neutral_pose()


def num_pose_frames(duration_s: float, pose_rate_hz: float) -> int:
  """Return floor(duration_s * pose_rate_hz), at least 1."""
  return max(1, math.floor(duration_s * pose_rate_hz + 1e-6))


class _Sampler:
  """Fill gaps and sample at given times, joint by joint."""

  def __init__(self) -> None:
    # Row 0 holds each joint as last seen before the frames that follow.
    self._value = np.full((1, _NUM_JOINTS, 3), np.nan)
    self._seen_s = np.full((1, _NUM_JOINTS), np.nan)
    self._time = np.full(1, -np.inf)

  def push(self, value_FJD: np.ndarray, time_F: np.ndarray) -> None:
    self._value = np.concatenate([self._value, value_FJD])
    seen = np.broadcast_to(time_F[:, None], value_FJD.shape[:2])
    self._seen_s = np.concatenate([self._seen_s, seen])
    self._time = np.concatenate([self._time, time_F])

  def sample(self, time_K: np.ndarray) -> np.ndarray:
    """Return (K, J, 3) at ascending times; NaN where nothing is known.

    Between two sightings at most MAX_GAP_S apart: linear. Within a longer
    gap: the last value, confidence 0. Before the first sighting: that one if
    at most MAX_GAP_S ahead, confidence 0.
    """
    before, after = self._sightings(time_K)
    joint = np.arange(_NUM_JOINTS)
    value = np.concatenate([self._value, np.full_like(self._value[:1], np.nan)])
    seen_s = np.concatenate([self._seen_s, np.full((1, _NUM_JOINTS), np.nan)])
    low, high = value[before, joint], value[after, joint]
    low_s, high_s = seen_s[before, joint], seen_s[after, joint]
    span_s = high_s - low_s
    weight = (time_K[:, None] - low_s) / np.where(span_s > 0, span_s, 1.0)
    result = low + weight[..., None] * (high - low)
    # The time of an absent side is NaN, which is never near.
    is_linear = span_s <= MAX_GAP_S
    is_ahead = np.isnan(low[..., 0]) & (high_s - time_K[:, None] <= MAX_GAP_S)
    guess = np.where(is_ahead[..., None], high, low)
    guess[..., 2] = 0.0
    self._forget(time_K, before)
    return np.where(is_linear[..., None], result, guess)

  def _sightings(self, time_K: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows where each joint was last seen and is next seen; -1 = never."""
    num = len(self._time)
    valid = np.isfinite(self._value[..., 0])
    row = np.arange(num)[:, None]
    last = np.maximum.accumulate(np.where(valid, row, -1), axis=0)
    following = np.where(valid, row, num)[::-1]
    following = np.minimum.accumulate(following, axis=0)[::-1]
    following = np.concatenate([following, np.full_like(following[:1], num)])
    below = np.searchsorted(self._time, time_K, 'right') - 1
    above = np.searchsorted(self._time, time_K, 'left')
    return last[below], following[above]

  def _forget(self, time_K: np.ndarray, before: np.ndarray) -> None:
    if not len(time_K):
      return
    row, joint = before[-1], np.arange(_NUM_JOINTS)
    start = int(np.searchsorted(self._time, time_K[-1], 'right'))
    last, seen_s = self._value[row, joint], self._seen_s[row, joint]
    unseen = row < 0
    last[unseen], seen_s[unseen] = np.nan, np.nan
    self._value = np.concatenate([last[None], self._value[start:]])
    self._seen_s = np.concatenate([seen_s[None], self._seen_s[start:]])
    self._time = np.concatenate([self._time[:1], self._time[start:]])


class PoseCleaner:
  """Clean a stream of core14 poses; every chunking gives the same bits.

  Args:
    pose_rate_hz: rate of the result; any input rate, constant or not.
    min_confidence: joints less sure than this count as missing.

  The result is in torso lengths (neck to middle of the hips about 1) from a
  slowly moving hip centre, x right, y down, with confidence 0 to 1, always
  finite. Confidence 0 marks what was held or guessed.
  """

  def __init__(
    self, pose_rate_hz: float, *, min_confidence: float = MIN_CONFIDENCE
  ) -> None:
    if not pose_rate_hz > 0 or not math.isfinite(pose_rate_hz):
      raise InputError(
        f'pose_rate_hz is {pose_rate_hz}; expected a positive number; '
        'use for example 25'
      )
    self._rate_hz = float(pose_rate_hz)
    self._min_confidence = min_confidence
    self._repair = LocalStream(repair.repair, repair.PAST_S, repair.FUTURE_S)
    self._sampler = _Sampler()
    self._body = body_frame.BodyFrame()
    self._newest_s = -math.inf
    self._num_emitted = 0

  def push(self, pose_FJD: np.ndarray, pose_time_s: np.ndarray) -> np.ndarray:
    """Take native frames; return the (n, 14, 3) float32 poses now final.

    Raises:
      InputError: a wrong shape, or times that do not increase strictly.
    """
    time_F = np.asarray(pose_time_s, np.float64)
    if time_F.ndim != 1:
      raise InputError(
        f'pose_time_s has shape {time_F.shape}; expected (frames,), a time in '
        'seconds for each pose; reshape it'
      )
    pose_FJD = self._checked(np.asarray(pose_FJD), time_F)
    if not len(time_F):
      return np.zeros((0, _NUM_JOINTS, 3), np.float32)
    self._newest_s = float(time_F[-1])
    final_s = self._repaired_until(pose_FJD, time_F, is_last=False)
    if final_s is None:
      return np.zeros((0, _NUM_JOINTS, 3), np.float32)
    final_s -= MAX_GAP_S - _SLACK_S
    return self._emit(math.floor(final_s * self._rate_hz) + 1)

  def finish(self, duration_s: float) -> np.ndarray:
    """Return the remaining poses up to `duration_s`.

    Raises:
      InputError: the stream was empty, or longer than `duration_s`.
    """
    if not self._newest_s <= duration_s:
      raise InputError(
        f'duration_s is {duration_s:g} but the last pose is at '
        f'{self._newest_s:g} s; expected poses within the duration'
      )
    if self._newest_s == -math.inf:
      raise InputError('no pose was pushed; expected at least one frame')
    empty = np.zeros((0, _NUM_JOINTS, 3))
    self._repaired_until(empty, np.zeros(0), is_last=True)
    num_frames = num_pose_frames(duration_s, self._rate_hz)
    self._body.finish(max(duration_s, num_frames / self._rate_hz))
    self._extend_last_frame(duration_s)
    return self._emit(num_frames)

  def _checked(self, pose_FJD: np.ndarray, time_F: np.ndarray) -> np.ndarray:
    if pose_FJD.shape != (len(time_F), _NUM_JOINTS, 3):
      raise InputError(
        f'pose has shape {pose_FJD.shape} for {len(time_F)} times; expected '
        f'({len(time_F)}, {_NUM_JOINTS}, 3); convert it with to_core14'
      )
    gaps = np.diff(time_F, prepend=self._newest_s)
    in_order = (gaps >= MIN_STEP_S).all()
    if len(time_F) and not (in_order and 0 <= time_F[0] <= time_F[-1] < np.inf):
      raise InputError(
        'pose_time_s does not increase strictly from 0; expected seconds in '
        'order, none infinite; sort the frames and drop repeated ones'
      )
    return repair.blank_missing(pose_FJD, self._min_confidence)

  def _repaired_until(
    self, pose_FJD: np.ndarray, time_F: np.ndarray, *, is_last: bool
  ) -> float | None:
    """Repair and pass on; return the time of the newest frame done, if any."""
    pose_FJD, time_F = self._repair.push(pose_FJD, time_F, is_last=is_last)
    if not len(time_F):
      return None
    self._sampler.push(pose_FJD, time_F)
    self._body.push(pose_FJD[..., :2], time_F)
    self._last_frame = pose_FJD[-1:]
    return float(time_F[-1])

  def _extend_last_frame(self, duration_s: float) -> None:
    """Let the last frame be seen until the end, or for MAX_GAP_S."""
    end_s = min(duration_s, self._newest_s + MAX_GAP_S)
    if end_s > self._newest_s:
      self._sampler.push(self._last_frame, np.array([end_s]))

  def _emit(self, num_frames: int) -> np.ndarray:
    """Sample up to `num_frames` in all; returns the new ones."""
    frame_K = np.arange(self._num_emitted, max(num_frames, self._num_emitted))
    if not len(frame_K):
      return np.zeros((0, _NUM_JOINTS, 3), np.float32)
    self._num_emitted = num_frames
    time_K = frame_K / self._rate_hz
    pose_KJD = self._body.normalise(self._sampler.sample(time_K), time_K)
    xy = np.clip(pose_KJD[..., :2], -_MAX_TORSOS, _MAX_TORSOS)
    xy = np.where(np.isnan(xy), NEUTRAL_POSE_J2, xy)
    confidence = np.nan_to_num(pose_KJD[..., 2:])
    return np.concatenate([xy, confidence], axis=-1).astype(np.float32)


def clean_pose(track: PoseTrack, pose_rate_hz: float) -> np.ndarray:
  """Clean a whole track.

  Returns:
    (num_pose_frames(track.duration_s, pose_rate_hz), 14, 3) float32 as made
    by `PoseCleaner`; frame k is the pose at k / pose_rate_hz seconds.
  """
  cleaner = PoseCleaner(pose_rate_hz)
  core_FJD = to_core14(track.pose_FJD, track.skeleton)
  first = cleaner.push(core_FJD, track.pose_time_s)
  return np.concatenate([first, cleaner.finish(track.duration_s)])
