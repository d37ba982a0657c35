"""Read the volumes of a split file as the one file that they are."""

import bisect
import io
import os
import pathlib
from collections.abc import Sequence


class JoinedFile(io.RawIOBase):
  """Several files read as one: the volumes of a split archive, not copied."""

  def __init__(self, paths: Sequence[pathlib.Path]):
    self._files = [path.open('rb') for path in paths]
    self._ends = []
    for path in paths:
      before = self._ends[-1] if self._ends else 0
      self._ends.append(before + path.stat().st_size)
    self._at = 0

  def readable(self) -> bool:
    """Return True."""
    return True

  def seekable(self) -> bool:
    """Return True."""
    return True

  def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
    """Go to a byte of the whole."""
    base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at}.get(whence, self._ends[-1])
    self._at = max(0, base + offset)
    return self._at

  def tell(self) -> int:
    """Return the byte of the whole."""
    return self._at

  def readinto(self, buffer: memoryview) -> int:
    """Read from the one volume that holds the next byte."""
    volume = bisect.bisect_right(self._ends, self._at)
    if volume == len(self._files):
      return 0
    left = self._ends[volume] - self._at
    start = self._ends[volume - 1] if volume else 0
    self._files[volume].seek(self._at - start)
    num_bytes = self._files[volume].readinto(memoryview(buffer)[:left])
    self._at += num_bytes
    return num_bytes

  def close(self) -> None:
    """Close all volumes."""
    for file in self._files:
      file.close()
    super().close()
