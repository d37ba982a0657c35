"""TFDS builder of the dance classes of Kinetics-400, -600 and -700-2020."""

import collections
import dataclasses
import os
import pathlib
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from absl import logging

from dance2wave.datasets import base, beam_work, styles
from dance2wave.datasets.kinetics_dance import layouts
from dance2wave.datasets.kinetics_dance.annotations import (
  SPLITS,
  Annotation,
  annotation_files,
  named_releases,
  read_all_annotations,
)
from dance2wave.datasets.kinetics_dance.classes import (
  CLASS_SETS,
  RELEASES,
  classes_of,
)
from dance2wave.datasets.kinetics_dance.matching import is_wanted, place
from dance2wave.datasets.schema import Clip
from dance2wave.datasets.video_clips import Video, read_video
from dance2wave.datasets.work import Failure, Work
from dance2wave.errors import InputError

_DEFAULT_SET = 'strict'


@dataclasses.dataclass(eq=False, kw_only=True)
class KineticsDanceConfig(tfds.core.BuilderConfig):
  """Which classes of which release.

  Attributes:
    release: one of RELEASES.
    class_set: one of CLASS_SETS.
  """

  release: str = RELEASES[-1]
  class_set: str = _DEFAULT_SET

  @property
  def labels(self) -> tuple[str, ...]:
    """The classes, alphabetical; InputError for an unknown release or set."""
    return classes_of(self.release, self.class_set)

  def __post_init__(self):
    self.description = (
      f'The {len(self.labels)} classes {self.class_set} of {self.release}.'
    )


def _config(release: str, class_set: str) -> KineticsDanceConfig:
  is_default = class_set == _DEFAULT_SET
  name = release if is_default else f'{release}_{class_set}'
  return KineticsDanceConfig(name=name, release=release, class_set=class_set)


@dataclasses.dataclass(frozen=True)
class Task:
  """A clip to read: `video`, whose bytes are `piece`, found at `origin`."""

  video: Video
  piece: layouts.Piece
  origin: str

  @property
  def name(self) -> str:
    """What failures go by."""
    return self.origin


@dataclasses.dataclass(frozen=True)
class Refused:
  """A member that is never read, or an archive that cannot be."""

  failure: Failure

  @property
  def name(self) -> str:
    """What failures go by."""
    return self.failure.path


def read_task(task: Task | Refused) -> list[Clip] | Failure:
  """Return the clips of a file or of a part of an archive, or why not."""
  if isinstance(task, Refused):
    return task.failure
  if task.piece.num_bytes is None:
    return _named(read_video(task.video), task)
  try:
    with task.piece.path.open('rb') as file:
      file.seek(task.piece.start)
      content = file.read(task.piece.num_bytes)
      time_ns = os.fstat(file.fileno()).st_mtime_ns
  except OSError as error:
    return Failure.of(task.origin, 'archive', error)
  if len(content) < task.piece.num_bytes:
    message = f'{task.origin} is cut off; fetch its archive again'
    return Failure(task.origin, 'archive', 'damaged', message)
  with tempfile.TemporaryDirectory(prefix='dance2wave-') as folder:
    path = pathlib.Path(folder, task.video.path.name)
    path.write_bytes(content)
    os.utime(path, ns=(time_ns, time_ns))  # It is as old as its archive.
    video = dataclasses.replace(task.video, path=path)
    return _named(read_video(video), dataclasses.replace(task, video=video))


def _named(result: list[Clip] | Failure, task: Task) -> list[Clip] | Failure:
  """Call a file that failed by its place in the folder."""
  if not isinstance(result, Failure):
    return result
  message = result.message.replace(str(task.video.path), task.origin)
  return dataclasses.replace(result, path=task.origin, message=message)


class Builder(base.ClipBuilder):
  """Clips of the dance classes of Kinetics, in any layout of its mirrors.

  Args:
    model_path: of a pose model (.task); by default that of the landmarker.
    **kwargs: those of `ClipBuilder`.
  """

  VERSION = tfds.core.Version('1.0.0')
  RELEASE_NOTES: ClassVar[dict[str, str]] = {'1.0.0': 'First release.'}
  NUM_JOINTS = 14
  BUILDER_CONFIGS: ClassVar[list[KineticsDanceConfig]] = [
    _config(release, class_set)
    for class_set in sorted(CLASS_SETS, key=lambda each: each != _DEFAULT_SET)
    for release in reversed(RELEASES)
  ]
  MANUAL_DOWNLOAD_INSTRUCTIONS = (
    'a folder of Kinetics clips as manual_dir, such as python -m '
    'data_prep.download_kinetics --release=RELEASE --output=FOLDER makes'
  )

  @tfds.core.utils.classproperty
  @classmethod
  def builder_configs(cls) -> dict[str, KineticsDanceConfig]:
    """The configs by name; k400 and k400_strict are one, built once."""
    known = {config.name: config for config in cls.BUILDER_CONFIGS}
    return known | {
      f'{release}_{_DEFAULT_SET}': known[release] for release in RELEASES
    }

  def __init__(
    self, *, model_path: str | os.PathLike | None = None, **kwargs: Any
  ):
    self._model_path = None if model_path is None else os.fspath(model_path)
    super().__init__(**kwargs)

  def aux_features(self) -> Mapping[str, Any]:
    """Return the label, the video and the second at which the clip starts.

    start_s is -1 where neither a name nor an annotation gives times.
    """
    return {
      'label': tfds.features.Text(),
      'youtube_id': tfds.features.Text(),
      'start_s': tfds.features.Scalar(np.int32),
    }

  def _generate_splits(
    self,
    dl_manager: tfds.download.DownloadManager,
    download_config: tfds.download.DownloadConfig,
  ) -> Sequence[tfds.core.SplitInfo]:
    # What comes out of compressed archives lies where all workers reach it
    # and, on Beam, where a build that goes on finds it by the same path.
    is_on_beam = beam_work.is_wanted(download_config)
    near = self._parts_folder if is_on_beam else pathlib.Path(self.data_dir)
    self._spool = near / 'unpacked'
    try:
      shutil.rmtree(self._spool, ignore_errors=True)
      return super()._generate_splits(dl_manager, download_config)
    finally:
      shutil.rmtree(self._spool, ignore_errors=True)

  def _split_generators(
    self, dl_manager: tfds.download.DownloadManager
  ) -> dict[str, Work]:
    folder = pathlib.Path(dl_manager.manual_dir)
    paths = layouts.files_of(folder)
    poses = {p.stem: p for p in reversed(paths) if p.suffix == '.npz'}
    labels = self.builder_config.labels
    tables = annotation_files(paths)
    self._check_release(named_releases(tables))
    table = layouts.Table(read_all_annotations(tables))
    num_ignored = collections.Counter()
    founds, refused = [], []
    for each in layouts.scan(
      folder,
      paths,
      lambda found: is_wanted(found, table, labels, num_ignored),
      self._spool,
    ):
      if isinstance(each, Failure):
        refused.append(Refused(each))
      elif each is None:
        num_ignored['another name'] += 1
      else:
        founds.append(each)
    tasks = collections.defaultdict(list)
    for row, found in place(founds, table, labels, num_ignored):
      tasks[row.split].append(self._task(row, found, poses))
    self._report(folder, tasks, refused, num_ignored)
    splits = [split for split in SPLITS if split in tasks]
    tasks[splits[0]] += refused
    return {s: Work(read_task, tasks[s], 'clip') for s in splits}

  def _task(
    self,
    row: Annotation,
    found: layouts.Found,
    poses: Mapping[str, pathlib.Path],
  ) -> Task:
    name, inside = layouts.clip_name(row), pathlib.PurePosixPath(found.origin)
    is_packed = found.piece.num_bytes is not None
    video = Video(
      path=pathlib.Path(inside.name) if is_packed else found.piece.path,
      name=name,
      source='kinetics_dance',
      style=styles.to_style('kinetics_dance', row.label),
      group=row.youtube_id,
      pose_path=poses.get(name, poses.get(inside.stem)),
      model_path=self._model_path,
      aux={
        'label': row.label,
        'youtube_id': row.youtube_id,
        'start_s': row.start_s if row.end_s else -1,
      },
    )
    return Task(video, found.piece, found.origin)

  def _report(
    self,
    folder: pathlib.Path,
    tasks: Mapping[str, Sequence[Task]],
    refused: Sequence[Refused],
    num_ignored: collections.Counter,
  ) -> None:
    """Log and keep how many files were ignored, and why.

    Raises:
      InputError: all were.
    """
    self.info.metadata['num_ignored'] = dict(sorted(num_ignored.items()))
    ignored = ', '.join(f'{n} {why}' for why, n in num_ignored.most_common())
    if not tasks:
      why = refused[0].failure.message if refused else ignored or 'no video'
      self._refuse(folder, why)
    if ignored:
      logging.warning('kinetics_dance: files ignored: %s', ignored)

  def _check_release(self, releases: set[str]) -> None:
    """Raise InputError if all annotations say that they are of another one."""
    mine = self.builder_config.release
    if releases and mine not in releases:
      raise InputError(
        f'kinetics_dance: the annotations are of {", ".join(sorted(releases))} '
        f'by their names; expected those of {mine}; build '
        f'kinetics_dance/{min(releases)}, or put those of {mine} there'
      )
    if len(releases) > 1:
      logging.warning(
        'kinetics_dance: the folder has annotations of %s: clips of all are '
        'taken, and a video that several split differently goes to one',
        ', '.join(sorted(releases)),
      )

  def _refuse(self, folder: pathlib.Path, why: str) -> None:
    config = self.builder_config
    raise InputError(
      f'kinetics_dance: no clip of {config.name} in {folder} ({why}); expected '
      f'clips of the classes {", ".join(config.labels)}; fetch them with '
      f'python -m data_prep.download_kinetics --release={config.release} '
      f'--categories={config.class_set} --output={folder}'
    )
