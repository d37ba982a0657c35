"""Download files so that whatever carries its final name is whole.

    fetch('https://…/032.tar.gz', pathlib.Path('032.tar.gz'), kind='archive')

The body goes to `<target>.part`, is checked, flushed to the disk and renamed
at the end; `<target>.part.json` remembers which version of the file it is.
A later attempt, in this process or the next, asks for the missing bytes only
(RFC 9110, section 14: Range and If-Range) and starts again wherever the
server cannot promise that the file is still the same.
"""

import dataclasses
import pathlib
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping

import requests

from dance2wave import __version__
from dance2wave.errors import InputError
from data_prep.answers import (
  FetchError,
  content_range,
  length_of,
  named_faults,
  refusal,
  validator_of,
  what_is_wrong,
)
from data_prep.archives import ArchiveError, test_archive
from data_prep.part import Part, Version, sha256_of

# Slower than this over `timeout_s` is a stall.
MIN_RATE_BYTES_PER_S = 1024
# An attempt that got this much further starts the count of attempts anew.
PROGRESS_BYTES = 1 << 20
MAX_BACKOFF_S = 60.0
MAX_REDIRECTS = 10
_CHUNK_BYTES = 1 << 18
_HEAD_BYTES = 512


@dataclasses.dataclass(frozen=True)
class Fetched:
  """A file under its final name.

  Attributes:
    num_bytes: its size.
    sha256: of its bytes, 64 hexadecimal digits.
    is_verified: whether its end was proven: by the server's own length, a
      given size or digest, or an archive that was read to its end. A body
      that just stops when the connection does proves nothing.
  """

  num_bytes: int
  sha256: str
  is_verified: bool = True


def fetch(
  url: str,
  target: pathlib.Path,
  *,
  sha256: str | None = None,
  num_bytes: int | None = None,
  kind: str = 'binary',
  timeout_s: float = 30.0,
  max_attempts: int = 5,
  wait: Callable[[float], None] = time.sleep,
  on_bytes: Callable[[int], object] = lambda num_bytes: None,
) -> Fetched:
  """Download one file, with retries.

  A target that is there already is left as it is if it has the digest, or if
  the server tells the same length; otherwise it is replaced.

  Args:
    url: http or https.
    target: final path; its folder is made if missing.
    sha256: what the digest must be, if known.
    num_bytes: what the size must be, if known.
    kind: 'archive' | 'media' | 'table' | 'binary': what the first bytes must
      look like; none may be a web page.
    timeout_s: without a byte, or at less than 1 kB/s, an attempt is over.
    max_attempts: in a row without progress.
    wait: called with the seconds to wait between two attempts.
    on_bytes: called with the number of bytes whenever some have come.

  Raises:
    FetchError: why there is no file; what came so far stays in the `.part`.
    InputError: the URL is not one of http or https.
  """
  if not re.match(r'https?://[^/]', url):
    raise InputError(
      f'url is {url!r}; expected http:// or https:// and a host; correct it'
    )
  target.parent.mkdir(parents=True, exist_ok=True)
  download = _Download(
    url, target, sha256, num_bytes, kind, timeout_s, on_bytes
  )
  attempt = 0
  best = download.part_bytes()
  while True:
    attempt += 1
    try:
      return download.attempt()
    except FetchError as error:
      if download.part_bytes() >= best + PROGRESS_BYTES:
        attempt = 1
      best = max(best, download.part_bytes())
      if error.is_permanent or attempt >= max_attempts:
        raise
      wait(_pause_s(attempt, error.retry_after_s))


def _pause_s(attempt: int, retry_after_s: float | None) -> float:
  """Return what the server asked for, or else 1, 2, 4, … s with jitter."""
  if retry_after_s is not None:
    return retry_after_s
  return min(2.0 ** (attempt - 1), MAX_BACKOFF_S) * random.uniform(0.5, 1.5)


class _Download:
  """One file on its way; `attempt` may be called until it succeeds."""

  def __init__(
    self,
    url: str,
    target: pathlib.Path,
    sha256: str | None,
    num_bytes: int | None,
    kind: str,
    timeout_s: float,
    on_bytes: Callable[[int], object],
  ):
    self._url = url
    self._part = Part(target)
    self._sha256 = sha256.lower() if sha256 else None
    self._num_bytes = num_bytes
    self._kind = kind
    self._timeout_s = timeout_s
    self._on_bytes = on_bytes
    self._had_mismatch = False

  def part_bytes(self) -> int:
    """Return how much of the file is there."""
    return self._part.num_bytes()

  def attempt(self) -> Fetched:
    """Get what is missing and finish, or raise a `FetchError`."""
    with named_faults(self._url, self._timeout_s):
      if self._has_target_digest():
        return self._keep_target()
      version, offset = self._resumable()
      if offset and offset == version.num_bytes:
        return self._finish(is_proven=True)
      with requests.Session() as session:
        session.max_redirects = MAX_REDIRECTS
        with session.get(
          self._url,
          headers=self._headers(version, offset),
          stream=True,
          timeout=self._timeout_s,
        ) as response:
          if self._is_already_there(response, offset):
            return self._keep_target()
          is_proven = self._receive(response, version, offset)
      return self._finish(is_proven)

  def _has_target_digest(self) -> bool:
    target = self._part.target
    if self._sha256 is None or not target.is_file():
      return False
    return sha256_of(target) == self._sha256

  def _resumable(self) -> tuple[Version, int]:
    """Return the version of the `.part`, and the byte to go on from."""
    version = self._part.version()
    if version is None or version.url != self._url:
      return Version(self._url), 0
    if not (version.validator or self._sha256):
      return Version(self._url), 0
    return version, self._part.num_bytes()

  def _headers(self, version: Version, offset: int) -> Mapping[str, str]:
    headers = {
      'User-Agent': f'dance2wave/{__version__}',
      'Accept-Encoding': 'identity',
    }
    if offset:
      headers['Range'] = f'bytes={offset}-'
      if version.validator:
        headers['If-Range'] = version.validator
    return headers

  def _is_already_there(self, response: requests.Response, offset: int) -> bool:
    """Return whether a run that was killed after the rename got it all."""
    return (
      response.status_code == 200
      and not offset
      and self._sha256 is None
      and self._part.target.is_file()
      and self._part.target.stat().st_size == length_of(response)
    )

  def _receive(
    self, response: requests.Response, version: Version, offset: int
  ) -> bool:
    """Append the body to the `.part`; return whether its end is proven."""
    if response.status_code == 206:
      version = self._check_range(response, version, offset)
    elif response.status_code == 200:
      offset = 0
    elif response.status_code == 416 and offset:
      self._start_again('has no such range of the file any more')
    else:
      raise refusal(self._url, response)
    chunks = self._chunks(response)
    if not offset:
      total = version.num_bytes
      if response.status_code == 200:
        total = length_of(response)
      version = Version(self._url, validator_of(response), total)
      self._check_size(version)
      chunks = self._looked_at(chunks, response)
      self._part.begin(version)
    self._part.append(chunks)
    return self._is_end_proven(response, version)

  def _check_range(
    self, response: requests.Response, version: Version, offset: int
  ) -> Version:
    """Return the version, with its length, of which this is the missing end."""
    first, total = content_range(response)
    if first != offset:
      self._start_again(f'sent bytes from {first} instead of {offset}')
    validator = validator_of(response) or version.validator
    total = version.num_bytes if total is None else total
    new = Version(self._url, validator, total)
    known = dataclasses.replace(version, num_bytes=version.num_bytes or total)
    if offset and new != known:
      self._start_again('sent a part of another version of the file')
    return new

  def _check_size(self, version: Version) -> None:
    sizes = {self._num_bytes, version.num_bytes} - {None}
    if len(sizes) > 1:
      self._mismatch(
        f'is {version.num_bytes} bytes; expected {self._num_bytes}'
      )

  def _chunks(self, response: requests.Response) -> Iterator[bytes]:
    """Yield the body as it comes; a trickle is a stall."""
    start_s, num_bytes = time.monotonic(), 0
    while data := response.raw.read1(_CHUNK_BYTES, decode_content=False):
      yield data
      self._on_bytes(len(data))
      num_bytes += len(data)
      took_s = time.monotonic() - start_s
      if took_s >= self._timeout_s:
        if num_bytes < MIN_RATE_BYTES_PER_S * took_s:
          raise FetchError(
            'stalled', self._url, f'sent {num_bytes} bytes in {took_s:.1f} s'
          )
        start_s, num_bytes = time.monotonic(), 0

  def _looked_at(
    self, chunks: Iterator[bytes], response: requests.Response
  ) -> Iterator[bytes]:
    """Return the same body, once its first bytes are those of the kind.

    A login page must not cost the half archive that is there already.
    """
    head = b''
    for data in chunks:
      head += data
      if len(head) >= _HEAD_BYTES:
        break
    encoding = response.headers.get('Content-Encoding', '')
    wrong = what_is_wrong(head, self._kind, encoding)
    if not head and length_of(response) is None:
      raise FetchError('truncated', self._url, 'ended before its first byte')
    if wrong and (head or self._num_bytes != 0):
      raise FetchError('not_the_file', self._url, wrong)
    return _chain(head, chunks)

  def _is_end_proven(
    self, response: requests.Response, version: Version
  ) -> bool:
    """Compare the size with the promised one."""
    size = self.part_bytes()
    wanted = version.num_bytes
    if wanted is None:
      wanted = self._num_bytes
    if wanted is not None and size < wanted:
      raise FetchError(
        'truncated', self._url, f'ended after {size} of {wanted} bytes'
      )
    if version.num_bytes is not None and size > version.num_bytes:
      self._start_again(f'sent {size} instead of {version.num_bytes} bytes')
    encoding = response.headers.get('Transfer-Encoding', '')
    return version.num_bytes is not None or 'chunked' in encoding.lower()

  def _finish(self, is_proven: bool) -> Fetched:
    """Check the whole `.part`, flush it to the disk and rename it."""
    size, digest = self.part_bytes(), self._part.sha256()
    if self._num_bytes is not None and size != self._num_bytes:
      self._mismatch(f'is {size} bytes; expected {self._num_bytes}')
    if self._sha256 and digest != self._sha256:
      if not is_proven and self._num_bytes is None:
        self._start_again(f'ended after {size} bytes with another digest')
      self._mismatch(f'has sha256 {digest}; expected {self._sha256}')
    is_verified = is_proven or self._num_bytes is not None or bool(self._sha256)
    is_doubtful = not is_verified or (
      self._part.is_inherited and not self._sha256
    )
    if self._kind == 'archive' and is_doubtful:
      try:
        test_archive(self._part.path)
      except ArchiveError as error:
        self._start_again(f'sent an archive that is not whole ({error})')
      is_verified = True
    self._part.finish()
    return Fetched(size, digest, is_verified)

  def _keep_target(self) -> Fetched:
    self._part.discard()
    target = self._part.target
    return Fetched(target.stat().st_size, sha256_of(target))

  def _start_again(self, what: str) -> None:
    """Drop what came so far; the next attempt begins at the first byte."""
    self._part.discard()
    raise FetchError('truncated', self._url, what)

  def _mismatch(self, what: str) -> None:
    """Drop a file that is whole but another; once more, then for good."""
    self._part.discard()
    is_second, self._had_mismatch = self._had_mismatch, True
    raise FetchError('checksum', self._url, what, is_permanent=is_second)


def _chain(head: bytes, chunks: Iterator[bytes]) -> Iterator[bytes]:
  if head:
    yield head
  yield from chunks
