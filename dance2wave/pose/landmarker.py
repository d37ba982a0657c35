"""Landmarks from video: MediaPipe's 33 BlazePose points of the dancer."""

import contextlib
import os
import pathlib
from collections.abc import Callable, Iterator

import numpy as np
from absl import logging

from dance2wave.errors import InputError
from dance2wave.media.video import probe, read_frames
from dance2wave.pose.model_file import find_model, import_mediapipe
from dance2wave.pose.people import follow_dancer
from dance2wave.pose.skeleton import SKELETONS
from dance2wave.pose.track import PoseTrack

SKELETON = 'blazepose33'
MIN_SEEN_SHARE = 0.2
MAX_PEOPLE = 3
_NUM_JOINTS = len(SKELETONS[SKELETON])
_FAR = 10.0  # Frame heights; landmarks thought farther away are cut to this.

# (rgb_HWC, time_ms) -> everybody in the picture, each (33, 3): x and y in
# units of the picture's width and height, and visibility.
Detector = Callable[[np.ndarray, int], list[np.ndarray]]


@contextlib.contextmanager
def _quiet_stderr() -> Iterator[None]:
  """Drop what C++ code writes to file descriptor 2, for a moment."""
  saved = os.dup(2)
  try:
    with open(os.devnull, 'wb') as nowhere:
      os.dup2(nowhere.fileno(), 2)
    yield
  finally:
    os.dup2(saved, 2)
    os.close(saved)


@contextlib.contextmanager
def open_landmarker(model_path: pathlib.Path) -> Iterator[Detector]:
  """Yield a detector for one video; its times must increase.

  Raises:
    InputError: MediaPipe cannot be imported, or it refuses the model.
  """
  mediapipe = import_mediapipe()
  tasks = import_mediapipe('mediapipe.tasks.python')
  options = tasks.vision.PoseLandmarkerOptions(
    base_options=tasks.BaseOptions(model_asset_path=str(model_path)),
    running_mode=tasks.vision.RunningMode.VIDEO,
    num_poses=MAX_PEOPLE,
  )
  try:
    with _quiet_stderr():
      landmarker = tasks.vision.PoseLandmarker.create_from_options(options)
  except (RuntimeError, ValueError) as error:
    raise InputError(
      f'pose_model {model_path} is refused by mediapipe '
      f'({str(error).splitlines()[0]}); expected a pose landmarker .task file; '
      'download it again, or leave --pose_model out'
    ) from error
  has_found = False

  def detect(rgb_HWC: np.ndarray, time_ms: int) -> list[np.ndarray]:
    nonlocal has_found
    picture = mediapipe.Image(
      image_format=mediapipe.ImageFormat.SRGB, data=rgb_HWC
    )
    # Its one-time warnings come until a first person has been tracked.
    with contextlib.nullcontext() if has_found else _quiet_stderr():
      result = landmarker.detect_for_video(picture, time_ms)
    has_found = has_found or bool(result.pose_landmarks)
    return [
      np.array([(point.x, point.y, point.visibility) for point in person])
      for person in result.pose_landmarks
    ]

  with landmarker:
    yield detect


def _increasing_ms(time_s: float, last_ms: int) -> int:
  """Whole milliseconds, each used once: rounding alone would repeat some."""
  return max(last_ms + 1, round(time_s * 1000))


def _in_frame_heights(person_JD: np.ndarray, aspect: float) -> np.ndarray:
  """Scale x by width / height, bound what is far outside the picture."""
  person_JD = np.nan_to_num(person_JD.astype(np.float64), posinf=_FAR)
  xy = np.clip(person_JD[:, :2] * (aspect, 1.0), -_FAR, _FAR)
  visibility = np.clip(person_JD[:, 2:], 0.0, 1.0)
  return np.concatenate([xy, visibility], axis=1)


def _detect_all(
  video_path, detect: Detector, report: Callable[[int], None]
) -> tuple[list[list[np.ndarray]], np.ndarray]:
  """Return everybody in every frame, in frame heights, and the times."""
  people_F, times_s, time_ms = [], [], -1
  for time_s, rgb_HWC in read_frames(video_path):
    time_ms = _increasing_ms(time_s, time_ms)
    aspect = rgb_HWC.shape[1] / rgb_HWC.shape[0]
    people = detect(rgb_HWC, time_ms)
    people_F.append([_in_frame_heights(person, aspect) for person in people])
    times_s.append(time_s)
    report(len(times_s))
  return people_F, np.array(times_s, np.float64)


def check_seen(num_seen: int, num_frames: int, video_path) -> None:
  """Raise InputError if a person is in too few of the frames of a video."""
  if num_seen >= max(2, MIN_SEEN_SHARE * num_frames):
    return
  share = num_seen / max(num_frames, 1)
  raise InputError(
    f'{video_path}: a person was seen in {num_seen} of {num_frames} frames '
    f'({share:.0%}); expected at least {MIN_SEEN_SHARE:.0%} and two frames; '
    'use a video in which one dancer is visible from head to foot'
  )


def extract_poses(
  video_path: str | os.PathLike,
  model_path: str | os.PathLike | None = None,
  *,
  progress: Callable[[int, int], None] | None = None,
) -> PoseTrack:
  """Find the dancer's landmarks in every frame of a video.

  Args:
    video_path: any file that `media.video` reads.
    model_path: a .task file; None finds one as `model_file.find_model` says.
    progress: called as progress(frames done, frames in all).

  Returns:
    A 'blazepose33' track at the video's own presentation times; confidence is
    MediaPipe's visibility, 0 where nobody was seen. Of several people the
    largest and steadiest one is followed, as `people.follow_dancer` says.

  Raises:
    InputError: the video cannot be read, the model cannot be had, or a person
      is seen in less than MIN_SEEN_SHARE of the frames.
  """
  info = probe(video_path)
  num_frames = len(info.frame_time_s)

  def report(num_done: int) -> None:
    if progress is not None:
      progress(num_done, num_frames)

  with open_landmarker(find_model(model_path)) as detect:
    people_F, time_F = _detect_all(video_path, detect, report)
  picks_F, num_people = follow_dancer(people_F, time_F)
  num_seen = sum(pick is not None for pick in picks_F)
  check_seen(num_seen, len(time_F), video_path)
  if num_people > 1:
    logging.info(
      '%s: %d people; following the largest and steadiest, and while it is '
      'away the next largest: seen in %.0f %% of the frames.',
      video_path,
      num_people,
      100 * num_seen / len(time_F),
    )
  pose_FJD = np.zeros((len(time_F), _NUM_JOINTS, 3), np.float32)
  for frame, pick in enumerate(picks_F):
    if pick is not None:
      pose_FJD[frame] = people_F[frame][pick]
  return PoseTrack(pose_FJD, time_F, SKELETON, info.duration_s)
