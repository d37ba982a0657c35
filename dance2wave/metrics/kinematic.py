"""Find the beats of a dance, and say how far a sound's beats fall on them.

    pose ──> mean joint speed ────> dips ──────────────┐
        └──> motion per direction ─> decelerations ────┴─> combined

No label is needed. The two definitions of a kinematic beat see different
dances: a dancer who eases into a pose is slowest on the beat and decelerates
before it; one who snaps decelerates on the beat and is slowest after it.
"""

from typing import NamedTuple

import numpy as np
from scipy import ndimage, signal

from dance2wave.errors import InputError
from dance2wave.pose import features
from dance2wave.pose.skeleton import SKELETONS

_NUM_JOINTS = len(SKELETONS['core14'])
_VELOCITIES = slice(2 * _NUM_JOINTS, 4 * _NUM_JOINTS)
_VELOCITY_SCALE = 3.0  # torsos per second, as `features` divides them
_MIN_SEEN = _NUM_JOINTS // 2  # joints; with fewer there is no dancer

_SPEED_SIGMA_S, _DECELERATION_SIGMA_S = 0.04, 0.03
_DIP_REACH_S = 0.3  # a dip is below the lower of two peaks within this
_MIN_GAP_S = 0.2  # between two beats
_PROMINENCE = 0.2  # of the spread of a clip's activation
# A still body with a pixel of noise in 480 stays below these.
_MIN_DIP = 0.1  # torsos per second
_MIN_DECELERATION = 2.0  # torsos per second squared, mean over joints

# Share of a deceleration that stands out of its surroundings (0.1 s): below
# the first the dancer eases, above the second he snaps.
_SURROUNDINGS_S = 0.1
_EASED, _SNAPPED = 0.40, 0.52
_WEIGHTS = (0.35, 2.0)  # of deceleration against dips, for these two
_SUPPORT_S = 0.12  # a combined beat has one of either kind this near


class KinematicBeats(NamedTuple):
  """Times (K,), ascending, and the curve per pose frame that peaks there."""

  beats_s: np.ndarray
  activation_F: np.ndarray


class Alignment(NamedTuple):
  """Agreement of motion beats and sound beats, each 0 to 1 or NaN."""

  motion_to_sound: float
  sound_to_motion: float
  harmonic: float


class Retrieval(NamedTuple):
  """Rank of each sound's own motion, and what follows of it."""

  ranks_N: np.ndarray
  recall_at_1: float
  mean_reciprocal_rank: float


def _seen(pose_FJD: np.ndarray, rate_hz: float) -> np.ndarray:
  """Return (F,) the joints whose derivative is known."""
  size = 2 * features.kernel_half_frames(rate_hz) + 1
  is_seen_FJ = pose_FJD[..., 2] > 0
  return ndimage.minimum_filter1d(is_seen_FJ, size, axis=0).sum(axis=1)


def _per_seen_joint(value_FX: np.ndarray, seen_F: np.ndarray) -> np.ndarray:
  """Turn means over all joints into means over seen ones.

  Where too few are seen the values go on linearly, so that a dancer who is
  hidden does not seem to stop.
  """
  known = np.flatnonzero(seen_F >= _MIN_SEEN)
  if not len(known):
    return np.zeros_like(value_FX)
  scaled_KX = value_FX[known] * (_NUM_JOINTS / seen_F[known])[:, None]
  frame_F = np.arange(len(value_FX))
  curves = [np.interp(frame_F, known, value_K) for value_K in scaled_KX.T]
  return np.stack(curves, axis=1)


def _smooth(value_F: np.ndarray, sigma_s: float, rate_hz: float) -> np.ndarray:
  return ndimage.gaussian_filter1d(value_F, sigma_s * rate_hz, mode='nearest')


def _dips(motion_FK: np.ndarray, rate_hz: float) -> np.ndarray:
  """Return how far the speed is below the lower of the peaks around it."""
  speed_F = _smooth(motion_FK.sum(axis=1), _SPEED_SIGMA_S, rate_hz)
  reach = round(_DIP_REACH_S * rate_hz)
  padded_F = np.pad(speed_F, reach, mode='edge')
  windows = np.lib.stride_tricks.sliding_window_view(padded_F, reach + 1)
  before_F, after_F = windows[:-reach].max(axis=1), windows[reach:].max(axis=1)
  return np.minimum(before_F, after_F) - speed_F


def _decelerations(motion_FK: np.ndarray, rate_hz: float) -> np.ndarray:
  """Return the falls of motion, summed over directions and smoothed."""
  span = 2 * features.kernel_half_frames(rate_hz) + 1
  slope_FK = signal.savgol_filter(
    np.pad(motion_FK, ((span, span), (0, 0)), mode='edge'),
    span,
    polyorder=1,
    deriv=1,
    delta=1 / rate_hz,
    axis=0,
  )[span:-span]
  fall_F = np.maximum(-slope_FK, 0).sum(axis=1)
  return _smooth(fall_F, _DECELERATION_SIGMA_S, rate_hz)


def _refined(value_F: np.ndarray, peaks: np.ndarray) -> np.ndarray:
  """Shift peaks to the vertex of the parabola through three values."""
  before, here, after = (value_F[peaks + offset] for offset in (-1, 0, 1))
  bend = 2 * here - before - after
  shift = (after - before) / np.where(bend > 0, 2 * bend, np.inf)
  return peaks + np.clip(shift, -0.5, 0.5)


def _pick(
  activation_F: np.ndarray, seen_F: np.ndarray, rate_hz: float, least: float
) -> KinematicBeats:
  """Return the peaks that stand out, where a dancer is seen."""
  if len(activation_F) < 3:
    return KinematicBeats(np.zeros(0), activation_F)
  spread = float(np.ptp(np.quantile(activation_F, (0.05, 0.95))))
  peaks, _ = signal.find_peaks(
    activation_F,
    distance=max(1, round(_MIN_GAP_S * rate_hz)),
    prominence=max(_PROMINENCE * spread, least),
  )
  peaks = peaks[seen_F[peaks] >= _MIN_SEEN]
  return KinematicBeats(_refined(activation_F, peaks) / rate_hz, activation_F)


def _envelopes(pose_FJD: np.ndarray, rate_hz: float) -> np.ndarray:
  """Return dips, decelerations and the number of joints seen: (3, F)."""
  if not rate_hz > 0:
    raise InputError(
      f'pose_rate_hz is {rate_hz}; expected a positive rate, 15 to 60; '
      'pass the rate of the cleaned poses'
    )
  pose_FJD = np.asarray(pose_FJD, np.float32)
  if not np.isfinite(pose_FJD).all():
    raise InputError(
      'pose is not finite; expected cleaned poses; clean them with clean_pose'
    )
  features_FM = features.motion_features(pose_FJD, rate_hz)
  if len(pose_FJD) < 3:
    return np.zeros((3, len(pose_FJD)))
  velocity_FJD = features_FM[:, _VELOCITIES].reshape(-1, _NUM_JOINTS, 2)
  motion_FK = features.directogram(velocity_FJD * np.float32(_VELOCITY_SCALE))
  seen_F = _seen(pose_FJD, rate_hz)
  motion_FK = _per_seen_joint(motion_FK, seen_F)
  fall_F = _decelerations(motion_FK, rate_hz)
  return np.stack([_dips(motion_FK, rate_hz), fall_F, seen_F])


def speed_minima(pose_FJD: np.ndarray, pose_rate_hz: float) -> KinematicBeats:
  """Find where the dancer is slowest: beats of eased movement.

  Minima of the smoothed mean joint speed (AIST++, 2101.08779), but only dips
  that stand out. Up to 0.1 s late for a dancer who snaps into poses.

  Args:
    pose_FJD: (F, 14, 3) cleaned core14; joints of confidence 0 do not count.
    pose_rate_hz: 15 to 60.

  Returns:
    Beats at least 0.2 s apart, and the depth of the dip at each frame in
    torsos per second. Still or hidden bodies and single frames have none.

  Raises:
    InputError: another shape, a rate of 0, or poses that are not finite.
  """
  dips_F, _, seen_F = _envelopes(pose_FJD, pose_rate_hz)
  return _pick(dips_F, seen_F, pose_rate_hz, _MIN_DIP)


def decelerations(pose_FJD: np.ndarray, pose_rate_hz: float) -> KinematicBeats:
  """Find where the dancer stops or turns abruptly: beats of snapped movement.

  Peaks of the directional deceleration, the fall of the directogram summed
  over directions: 'Dancing to Music' (1911.02001, sec. 3.1) after visual
  beats (Davis and Agrawala, 2018). Up to 0.1 s early for a dancer who eases.

  Args, errors: of `speed_minima`.

  Returns:
    Beats, and the deceleration in torsos per second squared, mean over joints.
  """
  _, fall_F, seen_F = _envelopes(pose_FJD, pose_rate_hz)
  return _pick(fall_F, seen_F, pose_rate_hz, _MIN_DECELERATION)


def _sharpness(fall: KinematicBeats, rate_hz: float) -> float:
  """Return how far the median deceleration stands out, 0 to 1."""
  if not len(fall.beats_s):
    return 0.0
  frames = np.rint(fall.beats_s * rate_hz).astype(int)
  around_F = _smooth(fall.activation_F, _SURROUNDINGS_S, rate_hz)
  return float(np.median(1 - around_F[frames] / fall.activation_F[frames]))


def combined_beats(pose_FJD: np.ndarray, pose_rate_hz: float) -> KinematicBeats:
  """Find beats by both definitions: the one to report.

  The activation is the depth of the dips plus the deceleration, each in units
  of the clip's strong ones. Deceleration counts 0.35 for a dancer whose stops
  are gradual and 2 for one whose stops are sharp, and between them linearly,
  so that early and late peaks do not blur. A peak counts if `speed_minima` or
  `decelerations` has a beat within 0.12 s.

  Args, errors: of `speed_minima`.

  Returns:
    Beats, and the activation, at least 0 and of order 1.
  """
  dips_F, fall_F, seen_F = _envelopes(pose_FJD, pose_rate_hz)
  dip = _pick(dips_F, seen_F, pose_rate_hz, _MIN_DIP)
  fall = _pick(fall_F, seen_F, pose_rate_hz, _MIN_DECELERATION)
  candidates_s = np.sort(np.concatenate([dip.beats_s, fall.beats_s]))
  if not len(candidates_s):
    return KinematicBeats(candidates_s, np.zeros(len(seen_F)))
  sharpness = _sharpness(fall, pose_rate_hz)
  weight = np.interp(sharpness, (_EASED, _SNAPPED), _WEIGHTS)
  strong_dip = max(float(np.quantile(dips_F, 0.95)), _MIN_DIP)
  strong_fall = max(float(np.quantile(fall_F, 0.95)), _MIN_DECELERATION)
  activation_F = dips_F / strong_dip + weight * fall_F / strong_fall
  beats_s = _pick(activation_F, seen_F, pose_rate_hz, 0.0).beats_s
  near = _distance(beats_s, candidates_s) <= _SUPPORT_S
  return KinematicBeats(beats_s[near], activation_F)


def _distance(from_s: np.ndarray, to_s: np.ndarray) -> np.ndarray:
  """Return the distance of each time to the nearest of `to_s`, sorted."""
  above = np.searchsorted(to_s, from_s)
  low_s = to_s[np.maximum(above - 1, 0)]
  high_s = to_s[np.minimum(above, len(to_s) - 1)]
  return np.minimum(np.abs(from_s - low_s), np.abs(high_s - from_s))


def _check_positive(name: str, value: float, what: str) -> None:
  if not value > 0:
    raise InputError(f'{name} is {value}; expected a {what}, above 0')


def alignment(
  motion_beats_s: np.ndarray,
  sound_beats_s: np.ndarray,
  sigma_s: float = 0.05,
) -> Alignment:
  """Score how near beats of motion and sound are, in both directions.

  motion_to_sound averages exp(-d^2 / (2 sigma^2)) over motion beats, with d
  the distance to the nearest sound beat (AIST++, 2101.08779); sound_to_motion
  over sound beats (Bailando, 2203.13055). Each alone is fooled: clicks every
  93 ms get motion_to_sound 0.87 with any dance, one lone click on a motion
  beat gets sound_to_motion 1. The harmonic mean punishes both, but does not
  remove density: such clicks get 0.39 with a dance at 120 bpm, an unrelated
  metronome of 120 bpm gets 0.25. So report the gap to `alignment_chance`,
  which is 0 for always-on clicks. Sigma is 3 frames at 60 Hz, as published.

  Returns:
    0 to 1, higher is better. All NaN without motion beats: the dance asks
    nothing. All 0 without sound beats: silence follows no dance, and must not
    drop out of a mean.
  """
  _check_positive('sigma_s', sigma_s, 'width, for example 0.05')
  motion_s, sound_s = np.sort(motion_beats_s), np.sort(sound_beats_s)
  if not len(motion_s):
    return Alignment(np.nan, np.nan, np.nan)
  if not len(sound_s):
    return Alignment(0.0, 0.0, 0.0)
  distances = _distance(motion_s, sound_s), _distance(sound_s, motion_s)
  forward, back = (
    float(np.exp(-0.5 * (distance_s / sigma_s) ** 2).mean())
    for distance_s in distances
  )
  total = forward + back
  return Alignment(forward, back, 2 * forward * back / total if total else 0.0)


def alignment_chance(
  motion_beats_s: np.ndarray,
  sound_beats_s: np.ndarray,
  duration_s: float,
  sigma_s: float = 0.05,
) -> Alignment:
  """Return the mean `alignment` over circular shifts of the sound.

  Both keep their density and rhythm; only the phase is lost. `alignment` less
  this is above 0 if the sound follows the dance, and 0 in the mean if not.
  Regular beats far more than sigma apart are found with sqrt(2 pi) sigma
  times their rate. Beats are within 0 to duration_s, where the sound begins
  again; the shifts are spaced evenly over it, so that no seed is needed, and
  by at most sigma: wider, all may find the same phase of regular beats.
  """
  _check_positive('duration_s', duration_s, 'length of the clip')
  _check_positive('sigma_s', sigma_s, 'width, for example 0.05')
  sound_s = np.asarray(sound_beats_s, np.float64)
  num_shifts = max(100, int(duration_s / sigma_s))
  shifts_s = (np.arange(num_shifts) + 0.5) / num_shifts * duration_s
  scores = [
    alignment(motion_beats_s, (sound_s + shift_s) % duration_s, sigma_s)
    for shift_s in shifts_s
  ]
  return Alignment(*(float(v) for v in np.mean(scores, axis=0)))


def retrieval_rank(score_NN: np.ndarray) -> Retrieval:
  """Rank the right motion among N for each sound.

  Args:
    score_NN: [sound, motion], higher is better; the diagonal is right. NaN
      counts as the worst; a sound whose own motion has NaN has no rank.

  Returns:
    ranks_N from 1 (best), equal scores sharing their mean rank; the share of
    first places and the mean of 1 / rank, higher is better, as expected if
    ties are broken at random: a constant matrix gets chance, which is 1 / N
    and (1 + 1/2 + ... + 1/N) / N beside a mean rank of (N + 1) / 2.

  Raises:
    InputError: the matrix is not square or is empty.
  """
  score_NN = np.asarray(score_NN, np.float64)
  num = len(score_NN)
  if not num or score_NN.shape != (num, num):
    raise InputError(
      f'scores have shape {score_NN.shape}; expected (N, N), a row for each '
      'sound and a column for each motion; score every sound with every motion'
    )
  own_N1 = np.diag(score_NN)[:, None]
  score_NN = np.where(np.isnan(score_NN), -np.inf, score_NN)
  above_N = (score_NN > own_N1).sum(axis=1)
  level_N = (score_NN == own_N1).sum(axis=1)
  ranked = np.flatnonzero(~np.isnan(own_N1[:, 0]))
  ranks_N = np.full(num, np.nan)
  ranks_N[ranked] = above_N[ranked] + (level_N[ranked] + 1) / 2
  if not len(ranked):
    return Retrieval(ranks_N, np.nan, np.nan)
  first = np.where(above_N[ranked] == 0, 1 / level_N[ranked], 0.0)
  reciprocal = [
    np.mean(1 / (above_N[i] + np.arange(1, level_N[i] + 1))) for i in ranked
  ]
  return Retrieval(ranks_N, float(first.mean()), float(np.mean(reciprocal)))
