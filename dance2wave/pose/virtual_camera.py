"""Dancers in space, seen by a camera in front of them.

    joints in space (any unit, any axis up) ──> upright, facing, 0.65 frame
    heights tall, feet on the ground of a 16:9 picture

The camera is orthographic and does not move.
"""

import itertools

import numpy as np

from dance2wave.errors import InputError
from dance2wave.pose.skeleton import SKELETONS
from dance2wave.pose.track import PoseTrack

_BODY_HEIGHT = 0.65  # Of the frame.
_CENTRE_X, _GROUND_Y = 8 / 9, 0.85  # Frame heights, in a 16:9 picture.
_AT = {name: j for j, name in enumerate(SKELETONS['core14'])}


def _unit(vector: np.ndarray) -> np.ndarray:
  length = np.linalg.norm(vector, axis=-1, keepdims=True)
  return vector / np.where(length > 0, length, 1.0)


def _camera_axes(core_FJ3: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Right and down of a camera that the dancer faces, mostly.

  Up is the coordinate axis along which the head is above the hips; the
  camera's right is the mean direction from the right to the left hip. A
  dancer who spins faces the camera in the first frame.
  """
  right_hip, left_hip = (
    core_FJ3[:, _AT[f'{s}_hip']] for s in ('right', 'left')
  )
  nose = core_FJ3[:, _AT['nose']]
  upright = np.median(nose - (right_hip + left_hip) / 2, axis=0)
  axis = int(np.abs(upright).argmax())
  up = np.eye(3)[axis] * (1 if upright[axis] >= 0 else -1)
  across = left_hip - right_hip
  across = _unit(across - (across @ up)[:, None] * up)
  mean = across.mean(axis=0)
  right = mean if np.linalg.norm(mean) > 0.3 else across[0]
  if not np.linalg.norm(right) > 1e-6:
    right = np.roll(up, 1)
  return _unit(right), -up


def body_height(core_FJ3: np.ndarray) -> float:
  """Return the length of the dancer standing straight, whatever the pose."""
  chain = ('nose', 'neck', 'right_hip', 'right_knee', 'right_ankle')
  place = [core_FJ3[:, _AT[name]] for name in chain]
  bones = [np.linalg.norm(b - a, axis=-1) for a, b in itertools.pairwise(place)]
  return float(np.median(np.sum(bones, axis=0)))


def _pictured(core_FJ3: np.ndarray, known_F: np.ndarray, scale: float):
  """Project onto the picture: hips in its middle, feet on its ground."""
  right, down = _camera_axes(core_FJ3[known_F])
  xy = np.stack([core_FJ3 @ right, core_FJ3 @ down], axis=-1) * scale
  hips = xy[known_F][:, [_AT['right_hip'], _AT['left_hip']]]
  ankles = xy[known_F][:, [_AT['right_ankle'], _AT['left_ankle']]]
  origin = np.median(hips[..., 0]), np.quantile(ankles[..., 1], 0.95)
  return xy - origin + (_CENTRE_X, _GROUND_Y)


def film(
  core_FJ3: np.ndarray, time_F: np.ndarray, duration_s: float, source: str
) -> PoseTrack:
  """Film a dancer in space as a 'core14' track.

  Args:
    core_FJ3: (F, 14, 3) joints of core14 in any unit; NaN where missing.
    time_F: (F,) seconds.
    duration_s: of the track.
    source: what is read, for error messages.

  Raises:
    InputError: no frame is complete, the body has no height, or the times are
      not those of a track.
  """
  core_FJ3 = np.asarray(core_FJ3, np.float64)
  known_FJ = np.isfinite(core_FJ3).all(axis=-1)
  known_F = known_FJ.all(axis=1)
  if not known_F.any():
    raise InputError(
      f'{source}: every frame misses a joint; expected frames with all joints '
      'of core14; export the motion again'
    )
  height = body_height(core_FJ3[known_F])
  if not height > 0:
    raise InputError(
      f'{source}: the body has no height; expected joints that differ in '
      'place; export the motion again'
    )
  xy = _pictured(core_FJ3, known_F, _BODY_HEIGHT / height)
  pose_FJD = np.concatenate([xy, known_FJ[..., None]], axis=-1)
  pose_FJD[~known_FJ] = 0.0
  try:
    return PoseTrack(pose_FJD, time_F, 'core14', duration_s)
  except InputError as error:
    raise InputError(f'{source}: {error}') from None
