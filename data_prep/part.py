"""The beginning of a file that is on its way, and which version it is of."""

import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Iterable


@dataclasses.dataclass(frozen=True)
class Version:
  """One version of a file on a server.

  Attributes:
    url: where it is.
    validator: a strong ETag or a Last-Modified; '' if the server gives none.
    num_bytes: its whole length; None if the server does not tell.
  """

  url: str
  validator: str = ''
  num_bytes: int | None = None


class Part:
  """`<target>.part` beside the target, and `<target>.part.json` about it.

  Attributes:
    target: the final path.
    is_inherited: whether some bytes are those of an earlier process, of which
      a loss of power may have left zeros.
  """

  def __init__(self, target: pathlib.Path):
    self.target = target
    self.path = target.with_name(target.name + '.part')
    self._note = target.with_name(target.name + '.part.json')
    self.is_inherited = self.num_bytes() > 0

  def num_bytes(self) -> int:
    """Return how much of the file is there."""
    try:
      return self.path.stat().st_size
    except FileNotFoundError:
      return 0

  def version(self) -> Version | None:
    """Return the version that these bytes are of; None if unknown."""
    try:
      return Version(**json.loads(self._note.read_text()))
    except (FileNotFoundError, ValueError, TypeError):
      return None

  def begin(self, version: Version) -> None:
    """Empty the file and note whose bytes will come; in this order."""
    self.path.write_bytes(b'')
    self._note.write_text(json.dumps(dataclasses.asdict(version)))
    self.is_inherited = False

  def append(self, chunks: Iterable[bytes]) -> None:
    """Write the next bytes as they come."""
    with self.path.open('ab') as file:
      for data in chunks:
        file.write(data)

  def sha256(self) -> str:
    """Return the digest of what is on the disk."""
    return sha256_of(self.path)

  def finish(self) -> None:
    """Flush the file to the disk and give it its final name."""
    _flush(self.path)
    os.replace(self.path, self.target)
    _flush(self.target.parent)
    self._note.unlink(missing_ok=True)

  def discard(self) -> None:
    """Drop what came so far."""
    self._note.unlink(missing_ok=True)
    self.path.unlink(missing_ok=True)


def sha256_of(path: pathlib.Path) -> str:
  """Return the digest of a file, 64 hexadecimal digits."""
  with path.open('rb') as file:
    return hashlib.file_digest(file, 'sha256').hexdigest()


def _flush(path: pathlib.Path) -> None:
  """Make a file, or the names in a folder, survive a loss of power."""
  descriptor = os.open(path, os.O_RDONLY)
  try:
    os.fsync(descriptor)
  finally:
    os.close(descriptor)
