"""Natural dancers: what real ones do with a beat, and everything else.

    plan ── manner, sections ──> events of six layers─┐
                                                      ├─ angles ─ body ─> joints
    walking, turning, swaying, fidgeting ─────────────┘

Nothing here is always so. Bounces are lowest, steps land and gestures stop
near the beat, early or late by a dancer's habit and a little at random, on
every beat, every second or between beats, harder on some than on others; and
then the dancer holds, turns, walks off or moves to no beat at all.
"""

import numpy as np
import scipy.ndimage

from dance2wave.datasets.synthetic_dance import (
  body,
  choreography,
  natural_feet,
  natural_manner,
)
from dance2wave.datasets.synthetic_dance.body import CHANNEL, CHANNELS
from dance2wave.datasets.synthetic_dance.movement import (
  RATE_HZ,
  SMOOTH_S,
  Dance,
)
from dance2wave.datasets.synthetic_dance.natural_manner import (
  FREE,
  GAINS,
  Layer,
  Manner,
  Section,
)
from dance2wave.datasets.synthetic_dance.plan import Plan

_MAX_SWAY_M, _MAX_SINK_M = 0.12, 0.38
_BLEND_S = 0.2  # from section to section
_PARTS = {
  'trunk': slice(CHANNEL['sway_x'], CHANNEL['nod']),
  'head': slice(CHANNEL['nod'], CHANNEL['right_raise']),
  'right_arm': slice(CHANNEL['right_raise'], CHANNEL['left_raise']),
  'left_arm': slice(CHANNEL['left_raise'], len(CHANNELS)),
}
# Every part has random numbers of its own.
_PURPOSES = {'head': 4, 'trunk': 5, 'left_arm': 8, 'right_arm': 9}
# Movement between two ends, up to so much: one that comes back on each event
# is lowest there, one that alternates is at an end there.
_BUMPS = {
  'trunk': {'lean': 0.2, 'shrug': -0.25, 'nod': 0.15},
  'head': {'nod': 0.4},
  'right_arm': {'right_raise': -0.5, 'right_elbow': 0.5},
  'left_arm': {'left_raise': -0.5, 'left_elbow': 0.5},
}
_SWINGS = {
  'trunk': {'twist': 0.4, 'sway_x': 0.09, 'tilt': 0.2, 'slope': 0.25},
  'head': {'head_turn': 0.4, 'head_tilt': 0.25},
  'right_arm': {'right_raise': 0.5, 'right_forward': 0.7, 'right_elbow': 0.6},
  'left_arm': {'left_raise': 0.5, 'left_forward': 0.7, 'left_elbow': 0.6},
}
# How far the channels wander by themselves.
_WANDER = np.array(
  [
    *(0.02, 0.012, 0.012, 0.07, 0.05, 0.05, 0.08, 0.05, 0.04),
    *(0.07, 0.06, 0.12),
    *(0.22, 0.22, 0.22, 0.15, 0.22, 0.22, 0.22, 0.15),
  ]
)


def _way(layer: Layer, until_N: np.ndarray, gap_N: np.ndarray) -> np.ndarray:
  """Return the share (N,) of the way to the next event.

  Args:
    layer: whose profile it is.
    until_N: seconds to the next event.
    gap_N: seconds between the last event and the next.
  """
  if layer.profile == 'swing':
    return 0.5 + 0.5 * np.cos(np.pi * until_N / gap_N)
  move_N = np.minimum(layer.move_s, gap_N)
  if layer.profile == 'late':
    return body.eased((gap_N - until_N) / move_N)
  share_N = np.clip(1 - until_N / move_N, 0, 1)
  return share_N**1.8 if layer.profile == 'hit' else body.eased(share_N)


def _between(layer: Layer, key_s, value_MC, time_s) -> np.ndarray:
  """Move from value to value (M, C), to be there at the keys: (N, C)."""
  index, _, gap_N = body.between(key_s, time_s)
  until_N = np.clip(key_s[index + 1] - time_s, 0, gap_N)
  way_N1 = _way(layer, until_N, gap_N)[:, None]
  return value_MC[index] * (1 - way_N1) + value_MC[index + 1] * way_N1


def _bounce(key_s, depth_M, fall: float, time_s: np.ndarray) -> np.ndarray:
  """Return (N,): `depth_M` on the events, 0 between them; smooth."""
  index, u_N, _ = body.between(key_s, time_s)
  turn_N = np.where(
    u_N < 1 - fall, 0.5 * u_N / (1 - fall), 1 - 0.5 * (1 - u_N) / fall
  )
  near_N = np.where(turn_N < 0.5, depth_M[index], depth_M[index + 1])
  return near_N * (0.5 + 0.5 * np.cos(2 * np.pi * turn_N))


def _poses(plan: Plan, name: str, size: float, num: int) -> np.ndarray:
  """Return (num, C) poses of a part: a loop out of the choreography."""
  rng = plan.rng(220 + _PURPOSES[name])
  phrases = choreography.draw_phrases(plan.choreography, plan.style)
  pose_PC = phrases[rng.integers(len(phrases))].angle_PC[:, _PARTS[name]]
  mean = pose_PC.mean(axis=0)
  size = min(size * rng.uniform(0.2, 1.3), 1.7)
  loop = mean + size * (pose_PC - mean)
  length = int(rng.choice([2, 4, len(loop)]))
  return np.resize(loop[:length], (num, loop.shape[1]))


def _oscillations(rng: np.random.Generator, name: str, size: float):
  """Return what comes back and what alternates, (C,) each."""
  bump, swing = np.zeros(len(CHANNELS)), np.zeros(len(CHANNELS))
  for target, table in ((bump, _BUMPS), (swing, _SWINGS)):
    for channel, most in table[name].items():
      if rng.uniform() < 0.35:
        most *= size * rng.choice([1.0, -1.0], p=[0.8, 0.2])
        target[CHANNEL[channel]] = most * rng.uniform(0.15, 1.0)
  return bump, swing


def _dance_part(plan: Plan, manner: Manner, name: str, sections, time_s):
  """Return the angles (N, C) of a part that moves to the beat."""
  layer, rng = manner.layers[name], plan.rng(240 + _PURPOSES[name])
  key_s, size_M = natural_manner.draw_events(plan, manner, name, sections)
  angle_NC = np.zeros((len(time_s), len(CHANNELS)))
  pose_MC = _poses(plan, name, manner.size, len(key_s))
  # Whoever is not called upon stays; a soft count hardly moves on.
  for m in range(1, len(key_s)):
    share = min(1.0, 0.3 + size_M[m]) * (size_M[m] > 0)
    pose_MC[m] = pose_MC[m - 1] + share * (pose_MC[m] - pose_MC[m - 1])
  angle_NC[:, _PARTS[name]] = _between(layer, key_s, pose_MC, time_s)
  bump, swing = _oscillations(rng, name, manner.size)
  size_M = np.minimum(size_M, 1.8)
  angle_NC += bump * _bounce(key_s, size_M, manner.fall, time_s)[:, None]
  sign_M = np.where(np.arange(len(key_s)) % 2, 1.0, -1.0) * size_M
  angle_NC += swing * _between(layer, key_s, sign_M[:, None], time_s)
  return angle_NC


def _wander(plan: Plan, manner: Manner, gain_N, time_s) -> np.ndarray:
  """Return angles (N, C) of movement that knows no beat.

  Slow waves always, quicker ones where the dancer moves freely; now and then
  one with a pulse of its own.
  """
  rng, num = plan.rng(204), len(CHANNELS)
  angle_NC = np.zeros((len(time_s), num))
  for low_hz, high_hz, size in ((0.06, 0.4, 0.6), (0.3, 1.6, 0.35)):
    hz = rng.uniform(low_hz, high_hz, (2, num))
    phase = rng.uniform(0, 2 * np.pi, (2, num))
    for row_hz, row in zip(hz, phase):
      wave = np.sin(2 * np.pi * row_hz * time_s[:, None] + row)
      angle_NC += size * wave
  angle_NC *= manner.free * _WANDER * gain_N[:, None]
  if rng.uniform() < 0.2:
    channel = int(rng.integers(num))
    hz = np.exp(rng.uniform(np.log(0.4), np.log(2.5)))
    size = rng.uniform(0.5, 1.5) * _WANDER[channel]
    angle_NC[:, channel] += size * np.sin(2 * np.pi * hz * time_s)
  return angle_NC


def _free_gain(plan: Plan, sections: list[Section], time_s) -> np.ndarray:
  beat_N = np.interp(time_s, plan.beats_s, np.arange(len(plan.beats_s)))
  gain_N = np.zeros(len(time_s))
  for section in sections:
    inside = (beat_N >= section.first) & (beat_N < section.last)
    gain_N[inside] = GAINS[section.kind][FREE]
  return _smoothed(gain_N, _BLEND_S)


def _smoothed(value_NX: np.ndarray, sigma_s: float) -> np.ndarray:
  return scipy.ndimage.gaussian_filter1d(
    value_NX, sigma_s * RATE_HZ, axis=0, mode='nearest', truncate=3.0
  )


def _bounces(plan: Plan, manner: Manner, sections, time_s):
  """Return how far the pelvis sinks and both feet leave the ground (N,)."""
  key_s, size_M = natural_manner.draw_events(plan, manner, 'bounce', sections)
  gap_s = np.minimum(np.diff(key_s, prepend=-9), np.diff(key_s, append=1e3))
  # Nobody falls faster than free; the fall takes about half of the gap.
  most_M = 0.3 * 9.81 * (manner.fall * gap_s) ** 2 + 0.01
  depth_M = np.minimum(manner.bounce_m * size_M, np.minimum(most_M, 0.25))
  sink_N = _bounce(key_s, depth_M, manner.fall, time_s)
  index, u_N, gap_N = body.between(key_s, time_s)
  hop_N = manner.hop_m * np.sin(np.pi * np.clip((u_N - 0.25) / 0.6, 0, 1)) ** 2
  hop_N *= np.minimum(size_M[index], size_M[index + 1]).clip(0, 1)
  return sink_N, hop_N * (gap_N < 1.0)


def _angles(plan: Plan, manner: Manner, sections, path, time_s) -> np.ndarray:
  """Return all angles (N, C) of the trunk, the head and the arms."""
  angle_NC = sum(
    _dance_part(plan, manner, name, sections, time_s) for name in _PARTS
  )
  gain_N = _free_gain(plan, sections, time_s)
  angle_NC += _wander(plan, manner, gain_N, time_s)
  # Nobody's hips go further beside his feet.
  x_N, z_N = np.clip(angle_NC[:, :2], -_MAX_SWAY_M, _MAX_SWAY_M).T
  c_N, s_N = np.cos(path.yaw_N), np.sin(path.yaw_N)
  angle_NC[:, 0], angle_NC[:, 1] = c_N * x_N + s_N * z_N, c_N * z_N - s_N * x_N
  angle_NC[:, CHANNEL['turn']] += path.yaw_N
  return angle_NC


def dance(plan: Plan) -> Dance:
  """Dance a plan as people do: a pure function of it."""
  num = round(plan.duration_s * RATE_HZ) + 1
  time_s = np.linspace(0.0, plan.duration_s, num)
  manner = natural_manner.draw_manner(plan)
  sections = natural_manner.draw_sections(plan)
  dancer = body.draw_body(plan.rng(109))
  path = natural_feet.draw_path(plan, sections, time_s)
  key_s, size_M = natural_manner.draw_events(plan, manner, 'feet', sections)
  ankle_N23, weight_N2 = natural_feet.step(
    plan,
    dancer,
    path,
    key_s,
    size_M * manner.size,
    manner.layers['feet'].move_s,
  )
  angle_NC = _angles(plan, manner, sections, path, time_s)
  sink_N, hop_N = _bounces(plan, manner, sections, time_s)
  sink = CHANNEL['sink']
  sink_N += np.maximum(angle_NC[:, sink] + 0.02, 0.0)
  angle_NC[:, sink] = np.minimum(sink_N, _MAX_SINK_M) - hop_N
  angle_NC = _smoothed(angle_NC, SMOOTH_S)
  ankle_N23[..., 1] += hop_N[:, None]
  return Dance(time_s, body.articulate(dancer, angle_NC, weight_N2, ankle_N23))
