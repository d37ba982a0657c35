"""One video to one pose file, in a process that may die alone."""

import dataclasses
import pathlib

from absl import logging

from dance2wave.datasets.work import Failure
from dance2wave.media.video import probe
from dance2wave.pose.landmarker import extract_poses
from dance2wave.pose.track import read_poses_of, write_pose_file


@dataclasses.dataclass(frozen=True)
class PoseJob:
  """A video, where its poses go, and the model (None: the default)."""

  video: pathlib.Path
  target: pathlib.Path
  model: pathlib.Path | None = None


def is_finished(job: PoseJob) -> bool:
  """Return whether the pose file exists, is whole and of this video."""
  if not job.target.exists():
    return False
  try:
    read_poses_of(job.video, job.target, probe(job.video).duration_s)
  except Exception as error:
    # Whatever is wrong with the video, extracting its poses will say so.
    logging.warning('%s: extracting its poses anew: %s', job.video, error)
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
