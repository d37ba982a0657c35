"""Poses from any file that holds them: pose files, motion capture, video."""

import os
import pathlib
from collections.abc import Callable

from dance2wave.pose.bvh import read_bvh
from dance2wave.pose.landmarker import extract_poses
from dance2wave.pose.track import PoseTrack, read_pose_file

POSE_SUFFIXES = ('.npz', '.bvh')


def read_pose(
  path: str | os.PathLike,
  *,
  model_path: str | os.PathLike | None = None,
  progress: Callable[[int, int], None] | None = None,
) -> PoseTrack:
  """Read .npz and .bvh files as they are; find poses in all others, as video.

  Args:
    path: a pose file, a BVH file, or a video.
    model_path: see `landmarker.extract_poses`; for video only.
    progress: see `landmarker.extract_poses`; for video only.

  Raises:
    InputError: the file cannot be read or holds no dancer.
  """
  suffix = pathlib.Path(path).suffix.lower()
  if suffix == '.npz':
    return read_pose_file(path)
  if suffix == '.bvh':
    return read_bvh(path)
  return extract_poses(path, model_path=model_path, progress=progress)
