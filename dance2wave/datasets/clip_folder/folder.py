"""A folder of videos: which files, which splits, and how one becomes clips."""

import csv
import dataclasses
import hashlib
import itertools
import math
import pathlib
from collections.abc import Iterable, Mapping

import numpy as np

from dance2wave.datasets.schema import Clip, to_int16
from dance2wave.errors import InputError
from dance2wave.media.audio import read_audio
from dance2wave.media.clip import fit_samples
from dance2wave.metrics.beat_detector import detect_beats
from dance2wave.pose.landmarker import extract_poses
from dance2wave.pose.skeleton import to_core14
from dance2wave.pose.track import PoseTrack, read_pose_file

SUFFIXES = ('.mp4', '.mov', '.mkv', '.webm', '.avi', '.m4v')
SAMPLE_RATE_HZ = 16_000
MAX_CLIP_S = 10.0
MIN_CLIP_S = 1.0
_SHARES = {'train': 0.8, 'validation': 0.1, 'test': 0.1}


@dataclasses.dataclass(frozen=True)
class Video:
  """One file to read.

  Attributes:
    path: of the file.
    name: its path inside the folder, with '/'.
    style: '' if unknown.
    group: the song if it is known, else the file.
    model_path: of the pose model, None for the default.
  """

  path: pathlib.Path
  name: str
  style: str = ''
  group: str = ''
  model_path: str | None = None


@dataclasses.dataclass(frozen=True)
class Failure:
  """Why a file gave no clips: one line of failures.jsonl."""

  file: str
  stage: str
  message: str


def find_videos(folder: pathlib.Path) -> list[Video]:
  """List the videos of a folder and its sub-folders, by name.

  Raises:
    InputError: no such folder, no video in it, or a bad styles.csv.
  """
  if not folder.is_dir():
    raise InputError(
      f'clip_folder: {folder} is not a folder; expected a folder of videos; '
      'give it as --manual_dir'
    )
  paths = sorted(
    path
    for path in folder.rglob('*')
    if path.suffix.lower() in SUFFIXES
    and not any(p.startswith('.') for p in path.relative_to(folder).parts)
  )
  if not paths:
    raise InputError(
      f'clip_folder: no video in {folder}; expected files ending in '
      f'{", ".join(SUFFIXES)}; put some there or give another --manual_dir'
    )
  names = {path.relative_to(folder).as_posix(): path for path in paths}
  rows = _read_styles(folder / 'styles.csv', names)
  return [
    _video(name, path, rows.get(name, {})) for name, path in names.items()
  ]


def _video(name: str, path: pathlib.Path, row: Mapping[str, str]) -> Video:
  song = row.get('song', '')
  group = f'song:{song}' if song else f'file:{name}'
  return Video(path, name, row.get('style', ''), group)


def _read_styles(
  path: pathlib.Path, names: Iterable[str]
) -> dict[str, dict[str, str]]:
  """Read file,style[,song] by file; an absent file is an empty table."""
  if not path.exists():
    return {}
  try:
    with path.open(encoding='utf-8-sig', newline='') as file:
      reader = csv.DictReader(file)
      rows = [
        {str(k).strip(): str(v or '').strip() for k, v in row.items()}
        for row in reader
      ]
      columns = {name.strip() for name in reader.fieldnames or ()}
  except (UnicodeDecodeError, csv.Error) as error:
    raise InputError(
      f'{path} cannot be read ({error}); expected UTF-8 text with commas; save '
      'it as CSV UTF-8'
    ) from None
  if not {'file', 'style'} <= columns <= {'file', 'style', 'song'}:
    raise InputError(
      f'{path} has the columns {", ".join(sorted(columns))}; expected '
      'file,style or file,style,song in the first line; correct that line'
    )
  unknown = [row['file'] for row in rows if row['file'] not in names]
  if unknown:
    raise InputError(
      f'{path} names {unknown[0]!r}, which is not in the folder; expected '
      'paths inside the folder with their suffix; correct or drop the line'
    )
  return {row['file']: row for row in rows}


def _place(group: str) -> float:
  """Return a number in [0, 1) that depends on the group's name alone."""
  digest = hashlib.sha256(group.encode()).digest()
  return int.from_bytes(digest[:8], 'big') / 2**64


def assign_splits(groups: Iterable[str]) -> dict[str, str]:
  """Give every group a split: about 8 in 10 to train, 1 in 10 to the others.

  A group's place depends on its name alone. Only while a split would be empty
  the nearest group of the fullest one moves over; train is served first.
  """
  groups = sorted(set(groups), key=_place)
  splits, bounds = list(_SHARES), np.cumsum(list(_SHARES.values()))[:-1]
  chosen = {
    group: splits[np.searchsorted(bounds, _place(group), side='right')]
    for group in groups
  }
  for place, split in enumerate(splits[: len(groups)]):
    members = {s: [g for g in groups if chosen[g] == s] for s in splits}
    givers = [s for s in splits if len(members[s]) > 1] or splits[place + 1 :]
    if not members[split]:
      fullest = max(givers, key=lambda s: len(members[s]))
      chosen[members[fullest][-1]] = split
  return chosen


def read_video(video: Video) -> list[Clip] | Failure:
  """Return the clips of one file, or why there are none; never raises."""
  stage = 'pose'
  try:
    track = _poses(video)
    stage = 'audio'
    audio_T = _audio(video)
    stage = 'beats'
    beats_s = np.asarray(detect_beats(audio_T, SAMPLE_RATE_HZ))
    stage = 'cut'
    return cut(video, track, audio_T, beats_s)
  except Exception as error:
    # Whatever a user's file does to a decoder, the other files go on.
    kind = '' if isinstance(error, InputError) else f'{type(error).__name__}: '
    return Failure(video.name, stage, kind + ' '.join(str(error).split()))


def _poses(video: Video) -> PoseTrack:
  pose_path = video.path.with_suffix('.npz')
  if pose_path.exists():
    return read_pose_file(pose_path)
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
  """Cut [0, total_s] into equal clips of MAX_CLIP_S, give or take a frame.

  Inner cuts lie on the times of pose frames, so that every clip has a pose at
  its t = 0:

      frames  | . . . . . . | . . . . . . | . . .
      clips   [-----------------[---------------]
              0                 first frame after the middle
  """
  num_clips = max(1, math.ceil(total_s / MAX_CLIP_S - 1e-9))
  wanted_s = np.arange(1, num_clips) * total_s / num_clips
  inner = np.searchsorted(track.pose_time_s, wanted_s)
  inner_s = track.pose_time_s[np.minimum(inner, len(track.pose_time_s) - 1)]
  return np.unique(np.concatenate([[0.0], inner_s, [total_s]]))


def cut(
  video: Video, track: PoseTrack, audio_T: np.ndarray, beats_s: np.ndarray
) -> list[Clip]:
  """Cut poses, samples and beats by the same times.

  Raises:
    InputError: picture and sound have less than MIN_CLIP_S in common.
  """
  total_s = min(track.duration_s, len(audio_T) / SAMPLE_RATE_HZ)
  if total_s < MIN_CLIP_S:
    raise InputError(
      f'{video.name} has {total_s:.2f} s of picture and sound; expected at '
      f'least {MIN_CLIP_S:g} s; remove the file'
    )
  times_s = cut_times(track, total_s)
  pose_FJD = to_core14(track.pose_FJD, track.skeleton)
  clips = []
  for start_s, end_s in itertools.pairwise(times_s):
    inside = (track.pose_time_s >= start_s) & (track.pose_time_s < end_s)
    if inside.sum() < 2:
      continue
    start = round(start_s * SAMPLE_RATE_HZ)
    num_samples = round((end_s - start_s) * SAMPLE_RATE_HZ)
    samples_T = fit_samples(audio_T[start:], num_samples)
    beats = beats_s[(beats_s >= start_s) & (beats_s < end_s)] - start_s
    clips.append(
      {
        'clip_id': f'{video.name}#{len(clips)}',
        'source': 'clip_folder',
        'group': video.group,
        'audio': to_int16(samples_T),
        'sample_rate_hz': SAMPLE_RATE_HZ,
        'pose': pose_FJD[inside],
        'pose_time_s': track.pose_time_s[inside] - start_s,
        'skeleton': 'core14',
        'beats_s': beats,
        'style': video.style,
        'duration_s': end_s - start_s,
      }
    )
  return clips
