"""Do, or tell beforehand, what a request for clips of Kinetics asks for."""

import collections
import dataclasses
import pathlib
import shlex
import shutil
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from dance2wave.datasets.kinetics_dance.annotations import (
  SPLITS,
  Annotation,
  read_all_annotations,
)
from dance2wave.errors import InputError
from data_prep import kinetics_local, kinetics_mirror, kinetics_sources
from data_prep.kinetics_clips import Book, is_settled, target_of
from data_prep.kinetics_selection import (
  annotation_files,
  fetched_annotations,
  selected_clips,
)
from data_prep.ledger import Ledger, read_ledger
from data_prep.youtube import Blocked, YouTubeOptions, command

LEDGER_NAME = 'ledger.jsonl'
_SCRATCH_NAME = '.partial'


@dataclasses.dataclass(frozen=True)
class Request:
  """What a user asks for.

  Attributes:
    output: folder for the clips.
    release: of Kinetics.
    labels, splits: whose clips are wanted.
    source: 'mirror', 'youtube' or 'local'.
    annotations: files; those of the mirror if empty.
    retry: reasons of permanent failures to try again.
    num_workers: at once; None for what suits the source.
    mirror_url: address of the mirror, without a slash at the end.
    keep_archives: whether archives stay after they are unpacked.
    local_dir: for 'local'.
    youtube: how to ask YouTube.
  """

  output: pathlib.Path
  release: str
  labels: Sequence[str]
  splits: Sequence[str]
  source: str = 'mirror'
  annotations: Sequence[pathlib.Path] = ()
  retry: Collection[str] = ()
  num_workers: int | None = None
  mirror_url: str = kinetics_mirror.MIRROR_URL
  keep_archives: bool = False
  local_dir: pathlib.Path | None = None
  youtube: YouTubeOptions = YouTubeOptions()  # noqa: RUF009 - frozen


def _unsettled(
  request: Request,
  clips: kinetics_sources.Clips,
  entries: Mapping[str, Mapping[str, Any]],
) -> dict[str, Annotation]:
  """Return the clips for which something is still to be done."""
  return {
    name: clip
    for name, clip in clips.items()
    if not is_settled(
      entries.get(name),
      target_of(clip, request.output),
      request.source,
      request.retry,
    )
  }


def _plan(
  request: Request, clips: Iterable[Annotation]
) -> kinetics_mirror.Plan:
  clips = list(clips)
  splits = [split for split in SPLITS if any(c.split == split for c in clips)]
  labels = sorted({clip.label for clip in clips})
  return kinetics_mirror.plan_of(
    request.release, splits, labels, request.mirror_url
  )


def dry_run(request: Request) -> Iterator[str]:
  """Yield every URL, command or file of a run; touch and fetch nothing.

  Raises:
    InputError: commands cannot be told without --annotations.
  """
  known = annotation_files(request.output, request.release, request.mirror_url)
  files = list(request.annotations)
  if not files and all(path.is_file() for path in known.values()):
    files = list(known.values())
  if not files and request.source != 'mirror':
    raise InputError(
      'annotations are missing; expected a file that names the clips; give '
      '--annotations, or run --source=mirror once, which fetches them'
    )
  if not files:
    yield from known
    yield from _urls(
      kinetics_mirror.plan_of(
        request.release, request.splits, request.labels, request.mirror_url
      )
    )
    return
  rows = read_all_annotations(files)
  selected = selected_clips(rows, request.labels, request.splits)
  entries = read_ledger(request.output / LEDGER_NAME)
  todo = _unsettled(request, selected, entries)
  if request.source == 'mirror':
    yield from _urls(_plan(request, todo.values()))
  elif request.source == 'youtube':
    for clip in todo.values():
      yield shlex.join(command(clip, request.youtube))
  else:
    local = kinetics_local.look(request.local_dir, rows, todo)
    for name, paths in local.files.items():
      yield f'{paths[0]} -> {target_of(todo.pop(name), request.output)}'
    known = read_ledger(request.output / kinetics_local.ARCHIVES_NAME)
    for path, _ in kinetics_local.tars_to_read(local, todo, known):
      yield str(path)


def _urls(plan: kinetics_mirror.Plan) -> Iterator[str]:
  for url in plan.part_lists:
    yield url
    yield f'# and every archive that {url} lists'
  yield from (archive.url for archive in plan.archives)


def _announce(
  request: Request, todo: kinetics_sources.Clips, num_selected: int
) -> None:
  """Print how much is to be done, before it is."""
  free_gb = shutil.disk_usage(request.output).free / 1e9
  line = f'{len(todo)} of {num_selected} clips to be had from {request.source}'
  if request.source == 'mirror' and todo:
    num_bytes = _plan(request, todo.values()).num_bytes
    line += f': about {num_bytes / 1e9:.1f} GB are fetched'
    if request.release == 'k400':
      line += (
        ', because Kinetics-400 has no archives of single classes and every '
        'part is needed (k600 and k700_2020 need 1.2 GB a class)'
      )
  print(f'{line}; {free_gb:.0f} GB are free in {request.output}', flush=True)


def _fetch(
  request: Request,
  rows: Sequence[Annotation],
  selected: kinetics_sources.Clips,
  book: Book,
  scratch: pathlib.Path,
) -> None:
  """Bring the clips that are left from the chosen source."""
  book.adopt(selected.values())
  todo = _unsettled(request, selected, book.ledger.latest())
  _announce(request, todo, len(selected))
  workers = request.num_workers
  if request.source == 'youtube':
    kinetics_sources.from_youtube(
      todo,
      book,
      scratch,
      request.youtube,
      num_workers=workers or 1,
      is_retry=bool(request.retry),
    )
  elif request.source == 'local':
    kinetics_local.from_local(
      rows, todo, book, scratch, request.local_dir, workers
    )
  elif todo:
    kinetics_sources.from_mirror(
      selected,
      todo,
      book,
      scratch,
      _plan(request, todo.values()),
      root=request.mirror_url,
      num_workers=workers or 2,
      keep_archives=request.keep_archives,
    )


def run(request: Request) -> int:
  """Fetch what is asked for, print a summary, and return the exit status.

  Raises:
    InputError: what only the user can mend.
  """
  output, scratch = request.output, request.output / _SCRATCH_NAME
  with Ledger(output / LEDGER_NAME) as ledger:
    files = request.annotations or fetched_annotations(
      output, request.release, request.mirror_url
    )
    rows = read_all_annotations(files)
    selected = selected_clips(rows, request.labels, request.splits)
    book = Book(output, request.source, ledger)
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    try:
      _fetch(request, rows, selected, book, scratch)
    except Blocked as blocked:
      print(f'stopped: {blocked}', file=sys.stderr)
    finally:
      shutil.rmtree(scratch, ignore_errors=True)
    return _summary(request, selected, ledger)


def _summary(
  request: Request, selected: kinetics_sources.Clips, ledger: Ledger
) -> int:
  """Print what became of the clips; return 1 if a further run may help."""
  entries = ledger.latest()
  states = collections.Counter(
    entries[name]['reason'] or 'done' if name in entries else 'not tried'
    for name in selected
  )
  num_done = states.pop('done', 0)
  others = ', '.join(f'{n} {reason}' for reason, n in states.most_common())
  print(
    f'{num_done} of {len(selected)} clips are in {request.output}'
    + (f'; {others}: see {ledger.path}' if others else '')
  )
  settled = dataclasses.replace(request, retry=())
  return 1 if _unsettled(settled, selected, entries) else 0
