"""Key poses and footwork of the six styles, drawn from a choreography's seed.

    choreography ──> 2 phrases of 4 or 8 key poses ──> one key pose per count

A phrase holds postures (`body.CHANNELS`), footholds, and which foot moves on
which count. Phrases alternate every 8 counts, so that a dance repeats itself
as dances do.
"""

import dataclasses

import numpy as np

from dance2wave.datasets.synthetic_dance.body import (
  ARMS,
  CHANNEL,
  CHANNELS,
  Score,
)

SECTION_COUNTS = 8

_ARM_SPREAD = 0.6  # rms of arm angles around their mean in a phrase

# Arm postures: raise, forward, elbow, roll (see body._arm_directions).
_ARM = {
  'hang': (0.20, 0.3, 0.35, 0.2),
  'hip': (0.75, -0.3, 1.85, 0.9),
  'guard': (0.45, 0.9, 1.80, 0.2),
  'waist': (0.40, 0.8, 1.35, 0.6),
  'low_front': (0.75, 1.3, 0.45, 0.2),
  'front': (1.35, 1.4, 0.40, 0.2),
  'side': (1.40, 0.1, 0.35, 0.1),
  'low_side': (0.80, 0.2, 0.40, 0.1),
  'cactus': (1.45, 0.2, 1.50, -1.3),
  'up': (2.75, 0.6, 0.35, 0.0),
  'up_bent': (2.10, 0.6, 1.10, -0.9),
  'up_side': (2.15, 0.2, 0.30, 0.0),
  'chest': (0.95, 0.9, 1.90, 1.1),
  'across': (0.95, 1.9, 0.90, 0.7),
  'back': (0.55, -0.9, 0.60, 0.1),
  'point_down': (0.70, 1.5, 0.15, 0.0),
}

# Footwork: one string per count, right foot then left foot, then the weight
# from 0 (right) to 9 (left). A foot is two digits (to its own side, forwards;
# 5 is the place below its hip) when it lands on that count, '..' when it
# stands, '##' when it is lifted and put back in place.
_FOOTWORK = {
  'side_touch': ('85 .. 1', '.. 25 2', '.. 65 8', '25 .. 7'),
  'march': ('## .. 2', '.. ## 7', '## .. 2', '.. ## 7'),
  'wide_march': ('76 .. 2', '.. 76 7', '74 .. 2', '.. 74 7'),
  'rock_step': ('57 .. 2', '.. ## 6', '54 .. 3', '.. ## 6'),
  'planted': ('75 .. 2', '.. 75 7', '.. .. 2', '.. .. 7'),
  'lunge': ('88 .. 2', '.. .. 5', '65 .. 4', '.. ## 7'),
  'jazz_box': ('48 .. 2', '.. 53 7', '74 .. 3', '.. 66 7'),
  'shuffle': ('67 .. 2', '.. 64 7', '64 .. 3', '.. 67 7'),
  'stomp': ('86 .. 2', '.. .. 4', '.. 86 7', '.. .. 5'),
  'mambo': (
    *('.. 58 7', '## .. 2', '.. 55 6', '.. .. 5'),
    *('52 .. 2', '.. ## 7', '55 .. 3', '.. .. 5'),
  ),
  'side_mambo': (
    *('85 .. 2', '.. ## 7', '55 .. 3', '.. .. 5'),
    *('.. 85 7', '## .. 2', '.. 55 6', '.. .. 5'),
  ),
  'grapevine': (
    *('85 .. 2', '.. 23 6', '95 .. 2', '.. 35 3'),
    *('.. 65 7', '23 .. 4', '.. 65 8', '55 .. 6'),
  ),
}


@dataclasses.dataclass(frozen=True)
class Style:
  """The character of a style.

  Attributes:
    arms: pairs of names in _ARM, right and left, that its key poses draw from.
    footwork: names in _FOOTWORK.
    lean, sink: of the posture around which everything happens (rad, m).
    sway: of the pelvis towards the weight, in metres.
    bend: standard deviation of trunk and head angles.
    twist: standard deviation of the shoulders against the trunk.
    step_m: size of a step.
    lift_m: of a foot that is put back in place.
    looseness: standard deviation of arm angles around the named postures.
  """

  arms: tuple[tuple[str, str], ...]
  footwork: tuple[str, ...]
  lean: float
  sink: float
  sway: float
  bend: float
  twist: float
  step_m: float
  lift_m: float
  looseness: float


STYLES = {
  'house': Style(
    arms=(
      *(('guard', 'waist'), ('waist', 'guard'), ('low_side', 'low_side')),
      *(('up_bent', 'waist'), ('low_front', 'back'), ('chest', 'low_side')),
    ),
    footwork=('shuffle', 'march', 'jazz_box', 'wide_march'),
    **{'lean': 0.16, 'sink': 0.06, 'sway': 0.02, 'bend': 0.10},
    **{'twist': 0.20, 'step_m': 0.26, 'lift_m': 0.12, 'looseness': 0.25},
  ),
  'hip_hop': Style(
    arms=(
      *(('chest', 'low_side'), ('front', 'waist'), ('across', 'back')),
      *(('cactus', 'point_down'), ('point_down', 'point_down')),
      *(('chest', 'chest'), ('low_front', 'guard'), ('up_bent', 'up_bent')),
    ),
    footwork=('rock_step', 'planted', 'wide_march', 'lunge', 'side_touch'),
    **{'lean': 0.22, 'sink': 0.10, 'sway': 0.03, 'bend': 0.14},
    **{'twist': 0.25, 'step_m': 0.26, 'lift_m': 0.09, 'looseness': 0.20},
  ),
  'rock': Style(
    arms=(
      *(('up', 'waist'), ('up', 'up'), ('guard', 'low_front')),
      *(('up_bent', 'side'), ('waist', 'side'), ('front', 'front')),
    ),
    footwork=('stomp', 'planted', 'lunge', 'march'),
    **{'lean': 0.10, 'sink': 0.07, 'sway': 0.02, 'bend': 0.12},
    **{'twist': 0.15, 'step_m': 0.30, 'lift_m': 0.10, 'looseness': 0.18},
  ),
  'funk': Style(
    arms=(
      *(('up_side', 'hip'), ('point_down', 'hip'), ('guard', 'guard')),
      *(('cactus', 'up_side'), ('across', 'side'), ('waist', 'chest')),
    ),
    footwork=('side_touch', 'shuffle', 'grapevine', 'wide_march'),
    **{'lean': 0.06, 'sink': 0.06, 'sway': 0.05, 'bend': 0.13},
    **{'twist': 0.28, 'step_m': 0.27, 'lift_m': 0.09, 'looseness': 0.22},
  ),
  'salsa': Style(
    arms=(
      *(('waist', 'waist'), ('guard', 'waist'), ('waist', 'guard')),
      *(('side', 'waist'), ('up', 'low_side'), ('chest', 'side')),
    ),
    footwork=('mambo', 'side_mambo', 'mambo'),
    **{'lean': 0.03, 'sink': 0.045, 'sway': 0.06, 'bend': 0.07},
    **{'twist': 0.22, 'step_m': 0.24, 'lift_m': 0.06, 'looseness': 0.15},
  ),
  'pop': Style(
    arms=(
      *(('up_side', 'up_side'), ('front', 'hip'), ('side', 'side')),
      *(('cactus', 'cactus'), ('up', 'hip'), ('chest', 'front')),
      *(('low_side', 'low_side'), ('across', 'low_side')),
    ),
    footwork=('side_touch', 'grapevine', 'jazz_box', 'planted'),
    **{'lean': 0.02, 'sink': 0.05, 'sway': 0.04, 'bend': 0.10},
    **{'twist': 0.16, 'step_m': 0.28, 'lift_m': 0.08, 'looseness': 0.15},
  ),
}

# Mirroring: x turns round, right and left arm change places.
_MIRROR_SIGN = np.ones(len(CHANNELS))
_MIRROR_SIGN[
  [
    CHANNEL[name]
    for name in (
      *('sway_x', 'turn', 'tilt', 'twist', 'slope'),
      *('head_tilt', 'head_turn'),
    )
  ]
] = -1.0


@dataclasses.dataclass(frozen=True)
class Phrase:
  """P key poses; sides and axes as in `body`.

  Attributes:
    angle_PC: postures.
    foothold_P22: x and z of the right and the left foot, from the centre.
    lift_P2: by how much a foot rises on its way there; 0 where it stands.
    weight_P: share of the weight on the left foot.
  """

  angle_PC: np.ndarray
  foothold_P22: np.ndarray
  lift_P2: np.ndarray
  weight_P: np.ndarray


def _draw_footwork(rng: np.random.Generator, style: Style, num_poses: int):
  """Read a footwork string as (P, 2, 2), (P, 2) and (P,)."""
  lines = _FOOTWORK[style.footwork[rng.integers(len(style.footwork))]]
  foothold = np.full((len(lines), 2, 2), np.nan)
  lift, weight = np.zeros((len(lines), 2)), np.zeros(len(lines))
  step_m = style.step_m * rng.uniform(0.85, 1.15)
  for p, line in enumerate(lines):
    *feet, on_left = line.split()
    weight[p] = int(on_left) / 9
    for s, (side, foot) in enumerate(zip((-1, 1), feet)):
      if foot[0].isdigit():
        out, ahead = (int(digit) - 5 for digit in foot)
        foothold[p, s] = side * (0.09 + out * step_m / 3), ahead * step_m / 3
        lift[p, s] = 0.05
      elif foot == '##':
        lift[p, s] = style.lift_m
  tiled = (max(num_poses // len(lines), 1), 1, 1)
  return (
    np.tile(foothold, tiled),
    np.tile(lift, tiled[:2]),
    np.tile(weight, tiled[0]),
  )


def _draw_posture(rng: np.random.Generator, style: Style) -> np.ndarray:
  """Draw one key pose around the posture of a style."""
  angle = np.zeros(len(CHANNELS))
  spread = {
    **{'sway_x': style.sway, 'sway_z': 0.4 * style.sway},
    **{'turn': style.twist, 'lean': 0.6 * style.bend, 'tilt': style.bend},
    **{'twist': style.twist, 'slope': style.bend, 'shrug': 0.05},
    **{'nod': style.bend, 'head_tilt': style.bend, 'head_turn': style.twist},
  }
  for name, deviation in spread.items():
    angle[CHANNEL[name]] = deviation * np.clip(rng.normal(), -2, 2)
  angle[CHANNEL['lean']] += style.lean
  angle[CHANNEL['sink']] = style.sink + rng.uniform(-0.015, 0.015)
  names = style.arms[rng.integers(len(style.arms))]
  if rng.uniform() < 0.5:
    names = names[::-1]
  arms = np.concatenate([_ARM[name] for name in names])
  loose = style.looseness * np.clip(rng.normal(size=8), -2, 2)
  angle[ARMS] = arms + loose * np.tile([1.0, 1.0, 0.6, 0.6], 2)
  angle[CHANNEL['right_elbow']] = max(angle[CHANNEL['right_elbow']], 0.1)
  angle[CHANNEL['left_elbow']] = max(angle[CHANNEL['left_elbow']], 0.1)
  return angle


def mirror(angle_PC: np.ndarray) -> np.ndarray:
  """Swap left and right in postures."""
  mirrored = angle_PC * _MIRROR_SIGN
  right, left = mirrored[:, ARMS][:, :4], mirrored[:, ARMS][:, 4:]
  mirrored[:, ARMS] = np.concatenate([left, right], axis=-1)
  return mirrored


def _evened(arm_P8: np.ndarray) -> np.ndarray:
  """Scale arm poses around their mean towards an equal spread.

  So that how big a dancer moves is a matter of the plan rather than of the
  poses drawn.
  """
  mean = arm_P8.mean(axis=0)
  spread = np.sqrt(((arm_P8 - mean) ** 2).mean())
  factor = np.clip(_ARM_SPREAD / max(spread, 1e-3), 0.6, 1.8)
  return mean + factor * (arm_P8 - mean)


def _draw_phrase(rng: np.random.Generator, style: Style) -> Phrase:
  """Draw 4 or 8 key poses; often the second half mirrors the first."""
  num_poses = int(rng.choice([4, 8]))
  foothold, lift, weight = _draw_footwork(rng, style, num_poses)
  num_poses = len(weight)
  half = num_poses // 2
  poses = np.stack([_draw_posture(rng, style) for _ in range(num_poses)])
  kind = rng.uniform()
  if kind < 0.6:
    poses[half:] = mirror(poses[:half])
  elif kind < 0.75:
    poses[half:] = poses[:half]
  poses[:, ARMS] = _evened(poses[:, ARMS])
  # Hips and shoulders lean with the weight.
  side = 2 * weight - 1
  poses[:, CHANNEL['sway_x']] += style.sway * side
  poses[:, CHANNEL['tilt']] += 1.2 * style.sway * side
  poses[:, CHANNEL['slope']] -= 1.6 * style.sway * side
  return Phrase(poses, foothold, lift, weight)


def draw_phrases(choreography: int, style: str) -> tuple[Phrase, ...]:
  """Draw the two phrases of a choreography: nothing else enters."""
  rng = np.random.default_rng(choreography)
  return tuple(_draw_phrase(rng, STYLES[style]) for _ in range(2))


def _pose_of_count(phrases: tuple[Phrase, ...], count: int) -> tuple[int, int]:
  """Return the phrase and the pose for a count."""
  which = count // SECTION_COUNTS % len(phrases)
  return which, count % len(phrases[which].weight_P)


def _stand(foothold_M22: np.ndarray) -> np.ndarray:
  """Keep each foot where it landed last; first where it will land first."""
  known = np.isfinite(foothold_M22[..., 0])
  row = np.arange(len(known))[:, None]
  last = np.maximum.accumulate(np.where(known, row, -1), axis=0)
  first = np.where(known.any(axis=0), known.argmax(axis=0), 0)
  stood = foothold_M22[np.where(last < 0, first, last), [[0, 1]]]
  home = np.array([[-0.1, 0.0], [0.1, 0.0]])
  return np.where(np.isfinite(stood), stood, home)


def unroll(
  phrases: tuple[Phrase, ...], count_M: np.ndarray, gain_M: np.ndarray
) -> Score:
  """Lay the phrases out over counts, each pose as big as its gain.

  The gain scales postures around the mean posture of their phrase, and
  footholds around the centre at the moment when the foot lands.
  """
  chosen = [_pose_of_count(phrases, int(count)) for count in count_M]
  means = [phrase.angle_PC.mean(axis=0) for phrase in phrases]
  angle = np.stack(
    [
      means[w] + gain * (phrases[w].angle_PC[p] - means[w])
      for (w, p), gain in zip(chosen, gain_M)
    ]
  )
  foothold = np.stack([phrases[w].foothold_P22[p] for w, p in chosen])
  lift = np.stack([phrases[w].lift_P2[p] for w, p in chosen])
  home = np.array([[-0.09, 0.0], [0.09, 0.0]])
  foothold = home + (0.35 + 0.65 * gain_M[:, None, None]) * (foothold - home)
  return Score(
    angle,
    _stand(foothold),
    lift * (0.4 + 0.6 * gain_M[:, None]),
    np.array([phrases[w].weight_P[p] for w, p in chosen]),
  )
