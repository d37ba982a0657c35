"""Read the annotation files of Kinetics, all releases and formats alike.

csv   label,youtube_id,time_start,time_end,split[,is_cc]; a test split may
      have no label
txt   the same, of Kinetics-600's mirror; the header may be missing
json  {id: {"annotations": {"label": ..., "segment": [84.0, 94.0]},
            "subset": ..., ...}}
"""

import csv
import dataclasses
import io
import json
import math
import pathlib
import re
from collections.abc import Iterable, Iterator

from dance2wave.datasets.kinetics_dance.classes import RELEASES, plain_label
from dance2wave.errors import InputError

SPLITS = ('train', 'validation', 'test')

# The releases' words for their splits, and the folders' words as well.
_SPLIT_OF = {
  'train': 'train',
  'val': 'validation',
  'valid': 'validation',
  'validate': 'validation',
  'validation': 'validation',
  'test': 'test',
}
_ID = re.compile(r'[A-Za-z0-9_-]{11}', re.ASCII)
_MAX_S = 999_999  # names of clips have six digits
_COLUMNS = ('label', 'youtube_id', 'time_start', 'time_end', 'split', 'is_cc')
_NEEDED = ('youtube_id', 'time_start', 'time_end')


@dataclasses.dataclass(frozen=True)
class Annotation:
  """One labelled segment of a YouTube video.

  Attributes:
    youtube_id: the 11 characters of the video's name.
    label: in lower case with spaces; '' where the release gives none.
    start_s, end_s: of the segment, in the video's time.
    split: one of SPLITS.
  """

  youtube_id: str
  label: str
  start_s: int
  end_s: int
  split: str

  @property
  def clip_id(self) -> str:
    """The name that every release's files of this clip have."""
    return f'{self.youtube_id}_{self.start_s:06d}_{self.end_s:06d}'

  @property
  def url(self) -> str:
    """The address of the whole video."""
    return f'https://www.youtube.com/watch?v={self.youtube_id}'


def is_youtube_id(value: object) -> bool:
  """Tell whether a value has the form of a YouTube video's name."""
  return isinstance(value, str) and _ID.fullmatch(value) is not None


def unified_split(word: str) -> str | None:
  """Return the split that a word such as 'val' or 'validate' means."""
  return _SPLIT_OF.get(word.strip().lower())


def read_annotations(path: str | pathlib.Path) -> list[Annotation]:
  """Read a file of annotations, in its order; equal rows are given once.

  The split is the row's own or, where rows have none, the one that the file's
  name contains. A segment that has two labels keeps the first.

  Raises:
    InputError: no such file, an unknown format, or a row with a bad id, time
      or split; the message names the file, the line and the value.
  """
  path = pathlib.Path(path)
  rows = _json_rows if path.suffix.lower() == '.json' else _table_rows
  found: dict[tuple, Annotation] = {}
  for where, row in rows(path):
    annotation = _to_annotation(row, f'{path}, {where}', path)
    found.setdefault((annotation.clip_id, annotation.split), annotation)
  if not found:
    raise InputError(
      f'{path} holds no annotation; expected a csv, txt or json of Kinetics; '
      'fetch it again'
    )
  return list(found.values())


def without_leaks(
  annotations: Iterable[Annotation],
) -> tuple[list[Annotation], int]:
  """Keep every YouTube video in one split; return what is kept, and a count.

  Of the splits in which a video occurs, test wins over validation and
  validation over train. Rows of other splits are dropped and counted; rows
  that repeat a clip in its own split are dropped without being counted.
  """
  annotations = list(annotations)
  strongest: dict[str, int] = {}
  for each in annotations:
    rank = SPLITS.index(each.split)
    strongest[each.youtube_id] = max(rank, strongest.get(each.youtube_id, 0))
  kept = [
    each
    for each in annotations
    if SPLITS.index(each.split) == strongest[each.youtube_id]
  ]
  num_dropped = len(annotations) - len(kept)
  firsts: dict[str, Annotation] = {}
  for each in kept:
    firsts.setdefault(each.clip_id, each)
  return list(firsts.values()), num_dropped


def _read_text(path: pathlib.Path) -> str:
  try:
    return path.read_bytes().decode('utf-8-sig')
  except UnicodeDecodeError as error:
    raise InputError(
      f'{path} is not UTF-8 text (byte {error.start}); expected a csv, txt or '
      'json of Kinetics; unpack or fetch it again'
    ) from error
  except OSError as error:
    raise InputError(
      f'{path} cannot be read ({error.strerror}); expected a file of '
      'annotations; correct the path'
    ) from error


def _table_rows(path: pathlib.Path) -> Iterator[tuple[str, dict]]:
  """Yield (place, {column: text}) of a csv or of a txt like it."""
  lines = io.StringIO(_read_text(path), newline='')
  reader = csv.reader(lines, strict=True)
  columns: tuple[str, ...] | None = None
  try:
    for fields in reader:
      if not any(field.strip() for field in fields):
        continue
      where = f'line {reader.line_num}'
      if columns is None:
        columns = _columns(fields, path)
        if 'youtube_id' in map(_column, fields):
          continue
      if len(fields) != len(columns):
        raise InputError(
          f'{path}, {where} has {len(fields)} fields; expected '
          f'{len(columns)}: {",".join(columns)}; fetch the file again'
        )
      yield where, dict(zip(columns, fields))
  except csv.Error as error:
    raise InputError(
      f'{path}, line {reader.line_num} is no csv ({error}); expected '
      f'{",".join(_COLUMNS)}; fetch the file again'
    ) from error


def _column(field: str) -> str:
  return field.strip().lower()


def _columns(first: list[str], path: pathlib.Path) -> tuple[str, ...]:
  """Return the names of the columns, from the header if the file has one."""
  names = tuple(map(_column, first))
  if 'youtube_id' not in names:  # then the first row is already data
    has_label = len(first) > 1 and not is_youtube_id(first[0].strip())
    names = _COLUMNS[0 if has_label else 1 :][: len(first)]
    if len(names) != len(first):
      names = ()
  missing = [name for name in _NEEDED if name not in names]
  if missing:
    raise InputError(
      f'{path}, line 1 has no column {", ".join(missing)}; expected '
      f'{",".join(_COLUMNS)}; fetch the file again'
    )
  return names


def _json_rows(path: pathlib.Path) -> Iterator[tuple[str, dict]]:
  """Yield (place, row) of a json; the place is the entry's number, from 1."""
  try:
    entries = json.loads(_read_text(path))
  except (ValueError, RecursionError) as error:
    raise InputError(
      f'{path} is no json ({error}); expected the json of a Kinetics release; '
      'fetch it again'
    ) from error
  if not isinstance(entries, dict):
    raise InputError(
      f'{path} holds a {type(entries).__name__}; expected an object of '
      'YouTube ids; fetch it again'
    )
  for number, (youtube_id, entry) in enumerate(entries.items(), 1):
    yield f'entry {number}', _json_row(youtube_id, entry, path, number)


def _json_row(youtube_id: str, entry, path, number: int) -> dict:
  try:
    start, end = entry['annotations']['segment']
    return {
      'youtube_id': youtube_id,
      'label': entry['annotations'].get('label') or '',
      'time_start': start,
      'time_end': end,
      'split': entry.get('subset') or '',
    }
  except (TypeError, KeyError, ValueError, AttributeError) as error:
    raise InputError(
      f'{path}, entry {number} ({youtube_id!r:.40}) has no segment; expected '
      '{"annotations": {"segment": [start, end]}}; fetch the file again'
    ) from error


def _to_annotation(row: dict, where: str, path: pathlib.Path) -> Annotation:
  youtube_id = row['youtube_id'].strip(' ')
  if not is_youtube_id(youtube_id):
    raise InputError(
      f'{where}: YouTube id is {youtube_id!r:.60}; expected 11 letters, '
      "digits, '-' or '_'; correct or drop the row"
    )
  start_s = _whole_seconds(row['time_start'], where, 'time_start')
  end_s = _whole_seconds(row['time_end'], where, 'time_end')
  if start_s >= end_s:
    raise InputError(
      f'{where}: the segment is {start_s} s to {end_s} s; expected an end '
      'after the start; correct or drop the row'
    )
  split = _split(str(row.get('split') or ''), where, path)
  label = plain_label(str(row.get('label') or ''))
  return Annotation(youtube_id, label, start_s, end_s, split)


def _whole_seconds(value: object, where: str, name: str) -> int:
  try:
    seconds = float(value)
  except (TypeError, ValueError, OverflowError):
    seconds = math.nan
  if not (0 <= seconds <= _MAX_S and seconds == int(seconds)):
    raise InputError(
      f'{where}: {name} is {value!r:.40}; expected whole seconds from 0 to '
      f'{_MAX_S}; correct or drop the row'
    )
  return int(seconds)


def _split(word: str, where: str, path: pathlib.Path) -> str:
  if word.strip():
    split = unified_split(word)
  else:
    words = re.split(r'[^a-z]+', path.stem.lower())
    named = {unified_split(each) for each in words} - {None}
    split = named.pop() if len(named) == 1 else None
  if split is None:
    raise InputError(
      f'{where}: split is {word!r:.40}; expected one of '
      f'{", ".join(_SPLIT_OF)}, in the row or in the name of the file; correct '
      'it'
    )
  return split


def read_all_annotations(paths: Iterable[pathlib.Path]) -> list[Annotation]:
  """Read the rows of annotation files.

  Rows with a label come first: a release's test split may have none.

  Raises:
    InputError: a row of one of them is bad.
  """
  rows = [row for path in paths for row in read_annotations(path)]
  return sorted(rows, key=lambda row: not row.label)


def annotation_files(paths: Iterable[pathlib.Path]) -> list[pathlib.Path]:
  """Return those files that hold annotations, whatever they are called."""
  return [path for path in paths if _holds_annotations(path)]


def named_releases(paths: Iterable[pathlib.Path]) -> set[str]:
  """Return the releases that names such as k700_2020_train.csv tell."""
  found = set()
  for path in paths:
    name = f'{path.parent.name}/{path.name}'.lower()
    years = re.findall(r'k(?:inetics[-_]?)?(400|600|700)', name)
    found |= {r for r in RELEASES if r[1:4] in years[-1:]}
  return found


def _holds_annotations(path: pathlib.Path) -> bool:
  if path.suffix.lower() not in ('.csv', '.json', '.txt'):
    return False
  with path.open('rb') as file:
    head = file.read(1 << 16).decode('utf-8-sig', errors='replace').lstrip()
  if path.suffix.lower() == '.json':
    return head.startswith('{') and '"segment"' in head
  fields = [field.strip(' "') for field in head.partition('\n')[0].split(',')]
  if 'youtube_id' in map(str.lower, fields):
    return True
  # Without a header: an id, first or after the label, and then two times.
  return any(
    is_youtube_id(fields[k]) and all(map(_is_number, fields[k + 1 : k + 3]))
    for k in range(min(2, len(fields) - 2))
  )


def _is_number(text: str) -> bool:
  return text.replace('.', '', 1).isdigit()
