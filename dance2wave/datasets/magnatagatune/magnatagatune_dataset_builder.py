"""TFDS builder of MagnaTagATune: music with tags, without dances."""

import dataclasses
import functools
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from absl import logging

from dance2wave.datasets import base, schema
from dance2wave.datasets.magnatagatune import tags
from dance2wave.datasets.work import Failure, Work
from dance2wave.errors import InputError
from dance2wave.media.audio import read_audio
from dance2wave.metrics.beat_detector import detect_beats

SAMPLE_RATE_HZ = 16_000
# Clips of each split of `top50`, in music_dataset_split by Jongpil Lee.
PUBLISHED_SIZES = {'train': 15_244, 'validation': 1_529, 'test': 4_332}
NUM_ROWS = 25_863
_MIN_S = 28.95


@dataclasses.dataclass(eq=False, kw_only=True)
class MagnatagatuneConfig(tfds.core.BuilderConfig):
  """Which clips, and whether their beats are detected.

  Attributes:
    is_filtered: only clips with at least one of the 50 most frequent tags.
    min_duration_s: shorter clips are failures of the reason 'short'.
    with_beats: fills beats_s, by the project's own detector.
  """

  is_filtered: bool = True
  min_duration_s: float = _MIN_S
  with_beats: bool = False


@dataclasses.dataclass(frozen=True)
class Task:
  """One clip to read.

  Attributes:
    path: of its sound.
    name: as failures name it.
    row: of the table of tags.
    names: of the 188 tags.
    about: texts of `aux`.
    min_duration_s, with_beats: of the config.
  """

  path: pathlib.Path
  name: str
  row: tags.Row
  names: tuple[str, ...]
  about: Mapping[str, str]
  min_duration_s: float
  with_beats: bool


class Builder(base.ClipBuilder):
  """Clips of about 29 s with tags; poses are empty."""

  VERSION = tfds.core.Version('1.0.0')
  RELEASE_NOTES: ClassVar[dict[str, str]] = {'1.0.0': 'First release.'}
  MANUAL_DOWNLOAD_INSTRUCTIONS = (
    f'a folder with {tags.ANNOTATIONS_NAME} and the folders 0 to f of sounds '
    '(or mp3/0 to mp3/f) as manual_dir; fetch it with python -m '
    'data_prep.download_magnatagatune'
  )
  NUM_JOINTS = 14
  BUILDER_CONFIGS: ClassVar[list[MagnatagatuneConfig]] = [
    MagnatagatuneConfig(
      name='top50', description='Whole clips with a tag of the top 50.'
    ),
    MagnatagatuneConfig(
      name='all',
      description='Every clip that can be decoded.',
      is_filtered=False,
      min_duration_s=0.0,
    ),
    MagnatagatuneConfig(
      name='with_beats',
      description='top50 with beats detected in the sound.',
      with_beats=True,
    ),
  ]

  def aux_features(self) -> Mapping[str, Any]:
    """Return the features of the tags and of the song.

    labels: all tags of the clip with commas between.
    tags_K: (50,) int8, 1 for each tag of TOP_50 that it has.
    all_tags: (188,) int8; the names are metadata['all_tags'].
    title, artist, album: '' where clip_info_final.csv does not tell.
    track: number of the song on its album.
    segment_start_s, segment_end_s: of the clip in the song.
    """
    texts = ('labels', 'mp3_path', 'title', 'artist', 'album')
    numbers = ('track', 'segment_start_s', 'segment_end_s')
    return {
      **{name: tfds.features.Text() for name in texts},
      **{name: tfds.features.Scalar(np.int32) for name in numbers},
      'tags_K': _flags(len(tags.TOP_50)),
      'all_tags': _flags(tags.NUM_TAGS),
    }

  def download_and_prepare(self, **kwargs: Any) -> None:
    """Build the dataset, and compare the whole one with the published sizes.

    Raises:
      InputError: a bad table, no sounds, or no usable clip for training.
    """
    super().download_and_prepare(**kwargs)
    sizes = {name: s.num_examples for name, s in self.info.splits.items()}
    is_whole = self.info.metadata.get('num_rows') == NUM_ROWS
    config = self.builder_config
    if is_whole and config.is_filtered and sizes != PUBLISHED_SIZES:
      logging.warning(
        'magnatagatune: the splits have %s clips, those of the literature %s',
        sizes,
        PUBLISHED_SIZES,
      )

  def _split_generators(
    self, dl_manager: tfds.download.DownloadManager
  ) -> dict[str, Work]:
    folder = pathlib.Path(dl_manager.manual_dir)
    names, rows = tags.read_annotations(folder / tags.ANNOTATIONS_NAME)
    clip_info = tags.read_clip_info(folder / tags.CLIP_INFO_NAME)
    sounds = _folder_of_sounds(folder)
    _warn_of_shared_songs(rows)
    self.info.metadata['tags'] = list(tags.TOP_50)
    self.info.metadata['all_tags'] = list(names)
    self.info.metadata['num_rows'] = len(rows)
    config = self.builder_config
    tasks = {
      split: [] for split in dict.fromkeys(tags.SPLIT_OF_FOLDER.values())
    }
    for row in rows:
      if config.is_filtered and not top_50(row.is_tagged, names).any():
        continue
      task = Task(
        sounds / row.mp3_path,
        row.mp3_path,
        row,
        names,
        _about(clip_info.get(row.clip_id, {})),
        config.min_duration_s,
        config.with_beats,
      )
      tasks[tags.SPLIT_OF_FOLDER[row.folder]].append(task)
    return {split: Work(read_clip, tasks[split]) for split in tasks}


def _flags(size: int) -> tfds.features.Tensor:
  return tfds.features.Tensor(shape=(size,), dtype=np.int8, encoding='bytes')


def _folder_of_sounds(folder: pathlib.Path) -> pathlib.Path:
  """Return the folder that holds the folders 0 to f.

  Raises:
    InputError: there is none.
  """
  for place in (folder, folder / 'mp3'):
    if any((place / name).is_dir() for name in tags.SPLIT_OF_FOLDER):
      return place
  raise InputError(
    f'magnatagatune: no sounds in {folder}; expected the folders 0 to f there '
    'or in mp3/; unpack them with: cat mp3.zip.* > mp3.zip; unzip mp3.zip'
  )


def _warn_of_shared_songs(rows: Iterable[tags.Row]) -> None:
  """Log songs of one name that lie in folders of two splits."""
  splits: dict[str, set[str]] = {}
  for row in rows:
    splits.setdefault(row.track, set()).add(tags.SPLIT_OF_FOLDER[row.folder])
  shared = sorted(track for track, found in splits.items() if len(found) > 1)
  if shared:
    logging.warning(
      'magnatagatune: %d song(s) of one name are in two splits, such as %s',
      len(shared),
      shared[0],
    )


def _about(info: Mapping[str, str]) -> dict[str, str]:
  return {name: info.get(name) or '' for name in ('title', 'artist', 'album')}


def top_50(is_tagged: bytes, names: tuple[str, ...]) -> np.ndarray:
  """Return (50,) int8, 1 for each tag of TOP_50, in that order.

  Args:
    is_tagged: 0 or 1 for each of `names`.
    names: of all tags, in the order of the table.
  """
  return np.frombuffer(is_tagged, np.int8)[_columns_of_top_50(names)]


@functools.cache
def _columns_of_top_50(names: tuple[str, ...]) -> np.ndarray:
  return np.array([names.index(tag) for tag in tags.TOP_50])


def read_clip(task: Task) -> list[schema.Clip] | Failure:
  """Return one clip, or why there is none; never raises."""
  stage = 'audio'
  try:
    if not task.path.is_file():
      message = f'{task.path} is not there; unpack the archive again'
      return Failure(task.name, stage, 'missing', message)
    if not task.path.stat().st_size:
      message = '0 bytes, as three files of the published archive have'
      return Failure(task.name, stage, 'empty', message)
    audio_T = read_audio(task.path, SAMPLE_RATE_HZ).samples_T
    duration_s = len(audio_T) / SAMPLE_RATE_HZ
    if duration_s < task.min_duration_s:
      message = (
        f'{duration_s:.3f} s; expected {task.min_duration_s:g} s or more'
      )
      return Failure(task.name, stage, 'short', message)
    stage = 'beats'
    beats_s = detect_beats(audio_T, SAMPLE_RATE_HZ) if task.with_beats else []
    return [_clip(task, audio_T, np.asarray(beats_s, np.float64))]
  except InputError as error:
    reason = 'corrupt' if stage == 'audio' else 'InputError'
    return Failure(task.name, stage, reason, ' '.join(str(error).split()))
  except Exception as error:
    # Whatever a file does to a decoder, the other files go on.
    return Failure.of(task.name, stage, error)


def _clip(task: Task, audio_T: np.ndarray, beats_s: np.ndarray) -> schema.Clip:
  row = task.row
  labels = [n for n, is_on in zip(task.names, row.is_tagged) if is_on]
  return {
    'clip_id': row.clip_id,
    'source': 'magnatagatune',
    'group': row.group,
    'audio': schema.to_int16(audio_T),
    'sample_rate_hz': SAMPLE_RATE_HZ,
    'pose': np.zeros((0, 14, 3), np.float32),
    'pose_time_s': np.zeros(0),
    'skeleton': 'core14',
    'beats_s': beats_s,
    'style': '',
    'duration_s': len(audio_T) / SAMPLE_RATE_HZ,
    'aux': {
      **task.about,
      'labels': ','.join(labels),
      'mp3_path': row.mp3_path,
      'track': row.number,
      'segment_start_s': row.start_s,
      'segment_end_s': row.end_s,
      'tags_K': top_50(row.is_tagged, task.names),
      'all_tags': np.frombuffer(row.is_tagged, np.int8),
    },
  }
