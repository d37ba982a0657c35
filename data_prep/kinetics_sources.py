"""Bring clips of Kinetics from the mirror or from YouTube."""

import collections
import contextlib
import hashlib
import itertools
import pathlib
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent import futures
from typing import Any

import tqdm

from dance2wave.datasets.kinetics_dance.annotations import Annotation
from dance2wave.errors import InputError
from data_prep.answers import PASSING, FetchError
from data_prep.fetch import fetch
from data_prep.kinetics_clips import (
  Book,
  Outcome,
  checked,
  place,
)
from data_prep.kinetics_mirror import (
  Archive,
  Plan,
  read_part_list,
  unpack_clips,
)
from data_prep.ledger import Ledger
from data_prep.youtube import YouTubeOptions, fetch_clips

# Why a clip cannot be had from archives or folders; those of the downloads of
# single archives are among them.
REASONS = (
  *('not_in_archive', 'archive_damaged', 'archive_missing', 'ambiguous'),
  *('not_found', 'forbidden', 'not_the_file', 'checksum', 'redirect_loop'),
  *PASSING,
)
_ARCHIVES = 'archives'

Clips = Mapping[str, Annotation]


def from_youtube(
  todo: Clips,
  book: Book,
  scratch: pathlib.Path,
  options: YouTubeOptions,
  num_workers: int,
  is_retry: bool,
) -> None:
  """Fetch clips with yt-dlp, one line each.

  Raises:
    Blocked: YouTube refuses this computer.
  """
  jobs = [(clip, book.target(clip)) for clip in todo.values()]
  fetched = fetch_clips(jobs, options, scratch, num_workers, is_retry)
  with contextlib.closing(fetched):  # Ctrl-C ends the commands, too
    for clip, outcome in tqdm.tqdm(fetched, total=len(jobs), unit='clip'):
      book.record(clip, outcome)


def from_mirror(
  selected: Clips,
  todo: Clips,
  book: Book,
  scratch: pathlib.Path,
  plan: Plan,
  *,
  root: str,
  num_workers: int,
  keep_archives: bool,
) -> None:
  """Fetch archives that hold clips still to be had, and take those out.

  Args:
    selected: all clips that are wanted; they tell whether an archive of clips
      of any class has been searched for the same ones before.
    todo: those that are still to be had.
    book: of the output folder.
    scratch: existing folder on the same file system.
    plan: which archives there are.
    root: address of the mirror.
    num_workers: downloads at once.
    keep_archives: whether archives stay after they are unpacked.
  """
  folder = book.output / _ARCHIVES
  left = dict(todo)
  archives = [*plan.archives, *_parts(plan, folder, root)]
  selection = hashlib.sha256(' '.join(sorted(selected)).encode()).hexdigest()
  num_missing = 0
  with Ledger(book.output / 'archives.jsonl') as ledger:
    needed = [
      archive
      for archive in archives
      if _is_needed(archive, left, book, ledger.latest(), selection)
    ]
    with _ahead(needed, folder, num_workers) as fetched:
      bar = tqdm.tqdm(fetched, total=len(needed), unit='archive')
      for archive, path in bar:
        error = _take(archive, path, left, book, scratch)
        if error is not None:
          num_missing += _fail(archive, error, left, book)
          continue
        if not archive.label:
          ledger.append(archive.url, 'done', selection=selection)
        if not keep_archives:
          path.unlink()
  _fail_rest(left, book, num_missing)


def _parts(plan: Plan, folder: pathlib.Path, root: str) -> list[Archive]:
  """Fetch the lists of parts, and return the parts."""
  archives = []
  for url in plan.part_lists:
    path = folder / Archive(url).name
    try:
      fetch(url, path, kind='table')
    except FetchError as error:
      raise InputError(str(error)) from error
    archives += read_part_list(path, root)
  return archives


def _in_archive(archive: Archive, clips: Clips) -> dict[str, Annotation]:
  """Return the clips that an archive may hold."""
  return {
    name: clip
    for name, clip in clips.items()
    if archive.label in ('', clip.label) and archive.split in ('', clip.split)
  }


def _is_needed(
  archive: Archive,
  left: Clips,
  book: Book,
  searched: Mapping[str, Mapping[str, Any]],
  selection: str,
) -> bool:
  """Tell whether an archive must be fetched (again) for the clips left."""
  clips = _in_archive(archive, left)
  if archive.label or not clips:
    return bool(clips)
  if searched.get(archive.url, {}).get('selection') != selection:
    return True
  lines = book.ledger.latest()
  known = [lines[name] for name in clips if name in lines]
  return any(
    line.get('archive') == archive.url or line['reason'] == 'not_in_archive'
    for line in known
  )


class _Stopped(Exception):
  """End a download that nobody waits for any more."""


def _get(
  archive: Archive, folder: pathlib.Path, stop: threading.Event
) -> pathlib.Path | FetchError:
  """Fetch an archive; give up at the next bytes or pause once stopped."""

  def wait(pause_s: float) -> None:
    if stop.wait(pause_s):
      raise _Stopped

  path = folder / archive.name
  try:
    fetch(
      *(archive.url, path),
      kind='archive',
      wait=wait,
      on_bytes=lambda _: wait(0),
    )
  except FetchError as error:
    return error
  return path


@contextlib.contextmanager
def _ahead(
  archives: Sequence[Archive], folder: pathlib.Path, num_workers: int
) -> Iterator[Iterator[tuple[Archive, pathlib.Path | FetchError]]]:
  """Give archives and what came of them in order, some begun ahead.

  No download goes on when the context ends, as the next run may then have the
  folder. Only Ctrl-C waits for none: it ends the process.
  """
  stop, has_time = threading.Event(), True
  pool = futures.ThreadPoolExecutor(num_workers)

  def begin(some: Iterator[Archive]) -> list[tuple[Archive, futures.Future]]:
    return [(each, pool.submit(_get, each, folder, stop)) for each in some]

  def in_order() -> Iterator[tuple[Archive, pathlib.Path | FetchError]]:
    left = iter(archives)
    running = collections.deque(begin(itertools.islice(left, num_workers)))
    while running:
      archive, future = running.popleft()
      yield archive, future.result()
      running += begin(itertools.islice(left, 1))

  try:
    yield in_order()
  except KeyboardInterrupt:
    has_time = False
    raise
  finally:
    stop.set()
    pool.shutdown(wait=has_time, cancel_futures=True)


def _take(
  archive: Archive,
  path: pathlib.Path | FetchError,
  left: dict[str, Annotation],
  book: Book,
  scratch: pathlib.Path,
) -> Outcome | None:
  """Take clips out of an archive and out of `left`; return what failed."""
  if isinstance(path, FetchError):
    if path.reason == 'disk_full':
      raise InputError(str(path)) from path
    return Outcome(path.reason, str(path), path.is_permanent)
  clips = _in_archive(archive, left)
  with tempfile.TemporaryDirectory(dir=scratch) as folder:
    try:
      found = unpack_clips(path, clips, pathlib.Path(folder))
    except InputError as error:
      path.unlink()
      return Outcome('archive_damaged', str(error))
    jobs = [(left.pop(name), file) for name, file in found.items()]
    _settle(jobs, book, archive=archive.url)
  if archive.label:
    message = f'{archive.url} does not hold it'
    for name in clips.keys() - found.keys():
      outcome = Outcome('not_in_archive', message, True)
      book.record(left.pop(name), outcome, archive=archive.url)
  return None


def _fail(
  archive: Archive, outcome: Outcome, left: dict[str, Annotation], book: Book
) -> int:
  """Record the clips of an archive that cannot be had; 1 if it is a part."""
  print(f'{outcome.reason}: {outcome.message}')
  if not archive.label:
    return 1
  for name in _in_archive(archive, left):
    book.record(left.pop(name), outcome, archive=archive.url)
  return 0


def _fail_rest(left: Clips, book: Book, num_missing: int) -> None:
  """Record the clips that none of the parts held."""
  outcome = Outcome('not_in_archive', 'no part holds it', True)
  if num_missing:
    message = f'{num_missing} parts could not be had'
    outcome = Outcome('archive_missing', message)
  for clip in left.values():
    book.record(clip, outcome)


def _settle(
  jobs: Sequence[tuple[Annotation, pathlib.Path]], book: Book, **facts: Any
) -> None:
  """Check unpacked files, name the good ones, and record all."""
  for clip, path, reason, message in checked(jobs):
    outcome = Outcome(reason, message, is_permanent=True)
    if not reason:
      outcome = Outcome(facts=place(path, book.target(clip)))
    book.record(clip, outcome, **facts)
