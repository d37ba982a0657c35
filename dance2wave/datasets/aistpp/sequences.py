"""One sequence of AIST++ to clips: poses, sound, beats, what its name says.

Sound comes from the first of these that is there:

- videos/<name with c01>.mp4: picture and sound are one recording, and the
  poses were found in that picture, so that all share its clock;
- music/<mXXn>.wav or .mp3: dancers dance from the first beat of the file, and
  frame k of a sequence is at k/60 s of it. This is how the authors of AIST++
  pair them (google-research/mint, tools/preprocessing.py);
- none: the clip's audio is empty, and so are its beats: the tempo is known
  from the name but its phase is not.
"""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from dance2wave.datasets import styles
from dance2wave.datasets.aistpp import annotations, windows
from dance2wave.datasets.aistpp.names import CAMERA, Name
from dance2wave.datasets.schema import Clip, to_int16
from dance2wave.datasets.video_clips import SAMPLE_RATE_HZ
from dance2wave.datasets.work import Failure
from dance2wave.errors import InputError
from dance2wave.media.audio import read_audio
from dance2wave.media.clip import fit_samples
from dance2wave.metrics.beat_detector import detect_beats
from dance2wave.pose.track import PoseTrack, duration_of

_TEMPO_TOLERANCE = 0.04  # Of the named tempo, as the metrics have it.


@dataclasses.dataclass(frozen=True)
class Task:
  """One sequence to read.

  Attributes:
    parts: of its name.
    folder: of the annotations.
    pose: 'keypoints2d' or 'keypoints3d'.
    with_motions: adds the body model's parameters to aux.
    window_s: length of segments; None for the whole sequence.
    numbers: which segments; None for all.
    sound_path: of its video or music, None without.
  """

  parts: Name
  folder: pathlib.Path
  pose: str
  with_motions: bool
  window_s: float | None
  numbers: tuple[int, ...] | None
  sound_path: pathlib.Path | None

  @property
  def name(self) -> str:
    """Name of the sequence, for reports."""
    return self.parts.sequence


@dataclasses.dataclass(frozen=True)
class _Sound:
  """Sound on the clock of the poses, and its beats.

  Attributes:
    audio_T: at SAMPLE_RATE_HZ, empty without sound.
    beats_s: empty where the detected tempo is not that of the name.
    detected_bpm: 0 without sound or beats.
    origin: 'video', 'music' or ''.
  """

  audio_T: np.ndarray
  beats_s: np.ndarray
  detected_bpm: float
  origin: str


def find_sound(folder: pathlib.Path, name: Name) -> pathlib.Path | None:
  """Return the video of camera c01, else the music, else None."""
  choices = (
    folder / 'videos' / f'{name.video}.mp4',
    folder / 'music' / f'{name.music}.wav',
    folder / 'music' / f'{name.music}.mp3',
  )
  return next((path for path in choices if path.is_file()), None)


def read_sequence(task: Task) -> list[Clip] | Failure:
  """Return the clips of a sequence, or why there are none; never raises."""
  stage = task.pose
  try:
    track, start_s, arrays = _read_poses(task)
    if task.with_motions:
      stage = 'motions'
      path = task.folder / 'motions' / f'{task.name}.pkl'
      arrays |= annotations.read_motion(path, len(track.pose_FJD))
    stage = 'audio'
    sound = _read_sound(task, start_s, track.duration_s)
    stage = 'cut'
    return _cut(task, track, sound, arrays)
  except Exception as error:
    # Whatever a file does to its reader, the other sequences go on.
    return Failure.of(task.name, stage, error)


def _read_poses(task: Task) -> tuple[PoseTrack, float, dict[str, Any]]:
  """Return the poses from t = 0, where that lies in the video, and aux."""
  path = task.folder / task.pose / f'{task.name}.pkl'
  arrays = {}
  if task.pose == 'keypoints3d':
    camera = annotations.read_camera(task.folder / 'cameras', task.name)
    read = annotations.read_keypoints3d(path, camera)
    pose_FJD, time_s, arrays['pose3d'] = read
  else:
    pose_FJD, time_s = annotations.read_keypoints2d(path)
  start_s, time_s = float(time_s[0]), time_s - time_s[0]
  track = PoseTrack(pose_FJD, time_s, 'coco17', duration_of(time_s))
  return track, start_s, arrays


def _read_sound(task: Task, start_s: float, duration_s: float) -> _Sound:
  """Read that part of the sound; beats must have the tempo of the name."""
  path = task.sound_path
  if path is None:
    return _Sound(np.zeros(0, np.float32), np.zeros(0), 0.0, '')
  audio_T = read_audio(path, SAMPLE_RATE_HZ).samples_T
  audio_T = audio_T[round(start_s * SAMPLE_RATE_HZ) :]
  audio_T = audio_T[: round(duration_s * SAMPLE_RATE_HZ)]
  if not np.any(audio_T):
    raise InputError(
      f'{path.parent.name}/{path.name} is silent from {start_s:g} s on; '
      'expected music; fetch it again or remove it'
    )
  beats_s = np.asarray(detect_beats(audio_T, SAMPLE_RATE_HZ))
  gaps_s = np.diff(beats_s)
  detected_bpm = 60 / float(np.median(gaps_s)) if len(gaps_s) else 0.0
  error = abs(detected_bpm / task.parts.tempo_bpm - 1)
  if error > _TEMPO_TOLERANCE:
    beats_s = np.zeros(0)
  origin = 'music' if path.stem == task.parts.music else 'video'
  return _Sound(audio_T, beats_s, detected_bpm, origin)


def _cut(
  task: Task, track: PoseTrack, sound: _Sound, arrays: Mapping[str, Any]
) -> list[Clip]:
  """Cut poses, samples, beats and aux by the same times."""
  total_s = track.duration_s
  if sound.origin:
    # Rounding to samples takes nothing from the poses.
    heard_s = (len(sound.audio_T) + 1) / SAMPLE_RATE_HZ
    total_s = min(total_s, heard_s)
  if task.window_s is None:
    parts = windows.whole_windows(track, total_s)
  else:
    parts = windows.segment_windows(track, total_s, task.window_s, task.numbers)
  return [_clip(task, track, sound, arrays, window) for window in parts]


def _clip(
  task: Task,
  track: PoseTrack,
  sound: _Sound,
  arrays: Mapping[str, Any],
  window: windows.Window,
) -> Clip:
  frames = windows.frames_inside(track.pose_time_s, window)
  if frames.stop - frames.start < 2:
    raise InputError(
      f'no poses from {window.start_s:.2f} to {window.end_s:.2f} s; expected '
      'at least 2 frames; fetch the annotations again'
    )
  start_s, duration_s = window.start_s, window.end_s - window.start_s
  audio_T = sound.audio_T[round(start_s * SAMPLE_RATE_HZ) :]
  num_samples = round(duration_s * SAMPLE_RATE_HZ) if sound.origin else 0
  beats_s = sound.beats_s - start_s
  return {
    'clip_id': f'{task.parts.video}{window.label}',
    'source': 'aistpp',
    'group': task.parts.performance,
    'audio': to_int16(fit_samples(audio_T, num_samples)),
    'sample_rate_hz': SAMPLE_RATE_HZ,
    'pose': track.pose_FJD[frames],
    'pose_time_s': track.pose_time_s[frames] - start_s,
    'skeleton': track.skeleton,
    'beats_s': beats_s[(beats_s >= 0) & (beats_s < duration_s)],
    'style': styles.to_style('aistpp', task.parts.genre),
    'duration_s': duration_s,
    'aux': {
      'sequence': task.name,
      **dataclasses.asdict(task.parts),
      'camera': CAMERA,
      'start_s': start_s,
      'tempo_bpm': task.parts.tempo_bpm,
      'detected_bpm': sound.detected_bpm,
      'sound': sound.origin,
      **{
        key: value[frames] if np.ndim(value) else value
        for key, value in arrays.items()
      },
    },
  }
