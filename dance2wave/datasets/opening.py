"""Datasets by name: their builders, their splits, their clips by index."""

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow_datasets as tfds
from absl import logging

from dance2wave import datasets
from dance2wave.errors import InputError

Source = Sequence[Mapping[str, Any]]


def _build_command(dataset: str, config: str | None, data_dir: str | None):
  options = [f'--config={config}'] if config else []
  options += [f'--data_dir={data_dir}'] if data_dir else []
  return ' '.join(['python -m dance2wave.datasets.build', dataset, *options])


def make_builder(dataset: str, config: str | None, data_dir: str | None):
  """Return the builder of a dataset, which need not have been built.

  Raises:
    InputError: unknown dataset or config.
  """
  if dataset not in datasets.dataset_names():
    raise InputError(
      f'dataset is {dataset!r}; expected one of '
      f'{", ".join(datasets.dataset_names())}; correct the name'
    )
  kwargs = {'config': config} if config else {}
  verbosity = logging.get_verbosity()
  # TFDS warns that a dataset that is still to be built is not there.
  logging.set_verbosity(logging.ERROR)
  try:
    return tfds.builder(dataset, data_dir=data_dir, **kwargs)
  except (ValueError, tfds.core.DatasetNotFoundError) as error:
    known = ', '.join(tfds.builder_cls(dataset).builder_configs) or 'none'
    raise InputError(
      f'dataset {dataset} has no config {config!r}; expected one of: {known}; '
      'correct the config'
    ) from error
  finally:
    logging.set_verbosity(verbosity)


def _open_builder(dataset: str, config: str | None, data_dir: str | None):
  builder = make_builder(dataset, config, data_dir)
  if not builder.is_prepared():
    raise InputError(
      f'dataset {dataset} is not in {builder.data_dir}; expected a built '
      f'dataset; build it with: {_build_command(dataset, config, data_dir)}'
    )
  return builder


def split_names(
  dataset: str, *, config: str | None = None, data_dir: str | None = None
) -> tuple[str, ...]:
  """Return the splits of a built dataset that hold clips."""
  splits = _open_builder(dataset, config, data_dir).info.splits
  return tuple(name for name in splits if splits[name].num_examples)


def open_source(
  dataset: str,
  *,
  config: str | None = None,
  data_dir: str | None = None,
  split: str = 'train',
) -> Source:
  """Open one split, such as 'train[:100]', of a built dataset.

  Raises:
    InputError: unknown dataset, config or split, or it has not been built.
  """
  builder = _open_builder(dataset, config, data_dir)
  try:
    return builder.as_data_source(split)
  except ValueError as error:
    raise InputError(
      f'dataset {dataset} has no split {split!r}; expected one of '
      f'{", ".join(builder.info.splits)}, or a slice; correct the split'
    ) from error
