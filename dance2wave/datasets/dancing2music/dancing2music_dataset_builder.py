"""TFDS builder of the dance units of Dancing to Music."""

import collections
import dataclasses
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from absl import logging

from dance2wave.datasets import base
from dance2wave.datasets.dancing2music import normalisation, tree, units
from dance2wave.datasets.dancing2music.clips import (
  KnownFailure,
  Task,
  read_task,
)
from dance2wave.datasets.dancing2music.survey import survey
from dance2wave.datasets.splits import SPLITS, assign_splits
from dance2wave.datasets.work import Failure, Work
from dance2wave.errors import InputError
from dance2wave.media.audio_features import NUM_AUDIO_FEATURES


@dataclasses.dataclass(eq=False, kw_only=True)
class Dancing2MusicConfig(tfds.core.BuilderConfig):
  """Which examples.

  Attributes:
    with_sound: sequences with the sound that the user supplies; no units.
    keep_repeated: keeps units that are part of a listed sequence, and
      sequences of three that are part of one of four.
    max_placements: how many places in its sound a sequence may fit before it
      is left out; the earliest is taken.
  """

  with_sound: bool = False
  keep_repeated: bool = False
  max_placements: int = 1

  def __post_init__(self):
    if not isinstance(self.max_placements, int) or self.max_placements < 1:
      raise InputError(
        f'dancing2music: max_placements is {self.max_placements!r}; expected a '
        'whole number of at least 1; correct the config'
      )


class Builder(base.ClipBuilder):
  """Dance units and sequences of them, with beats, styles, audio features."""

  VERSION = tfds.core.Version('1.0.0')
  RELEASE_NOTES: ClassVar[dict[str, str]] = {'1.0.0': 'First release.'}
  MANUAL_DOWNLOAD_INSTRUCTIONS = (
    'the folder into which data.zip, ballet.zip, zumba.zip and hiphop.zip of '
    'Dancing2Music were unpacked (data/unitList, data/stats, data/ballet, '
    'data/zumba, data/hiphop) as manual_dir'
  )
  NUM_JOINTS = units.NUM_JOINTS
  BUILDER_CONFIGS: ClassVar[list[Dancing2MusicConfig]] = [
    Dancing2MusicConfig(
      name='features_only',
      description='Poses, beats, styles and audio features; no sound.',
    ),
    Dancing2MusicConfig(
      name='paired',
      description='Sequences on the time of the sound that the user supplies.',
      with_sound=True,
    ),
  ]

  def aux_features(self) -> Mapping[str, Any]:
    """Return the features of `aux`; README.md says what they hold."""
    rows = tfds.features.Tensor(
      shape=(None, NUM_AUDIO_FEATURES), dtype=np.float32, encoding='bytes'
    )
    return {
      'audio_features_FA': rows,
      'chunk_audio_features_FA': rows,
      'kind': tfds.features.Text(),
      'youtube_id': tfds.features.Text(),
      'chunk_id': tfds.features.Text(),
      'beat_frames': tfds.features.Tensor(
        shape=(None,), dtype=np.int32, encoding='bytes'
      ),
      'num_placements': tfds.features.Scalar(np.int32),
    }

  def _split_generators(
    self, dl_manager: tfds.download.DownloadManager
  ) -> dict[str, Work]:
    config = self.builder_config
    files = tree.Tree(pathlib.Path(dl_manager.manual_dir))
    listed, failures = files.read_lists()
    if not listed and not failures:
      raise InputError(
        f'dancing2music: the lists in {files.find("unitList")} are empty; '
        'expected a path a line; unpack data.zip again'
      )
    progress = tfds.core.utils.tqdm(listed, desc='survey', unit=' files')
    found = survey(files, progress, keep_repeated=config.keep_repeated)
    self._describe(files, listed, found)
    tasks, failures = found.tasks, failures + found.failures
    if config.with_sound:
      tasks, missing = _with_sound(files, tasks, config.max_placements)
      failures = missing + failures
    return _works(tasks, failures)

  def _describe(self, files, listed, found) -> None:
    """Put what the survey found into the metadata."""
    self.info.metadata['statistics'] = normalisation.compare_statistics(
      files.place('stats'), found.pose, found.audio
    )
    self.info.metadata['num_repeated'] = found.num_repeated
    self.info.metadata['num_unlisted'] = files.count_unlisted(listed)
    words = collections.Counter(task.listed.word for task in found.tasks)
    self.info.metadata['num_files'] = {w: words[w] for w in tree.STYLES}
    for word in tree.STYLES:
      if not words[word]:
        logging.warning('dancing2music: no good file of style %s', word)


def _with_sound(
  files: tree.Tree, tasks: Iterable[Task], max_placements: int
) -> tuple[list[Task], list[Failure]]:
  """Return the sequences that have a sound, and a failure for each chunk not.

  A unit alone fits any music at any beat: it is never paired.
  """
  paired, sounds, missing = [], {}, {}
  for task in tasks:
    one = task.listed
    if task.rows is not None:
      continue
    name = f'audio/{one.youtube_id}/{one.chunk_id}.wav'
    if name not in sounds:
      sounds[name] = files.find_sound(one)
    if sounds[name] is None:
      missing[name] = Failure(
        name,
        'sound',
        'missing',
        f'no sound for chunk {one.chunk_id} of {one.youtube_id}; expected '
        f'{name} in the manual_dir (any format); put it there',
      )
      continue
    paired.append(
      dataclasses.replace(
        task, sound_path=sounds[name], max_placements=max_placements
      )
    )
  return paired, list(missing.values())


def _splits(tasks: Iterable[Task]) -> dict[str, str]:
  """Give every video a split; every style has videos in train.

  Each style is divided by itself. A video of two styles goes where the first
  one puts it, unless another style would have none left to train on.
  """
  videos: dict[str, set[str]] = {}
  for task in tasks:
    videos.setdefault(task.listed.word, set()).add(task.listed.youtube_id)
  split_of: dict[str, str] = {}
  for word in sorted(videos):
    split_of = assign_splits(videos[word]) | split_of
  for word in sorted(videos):
    if all(split_of[video] != 'train' for video in videos[word]):
      split_of[min(videos[word])] = 'train'
  return split_of


def _works(tasks: list[Task], failures: list[Failure]) -> dict[str, Work]:
  split_of = _splits(tasks)
  by_split: dict[str, list] = {split: [] for split in SPLITS}
  by_split['train'] += [KnownFailure(failure) for failure in failures]
  for task in tasks:
    by_split[split_of[task.listed.youtube_id]].append(task)
  return {s: Work(read_task, found) for s, found in by_split.items() if found}
