"""Remember what a long preparation has done, one JSON line per step.

A line is `{"key": …, "state": "done" | "failed" | "skipped", "reason": …,
"at": UTC time, …facts}`. Lines are only ever appended, each flushed to the
disk before the work goes on; the newest line of a key counts. A run that was
killed leaves at most one torn last line, which is ignored, and the next line
starts afresh below it.
"""

import collections
import datetime
import fcntl
import hashlib
import json
import os
import pathlib
import threading
from collections.abc import Mapping
from typing import Any, Self

from dance2wave.errors import InputError

STATES = ('done', 'failed', 'skipped')


def read_ledger(path: pathlib.Path) -> dict[str, dict[str, Any]]:
  """Read the newest entry of every key, without taking the lock.

  Lines that are no whole JSON object are those of killed runs: left out.
  """
  latest: dict[str, dict[str, Any]] = {}
  if not path.exists():
    return latest
  for line in path.read_bytes().splitlines():
    try:
      entry = json.loads(line)
    except ValueError:
      continue
    if isinstance(entry, dict) and {'key', 'state'} <= entry.keys():
      latest[entry['key']] = entry
  return latest


class Ledger:
  """The ledger of one output folder, held by one process at a time.

  Attributes:
    path: of the file of JSON lines; it and its folder are made if missing.

  Raises:
    InputError: another process holds this ledger, or it cannot be written.
  """

  def __init__(self, path: str | os.PathLike):
    self.path = pathlib.Path(path)
    self._lock = threading.Lock()
    try:
      self.path.parent.mkdir(parents=True, exist_ok=True)
      self._file = self.path.open('a+b', buffering=0)
    except OSError as error:
      raise InputError(
        f'{self.path} cannot be written ({error.strerror}); expected a folder '
        'that may be written; choose another --output'
      ) from error
    try:
      fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
      self._file.close()
      raise InputError(
        f'{self.path} is in use by another run; expected one run per output '
        'folder; wait until it ends, or choose another --output'
      ) from error
    self._latest = read_ledger(self.path)
    self._is_torn = not self._ends_with_newline()

  def _ends_with_newline(self) -> bool:
    size = self._file.seek(0, os.SEEK_END)
    if size == 0:
      return True
    self._file.seek(size - 1)
    return self._file.read(1) == b'\n'

  def append(
    self, key: str, state: str, *, reason: str = '', **facts: Any
  ) -> dict[str, Any]:
    """Write one line, and return it once it is safely on the disk."""
    assert state in STATES, state
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec='seconds')
    entry = {'key': key, 'state': state, 'reason': reason, 'at': now, **facts}
    line = json.dumps(entry).encode('ascii') + b'\n'
    with self._lock:
      self._write(b'\n' + line if self._is_torn else line)
      self._latest[key] = entry
    return entry

  def _write(self, data: bytes) -> None:
    self._is_torn = True  # until all of it is there
    while data:
      data = data[self._file.write(data) :]
    os.fsync(self._file.fileno())
    self._is_torn = False

  def latest(self) -> dict[str, dict[str, Any]]:
    """Return the newest entry of every key."""
    with self._lock:
      return dict(self._latest)

  def counts(self) -> collections.Counter[tuple[str, str]]:
    """Count the keys of every (state, reason)."""
    entries = self.latest().values()
    return collections.Counter(
      (entry['state'], entry.get('reason', '')) for entry in entries
    )

  def close(self) -> None:
    """Let other processes have the ledger."""
    self._file.close()

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *_: object) -> None:
    self.close()


def is_done(
  entry: Mapping[str, Any] | None,
  target: pathlib.Path,
  *,
  check_sha256: bool = False,
) -> bool:
  """Return whether a ledger entry says done and its file is there, whole.

  The file must have the recorded `num_bytes`; with `check_sha256` it is read
  and must have the recorded `sha256` as well.
  """
  if entry is None or entry['state'] != 'done' or not target.is_file():
    return False
  if target.stat().st_size != entry.get('num_bytes'):
    return False
  if not check_sha256:
    return True
  with target.open('rb') as file:
    digest = hashlib.file_digest(file, 'sha256').hexdigest()
  return digest == entry.get('sha256')
