"""One file of units to clips of the schema."""

import dataclasses
import pathlib
from typing import Any

import numpy as np

from dance2wave.datasets.dancing2music import pairing, units
from dance2wave.datasets.dancing2music.tree import Listed
from dance2wave.datasets.schema import Clip, check_clip, to_int16
from dance2wave.datasets.styles import to_style
from dance2wave.datasets.work import Failure
from dance2wave.media.audio_features import (
  NUM_AUDIO_FEATURES,
  audio_features,
)

SOURCE = 'dancing2music'


@dataclasses.dataclass(frozen=True)
class Task:
  """One file to read.

  Attributes:
    listed: the file.
    rows: which of its units, where each is a clip of its own; None: all of
      them in a row are one.
    features_path: of its chunk's audio features, None if there are none.
    sound_path: of its chunk's sound, None for clips without.
    max_placements: how many places in the sound a sequence may fit.
  """

  listed: Listed
  rows: tuple[int, ...] | None
  features_path: pathlib.Path | None = None
  sound_path: pathlib.Path | None = None
  max_placements: int = 1

  @property
  def name(self) -> str:
    """What its clips and failures go by."""
    return self.listed.name


@dataclasses.dataclass(frozen=True)
class KnownFailure:
  """A file of which it is known already that it cannot be used."""

  failure: Failure

  @property
  def name(self) -> str:
    """Its path."""
    return self.failure.path


def read_task(task: Task | KnownFailure) -> list[Clip] | Failure:
  """Return the clips of one file, or why there are none; never raises."""
  if isinstance(task, KnownFailure):
    return task.failure
  stage = 'units'
  try:
    units_KFJD = units.read_units(task.listed.path, task.listed.num_units)
    if task.rows is not None:
      found = [_clip(task, units_KFJD[[row]], row) for row in task.rows]
    else:
      stage = 'sound' if task.sound_path else 'features'
      found = [_sequence(task, units_KFJD)]
    stage = 'schema'
    return [check_clip(clip, units.NUM_JOINTS) for clip in found]
  except Exception as error:
    # Whatever is in a file, the others go on.
    return Failure.of(task.name, stage, error)


def _empty_features() -> np.ndarray:
  return np.zeros((0, NUM_AUDIO_FEATURES), np.float32)


def _clip(task: Task, units_KFJD: np.ndarray, row: int | None = None) -> Clip:
  """Return units in a row as a clip without sound, on the grid of units."""
  listed, beats = task.listed, units.beat_frames(len(units_KFJD))
  pose_FJD = units.to_pose(units_KFJD)
  stem = listed.name.removesuffix('.npy')
  return {
    'clip_id': stem if row is None else f'{stem}#{row}',
    'source': SOURCE,
    'group': listed.youtube_id,
    'audio': np.zeros(0, np.int16),
    'sample_rate_hz': pairing.SAMPLE_RATE_HZ,
    'pose': pose_FJD,
    'pose_time_s': np.arange(len(pose_FJD)) / units.POSE_RATE_HZ,
    'skeleton': 'openpose14',
    'beats_s': beats / units.POSE_RATE_HZ,
    'style': to_style(SOURCE, listed.word),
    'duration_s': len(pose_FJD) / units.POSE_RATE_HZ,
    'aux': {
      'audio_features_FA': _empty_features(),
      'chunk_audio_features_FA': _empty_features(),
      'kind': 'unit' if row is not None else 'sequence',
      'youtube_id': listed.youtube_id,
      'chunk_id': listed.chunk_id,
      'beat_frames': beats,
      'num_placements': 0,
    },
  }


def _sequence(task: Task, units_KFJD: np.ndarray) -> Clip:
  clip = _clip(task, units_KFJD)
  if task.features_path:
    features_FA = units.read_features(task.features_path)
    clip['aux']['chunk_audio_features_FA'] = features_FA
  return clip | _paired(task, clip) if task.sound_path else clip


def _paired(task: Task, clip: Clip) -> dict[str, Any]:
  """Return the fields that change when a sequence gets its sound."""
  sound, aux = pairing.read_sound(task.sound_path), clip['aux']
  if len(aux['chunk_audio_features_FA']):
    pairing.check_length(sound, len(aux['chunk_audio_features_FA']))
  num_units = len(aux['beat_frames']) // 4
  time_s, num_placements = pairing.place(num_units, sound, task.max_placements)
  duration_s = time_s[-1] - time_s[0]
  audio_T = pairing.cut(sound, time_s[0], duration_s)
  features_FA = audio_features(audio_T, pairing.SAMPLE_RATE_HZ)
  return {
    'audio': to_int16(audio_T),
    'pose_time_s': time_s[:-1] - time_s[0],
    'beats_s': time_s[aux['beat_frames']] - time_s[0],
    'duration_s': duration_s,
    'aux': aux
    | {'audio_features_FA': features_FA, 'num_placements': num_placements},
  }
