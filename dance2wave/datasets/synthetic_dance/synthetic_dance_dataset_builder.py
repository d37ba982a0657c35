"""TFDS builder of the synthetic dancers."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import tensorflow_datasets as tfds

from dance2wave.datasets import base, schema
from dance2wave.datasets.synthetic_dance import generate
from dance2wave.datasets.work import Work
from dance2wave.errors import InputError

_LEAST = {
  'num_train': 1,
  'num_validation': 1,
  'num_test': 1,
  'num_natural': 0,
  'seed': 0,
}


@dataclasses.dataclass(eq=False, kw_only=True)
class SyntheticDanceConfig(tfds.core.BuilderConfig):
  """How many clips of which kind.

  Attributes:
    num_train: clips in the split train; likewise num_validation, num_test.
    num_natural: clips of natural dancers that follow them in train, and only
      there, so that what is trained on the others knows them too.
    seed: of all plans; splits share no choreography whatever it is.
    is_ambiguous: dancers whose picture does not settle phase and octave.
    with_3d: adds aux/pose3d, (F, 14, 3) metres at the times of the film.
    is_natural: dancers who treat the beat as real ones do.
  """

  num_train: int = 3000
  num_validation: int = 128
  num_test: int = 128
  num_natural: int = 0
  seed: int = 0
  is_ambiguous: bool = False
  with_3d: bool = False
  is_natural: bool = False

  def __post_init__(self):
    for name, least in _LEAST.items():
      value = getattr(self, name)
      is_whole = isinstance(value, int) and not isinstance(value, bool)
      if not is_whole or value < least:
        raise InputError(
          f'synthetic_dance: {name} is {value!r}; expected a whole number of '
          f'at least {least}; correct the config'
        )
    for name in ('is_ambiguous', 'with_3d', 'is_natural'):
      value = getattr(self, name)
      if not isinstance(value, bool):
        raise InputError(
          f'synthetic_dance: {name} is {value!r}; expected true or false; '
          'correct the config'
        )
    if self.is_ambiguous and self.is_natural:
      raise InputError(
        'synthetic_dance: is_ambiguous and is_natural are both true; expected '
        'one of them at most; correct the config'
      )


class Builder(base.ClipBuilder):
  """Synthetic dancers and their music; nothing is downloaded."""

  VERSION = tfds.core.Version('1.2.0')
  RELEASE_NOTES: ClassVar[dict[str, str]] = {
    '1.0.0': 'First release.',
    '1.1.0': 'Natural dancers follow in train of default and with_3d.',
    '1.2.0': (
      'Default dancers are lowest on the beat, not up to 28 ms later; the bass '
      'of natural ones does not tell how exact they are.'
    ),
  }
  NUM_JOINTS = 14
  BUILDER_CONFIGS: ClassVar[list[SyntheticDanceConfig]] = [
    SyntheticDanceConfig(
      name='default',
      description='Dancers whose beat can be seen; natural ones in train.',
      num_natural=1500,
    ),
    SyntheticDanceConfig(
      name='ambiguous',
      description='Dancers whose picture leaves phase and octave open.',
      is_ambiguous=True,
    ),
    SyntheticDanceConfig(
      name='with_3d',
      description='default and poses in metres.',
      num_natural=1500,
      with_3d=True,
    ),
    SyntheticDanceConfig(
      name='natural',
      description='Dancers who treat the beat as real ones do.',
      is_natural=True,
    ),
    SyntheticDanceConfig(
      name='debug',
      description='The first few clips of default, built in seconds.',
      num_train=48,
      num_validation=16,
      num_test=16,
    ),
  ]

  def aux_features(self) -> Mapping[str, Any] | None:
    """Return the feature pose3d where the config asks for it."""
    if not self.builder_config.with_3d:
      return None
    return {'pose3d': schema.pose_feature(self.NUM_JOINTS)}

  def _split_generators(
    self, dl_manager: tfds.download.DownloadManager
  ) -> dict[str, Work]:
    del dl_manager  # Nothing to download.
    config = self.builder_config
    sizes = {
      'train': config.num_train,
      'validation': config.num_validation,
      'test': config.num_test,
    }
    tasks = {
      split: [self._task(index, split) for index in range(size)]
      for split, size in sizes.items()
    }
    tasks['train'] += [
      dataclasses.replace(self._task(index, 'train'), is_natural=True)
      for index in range(
        config.num_train, config.num_train + config.num_natural
      )
    ]
    return {
      split: Work(generate.read_task, of_split, unit='clip')
      for split, of_split in tasks.items()
    }

  def _task(self, index: int, split: str) -> generate.Task:
    config = self.builder_config
    return generate.Task(
      index,
      split,
      config.seed,
      config.is_ambiguous,
      config.with_3d,
      config.is_natural,
    )
