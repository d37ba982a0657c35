"""Embed one clip for the player of the report: pictures, sound, video.

The picture is drawn in the page, from small numbers: extremes of the waveform,
a spectrogram as a transparent PNG, the motion curve, and the beats of both
kinds, each with whether it was met.
"""

import base64
import dataclasses
import io
import json
import math
import wave
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from dance2wave.metrics.beats import TOLERANCES_S

_HIT_S = TOLERANCES_S['beat_f70']
_COLUMNS_PER_S = 100
_MAX_EXTREMES, _MAX_SPECTRA = 12_000, 6_000
_NUM_BANDS, _RANGE_DB, _MIN_BAND_HZ = 96, 65.0, 40.0
_QUIETEST_PEAK = 1e-4  # what is below is drawn as silence


@dataclasses.dataclass(frozen=True)
class ReportClip:
  """One clip for the player; all times are seconds from its start.

  Attributes:
    clip_id, style: as in the table of clips; style may be ''.
    video_mp4: H.264 and AAC, as `write_dance_video` makes it; None plays the
      sound alone.
    audio_T: (T,) float32 in [-1, 1] at sample_rate_hz.
    motion_F: (F,) mean joint speed in torsos per second, at k / pose_rate_hz.
    true_beats_s, heard_beats_s: of the music, and in audio_T.
    figures: key -> value of this clip alone.
  """

  clip_id: str
  style: str
  video_mp4: bytes | None
  audio_T: np.ndarray
  sample_rate_hz: int
  motion_F: np.ndarray
  pose_rate_hz: float
  true_beats_s: np.ndarray
  heard_beats_s: np.ndarray
  figures: Mapping[str, float] = dataclasses.field(default_factory=dict)

  @property
  def duration_s(self) -> float:
    """Length of the sound, or of the dance where that is silent for longer."""
    sound_s = len(self.audio_T) / self.sample_rate_hz
    return max(sound_s, len(self.motion_F) / self.pose_rate_hz)


def _data_uri(kind: str, content: bytes) -> str:
  return f'data:{kind};base64,{base64.b64encode(content).decode("ascii")}'


def _num_columns(clip: ReportClip, most: int) -> int:
  wanted = round(clip.duration_s * _COLUMNS_PER_S)
  return int(np.clip(wanted, 1, most))


def _padded(clip: ReportClip) -> np.ndarray:
  """Return the sound, silent up to the clip's end; never empty."""
  audio_T = np.nan_to_num(np.asarray(clip.audio_T, np.float32))
  total = max(round(clip.duration_s * clip.sample_rate_hz), 1)
  return np.pad(audio_T, (0, max(total - len(audio_T), 0)))


def _extremes(clip: ReportClip) -> list[list[int]]:
  """Return least and greatest of each column, -100 to 100 of the peak."""
  audio_T = _padded(clip)
  num = min(_num_columns(clip, _MAX_EXTREMES), len(audio_T))
  starts = np.arange(num) * len(audio_T) // num
  peak = max(float(np.abs(audio_T).max()), _QUIETEST_PEAK)
  edges = [f.reduceat(audio_T, starts) for f in (np.minimum, np.maximum)]
  return [np.rint(100 * edge / peak).astype(int).tolist() for edge in edges]


def _mel(hz):
  return 1127.0 * np.log1p(np.asarray(hz, float) / 700.0)


def _band_hz(sample_rate_hz: float) -> np.ndarray:
  """Return the centres of the rows of a spectrogram, equally wide in mel."""
  mel = np.linspace(*_mel([_MIN_BAND_HZ, sample_rate_hz / 2]), _NUM_BANDS)
  return 700.0 * np.expm1(mel / 1127.0)


def _spectrogram(clip: ReportClip) -> np.ndarray:
  """Return (bands, columns) uint8: 255 is the clip's loudest, 0 65 dB less."""
  audio_T, columns = _padded(clip), _num_columns(clip, _MAX_SPECTRA)
  width = 1 << round(math.log2(max(0.032 * clip.sample_rate_hz, 16)))
  centre = (np.arange(columns) + 0.5) * len(audio_T) / columns
  wide_T = np.pad(audio_T, width)
  first = (centre + width / 2).astype(int)
  frames_CW = np.lib.stride_tricks.sliding_window_view(wide_T, width)[first]
  spectrum_CB = np.abs(np.fft.rfft(frames_CW * np.hanning(width)))
  spectrum_CB *= 4 / width  # a full-scale tone is 1
  bins_hz = np.fft.rfftfreq(width, 1 / clip.sample_rate_hz)
  centres_hz = _band_hz(clip.sample_rate_hz)
  bands_RC = np.array(
    [np.interp(centres_hz, bins_hz, frame_B) for frame_B in spectrum_CB]
  ).T[::-1]
  peak = max(float(bands_RC.max()), _QUIETEST_PEAK)
  level_db = 20 * np.log10(np.maximum(bands_RC / peak, 1e-6))
  return np.rint(255 * np.clip(level_db / _RANGE_DB + 1, 0, 1)).astype(np.uint8)


def _spectrogram_png(clip: ReportClip) -> bytes:
  """Return a PNG whose opacity is the level; the page gives it its colour."""
  from PIL import Image

  level_RC = _spectrogram(clip) & 0xF8  # 32 levels are plenty, and small
  picture = Image.fromarray(np.stack([np.zeros_like(level_RC), level_RC], -1))
  buffer = io.BytesIO()
  picture.save(buffer, format='PNG', optimize=True)
  return buffer.getvalue()


def _ticks(sample_rate_hz: float) -> list[tuple[float, str]]:
  """Return marks of the frequency axis: share of the height, text."""
  low, high = _mel([_MIN_BAND_HZ, sample_rate_hz / 2])
  marks = ((200, '200 Hz'), (1000, '1 kHz'), (4000, '4 kHz'), (10000, '10 kHz'))
  shares = [((_mel(hz) - low) / (high - low), text) for hz, text in marks]
  return [(round(float(s), 3), text) for s, text in shares if s < 0.95]


def _beats(clip: ReportClip) -> dict[str, list]:
  """Return both kinds of beats as [seconds, 1 if it has its own partner].

  Where no true beats are known, none that is heard is said to lack one.
  """
  import mir_eval

  true_s, heard_s = (
    np.sort(np.asarray(beats_s, float)[np.isfinite(beats_s)])
    for beats_s in (clip.true_beats_s, clip.heard_beats_s)
  )
  pairs = mir_eval.util.match_events(true_s, heard_s, _HIT_S)
  true_hits, heard_hits = {i for i, _ in pairs}, {k for _, k in pairs}
  if not len(true_s):
    heard_hits = set(range(len(heard_s)))
  return {
    'true': [[round(t, 4), int(i in true_hits)] for i, t in _items(true_s)],
    'heard': [[round(t, 4), int(i in heard_hits)] for i, t in _items(heard_s)],
  }


def _items(time_s: np.ndarray) -> Iterator[tuple[int, float]]:
  return enumerate(float(t) for t in time_s)


def _wav(clip: ReportClip) -> bytes:
  levels_T = np.clip(np.rint(_padded(clip) * 32767), -32768, 32767)
  buffer = io.BytesIO()
  with wave.open(buffer, 'wb') as sound:
    sound.setnchannels(1)
    sound.setsampwidth(2)
    sound.setframerate(int(clip.sample_rate_hz))
    sound.writeframes(levels_T.astype('<i2').tobytes())
  return buffer.getvalue()


def _picture(
  clip: ReportClip, figures: Sequence[tuple[str, str]]
) -> dict[str, Any]:
  motion_F = np.nan_to_num(np.asarray(clip.motion_F, float))
  return {
    'id': str(clip.clip_id),
    'style': str(clip.style),
    'seconds': clip.duration_s,
    'wave': _extremes(clip),
    'spectrogram': _data_uri('image/png', _spectrogram_png(clip)),
    'ticks': _ticks(clip.sample_rate_hz),
    'motion': np.round(motion_F, 3).tolist(),
    'motion_hz': float(clip.pose_rate_hz),
    'figures': list(figures),
    'media': None,
    'kind': '',
    'note': '',
    **_beats(clip),
  }


def _with_media(clip: ReportClip, picture: dict) -> Iterator[dict]:
  """Yield a player with its video, with its sound, and with neither."""
  if clip.video_mp4:
    video = _data_uri('video/mp4', clip.video_mp4)
    yield picture | {'media': video, 'kind': 'video'}
    picture['note'] = 'Sound only: the video would make this page too large.'
  yield picture | {'media': _data_uri('audio/wav', _wav(clip)), 'kind': 'sound'}
  note = 'Picture only: sound and video would make this page too large.'
  yield picture | {'note': note}


def embed_clips(
  clips: Sequence[ReportClip],
  figures: Sequence[Sequence[tuple[str, str]]],
  room_bytes: int,
) -> list[str | None]:
  """Return each clip as JSON that is safe inside of a script element.

  Clips are taken in order. One whose video does not fit into what room is
  left keeps its sound, else its picture; None is left of one that does not
  fit at all.

  Args:
    clips: what to show.
    figures: of each clip: (name, value) as text.
    room_bytes: how long all texts together may be.
  """
  texts = []
  for clip, known in zip(clips, figures):
    fitting = None
    for content in _with_media(clip, _picture(clip, known)):
      text = json.dumps(content, allow_nan=False, separators=(',', ':'))
      text = text.replace('<', '\\u003c')
      if len(text) <= room_bytes:
        room_bytes -= len(text)
        fitting = text
        break
    texts.append(fitting)
  return texts
