"""Find the beats of a synthetic dancer from its film alone.

    pose, times ──> vertical movement of body parts, 40 Hz ──> spectra along
    warped time ──> best tempo, phase and shape of a repeated drop ──> beats

The oracle knows how the dancers are made (some part of the body drops on every
beat, fast down and slow up, equally deep on each beat, clearly less between
beats, 70 to 170 bpm, slow drift) but sees only noisy landmarks. It shows that
phase and octave are settled by what is visible; it is no part of any model.

For a beat phase p(t), a part's movement is a sum of harmonics exp(2 pi i h p)
plus noise whose spectrum the clip itself gives. The gain in log likelihood of
the best template over none, summed over parts, is the score of p.
"""

import functools

import numpy as np

from dance2wave.datasets.synthetic_dance.movement import SMOOTH_S
from dance2wave.datasets.synthetic_dance.plan import (
  MAX_TEMPO_BPM,
  MIN_TEMPO_BPM,
)

RATE_HZ = 40.0
_MIN_CONFIDENCE = 0.2
_HARMONICS = np.arange(1, 8)
_TOP_HZ = 9.0  # nothing above is movement
_STEP = 0.14  # grid of tempi, in cycles per clip
_DRIFTS = np.array([-0.04, -0.02, 0.0, 0.02, 0.04])
_PHASES = 48
_BEND = 0.06
_JUMP = 0.3  # in trunk lengths
_CANDIDATES = 8
_HOPELESS = 0.3  # gain of a candidate relative to the best
_PARTS = {
  'nose': (0,),
  'neck': (1,),
  'shoulders': (2, 5),
  'elbows': (3, 6),
  'wrists': (4, 7),
  'hips': (8, 11),
  'knees': (9, 12),
}


def _filled(value_FJ: np.ndarray, known_FJ, time_s, grid_s) -> np.ndarray:
  """Interpolate each joint over what is known and does not jump."""
  neck, hip = (value_FJ[known_FJ[:, j], j] for j in (1, 8))
  size = abs(np.median(hip) - np.median(neck)) if len(neck) * len(hip) else 1.0
  result = np.zeros((len(grid_s), value_FJ.shape[1]))
  for j in range(value_FJ.shape[1]):
    known = np.flatnonzero(known_FJ[:, j])
    if len(known) < 3:
      continue
    value, seen_s = value_FJ[known, j], time_s[known]
    middle = np.median([value[:-2], value[1:-1], value[2:]], axis=0)
    middle = np.concatenate([value[:1], middle, value[-1:]])
    # Only jumps: a median would blunt the drops and shift them.
    value = np.where(np.abs(value - middle) > _JUMP * size, middle, value)
    result[:, j] = np.interp(grid_s, seen_s, value)
  return result


def _movements(pose_FJD: np.ndarray, time_s: np.ndarray):
  """Return (N, P) heights of parts, down is positive, and the grid (N,)."""
  grid_s = np.arange(time_s[0], time_s[-1], 1.0 / RATE_HZ)
  known_FJ = pose_FJD[..., 2] > _MIN_CONFIDENCE
  y = _filled(pose_FJD[..., 1].astype(float), known_FJ, time_s, grid_s)
  part = {name: y[:, js].mean(axis=1) for name, js in _PARTS.items()}
  trunk = max(np.median(part['hips'] - part['neck']), 1e-3)
  columns = (
    part['hips'],
    part['neck'],
    part['neck'] - part['hips'],
    part['shoulders'] - part['neck'],
    part['nose'] - part['neck'],
    part['wrists'] - part['shoulders'],
    part['elbows'] - part['shoulders'],
    part['knees'],
  )
  value_NP = np.stack(columns, axis=1) / trunk
  x = np.linspace(-1, 1, len(grid_s))
  slow = np.polynomial.legendre.legvander(x, 2)
  return value_NP - slow @ np.linalg.lstsq(slow, value_NP, rcond=None)[
    0
  ], grid_s


@functools.cache
def _templates():
  """Return harmonics of drops (T, H), whether they also drop between, and lags.

  The lag (T,) is how many seconds later than in the template the lowest moment
  is in a body, which smooths it; at 120 beats a minute.
  """
  phase = np.arange(1024) / 1024
  waves, doubles = [], []
  for fall in (0.32, 0.4):
    for power in (0.0, 1.9):
      for half in (0.0, 0.22, 0.38):
        u = 2 * phase % 1 if half else phase
        up = 0.5 + 0.5 * np.cos(np.pi * np.clip(u / (1 - fall), 0, 1))
        v = np.clip((u - 1 + fall) / fall, 0, 1)
        down = v**power if power else v**3 * (10 - 15 * v + 6 * v * v)
        rising = u < 1 - fall
        first_half = phase < 0.5
        before = np.where(first_half, 1.0, half) if half else 1.0
        after = np.where(first_half, half, 1.0) if half else 1.0
        waves.append(np.where(rising, before * up, after * down))
        doubles.append(half > 0)
  spectra = np.fft.fft(np.array(waves), axis=1) / len(phase)
  hz = 2.0 * np.fft.fftfreq(len(phase), 1 / len(phase))
  smooth = np.fft.ifft(spectra * np.exp(-2 * (np.pi * hz * SMOOTH_S) ** 2))
  lowest = phase[smooth.real.argmax(axis=1)]
  lag_s = (lowest - np.round(lowest)) / 2.0
  return spectra[:, _HARMONICS], np.array(doubles), lag_s


def _noise(value_NP: np.ndarray):
  """Return frequencies and the power (B, P) that surrounds each of them."""
  hz = np.fft.rfftfreq(len(value_NP), 1 / RATE_HZ)
  power = np.abs(np.fft.rfft(value_NP, axis=0)) ** 2
  reach = max(int(0.9 / hz[1]), 3)
  padded = np.pad(power, ((reach, reach), (0, 0)), mode='reflect')
  windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1, 0)
  power = np.median(windows, axis=-1) / np.log(2)
  return hz, power + 1e-4 * power.max(axis=0) + 1e-9


class _Film:
  """What is seen of one clip, ready to score beat phases."""

  def __init__(self, pose_FJD: np.ndarray, time_s: np.ndarray):
    self.value_NP, self.grid_s = _movements(pose_FJD, time_s)
    self.duration_s = self.grid_s[-1] - self.grid_s[0]
    self._hz, noise_BP = _noise(self.value_NP)
    keep_B1 = (self._hz < _TOP_HZ)[:, None]
    self._gain_BP = np.where(keep_B1, 1.0 / np.sqrt(noise_BP), 0.0)
    spectrum = np.fft.rfft(self.value_NP, axis=0) * self._gain_BP
    self._white_NP = np.fft.irfft(spectrum, len(self.value_NP), axis=0)

  def _harmonics(self, phase_QN: np.ndarray, hz_Q: np.ndarray):
    """Return harmonics of paths in white noise and their gains, (Q, H, P)."""
    turn_QN = np.exp(-2j * np.pi * phase_QN)
    power_QN, columns = np.ones_like(turn_QN), []
    for _ in _HARMONICS:
      power_QN = power_QN * turn_QN
      columns.append(power_QN @ self._white_NP)
    index = np.rint(hz_Q[:, None] * _HARMONICS / self._hz[1])
    index = np.clip(index, 0, len(self._hz) - 1).astype(int)
    return np.stack(columns, axis=1), self._gain_BP[index]

  def score(self, phase_QN: np.ndarray, hz_Q: np.ndarray):
    """Return the best gain of each path (Q,) and the phase to add to it."""
    seen_QHP, pass_QHP = self._harmonics(phase_QN, hz_Q)
    template_TH, is_double_T, lag_s_T = _templates()
    offset_O = np.arange(_PHASES) / _PHASES
    turned_OH = np.exp(-2j * np.pi * np.outer(offset_O, _HARMONICS))
    known_TOH = np.conj(template_TH)[:, None] * turned_OH
    known_XH = known_TOH.reshape(-1, len(_HARMONICS))
    seen_HQP = np.moveaxis(seen_QHP * pass_QHP, 1, 0)
    # One real product of single precision: the bulk of the work.
    left = np.concatenate([known_XH.real, -known_XH.imag], axis=1)
    right = np.concatenate([seen_HQP.real, seen_HQP.imag], axis=0)
    right = right.reshape(2 * len(_HARMONICS), -1).astype(np.float32)
    drop = (left.astype(np.float32) @ right).reshape(
      len(template_TH), _PHASES, len(hz_Q), -1
    )
    size_QTP = (np.abs(template_TH) ** 2) @ pass_QHP**2 + 1e-12
    weight_TQP = (1.0 / np.moveaxis(size_QTP, 1, 0)).astype(np.float32)
    drop = np.maximum(drop, 0, out=drop)
    gain_QTO = np.einsum('toqp,toqp,tqp->qto', drop, drop, weight_TQP)
    slow_Q = hz_Q < 116 / 60
    gain_QTO -= np.where(is_double_T & ~slow_Q[:, None], 1e9, 0.0)[..., None]
    gain_QX = gain_QTO.reshape(len(hz_Q), -1)
    best = gain_QX.argmax(axis=1)
    template, offset = np.divmod(best, _PHASES)
    phase = offset_O[offset] - hz_Q * lag_s_T[template]
    return gain_QX[np.arange(len(best)), best], phase


def _paths(film: _Film):
  """Return phases (Q, N) of steady and of drifting tempi, and their Hz."""
  low, high = MIN_TEMPO_BPM / 60, MAX_TEMPO_BPM / 60
  num = int((high - low) * film.duration_s / _STEP) + 2
  hz_Q = np.repeat(np.linspace(low, high, num), len(_DRIFTS))
  drift_Q1 = np.tile(_DRIFTS, num)[:, None]
  x = (film.grid_s - film.grid_s[0]) / film.duration_s - 0.5
  shape = x + 0.5 * drift_Q1 * (x**2 - 0.25)
  return hz_Q[:, None] * film.duration_s * shape, hz_Q


def _refined(film: _Film, phase_N: np.ndarray):
  """Climb from a path to the best smooth one nearby; returns gain, phase.

  Nearby: a bend costs as much as it is unlikely, Gaussian with _BEND beats.
  """
  x = np.linspace(-1, 1, len(phase_N))
  basis = np.polynomial.legendre.legvander(x, 5)[:, 1:].T
  moves = np.concatenate([np.zeros((1, 5)), np.eye(5), -np.eye(5)])
  bend, step, offset = np.zeros(5), 0.12, 0.0
  while step > 0.012:
    tried = bend + step * moves
    paths = phase_N + tried @ basis
    hz = (paths[:, -1] - paths[:, 0]) / film.duration_s
    gain, offsets = film.score(paths, hz)
    gain = gain - 0.5 * ((tried[:, 1:] / _BEND) ** 2).sum(axis=1)
    top = int(gain.argmax())
    bend, best, offset = tried[top], gain[top], offsets[top]
    if top == 0:
      step *= 0.5
  return best, phase_N + bend @ basis + offset


def find_beats(pose_FJD: np.ndarray, pose_time_s: np.ndarray) -> np.ndarray:
  """Return the beats of a filmed dance in seconds, ascending.

  Args:
    pose_FJD: (F, 14, 3) core14; x, y (down) and confidence.
    pose_time_s: (F,) ascending.
  """
  film = _Film(pose_FJD, pose_time_s)
  phase_QN, hz_Q = _paths(film)
  gain_Q, _ = film.score(phase_QN, hz_Q)
  tops = np.argsort(-gain_Q)
  chosen: list[int] = []
  for q in tops:
    if gain_Q[q] < _HOPELESS * gain_Q[tops[0]]:
      break
    if all(abs(hz_Q[q] - hz_Q[c]) > 0.06 for c in chosen):
      chosen.append(int(q))
    if len(chosen) == _CANDIDATES:
      break
  _, phase_N = max(
    (_refined(film, phase_QN[q]) for q in chosen), key=lambda r: r[0]
  )
  return _whole(phase_N, film.grid_s, float(pose_time_s[-1]))


def _whole(phase_N, grid_s, end_s: float) -> np.ndarray:
  """Return the times up to the last frame where the phase is whole."""
  first, last = np.ceil(phase_N[0]), np.floor(phase_N[-1] + 0.2)
  beats_s = np.interp(np.arange(first, last + 1), phase_N, grid_s)
  return beats_s[beats_s <= end_s]
