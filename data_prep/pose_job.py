"""One video to one pose file, in a process that may die alone."""

import dataclasses
import os
import pathlib

from dance2wave.datasets.work import Failure
from dance2wave.errors import InputError
from dance2wave.media.video import probe
from dance2wave.pose.landmarker import extract_poses
from dance2wave.pose.track import read_pose_file, write_pose_file


@dataclasses.dataclass(frozen=True)
class PoseJob:
  """A video, where its poses go, and the model (None: the default)."""

  video: pathlib.Path
  target: pathlib.Path
  model: pathlib.Path | None = None


def is_finished(target: str | os.PathLike) -> bool:
  """Return whether a pose file exists and is whole."""
  if not os.path.exists(target):
    return False
  try:
    read_pose_file(target)
  except InputError:
    return False
  return True


def extract_one(job: PoseJob) -> int | Failure:
  """Write the pose file of one video; return its number of frames.

  Any exception becomes a `Failure`: one bad video must not stop the others.
  """
  stage = 'read'
  try:
    probe(job.video)
    stage = 'landmarks'
    track = extract_poses(job.video, job.model)
    stage = 'write'
    job.target.parent.mkdir(parents=True, exist_ok=True)
    write_pose_file(job.target, track)
  except Exception as error:
    return Failure.of(str(job.video), stage, error)
  return len(track.pose_FJD)
