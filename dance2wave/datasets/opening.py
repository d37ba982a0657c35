"""Datasets by name: their builders, their splits, their clips by index.

A name is that of a builder, or 'builder/config'. A config of a user's own is
known by the folder that was built of it.
"""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow_datasets as tfds
from absl import logging

from dance2wave import datasets
from dance2wave.datasets import base
from dance2wave.errors import InputError

Source = Sequence[Mapping[str, Any]]


def _built_configs(dataset: str, data_dir: str | None) -> list[str]:
  """Return the names of the configs of which there is a built folder."""
  root = pathlib.Path(data_dir or tfds.core.constants.DATA_DIR).expanduser()
  found = (root / dataset).glob('*/[0-9]*.*.*/features.json')
  return sorted({path.parts[-3] for path in found})


def make_builder(name: str, data_dir: str | None):
  """Return the builder of a dataset, which need not have been built.

  Of a config of a user's own there is only what was built: a reader of its
  newest version.

  Raises:
    InputError: unknown dataset or config.
  """
  dataset, _, config = name.partition('/')
  if dataset not in datasets.dataset_names():
    raise InputError(
      f'dataset is {dataset!r}; expected one of '
      f'{", ".join(datasets.dataset_names())}; correct the name'
    )
  known = [*tfds.builder_cls(dataset).builder_configs]
  if config and config not in known:
    built = _built_configs(dataset, data_dir)
    if config not in built:
      names = dict.fromkeys(known + built)
      raise InputError(
        f'dataset {dataset} has no config {config!r}, nor is one built; '
        f'expected one of: {", ".join(names) or "none"}; correct the config, '
        'or build it'
      )
  with base.quiet():
    return tfds.builder(dataset, config=config or None, data_dir=data_dir)


def _open_builder(name: str, data_dir: str | None):
  builder = make_builder(name, data_dir)
  if not builder.is_prepared():
    words = ['python -m dance2wave.datasets.build', name]
    words += [f'--data_dir={data_dir}'] if data_dir else []
    words += (
      ['--manual_dir=...'] if builder.MANUAL_DOWNLOAD_INSTRUCTIONS else []
    )
    raise InputError(
      f'dataset {name} is not in {builder.data_dir}; expected a built '
      f'dataset; build it with: {" ".join(words)}'
    )
  return builder


def split_names(name: str, data_dir: str | None = None) -> tuple[str, ...]:
  """Return the splits of a built dataset that hold clips."""
  splits = _open_builder(name, data_dir).info.splits
  return tuple(split for split in splits if splits[split].num_examples)


def contents(names: Sequence[str], data_dir: str | None) -> dict:
  """Return by a name what tells built datasets apart, wherever they lie.

  That is of each dataset its version, its splits with their clips, and where it
  knows them the fields of its config and the fingerprint of its sources. Bytes
  are not asked for: another machine may round, and write, otherwise.

  Raises:
    InputError: unknown dataset or config, or one has not been built.
  """
  found = {}
  for name in names:
    info = _open_builder(name, data_dir).info
    found[f'{name} version'] = str(info.version)
    found[f'{name} splits'] = sorted(info.splits)
    for split, there in info.splits.items():
      found[f'{name}[{split}]'] = there.num_examples
    metadata = info.metadata or {}
    fields = metadata.get('config') or {}
    found |= {f'{name} {field}': value for field, value in fields.items()}
    if 'fingerprint' in metadata:
      found[f'{name} fingerprint'] = metadata['fingerprint']
  return found


def open_source(
  name: str, data_dir: str | None = None, *, split: str = 'train'
) -> Source:
  """Open one split, such as 'train[:100]', of a built dataset.

  Raises:
    InputError: unknown dataset, config or split, or it has not been built.
  """
  return _source_of(_open_builder(name, data_dir), name, split)


def _source_of(builder, name: str, split: str) -> Source:
  try:
    return builder.as_data_source(split)
  except ValueError as error:
    raise InputError(
      f'dataset {name} has no split {split!r}; expected one of '
      f'{", ".join(builder.info.splits)}, or a slice; correct the split'
    ) from error


class _Chosen(Sequence):
  """Some of the clips of a source."""

  def __init__(self, source: Source, places: Sequence[int]):
    self._source, self._places = source, places

  def __len__(self) -> int:
    return len(self._places)

  def __getitem__(self, index: int) -> Mapping[str, Any]:
    return self._source[self._places[index]]


def open_with_sound(name: str, data_dir: str | None, *, split: str) -> Source:
  """Open the clips of a split that have sound; say how many have none.

  Raises:
    InputError: what `open_source` raises, or none has sound.
  """
  builder = _open_builder(name, data_dir)
  source = _source_of(builder, name, split)
  silent = set(builder.info.metadata.get('silent', {}).get(split, ()))
  if not silent:
    return source
  places = [place for place in range(len(source)) if place not in silent]
  if not places:
    raise InputError(
      f'dataset {name} has no audio in split {split}; expected clips with '
      'sound for this config; choose another dataset, or a config that needs '
      'beats only, such as configs/pose_transformer.py'
    )
  logging.warning(
    '%s: %d of %d clips of split %s have no sound and are left out',
    *(name, len(silent), len(source), split),
  )
  return _Chosen(source, places)
