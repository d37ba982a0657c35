"""Read what a server answered, and name what is wrong with it."""

import contextlib
import datetime
import email.utils
import errno
import http.client
import re
from collections.abc import Iterator

import requests
import urllib3

# Faults that pass by themselves; the others need somebody's hand.
PASSING = ('rate_limited', 'server_error', 'truncated', 'stalled', 'connection')
ADVICE = {
  'not_found': 'check the address, the file may have moved',
  'forbidden': 'see in a browser whether the host asks for terms or a login',
  'rate_limited': 'wait and run the command again',
  'server_error': 'run the command again later',
  'truncated': 'run the command again, it keeps what is good',
  'not_the_file': 'open the address in a browser to see what it asks for',
  'stalled': 'check the network and run the command again',
  'checksum': 'the file is damaged or has changed, ask its publisher',
  'connection': 'check the network and run the command again',
  'disk_full': 'free some space and run the command again',
  'redirect_loop': 'check the address',
}
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# A server that asks for more is not waited for any longer.
MAX_RETRY_AFTER_S = 300.0

_WEB_PAGE = re.compile(
  rb'\s*(<!doctype html|<html|<head|<body|<script|<!--'
  rb'|<\?xml[^>]*>\s*<(!doctype html|html|error))',
  re.IGNORECASE,
)
_ARCHIVE = re.compile(
  rb'PK(\x03\x04|\x05\x06|\x07\x08|00PK)|\x1f\x8b|BZh[1-9]|\xfd7zXZ\x00'
  rb'|(?s:.{257})ustar'
)
_MEDIA = re.compile(
  rb'(?s:.{4})(ftyp|moov|mdat|free|skip|wide|pnot|styp)'  # mp4, mov
  rb'|\x1aE\xdf\xa3'  # mkv, webm
  rb'|RIFF|RF64|RIFX|OggS|fLaC|FORM|FLV\x01|\.snd'
  rb'|ID3|\xff[\xe0-\xff]'  # mp3, aac
  rb'|\x00\x00\x01[\xb3\xba]|G(?s:.{187})G'  # mpeg
  rb'|0&\xb2u\x8ef\xcf\x11'  # asf, wma, wmv
)


class FetchError(Exception):
  """Say why a file could not be downloaded.

  Attributes:
    reason: a key of the table above: 'not_found', 'forbidden',
      'rate_limited', 'server_error', 'truncated', 'not_the_file', 'stalled',
      'checksum', 'connection', 'disk_full' or 'redirect_loop'.
    url: what was asked for.
    message: one line: what is wrong, and what to do.
    is_permanent: whether no further attempt helps now.
    retry_after_s: how long the server asks to wait, or None.
  """

  def __init__(
    self,
    reason: str,
    url: str,
    what: str,
    is_permanent: bool | None = None,
    retry_after_s: float | None = None,
  ):
    # All arguments, so that the error survives the way between processes.
    super().__init__(reason, url, what, is_permanent, retry_after_s)
    self.reason = reason
    self.url = url
    self.message = ' '.join(f'{url} {what}; {ADVICE[reason]}'.split())
    self.is_permanent = (
      reason not in PASSING if is_permanent is None else is_permanent
    )
    self.retry_after_s = retry_after_s

  def __str__(self) -> str:
    return self.message


def refusal(url: str, response: requests.Response) -> FetchError:
  """Return the error for an answer that is no file."""
  status = response.status_code
  if status in (404, 410):
    reason = 'not_found'
  elif status == 429:
    reason = 'rate_limited'
  elif status >= 500 or status in (408, 425) or status < 300:
    reason = 'server_error'
  else:
    reason = 'forbidden'
  what = f'answered {status} {response.reason or ""}'
  return FetchError(reason, url, what, retry_after_s=retry_after_s(response))


def retry_after_s(response: requests.Response) -> float | None:
  """Return the seconds that Retry-After asks for, as number or date, capped."""
  value = response.headers.get('Retry-After', '').strip()
  if re.fullmatch(r'\d+', value):
    wanted_s = float(value)
  else:
    try:
      moment = email.utils.parsedate_to_datetime(value)
    except ValueError:
      return None
    if moment.tzinfo is None:
      moment = moment.replace(tzinfo=datetime.UTC)
    now = datetime.datetime.now(datetime.UTC)
    wanted_s = (moment - now).total_seconds()
  return min(max(wanted_s, 0.0), MAX_RETRY_AFTER_S)


def length_of(response: requests.Response) -> int | None:
  """Return the length that the server promises for this body."""
  value = response.headers.get('Content-Length', '')
  is_chunked = 'Transfer-Encoding' in response.headers
  return int(value) if value.isdecimal() and not is_chunked else None


def content_range(response: requests.Response) -> tuple[int, int | None]:
  """Return the first byte and the file's length of a 206 answer.

  An answer that does not say where it begins has the first byte -1.
  """
  value = response.headers.get('Content-Range', '')
  match = re.fullmatch(r'bytes\s+(\d+)-\d+/(\d+|\*)', value.strip())
  if not match:
    return -1, None
  return int(match[1]), None if match[2] == '*' else int(match[2])


def validator_of(response: requests.Response) -> str:
  """Return what If-Range may carry: a strong ETag, else Last-Modified."""
  etag = response.headers.get('ETag', '').strip()
  if etag.startswith('"'):
    return etag
  return response.headers.get('Last-Modified', '').strip()


def what_is_wrong(head: bytes, kind: str, encoding: str) -> str:
  """Return why a body that begins with `head` is not a file of the kind.

  Args:
    head: the first bytes, 512 or all of them.
    kind: 'archive' | 'media' | 'table' | 'binary'.
    encoding: the Content-Encoding, although none was accepted. Archives may
      carry one: servers name the compression of a .tar.gz so.
  """
  text = head.removeprefix(b'\xef\xbb\xbf')
  if not head:
    return 'is empty'
  if _WEB_PAGE.match(text):
    return f'is a web page instead of {kind} data'
  if encoding.lower() not in ('', 'identity') and kind != 'archive':
    return f'came compressed ({encoding}) although that was not accepted'
  if kind == 'archive' and not _ARCHIVE.match(head):
    return f'begins with {head[:8]!r}, which no archive does'
  if kind == 'media' and not _MEDIA.match(head):
    return f'begins with {head[:8]!r}, which no known media file does'
  if kind == 'table' and (b'\0' in head or text.lstrip()[:1] == b'<'):
    return f'begins with {head[:8]!r}, which is no table'
  return ''


@contextlib.contextmanager
def named_faults(url: str, timeout_s: float) -> Iterator[None]:
  """Turn every fault of network and disk into a `FetchError`."""
  try:
    yield
  except (
    requests.TooManyRedirects,
    requests.exceptions.InvalidSchema,
    requests.exceptions.InvalidURL,
  ) as error:
    what = f'leads nowhere ({error})'
    raise FetchError('redirect_loop', url, what) from error
  except (requests.Timeout, urllib3.exceptions.TimeoutError) as error:
    what = f'sent nothing for {timeout_s:g} s'
    raise FetchError('stalled', url, what) from error
  except (urllib3.exceptions.ProtocolError, http.client.HTTPException) as error:
    what = f'broke off ({error})'
    raise FetchError('truncated', url, what) from error
  except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
    what = f'cannot be reached ({_root_of(error)})'
    raise FetchError('connection', url, what) from error
  except OSError as error:
    if error.errno not in _DISK_FULL:
      raise
    what = 'does not fit on the disk'
    raise FetchError('disk_full', url, what) from error


def _root_of(error: Exception) -> str:
  """Return the innermost reason of the layers that a fault came through."""
  inner = error.args[0] if error.args else error
  return str(getattr(inner, 'reason', inner)).rpartition(': ')[2]
