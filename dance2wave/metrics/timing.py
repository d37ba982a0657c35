"""Measure how well beats and onsets of one clip meet the true ones.

    reference   |         |         |         |        period: beat to beat
    estimate     |        .|       |          .|
    error       +5       +8 ms   -15         +12       positive: too late

All times are seconds from the start of the clip, in any order. What has no
answer is NaN: a reference without beats, a tempo of fewer than two beats.
"""

import numpy as np

from dance2wave.errors import InputError
from dance2wave.media.audio import resample
from dance2wave.metrics.beats import tempo_within
from dance2wave.metrics.librosa_loading import load_librosa

_OCTAVES = (1, 2, 3, 1 / 2, 1 / 3)

# All onsets are heard at 8 kHz with frames of 64 ms every 10 ms, so that a
# sound of 8 kHz and its original of 16 kHz are judged alike. Peaks are picked
# with librosa's own spans, written out so that no release can change them.
_ONSET_RATE_HZ, _ONSET_WINDOW, _ONSET_HOP, _ONSET_BANDS = 8000, 512, 80, 40
_PEAKS = {
  'pre_max': 3,
  'post_max': 1,
  'pre_avg': 10,
  'post_avg': 11,
  'wait': 3,
  'delta': 0.07,
}


def _match_f(reference_s, estimate_s, tolerance_s: float) -> float:
  """Return F of sorted times; NaN without a reference, 0 without estimates."""
  import mir_eval

  if not len(reference_s):
    return float('nan')
  if not len(estimate_s):
    return 0.0
  return float(
    mir_eval.beat.f_measure(
      reference_s, estimate_s, f_measure_threshold=tolerance_s
    )
  )


def beat_f(
  reference_s: np.ndarray,
  estimate_s: np.ndarray,
  tolerance_s: float = 0.07,
  duration_s: float = np.inf,
) -> float:
  """Return the F-measure of beats that match one to one within a tolerance.

  Range 0 to 1, higher is better. Chance is not zero: see
  `statistics.chance_f`; two independent trains of 70 to 170 bpm score about
  0.27 at 70 ms and 0.13 at 35 ms. Source: `mir_eval.beat.f_measure` (Davies,
  Degara, Plumbley 2009), without its trimming of the first 5 s.

  Args:
    reference_s: true beats.
    estimate_s: heard beats.
    tolerance_s: largest distance of a match, itself included.
    duration_s: beats of both from here on do not count.
  """
  reference_s, estimate_s = (
    np.sort(np.asarray(beats_s, float)) for beats_s in (reference_s, estimate_s)
  )
  return _match_f(
    reference_s[reference_s < duration_s],
    estimate_s[estimate_s < duration_s],
    tolerance_s,
  )


def tempo_accuracies(
  reference_s: np.ndarray, estimate_s: np.ndarray
) -> tuple[float, float]:
  """Return whether the tempo is right, and whether it is up to an octave.

  The tempo is that of the median interval between beats. Each answer is 0 or
  1, higher is better; NaN where the reference has fewer than two beats, 0
  where the estimate has. Chance with tempi of 70 to 170 bpm on both sides:
  about 0.09 and 0.13. Source: accuracies 1 and 2 of Gouyon et al. 2006, within
  4 % of the true tempo, and of its 1, 2, 3, 1/2 or 1/3.
  """
  reference_s, estimate_s = np.unique(reference_s), np.unique(estimate_s)
  if len(reference_s) < 2:
    return float('nan'), float('nan')
  is_within = [tempo_within(estimate_s, reference_s / k) for k in _OCTAVES]
  return float(is_within[0]), float(any(is_within))


def phase_errors_s(
  reference_s: np.ndarray, estimate_s: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Return how late each estimated beat is, in seconds and as an angle.

  A beat belongs to the nearest true one, and the interval between two true
  beats in which it lies is the turn of its angle: half an interval late is pi.
  The first and the last interval go on for half their length; beats beyond
  have no true one to belong to and are left out.

  Returns:
    (errors_s (K,), angles (K,) in [-pi, pi]), in the order of time; empty
    where the reference has fewer than two beats.
  """
  reference_s = np.unique(np.asarray(reference_s, float))
  estimate_s = np.sort(np.asarray(estimate_s, float))
  if len(reference_s) < 2:
    return np.zeros(0), np.zeros(0)
  low = np.searchsorted(reference_s, estimate_s, side='right') - 1
  low = np.clip(low, 0, len(reference_s) - 2)
  period_s = np.diff(reference_s)[low]
  since_s = estimate_s - reference_s[low]
  until_s = estimate_s - reference_s[low + 1]
  error_s = np.where(since_s <= period_s / 2, since_s, until_s)
  is_inside = np.abs(error_s) <= period_s / 2
  error_s = error_s[is_inside]
  return error_s, 2 * np.pi * error_s / period_s[is_inside]


def phase_statistics(
  errors_s: np.ndarray, angles: np.ndarray
) -> tuple[float, float, float]:
  """Return median error in ms, circular mean in ms, and concentration.

  Median and mean are signed, positive is late, best is 0; the circular mean
  does not break where half a period late turns into half a period early, and
  is given in ms of the mean period. The concentration R is the length of the
  mean of exp(i angle) (Mardia and Jupp 2000), 0 to 1, higher is
  better. K beats of independent, uniformly random phase have a root mean
  square R of 1/sqrt(K), and a single one has R = 1. So has a metronome of the
  true tempo at any phase, and twice the true tempo has R = 0: read it beside
  the mean and the tempo.

  Args:
    errors_s: of `phase_errors_s`; several clips may be joined.
    angles: the same errors as angles.

  Returns:
    Three NaN where there are no errors.

  Raises:
    InputError: the two differ in shape.
  """
  errors_s, angles = np.asarray(errors_s, float), np.asarray(angles, float)
  if errors_s.shape != angles.shape:
    raise InputError(
      f'{errors_s.shape} errors and {angles.shape} angles; expected one angle '
      'per error; pass both results of phase_errors_s'
    )
  if not errors_s.size:
    return float('nan'), float('nan'), float('nan')
  mean = np.exp(1j * angles).mean()
  # Seconds per radian; every error is its angle times its own period.
  total_angle = np.abs(angles).sum()
  scale_s = np.abs(errors_s).sum() / total_angle if total_angle else 0.0
  circular_ms = 1e3 * float(np.angle(mean) * scale_s)
  return 1e3 * float(np.median(errors_s)), circular_ms, float(np.abs(mean))


def detect_onsets(audio_T: np.ndarray, sample_rate_hz: int) -> np.ndarray:
  """Return the times of onsets in seconds, (K,) float64.

  Peaks of librosa's spectral flux over 40 mel bands at 8 kHz every 10 ms; each
  is the largest within 30 ms before it, 0.07 of the clip's range above the
  mean of 100 ms on both sides, and 40 ms after the one before. There is no
  backtracking. Silence, and less than 64 ms of sound, has none.
  """
  librosa = load_librosa()

  audio_T = np.asarray(audio_T, np.float32)
  audio_T = resample(np.nan_to_num(audio_T), sample_rate_hz, _ONSET_RATE_HZ)
  if len(audio_T) < _ONSET_WINDOW or not audio_T.any():
    return np.zeros(0)
  strength_F = librosa.onset.onset_strength(
    y=audio_T,
    sr=_ONSET_RATE_HZ,
    n_fft=_ONSET_WINDOW,
    hop_length=_ONSET_HOP,
    n_mels=_ONSET_BANDS,
  )
  onset_s = librosa.onset.onset_detect(
    onset_envelope=strength_F,
    sr=_ONSET_RATE_HZ,
    hop_length=_ONSET_HOP,
    units='time',
    backtrack=False,
    **_PEAKS,
  )
  return np.asarray(onset_s, float)


def onset_f(
  reference_T: np.ndarray,
  estimate_T: np.ndarray,
  sample_rate_hz: int,
  tolerance_s: float = 0.07,
) -> float:
  """Return the F-measure of the onsets of two sounds.

  Both are heard by `detect_onsets` over their whole length. Range 0 to 1,
  higher is better; NaN where the reference has no onsets. Dense music makes
  chance high: on synthetic clips another song scores 0.55, noise 0.56, a
  click every 93 ms 0.58; only the distance to these counts. Source: onset
  detection of MIREX, in the matching of `mir_eval`.
  """
  onsets = [detect_onsets(t, sample_rate_hz) for t in (reference_T, estimate_T)]
  return _match_f(*onsets, tolerance_s)
