"""Describe a sound by 28 numbers, 15 times a second.

    sound     |--- 1/15 s ---|--- 1/15 s ---|--- ...
    row           0              1            k: hears [k/15, k/15 + 0.0667) s

The features that Dancing to Music ships (Lee et al. 2019, arXiv 1911.02001):
cepstra as CMU Sphinx computes them, and the loudness, with their differences.
Of the paper's features only the numbers are published (window, rate, filters);
what they leave open follows Sphinx's documented defaults: mel = 2595 log10(1 +
f / 700), triangles of unit area, natural logarithm of the power, the 'legacy'
cosine transform, samples in 16-bit units. Another choice of units, logarithm,
area or scale of the transform multiplies a feature or adds to it, and nothing
else: features that are standardised agree.
"""

import functools

import numpy as np
import scipy.fft

from dance2wave.errors import InputError
from dance2wave.media.audio import resample

NUM_AUDIO_FEATURES = 28
AUDIO_FEATURES_RATE_HZ = 15

_RATE_HZ = 22050
_HOP = _RATE_HZ // AUDIO_FEATURES_RATE_HZ  # 1470: the rate divides exactly
_WINDOW = int(0.0667 * _RATE_HZ)
_FFT_SIZE = 2048
_PRE_EMPHASIS = 0.97
_NUM_BANDS = 40
_LOW_HZ, _HIGH_HZ = 133.33334, 6855.4976
_HIGHEST_SHARE = 0.45  # of a sample rate: what its resampler passes unharmed
_MIN_RATE_HZ = 4000  # below it the lowest triangles fall between the bins
_NUM_CEPSTRA = 13
_FULL_SCALE = 32768.0
_FLOOR = 1e-5  # of the power in a band, before the logarithm


def _to_mel(hz: np.ndarray | float) -> np.ndarray:
  return 2595.0 * np.log10(1.0 + np.asarray(hz) / 700.0)


def top_hz(sample_rate_hz: int) -> float:
  """Return the upper edge of the filters for a sound of this sample rate."""
  return min(_HIGH_HZ, _HIGHEST_SHARE * sample_rate_hz)


@functools.lru_cache(maxsize=8)
def mel_filters(high_hz: float) -> np.ndarray:
  """Return (40, 1025) triangles of unit area on the bins of the spectrum.

  Edges are equally spaced in mel from 133.33 Hz to `high_hz`; each triangle
  begins and ends at the peaks of its neighbours.
  """
  mel = np.linspace(_to_mel(_LOW_HZ), _to_mel(high_hz), _NUM_BANDS + 2)
  edge_hz = 700.0 * (10.0 ** (mel / 2595.0) - 1.0)
  left, peak, right = (edge_hz[i : i + _NUM_BANDS, None] for i in range(3))
  bin_hz = np.arange(_FFT_SIZE // 2 + 1) * (_RATE_HZ / _FFT_SIZE)
  rise, fall = (
    (bin_hz - left) / (peak - left),
    (right - bin_hz) / (right - peak),
  )
  filters = np.maximum(0.0, np.minimum(rise, fall)) * 2.0 / (right - left)
  filters.flags.writeable = False
  return filters


def _frames(audio_T: np.ndarray) -> np.ndarray:
  """Return (F, W) non-overlapping windows; the last is filled with zeros."""
  num_frames = -(-len(audio_T) // _HOP)
  padded_T = np.pad(audio_T, (0, num_frames * _HOP - len(audio_T)))
  return padded_T.reshape(num_frames, _HOP)[:, :_WINDOW]


def log_mel(audio_T: np.ndarray, high_hz: float) -> np.ndarray:
  """Return (F, 40) the natural logarithm of each band's power.

  Args:
    audio_T: (T,) at 22,050 Hz in 16-bit units.
    high_hz: upper edge of the filters.
  """
  before_T = np.concatenate([audio_T[:1] * 0, audio_T[:-1]])
  frames_FW = _frames(audio_T - _PRE_EMPHASIS * before_T) * np.hamming(_WINDOW)
  power_FB = np.abs(np.fft.rfft(frames_FW, _FFT_SIZE)) ** 2
  return np.log(np.maximum(power_FB @ mel_filters(high_hz).T, _FLOOR))


def cepstra(log_mel_FB: np.ndarray) -> np.ndarray:
  """Return (F, 13) Sphinx's legacy transform.

  A DCT-II divided by twice the number of bands, where the first band counts
  half (`sphinx_fe -transform legacy`).
  """
  weight_B = np.ones(log_mel_FB.shape[1])
  weight_B[0] = 0.5
  cepstra_FC = scipy.fft.dct(log_mel_FB * weight_B, axis=1)[:, :_NUM_CEPSTRA]
  return cepstra_FC / (2 * log_mel_FB.shape[1])


def _check(audio_T: np.ndarray, sample_rate_hz: int) -> None:
  if np.ndim(audio_T) != 1 or sample_rate_hz < _MIN_RATE_HZ:
    raise InputError(
      f'audio features of shape {np.shape(audio_T)} at {sample_rate_hz} Hz; '
      f'expected (T,) samples of one channel at {_MIN_RATE_HZ} Hz or more; mix '
      'the channels, or take a better recording'
    )
  if not np.isfinite(audio_T).all():
    raise InputError(
      'audio features of a sound with NaN or infinite samples; expected finite '
      'ones; export it again'
    )


def audio_features(audio_T: np.ndarray, sample_rate_hz: int) -> np.ndarray:
  """Return the 28 features of a sound, 15 rows a second from t = 0.

  Columns: 0-12 cepstra, 13 loudness log(1 + mean square), 14-27 how much each
  of these changed since the row before (0 in the first row).

  Everything is computed at 22,050 Hz, whatever the sound's own rate, so that
  every source has the same target. Below 15,234 Hz a sound has no bands up to
  6,855 Hz: there the upper edge of the filters is clipped to 0.45 of its rate
  (3,600 Hz at 8 kHz), and the cepstra are those of narrower bands. The level
  is left as it is; a gain g adds 0.9875 * 2 ln(g) to column 0 and little to
  1-12 (at most 0.025 ln(g)).

  Args:
    audio_T: (T,) float32 in [-1, 1].
    sample_rate_hz: its rate, at least 4,000 Hz.

  Returns:
    (F, 28) float32, F = ceil(T / sample_rate_hz * 15); the last row hears
    silence after the end.

  Raises:
    InputError: another shape, NaN or infinite samples, or too low a rate.
  """
  audio_T = np.asarray(audio_T)
  _check(audio_T, sample_rate_hz)
  if not audio_T.size:
    return np.zeros((0, NUM_AUDIO_FEATURES), np.float32)
  audio_T = resample(audio_T.astype(np.float32), int(sample_rate_hz), _RATE_HZ)
  audio_T = audio_T.astype(np.float64) * _FULL_SCALE
  cepstra_FC = cepstra(log_mel(audio_T, top_hz(sample_rate_hz)))
  loudness_F = np.log1p(np.mean(_frames(audio_T) ** 2, axis=1))
  static_FC = np.concatenate([cepstra_FC, loudness_F[:, None]], axis=1)
  change_FC = np.diff(static_FC, axis=0, prepend=static_FC[:1])
  return np.concatenate([static_FC, change_FC], axis=1).astype(np.float32)
