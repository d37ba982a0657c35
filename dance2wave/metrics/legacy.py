"""Score as the literature did, to be comparable; to rank systems, do not.

Each figure is named after the code that defines it, because the same name
means different things elsewhere: D2M-GAN's 'BCS' is a ratio of counts, that of
LORIS a precision. All are easily fooled, and each docstring says how. Scores
are shares, as in the published code; published tables print 100 times these.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dance2wave.errors import InputError
from dance2wave.metrics.librosa_loading import load_librosa

_D2MGAN_RATE_HZ = 22050  # also of LORIS
_AIST_RATE_HZ = 60
_AIST_ORDER = 10  # frames on either side of a minimum
_BAILANDO_SMOOTHING = 5.0  # frames
_SIGMA_FRAMES = 3.0


class LorisScores(NamedTuple):
  """Means over clips, deviations between clips, and F1 of the means."""

  bcs: float
  csd: float
  bhs: float
  hsd: float
  f1: float


def _onset_bins(
  audio_T: np.ndarray, sample_rate_hz: int, **peak_picking: int
) -> np.ndarray:
  """Return (ceil(seconds),) whether each second has an onset."""
  librosa = load_librosa()

  audio_T = np.asarray(audio_T, np.float32)
  if audio_T.ndim != 1 or sample_rate_hz <= 0 or not np.isfinite(audio_T).all():
    raise InputError(
      f'cannot find onsets in shape {audio_T.shape} at {sample_rate_hz} Hz; '
      'expected (T,) finite samples of one channel; mix the channels first'
    )
  if len(audio_T) and sample_rate_hz != _D2MGAN_RATE_HZ:
    audio_T = librosa.resample(
      audio_T, orig_sr=sample_rate_hz, target_sr=_D2MGAN_RATE_HZ
    )
  is_on = np.zeros(-(-len(audio_T) // _D2MGAN_RATE_HZ), bool)
  if not audio_T.any():
    return is_on
  onsets_s = librosa.onset.onset_detect(
    y=audio_T,
    sr=_D2MGAN_RATE_HZ,
    units='time',
    wait=1,
    delta=0.2,
    **peak_picking,
  )
  # An onset at the very end would be beyond the last bin.
  is_on[np.minimum(onsets_s.astype(int), len(is_on) - 1)] = True
  return is_on


def d2mgan_onset_bins(audio_T: np.ndarray, sample_rate_hz: int) -> np.ndarray:
  """Return which seconds of a mono sound have an onset, as D2M-GAN does.

  At 22,050 Hz with librosa's onset detector: wait=1, delta=0.2, pre_avg=1,
  post_avg=1, post_max=1 frames of 512 samples (L-YeZhu/Beats_Scores,
  beats_scores.py; CDCD and DMD have the same). An onset at t counts for bin
  trunc(t) of ceil(duration); silence has none.
  """
  return _onset_bins(audio_T, sample_rate_hz, pre_avg=1, post_avg=1, post_max=1)


def d2mgan_bin_scores(
  reference_B: np.ndarray, generated_B: np.ndarray
) -> tuple[float, float]:
  """Return (coverage, hit) of two rows of bins: B_g / B_t and B_a / B_t.

  B_t, B_g and B_a are the seconds with an onset in the reference, in the
  generated sound, and in both. NaN where the reference has none: the
  published code divides by zero.

  Raises:
    InputError: another number of bins; the published code asserts it.
  """
  reference_B, generated_B = np.asarray(reference_B), np.asarray(generated_B)
  _refuse_lengths(reference_B, generated_B)
  total = int(reference_B.sum())
  if not total:
    return np.nan, np.nan
  both = int((reference_B & generated_B).sum())
  return int(generated_B.sum()) / total, both / total


def _refuse_lengths(reference_B: np.ndarray, generated_B: np.ndarray) -> None:
  if len(reference_B) != len(generated_B):
    raise InputError(
      f'the sounds last {len(reference_B)} and {len(generated_B)} bins of 1 s; '
      'expected equally many; cut the longer one to the shorter'
    )


def d2mgan_coverage_hit(
  reference_T: np.ndarray, generated_T: np.ndarray, sample_rate_hz: int
) -> tuple[float, float]:
  """Return beat coverage (BCS) and beat hit (BHS) of D2M-GAN and CDCD.

  'Quantized GAN for Complex Music Generation from Dance Videos' (2204.00604)
  and CDCD (2206.07771), who also denoise what they generated; tables average
  over clips. Coverage is 0 or more with 1 as its goal, hit 0 to 1, higher is
  better.

  What is wrong: onsets, not beats, in bins of a whole second. Almost every
  second of music has an onset, so a metronome of any tempo, another song and
  the right song 0.4 s late all get a hit of 1; a click per second gets 1.05
  and 1.00 on the official test set, above every published system (0.94 and
  0.91). Of 2 s, a hit is 0, 0.5 or 1. Coverage grows with density, beyond 1.

  Args:
    reference_T, generated_T: mono, of equally many seconds when rounded up.
    sample_rate_hz: of both; resampled to 22,050 Hz.

  Raises:
    InputError: of another length, or not mono.
  """
  return d2mgan_bin_scores(
    d2mgan_onset_bins(reference_T, sample_rate_hz),
    d2mgan_onset_bins(generated_T, sample_rate_hz),
  )


def loris_onset_bins(audio_T: np.ndarray, sample_rate_hz: int) -> np.ndarray:
  """Return which seconds have an onset, as LORIS does.

  Like `d2mgan_onset_bins` with pre_avg, post_avg, pre_max and post_max 3
  (OpenGVLab/LORIS, beats_scores.py).
  """
  return _onset_bins(
    audio_T, sample_rate_hz, pre_avg=3, post_avg=3, pre_max=3, post_max=3
  )


def loris_bin_scores(
  reference_B: np.ndarray, generated_B: np.ndarray
) -> tuple[float, float]:
  """Return (BCS, BHS) of two rows of bins: B_a / B_g and B_a / B_t.

  A precision and a recall; 0 where the divisor is 0. A longer reference is
  cut to the generated sound.

  Raises:
    InputError: a shorter reference; the published code asserts it.
  """
  generated_B = np.asarray(generated_B)
  reference_B = np.asarray(reference_B)[: len(generated_B)]
  _refuse_lengths(reference_B, generated_B)
  both = int((reference_B & generated_B).sum())
  totals = int(generated_B.sum()), int(reference_B.sum())
  precision, recall = (both / total if total else 0.0 for total in totals)
  return precision, recall


def loris_summary(scores: Sequence[tuple[float, float]]) -> LorisScores:
  """Return the figures of a table from the (BCS, BHS) of its clips.

  CSD and HSD are standard deviations with N - 1, NaN for a single clip; F1 is
  the harmonic mean of the two means, not a mean of F1s, and 0 if both are 0,
  where the published code divides by zero.

  Raises:
    InputError: no clips.
  """
  if not len(scores):
    raise InputError('no clips to score; expected at least one pair of sounds')
  bcs, bhs = np.mean(scores, axis=0).tolist()
  csd = hsd = np.nan
  if len(scores) > 1:
    csd, hsd = np.std(scores, axis=0, ddof=1).tolist()
  f1 = 2 * bcs * bhs / (bcs + bhs) if bcs + bhs else 0.0
  return LorisScores(bcs, csd, bhs, hsd, f1)


def loris_scores(
  pairs: Sequence[tuple[np.ndarray, np.ndarray]], sample_rate_hz: int
) -> LorisScores:
  """Return BCS, CSD, BHS, HSD and F1 of LORIS over a set of clips.

  'Long-Term Rhythmic Video Soundtracker' (2305.01319). BCS, BHS and F1 are 0
  to 1, higher is better; the deviations lower.

  What is wrong: the bins of a second of `d2mgan_coverage_hit`. Over songs of
  AIST, always-on onsets get an F1 of 0.99 on clips of 5 s and 0.95 on up to
  25 s, another song 0.98 and 0.92; published systems get 0.92 to 0.98. The
  deviations reward sameness: a click per second has HSD 0. The published
  dance test set has every song and every performance in training.

  Args:
    pairs: (reference_T, generated_T) of each clip, mono.
    sample_rate_hz: of all; resampled to 22,050 Hz.
  """
  return loris_summary(
    [
      loris_bin_scores(*(loris_onset_bins(a_T, sample_rate_hz) for a_T in pair))
      for pair in pairs
    ]
  )


def _at_60_hz(pose_FJD: np.ndarray, pose_rate_hz: float) -> np.ndarray:
  """Return positions (F', J, 2) at k / 60 s, by cubic splines.

  Linear interpolation would make steps of equal length, which have no strict
  minimum.
  """
  import scipy.interpolate

  pose_FJD = np.asarray(pose_FJD, np.float64)
  if pose_FJD.ndim != 3 or pose_FJD.shape[2] != 3 or not pose_rate_hz > 0:
    raise InputError(
      f'pose has shape {pose_FJD.shape} at {pose_rate_hz} Hz; expected '
      '(frames, joints, 3) of x, y and confidence; clean it with clean_pose'
    )
  xy_FJD = pose_FJD[..., :2]
  if len(xy_FJD) < 4 or pose_rate_hz == _AIST_RATE_HZ:
    return xy_FJD
  last_s = (len(xy_FJD) - 1) / pose_rate_hz
  time_s = np.arange(int(last_s * _AIST_RATE_HZ + 1e-6) + 1) / _AIST_RATE_HZ
  spline = scipy.interpolate.CubicSpline(
    np.arange(len(xy_FJD)) / pose_rate_hz, xy_FJD
  )
  return spline(time_s)


def _music_frames(beats_s: np.ndarray, num_frames: int) -> np.ndarray:
  """Return the nearest frames at 60 Hz, each once, within the dance."""
  frames = np.unique(np.rint(np.asarray(beats_s) * _AIST_RATE_HZ).astype(int))
  return frames[(frames >= 0) & (frames < num_frames)]


def _mean_closeness(from_frames: np.ndarray, to_frames: np.ndarray) -> float:
  gap = np.abs(from_frames[:, None] - to_frames).min(axis=1)
  return float(np.exp(-(gap**2) / (2 * _SIGMA_FRAMES**2)).mean())


def aist_motion_beats(position_FJD: np.ndarray) -> np.ndarray:
  """Return the motion beats of AIST++: frames, of positions at 60 Hz.

  Strict minima of the summed joint speed over 10 frames on either side; the
  speed of frame f is the step from f - 1, that of frame 0 is 0. No smoothing.
  Positions are (F, J, 2 or 3), in the publication 24 joints of SMPL in 3D.
  """
  from scipy.signal import argrelextrema

  speed_F = np.zeros(len(position_FJD), np.float32)
  step_FJD = np.diff(np.asarray(position_FJD, np.float32), axis=0)
  speed_F[1:] = np.linalg.norm(step_FJD, axis=2).sum(axis=1)
  return argrelextrema(speed_F, np.less, order=_AIST_ORDER)[0]


def aist_beat_alignment(
  pose_FJD: np.ndarray, pose_rate_hz: float, beats_s: np.ndarray
) -> float:
  """Return the beat alignment of AIST++ / FACT: over motion beats.

  Mean over `aist_motion_beats` of exp(-d^2 / (2 * 3^2)), d in frames of 60 Hz
  to the nearest music beat (2101.08779; google-research/mint,
  tools/calculate_beat_scores.py). 0 to 1, higher is better; 0 without motion
  beats, as published; NaN without music beats, where the published code fails.

  What is wrong: music is never asked, so density wins: clicks every 93 ms get
  0.87 with any dance, every 50 ms 0.96. True pairs get 0.285, random ones
  0.19 to 0.22 (hellto/dance2music-diffusion): little above. Noise in the poses
  makes minima of its own; a stop that falls on a frame has two equal steps and
  is none.

  Args:
    pose_FJD: (F, J, 3) x, y, confidence; splined to 60 Hz if at another rate.
    pose_rate_hz: its rate.
    beats_s: of the music; one per frame, rounded to it.
  """
  position_FJD = _at_60_hz(pose_FJD, pose_rate_hz)
  motion = aist_motion_beats(position_FJD)
  music = _music_frames(beats_s, len(position_FJD))
  if not len(motion):
    return 0.0
  return _mean_closeness(motion, music) if len(music) else np.nan


def bailando_motion_beats(position_FJD: np.ndarray) -> np.ndarray:
  """Return the motion beats of Bailando: frames, of positions at 60 Hz.

  Strict minima between direct neighbours of the mean joint speed, smoothed by
  a Gaussian of 5 frames. Number f is the step from frame f to f + 1: one less
  than in AIST++, in the publication, too.
  """
  from scipy.ndimage import gaussian_filter
  from scipy.signal import argrelextrema

  step_FJD = np.diff(np.asarray(position_FJD), axis=0)
  speed_F = np.sqrt((step_FJD**2).sum(axis=2)).mean(axis=1)
  return argrelextrema(gaussian_filter(speed_F, _BAILANDO_SMOOTHING), np.less)[
    0
  ]


def bailando_beat_alignment(
  pose_FJD: np.ndarray, pose_rate_hz: float, beats_s: np.ndarray
) -> float:
  """Return the beat alignment score (BAS) of Bailando: over music beats.

  Mean over music beats of exp(-d^2 / (2 * 3^2)), d in frames of 60 Hz to the
  nearest of `bailando_motion_beats` (2203.13055; lisiyao21/Bailando,
  utils/beat_align_score.py). 0 to 1, higher is better; NaN without motion or
  music beats, where the published code fails.

  What is wrong: the dance is never asked, so one beat that fits gets 1, and
  a jittering dance fits everything; an unrelated metronome gets about 0.24.
  `kinematic.alignment` and its chance say more.

  Args: of `aist_beat_alignment`.
  """
  position_FJD = _at_60_hz(pose_FJD, pose_rate_hz)
  motion = bailando_motion_beats(position_FJD)
  music = _music_frames(beats_s, len(position_FJD) - 1)
  if not len(motion) or not len(music):
    return np.nan
  return _mean_closeness(music, motion)
