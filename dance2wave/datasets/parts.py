"""Parts of a dataset: what one task gave, kept in a file of its own.

A part counts only for the very task that it was made of (its fields, and the
size and time of the files that its paths lead to), for the code and libraries
that made it, and if it is whole (SHA-256). So a build that goes on from the
parts of one that was killed gives the bytes of a build from nothing.

    <data_dir>/.parts/<dataset>-<config>-<version>/lock
                                                  /<code>/<task>
"""

import contextlib
import dataclasses
import functools
import hashlib
import importlib.metadata
import io
import json
import pathlib
import pickle
import shutil
import sys
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from absl import logging

from dance2wave import locks
from dance2wave.datasets.work import Failure, Record, Recorder

# What a builder can have used; see tests/test_walls.py.
_STAGES = ('datasets', 'media', 'metrics', 'pose')


@contextlib.contextmanager
def hold(folder: pathlib.Path) -> Iterator[None]:
  """Keep a folder of parts for one build; remove it when that succeeds.

  Raises:
    InputError: another build holds it.
  """
  folder.mkdir(parents=True, exist_ok=True)
  busy = (
    f'another build on Beam holds {folder}; expected one at a time for a '
    'dataset; wait for it or give another --data_dir'
  )
  with locks.held(folder / 'lock', busy):
    yield
    shutil.rmtree(folder, ignore_errors=True)
  with contextlib.suppress(OSError):  # Parts of other datasets are there.
    folder.parent.rmdir()


def pack(result: list[Record] | Failure) -> bytes:
  """Return SHA-256, a line of JSON, and the examples one after the other."""
  if isinstance(result, Failure):
    header, body = {'failure': dataclasses.asdict(result)}, b''
  else:
    header = {'clips': [(key, len(example)) for key, example in result]}
    body = b''.join(example for _, example in result)
  content = json.dumps(header).encode() + b'\n' + body
  return hashlib.sha256(content).digest() + content


def unpack(part: bytes) -> list[Record] | Failure:
  """Return what was packed; ValueError if the part is damaged."""
  if hashlib.sha256(part[32:]).digest() != part[:32]:
    raise ValueError('a part of the dataset is damaged')
  line, _, body = part[32:].partition(b'\n')
  header = json.loads(line)
  if 'failure' in header:
    return Failure(**header['failure'])
  stream = io.BytesIO(body)
  return [(key, stream.read(size)) for key, size in header['clips']]


def write(path: pathlib.Path, content: bytes) -> None:
  """Write a file whole or not at all, however many write it at once."""
  draft = path.with_name(f'{uuid.uuid4().hex}.draft')
  try:
    draft.write_bytes(content)
    draft.replace(path)
  finally:
    draft.unlink(missing_ok=True)


def is_done(path: pathlib.Path) -> bool:
  """Return whether a whole part with clips is there; remove any other.

  What failed is tried again: the reason may be gone.
  """
  try:
    if isinstance(unpack(path.read_bytes()), list):
      return True
  except FileNotFoundError:
    return False
  except ValueError:
    logging.warning('%s is damaged and will be made again', path)
  path.unlink()
  return False


def code_digest(read: Callable) -> str:
  """Digest what decides a part beside its task: code and libraries."""
  package = pathlib.Path(__file__).parents[1]
  files = [p for s in _STAGES for p in sorted((package / s).rglob('*.py'))]
  home = getattr(sys.modules[read.__module__], '__file__', None)
  files += [pathlib.Path(home)] if home else []
  digest = hashlib.sha256(sys.version.encode())
  for path in files:
    digest.update(path.read_bytes())
  found = importlib.metadata.distributions()
  for library in sorted(f'{d.name}=={d.version}' for d in found):
    digest.update(library.encode())
  return digest.hexdigest()[:16]


def task_digests(recorder: Recorder) -> Callable[[Any], str]:
  """Return a function from a task to the name of its part.

  A file that one task reads beside that which it names (the poses of a video)
  has the same stem; of a folder all files count.
  """
  facts_of = functools.partial(
    _facts_of, functools.cache(_files_in), functools.cache(_digest_below)
  )
  common = (recorder.read, repr(recorder.features), recorder.num_joints)

  def digest(task: Any) -> str:
    file = io.BytesIO()
    _TaskPickler(file, facts_of).dump((*common, task))
    return hashlib.sha256(file.getbuffer()).hexdigest()

  return digest


class _TaskPickler(pickle.Pickler):
  """Pickles a task only to compare it, with facts in the place of its paths."""

  def __init__(self, file: io.BytesIO, facts_of: Callable):
    super().__init__(file, protocol=5)
    self._facts_of = facts_of

  def reducer_override(self, value: Any) -> Any:
    """Return how to pickle a path; leave everything else as it is."""
    if isinstance(value, pathlib.Path):
      return str, (f'{value} {self._facts_of(value)}',)
    return NotImplemented


def _facts_of(files_in: Callable, digest_of: Callable, path: Any) -> Any:
  if path.is_dir():
    return digest_of(path)
  return files_in(path.parent).get(path.stem)


def _files_in(folder: pathlib.Path) -> dict[str, list[tuple[str, int, int]]]:
  """Return name, bytes and time of the files of a folder, by their stems."""
  facts = {}
  if folder.is_dir():
    for path in sorted(p for p in folder.iterdir() if p.is_file()):
      facts.setdefault(path.stem, []).append(_fact(path))
  return facts


def _digest_below(folder: pathlib.Path) -> str:
  """Return a digest of the files of a folder and of its sub-folders."""
  facts = [_fact(p) for p in sorted(folder.rglob('*')) if p.is_file()]
  return hashlib.sha256(
    repr(facts).encode('utf-8', 'backslashreplace')
  ).hexdigest()


def _fact(path: pathlib.Path) -> tuple[str, int, int]:
  stat = path.stat()
  return str(path), stat.st_size, stat.st_mtime_ns
