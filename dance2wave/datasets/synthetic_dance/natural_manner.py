"""How a natural dancer feels the beat and what he does with it.

    plan ──> sections: groove, feet, arms, hold, free, turn, travel, ...
        └──> layers: bounce, feet, right arm, left arm, trunk, head

A layer moves on its own grid of 1/2 to 8 beats, with its own strength, jitter
and accents, or not at all. All layers share the dancer's lead or lag.
"""

import dataclasses

import numpy as np

from dance2wave.datasets.synthetic_dance.plan import BEATS_PER_BAR, Plan

LAYERS = ('bounce', 'feet', 'right_arm', 'left_arm', 'trunk', 'head')
# Without a stop, with a sudden one, with a soft one, or setting out on the
# event rather than arriving there.
PROFILES = ('swing', 'hit', 'eased', 'late')

# How much each layer, and movement without pulse, is there in a section.
GAINS = {
  'groove': (1.0, 0.7, 0.6, 0.6, 1.0, 1.0, 0.5),
  'feet': (0.9, 1.0, 0.5, 0.5, 0.6, 0.6, 0.4),
  'arms': (0.6, 0.3, 1.0, 1.0, 0.7, 0.7, 0.4),
  'all': (1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.5),
  'hold': (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.12),
  'free': (0.15, 0.2, 0.25, 0.25, 0.15, 0.15, 1.5),
  'turn': (0.4, 1.0, 0.5, 0.5, 0.0, 0.3, 0.6),
  'travel': (0.5, 1.0, 0.4, 0.4, 0.4, 0.4, 0.6),
}
FREE = len(LAYERS)  # the last column of GAINS
_PULSED, _LOOSE = ('groove', 'feet', 'arms', 'all'), ('hold', 'free')
_MOVING = ('turn', 'travel')

# Beats between the events of a layer, and how likely each is at 115 bpm.
_LEVELS = (0.5, 1.0, 2.0, 4.0, 8.0)
_LEVEL_ODDS = {
  'bounce': (0.06, 0.72, 0.18, 0.04, 0.0),
  'feet': (0.10, 0.68, 0.19, 0.03, 0.0),
  'right_arm': (0.05, 0.45, 0.30, 0.15, 0.05),
  'left_arm': (0.05, 0.45, 0.30, 0.15, 0.05),
  'trunk': (0.02, 0.45, 0.35, 0.15, 0.03),
  'head': (0.05, 0.55, 0.25, 0.12, 0.03),
}
_USUAL_HZ, _LEVEL_SPREAD = 1.9, 0.75  # bodies do not like to move faster


@dataclasses.dataclass(frozen=True)
class Section:
  """Beats first <= b < last of one kind; fractions of beats between events.

  Attributes:
    kind: a key of GAINS.
    first, last: indices into the beats of the plan.
    tempo: 1, or 0.5 for double time and 2 for half time.
  """

  kind: str
  first: int
  last: int
  tempo: float


@dataclasses.dataclass(frozen=True)
class Layer:
  """How one part of the body moves.

  Attributes:
    strength: 0 for not at all, 1 plain.
    level: beats from event to event.
    offset: of the events from the beats, in beats.
    jitter_s: standard deviation of their times.
    skip, shift: probability that an event is left out or half a beat off.
    accents: of the four beats of a bar, from the down-beat, mean 1.
    profile: of PROFILES, the way from event to event.
    move_s: time of a move, at most.
  """

  strength: float
  level: float
  offset: float
  jitter_s: float
  skip: float
  shift: float
  accents: np.ndarray
  profile: str
  move_s: float


@dataclasses.dataclass(frozen=True)
class Manner:
  """A dancer for one clip.

  Attributes:
    lead_s: of all movement against the beat; negative is early.
    layers: by name of LAYERS.
    size: of poses and steps.
    free: size of movement that knows no beat.
    fall: share of a bounce's time that goes down.
    bounce_m: depth of a bounce.
    hop_m: how high both feet leave the ground between bounces; mostly 0.
  """

  lead_s: float
  layers: dict[str, Layer]
  size: float
  free: float
  fall: float
  bounce_m: float
  hop_m: float


def _draw_level(rng: np.random.Generator, name: str, tempo_bpm: float) -> float:
  """Prefer the beat, but less where that would be very slow or very fast."""
  octaves = np.log2(tempo_bpm / 60 / np.array(_LEVELS) / _USUAL_HZ)
  far = np.maximum(np.abs(octaves) - 0.35, 0) / _LEVEL_SPREAD
  slow = np.where(octaves < 0, 0.35, 1.0)  # Slow movement is no effort.
  odds = np.array(_LEVEL_ODDS[name]) * np.exp(-0.5 * far**2 * slow)
  return float(rng.choice(_LEVELS, p=odds / odds.sum()))


def _draw_accents(rng: np.random.Generator) -> np.ndarray:
  """Draw the weight of the beats of a bar: even, or with strong ones."""
  uneven = rng.uniform(0.0, 0.6) * (rng.uniform() < 0.7)
  shapes = ((3, 0, 1, 0), (1, 0, 1, 0), (0, 1, 0, 1), (1, 0, 0, 0))
  shape = np.array(shapes[rng.choice(4, p=[0.35, 0.3, 0.25, 0.1])], float)
  accents = 1 + uneven * (shape / shape.mean() - 1)
  return accents / accents.mean()


def _draw_layer(
  rng: np.random.Generator, name: str, plan: Plan, clarity: float
) -> Layer:
  level = _draw_level(rng, name, plan.tempo_bpm)
  is_off = rng.uniform() < (0.06 if name in ('bounce', 'feet') else 0.12)
  is_there = rng.uniform() < (0.85 if name in ('bounce', 'feet') else 0.75)
  odds = [0.4, 0.35, 0.15, 0.1] if 'arm' in name else [0.6, 0.2, 0.15, 0.05]
  return Layer(
    strength=float(np.exp(rng.normal(0, 0.4))) * is_there,
    level=level,
    offset=0.5 * min(level, 1.0) * is_off,
    jitter_s=rng.uniform(0.005, 0.018) + 0.022 * (1 - clarity),
    skip=rng.uniform(0, 0.2) * (1 - 0.5 * clarity),
    shift=rng.uniform(0, 0.15) * (1 - 0.5 * clarity) * (rng.uniform() < 0.5),
    accents=_draw_accents(rng),
    profile=str(rng.choice(PROFILES, p=odds)),
    move_s=rng.uniform(0.2, 0.5),
  )


def draw_manner(plan: Plan) -> Manner:
  """Draw a dancer; he moves to the beat with something at least."""
  rng = plan.rng(200)
  clarity = rng.uniform()
  layers = {name: _draw_layer(rng, name, plan, clarity) for name in LAYERS}
  if not (layers['bounce'].strength or layers['feet'].strength):
    name = str(rng.choice(['bounce', 'feet']))
    layers[name] = dataclasses.replace(layers[name], strength=1.0)
  is_hopping = layers['bounce'].strength > 0 and rng.uniform() < 0.12
  return Manner(
    lead_s=float(np.clip(rng.normal(0.0, 0.025), -0.06, 0.06)),
    layers=layers,
    size=float(np.clip(np.exp(rng.normal(0.05, 0.45)), 0.35, 2.2)),
    free=float(np.exp(rng.normal(-0.2, 0.6))) * (1.4 - clarity),
    fall=float(np.clip(rng.normal(0.46, 0.08), 0.3, 0.65)),
    bounce_m=float(np.exp(rng.uniform(np.log(0.012), np.log(0.11)))),
    hop_m=rng.uniform(0.03, 0.12) * is_hopping,
  )


def draw_sections(plan: Plan) -> list[Section]:
  """Draw what happens when; sections start on beats and last whole ones."""
  rng = plan.rng(201)
  loose, moving = rng.uniform(0, 0.4), rng.uniform(0, 0.4)
  num = len(plan.beats_s)
  first = -((-plan.first_downbeat) % BEATS_PER_BAR) - int(rng.integers(16))
  sections = []
  while first < num:
    chance = rng.uniform()
    tempo = 1.0
    if chance < loose:
      kind, length = str(rng.choice(_LOOSE)), int(rng.integers(1, 6))
    elif chance < loose + moving:
      kind, length = str(rng.choice(_MOVING)), int(rng.integers(2, 9))
    else:
      kind, length = str(rng.choice(_PULSED)), 4 * int(rng.integers(1, 5))
      tempo = float(rng.choice([1.0, 0.5, 2.0], p=[0.84, 0.06, 0.1]))
    sections.append(Section(kind, first, first + length, tempo))
    first += length
  return [section for section in sections if section.last > 0]


def _grid(plan: Plan, layer: Layer, section: Section) -> np.ndarray:
  """Return the beats in a section on the grid of a layer, counted from bars."""
  level = layer.level * (section.tempo if layer.level <= 2 else 1.0)
  start = plan.first_downbeat % BEATS_PER_BAR - 2 * BEATS_PER_BAR
  beats = np.arange(start, section.last, level)
  return beats[(beats >= max(section.first, 0)) & (beats < section.last)]


def draw_events(
  plan: Plan, manner: Manner, name: str, sections: list[Section]
) -> tuple[np.ndarray, np.ndarray]:
  """Return the times (M,) of a layer's events, ascending, and their sizes.

  The first and the last lie outside of the clip.
  """
  layer, column = manner.layers[name], LAYERS.index(name)
  rng = plan.rng(210 + column)
  beats, sizes = [], []
  for section in sections:
    gain = GAINS[section.kind][column] * layer.strength
    if gain <= 0:
      continue
    grid = _grid(plan, layer, section)
    grid = grid[rng.uniform(size=len(grid)) >= layer.skip]
    which = np.rint(grid - plan.first_downbeat).astype(int) % BEATS_PER_BAR
    moved = rng.uniform(size=len(grid)) < layer.shift
    sizes.append(gain * layer.accents[which])
    beats.append(grid + layer.offset + 0.5 * moved)
  beat_M = np.concatenate(beats) if beats else np.zeros(0)
  size_M = np.concatenate(sizes) if sizes else np.zeros(0)
  size_M = size_M * np.exp(rng.normal(0, 0.12, len(size_M)))
  key_s = np.interp(beat_M, np.arange(len(plan.beats_s)), plan.beats_s)
  key_s += manner.lead_s
  key_s += layer.jitter_s * np.clip(rng.normal(size=len(key_s)), -2.5, 2.5)
  return _ascending(key_s, size_M, plan)


def _ascending(key_s: np.ndarray, size_M: np.ndarray, plan: Plan):
  """Sort, drop events too near to one another, and add outer ones."""
  order = np.argsort(key_s)
  key_s, size_M = key_s[order], size_M[order]
  keep = np.diff(key_s, prepend=-np.inf) > 0.14
  key_s, size_M = key_s[keep], size_M[keep]
  inside = (key_s > plan.beats_s[0]) & (key_s < plan.beats_s[-1])
  key_s, size_M = key_s[inside], size_M[inside]
  ends = plan.beats_s[0] - 1.0, plan.beats_s[-1] + 1.0
  key_s = np.concatenate([ends[:1], key_s, ends[1:]])
  return key_s, np.concatenate([[0.0], size_M, [0.0]])
