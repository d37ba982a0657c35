"""Take clips of Kinetics from files and archives that are here already.

A file with times in its name is the clip that they say. One without is the
only segment of its video that has the class and the split of the folders above
it, as far as they name any; where there are several or none, it is ambiguous.
An archive whose name or folders tell a class or a split is searched for clips
of these alone.
"""

import dataclasses
import pathlib
import re
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import tqdm

from dance2wave.datasets.kinetics_dance import layouts
from dance2wave.datasets.kinetics_dance.annotations import Annotation
from dance2wave.datasets.kinetics_dance.classes import RELEASES, known_classes
from dance2wave.datasets.kinetics_dance.matching import preference
from dance2wave.datasets.listing import visible_files
from dance2wave.errors import InputError
from data_prep.kinetics_clips import (
  Book,
  Outcome,
  checked,
  link_or_copy,
  place,
)
from data_prep.kinetics_mirror import unpack_clips
from data_prep.ledger import Ledger

ARCHIVES_NAME = 'archives.jsonl'
# Of Kinetics-700: archives of one class; those of the test split are of any.
_NUMBERED = re.compile(r'k700_(train|val)_\d{3}\.')
_PARTS = re.compile(r'k700_test_')

Clips = Mapping[str, Annotation]


@dataclasses.dataclass(frozen=True)
class Local:
  """What a folder may hold of the clips that are to be had.

  Attributes:
    files: {clip id: its copies, the best by name first}.
    tars: {tar: ids of the clips that it may hold}, to be read in this order.
    unclear: ids of clips of which a file without times may be, or not.
  """

  files: Mapping[str, Sequence[pathlib.Path]]
  tars: Mapping[pathlib.Path, Collection[str]]
  unclear: Collection[str]


def find_local(
  folder: pathlib.Path,
) -> tuple[list[layouts.Found], list[layouts.Found]]:
  """Return the clips and the tars of a folder, and what their places say.

  Read are folders by split and class with <id>.mp4 or with
  <id>_<start>_<end>.mp4, and tars of a class or of any, in any mixture.

  Raises:
    InputError: no such folder, or neither clips nor tars in it.
  """
  if not folder.is_dir():
    raise InputError(
      f'local_dir is {folder}, which is no folder; expected one of downloaded '
      'clips or archives; correct --local_dir'
    )
  clips, tars = [], []
  for path in filter(pathlib.Path.is_file, visible_files(folder)):
    origin = path.relative_to(folder).as_posix()
    if path.name.lower().endswith(layouts.ARCHIVE_SUFFIXES):
      found = layouts.describe(f'{origin}/{"-" * 11}.mp4')
      tars.append(dataclasses.replace(found, piece=layouts.Piece(path)))
    elif path.suffix.lower() == '.mp4' and (found := layouts.describe(origin)):
      clips.append(dataclasses.replace(found, piece=layouts.Piece(path)))
  if not clips and not tars:
    raise InputError(
      f'{folder} holds no clips; expected files such as '
      '<youtube_id>_000010_000020.mp4, <youtube_id>.mp4 or tars of them; '
      'correct --local_dir'
    )
  return clips, sorted(tars, key=preference)


def look(
  folder: pathlib.Path, rows: Sequence[Annotation], todo: Clips
) -> Local:
  """Tell where in a folder clips may be; no file is opened.

  Args:
    folder: see `find_local`.
    rows: all annotations, also of classes and splits that are not wanted: a
      video may have a segment of each.
    todo: the clips to be found.
  """
  founds, tars = find_local(folder)
  table = layouts.Table(rows)
  labels = {*known_classes(RELEASES[-1]), *(row.label for row in rows)} - {''}
  files, videos = {}, set()
  for found in sorted(founds, key=lambda f: (f.times_s is None, preference(f))):
    if found.times_s:
      names = {found.to_annotation().clip_id}
    else:
      names = _segments(found, table, labels)
      videos.add(found.youtube_id)
    if len(names) == 1 and (name := names.pop()) in todo:
      files.setdefault(name, []).append(found.piece.path)
  return Local(
    files,
    {tar.piece.path: _members(tar, labels, todo) for tar in tars},
    {name for name in todo if name[:11] in videos},
  )


def _segments(
  found: layouts.Found, table: layouts.Table, labels: Collection[str]
) -> set[str]:
  """Return the ids of the clips that a file without times may be."""
  has_label = found.label in labels
  return {
    row.clip_id
    for row in table.by_video.get(found.youtube_id, ())
    if not has_label or row.label in ('', found.label)
    if found.split in (None, row.split)
  }


def _members(
  tar: layouts.Found, labels: Collection[str], todo: Clips
) -> set[str]:
  """Return the ids of the clips that a tar may hold, by its place."""
  name = tar.piece.path.name
  has_label = tar.label in labels and not _PARTS.match(name)
  has_label = has_label or _NUMBERED.match(name)
  return {
    clip_id
    for clip_id, clip in todo.items()
    if not has_label or clip.label == tar.label
    if tar.split in (None, clip.split)
  }


def from_local(
  rows: Sequence[Annotation],
  todo: Clips,
  book: Book,
  scratch: pathlib.Path,
  folder: pathlib.Path,
  num_workers: int | None,
) -> None:
  """Give whole local files a second name in the output folder.

  All copies of a clip are tried, those in archives last. Failures count as of
  the moment: better files may be there next time.
  """
  local, left, failed = look(folder, rows, todo), dict(todo), {}
  copies = {name: iter(paths) for name, paths in local.files.items()}
  while copies:
    files = {name: next(paths, None) for name, paths in copies.items()}
    files = {name: path for name, path in files.items() if path is not None}
    bad = _take(files, left, book, scratch, num_workers)
    failed = bad | failed  # of several faults, that of the best copy is told
    copies = {name: copies[name] for name in bad}
  with Ledger(book.output / ARCHIVES_NAME) as ledger:
    for path, names in tars_to_read(local, left, ledger.latest()):
      held: set[str] = set()
      with tempfile.TemporaryDirectory(dir=scratch) as temporary:
        inside = pathlib.Path(temporary)
        try:
          files = unpack_clips(path, names, inside, held)
        except InputError as error:
          print(f'archive_damaged: {error}')
          continue
        origin = {'archive': str(path)}
        bad = _take(files, left, book, scratch, num_workers, **origin)
      faults = {name: [each.reason, each.message] for name, each in bad.items()}
      held -= names - (files.keys() - bad.keys())  # refused ones, too
      facts = {'held': sorted(held), 'bad': faults}
      ledger.append(_key(path), 'done', **facts, **_version(path))
    entries = ledger.latest()
  for path in local.tars:
    for name, fault in _known(path, entries).get('bad', {}).items():
      failed.setdefault(name, Outcome(*fault))
  for name, clip in left.items():
    book.record(clip, failed.get(name) or _absence(name in local.unclear))


def _absence(is_unclear: bool) -> Outcome:
  if is_unclear:
    message = 'a file without times may be another clip of its video'
    return Outcome('ambiguous', message)
  message = 'no local file holds it, and no archive of its class and split'
  return Outcome('not_found', message)


def _take(
  files: Mapping[str, pathlib.Path],
  left: dict[str, Annotation],
  book: Book,
  scratch: pathlib.Path,
  num_workers: int | None,
  **facts: Any,
) -> dict[str, Outcome]:
  """Check files, and record good ones and take them out of `left`.

  Returns:
    {clip id: what is wrong with its file}.
  """
  results = checked(
    ((left[name], path) for name, path in files.items()), num_workers
  )
  bar = tqdm.tqdm(results, total=len(files), unit='clip', leave=False)
  bad = {}
  for clip, path, reason, message in bar:
    if reason:
      bad[clip.clip_id] = Outcome(reason, message)
      continue
    del left[clip.clip_id]
    with tempfile.TemporaryDirectory(dir=scratch) as temporary:
      linked = pathlib.Path(temporary) / path.name
      link_or_copy(path, linked)
      there = Outcome(facts=place(linked, book.target(clip)))
    book.record(clip, there, **facts)
  return bad


def tars_to_read(
  local: Local, left: Clips, entries: Mapping[str, Mapping[str, Any]]
) -> Iterator[tuple[pathlib.Path, set[str]]]:
  """Yield tars that may hold clips still left, and which; one by one.

  Passed over are those that were read before and have none of these clips, or
  none that is whole.

  Args:
    local: what there is.
    left: may become less meanwhile.
    entries: of the ledger of archives.
  """
  for path, may_hold in local.tars.items():
    names = left.keys() & may_hold
    held = _known(path, entries).get('held', names)
    if not names.isdisjoint(held):
      yield path, names


def _known(
  path: pathlib.Path, entries: Mapping[str, Mapping[str, Any]]
) -> Mapping[str, Any]:
  """Return what was found in a tar, if it was read and has not changed."""
  entry = entries.get(_key(path), {})
  is_same = entry.items() >= _version(path).items()
  return entry if is_same else {}


def _key(path: pathlib.Path) -> str:
  return str(path.resolve())


def _version(path: pathlib.Path) -> dict[str, int]:
  status = path.stat()
  return {'num_bytes': status.st_size, 'mtime_ns': status.st_mtime_ns}
