"""One video to clips: poses, sound and beats, cut by the same times."""

import dataclasses
import itertools
import math
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from absl import logging

from dance2wave.datasets.schema import Clip, to_int16
from dance2wave.datasets.work import Failure
from dance2wave.errors import InputError
from dance2wave.media.audio import read_audio
from dance2wave.media.clip import fit_samples
from dance2wave.media.video import picture_s
from dance2wave.metrics.beat_detector import detect_beats
from dance2wave.pose.landmarker import MIN_SEEN_SHARE, check_seen, extract_poses
from dance2wave.pose.skeleton import to_core14
from dance2wave.pose.track import PoseTrack, read_poses_of

SUFFIXES = ('.mp4', '.mov', '.mkv', '.webm', '.avi', '.m4v', '.mpg', '.mpeg')
SAMPLE_RATE_HZ = 16_000
MAX_CLIP_S = 10.0
MIN_CLIP_S = 1.0
_TOLERANCE_S = 0.5  # what a clip may be longer before it is cut in two


@dataclasses.dataclass(frozen=True)
class Video:
  """One file to read.

  Attributes:
    path: of the file.
    name: which clips and failures go by; unique in its dataset.
    source: name of the dataset.
    style: '' if unknown.
    group: what splits must not share: song, performance or upload.
    pose_path: of a pose file that spares the pose stage, if it exists; None:
      the file of the same stem beside the video.
    model_path: of the pose model, None for the default.
    aux: of each of its clips.
  """

  path: pathlib.Path
  name: str
  source: str
  style: str = ''
  group: str = ''
  pose_path: pathlib.Path | None = None
  model_path: str | None = None
  aux: Mapping[str, Any] | None = None

  @property
  def poses(self) -> pathlib.Path:
    """The pose file, which need not exist."""
    return self.pose_path or self.path.with_suffix('.npz')


def read_video(video: Video) -> list[Clip] | Failure:
  """Return the clips of one file, or why there are none; never raises."""
  stage = 'audio'  # First, because finding poses takes longest.
  try:
    audio_T = _audio(video)
    stage = 'pose'
    track = _poses(video)
    stage = 'beats'
    beats_s = np.asarray(detect_beats(audio_T, SAMPLE_RATE_HZ))
    stage = 'cut'
    return cut(video, track, audio_T, beats_s)
  except Exception as error:
    # Whatever a file does to a decoder, the other files go on.
    return Failure.of(video.name, stage, error)


def _poses(video: Video) -> PoseTrack:
  if video.poses.exists():
    track = read_poses_of(video.path, video.poses, picture_s(video.path))
    is_seen = (track.pose_FJD[..., 2] > 0).any(axis=1)
    check_seen(int(is_seen.sum()), len(is_seen), video.path)
    return track
  return extract_poses(video.path, video.model_path)


def _audio(video: Video) -> np.ndarray:
  audio_T = read_audio(video.path, SAMPLE_RATE_HZ).samples_T
  if not np.any(audio_T):
    raise InputError(
      f'{video.name} is silent; expected a video with its music; add the '
      'sound or remove the file'
    )
  return audio_T


def cut_times(track: PoseTrack, total_s: float) -> np.ndarray:
  """Cut [0, total_s] into equal clips of about MAX_CLIP_S at most.

  Inner cuts lie on the times of pose frames, so that every clip has a pose at
  its t = 0:

      frames  | . . . . . . | . . . . . . | . . .
      clips   [-----------------[---------------]
              0                 first frame after the middle
  """
  num_clips = max(1, math.ceil((total_s - _TOLERANCE_S) / MAX_CLIP_S))
  wanted_s = np.arange(1, num_clips) * total_s / num_clips
  inner = np.searchsorted(track.pose_time_s, wanted_s)
  inner_s = track.pose_time_s[np.minimum(inner, len(track.pose_time_s) - 1)]
  return np.unique(np.concatenate([[0.0], inner_s, [total_s]]))


def cut(
  video: Video, track: PoseTrack, audio_T: np.ndarray, beats_s: np.ndarray
) -> list[Clip]:
  """Cut poses, samples and beats by the same times.

  Clips with a dancer in less than MIN_SEEN_SHARE of their frames are left out
  with a log line; the others keep their numbers.

  Raises:
    InputError: picture and sound have less than MIN_CLIP_S in common, or no
      clip would have two frames with a pose, or a dancer.
  """
  total_s = min(track.duration_s, len(audio_T) / SAMPLE_RATE_HZ)
  if total_s < MIN_CLIP_S:
    raise InputError(
      f'{video.name} has {total_s:.2f} s of picture and sound; expected at '
      f'least {MIN_CLIP_S:g} s; remove the file'
    )
  times_s = cut_times(track, total_s)
  pose_FJD = to_core14(track.pose_FJD, track.skeleton)
  is_seen_F = (track.pose_FJD[..., 2] > 0).any(axis=1)
  clips, num_unseen = [], 0
  for start_s, end_s in itertools.pairwise(times_s):
    inside = (track.pose_time_s >= start_s) & (track.pose_time_s < end_s)
    if inside.sum() < 2:
      continue
    if is_seen_F[inside].mean() < MIN_SEEN_SHARE:
      num_unseen += 1
      continue
    start = round(start_s * SAMPLE_RATE_HZ)
    num_samples = round((end_s - start_s) * SAMPLE_RATE_HZ)
    samples_T = fit_samples(audio_T[start:], num_samples)
    beats = beats_s[(beats_s >= start_s) & (beats_s < end_s)] - start_s
    clips.append(
      {
        'clip_id': f'{video.name}#{len(clips) + num_unseen}',
        'source': video.source,
        'group': video.group,
        'audio': to_int16(samples_T),
        'sample_rate_hz': SAMPLE_RATE_HZ,
        'pose': pose_FJD[inside],
        'pose_time_s': track.pose_time_s[inside] - start_s,
        'skeleton': 'core14',
        'beats_s': beats,
        'style': video.style,
        'duration_s': end_s - start_s,
        **({'aux': dict(video.aux)} if video.aux is not None else {}),
      }
    )
  if not clips:
    raise InputError(
      f'{video.name} has {len(track.pose_time_s)} frames of poses in '
      f'{total_s:.2f} s, {is_seen_F.sum()} of them with a dancer; expected two '
      f'in each clip and a dancer in {MIN_SEEN_SHARE:.0%}; extract the poses '
      'again'
    )
  if num_unseen:
    logging.info(
      '%s: %d of %d clips show a dancer in less than %.0f %% of their frames '
      'and are left out',
      video.name,
      num_unseen,
      num_unseen + len(clips),
      100 * MIN_SEEN_SHARE,
    )
  return clips
