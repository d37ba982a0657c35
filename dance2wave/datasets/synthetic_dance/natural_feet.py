"""Where a natural dancer goes and how he steps.

    sections ──> place and facing over time ──┐
    events of the layer 'feet' ──> landings ──┴──> ankles and weight

A foot lands on an event beside the place where the dancer then is, and stands
until its next one; right and left take turns.
"""

import dataclasses

import numpy as np

from dance2wave.datasets.synthetic_dance.body import Body, between, eased
from dance2wave.datasets.synthetic_dance.natural_manner import Section
from dance2wave.datasets.synthetic_dance.plan import Plan

_STAGE_M = (1.9, 1.1)  # to either side, forwards and backwards
_TOP_SPEED_M = 1.5  # metres per second
_TURN_S = 0.55  # of a whole turn, at least
_REACH = 0.38  # between the feet, in body heights
_HOME_M = 0.1  # of a foot, to its own side
# Places of the feet, in steps to the left, of dances on the spot.
_LOOPS = {
  'place': (0, 0, 0, 0),
  'side': (-1, -1, 1, 1),
  'two_steps': (-1, -2, -1, 0, 1, 2, 1, 0),
  'apart': (-0.8, 0.8, 0, 0),
  'rock': (-0.6, 0, 0, 0.6),
}


@dataclasses.dataclass(frozen=True)
class Path:
  """Where the dancer is: time_s (N,), xz_N2 in metres, yaw_N in radians."""

  time_s: np.ndarray
  xz_N2: np.ndarray
  yaw_N: np.ndarray

  def at(self, when_M: np.ndarray, local_M2: np.ndarray) -> np.ndarray:
    """Return (M, 2) on the stage of places in the dancer's own frame."""
    yaw_M = np.interp(when_M, self.time_s, self.yaw_N)
    c, s = np.cos(yaw_M), np.sin(yaw_M)
    x, z = local_M2.T
    turned = np.stack([c * x + s * z, c * z - s * x], axis=1)
    columns = [np.interp(when_M, self.time_s, c_N) for c_N in self.xz_N2.T]
    return turned + np.stack(columns, axis=1)


def _span_s(plan: Plan, section: Section) -> tuple[float, float]:
  last = len(plan.beats_s) - 1
  first = plan.beats_s[min(max(section.first, 0), last)]
  return float(first), float(plan.beats_s[min(section.last, last)])


def draw_path(plan: Plan, sections: list[Section], time_s: np.ndarray) -> Path:
  """Walk in sections of travel, turn in turns, and drift a little always."""
  rng = plan.rng(202)
  place = rng.uniform(-0.5, 0.5, 2) * _STAGE_M
  xz_N2 = np.repeat(place[None], len(time_s), axis=0)
  yaw_N = np.full(len(time_s), rng.normal(0, 0.3))
  for section in sections:
    start_s, end_s = _span_s(plan, section)
    gap_s = max(end_s - start_s, 1e-3)
    share_N = eased((time_s - start_s) / gap_s)
    if section.kind == 'travel':
      way = rng.uniform(-1, 1, 2) * _STAGE_M - place
      far = np.linalg.norm(way)
      way *= min(1.0, 0.5 * _TOP_SPEED_M * gap_s / max(far, 1e-6))
      xz_N2 += share_N[:, None] * way
      place = place + way
    elif section.kind == 'turn':
      turns = min(rng.choice([0.25, 0.5, 0.5, 1.0, 1.0, 2.0]), gap_s / _TURN_S)
      yaw_N += 2 * np.pi * turns * rng.choice([-1, 1]) * share_N
  hz = rng.uniform(0.04, 0.3, 3)
  wave_N3 = np.sin(2 * np.pi * (hz * time_s[:, None] + rng.uniform(size=3)))
  # Some keep turning here and there.
  yaw = 2.5 if rng.uniform() < 0.2 else 0.5
  size = rng.uniform(0, 1, 3) * (0.12, 0.08, yaw)
  xz_N2 += wave_N3[:, :2] * size[:2]
  return Path(time_s, xz_N2, yaw_N + wave_N3[:, 2] * size[2])


def _footholds(rng: np.random.Generator, num: int, size: float) -> np.ndarray:
  """Return (num, 2) places of the feet that land in turn, right first."""
  step_m = min(size, 1.5) * np.exp(rng.uniform(np.log(0.04), np.log(0.5)))
  loop = _LOOPS[str(rng.choice(list(_LOOPS)))]
  length = int(rng.choice([len(loop), 4, 8]))
  across = np.resize(loop, length) + 0.25 * rng.normal(size=length)
  ahead = rng.uniform(0, 1) * rng.normal(size=length)
  local = step_m * np.stack([across, 0.7 * ahead], axis=1)
  local = np.clip(np.resize(local, (num, 2)), -0.7, 0.7)
  side = np.where(np.arange(num) % 2, 1.0, -1.0)
  local[:, 0] += side * (_HOME_M + rng.uniform(0, 0.08))
  return local


def _foot(key_s, place_M2, lift_M, move_s: float, time_s: np.ndarray):
  """Return x, z (N, 2) and the height (N,) of one foot that lands on keys."""
  index, _, gap_s = between(key_s, time_s)
  move_N = np.minimum(move_s, 0.85 * gap_s)
  share_N = np.clip((time_s - key_s[index + 1]) / move_N + 1.0, 0.0, 1.0)
  way_N1 = eased(share_N)[:, None]
  xz_N2 = place_M2[index] * (1 - way_N1) + place_M2[index + 1] * way_N1
  return xz_N2, lift_M[index + 1] * np.sin(np.pi * share_N) ** 1.3


def step(plan: Plan, body: Body, path: Path, key_s, size_M, move_s: float):
  """Step from landing to landing.

  Args:
    plan: for its random draws.
    body: of the dancer.
    path: where the dancer is, along the time of the dance.
    key_s: landings, the first and the last outside of the clip.
    size_M: of the steps, about 1.
    move_s: time of a foot in the air, at most.

  Returns:
    ankle_N23 and weight_N2 as `body.step` returns them.
  """
  rng, landing_s = plan.rng(203), key_s[1:-1]
  num, time_s = len(landing_s), path.time_s
  if rng.uniform() < 0.2:
    move_s = np.inf  # Feet that hardly rest.
  local = _footholds(rng, num, size_M.max())
  start = path.at(time_s[:1], np.zeros((1, 2)))
  place_M2 = _within_reach(
    start, path.at(landing_s, local), _REACH * body.height_m
  )
  lift_M = _draw_lifts(rng, num) * (0.4 + 0.6 * size_M[1:-1])
  ankles = []
  for foot, side in enumerate((-1, 1)):
    home = path.at(time_s[:1], np.array([[side * _HOME_M, 0.0]]))
    own = slice(foot, None, 2)
    stand = np.concatenate([home, place_M2[own]])
    xz_N2, up_N = _foot(
      np.concatenate([key_s[:1], landing_s[own], key_s[-1:]]),
      np.concatenate([stand, stand[-1:]]),
      np.clip(np.concatenate([[0.0], lift_M[own], [0.0]]), 0.0, 0.45),
      move_s,
      time_s,
    )
    ankles.append(np.stack([xz_N2[:, 0], body.ankle_m + up_N, xz_N2[:, 1]], 1))
  ankle_N23 = np.stack(ankles, axis=1)
  return ankle_N23, _weight(rng, key_s, ankle_N23, time_s)


def _within_reach(start_12, place_M2: np.ndarray, most_m: float) -> np.ndarray:
  """Shorten steps that would land too far from the foot that stands."""
  place_M2 = np.concatenate([start_12, place_M2])
  for m in range(1, len(place_M2)):
    way = place_M2[m] - place_M2[m - 1]
    place_M2[m] = place_M2[m - 1] + way * min(
      1.0, most_m / max(float(np.hypot(*way)), 1e-6)
    )
  return place_M2[1:]


def _draw_lifts(rng: np.random.Generator, num: int) -> np.ndarray:
  """Return by how much a foot rises on its way; kicks return in a loop."""
  usual_m = np.exp(rng.normal(np.log(0.07), 0.5))
  return np.resize(usual_m * np.exp(rng.normal(0, 0.4, 4)), num)


def _weight(rng: np.random.Generator, key_s, ankle_N23, time_s) -> np.ndarray:
  """Shift the weight to the foot that lands, around the landing."""
  on_foot = rng.uniform(0.2, 0.42)
  share_M = np.where(np.arange(len(key_s)) % 2, 0.5 - on_foot, 0.5 + on_foot)
  share_M[[0, -1]] = 0.5
  late_s = rng.uniform(0.0, 0.12)
  index, _, gap_s = between(key_s + late_s, time_s)
  move_N = np.minimum(0.5, gap_s)
  way_N = np.clip((time_s - key_s[index + 1] - late_s) / move_N + 1, 0, 1)
  way_N = eased(way_N)
  left_N1 = (share_M[index] * (1 - way_N) + share_M[index + 1] * way_N)[:, None]
  ground = ankle_N23[..., ::2]
  return ground[:, 0] * (1 - left_N1) + ground[:, 1] * left_N1
