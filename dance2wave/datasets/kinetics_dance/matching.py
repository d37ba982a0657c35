"""Which clips of a folder belong to a dataset, and to which split."""

import collections
import dataclasses
from collections.abc import Collection, Sequence

from dance2wave.datasets.kinetics_dance import layouts
from dance2wave.datasets.kinetics_dance.annotations import (
  Annotation,
  without_leaks,
)
from dance2wave.errors import InputError


def is_wanted(
  found: layouts.Found,
  table: layouts.Table,
  labels: Collection[str],
  num_ignored: collections.Counter,
) -> bool:
  """Return whether a clip has a class of the set; count what has not.

  Raises:
    InputError: there are no annotations, and its place does not tell label
      and split.
  """
  row = table.find(found)
  label = (row and row.label) or found.label
  is_known = label and (row or found.split)
  if label and label not in labels:
    num_ignored['another class'] += 1
  elif not is_known and table.rows:
    num_ignored['no annotation'] += 1
  elif not is_known:
    what = 'split' if label else 'label'
    raise InputError(
      f'kinetics_dance: {found.origin} has no {what}; expected folders such as '
      'train/belly dancing above it, or annotations; put the csv or json files '
      'of its release into the folder annotations beside the clips'
    )
  return bool(is_known) and label in labels


def place(
  founds: Sequence[layouts.Found],
  table: layouts.Table,
  labels: Collection[str],
  num_ignored: collections.Counter,
) -> list[tuple[Annotation, layouts.Found]]:
  """Give every clip its annotation, once, and every video one split.

  A file that has no annotation is annotated by its place; then test wins over
  validation and validation over train, over all releases and layouts.

  Returns:
    Sorted by the ids of clips, which no layout changes.
  """
  founds = sorted(founds, key=preference)
  by_place = [
    found.to_annotation()
    for found in founds
    if found.times_s and not table.find(found)
  ]
  timed = layouts.Table(table.rows + by_place)
  for found in founds:
    if found.split and not found.times_s and not table.find(found):
      row = timed.find(found) or found.to_annotation()
      by_place.append(dataclasses.replace(row, split=found.split))
  everything = layouts.Table(table.rows + by_place)
  kept, _ = without_leaks(everything.rows)
  kept_by_clip = {row.clip_id: row for row in kept}
  placed = {}
  for found in founds:
    row = kept_by_clip.get(everything.find(found).clip_id)
    label = row and (row.label or found.label)
    if row is None:
      num_ignored['video of another split'] += 1
    elif label not in labels:
      num_ignored['another class'] += 1
    elif row.clip_id in placed:
      num_ignored['second copy'] += 1
    else:
      placed[row.clip_id] = dataclasses.replace(row, label=label), found
  return sorted(placed.values(), key=lambda each: layouts.clip_name(each[0]))


def preference(found: layouts.Found) -> tuple:
  """Order the copies of a clip: what replaces corrupted ones comes first."""
  is_original = 'replacement' not in found.origin.lower()
  return is_original, found.piece.num_bytes is not None, found.origin
