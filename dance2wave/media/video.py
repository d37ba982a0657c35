"""Video files: what they hold, and their pictures with true times.

packets   I P B B ...          times from the container, never count / fps
t = 0     the first shown frame; audio.py puts the sound on the same zero
duration  last frame's time + that frame's own duration - first's time
"""

import dataclasses
import functools
import pathlib
from collections.abc import Iterator

import numpy as np
from absl import logging

from dance2wave.errors import InputError
from dance2wave.media.container import (
  SLACK_S,
  check_complete,
  check_whole,
  choose_stream,
  damaged,
  declared_s,
  guarded,
  open_media,
)

# A longer pause between two frames is a damaged time stamp.
_MAX_GAP_S = 60.0
_SAME_TIME_S = 1e-6


@dataclasses.dataclass(frozen=True, eq=False)
class VideoInfo:
  """What a video file holds.

  Attributes:
    path: the file.
    width, height: of the picture as shown: rotated, with square pixels.
    rotation_deg: 0, 90, 180 or 270, counter-clockwise from the coded to the
      shown picture.
    frame_time_s: (F,) float64 presentation times, strictly increasing from 0.
    start_s: time stamp of the first frame in the file, which is t = 0 here.
    duration_s: time of the last frame plus its own duration.
    video_stream_index: index of the chosen picture stream.
    audio_stream_index: index of the chosen sound stream; None if there is none.
    codec: the picture's codec, such as 'h264' or 'vp9'.
    container: names of the container format, such as 'mov,mp4,m4a'.
    has_pts: whether the file carries presentation times; an avi does not
      (libav invents them, wrongly for H.264), its frames are timed by order.
  """

  path: pathlib.Path
  width: int
  height: int
  rotation_deg: int
  frame_time_s: np.ndarray
  start_s: float
  duration_s: float
  video_stream_index: int
  audio_stream_index: int | None
  codec: str
  container: str
  has_pts: bool


def probe(path: str | pathlib.Path) -> VideoInfo:
  """Read what a video file holds, with the true times of all its frames.

  Times come from the packets, without decoding; only the first frame is
  decoded, for its size and rotation. `read_frames` checks the rest.

  Raises:
    InputError: missing, empty, damaged or cut-off file; no video; fewer than
      two frames; times that jump by a minute.
  """
  path = pathlib.Path(path)
  with open_media(path) as container:
    video = choose_stream(container, 'video')
    if video is None:
      raise InputError(
        f'{path} has no video stream; expected a video of a dancer; choose '
        'another file'
      )
    audio = choose_stream(container, 'audio')
    check_whole(path)
    ticks_F, last_ticks, has_pts = _frame_ticks(container, video, path)
    frame_time_s = (ticks_F - ticks_F[0]) * float(video.time_base)
    width, height, rotation_deg = _look(path, video.index)
    return VideoInfo(
      path=path,
      width=width,
      height=height,
      rotation_deg=rotation_deg,
      frame_time_s=_checked_times(frame_time_s, path),
      start_s=float(ticks_F[0] * video.time_base),
      duration_s=float(
        (ticks_F[-1] + last_ticks - ticks_F[0]) * video.time_base
      ),
      video_stream_index=video.index,
      audio_stream_index=audio.index if audio else None,
      codec=video.codec_context.codec.canonical_name,
      container=container.format.name,
      has_pts=has_pts,
    )


def picture_s(path: str | pathlib.Path) -> float | None:
  """Return how long the picture of a file lasts; None if it has only sound.

  Raises:
    InputError: as `probe`.
  """
  with open_media(pathlib.Path(path)) as container:
    has_picture = choose_stream(container, 'video') is not None
  return probe(path).duration_s if has_picture else None


def _frame_ticks(container, video, path) -> tuple[np.ndarray, int, bool]:
  """Return the shown frames' times, the last one's duration, and has_pts."""
  rows = []
  for packet in guarded(container.demux(video), path):
    has_time = packet.pts is not None or packet.dts is not None
    if has_time and not _is_hidden(packet, video):
      flags = (packet.is_keyframe, packet.is_discard)
      rows.append((packet.pts, packet.dts, packet.duration or 0, *flags))
  has_pts = container.format.name != 'avi'
  has_pts = has_pts and all(row[0] is not None for row in rows)
  ticks_F, duration_F = _shown(rows, 0 if has_pts else 1)
  lost = next((k for k, row in enumerate(rows) if row[3]), 0)
  if lost and len(ticks_F):
    logging.warning(
      '%s: its first %d frames come before the first key frame, cannot be '
      'decoded and are left out',
      path,
      lost,
    )
  if not len(ticks_F):
    raise damaged(path, 'no frame of its video could be found')
  _say_what_is_cut(rows, 0 if has_pts else 1, video.time_base, path)
  gaps = np.diff(ticks_F)
  last = int(duration_F[-1]) or int(np.median(gaps) if len(gaps) else 0)
  end = int(ticks_F[-1]) + last - (video.start_time or 0)
  end_s = float(end * video.time_base)
  check_complete(path, 'the picture', end_s, declared_s(container, video))
  return ticks_F, last, has_pts


def _say_what_is_cut(rows, which: int, time_base, path) -> None:
  """Warn of an edit list, or a damaged one, that cuts pictures off."""
  times = {row[which]: row[4] for row in rows if row[which] is not None}
  kept = [time for time, is_cut in times.items() if not is_cut]
  before, after = min(kept) - min(times), max(times) - max(kept)
  cut_s = float((before + after) * time_base)
  if cut_s > SLACK_S:
    logging.warning(
      '%s: %.2f s of its pictures lie outside its edit list and are left out',
      path,
      cut_s,
    )


def _is_hidden(packet, video) -> bool:
  """Tell a VP8 frame that is only a reference (RFC 6386, section 9.1)."""
  if video.codec_context.name != 'vp8':
    return False
  return not packet.size or not memoryview(packet)[0] & 0x10


def _shown(rows: list[tuple], which: int) -> tuple[np.ndarray, np.ndarray]:
  """Return times and durations, in ticks, of the packets that are shown.

  Rows are (pts, dts, duration, is key, is discarded); `which` is the column
  of the times. Pictures before the first key frame cannot be decoded, and
  those outside an edit list are marked to be discarded.
  """
  rows = [(row[which], *row[2:]) for row in rows if row[which] is not None]
  table = np.array(rows, np.int64).reshape(-1, 4)
  keys = np.flatnonzero(table[:, 2])
  if len(keys):
    table = table[keys[0] :]
    table = table[table[:, 0] >= table[0, 0]]
  table = table[table[:, 3] == 0]
  ticks_F, index_F = np.unique(table[:, 0], return_index=True)
  return ticks_F, table[index_F, 1]


def _checked_times(frame_time_s: np.ndarray, path) -> np.ndarray:
  if len(frame_time_s) < 2:
    raise InputError(
      f'{path} has one video frame; a dance needs at least two frames; choose '
      'a video instead of a picture'
    )
  gap_s = float(np.max(np.diff(frame_time_s)))
  if gap_s > _MAX_GAP_S:
    raise damaged(path, f'the time jumps by {gap_s:.0f} s between two frames')
  frame_time_s.flags.writeable = False
  return frame_time_s


def _look(path, stream_index: int) -> tuple[int, int, int]:
  """Decode one frame; return the shown width, height and the rotation."""
  with open_media(path) as container:
    stream = container.streams[stream_index]
    frame = next(guarded(_pictures(container, stream), path), None)
    if frame is None:
      raise damaged(path, 'no frame of its video could be decoded')
    width = round(frame.width * (stream.sample_aspect_ratio or 1))
    rotation_deg = round(frame.rotation / 90) * 90 % 360
  if rotation_deg % 180:
    return frame.height, width, rotation_deg
  return width, frame.height, rotation_deg


def _pictures(container, stream) -> Iterator:
  """Decode from the first key frame on; nothing before it can be."""
  has_key = False
  for packet in container.demux(stream):
    has_key = has_key or packet.is_keyframe
    if has_key:
      yield from packet.decode()


def read_frames(
  path: str | pathlib.Path,
) -> Iterator[tuple[float, np.ndarray]]:
  """Stream the pictures of a video as they are meant to be seen.

  Yields:
    (time_s, rgb_HWC): the time since the first frame, strictly increasing and
    equal to `probe(path).frame_time_s`, and uint8 (height, width, 3), rotated
    and with square pixels. One frame is held at a time.

  Raises:
    InputError: at the call, what `probe` raises; while reading, at damage and
      at the end if more than one of the frames could not be decoded.
  """
  return _decode(probe(path))


def _decode(info: VideoInfo) -> Iterator[tuple[float, np.ndarray]]:
  from av.video.reformatter import VideoReformatter

  turned = info.rotation_deg % 180
  size = (info.height, info.width) if turned else (info.width, info.height)
  num_read, last_s = 0, -1.0
  # Threads, which it would make for every picture, take longer than it does.
  convert = functools.partial(
    VideoReformatter().reformat,
    width=size[0],
    height=size[1],
    format='rgb24',
    threads=1,
  )
  with open_media(info.path) as container:
    stream = container.streams[info.video_stream_index]
    stream.thread_type = 'AUTO'
    for frame in guarded(_pictures(container, stream), info.path):
      time_s = _time_of(frame, num_read, info)
      if time_s <= last_s:
        continue
      rgb_HWC = convert(frame).to_ndarray()
      rgb_HWC = np.rot90(rgb_HWC, info.rotation_deg // 90)
      yield time_s, np.ascontiguousarray(rgb_HWC)
      num_read, last_s = num_read + 1, time_s
  _check_read(info, num_read, last_s)


def _check_read(info: VideoInfo, num_read: int, last_s: float) -> None:
  """Raise InputError if the end, or more than one frame, was unreadable."""
  times_s = info.frame_time_s
  missing = len(times_s) - num_read
  frame_s = float(np.median(np.diff(times_s)))
  is_short = times_s[-1] - last_s > max(SLACK_S, 1.5 * frame_s)
  if missing > 1 or is_short:
    raise damaged(
      info.path, f'{missing} of its {len(times_s)} frames are unreadable'
    )


def _time_of(frame, index: int, info: VideoInfo) -> float:
  """Return a frame's time, or -2 for a frame before the first shown one."""
  times_s = info.frame_time_s
  if not info.has_pts or frame.pts is None:
    return float(times_s[min(index, len(times_s) - 1)])
  time_s = float(frame.pts * frame.time_base) - info.start_s
  if time_s < -_SAME_TIME_S:
    return -2.0
  after = int(np.searchsorted(times_s, time_s - _SAME_TIME_S))
  return float(times_s[min(after, len(times_s) - 1)])
