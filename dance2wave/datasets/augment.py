"""Random changes of a dancer that leave the music's timing alone.

Every function takes a cleaned pose (F, 14, 3), in torso lengths from the
mid-hip, a generator and a strength, and returns a new pose; strength 0 changes
nothing.
"""

import dataclasses

import numpy as np

from dance2wave.errors import InputError
from dance2wave.pose.skeleton import CORE14_MIRROR

_MAX_BURST_S = 0.6
_BURSTS_PER_S = 0.2


@dataclasses.dataclass(frozen=True)
class Augmentation:
  """How much to change; 0 switches one off.

  Attributes:
    mirror: probability of exchanging left and right.
    rotation_deg: largest rotation of the picture.
    scale: largest relative change of size.
    noise: standard deviation of added noise, in torso lengths.
    joint_dropout: share of joints that are lost for the whole crop, and
      of joints that each burst of loss hits.
    rate_change: largest relative change of the playback rate of picture and
      sound together, at most 0.5.
  """

  mirror: float = 0.5
  rotation_deg: float = 10.0
  scale: float = 0.15
  noise: float = 0.01
  joint_dropout: float = 0.05
  rate_change: float = 0.15

  def __post_init__(self):
    limits = {
      'mirror': 1.0,
      'rotation_deg': 180.0,
      'scale': 0.9,
      'noise': 1.0,
      'joint_dropout': 1.0,
      'rate_change': 0.5,
    }
    for name, limit in limits.items():
      value = getattr(self, name)
      if not 0 <= value <= limit:
        raise InputError(
          f'augmentation {name} is {value}; expected 0 (off) to {limit:g}; '
          'correct it'
        )


NONE = Augmentation(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


def _moved(pose_FJD: np.ndarray, matrix: list[list[float]]) -> np.ndarray:
  """Apply a 2 x 2 matrix around the origin, the dancer's mid-hip."""
  (xx, xy), (yx, yy) = np.asarray(matrix, np.float32)
  x_FJ, y_FJ = pose_FJD[..., 0], pose_FJD[..., 1]
  moved_FJD = pose_FJD.copy()
  moved_FJD[..., 0] = xx * x_FJ + xy * y_FJ
  moved_FJD[..., 1] = yx * x_FJ + yy * y_FJ
  return moved_FJD


def mirror(
  pose_FJD: np.ndarray, rng: np.random.Generator, probability: float
) -> np.ndarray:
  """Exchange left and right, in the picture and in the names."""
  if rng.uniform() >= probability:
    return pose_FJD
  return _moved(pose_FJD[:, list(CORE14_MIRROR)], [[-1, 0], [0, 1]])


def rotate(
  pose_FJD: np.ndarray, rng: np.random.Generator, max_deg: float
) -> np.ndarray:
  """Turn the picture by up to max_deg to either side."""
  angle = np.deg2rad(rng.uniform(-max_deg, max_deg))
  cos, sin = np.cos(angle), np.sin(angle)
  return _moved(pose_FJD, [[cos, -sin], [sin, cos]])


def scale(
  pose_FJD: np.ndarray, rng: np.random.Generator, max_change: float
) -> np.ndarray:
  """Make the dancer larger or smaller by up to max_change."""
  return _moved(
    pose_FJD, (1 + rng.uniform(-max_change, max_change)) * np.eye(2)
  )


def add_noise(
  pose_FJD: np.ndarray, rng: np.random.Generator, std: float
) -> np.ndarray:
  """Shake every joint by Gaussian noise of std torso lengths."""
  noisy_FJD = pose_FJD.copy()
  shape = (*pose_FJD.shape[:2], 2)
  noisy_FJD[..., :2] += std * rng.standard_normal(shape, np.float32)
  return noisy_FJD


def drop_joints(
  pose_FJD: np.ndarray,
  rng: np.random.Generator,
  share: float,
  *,
  pose_rate_hz: float,
) -> np.ndarray:
  """Lose joints as a landmarker does: confidence 0, the last position held.

  A share of the joints is lost for the whole crop, and in bursts of up to
  0.6 s, one in five seconds on average, at least one more joint.
  """
  if share <= 0:
    return pose_FJD
  num_frames, num_joints = pose_FJD.shape[:2]
  lost_FJ = np.zeros((num_frames, num_joints), bool)
  lost_FJ[:, rng.uniform(size=num_joints) < share] = True
  num_bursts = rng.poisson(num_frames / pose_rate_hz * _BURSTS_PER_S)
  for _ in range(num_bursts):
    start = rng.integers(num_frames)
    stop = start + 1 + int(rng.uniform(0, _MAX_BURST_S) * pose_rate_hz)
    hit_J = rng.uniform(size=num_joints) < share
    hit_J[rng.integers(num_joints)] = True
    lost_FJ[start:stop, hit_J] = True
  return _held(pose_FJD, lost_FJ)


def _held(pose_FJD: np.ndarray, lost_FJ: np.ndarray) -> np.ndarray:
  """Replace lost joints by their last position before, or the first frame."""
  frame_FJ = np.where(lost_FJ, 0, np.arange(len(lost_FJ))[:, None])
  last_FJ = np.maximum.accumulate(frame_FJ, axis=0)
  held_FJD = pose_FJD[last_FJ, np.arange(lost_FJ.shape[1])]
  held_FJD[..., 2] = np.where(lost_FJ, 0.0, pose_FJD[..., 2])
  return held_FJD


def draw_percent(rng: np.random.Generator, max_change: float) -> int:
  """Draw a playback rate as a whole number of per cent."""
  most = round(100 * max_change)
  return 100 + int(rng.integers(-most, most + 1))


def augment_pose(
  pose_FJD: np.ndarray,
  rng: np.random.Generator,
  strength: Augmentation,
  *,
  pose_rate_hz: float,
) -> np.ndarray:
  """Apply all changes of the pose, one after the other."""
  pose_FJD = mirror(pose_FJD, rng, strength.mirror)
  pose_FJD = rotate(pose_FJD, rng, strength.rotation_deg)
  pose_FJD = scale(pose_FJD, rng, strength.scale)
  pose_FJD = add_noise(pose_FJD, rng, strength.noise)
  return drop_joints(
    pose_FJD, rng, strength.joint_dropout, pose_rate_hz=pose_rate_hz
  )
