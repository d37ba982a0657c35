"""One dancer over time as a value, and its file.

A pose file is an .npz with `pose` (F, J, 3), `pose_time_s` (F,), `skeleton`
and, optionally, `duration_s`. It never holds pickled objects.
"""

import contextlib
import dataclasses
import os
import pathlib
import tempfile
import zipfile

import numpy as np
from absl import logging

from dance2wave import damaged
from dance2wave.errors import InputError, first_line
from dance2wave.pose.skeleton import joint_names

MAX_DIFFERENCE_S = 0.5  # between a video and its poses
_MAX_COORDINATE = 100.0  # frame heights; beyond it somebody stored pixels
_CONFIDENCE_SLACK = 1e-3
# More out of so few bytes is a bomb: poses shrink to a third at most.
_MAX_RATIO, _SMALL_BYTES = 200, 64 << 20


def _refuse(wrong: str, expected: str, advice: str) -> None:
  raise InputError(f'{wrong}; expected {expected}; {advice}')


def _check_pose(pose_FJD: np.ndarray, num_joints: int, skeleton: str) -> None:
  if pose_FJD.ndim != 3 or pose_FJD.shape[1:] != (num_joints, 3):
    _refuse(
      f'pose has shape {pose_FJD.shape}',
      f'(frames, {num_joints}, 3) for skeleton {skeleton}',
      'store x, y and confidence of every joint',
    )
  if len(pose_FJD) < 2:
    _refuse(
      f'pose has {len(pose_FJD)} frame(s)', 'at least 2', 'use a longer clip'
    )
  if not np.isfinite(pose_FJD).all():
    frame, joint = np.argwhere(~np.isfinite(pose_FJD))[0][:2]
    _refuse(
      f'pose is not finite at frame {frame}, joint {joint}',
      'finite numbers',
      'give a missing joint x = y = 0 and confidence 0',
    )
  confidence = pose_FJD[..., 2]
  if confidence.min() < 0 or confidence.max() > 1:
    _refuse(
      f'confidence spans {confidence.min():g} to {confidence.max():g}',
      '0 to 1',
      'rescale the third coordinate; store joints in space as pose3d',
    )
  largest = np.abs(pose_FJD[..., :2] * (confidence > 0)[..., None]).max()
  if largest > _MAX_COORDINATE:
    _refuse(
      f'a coordinate is {largest:g} frame heights from the corner',
      f'at most {_MAX_COORDINATE:g}',
      'divide pixel coordinates by the height of the frame',
    )


def _check_times(pose_time_s: np.ndarray, num_frames: int, duration_s: float):
  if pose_time_s.shape != (num_frames,):
    _refuse(
      f'pose_time_s has shape {pose_time_s.shape} for {num_frames} frames',
      f'({num_frames},)',
      'give every frame its own time',
    )
  if not np.isfinite(pose_time_s).all() or (np.diff(pose_time_s) <= 0).any():
    _refuse(
      'pose_time_s does not increase strictly',
      'finite, strictly increasing seconds',
      'sort the frames and drop repeated ones',
    )
  if pose_time_s[0] != 0:
    _refuse(
      f'pose_time_s starts at {pose_time_s[0]:g} s',
      '0 s',
      'subtract the first time from all',
    )
  if not np.isfinite(duration_s) or duration_s < pose_time_s[-1]:
    _refuse(
      f'duration_s is {duration_s:g}',
      f'a finite number of at least {pose_time_s[-1]:g} s, the last frame',
      'correct it, or leave it out of the pose file',
    )


@dataclasses.dataclass(frozen=True)
class PoseTrack:
  """One dancer over time; values are checked when it is made.

  Attributes:
    pose_FJD: (F, J, 3) float32 x, y (y down) in units of the frame height,
      and confidence 0 to 1; a missing joint has confidence 0. F >= 2.
    pose_time_s: (F,) float64 seconds, strictly increasing from 0.
    skeleton: a key of `skeleton.SKELETONS`.
    duration_s: length of the clip, at least the last time.

  Raises:
    InputError: whatever breaks one of these lines.
  """

  pose_FJD: np.ndarray
  pose_time_s: np.ndarray
  skeleton: str
  duration_s: float

  def __post_init__(self):
    pose_FJD = np.asarray(self.pose_FJD, np.float32)
    time_s = np.asarray(self.pose_time_s, np.float64)
    duration_s = float(self.duration_s)
    _check_pose(pose_FJD, len(joint_names(self.skeleton)), self.skeleton)
    _check_times(time_s, len(pose_FJD), duration_s)
    object.__setattr__(self, 'pose_FJD', pose_FJD)
    object.__setattr__(self, 'pose_time_s', time_s)
    object.__setattr__(self, 'duration_s', duration_s)


def duration_of(pose_time_s: np.ndarray) -> float:
  """Return last time + median gap: the duration where nobody wrote it down."""
  return float(pose_time_s[-1] + np.median(np.diff(pose_time_s)))


def load_arrays(path: pathlib.Path) -> dict[str, np.ndarray]:
  """Read all arrays of an .npz; objects (pickles) are refused by name."""
  arrays = {}
  try:
    with path.open('rb') as raw, np.load(raw, allow_pickle=False) as file:
      _check_ratio(file.zip, path)
      for name in file.files:
        arrays[name] = _load_member(file, name, path)
  except InputError:
    raise
  except FileNotFoundError:
    raise InputError(
      f'pose file {path} does not exist; expected an .npz; check the path'
    ) from None
  except damaged.ARRAYS as error:
    raise InputError(
      f'pose file {path} cannot be read ({first_line(error)}); expected an '
      '.npz written by data_prep.extract_poses or numpy.savez; extract the '
      'poses again'
    ) from None
  return arrays


def _check_ratio(archive: zipfile.ZipFile, path: pathlib.Path) -> None:
  total = sum(member.file_size for member in archive.infolist())
  if total > max(_SMALL_BYTES, _MAX_RATIO * path.stat().st_size):
    raise InputError(
      f'pose file {path} brings {total} bytes out of {path.stat().st_size}; '
      'expected arrays of poses; do not use this file'
    )


def _load_member(file, name: str, path: pathlib.Path) -> np.ndarray:
  try:
    array = file[name]
  except ValueError as error:
    if 'allow_pickle' not in str(error):
      raise
    raise InputError(
      f'pose file {path}: array {name!r} holds pickled Python objects, which '
      'can run code; expected plain numbers or text; save it with a numeric '
      'or string dtype'
    ) from None
  if not isinstance(array, np.ndarray):  # Bytes of some other file.
    raise InputError(
      f'pose file {path}: {name!r} is no array; expected an .npz written by '
      'data_prep.extract_poses or numpy.savez; extract the poses again'
    )
  return array


def numbers(
  arrays: dict[str, np.ndarray], name: str, path: pathlib.Path
) -> np.ndarray:
  """Return an array of real numbers; InputError names any other."""
  array = arrays[name]
  if array.dtype.kind not in 'fiu':
    raise InputError(
      f'pose file {path}: {name} has dtype {array.dtype}; expected real '
      'numbers; save it as float32'
    )
  return array


def _blank_missing(pose_FJD: np.ndarray) -> np.ndarray:
  """Zero joints of no confidence and forgive rounding of the confidence."""
  with np.errstate(over='ignore'):  # What becomes infinite is refused.
    pose_FJD = pose_FJD.astype(np.float32)  # Always a copy.
  if pose_FJD.ndim != 3 or pose_FJD.shape[2] != 3:
    return pose_FJD
  confidence = pose_FJD[..., 2]
  over = (confidence > 1) & (confidence <= 1 + _CONFIDENCE_SLACK)
  confidence[over] = 1.0
  missing = (confidence == 0) | np.isnan(confidence)
  pose_FJD[missing] = 0.0
  return pose_FJD


def _duration_in(arrays, time_s: np.ndarray, path: pathlib.Path) -> float:
  """Return the duration that a file states, or that its times suggest."""
  if 'duration_s' not in arrays:
    is_timed = time_s.ndim == 1 and time_s.size > 1
    return duration_of(time_s) if is_timed else 0.0
  duration = numbers(arrays, 'duration_s', path)
  if duration.size != 1:
    raise InputError(
      f'pose file {path}: duration_s has shape {duration.shape}; expected one '
      'number of seconds; correct it, or leave it out of the pose file'
    )
  return float(duration.item())


def read_pose_file(path: str | os.PathLike) -> PoseTrack:
  """Read one .npz pose file.

  A joint of confidence 0 may hold anything (NaN is common); it reads as
  zeros. Without `duration_s`, the duration is the last time + median gap.

  Raises:
    InputError: names the file and what is wrong with it.
  """
  path = pathlib.Path(path)
  arrays = load_arrays(path)
  absent = {'pose', 'pose_time_s', 'skeleton'} - arrays.keys()
  if absent:
    raise InputError(
      f'pose file {path} has no {", ".join(sorted(absent))}; expected arrays '
      'pose, pose_time_s, skeleton and optionally duration_s; add what is '
      'missing'
    )
  pose_FJD = _blank_missing(numbers(arrays, 'pose', path))
  time_s = numbers(arrays, 'pose_time_s', path).astype(np.float64)
  duration_s = _duration_in(arrays, time_s, path)
  try:
    return PoseTrack(pose_FJD, time_s, str(arrays['skeleton']), duration_s)
  except InputError as error:
    raise InputError(f'pose file {path}: {error}') from None


def read_poses_of(
  video_path: pathlib.Path, path: pathlib.Path, duration_s: float | None
) -> PoseTrack:
  """Read the pose file of a video that lasts duration_s; None: not known.

  A video that is newer than its poses, but as long, is a warning.

  Raises:
    InputError: as `read_pose_file`, or the poses are those of another video:
      longer or shorter by more than MAX_DIFFERENCE_S.
  """
  track = read_pose_file(path)
  if duration_s is None:
    return track
  if abs(track.duration_s - duration_s) > MAX_DIFFERENCE_S:
    raise InputError(
      f'{path} lasts {track.duration_s:.2f} s and {video_path} '
      f'{duration_s:.2f} s; expected poses of this video; remove the pose file '
      'or run data_prep.extract_poses again'
    )
  with contextlib.suppress(OSError):  # Deleted meanwhile.
    if video_path.stat().st_mtime > path.stat().st_mtime:
      logging.warning(
        '%s is newer than its poses %s, which are used as they are as long; '
        'if it is another take, remove the pose file',
        video_path,
        path,
      )
  return track


def write_pose_file(path: str | os.PathLike, track: PoseTrack) -> None:
  """Write one .npz pose file; readers see the old file or the whole new one."""
  path = pathlib.Path(path)
  handle, temporary = tempfile.mkstemp(
    dir=path.parent, prefix=f'.{path.name}.', suffix='.tmp'
  )
  try:
    with os.fdopen(handle, 'wb') as file:
      np.savez_compressed(
        file,
        pose=track.pose_FJD,
        pose_time_s=track.pose_time_s,
        skeleton=np.array(track.skeleton),
        duration_s=np.float64(track.duration_s),
      )
    os.replace(temporary, path)
  except BaseException:
    pathlib.Path(temporary).unlink(missing_ok=True)
    raise
