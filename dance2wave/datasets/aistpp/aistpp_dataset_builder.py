"""TFDS builder of AIST++."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from absl import logging

from dance2wave.datasets import base
from dance2wave.datasets.aistpp import annotations, lists
from dance2wave.datasets.aistpp.names import Name
from dance2wave.datasets.aistpp.sequences import (
  Task,
  find_sound,
  read_sequence,
)
from dance2wave.datasets.video_clips import MIN_CLIP_S
from dance2wave.datasets.work import Work
from dance2wave.errors import InputError

_TEXTS = (
  'sequence',
  'genre',
  'situation',
  'dancer',
  'music',
  'choreography',
  'camera',
  'sound',
)


@dataclasses.dataclass(eq=False, kw_only=True)
class AistppConfig(tfds.core.BuilderConfig):
  """Which annotations, cut how.

  Attributes:
    pose: 'keypoints2d', what camera c01 sees, or 'keypoints3d', the joints in
      space (aux/pose3d) and their projection into camera c01.
    with_motions: adds aux/smpl_poses, aux/smpl_trans and aux/smpl_scaling.
    window_s: length of segments as papers use them; None cuts whole sequences
      into clips of at most 10 s.
  """

  pose: str = 'keypoints2d'
  with_motions: bool = False
  window_s: float | None = None

  def __post_init__(self):
    if self.pose not in ('keypoints2d', 'keypoints3d'):
      raise InputError(
        f'aistpp: pose is {self.pose!r}; expected keypoints2d or keypoints3d; '
        'correct the config'
      )
    number = self.window_s if self.window_s is not None else MIN_CLIP_S
    if isinstance(number, bool) or not isinstance(number, int | float):
      number = 0
    if not MIN_CLIP_S <= number <= 60:
      raise InputError(
        f'aistpp: window_s is {self.window_s!r}; expected {MIN_CLIP_S:g} to 60 '
        'seconds, or null for whole sequences; correct the config'
      )


class Builder(base.ClipBuilder):
  """AIST++: ten genres of dance with poses, motions and known tempi."""

  VERSION = tfds.core.Version('1.0.0')
  RELEASE_NOTES: ClassVar[dict[str, str]] = {'1.0.0': 'First release.'}
  MANUAL_DOWNLOAD_INSTRUCTIONS = (
    'the annotations of AIST++ as manual_dir (splits/, ignore_list.txt, '
    'keypoints2d/ and more, see datasets/aistpp/README.md), with videos/ or '
    'music/ for sound; python -m data_prep.download_aistpp fetches them'
  )
  NUM_JOINTS = annotations.NUM_JOINTS
  BUILDER_CONFIGS: ClassVar[list[AistppConfig]] = [
    AistppConfig(
      name='keypoints2d', description='What camera c01 sees, up to 10 s.'
    ),
    AistppConfig(
      name='keypoints3d',
      description='Joints in space and their projection into camera c01.',
      pose='keypoints3d',
    ),
    AistppConfig(
      name='motions',
      description='keypoints2d with the parameters of the body model SMPL.',
      with_motions=True,
    ),
    AistppConfig(
      name='segments_2s',
      description='keypoints2d in segments of 2 s, as D2M-GAN uses them.',
      window_s=2,
    ),
    AistppConfig(
      name='segments_6s',
      description='keypoints2d in segments of 6 s, as CDCD uses them.',
      window_s=6,
    ),
  ]

  def aux_features(self) -> Mapping[str, Any]:
    """Return what the name says, and the arrays of the config."""

    def array(*shape):
      return tfds.features.Tensor(
        shape=shape, dtype=np.float32, encoding='bytes'
      )

    features = {
      **{name: tfds.features.Text() for name in _TEXTS},
      'start_s': tfds.features.Tensor(
        shape=(), dtype=np.float64, encoding='bytes'
      ),
      'tempo_bpm': tfds.features.Scalar(np.float32),
      'detected_bpm': tfds.features.Scalar(np.float32),
    }
    if self.builder_config.pose == 'keypoints3d':
      features['pose3d'] = array(None, self.NUM_JOINTS, 3)
    if self.builder_config.with_motions:
      features['smpl_poses'] = array(None, 24, 3)
      features['smpl_trans'] = array(None, 3)
      features['smpl_scaling'] = array()
    return features

  def _split_generators(
    self, dl_manager: tfds.download.DownloadManager
  ) -> dict[str, Work]:
    folder = pathlib.Path(dl_manager.manual_dir).expanduser()
    names_of, ignored = lists.read_splits(folder)
    self._check_folders(folder)
    segments = dict.fromkeys(names_of)
    window_s = self.builder_config.window_s
    if window_s is not None:
      segments = lists.read_segments(folder, window_s, names_of, ignored)
    tasks = {
      split: self._tasks(folder, names, segments[split])
      for split, names in names_of.items()
    }
    every = [task for some in tasks.values() for task in some]
    num_heard = sum(task.sound_path is not None for task in every)
    if num_heard < len(every):
      logging.warning(
        'aistpp: %d of %d sequences have no sound: neither videos/ nor music/ '
        'of %s has theirs',
        len(every) - num_heard,
        len(every),
        folder,
      )
    self.info.metadata['num_with_sound'] = num_heard
    return {
      split: Work(read_sequence, some, 'sequence')
      for split, some in tasks.items()
    }

  def _check_folders(self, folder: pathlib.Path) -> None:
    config = self.builder_config
    needed = [config.pose]
    needed += ['cameras'] if config.pose == 'keypoints3d' else []
    needed += ['motions'] if config.with_motions else []
    for name in needed:
      if not (folder / name).is_dir():
        raise InputError(
          f'aistpp/{config.name}: {folder / name} is not a folder; expected '
          f'that part of the annotations; fetch it with python -m '
          'data_prep.download_aistpp'
        )

  def _tasks(
    self,
    folder: pathlib.Path,
    names: list[Name],
    segments: Mapping[Name, tuple[int, ...]] | None,
  ) -> list[Task]:
    config = self.builder_config
    return [
      Task(
        name,
        folder,
        config.pose,
        config.with_motions,
        config.window_s,
        segments[name] if segments is not None else None,
        find_sound(folder, name),
      )
      for name in names
      if segments is None or name in segments
    ]
