"""A local HTTP server that misbehaves as it is told, path by path.

    with FaultyServer() as server:
      url = server.put('/a.zip', body, Answer(status=503), Answer())
      …
      assert [seen.status for seen in server.seen('/a.zip')] == [503, 200]

The answers of a path are given one after the other; the last one stays.
"""

import dataclasses
import http.server
import re
import socket
import struct
import threading
import time
from collections.abc import Mapping

ETAG = '"one"'


@dataclasses.dataclass(frozen=True)
class Answer:
  """How one request is answered; the defaults are a faultless server.

  Attributes:
    status: any other than 200 sends no file.
    body: another body than that of the path.
    headers: more headers; one that is None is left out.
    etag: the validator; None for none.
    has_length: whether Content-Length is sent; without it the end of the
      connection is the end of the body.
    is_chunked: Transfer-Encoding: chunked.
    has_ranges: whether Range is understood.
    range_shift: how far from the wanted range the sent one lies.
    checks_if_range: whether a changed file is sent whole, as it must.
    max_range: the most bytes of one range.
    cut_after: the connection ends after this many bytes of the answer.
    is_reset: a cut is a reset and no orderly end.
    stall_after: nothing more comes after this many bytes.
    bytes_per_s: the speed; None for as fast as can be.
    chunk_bytes: sent at once.
  """

  status: int = 200
  body: bytes | None = None
  headers: Mapping[str, str | None] = dataclasses.field(default_factory=dict)
  etag: str | None = ETAG
  has_length: bool = True
  is_chunked: bool = False
  has_ranges: bool = True
  range_shift: int = 0
  checks_if_range: bool = True
  max_range: int | None = None
  cut_after: int | None = None
  is_reset: bool = False
  stall_after: int | None = None
  bytes_per_s: float | None = None
  chunk_bytes: int = 16384


@dataclasses.dataclass
class Seen:
  """One request and what was sent for it: bytes of the body, not headers."""

  path: str
  headers: Mapping[str, str]
  status: int = 0
  num_sent: int = 0


class FaultyServer:
  """The server, in threads of its own, from `with` to the end of it."""

  def __init__(self):
    self.stopped = threading.Event()
    self._lock = threading.Lock()
    self._bodies: dict[str, bytes] = {}
    self._answers: dict[str, list[Answer]] = {}
    self._seen: list[Seen] = []
    handler = type('Handler', (_Handler,), {'faulty': self})
    self._http = _QuietServer(('127.0.0.1', 0), handler)
    self._thread = threading.Thread(
      target=self._http.serve_forever, kwargs={'poll_interval': 0.02}
    )

  @property
  def root(self) -> str:
    """Where the paths begin, without a slash at the end."""
    return f'http://127.0.0.1:{self._http.server_address[1]}'

  def put(self, path: str, body: bytes, *answers: Answer) -> str:
    """Set what a path holds and how it is answered; return its URL."""
    with self._lock:
      self._bodies[path] = body
      self._answers[path] = list(answers) or [Answer()]
    return self.root + path

  def seen(self, path: str | None = None) -> list[Seen]:
    """Return the requests so far, of one path or of all."""
    with self._lock:
      return [seen for seen in self._seen if path in (None, seen.path)]

  def next_answer(self, seen: Seen) -> tuple[bytes, Answer]:
    with self._lock:
      self._seen.append(seen)
      answers = self._answers.get(seen.path, [Answer(status=404)])
      answer = answers.pop(0) if len(answers) > 1 else answers[0]
      return self._bodies.get(seen.path, b''), answer

  def __enter__(self):
    self._thread.start()
    return self

  def __exit__(self, *_):
    self.stopped.set()
    self._http.shutdown()
    self._thread.join()
    self._http.server_close()


class _QuietServer(http.server.ThreadingHTTPServer):
  daemon_threads = True
  request_queue_size = 64

  def handle_error(self, request, client_address):
    """Say nothing: clients that go away are what is tested."""


class _Handler(http.server.BaseHTTPRequestHandler):
  protocol_version = 'HTTP/1.1'
  faulty: FaultyServer

  def log_message(self, *_):
    pass

  def do_GET(self):
    seen = Seen(self.path, dict(self.headers.items()))
    body, answer = self.faulty.next_answer(seen)
    body = body if answer.body is None else answer.body
    status, headers = answer.status, {}
    if answer.etag:
      headers['ETag'] = answer.etag
    if status == 200:
      status, body, headers['Content-Range'] = _cut_range(
        body, answer, self.headers
      )
    elif answer.body is None:
      body = b''
    seen.status = status
    if answer.is_chunked:
      headers['Transfer-Encoding'] = 'chunked'
    elif answer.has_length:
      headers['Content-Length'] = str(len(body))
    else:
      headers['Connection'] = 'close'
      self.close_connection = True
    self.send_response(status)
    for name, value in (headers | dict(answer.headers)).items():
      if value is not None:
        self.send_header(name, value)
    self.end_headers()
    self._send(body, answer, seen)

  def _send(self, body, answer, seen):
    end = len(body)
    for limit in (answer.cut_after, answer.stall_after):
      end = end if limit is None else min(end, limit)
    while seen.num_sent < end:
      piece = body[seen.num_sent : min(seen.num_sent + answer.chunk_bytes, end)]
      if answer.is_chunked:
        self.wfile.write(b'%x\r\n%s\r\n' % (len(piece), piece))
      else:
        self.wfile.write(piece)
      seen.num_sent += len(piece)
      if answer.bytes_per_s:
        time.sleep(len(piece) / answer.bytes_per_s)
    if answer.stall_after is not None:
      self.faulty.stopped.wait(30)
    if answer.cut_after is not None or answer.stall_after is not None:
      self._hang_up(answer.is_reset)
    elif answer.is_chunked:
      self.wfile.write(b'0\r\n\r\n')

  def _hang_up(self, is_reset):
    self.close_connection = True
    if is_reset:
      linger = struct.pack('ii', 1, 0)
      self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
      self.connection.close()


def _cut_range(body, answer, headers):
  """Return the status, the bytes and the Content-Range of a good answer."""
  match = re.fullmatch(r'bytes=(\d+)-', headers.get('Range') or '')
  known = headers.get('If-Range')
  is_changed = known is not None and known != answer.etag
  if not match or not answer.has_ranges:
    return 200, body, None
  if is_changed and answer.checks_if_range:
    return 200, body, None
  first = int(match[1]) + answer.range_shift
  if first >= len(body):
    return 416, b'', f'bytes */{len(body)}'
  end = len(body)
  if answer.max_range is not None:
    end = min(end, first + answer.max_range)
  return 206, body[first:end], f'bytes {first}-{end - 1}/{len(body)}'
