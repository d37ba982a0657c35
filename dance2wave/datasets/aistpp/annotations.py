"""Poses and motions of AIST++ from its pickles and camera files.

    keypoints2d/<sequence>.pkl   keypoints2d (9 cameras, N, 17, 3) x, y in
                                 pixels and score; timestamps (N,)
    keypoints3d/<sequence>.pkl   keypoints3d, keypoints3d_optim (N, 17, 3)
    motions/<sequence>.pkl       smpl_poses (N, 24, 3) or (N, 72), smpl_trans
                                 (N, 3), smpl_scaling (1,)
    cameras/mapping.txt          <sequence> <setting>
    cameras/<setting>.json       a list of cameras: name, size, matrix,
                                 rotation, translation, distortions

Joints are those of COCO; where a detector found nothing there is NaN. Lengths
are in centimetres. Layout: github.com/google/aistplusplus_api.
"""

import dataclasses
import json
import pathlib
from typing import Any

import numpy as np

from dance2wave.datasets.aistpp.names import CAMERA
from dance2wave.datasets.unpickle import load_pickle
from dance2wave.errors import InputError

FRAME_HZ = 60
NUM_JOINTS = 17
_NUM_CAMERAS = 9
_FRAME_HEIGHT = 1080  # All videos of AIST are 1920 x 1080.
_M_PER_CM = 0.01
# What a time stamp may count, in seconds; the gap of two frames tells which.
_TICKS_S = {
  'seconds': 1.0,
  'milliseconds': 1e-3,
  'microseconds': 1e-6,
  'nanoseconds': 1e-9,
  'frames': 1 / FRAME_HZ,
}


def _refuse(path: pathlib.Path, wrong: str, expected: str) -> None:
  raise InputError(
    f'{path.parent.name}/{path.name}: {wrong}; expected {expected}; fetch the '
    'annotations again'
  )


def _load(path: pathlib.Path) -> dict:
  data = load_pickle(path)
  if not isinstance(data, dict):
    _refuse(path, f'holds a {type(data).__name__}', 'a dict of arrays')
  return data


def _array(
  path: pathlib.Path, data: dict, key: str, *shape: int | None
) -> np.ndarray:
  """Return data[key] as floats of this shape; None stands for any length."""
  value = data.get(key)
  if not isinstance(value, np.ndarray) or value.dtype.kind not in 'fiu':
    _refuse(
      path, f'has no array of numbers {key}', f'the arrays of {path.name}'
    )
  fits = len(shape) == value.ndim and all(
    want in (None, have) for want, have in zip(shape, value.shape)
  )
  if not fits:
    text = ', '.join('N' if n is None else str(n) for n in shape)
    _refuse(path, f'{key} has shape {value.shape}', f'({text})')
  return value.astype(np.float64)


def _seconds(path: pathlib.Path, stamp_F: np.ndarray) -> np.ndarray:
  """Return time stamps in seconds; their unit is told by their gaps."""
  if len(stamp_F) < 2:
    _refuse(path, f'{len(stamp_F)} frame(s)', 'at least 2')
  if not np.isfinite(stamp_F).all() or (np.diff(stamp_F) <= 0).any():
    _refuse(path, 'timestamps do not increase strictly', 'increasing times')
  gap = float(np.median(np.diff(stamp_F)))
  for tick_s in _TICKS_S.values():
    if abs(gap * tick_s * FRAME_HZ - 1) < 0.1:
      return stamp_F * tick_s
  _refuse(
    path,
    f'the usual gap of its timestamps is {gap:g}',
    f'1/{FRAME_HZ} s in {", ".join(_TICKS_S)}',
  )


def _with_confidence(xy_FJ2: np.ndarray, score_FJ: np.ndarray) -> np.ndarray:
  """Return (F, J, 3) in frame heights; what is not finite is missing."""
  is_seen = np.isfinite(xy_FJ2).all(axis=-1) & np.isfinite(score_FJ)
  pose_FJD = np.concatenate([xy_FJ2, score_FJ[..., None]], axis=-1)
  pose_FJD[~is_seen] = 0.0
  pose_FJD[..., 2] = np.clip(pose_FJD[..., 2], 0.0, 1.0)
  pose_FJD[pose_FJD[..., 2] == 0] = 0.0
  return pose_FJD.astype(np.float32)


def _check_dancer(path: pathlib.Path, pose_FJD: np.ndarray) -> None:
  if not pose_FJD[..., 2].any():
    _refuse(path, 'no joint is seen in any frame', 'a dancer')


def read_keypoints2d(path: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
  """Read the poses that camera c01 sees.

  Returns:
    (F, 17, 3) x, y in frame heights and score, and (F,) seconds on the clock
    of the video.

  Raises:
    InputError: names the file and what is wrong with it.
  """
  data = _load(path)
  shape = (_NUM_CAMERAS, None, NUM_JOINTS, 3)
  pixels_FJD = _array(path, data, 'keypoints2d', *shape)[int(CAMERA[1:]) - 1]
  stamp_F = _array(path, data, 'timestamps', len(pixels_FJD))
  time_s = _seconds(path, stamp_F)
  xy_FJ2 = pixels_FJD[..., :2] / _FRAME_HEIGHT
  pose_FJD = _with_confidence(xy_FJ2, pixels_FJD[..., 2])
  _check_dancer(path, pose_FJD)
  return pose_FJD, time_s


@dataclasses.dataclass(frozen=True)
class Camera:
  """A calibrated camera, as OpenCV describes one.

  Attributes:
    height: of its picture, pixels.
    matrix: (3, 3) intrinsic.
    rotation: (3,) from the world to the camera, axis times angle.
    translation: (3,) centimetres.
    distortions: (5,) k1, k2, p1, p2, k3.
  """

  height: float
  matrix: np.ndarray
  rotation: np.ndarray
  translation: np.ndarray
  distortions: np.ndarray

  def project(self, point_FJ3: np.ndarray) -> np.ndarray:
    """Return (F, J, 2) in frame heights; NaN for what is behind the camera."""
    from scipy.spatial.transform import Rotation

    turn = Rotation.from_rotvec(self.rotation).as_matrix()
    seen_FJ3 = point_FJ3 @ turn.T + self.translation
    depth = np.where(seen_FJ3[..., 2] > 0, seen_FJ3[..., 2], np.nan)
    x, y = seen_FJ3[..., 0] / depth, seen_FJ3[..., 1] / depth
    k1, k2, p1, p2, k3 = self.distortions
    r2 = x * x + y * y
    radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
    bent_x = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
    bent_y = y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
    bent_FJ3 = np.stack([bent_x, bent_y, np.ones_like(x)], axis=-1)
    return (bent_FJ3 @ self.matrix.T)[..., :2] / self.height


def _numbers(value: Any, *shape: int) -> np.ndarray:
  array = np.array(value, np.float64)
  if array.shape != shape or not np.isfinite(array).all():
    raise ValueError(f'{str(value)[:60]} is not {shape} finite numbers')
  return array


def read_camera(folder: pathlib.Path, sequence: str) -> Camera:
  """Return camera c01 of the setting in which a sequence was filmed.

  Args:
    folder: cameras/.
    sequence: its name.

  Raises:
    InputError: no mapping, no setting, or a damaged file.
  """
  path = folder / 'mapping.txt'
  try:
    pairs = [line.split() for line in path.read_text('utf-8').splitlines()]
    setting = dict(pair for pair in pairs if pair)[sequence]
    if not setting.isidentifier():
      raise ValueError(f'the setting {setting[:40]!r} is no name')
    path = folder / f'{setting}.json'
    cameras = {one['name']: one for one in json.loads(path.read_text('utf-8'))}
    one = cameras[CAMERA]
    return Camera(
      height=float(_numbers(one['size'], 2)[1]),
      matrix=_numbers(one['matrix'], 3, 3),
      rotation=_numbers(one['rotation'], 3),
      translation=_numbers(one['translation'], 3),
      distortions=_numbers(one['distortions'], 5),
    )
  except (OSError, KeyError, TypeError, ValueError) as error:
    text = f'{type(error).__name__}: {error}'
    _refuse(path, f'no camera {CAMERA} of {sequence} ({text})', 'its numbers')


def read_keypoints3d(
  path: pathlib.Path, camera: Camera
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Read poses in space, and as camera c01 would see them.

  The optimised ones where the file has them. They have no time stamps: frame
  k is at k/60 s.

  Returns:
    (F, 17, 3) projected, confidence 1 or 0; (F,) seconds; (F, 17, 3) metres in
    the world of the cameras, 0 where missing.

  Raises:
    InputError: names the file and what is wrong with it.
  """
  data = _load(path)
  key = 'keypoints3d_optim' if 'keypoints3d_optim' in data else 'keypoints3d'
  point_FJ3 = _array(path, data, key, None, NUM_JOINTS, 3)
  time_s = _seconds(path, np.arange(len(point_FJ3)))
  xy_FJ2 = camera.project(point_FJ3)
  pose_FJD = _with_confidence(xy_FJ2, np.ones(xy_FJ2.shape[:2]))
  _check_dancer(path, pose_FJD)
  pose3d_FJ3 = np.where(pose_FJD[..., 2:] > 0, point_FJ3 * _M_PER_CM, 0.0)
  return pose_FJD, time_s, pose3d_FJ3.astype(np.float32)


def read_motion(path: pathlib.Path, num_frames: int) -> dict[str, np.ndarray]:
  """Read the body model's parameters, as they are in the file.

  Returns:
    smpl_poses (F, 24, 3) axis times angle, smpl_trans (F, 3) centimetres,
    smpl_scaling () centimetres per unit of SMPL; float32.

  Raises:
    InputError: names the file and what is wrong with it.
  """
  data = _load(path)
  poses = data.get('smpl_poses')
  if isinstance(poses, np.ndarray) and poses.shape[1:] == (72,):
    data = {**data, 'smpl_poses': poses.reshape(-1, 24, 3)}
  motion = {
    'smpl_poses': _array(path, data, 'smpl_poses', num_frames, 24, 3),
    'smpl_trans': _array(path, data, 'smpl_trans', num_frames, 3),
    'smpl_scaling': _array(path, data, 'smpl_scaling', 1)[0],
  }
  for key, value in motion.items():
    if not np.isfinite(value).all():
      _refuse(path, f'{key} is not finite', 'numbers')
  return {key: value.astype(np.float32) for key, value in motion.items()}
