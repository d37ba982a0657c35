"""Find the beats of a sound from the sound alone.

    waveform ──> flux in 4 bands, 125 Hz ──> evidence of each frame for being
    a beat (two kinds), an eighth, a sixteenth ──> best path of intervals

One detector scores every system: it sees no tempo, pose or style, and it is
fixed before any model is scored. All analysis happens at 8 kHz, so that a
model of 8 kHz audio and its 16 kHz original are judged alike.

The path is a bar pointer (Whiteley, Cemgil, Godsill 2006; Krebs, Boeck, Widmer
2015) in semi-Markov form: an interval between two beats is scored as a whole,
so that rival tempi explain the same frames and their scores compare.
"""

import math

import numpy as np

from dance2wave.errors import InputError

_RATE_HZ, _HOP, _WINDOW = 8000, 64, 256
_FRAME_HZ = _RATE_HZ / _HOP
_SHORTEST, _LONGEST = 39, 125  # frames per beat
# Tempi that are heard: 60 to 192 bpm.
SLOWEST_BPM, FASTEST_BPM = 60 * _FRAME_HZ / _LONGEST, 60 * _FRAME_HZ / _SHORTEST
_MIN_DURATION_S = 1.0

_SPAN = 375  # frames, 3 s: what is local
_LOG_GAIN = 3.0
_LAG_FRAMES = 2  # a rise is measured over 16 ms
# Subbands of bins of 31.25 Hz, and which of them make a band:
# 31-160 Hz, 160-470 Hz, 470-1440 Hz, 1.4-4 kHz.
_SUBBAND_BINS = (
  *(1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 19, 24, 30, 37, 46),
  *(56, 66, 76, 86, 96, 106, 116, 128),
)
_BANDS = ((0, 4), (4, 9), (9, 14), (14, 22))

# Evidence: log odds against 'no grid point', one row per class (odd beats,
# even beats, eighths, sixteenths); columns: a constant, all bands together,
# then the four bands, in units of their local strength. Multinomial logistic
# regression on 480 sounds: clips of the training split with noise, missing and
# displaced strokes and random equalisers, and click tracks; rounded.
_CLASSES = np.array(
  [
    [-4.3, 1.0, 1.4, 0.8, 1.3, 0.7],
    [-3.3, 1.5, 0.4, 0.9, 0.9, 1.3],
    [-0.4, -0.7, 0.1, 1.2, 0.8, 1.4],
    [0.0, 0.5, -0.4, 0.4, 0.3, -0.5],
  ]
)
_OUTLIERS = 0.02

_INTERVALS = np.arange(_SHORTEST, _LONGEST + 1)
_CHANGE_COST = (0.3 * np.arange(5) ** 1.5).astype(np.float32)
_TEMPO_PRIOR = (-0.5 * (np.log2(_INTERVALS / 65) / 0.6) ** 2).astype(np.float32)


def _prepare(waveform_T: np.ndarray, sample_rate_hz: int) -> np.ndarray:
  """Return the waveform at 8 kHz, of mean 0 and peak 1; (0,) if constant."""
  import scipy.signal

  waveform_T = np.nan_to_num(np.asarray(waveform_T, np.float32))
  centred_T = waveform_T - waveform_T.mean()
  peak = np.abs(centred_T).max()
  if not peak > 1e-5 * np.abs(waveform_T).max():
    return np.zeros(0, np.float32)
  divisor = math.gcd(_RATE_HZ, sample_rate_hz)
  up, down = _RATE_HZ // divisor, sample_rate_hz // divisor
  return scipy.signal.resample_poly(centred_T / peak, up, down)


def _subbands(waveform_T: np.ndarray) -> np.ndarray:
  """Return magnitudes (F, subbands); frame f is centred on f / 125 Hz."""
  half = _WINDOW // 2
  padded_T = np.pad(waveform_T, half, mode='reflect')
  frames_FW = np.lib.stride_tricks.sliding_window_view(padded_T, _WINDOW)
  window_W = np.hanning(_WINDOW + 1)[:-1].astype(np.float32)
  spectrum_FB = np.abs(np.fft.rfft(frames_FW[::_HOP] * window_W))
  starts = np.array(_SUBBAND_BINS)
  sums_FS = np.add.reduceat(spectrum_FB, starts, axis=1)[:, :-1]
  return sums_FS / np.diff(starts)


def _running_mean(value_FX: np.ndarray, span: int) -> np.ndarray:
  """Average over `span` frames around each frame, less at the ends."""
  total_FX = np.cumsum(np.pad(value_FX, ((1, 0), (0, 0))), axis=0)
  index = np.arange(len(value_FX))
  low = np.maximum(index - span // 2, 0)
  high = np.minimum(index + span // 2 + 1, len(value_FX))
  return (total_FX[high] - total_FX[low]) / (high - low)[:, None]


def _onset_bands(waveform_T: np.ndarray) -> np.ndarray:
  """Return (F, 4) onset strengths at 125 Hz, from low to high bands.

  Positive differences of log magnitudes relative to the local level: neither
  the gain of a clip nor a slow change of its level matters.
  """
  level_FS = _subbands(waveform_T)
  local_FS = np.sqrt(_running_mean(level_FS**2, _SPAN))
  local_F1 = local_FS.mean(axis=1, keepdims=True)
  local_FS += 0.3 * local_F1 + 1e-3 * local_F1.max()
  log_FS = np.log1p(_LOG_GAIN * level_FS / local_FS)
  rise_FS = np.zeros_like(log_FS)
  rise_FS[_LAG_FRAMES:] = log_FS[_LAG_FRAMES:] - log_FS[:-_LAG_FRAMES]
  rise_FS = np.maximum(rise_FS, 0.0)
  bands = [rise_FS[:, low:high].mean(axis=1) for low, high in _BANDS]
  return np.stack(bands, axis=1)


def _strengths(onset_FB: np.ndarray) -> np.ndarray:
  """Return (F, 5): all bands together, then each, in units of local rms.

  Only what exceeds the local mean counts; noise rarely does.
  """
  all_FB = np.concatenate([onset_FB.mean(axis=1)[:, None], onset_FB], axis=1)
  smooth_FB = all_FB.copy()
  smooth_FB[1:] += 0.5 * all_FB[:-1]
  smooth_FB[:-1] += 0.5 * all_FB[1:]
  smooth_FB = np.maximum(smooth_FB - _running_mean(smooth_FB, _SPAN), 0.0)
  rms_FB = np.sqrt(_running_mean(smooth_FB**2, _SPAN))
  rms_FB += 0.2 * rms_FB[:, :1] + 1e-3
  return np.minimum(smooth_FB / rms_FB, 4.0)


def _evidence(onset_FB: np.ndarray) -> np.ndarray:
  """Return (4, F) log likelihood ratios of each class against no grid point.

  A share of outliers bounds every ratio, so that a missing or an extra stroke
  costs a limited amount. The first frames have no past and say nothing.
  """
  logit_CF = _CLASSES[:, :1] + _CLASSES[:, 1:] @ _strengths(onset_FB).T
  logit_CF = np.pad(logit_CF, ((0, 1), (0, 0)))
  share_CF = np.exp(logit_CF - logit_CF.max(axis=0))
  share_CF *= len(share_CF) / share_CF.sum(axis=0)
  log_CF = np.log((1 - _OUTLIERS) * share_CF + _OUTLIERS)
  ratio_CF = log_CF[:-1] - log_CF[-1]
  ratio_CF[:, :_LAG_FRAMES] = 0.0
  return ratio_CF.astype(np.float32)


def _interval_scores(evidence_CF: np.ndarray) -> np.ndarray:
  """Return (F, intervals): the scores between beats at t and t + tau."""
  start_F1 = np.arange(evidence_CF.shape[1])[:, None]
  half = start_F1 + np.rint(_INTERVALS / 2).astype(int)
  quarter = start_F1 + np.rint(_INTERVALS / 4).astype(int)
  three = start_F1 + np.rint(_INTERVALS * 0.75).astype(int)
  eighth_F, sixteenth_F = np.pad(evidence_CF[2:], ((0, 0), (0, _LONGEST)))
  return eighth_F[half] + sixteenth_F[quarter] + sixteenth_F[three]


def _move(score_KFI: np.ndarray) -> np.ndarray:
  """Return the best score over neighbouring intervals, with their costs."""
  best_KFI = score_KFI.copy()
  for step, cost in enumerate(_CHANGE_COST[1:], start=1):
    up, down = best_KFI[..., step:], best_KFI[..., :-step]
    np.maximum(up, score_KFI[..., :-step] - cost, out=up)
    np.maximum(down, score_KFI[..., step:] - cost, out=down)
  return best_KFI


def _forward(evidence_CF: np.ndarray) -> np.ndarray:
  """Return (2, F, I): the best path to a beat of each kind after an interval.

  Frames are done in blocks of the shortest interval: within a block nothing
  depends on the block itself.
  """
  num_frames, column = evidence_CF.shape[1], np.arange(len(_INTERVALS))
  between_FI = _interval_scores(evidence_CF)
  score_KFI = np.zeros((2, num_frames, len(_INTERVALS)), np.float32)
  moved_KFI = np.zeros_like(score_KFI)
  for begin in range(0, num_frames, _SHORTEST):
    frame_F = np.arange(begin, min(begin + _SHORTEST, num_frames))
    origin_FI = frame_F[:, None] - _INTERVALS
    is_first_FI, origin_FI = origin_FI < 0, np.maximum(origin_FI, 0)
    past_KFI = moved_KFI[::-1, origin_FI, column]  # kinds alternate
    past_KFI += between_FI[origin_FI, column]
    past_KFI = np.where(is_first_FI, _TEMPO_PRIOR, past_KFI)
    score_KFI[:, frame_F] = past_KFI + evidence_CF[:2, frame_F, None]
    moved_KFI[:, frame_F] = _move(score_KFI[:, frame_F])
  return score_KFI


def _backward(score_KFI: np.ndarray) -> list[int]:
  """Return the frames of the beats of the best path, in order."""
  last_KFI = score_KFI[:, -_LONGEST:]
  kind, frame, i = np.unravel_index(last_KFI.argmax(), last_KFI.shape)
  frame += score_KFI.shape[1] - _LONGEST
  frames = [int(frame)]
  while frame >= _INTERVALS[i]:
    frame, kind = frame - _INTERVALS[i], 1 - kind
    frames.append(int(frame))
    change = np.abs(np.arange(len(_INTERVALS)) - i)
    cost = np.append(_CHANGE_COST, np.inf)[
      np.minimum(change, len(_CHANGE_COST))
    ]
    i = int(np.argmax(score_KFI[kind, frame] - cost))
  return frames[::-1]


def _refine(frames: list[int], onset_F: np.ndarray) -> np.ndarray:
  """Shift frames by the vertex of the parabola through three values."""
  frame = np.array(frames)
  inside = np.clip(frame, 1, len(onset_F) - 2)
  before, here, after = (onset_F[inside + d] for d in (-1, 0, 1))
  bend = 2 * here - before - after
  shift = np.where(
    bend > 1e-6, (after - before) / np.maximum(2 * bend, 1e-6), 0
  )
  return frame + np.where(inside == frame, np.clip(shift, -0.5, 0.5), 0.0)


def detect_beats(waveform_T: np.ndarray, sample_rate_hz: int) -> np.ndarray:
  """Return the times of the beats of a mono sound in seconds, (K,) float64.

  Beats are found between 60 and 192 bpm and continue to both ends of the
  sound. Silent, constant or less than a second of sound has none.

  Raises:
    InputError: the waveform is not one-dimensional, or the rate not positive.
  """
  if np.ndim(waveform_T) != 1 or sample_rate_hz <= 0:
    raise InputError(
      f'cannot find beats in shape {np.shape(waveform_T)} at '
      f'{sample_rate_hz} Hz; expected (T,) samples of one channel at a '
      'positive rate; mix the channels first'
    )
  duration_s = len(waveform_T) / sample_rate_hz
  if duration_s < _MIN_DURATION_S:
    return np.zeros(0)
  prepared_T = _prepare(waveform_T, int(sample_rate_hz))
  if not prepared_T.size:
    return np.zeros(0)
  onset_FB = _onset_bands(prepared_T)
  # Margins without evidence let the first and the last beat be anywhere.
  margin = ((0, 0), (_LONGEST, _LONGEST))
  frames = _backward(_forward(np.pad(_evidence(onset_FB), margin)))
  onset_F = np.pad(onset_FB.mean(axis=1), _LONGEST)
  beats_s = (_refine(frames, onset_F) - _LONGEST) / _FRAME_HZ
  return beats_s[(beats_s >= 0) & (beats_s < duration_s)]
