"""Writing video files, and giving a video a new sound without touching it.

Picture and sound are written interleaved from generators, each packet with
its time and time base, to a temporary file that is renamed at the end.
"""

import contextlib
import fractions
import heapq
import itertools
import pathlib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from dance2wave.errors import InputError
from dance2wave.media import audio, clip, endings, placing, video
from dance2wave.media.container import guarded, open_media

_TIME_BASE = fractions.Fraction(1, 90000)
_SOUND_BITS_PER_S = 160_000
# mkv and webm round times to milliseconds.
_SAME_TIME_S = 1.5e-3


def write_video(
  path: str | pathlib.Path,
  frames: Iterable[np.ndarray],
  frame_time_s: Sequence[float],
  waveform: clip.Waveform | None = None,
) -> pathlib.Path:
  """Write pictures as H.264 (yuv420p), with AAC sound if given.

  The last frame lasts as long as the median of the others. Odd sizes gain a
  row or a column. Sound is cut or filled to the duration of the picture.

  Args:
    path: ends in .mp4, .m4v, .mov or .mkv; replaced if it exists.
    frames: uint8 (height, width, 3) each, all alike, read one at a time.
    frame_time_s: (F,) strictly increasing; the first is t = 0.
    waveform: the sound from the first frame on.

  Returns:
    The path.

  Raises:
    InputError: another ending, fewer than two frames, frames or times that
      do not fit each other, or a place that cannot be written.
  """
  path = pathlib.Path(path)
  if path.suffix.lower() not in ('.mp4', '.m4v', '.mov', '.mkv'):
    raise InputError(
      f'{path} is to be written as H.264 video; expected a name that ends in '
      '.mp4, .m4v, .mov or .mkv; change the ending'
    )
  ticks_F, durations_F = _ticks(frame_time_s)
  frames = iter(frames)
  first_HWC = next(frames, np.zeros(0))
  frames = itertools.chain([first_HWC], frames)
  duration_s = float(int(ticks_F[-1] + durations_F[-1]) * _TIME_BASE)
  with _writing(path) as sink:
    picture = _add_picture(sink, first_HWC, ticks_F)
    packets = _picture_packets(picture, frames, ticks_F, durations_F)
    if waveform is not None:
      waveform = _fitted(waveform, duration_s, path)
      packets = _with_sound(sink, path, packets, waveform)
    for packet in packets:
      sink.mux(packet)
  return path


def mux_audio(
  video_path: str | pathlib.Path,
  waveform: clip.Waveform,
  output_path: str | pathlib.Path | None = None,
) -> pathlib.Path:
  """Copy a video's picture and give it `waveform` as its only sound.

  The packets of the picture are copied, not encoded again. The sound begins
  with the first shown frame and is cut or filled to the picture's duration.
  Sound codecs: AAC in mp4, m4v, mov, mkv; Opus in webm; 16-bit PCM in avi.

  Args:
    video_path: the video; it is never changed.
    waveform: the sound from the first frame on.
    output_path: its ending chooses the container; None takes
      <stem>_dance2wave beside the video, with the video's own ending where
      that can hold the picture, otherwise .mp4 or .mkv.

  Returns:
    The path of the new video.

  Raises:
    InputError: what `probe` raises; a container that cannot hold the picture
      (names one that can); the input as output; an unwritable place.
  """
  info = video.probe(video_path)
  path = pathlib.Path(output_path or endings.default_output(info))
  endings.check_output(path, info)
  waveform = _fitted(waveform, info.duration_s, info.path)
  with (
    open_media(info.path) as source,
    _writing(path, check=lambda copy: _check_copy(copy, path, info)) as sink,
  ):
    stream = source.streams[info.video_stream_index]
    picture = sink.add_stream_from_template(stream, opaque=True)
    if info.codec == 'hevc' and path.suffix.lower() in ('.mp4', '.m4v', '.mov'):
      picture.codec_context.codec_tag = 'hvc1'  # players refuse hev1
    packets = _copied_packets(source, stream, picture, info)
    for packet in _with_sound(sink, path, packets, waveform):
      sink.mux(packet)
  return path


def _ticks(frame_time_s: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
  """Return times from 0 and durations in units of _TIME_BASE."""
  times_F = np.asarray(frame_time_s, np.float64)
  if times_F.ndim != 1 or len(times_F) < 2 or not np.isfinite(times_F).all():
    raise InputError(
      f'frame_time_s has shape {times_F.shape}; expected the finite times of '
      'at least two frames'
    )
  ticks_F = np.rint((times_F - times_F[0]) / float(_TIME_BASE)).astype(np.int64)
  gaps = np.diff(ticks_F)
  if gaps.min() <= 0:
    index = int(np.argmin(gaps))
    raise InputError(
      f'frame_time_s goes from {times_F[index]} to {times_F[index + 1]} at '
      f'frame {index + 1}; expected strictly increasing times; sort the frames'
    )
  return ticks_F, np.append(gaps, round(float(np.median(gaps))))


@contextlib.contextmanager
def _writing(path: pathlib.Path, check=lambda copy: None):
  """Open `path` for writing with PyAV; the file appears whole or not at all.

  `check` is called with the finished file before it gets its name.
  """
  import av

  kind = endings.CONTAINERS[path.suffix.lower()][0]
  options = {'movflags': 'faststart'} if kind in ('mp4', 'mov') else {}
  with audio.replacing(path) as temporary:
    name = f'file:{temporary}'
    try:
      with av.open(name, 'w', kind, container_options=options) as sink:
        yield sink
    except OSError:
      raise  # `replacing` explains it
    except av.error.FFmpegError as error:
      raise InputError(
        f'{path} cannot be written ({error.strerror}); the picture does not '
        f'fit into {path.suffix}; write an .mkv instead'
      ) from error
    check(temporary)


def _add_picture(sink, first_HWC: np.ndarray, ticks_F: np.ndarray):
  if first_HWC.ndim != 3 or first_HWC.shape[2] != 3 or not first_HWC.size:
    raise InputError(
      f'the first frame has shape {first_HWC.shape}; expected (height, width, '
      '3); write at least two pictures'
    )
  mean_gap = int(ticks_F[-1]) * _TIME_BASE / (len(ticks_F) - 1)
  stream = sink.add_stream(
    'libx264',
    rate=(1 / mean_gap).limit_denominator(1001),
    width=first_HWC.shape[1] + first_HWC.shape[1] % 2,
    height=first_HWC.shape[0] + first_HWC.shape[0] % 2,
    time_base=_TIME_BASE,
    # Without B frames the durations in the file are those of the pictures.
    options={'crf': '18', 'preset': 'veryfast', 'bf': '0'},
  )
  stream.pix_fmt = 'yuv420p'
  return stream


def _picture_packets(stream, frames, ticks_F, durations_F) -> Iterator:
  """Encode the frames, each with its time; packets carry true durations."""
  import av

  durations = dict(zip(ticks_F.tolist(), durations_F.tolist()))
  num_frames = 0
  for rgb_HWC in frames:
    if num_frames < len(ticks_F):
      frame = av.VideoFrame.from_ndarray(_even(rgb_HWC, stream), 'rgb24')
      frame.pts, frame.time_base = int(ticks_F[num_frames]), _TIME_BASE
      yield from _lasting(stream.encode(frame), durations)
    num_frames += 1
  if num_frames != len(ticks_F):
    raise InputError(
      f'there are {num_frames} frames and {len(ticks_F)} times in '
      'frame_time_s; expected one time for each frame'
    )
  yield from _lasting(stream.encode(None), durations)


def _lasting(packets: list, durations: dict[int, int]) -> list:
  for packet in packets:
    packet.duration = durations[packet.pts]
  return packets


def _even(rgb_HWC: np.ndarray, stream) -> np.ndarray:
  """Repeat the last row and column where H.264 needs an even size."""
  height, width = rgb_HWC.shape[:2]
  pad = [(0, stream.height - height), (0, stream.width - width), (0, 0)]
  if rgb_HWC.dtype != np.uint8 or not all(p in (0, 1) for _, p in pad):
    raise InputError(
      f'a frame has shape {rgb_HWC.shape} and type {rgb_HWC.dtype}; expected '
      f'uint8 of about {(stream.height, stream.width, 3)} like the first one'
    )
  return np.ascontiguousarray(np.pad(rgb_HWC, pad, mode='edge'))


def _fitted(waveform, duration_s: float, path) -> clip.Waveform:
  """Cut or fill the sound to the picture's duration; log if it changes."""
  placing.report_mismatch(path, waveform.duration_s, duration_s)
  n = clip.num_samples(duration_s, waveform.sample_rate_hz)
  samples_T = clip.fit_samples(waveform.samples_T, n)
  return clip.Waveform(samples_T, waveform.sample_rate_hz)


def _with_sound(sink, path, packets: Iterator, waveform) -> Iterator:
  """Interleave the picture's packets with those of the encoded sound."""
  codec = endings.CONTAINERS[path.suffix.lower()][1]
  rate_hz = _codec_rate(codec, waveform.sample_rate_hz)
  stream = sink.add_stream(codec, rate=rate_hz)
  stream.codec_context.layout = 'mono'
  if codec != 'pcm_s16le':
    stream.codec_context.bit_rate = _SOUND_BITS_PER_S
  source_T, source_hz = waveform.samples_T, waveform.sample_rate_hz
  samples_T = audio.resample(source_T, source_hz, rate_hz)
  return heapq.merge(packets, _sound_packets(stream, samples_T), key=_decode_s)


def _codec_rate(codec: str, rate_hz: int) -> int:
  """Return the lowest rate of the codec that loses nothing, or its highest."""
  import av

  rates = av.Codec(codec, 'w').audio_rates or [rate_hz]
  return min((r for r in rates if r >= rate_hz), default=max(rates))


def _decode_s(packet) -> float:
  return float((packet.dts or 0) * packet.time_base)


def _sound_packets(stream, samples_T: np.ndarray) -> Iterator:
  """Encode a second at a time, each with its time and time base."""
  import av

  rate_hz = stream.codec_context.sample_rate
  for start in range(0, len(samples_T), rate_hz):
    piece_T = np.clip(samples_T[start : start + rate_hz], -1.0, 1.0)
    frame = av.AudioFrame.from_ndarray(piece_T[None], 'fltp', 'mono')
    frame.sample_rate = rate_hz
    frame.pts, frame.time_base = start, fractions.Fraction(1, rate_hz)
    yield from stream.encode(frame)
  yield from stream.encode(None)


def _copied_packets(source, stream, picture, info) -> Iterator:
  """Pass the picture's packets on, moved so that its first frame is at 0.

  Those that an edit list cuts off are left out after the last shown one, as
  the copy would show them; others may be needed to decode what is shown.
  """
  first = round(info.start_s / float(stream.time_base))
  last = first + round(info.frame_time_s[-1] / float(stream.time_base))
  cut = []
  for packet in guarded(source.demux(stream), info.path):
    time = packet.pts if packet.dts is None else packet.dts
    if time is None or (packet.is_discard and time > last):
      continue
    if packet.pts is not None:
      packet.pts -= first
    if packet.dts is not None:
      packet.dts -= first
    packet.stream = picture
    cut.append(packet)
    if not packet.is_discard:
      yield from cut
      cut.clear()


def _check_copy(copy: pathlib.Path, path, info: video.VideoInfo) -> None:
  """Raise InputError if the copied picture differs from the original."""
  if not _is_same(copy, info):
    raise InputError(
      f'{path}: {path.suffix} cannot keep the frame times or the rotation of '
      f'{info.path}; write an .mp4, or encode the video again first'
    )


def _is_same(copy: pathlib.Path, info: video.VideoInfo) -> bool:
  try:
    found = video.probe(copy)
  except InputError:
    return False
  a_F, b_F = found.frame_time_s, info.frame_time_s
  if len(a_F) != len(b_F) or found.rotation_deg != info.rotation_deg:
    return False
  return bool(np.max(np.abs(a_F - b_F)) <= _SAME_TIME_S)
