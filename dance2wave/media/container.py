"""Opening media files from strangers, and what their headers declare.

libav answers damage with unrelated kinds of errors, or with none: whatever it
raises becomes an `InputError`, and what it returns is compared with what the
file says of itself.
"""

import contextlib
import pathlib
import struct
from collections.abc import Iterator

import numpy as np
from absl import logging

from dance2wave.errors import InputError
from dance2wave.media import watchdog

# A header and its content may differ by this much before a file is refused.
SLACK_S = 0.05
# Containers whose headers state durations: one for each stream, or one for
# all; others guess it from the bit rate, or copy it from stream to stream.
_DECLARING_STREAMS = {'mov', 'avi', 'aiff', 'wav', 'w64'}
_DECLARING = _DECLARING_STREAMS | {'matroska', 'webm', 'asf', 'flv'}


@contextlib.contextmanager
def open_media(path: str | pathlib.Path):
  """Open a file with PyAV; yields an `av.container.InputContainer`.

  Raises:
    InputError: no such file, an empty file, or no known container.
  """
  import av

  path = pathlib.Path(path)
  if not path.is_file():
    raise InputError(
      f'{path} is not a file; expected a video or sound file; check the path'
    )
  if path.stat().st_size == 0:
    raise InputError(
      f'{path} is empty (0 bytes); expected a sound or a video; fetch or '
      'export it again'
    )
  try:
    container = av.open(
      f'file:{path}',
      metadata_errors='replace',
      options={'protocol_whitelist': 'file'},
    )
  except Exception as error:  # libav answers damage with unrelated kinds
    raise damaged(path, error) from error
  with container:
    yield container


def damaged(path: pathlib.Path, reason: object) -> InputError:
  """Return the error for a file that cannot be read to its end."""
  reason = getattr(reason, 'strerror', None) or reason
  return InputError(
    f'{path} cannot be decoded ({reason}); expected a whole video or sound '
    'file; fetch or export it again'
  )


def guarded(iterator: Iterator, path: pathlib.Path) -> Iterator:
  """Pass items on, and turn whatever libav raises into an InputError."""
  while True:
    try:
      item = next(iterator)
    except StopIteration:
      return
    except Exception as error:  # libav answers damage with unrelated kinds
      raise damaged(path, error) from error
    watchdog.progress()
    yield item


def check_complete(
  path: pathlib.Path, what: str, found_s: float, declared_s: float | None
) -> None:
  """Raise InputError if a file holds less than its header declares."""
  if declared_s is not None and found_s < declared_s - SLACK_S:
    raise InputError(
      f'{path}: {what} ends after {found_s:.3f} s, but its header declares '
      f'{declared_s:.3f} s; expected a whole file; fetch or export it again'
    )


def check_whole(path: pathlib.Path) -> None:
  """Raise InputError if all packets end before the container's header says."""
  with open_media(path) as container:
    formats = container.format.name.split(',')
    if container.duration is None or _DECLARING.isdisjoint(formats):
      return
    begin_s = end_s = 0.0
    skipped = [num_skipped(container, stream) for stream in container.streams]
    for packet in guarded(container.demux(), path):
      ticks = packet.dts if packet.pts is None else packet.pts
      if ticks is not None:
        end = ticks + (packet.duration or 0) + skipped[packet.stream_index]
        begin_s = min(begin_s, float(ticks * packet.time_base))
        end_s = max(end_s, float(end * packet.time_base))
    check_complete(path, 'the file', end_s - begin_s, container.duration / 1e6)


def declared_s(container, stream) -> float | None:
  """Return the duration that a header states for one stream, or None."""
  formats = container.format.name.split(',')
  if _DECLARING_STREAMS.isdisjoint(formats):
    return None
  # libav shortens an avi's duration to the file's size, but not its frames.
  is_avi_picture = 'avi' in formats and stream.type == 'video'
  ticks = max(stream.duration or 0, stream.frames if is_avi_picture else 0)
  ticks = max(0, ticks - num_skipped(container, stream))
  return float(ticks * stream.time_base) if ticks else None


def num_skipped(container, stream) -> int:
  """Return with how many empty packets the sound of an avi begins.

  A sound that starts late is written so, sometimes after one packet with
  content. The header counts them; libav neither returns them nor counts them
  in time stamps, as it does those of pictures. 0 for all other streams.
  """
  if container.format.name != 'avi' or stream.type != 'audio':
    return 0
  index = _avi_index(pathlib.Path(container.name.removeprefix('file:')))
  sizes = index['size'][index['name'] == b'%02dwb' % stream.index]
  full = np.flatnonzero(sizes)[:2]
  return int(full[-1]) + 1 - len(full) if len(full) else 0


def _avi_index(path: pathlib.Path) -> np.ndarray:
  """Return the entries of an avi's first index, none if it has no such."""
  kind = np.dtype([('name', 'S4'), ('bits', '<u4', 2), ('size', '<u4')])
  with open(path, 'rb') as file:
    file.seek(12)
    while len(head := file.read(8)) == 8:
      name, size = struct.unpack('<4sI', head)
      if name == b'idx1':
        entries = file.read(size)
        return np.frombuffer(entries, kind, len(entries) // kind.itemsize)
      if not any(head):  # Zeros, for as long as the file goes on.
        break
      file.seek(size + size % 2, 1)
  return np.zeros(0, kind)


def choose_stream(container, kind: str):
  """Return the first stream of `kind` ('video', 'audio') that can be decoded.

  Cover pictures are no video. Returns None if there is no such stream.
  """
  import av

  cover = av.stream.Disposition.attached_pic
  usable = [
    stream
    for stream in getattr(container.streams, kind)
    if stream.codec_context is not None and not stream.disposition & cover
  ]
  if len(usable) > 1:
    logging.info(
      '%s has %d usable %s streams; the first, stream %d, is taken',
      container.name.removeprefix('file:'),
      len(usable),
      kind,
      usable[0].index,
    )
  return usable[0] if usable else None
