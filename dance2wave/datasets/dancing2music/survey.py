"""Look at every file once, before any is written.

What is found out: which files are bad, which movement is listed twice, and the
statistics of all. It takes a small fraction of a millisecond a file.
"""

import dataclasses
import itertools
import pathlib
from collections.abc import Iterable

from dance2wave.datasets.dancing2music import normalisation, units
from dance2wave.datasets.dancing2music.clips import Task
from dance2wave.datasets.dancing2music.tree import Listed, Tree
from dance2wave.datasets.work import Failure
from dance2wave.errors import InputError


@dataclasses.dataclass
class Survey:
  """What was found.

  Attributes:
    tasks: of the good files.
    failures: of the bad ones.
    pose: moments of all units of the lists of units.
    audio: moments of all features of chunks with sequences.
    num_repeated: sequences and units left out, because their movement is that
      of another file or part of it.
  """

  tasks: list[Task] = dataclasses.field(default_factory=list)
  failures: list[Failure] = dataclasses.field(default_factory=list)
  pose: normalisation.PoseMoments = dataclasses.field(
    default_factory=normalisation.PoseMoments
  )
  audio: normalisation.Moments = dataclasses.field(
    default_factory=normalisation.Moments
  )
  num_repeated: int = 0


class _Seen:
  """Which units, and which runs of three and four, have been met."""

  def __init__(self):
    self._runs: set[tuple[bytes, ...]] = set()

  def is_new(self, marks: tuple[bytes, ...]) -> bool:
    """Tell whether a run is new, and remember it and all its parts."""
    is_new = marks not in self._runs
    lengths = range(1, len(marks) + 1)
    bounds = itertools.product(lengths, range(len(marks)))
    self._runs.update(
      marks[i : i + n] for n, i in bounds if i + n <= len(marks)
    )
    return is_new


def survey(
  tree: Tree, listed: Iterable[Listed], *, keep_repeated: bool
) -> Survey:
  """Read all files in turn.

  Args:
    tree: where the audio features are.
    listed: sequences before units, the longer ones first.
    keep_repeated: whether movement that is listed twice gives two clips.
  """
  found, seen = Survey(), _Seen()
  chunks: dict[str, pathlib.Path | None] = {}
  for one in listed:
    try:
      units_KFJD = units.read_units(one.path, one.num_units)
    except InputError as error:
      found.failures.append(Failure.of(one.name, 'units', error))
      continue
    marks = units.digests(units_KFJD)
    if one.num_units:
      is_wanted = seen.is_new(marks) or keep_repeated
      rows = None
      if one.features_name not in chunks:
        chunks[one.features_name] = _survey_chunk(found, tree, one)
    else:
      found.pose.add(units_KFJD)
      rows = tuple(
        row
        for row, mark in enumerate(marks)
        if seen.is_new((mark,)) or keep_repeated
      )
      is_wanted = bool(rows)
      found.num_repeated += len(marks) - len(rows)
    if is_wanted:
      path = chunks.get(one.features_name) if one.num_units else None
      found.tasks.append(Task(one, rows, path))
    elif one.num_units:
      found.num_repeated += 1
  return found


def _survey_chunk(
  found: Survey, tree: Tree, one: Listed
) -> pathlib.Path | None:
  """Count a chunk's audio features; a failure if they cannot be read."""
  path = tree.place(one.features_name)
  try:
    found.audio.add(units.read_features(path))
    return path
  except InputError as error:
    found.failures.append(Failure.of(one.features_name, 'features', error))
    return None
