"""What each pose frame should know of its music: beats, onsets, loudness."""

import functools

import numpy as np
import scipy.fft

_NUM_BANDS = 24
_MIN_BAND_HZ = 60.0
_FLUX_GAIN = 300.0
_FLUX_FLOOR = 0.05  # quieter clips than this are not blown up to 1
_LEVEL_RANGE_DB = 60.0
# Longer than a beat, so that strokes do not count but the phrase does.
_LOUDNESS_SPAN_S = 1.5


def _pulse(
  times_s: np.ndarray, num_frames: int, pose_rate_hz: float
) -> np.ndarray:
  """Return 1 at the frame nearest to each time, 0.5 at its neighbours."""
  nearest = np.round(times_s * pose_rate_hz).astype(int)
  pulse_F = np.zeros(num_frames + 4, np.float32)  # two frames more each side
  nearest = nearest[(nearest >= -1) & (nearest <= num_frames)] + 2
  pulse_F[nearest - 1] = pulse_F[nearest + 1] = 0.5
  pulse_F[nearest] = 1.0
  return pulse_F[2:-2]


def beat_activation(
  beats_s: np.ndarray, num_frames: int, pose_rate_hz: float
) -> np.ndarray:
  """Return (F,) 1 at the frame nearest to a beat, 0.5 beside it, else 0."""
  return _pulse(beats_s, num_frames, pose_rate_hz)


def half_beat_activation(
  beats_s: np.ndarray, num_frames: int, pose_rate_hz: float
) -> np.ndarray:
  """Return the activation of the points half-way between two known beats."""
  halves_s = (beats_s[1:] + beats_s[:-1]) / 2
  return _pulse(halves_s, num_frames, pose_rate_hz)


def beat_phase(
  beats_s: np.ndarray, num_frames: int, pose_rate_hz: float
) -> np.ndarray:
  """Return (F,) the fraction of the current beat that has passed, in [0, 1).

  It grows linearly from beat to beat; before the first and after the last
  beat the nearest interval goes on. Fewer than two beats give -1 throughout.
  """
  if len(beats_s) < 2:
    return np.full(num_frames, -1.0, np.float32)
  time_F = np.arange(num_frames) / pose_rate_hz
  low = np.searchsorted(beats_s, time_F, side='right') - 1
  low = np.clip(low, 0, len(beats_s) - 2)
  phase_F = (time_F - beats_s[low]) / (beats_s[low + 1] - beats_s[low])
  phase_F = (phase_F % 1.0).astype(np.float32)
  return np.where(phase_F < 1.0, phase_F, np.float32(0.0))  # 1 - tiny rounds up


@functools.lru_cache(maxsize=8)
def _band_starts(num_bins: int, sample_rate_hz: int) -> np.ndarray:
  """Return the first bin of each band; bands are equally wide in mel."""
  edges_mel = 2595.0 * np.log10(
    1.0 + np.array([_MIN_BAND_HZ, sample_rate_hz / 2]) / 700.0
  )
  mel = np.linspace(*edges_mel, _NUM_BANDS + 1)[:-1]
  hz = 700.0 * (10.0 ** (mel / 2595.0) - 1.0)
  bins = np.round(hz / (sample_rate_hz / 2) * (num_bins - 1)).astype(int)
  return np.unique(bins)


def onset_flux(
  audio_T: np.ndarray, sample_rate_hz: int, hop: int
) -> np.ndarray:
  """Return (F,) how much louder the bands became at frame k's time.

  Half-wave rectified difference of the log mel spectrum (spectral flux;
  Böck and Widmer, 2013) with Hann windows of two hops centred on the frames,
  so that frame k does not hear what frame k + 1 begins with.
  """
  num_frames = len(audio_T) // hop
  flux_F = np.zeros(num_frames, np.float32)
  padded_T = np.pad(audio_T, hop, mode='symmetric')
  windows = np.lib.stride_tricks.sliding_window_view(padded_T, 2 * hop)
  frames_FT = windows[: num_frames * hop : hop]
  window_T = np.hanning(2 * hop + 1)[:-1].astype(np.float32)
  spectrum = np.abs(scipy.fft.rfft(frames_FT * window_T)) * (2 / hop)
  starts = _band_starts(spectrum.shape[1], sample_rate_hz)
  log_mel = np.log1p(_FLUX_GAIN * np.add.reduceat(spectrum, starts, axis=1))
  flux_F[1:] = np.maximum(0.0, np.diff(log_mel, axis=0)).mean(axis=1)
  return flux_F


def onset_scale(flux_F: np.ndarray) -> float:
  """Return the flux that counts as 1 in a clip: its strongest hundredth."""
  return max(float(np.quantile(flux_F, 0.99)), _FLUX_FLOOR)


def _power(audio_T: np.ndarray, hop: int) -> np.ndarray:
  frames_FT = audio_T[: len(audio_T) // hop * hop].reshape(-1, hop)
  return np.mean(np.square(frames_FT), axis=1)


def _as_level(power_F: np.ndarray) -> np.ndarray:
  level_db = 10.0 * np.log10(np.maximum(power_F, 1e-12))
  return np.clip(level_db / _LEVEL_RANGE_DB + 1, 0, 1).astype(np.float32)


def level(audio_T: np.ndarray, hop: int) -> np.ndarray:
  """Return (F,) the loudness of each frame: -60 dB is 0, 0 dB is 1."""
  return _as_level(_power(audio_T, hop))


def loudness(audio_T: np.ndarray, hop: int, pose_rate_hz: float) -> np.ndarray:
  """Return (F,) the level of the 1.5 s around each frame, on the same scale.

  Near the ends of a clip it is that of what there is of them.
  """
  power_F = _power(audio_T, hop)
  half = round(0.5 * _LOUDNESS_SPAN_S * pose_rate_hz)
  total_F = np.cumsum(np.pad(power_F.astype(np.float64), (1, 0)))
  index_F = np.arange(len(power_F))
  low_F = np.maximum(index_F - half, 0)
  high_F = np.minimum(index_F + half + 1, len(power_F))
  return _as_level((total_F[high_F] - total_F[low_F]) / (high_F - low_F))
