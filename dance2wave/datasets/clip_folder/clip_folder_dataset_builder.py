"""TFDS builder of a folder of a user's own videos with sound."""

import dataclasses
import hashlib
import json
import os
import pathlib
from typing import Any, ClassVar

import tensorflow_datasets as tfds
from absl import logging

from dance2wave.datasets import base
from dance2wave.datasets.clip_folder import folder as folder_lib
from dance2wave.datasets.splits import SPLITS, assign_splits
from dance2wave.datasets.video_clips import SUFFIXES, Video, read_video
from dance2wave.datasets.work import Work
from dance2wave.errors import InputError


class Builder(base.ClipBuilder):
  """Clips of a folder or a list of videos, given as manual_dir or `folder`.

  Args:
    folder: of the videos, or a text file that lists them; by default the
      manual_dir of the DownloadConfig.
    model_path: of a pose model (.task); by default that of the landmarker.
    **kwargs: those of `ClipBuilder`.
  """

  VERSION = tfds.core.Version('1.0.0')
  RELEASE_NOTES: ClassVar[dict[str, str]] = {'1.0.0': 'First release.'}
  MANUAL_DOWNLOAD_INSTRUCTIONS = (
    f'a folder of videos with sound ({", ".join(SUFFIXES)}) as manual_dir'
  )
  NUM_JOINTS = 14

  def __init__(
    self,
    *,
    folder: str | os.PathLike | None = None,
    model_path: str | os.PathLike | None = None,
    **kwargs: Any,
  ):
    self._folder = folder
    self._model_path = None if model_path is None else os.fspath(model_path)
    super().__init__(**kwargs)

  def download_and_prepare(self, **kwargs: Any) -> None:
    """Build the dataset, or check that the one that exists is of this folder.

    Raises:
      InputError: no usable video, or a dataset of another folder is there.
    """
    config = kwargs.get('download_config') or tfds.download.DownloadConfig()
    if self._folder or config.manual_dir or not self.is_prepared():
      self._folder = self.manual_folder(config)
    super().download_and_prepare(**kwargs)

  def manual_folder(self, config: tfds.download.DownloadConfig) -> pathlib.Path:
    """Return the folder or the list that the builder or the config names."""
    place = self._folder or config.manual_dir
    if place and pathlib.Path(place).expanduser().is_file():
      return pathlib.Path(place).expanduser().resolve()
    return super().manual_folder(dataclasses.replace(config, manual_dir=place))

  def _check_built(self) -> None:
    super()._check_built()
    if not self._folder:
      return
    built_from = self.info.metadata['folder']
    if built_from != str(self._folder):
      raise InputError(
        f'clip_folder: {self.data_dir} was built from {built_from}, not from '
        f'{self._folder}; expected one data_dir for each folder; give another '
        '--data_dir, or --overwrite'
      )
    videos = self._videos()
    if self.info.metadata['fingerprint'] != _fingerprint(videos):
      logging.warning(
        'clip_folder: videos, poses, styles.csv or pose model of %s have '
        'changed since the dataset in %s was built, or an earlier version '
        'built it; build again with --overwrite to use them',
        self._folder,
        self.data_dir,
      )

  def _videos(self) -> list[Video]:
    return [
      dataclasses.replace(video, model_path=self._model_path)
      for video in folder_lib.find_videos(self._folder)
    ]

  def _split_generators(
    self, dl_manager: tfds.download.DownloadManager
  ) -> dict[str, Work]:
    del dl_manager  # Nothing to download.
    videos = self._videos()
    self.info.metadata['folder'] = str(self._folder)
    self.info.metadata['fingerprint'] = _fingerprint(videos)
    split_of = assign_splits(video.group for video in videos)
    splits = [s for s in SPLITS if s in split_of.values()]
    if len(splits) < 3:
      logging.warning(
        'clip_folder: %d video(s) or song(s) are too few for three splits; '
        'there will be only: %s',
        len(split_of),
        ', '.join(splits),
      )
    return {
      split: Work(
        read_video, [v for v in videos if split_of[v.group] == split], 'video'
      )
      for split in splits
    }


def _fingerprint(videos: list[Video]) -> str:
  """Return a digest of the files, their poses, styles, songs and model."""
  facts = [
    (v.name, v.style, v.group, v.model_path, *map(_fact, (v.path, v.poses)))
    for v in videos
  ]
  return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def _fact(path: pathlib.Path) -> tuple[int, int] | None:
  """Return the bytes and the time of a file; None if there is none."""
  try:
    status = path.stat()
  except OSError:  # Deleted meanwhile, or a link to nowhere.
    return None
  return status.st_size, status.st_mtime_ns
