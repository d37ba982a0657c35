"""Motion features: what of a cleaned pose a model should hear.

Per pose frame, in this order (J = 14 joints, K = 8 directions):

    positions 2J | velocities 2J | accelerations 2J | motion per direction K
    | deceleration per direction K | confidences J
"""

import numpy as np

from dance2wave.errors import InputError
from dance2wave.pose.skeleton import SKELETONS
from dance2wave.pose.stream import LocalStream

_NUM_JOINTS = len(SKELETONS['core14'])
NUM_DIRECTIONS = 8
MOTION_DIM = 7 * _NUM_JOINTS + 2 * NUM_DIRECTIONS


def joint_columns() -> tuple[tuple[int, ...], ...]:
  """Return for each joint which motion features are its own, 7 of them.

  Position x, y, velocity x, y, acceleration x, y and confidence; the motion
  per direction and its deceleration are of all joints together.
  """
  pairs = [2 * _NUM_JOINTS * part for part in range(3)]
  confidence = MOTION_DIM - _NUM_JOINTS
  return tuple(
    (*(first + 2 * j + d for first in pairs for d in (0, 1)), confidence + j)
    for j in range(_NUM_JOINTS)
  )


# Kernels span about 70 ms, from one frame to two on either side.
_KERNEL_HALF_S = 0.037
_MAX_KERNEL_HALF = 2
FEATURE_LOOK_AHEAD_FRAMES = 2 * _MAX_KERNEL_HALF

_MAX_FEATURE = 5.0
_VELOCITY_SCALE = 3.0  # Torsos per second.
_ACCELERATION_SCALE = 30.0  # Torsos per second squared.
_MOTION_SCALE = 0.5  # Torsos per second, mean over joints.
_DECELERATION_SCALE = 5.0  # Torsos per second squared, mean over joints.


def kernel_half_frames(pose_rate_hz: float) -> int:
  """Return the frames on either side that a derivative looks at, 1 or 2."""
  half = round(_KERNEL_HALF_S * pose_rate_hz)
  return min(max(half, 1), _MAX_KERNEL_HALF)


def _shifted(value_F: np.ndarray, half: int) -> list[np.ndarray]:
  """Return value at -half .. +half frames; the ends repeat."""
  num = len(value_F)
  front, back = [value_F[:1]] * half, [value_F[-1:]] * half
  padded = np.concatenate([*front, value_F, *back])
  return [padded[offset : offset + num] for offset in range(2 * half + 1)]


def _weighted_sum(values: list[np.ndarray], weights: np.ndarray) -> np.ndarray:
  total = np.float32(weights[0]) * values[0]
  for value, weight in zip(values[1:], weights[1:]):
    total += np.float32(weight) * value
  return total


def _slope_kernel(half: int, rate_hz: float) -> np.ndarray:
  """First derivative of the parabola that fits 2 half + 1 frames best."""
  offset = np.arange(-half, half + 1)
  return offset / (offset**2).sum() * rate_hz


def _bend_kernel(half: int, rate_hz: float) -> np.ndarray:
  """Second derivative of the same parabola."""
  square = np.arange(-half, half + 1) ** 2
  centred = square - square.mean()
  return 2 * centred / (centred**2).sum() * rate_hz**2


def _derivatives(
  pose_FJD: np.ndarray, rate_hz: float
) -> tuple[np.ndarray, np.ndarray]:
  """Velocity and acceleration (F, J, 2); zero where a joint was not seen.

  A joint counts as seen if its confidence is above zero over the whole
  kernel, so that its reappearance elsewhere is not taken for a movement.
  """
  half = kernel_half_frames(rate_hz)
  xy = _shifted(pose_FJD[..., :2], half)
  seen_FJ1 = np.minimum.reduce(_shifted(pose_FJD[..., 2:], half)) > 0
  velocity = _weighted_sum(xy, _slope_kernel(half, rate_hz)) * seen_FJ1
  acceleration = _weighted_sum(xy, _bend_kernel(half, rate_hz)) * seen_FJ1
  return velocity, acceleration


def _length(vector: np.ndarray) -> np.ndarray:
  return np.sqrt(vector[..., 0] ** 2 + vector[..., 1] ** 2)


def directogram(velocity_FJD: np.ndarray) -> np.ndarray:
  """Histogram of joint speed by direction of movement.

  A velocity is the sum of an axis and a diagonal vector 45 degrees apart;
  its speed is shared between the two in proportion to their lengths, so the
  histogram changes smoothly with the direction.

  Returns:
    (F, 8) mean over joints of the speed towards right, left, down, up,
    right-down, right-up, left-down, left-up (y down); rows sum to the mean
    speed. After 'Dancing to Music' (1911.02001, sec. 3.1).
  """
  x, y = velocity_FJD[..., 0], velocity_FJD[..., 1]
  across, along = np.abs(x), np.abs(y)
  speed = _length(velocity_FJD)
  diagonal = np.float32(np.sqrt(2)) * np.minimum(across, along)
  straight = np.abs(across - along)
  total = diagonal + straight
  share = speed / np.where(total > 0, total, np.float32(1))
  straight, diagonal = straight * share, diagonal * share
  is_flat, is_right, is_down = across >= along, x > 0, y > 0
  bins_KFJ = np.stack(
    [
      straight * (is_flat & is_right),
      straight * (is_flat & ~is_right),
      straight * (~is_flat & is_down),
      straight * (~is_flat & ~is_down),
      diagonal * (is_right & is_down),
      diagonal * (is_right & ~is_down),
      diagonal * (~is_right & is_down),
      diagonal * (~is_right & ~is_down),
    ]
  )
  return _sum_joints(bins_KFJ).T / np.float32(velocity_FJD.shape[1])


def _sum_joints(value_NJ: np.ndarray) -> np.ndarray:
  """Sum over the last axis, joint by joint: the same bits for any chunk."""
  total = value_NJ[..., 0].copy()
  for joint in range(1, value_NJ.shape[-1]):
    total += value_NJ[..., joint]
  return total


def _deceleration(motion_FK: np.ndarray, rate_hz: float) -> np.ndarray:
  """Return how fast the motion in each direction falls, never negative.

  The positive part of the falling difference: its peaks are the sudden stops
  and turns that 'Dancing to Music' calls kinematic beats.
  """
  half = kernel_half_frames(rate_hz)
  slope = _weighted_sum(_shifted(motion_FK, half), _slope_kernel(half, rate_hz))
  return np.maximum(-slope, np.float32(0))


def _features(pose_FJD: np.ndarray, rate_hz: float) -> np.ndarray:
  num_frames = len(pose_FJD)
  velocity, acceleration = _derivatives(pose_FJD, rate_hz)
  motion_FK = directogram(velocity)
  parts = [
    pose_FJD[..., :2],
    velocity / np.float32(_VELOCITY_SCALE),
    acceleration / np.float32(_ACCELERATION_SCALE),
    motion_FK / np.float32(_MOTION_SCALE),
    _deceleration(motion_FK, rate_hz) / np.float32(_DECELERATION_SCALE),
    pose_FJD[..., 2],
  ]
  features = np.concatenate(
    [part.reshape(num_frames, -1) for part in parts], axis=1
  )
  return np.clip(features, -_MAX_FEATURE, _MAX_FEATURE)


def _checked(pose_FJD: np.ndarray) -> np.ndarray:
  pose_FJD = np.asarray(pose_FJD, np.float32)
  if pose_FJD.ndim != 3 or pose_FJD.shape[1:] != (_NUM_JOINTS, 3):
    raise InputError(
      f'pose has shape {pose_FJD.shape}; expected (frames, {_NUM_JOINTS}, 3) '
      'of core14; clean the poses first with clean_pose'
    )
  return pose_FJD


def motion_features(pose_FJD: np.ndarray, pose_rate_hz: float) -> np.ndarray:
  """Compute the motion features of cleaned poses.

  Args:
    pose_FJD: (F, 14, 3) of `clean.clean_pose`.
    pose_rate_hz: its rate.

  Returns:
    (F, MOTION_DIM) float32 within -5 to 5, of order one. Frame f depends on
    frames f - FEATURE_LOOK_AHEAD_FRAMES to f + FEATURE_LOOK_AHEAD_FRAMES only
    (half of that below 41 Hz); beyond the ends the last pose is repeated.
  """
  pose_FJD = _checked(pose_FJD)
  if not len(pose_FJD):
    return np.zeros((0, MOTION_DIM), np.float32)
  return _features(pose_FJD, float(pose_rate_hz))


class FeatureStream:
  """Motion features of a stream, equal to `motion_features` bit for bit."""

  def __init__(self, pose_rate_hz: float) -> None:
    rate_hz, reach = float(pose_rate_hz), 2 * kernel_half_frames(pose_rate_hz)
    # Time is the frame's number here.
    self._stream = LocalStream(
      lambda pose_FJD, _: _features(pose_FJD, rate_hz), reach, reach
    )
    self._num_pushed = 0

  def push(self, pose_FJD: np.ndarray) -> np.ndarray:
    """Take cleaned poses; return the (n, MOTION_DIM) features now final."""
    return self._push(_checked(pose_FJD), is_last=False)

  def finish(self) -> np.ndarray:
    """Return the features of the last frames."""
    empty = np.zeros((0, _NUM_JOINTS, 3), np.float32)
    return self._push(empty, is_last=True)

  def _push(self, pose_FJD: np.ndarray, *, is_last: bool) -> np.ndarray:
    frame = np.arange(self._num_pushed, self._num_pushed + len(pose_FJD))
    self._num_pushed += len(pose_FJD)
    features, _ = self._stream.push(pose_FJD, frame, is_last=is_last)
    return features.reshape(-1, MOTION_DIM) if len(features) else _NO_FEATURES


_NO_FEATURES = np.zeros((0, MOTION_DIM), np.float32)


def motion_size(pose_FJD: np.ndarray, pose_rate_hz: float) -> np.ndarray:
  """Return (F,) the mean joint speed in torsos per second."""
  pose_FJD = _checked(pose_FJD)
  if not len(pose_FJD):
    return np.zeros(0, np.float32)
  velocity, _ = _derivatives(pose_FJD, float(pose_rate_hz))
  return _sum_joints(_length(velocity)) / np.float32(_NUM_JOINTS)
