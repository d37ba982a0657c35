"""Poses from any file that holds them: pose files, motion capture, video."""

import os
import pathlib
from collections.abc import Callable

from dance2wave.pose.bvh import read_bvh
from dance2wave.pose.deepmimic import is_motion_file, read_deepmimic
from dance2wave.pose.joints3d import read_pose_npz
from dance2wave.pose.landmarker import extract_poses
from dance2wave.pose.track import PoseTrack

_READERS = {'.npz': read_pose_npz, '.bvh': read_bvh, '.txt': read_deepmimic}
POSE_SUFFIXES = tuple(_READERS)


def holds_poses(path: str | os.PathLike) -> bool:
  """Return whether a file found in a folder is to be read as poses.

  A .txt is often something else: it counts only if it is JSON.
  """
  suffix = pathlib.Path(path).suffix.lower()
  return suffix in _READERS and (suffix != '.txt' or is_motion_file(path))


def read_pose(
  path: str | os.PathLike,
  *,
  model_path: str | os.PathLike | None = None,
  progress: Callable[[int, int], None] | None = None,
) -> PoseTrack:
  """Read .npz, .bvh and .txt files; find poses in all others, as video.

  Args:
    path: a pose file, a BVH or DeepMimic motion file, or a video.
    model_path: see `landmarker.extract_poses`; for video only.
    progress: see `landmarker.extract_poses`; for video only.

  Raises:
    InputError: the file cannot be read or holds no dancer.
  """
  reader = _READERS.get(pathlib.Path(path).suffix.lower())
  if reader is not None:
    return reader(path)
  return extract_poses(path, model_path=model_path, progress=progress)
