"""Pose files of joints in space, seen by a camera in front of the dancer.

An .npz with `pose3d` (F, J, 3) in any unit and with any axis up, NaN where a
joint is missing; `skeleton`, one of SKELETONS or SPACE_SKELETONS; and
`pose_time_s` (F,) or `rate_hz`.
"""

import os
import pathlib

import numpy as np

from dance2wave.errors import InputError
from dance2wave.pose.skeleton import SKELETONS
from dance2wave.pose.track import (
  PoseTrack,
  duration_of,
  load_arrays,
  numbers,
  read_pose_file,
)
from dance2wave.pose.virtual_camera import film

# Joints of SMPL (Loper et al., 2015) in its order; its head serves as nose.
_SMPL24 = (
  *('pelvis', 'left_hip', 'right_hip', 'spine1', 'left_knee', 'right_knee'),
  *('spine2', 'left_ankle', 'right_ankle', 'spine3', 'left_foot'),
  *('right_foot', 'neck', 'left_collar', 'right_collar', 'nose'),
  *('left_shoulder', 'right_shoulder', 'left_elbow', 'right_elbow'),
  *('left_wrist', 'right_wrist', 'left_hand', 'right_hand'),
)
SPACE_SKELETONS = {'smpl24': _SMPL24, 'smpl22': _SMPL24[:22]}


def _names(skeleton: str, source: str) -> tuple[str, ...]:
  known = {**SKELETONS, **SPACE_SKELETONS}
  if skeleton not in known:
    raise InputError(
      f'{source}: skeleton is {skeleton!r}; expected one of '
      f'{", ".join(known)}; convert the joints to one of these'
    )
  return known[skeleton]


def _core14(pose_FJ3: np.ndarray, skeleton: str, source: str) -> np.ndarray:
  """Pick the joints of core14; the neck is the middle of the shoulders."""
  names = _names(skeleton, source)
  if pose_FJ3.ndim != 3 or pose_FJ3.shape[1:] != (len(names), 3):
    raise InputError(
      f'{source}: pose3d has shape {pose_FJ3.shape}; expected (frames, '
      f'{len(names)}, 3) for skeleton {skeleton}; name the skeleton that the '
      'joints have'
    )
  at = {name: j for j, name in enumerate(names)}
  shoulders = [at['right_shoulder'], at['left_shoulder']]
  return np.stack(
    [
      pose_FJ3[:, shoulders].mean(axis=1) if n == 'neck' else pose_FJ3[:, at[n]]
      for n in SKELETONS['core14']
    ],
    axis=1,
  )


def _times(arrays, num_frames: int, path: pathlib.Path):
  """Return (F,) seconds and the duration."""
  if 'pose_time_s' in arrays:
    time_F = numbers(arrays, 'pose_time_s', path).astype(np.float64)
    is_timed = time_F.ndim == 1 and time_F.size > 1
    return time_F, duration_of(time_F) if is_timed else 0.0
  rate = numbers(arrays, 'rate_hz', path)
  if rate.size != 1 or not 0.1 <= rate.item() <= 10_000:
    raise InputError(
      f'pose file {path}: rate_hz is {rate}; expected one number, the frames '
      'per second; correct it'
    )
  rate_hz = float(rate.item())
  return np.arange(num_frames) / rate_hz, num_frames / rate_hz


def _film_arrays(arrays: dict[str, np.ndarray], path: pathlib.Path):
  absent = [] if 'skeleton' in arrays else ['skeleton']
  if not {'pose_time_s', 'rate_hz'} & arrays.keys():
    absent.append('pose_time_s or rate_hz')
  if absent:
    raise InputError(
      f'pose file {path} has no {" and no ".join(absent)}; expected arrays '
      'pose3d, skeleton, and pose_time_s or rate_hz; add what is missing'
    )
  source = f'pose file {path}'
  pose_FJ3 = numbers(arrays, 'pose3d', path).astype(np.float64)
  core_FJ3 = _core14(pose_FJ3, str(arrays['skeleton']), source)
  time_F, duration_s = _times(arrays, len(core_FJ3), path)
  return film(core_FJ3, time_F, duration_s, source)


def read_pose_npz(path: str | os.PathLike) -> PoseTrack:
  """Read an .npz of poses in the picture (`pose`) or in space (`pose3d`).

  Where a file has both, the picture is taken.

  Raises:
    InputError: names the file and what is wrong with it.
  """
  path = pathlib.Path(path)
  arrays = load_arrays(path)
  if 'pose3d' in arrays and 'pose' not in arrays:
    return _film_arrays(arrays, path)
  return read_pose_file(path)
