"""Sound files: decoding on the picture's clock, resampling, and writing.

    picture   |--frame 0--|--frame 1--| ... |--last--|
    sound     |<- round(duration_s * sample_rate_hz) ->|   cut or filled

With a picture, t = 0 is its first frame and the decoded pieces of sound are
placed by their time stamps (`placing`). Without one, they are joined: the time
stamps of mp3 count the encoder's delay, which the decoder has already removed.
"""

import contextlib
import dataclasses
import os
import pathlib
import struct
import wave
from collections.abc import Iterator

import numpy as np

from dance2wave.errors import InputError
from dance2wave.media import clip, video
from dance2wave.media.container import (
  check_complete,
  check_whole,
  choose_stream,
  damaged,
  declared_s,
  guarded,
  num_skipped,
  open_media,
)
from dance2wave.media.placing import place

# Beyond this peak a float file was not scaled to [-1, 1] (+12 dB).
_MAX_PEAK = 4.0
# A delay of sound in an avi up to this is the codecs', see _late_s.
_SHORT_DELAY_S = 0.1
_WAV_UNKNOWN_SIZES = (0, 0xFFFFFFFF)
_OGG_LONGEST_PAGE = 65307


def read_audio(
  path: str | pathlib.Path, sample_rate_hz: int | None = None
) -> clip.Waveform:
  """Read a sound file, or the sound of a video, as a mono waveform.

  All channels are averaged. The sound of a video is put on the picture's
  clock and has exactly round(duration_s * sample_rate_hz) samples, where
  duration_s is the picture's; a sound file keeps its own length.

  Args:
    path: any container that PyAV or libsndfile reads.
    sample_rate_hz: of the result; None keeps the file's own.

  Raises:
    InputError: missing, empty or damaged file; no sound; less sound than the
      header declares; NaN or infinite samples.
  """
  path = pathlib.Path(path)
  if sample_rate_hz is not None:
    clip.check_sample_rate(sample_rate_hz)
  samples_T, rate_hz, duration_s = _read(path)
  _check_samples(samples_T, path)
  target_hz = sample_rate_hz or rate_hz
  samples_T = resample(samples_T, rate_hz, target_hz)
  if duration_s is not None:
    n = clip.num_samples(duration_s, target_hz)
    samples_T = clip.fit_samples(samples_T, n)
  return clip.Waveform(np.clip(samples_T, -1.0, 1.0), target_hz)


def resample(samples_T: np.ndarray, from_hz: int, to_hz: int) -> np.ndarray:
  """Change the rate, band-limited and without delay.

  Returns:
    (round(T * to_hz / from_hz),) float32; the input itself at equal rates.
  """
  import soxr

  if from_hz == to_hz:
    return samples_T
  n = round(len(samples_T) * to_hz / from_hz)
  # Zeros at the end let the filter run out inside the result.
  padded_T = np.pad(np.asarray(samples_T, np.float32), (0, from_hz // 50 + 1))
  return clip.fit_samples(soxr.resample(padded_T, from_hz, to_hz, 'VHQ'), n)


def write_wav(path: str | pathlib.Path, waveform: clip.Waveform) -> None:
  """Write 16-bit PCM; the file appears whole or not at all.

  Raises:
    InputError: the name does not end in .wav, or it cannot be written.
  """
  path = pathlib.Path(path)
  if path.suffix.lower() != '.wav':
    raise InputError(
      f'{path} is to be written as wav; expected a name that ends in .wav; '
      'change the ending'
    )
  levels_T = np.clip(np.rint(waveform.samples_T * 32768.0), -32768, 32767)
  with (
    replacing(path) as temporary,
    open(temporary, 'wb') as file,
    wave.open(file, 'wb') as sound,
  ):
    sound.setnchannels(1)
    sound.setsampwidth(2)
    sound.setframerate(waveform.sample_rate_hz)
    sound.writeframes(levels_T.astype('<i2').tobytes())


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[pathlib.Path]:
  """Yield a temporary name beside `path` that is renamed to it at the end.

  Raises:
    InputError: the file cannot be written; nothing is left behind.
  """
  temporary = path.with_name(f'.{path.name}.{os.getpid()}.part')
  try:
    yield temporary
    os.replace(temporary, path)
  except OSError as error:
    raise InputError(
      f'{path} cannot be written ({error.strerror or error}); expected a '
      'folder that exists, may be written and has space; choose another'
    ) from error
  finally:
    temporary.unlink(missing_ok=True)


def _check_samples(samples_T: np.ndarray, path: pathlib.Path) -> None:
  if not len(samples_T):
    raise InputError(
      f'{path} holds no samples; expected a sound; choose another file'
    )
  peak = float(np.max(np.abs(samples_T)))
  if not np.isfinite(peak):
    raise InputError(
      f'{path} holds NaN or infinite samples; expected finite sound; export '
      'it again'
    )
  if peak > _MAX_PEAK:
    raise InputError(
      f'{path} reaches {peak:.6g}; expected samples in [-1, 1]; scale it and '
      'export it again'
    )


def _read(path: pathlib.Path) -> tuple[np.ndarray, int, float | None]:
  """Return mono samples, their rate, and the picture's duration or None."""
  magic = _magic(path)
  if magic in (b'RIFF', b'RF64', b'fLaC', b'OggS'):
    sound = _read_plain(path, magic)
    if sound is not None:
      return *sound, None
  return _read_container(path)


def _magic(path: pathlib.Path) -> bytes:
  """Return the format's mark; nothing for missing files and for videos."""
  if not path.is_file():
    return b''
  with open(path, 'rb') as file:
    head = file.read(1024)
  is_avi = head[:4] == b'RIFF' and head[8:12] != b'WAVE'
  is_ogv = any(mark in head for mark in (b'\x80theora', b'OVP80'))
  return b'' if is_avi or is_ogv else head[:4]


def _read_plain(path, magic: bytes) -> tuple[np.ndarray, int] | None:
  """Read wav, flac or ogg; None for an ogg that libsndfile does not know."""
  import soundfile

  try:
    samples_TC, rate_hz = soundfile.read(path, dtype='float32', always_2d=True)
  except (soundfile.LibsndfileError, RuntimeError) as error:
    if magic == b'OggS':
      return None
    raise damaged(path, error) from error
  stated_s = _declared_by_header(path, magic, rate_hz)
  found_s = len(samples_TC) / rate_hz
  check_complete(path, 'the sound', found_s, stated_s)
  return samples_TC.mean(axis=1), rate_hz


def _declared_by_header(path, magic: bytes, rate_hz: int) -> float | None:
  """Return the duration that a wav or ogg states; libsndfile checks flac."""
  if magic == b'OggS':
    return _ogg_samples(path) / rate_hz
  return None if magic == b'fLaC' else _wav_declared_s(path)


def _wav_declared_s(path: pathlib.Path) -> float | None:
  """Return the length of the data chunk; None if a stream left it open."""
  bytes_per_s = 0
  with open(path, 'rb') as file:
    file.seek(12)
    while len(head := file.read(8)) == 8:
      name, size = struct.unpack('<4sI', head)
      if name == b'data':
        known = bytes_per_s and size not in _WAV_UNKNOWN_SIZES
        return size / bytes_per_s if known else None
      body = file.read(16) if name == b'fmt ' else b''
      if len(body) == 16:
        bytes_per_s = struct.unpack_from('<I', body, 8)[0]
      file.seek(size + size % 2 - len(body), os.SEEK_CUR)
  return None


def _ogg_samples(path: pathlib.Path) -> int:
  """Return the sample position of the last page (RFC 3533, section 6)."""
  with open(path, 'rb') as file:
    file.seek(max(0, path.stat().st_size - 2 * _OGG_LONGEST_PAGE))
    tail = file.read()
  page = tail[tail.rfind(b'OggS') :]
  size = 27 + page[26] + sum(page[27 : 27 + page[26]]) if len(page) > 26 else 27
  is_last = len(page) > 26 and page[5] & 4
  if len(page) < size or not is_last:
    raise damaged(path, 'it is cut off before its last page')
  return struct.unpack_from('<q', page, 6)[0]


def _read_container(path) -> tuple[np.ndarray, int, float | None]:
  """Decode with PyAV; place the sound by the picture if there is one."""
  with open_media(path) as container:
    picture = choose_stream(container, 'video')
    stream = choose_stream(container, 'audio')
    if stream is None:
      raise InputError(
        f'{path} has no sound track; expected a file with sound; choose another'
      )
    pieces, rate_hz = _decode(container, stream, path)
    _check_decoded(container, stream, pieces, rate_hz, path)
    _drop_padding(container, stream, pieces, rate_hz)
    late_s = _late_s(container, stream, picture) if picture else 0.0
  if picture is None:
    check_whole(path)
    return np.concatenate([mono_T for _, mono_T in pieces]), rate_hz, None
  info = video.probe(path)
  info = dataclasses.replace(info, start_s=info.start_s - late_s)
  samples_T = place(pieces, rate_hz, info)
  return samples_T, rate_hz, info.duration_s


def _decode(container, stream, path) -> tuple[list, int]:
  """Return [(time_s or None, mono_T)] of all pieces, and their rate."""
  pieces, rates = [], set()
  for frame in guarded(container.decode(stream), path):
    time_s = None if frame.pts is None else float(frame.pts * frame.time_base)
    pieces.append((time_s, _mono(frame)))
    rates.add(frame.sample_rate)
  if len(rates) != 1:
    reason = f'its sound changes rate: {sorted(rates)}' if rates else 'no sound'
    raise damaged(path, reason)
  return pieces, rates.pop()


def _mono(frame) -> np.ndarray:
  """Average the channels of a decoded frame of any sample format."""
  samples = frame.to_ndarray()
  if not frame.format.is_planar:
    samples = samples.reshape(-1, frame.layout.nb_channels).T
  mono_T = samples.mean(axis=0, dtype=np.float64)
  if samples.dtype.kind == 'u':
    mono_T -= 128
  if samples.dtype.kind != 'f':
    mono_T /= 2.0 ** (8 * samples.dtype.itemsize - 1)
  return mono_T.astype(np.float32)


def _check_decoded(container, stream, pieces, rate_hz, path) -> None:
  """Compare the decoded amount with the header's, where one is stated."""
  stated_s = declared_s(container, stream)
  if stream.duration is not None and _has_mp3_header(path):
    stated_s = float(stream.duration * stream.time_base)
  found_s = sum(len(mono_T) for _, mono_T in pieces) / rate_hz
  check_complete(path, 'the sound', found_s, stated_s)


def _drop_padding(container, stream, pieces, rate_hz: int) -> None:
  """Cut off what an encoder added to fill its last block, where mp4 tells."""
  if 'mp4' not in container.format.name or stream.duration is None:
    return
  declared = round(stream.duration * stream.time_base * rate_hz)
  extra = sum(len(mono_T) for _, mono_T in pieces) - declared
  time_s, last_T = pieces[-1]
  if 0 < extra < len(last_T):
    pieces[-1] = (time_s, last_T[:-extra])


def _late_s(container, stream, picture) -> float:
  """Return by how much the sound of an avi is later than its time stamps.

  The pictures of an avi are timed by order: where they are stored in another
  one, the sound has a delay of a frame or two that they do not have. Delays
  below _SHORT_DELAY_S are only such, and the encoders'.
  """
  late_s = num_skipped(container, stream) * stream.time_base
  if picture.codec_context.has_b_frames:
    late_s -= picture.time_base
  return float(late_s) if late_s > _SHORT_DELAY_S else 0.0


def _has_mp3_header(path: pathlib.Path) -> bool:
  """Tell whether an mp3 states its length, in a Xing, Info or VBRI frame."""
  with open(path, 'rb') as file:
    head = file.read(10)
    if head[:3] == b'ID3':
      size = sum(
        (byte & 0x7F) << 7 * (3 - i) for i, byte in enumerate(head[6:])
      )
      file.seek(10 + size)
    head = file.read(256)
  return any(mark in head for mark in (b'Xing', b'Info', b'VBRI'))
