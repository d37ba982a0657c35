"""Check the clips of Kinetics, give whole ones their names, and remember them.

Nothing carries its final name, DIR/<split>/<class>/<clip id>.mp4, before it
was read to its end by `dance2wave.media.video.probe` and found to have sound.
"""

import dataclasses
import hashlib
import os
import pathlib
import shutil
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from absl import logging

from dance2wave.datasets.kinetics_dance.annotations import Annotation
from dance2wave.datasets.workers import WorkerDied, ordered_map
from dance2wave.errors import InputError
from dance2wave.media.video import probe
from data_prep.ledger import Ledger, is_done

_CHECKING = threading.Lock()


@dataclasses.dataclass(frozen=True)
class Outcome:
  """What became of one clip: the facts of its line in the ledger.

  Attributes:
    reason: '' if the clip is there, else why not.
    message: one line for the user; '' if the clip is there.
    is_permanent: whether a later run need not try again by itself.
    facts: of the file, see `place`.
  """

  reason: str = ''
  message: str = ''
  is_permanent: bool = False
  facts: dict[str, Any] = dataclasses.field(default_factory=dict)


def place(path: pathlib.Path, target: pathlib.Path) -> dict[str, Any]:
  """Flush a checked file and give it its final name; return its facts.

  Both must be on one file system. Facts: num_bytes and sha256.
  """
  target.parent.mkdir(parents=True, exist_ok=True)
  facts = facts_of(path)
  os.replace(path, target)
  return facts


def facts_of(path: pathlib.Path) -> dict[str, Any]:
  """Return the size and digest of a file that is safely on the disk."""
  with path.open('rb') as file:
    digest = hashlib.file_digest(file, 'sha256').hexdigest()
    os.fsync(file.fileno())
    return {'num_bytes': file.tell(), 'sha256': digest}


@dataclasses.dataclass(frozen=True)
class Check:
  """A file to be checked.

  Attributes:
    path: of the file.
    segment_s: how long it should be.
    is_exact: to two frames; otherwise it may be shorter, as the mirror's
      clips of videos that end early are, but not a second longer.
  """

  path: pathlib.Path
  segment_s: float
  is_exact: bool = False


def check_clip(check: Check) -> tuple[str, str]:
  """Return (reason, message) of what is wrong with a file, or two ''."""
  try:
    info = probe(check.path)
  except InputError as error:
    return 'damaged', str(error)
  if info.audio_stream_index is None:
    return 'no_audio', f'{check.path.name} has no sound that can be decoded'
  too_long_s = info.duration_s - check.segment_s
  frames_s = 2 * float(np.median(np.diff(info.frame_time_s))) + 1e-3
  is_wrong = too_long_s > 1
  if check.is_exact:
    is_wrong = abs(too_long_s) > frames_s
  if is_wrong:
    return 'wrong_length', (
      f'{check.path.name} is {info.duration_s:.3f} s long; expected '
      f'{check.segment_s:g} s'
    )
  return '', ''


def check_apart(check: Check) -> tuple[str, str]:
  """Run `check_clip` in a process of its own, which may die of the file."""
  with _CHECKING:  # pools are started by one thread at a time
    [result] = ordered_map(check_clip, [check], num_workers=1)
  return died(result)


def died(result: tuple[str, str] | WorkerDied) -> tuple[str, str]:
  """Return the result of a check, also if its process died."""
  if isinstance(result, WorkerDied):
    return 'damaged', f'{result.task.path.name}: {result.message}'
  return result


def checked(
  files: Iterable[tuple[Annotation, pathlib.Path]],
  num_workers: int | None = None,
) -> Iterator[tuple[Annotation, pathlib.Path, str, str]]:
  """Check the files of clips, several at once, and yield each in order.

  Yields:
    Clip, file, and what `check_clip` says of it.
  """
  files = list(files)
  checks = [Check(path, clip.end_s - clip.start_s) for clip, path in files]
  results = ordered_map(check_clip, checks, num_workers=num_workers)
  for (clip, path), result in zip(files, results):
    yield clip, path, *died(result)


def link_or_copy(source: pathlib.Path, target: pathlib.Path) -> None:
  """Give a file a second name, or copy it to another file system."""
  try:
    os.link(source.resolve(), target)
  except OSError:
    shutil.copyfile(source, target)


def target_of(clip: Annotation, output: pathlib.Path) -> pathlib.Path:
  """Return the final path of a clip in an output folder."""
  return output / clip.split / clip.label / f'{clip.clip_id}.mp4'


def is_settled(
  entry: Mapping[str, Any] | None,
  target: pathlib.Path,
  source: str,
  retry: Collection[str],
) -> bool:
  """Tell whether nothing is to be done for a clip.

  Args:
    entry: the clip's newest line in the ledger.
    target: its final path.
    source: asked now; failures at another source do not count.
    retry: reasons of failures to try again.
  """
  if entry is None or entry['state'] == 'done':
    return is_done(entry, target)
  is_retried = entry['reason'] in retry or 'all' in retry
  is_same = entry.get('source') == source
  return is_same and bool(entry.get('is_permanent')) and not is_retried


@dataclasses.dataclass(frozen=True)
class Book:
  """Write down what becomes of the clips of an output folder.

  Attributes:
    output: the folder.
    source: 'mirror', 'youtube' or 'local'.
    ledger: of the folder.
  """

  output: pathlib.Path
  source: str
  ledger: Ledger

  def target(self, clip: Annotation) -> pathlib.Path:
    """Return the final path of a clip."""
    return target_of(clip, self.output)

  def record(self, clip: Annotation, outcome: Outcome, **facts: Any) -> None:
    """Append one line for a clip."""
    about = {'source': self.source, 'split': clip.split, 'label': clip.label}
    logging.info('%s: %s', clip.clip_id, outcome.reason or 'done')
    if not outcome.reason:
      facts = {**about, **facts, **outcome.facts}
      self.ledger.append(clip.clip_id, 'done', **facts)
      return
    self.ledger.append(
      clip.clip_id,
      'failed',
      reason=outcome.reason,
      message=outcome.message,
      is_permanent=outcome.is_permanent,
      **about,
      **facts,
    )

  def adopt(self, clips: Iterable[Annotation]) -> None:
    """Record clips that a killed run had put in place but not written down."""
    entries = self.ledger.latest()
    found = [
      clip
      for clip in clips
      if (target := self.target(clip)).is_file()
      and not is_done(entries.get(clip.clip_id), target)
    ]
    checks = [
      Check(self.target(clip), clip.end_s - clip.start_s) for clip in found
    ]
    for clip, result in zip(found, ordered_map(check_clip, checks)):
      if not died(result)[0]:
        self.record(clip, Outcome(facts=facts_of(self.target(clip))))
