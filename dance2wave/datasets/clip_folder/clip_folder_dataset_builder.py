"""TFDS builder of a folder of a user's own videos with sound."""

import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Iterator
from typing import Any, ClassVar

import tensorflow_datasets as tfds
from absl import logging

from dance2wave.datasets import base, schema, workers
from dance2wave.datasets.clip_folder import folder as folder_lib
from dance2wave.errors import InputError

_FAILURES = 'failures.jsonl'


class Builder(base.ClipBuilder):
  """Clips of a folder of videos, given as manual_dir or as `folder`.

  Args:
    folder: of the videos; by default the manual_dir of the DownloadConfig.
    model_path: of a pose model (.task); by default that of the landmarker.
    num_workers: processes that read videos; by default one for every core.
    **kwargs: those of every TFDS builder: data_dir, version.
  """

  VERSION = tfds.core.Version('1.0.0')
  RELEASE_NOTES: ClassVar[dict[str, str]] = {'1.0.0': 'First release.'}
  MANUAL_DOWNLOAD_INSTRUCTIONS = (
    'manual_dir is your folder of videos with sound '
    f'({", ".join(folder_lib.SUFFIXES)}).'
  )
  NUM_JOINTS = 14

  def __init__(
    self,
    *,
    folder: str | os.PathLike | None = None,
    model_path: str | os.PathLike | None = None,
    num_workers: int | None = None,
    **kwargs: Any,
  ):
    self._folder = folder
    self._model_path = None if model_path is None else os.fspath(model_path)
    self._num_workers = num_workers
    super().__init__(**kwargs)

  def download_and_prepare(self, **kwargs: Any) -> None:
    """Build the dataset, or check that the one that exists is of this folder.

    Raises:
      InputError: no usable video, or a dataset of another folder is there.
    """
    config = kwargs.get('download_config') or tfds.download.DownloadConfig()
    self._folder = self._folder or config.manual_dir
    if self._folder is None:
      raise InputError(
        'clip_folder: no folder given; expected a folder of videos with sound; '
        'give it as --manual_dir'
      )
    self._folder = pathlib.Path(self._folder).expanduser().resolve()
    if self.is_prepared() and not config.download_mode.overwrite_dataset:
      self._check_same_folder()
    super().download_and_prepare(**kwargs)
    self._report_failures()

  def _check_same_folder(self) -> None:
    built_from = self.info.metadata['folder']
    if built_from != str(self._folder):
      raise InputError(
        f'clip_folder: {self.data_dir} was built from {built_from}, not from '
        f'{self._folder}; expected one data_dir for each folder; give another '
        '--data_dir, or --overwrite'
      )
    videos = folder_lib.find_videos(self._folder)
    if self.info.metadata['fingerprint'] != _fingerprint(videos):
      logging.warning(
        'clip_folder: the files of %s have changed since the dataset in %s was '
        'built; build again with --overwrite to use them',
        self._folder,
        self.data_dir,
      )

  def _report_failures(self) -> None:
    path = pathlib.Path(self.data_dir) / _FAILURES
    if path.exists():
      num_failed = len(path.read_text('utf-8').splitlines())
      logging.warning(
        'clip_folder: %d video(s) could not be used, see %s', num_failed, path
      )

  def _split_generators(
    self, dl_manager: tfds.download.DownloadManager
  ) -> dict[str, base.Examples]:
    del dl_manager  # Nothing to download.
    videos = [
      dataclasses.replace(video, model_path=self._model_path)
      for video in folder_lib.find_videos(self._folder)
    ]
    self.info.metadata['folder'] = str(self._folder)
    self.info.metadata['fingerprint'] = _fingerprint(videos)
    split_of = folder_lib.assign_splits(video.group for video in videos)
    splits = [
      s for s in ('train', 'validation', 'test') if s in split_of.values()
    ]
    if len(splits) < 3:
      logging.warning(
        'clip_folder: %d video(s) or song(s) are too few for three splits; '
        'there will be only: %s',
        len(split_of),
        ', '.join(splits),
      )
    return {
      split: self._generate_examples(
        split, [video for video in videos if split_of[video.group] == split]
      )
      for split in splits
    }

  def _generate_examples(
    self, split: str, videos: list[folder_lib.Video]
  ) -> Iterator[tuple[str, schema.Clip]]:
    results = workers.ordered_map(
      folder_lib.read_video, videos, num_workers=self._num_workers
    )
    failures, num_clips = [], 0
    for video, result in zip(videos, results):
      if isinstance(result, workers.WorkerDied):
        result = folder_lib.Failure(
          video.name, 'worker', 'the process that read it was killed twice'
        )
      if isinstance(result, folder_lib.Failure):
        failures.append(result)
        self._log_failure(result)
        continue
      for clip in result:
        num_clips += 1
        yield clip['clip_id'], clip
    if split == 'train' and not num_clips:
      first = failures[0]
      raise InputError(
        f'clip_folder: none of the {len(videos)} video(s) for training in '
        f'{self._folder} could be used (first: {first.file}: {first.message}); '
        'expected at least one; correct or remove them'
      )

  def _log_failure(self, failure: folder_lib.Failure) -> None:
    line = json.dumps(dataclasses.asdict(failure), ensure_ascii=False)
    path = pathlib.Path(self.data_dir) / _FAILURES
    with path.open('a', encoding='utf-8') as file:
      file.write(line + '\n')


def _fingerprint(videos: list[folder_lib.Video]) -> str:
  """Return a digest of the names and sizes of the files."""
  facts = [(video.name, video.path.stat().st_size) for video in videos]
  return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
