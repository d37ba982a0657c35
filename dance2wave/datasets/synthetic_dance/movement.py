"""How a dancer moves: from a plan to joints in space.

    choreography ── key poses ── progress between them ──┐
                                                          ├─ angles ─ body ─> joints
    beats ── accents: a sink that is fast down, slow up ──┘

Key poses may fall on the beat, between beats or on every second beat. What
settles the beat is the accent: some part of the body drops and stops on every
beat, equally deep on each; whoever also drops between beats drops clearly less
there. Ambiguous dancers have no such accent.
"""  # noqa: E501

import dataclasses

import numpy as np
import scipy.ndimage

from dance2wave.datasets.synthetic_dance import body, choreography
from dance2wave.datasets.synthetic_dance.body import ARMS, CHANNEL
from dance2wave.datasets.synthetic_dance.plan import BEATS_PER_BAR, Plan

RATE_HZ = 120.0
KINDS = ('eased', 'snap', 'linear', 'bounce')
PACES = ('on_beat', 'off_beat', 'half_time')
CUES = ('hips', 'head', 'shoulders', 'arms', 'chest')

# Channels that keep to their place where a cue is, so that it is seen there.
_CALM = {
  'hips': ('sink',),
  'head': ('nod', 'lean'),
  'shoulders': ('shrug', 'slope'),
  'arms': ('right_raise', 'left_raise'),
  'chest': ('lean', 'nod'),
}
_DOUBLE_BOUNCE_BELOW_BPM = 115.0
SMOOTH_S = 0.016  # muscles do not jerk


@dataclasses.dataclass(frozen=True)
class Dance:
  """A dance in space: time_s (N,), uniform, and pose3d_NJ3 (N, 14, 3).

  Metres; x to the left of a dancer who faces z, y up from the ground.
  """

  time_s: np.ndarray
  pose3d_NJ3: np.ndarray


@dataclasses.dataclass(frozen=True)
class Manner:
  """How this dancer moves in this clip.

  Attributes:
    kind: of movement between key poses, one of KINDS.
    pace: beats from key pose to key pose, offset: of the first from a beat.
    ease: exponent or duration of the movement, in (0, 1) towards its kind.
    cues: places from CUES with their depths, 1 = plain.
    fall: share of the time between two accents that goes down.
    fall_power: 2 is free fall; 0 means an eased landing.
    half_depth: depth of the accents between beats; 0 for none.
    jitter_s: standard deviation of human timing.
    arm_lag: grid steps by which the arms trail the trunk.
  """

  kind: str
  pace: int
  offset: float
  ease: float
  cues: tuple[tuple[str, float], ...]
  fall: float
  fall_power: float
  half_depth: float
  jitter_s: float
  arm_lag: int


def draw_manner(plan: Plan) -> Manner:
  """Draw the manner of a clip."""
  rng = plan.rng(100)
  kind = str(rng.choice(KINDS, p=[0.3, 0.25, 0.2, 0.25]))
  pace = str(rng.choice(PACES, p=[0.55, 0.22, 0.23]))
  places = rng.choice(
    CUES, size=2, replace=False, p=[0.44, 0.16, 0.16, 0.12, 0.12]
  )
  if kind == 'bounce':
    places = ['hips', *(str(place) for place in places if place != 'hips')]
  cues = [(str(places[0]), rng.uniform(0.85, 1.3))]
  if rng.uniform() < 0.6:
    cues.append((str(places[1]), rng.uniform(0.3, 0.7)))
  is_double = plan.tempo_bpm < _DOUBLE_BOUNCE_BELOW_BPM and rng.uniform() < 0.3
  return Manner(
    kind=kind,
    pace=2 if pace == 'half_time' else 1,
    offset=0.5 if pace == 'off_beat' else 0.0,
    ease=rng.uniform(),
    cues=tuple(cues),
    fall=rng.uniform(0.3, 0.42),
    fall_power=rng.uniform(1.5, 2.3) * (rng.uniform() < 0.75),
    half_depth=rng.uniform(0.2, 0.42) * is_double,
    jitter_s=rng.uniform(0.003, 0.0075),
    arm_lag=int(rng.integers(4)),
  )


def _jitter(rng: np.random.Generator, manner: Manner, num: int) -> np.ndarray:
  return manner.jitter_s * np.clip(rng.normal(size=num), -2.5, 2.5)


def _gain(plan: Plan, beat: np.ndarray, least: float) -> np.ndarray:
  """Scale with the planned size from `least`, never zero, to one."""
  size = np.interp(beat, np.arange(len(plan.size_K)), plan.size_K)
  return least + (1.0 - least) * size


def _counts(plan: Plan, manner: Manner):
  """Return which beats (fractions allowed) carry a key pose, and the counts."""
  beat_K = np.arange(len(plan.beats_s))
  first = plan.first_downbeat % BEATS_PER_BAR
  start = int(plan.rng(101).integers(2)) if manner.pace == 2 else 0
  chosen = beat_K[(beat_K - first - start) % manner.pace == 0]
  return chosen + manner.offset, (chosen - first) // manner.pace


def _stumble(rng: np.random.Generator, num: int):
  """Return counts to hold, as a mask, and delays as shares of a count."""
  held, late = np.zeros(num, bool), np.zeros(num)
  if rng.uniform() < 0.4:
    start, length = rng.integers(num), rng.integers(1, 4)
    held[start + 1 : start + 1 + length] = True
  if rng.uniform() < 0.3:
    for index in rng.integers(num, size=rng.integers(1, 3)):
      if rng.uniform() < 0.5:
        late[index] = rng.uniform(0.15, 0.35)
      else:
        held[index] = True
  return held, late


def _score(plan: Plan, manner: Manner):
  """Return the key poses of the clip and their times."""
  beat_M, count_M = _counts(plan, manner)
  held_M, late_M = _stumble(plan.rng(102), len(beat_M))
  gain_M = _gain(plan, beat_M, 0.15)
  if manner.kind == 'bounce':
    gain_M = 0.65 * gain_M
  # Whoever holds a pose stays in the last count that was not held.
  kept = np.maximum.accumulate(np.where(held_M, 0, np.arange(len(held_M))))
  phrases = choreography.draw_phrases(plan.choreography, plan.style)
  score = choreography.unroll(phrases, count_M[kept], gain_M)
  still = np.where(held_M[:, None], 0.0, score.lift_M2)
  foothold = score.foothold_M22[kept]
  score = dataclasses.replace(score, lift_M2=still, foothold_M22=foothold)
  late_M = late_M * manner.pace
  key_s = np.interp(beat_M + late_M, np.arange(len(plan.beats_s)), plan.beats_s)
  key_s += _jitter(plan.rng(103), manner, len(key_s))
  return score, key_s


def _progress(manner: Manner, u_N: np.ndarray) -> np.ndarray:
  """Map the share of time between two key poses to the share of the way."""
  if manner.kind == 'linear':
    return u_N
  if manner.kind == 'snap':
    return u_N ** (1.7 + 0.9 * manner.ease)
  duration = 0.6 + 0.4 * manner.ease
  return body.eased((u_N - 1.0 + duration) / duration)


def smooth(value: np.ndarray, time_s: np.ndarray, sigma_s: float):
  """Smooth values (N, ...) at uniform times by a Gaussian."""
  sigma = sigma_s / (time_s[1] - time_s[0])
  return scipy.ndimage.gaussian_filter1d(
    value, sigma, axis=0, mode='nearest', truncate=3.0
  )


def _wave(manner: Manner, low_s, depth_K, time_s: np.ndarray) -> np.ndarray:
  """Return (N,): 0 is up and `depth_K` down at `low_s`; fast down, slow up.

  1 .        .        .       low_s
    |\\       |\\      /|
    | `\\    /| `\\   / |       rise 1 - fall, fall `fall` of the time
  0 |   `--' |   `-'  |
  """
  index, u_N, _ = body.between(low_s, time_s)
  up_N = 0.5 + 0.5 * np.cos(np.pi * np.clip(u_N / (1 - manner.fall), 0, 1))
  v_N = np.clip((u_N - 1 + manner.fall) / manner.fall, 0, 1)
  down_N = v_N**manner.fall_power if manner.fall_power else body.eased(v_N)
  is_rising = u_N < 1 - manner.fall
  return np.where(is_rising, depth_K[index] * up_N, depth_K[index + 1] * down_N)


def _lag_s(manner: Manner, gap_s: float) -> float:
  """Return how much later smoothing puts the lowest moment of a wave.

  It takes more of a fast fall than of the slow rise that follows.
  """
  time_s = np.arange(-100, 101) * 1e-3
  low_s = gap_s * np.arange(-1.0, 2.0)
  wave = _wave(manner, low_s, np.ones(3), time_s)
  return float(time_s[np.argmax(smooth(wave, time_s, SMOOTH_S))])


def _accent(plan: Plan, manner: Manner, time_s: np.ndarray) -> np.ndarray:
  """Return (N,): a wave that is lowest on every beat once it is smooth."""
  beat_K = np.arange(len(plan.beats_s), dtype=float)
  rng, depth_K = plan.rng(104), np.ones(len(beat_K))
  depth_K *= np.clip(rng.normal(1.0, 0.06, len(beat_K)), 0.85, 1.15)
  depth_K *= _gain(plan, beat_K, 0.5)
  low_s = plan.beats_s + _jitter(rng, manner, len(beat_K))
  if manner.half_depth:
    middle_s = 0.5 * (low_s[1:] + low_s[:-1])
    between = manner.half_depth * 0.5 * (depth_K[1:] + depth_K[:-1])
    order = np.argsort(np.concatenate([low_s, middle_s]))
    low_s = np.concatenate([low_s, middle_s])[order]
    depth_K = np.concatenate([depth_K, between])[order]
  lag_s = _lag_s(manner, float(np.median(np.diff(low_s))))
  return _wave(manner, low_s - lag_s, depth_K, time_s)


def _hip_depth_m(plan: Plan, manner: Manner) -> float:
  """Limit the bounce to what free fall allows at this tempo."""
  fall_s = manner.fall * 60.0 / plan.tempo_bpm
  fall_s *= 0.5 if manner.half_depth else 1.0
  wish_m = plan.rng(105).uniform(0.045, 0.075)
  if manner.half_depth:
    wish_m *= 0.85
  return min(wish_m, 0.4 * 9.81 * fall_s**2 + 0.012)


def _accentuate(plan: Plan, manner: Manner, angle_NC, accent_N) -> None:
  """Add the accent to the places of its cues."""
  depths = dict(manner.cues)
  hips_m = _hip_depth_m(plan, manner)
  # Sign and size of the drop in each channel at depth 1.
  drops = {
    'hips': {'sink': hips_m, 'lean': 0.03},
    'head': {'nod': 0.45},
    'shoulders': {'shrug': -0.4},
    'arms': {'right_raise': -0.4, 'left_raise': -0.4, 'sink': 0.3 * hips_m},
    'chest': {'lean': 0.2, 'sink': 0.35 * hips_m, 'nod': 0.1},
  }
  if 'shoulders' in depths:
    angle_NC[:, CHANNEL['shrug']] += 0.1
  for place, depth in depths.items():
    for name, drop in drops[place].items():
      angle_NC[:, CHANNEL[name]] += depth * drop * accent_N


def _accentuate_nothing(plan: Plan, manner: Manner, angle_NC, key_s, time_s):
  """Add a symmetric bounce that says nothing about the beat."""
  _, u_N, _ = body.between(key_s, time_s)
  side = plan.rng(106).choice([-1.0, 1.0])
  wave_N = 0.5 + 0.5 * side * np.cos(2 * np.pi * u_N)
  angle_NC[:, CHANNEL['sink']] += 0.5 * _hip_depth_m(plan, manner) * wave_N


def _manner_of(plan: Plan) -> Manner:
  """Draw the manner; an ambiguous one has no direction of time."""
  manner = draw_manner(plan)
  if not plan.is_ambiguous:
    return manner
  rng = plan.rng(107)
  return dataclasses.replace(
    manner,
    kind=str(rng.choice(['eased', 'linear'])),
    ease=1.0,
    pace=int(rng.integers(1, 3)),
    offset=float(rng.choice([0.0, 0.5])),
    cues=(),
    arm_lag=0,
  )


def _sway(rng: np.random.Generator, time_s, num_channels: int) -> np.ndarray:
  """Return (N, C) slow wandering of about 1, as no human stands still."""
  rate_hz = rng.uniform(0.1, 0.7, (3, 1, num_channels))
  phase = rng.uniform(0, 2 * np.pi, (3, 1, num_channels))
  wave = np.sin(2 * np.pi * rate_hz * time_s[:, None] + phase)
  return wave.sum(axis=0) * 0.8


def _calmed(manner: Manner, key_MC: np.ndarray) -> np.ndarray:
  """Return key poses that leave room for the cues.

  Arms also stay where a drop can be seen, neither hanging nor upright.
  """
  key_MC = key_MC.copy()
  for place, _ in manner.cues:
    for name in _CALM[place]:
      value_M = key_MC[:, CHANNEL[name]]
      centre = value_M.mean()
      value_M[:] = centre + 0.4 * (value_M - centre)
      if place == 'arms':
        value_M[:] += np.clip(centre, 1.0, 2.1) - centre
  return key_MC


def _angles(plan: Plan, manner: Manner, score, key_s, time_s) -> np.ndarray:
  """Return the postures (N, C)."""
  index, u_N, _ = body.between(key_s, time_s)
  share = _progress(manner, u_N)[:, None]
  key_MC = _calmed(manner, score.angle_MC)
  angle_NC = key_MC[index] * (1 - share) + key_MC[index + 1] * share
  if manner.arm_lag:
    arms = angle_NC[:, ARMS]
    arms[manner.arm_lag :] = arms[: -manner.arm_lag].copy()
  wander = np.full(angle_NC.shape[1], 0.015)
  wander[: CHANNEL['turn']] = 0.004
  angle_NC += wander * _sway(plan.rng(108), time_s, angle_NC.shape[1])
  if plan.is_ambiguous:
    _accentuate_nothing(plan, manner, angle_NC, key_s, time_s)
  else:
    _accentuate(plan, manner, angle_NC, _accent(plan, manner, time_s))
  return smooth(angle_NC, time_s, SMOOTH_S)


def dance(plan: Plan) -> Dance:
  """Dance a plan: a pure function of it."""
  num = round(plan.duration_s * RATE_HZ) + 1
  time_s = np.linspace(0.0, plan.duration_s, num)
  manner, dancer = _manner_of(plan), body.draw_body(plan.rng(109))
  score, key_s = _score(plan, manner)
  ankle_N23, weight_N2 = body.step(dancer, score, key_s, time_s)
  angle_NC = _angles(plan, manner, score, key_s, time_s)
  return Dance(time_s, body.articulate(dancer, angle_NC, weight_N2, ankle_N23))
