"""Choose clips of Kinetics by release, class and split."""

import pathlib
from collections.abc import Sequence

from absl import logging

from dance2wave.datasets.kinetics_dance.annotations import (
  SPLITS,
  Annotation,
  unified_split,
  without_leaks,
)
from dance2wave.datasets.kinetics_dance.classes import (
  CLASS_SETS,
  classes_of,
  known_classes,
  plain_label,
)
from dance2wave.errors import InputError
from data_prep.answers import FetchError
from data_prep.fetch import fetch
from data_prep.kinetics_mirror import annotation_urls


def words(values: Sequence[str]) -> list[str]:
  """Return the words of lists that are separated by commas."""
  found = [word.strip() for value in values for word in value.split(',')]
  return [word for word in found if word]


def choose_classes(
  release: str, categories: Sequence[str], classes: Sequence[str]
) -> list[str]:
  """Return the named classes and those of named sets; 'strict' if none.

  Raises:
    InputError: no such set, or the release has no such class.
  """
  if not categories and not classes:
    categories = ['strict']
  chosen = set()
  for category in categories:
    name = plain_label(category)
    if name not in CLASS_SETS:
      raise InputError(
        f'category is {category!r}; expected one of {", ".join(CLASS_SETS)}; '
        'correct --categories'
      )
    chosen.update(classes_of(release, name))
  known = known_classes(release)
  for label in map(plain_label, classes):
    if label not in known:
      raise InputError(
        f'class {label!r} is no dance class of {release}; expected one of '
        f'{", ".join(known)}; correct --classes'
      )
    chosen.add(label)
  return sorted(chosen)


def choose_splits(named: Sequence[str]) -> list[str]:
  """Return the named splits; train and validation if none is named.

  Raises:
    InputError: no such split.
  """
  for word in named:
    if unified_split(word) is None:
      raise InputError(
        f'split is {word!r}; expected {", ".join(SPLITS)}; correct --splits'
      )
  splits = set(map(unified_split, named)) or {'train', 'validation'}
  return [split for split in SPLITS if split in splits]


def select(
  annotations: Sequence[Annotation],
  labels: Sequence[str],
  splits: Sequence[str],
) -> list[Annotation]:
  """Return the clips of the classes and splits, no video in two splits.

  Raises:
    InputError: there is none.
  """
  kept, num_dropped = without_leaks(annotations)
  if num_dropped:
    logging.info('%d clips of videos in two splits are left out', num_dropped)
  clips = [
    clip for clip in kept if clip.label in labels and clip.split in splits
  ]
  if not clips:
    raise InputError(
      f'the annotations hold no clip of {", ".join(labels)} in '
      f'{", ".join(splits)}; expected some; correct --annotations, --classes '
      'or --splits (a test split may have no labels)'
    )
  return clips


def annotation_files(
  output: pathlib.Path, release: str, mirror_url: str
) -> dict[str, pathlib.Path]:
  """Return {URL: file} of the annotations that the mirror has."""
  return {
    url: output / 'annotations' / f'{release}_{url.rpartition("/")[2]}'
    for url in annotation_urls(release, mirror_url)
  }


def fetched_annotations(
  output: pathlib.Path, release: str, mirror_url: str
) -> list[pathlib.Path]:
  """Fetch the annotations of all splits, if they are not there already.

  Raises:
    InputError: one cannot be had.
  """
  files = annotation_files(output, release, mirror_url)
  for url, path in files.items():
    if not path.is_file():
      print(f'fetching {url}')
      try:
        fetch(url, path, kind='table')
      except FetchError as error:
        raise InputError(f'{error}; or give --annotations') from error
  return list(files.values())


def selected_clips(
  annotations: Sequence[Annotation],
  labels: Sequence[str],
  splits: Sequence[str],
) -> dict[str, Annotation]:
  """Return the selected clips by their ids."""
  return {clip.clip_id: clip for clip in select(annotations, labels, splits)}
