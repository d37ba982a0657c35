"""What a clip is before anybody moves or plays: the shared plan.

The dancer (`movement.py`) and the band (`music.py`) both read one `Plan`, so
that they agree on every beat without hearing or seeing each other. Splits are
disjoint in choreography, in tempo draw and in key by construction.
"""

import dataclasses

import numpy as np

STYLES = ('house', 'hip_hop', 'rock', 'funk', 'salsa', 'pop')
SPLITS = ('train', 'validation', 'test')
FRAME_RATES_HZ = (15.0, 23.976, 25.0, 29.97, 50.0, 60.0)
MIN_TEMPO_BPM, MAX_TEMPO_BPM = 70.0, 170.0
MIN_DURATION_S, MAX_DURATION_S = 6.0, 10.0
BEATS_PER_BAR = 4

TEMPO_CELL_BPM = 0.25
# Tempo cells repeat with period 10 and keys with period 12; each remainder
# belongs to exactly one split.
_TEMPO_CELLS = {
  'train': (0, 1, 2, 3, 5, 6, 7, 8),
  'validation': (4,),
  'test': (9,),
}
KEYS = {
  'train': (0, 2, 3, 5, 7, 8, 9, 10),
  'validation': (1, 6),
  'test': (4, 11),
}


@dataclasses.dataclass(frozen=True)
class Plan:
  """One clip, before it is danced and played. Times are seconds from t = 0.

  Attributes:
    clip_id: unique name, such as 'train_00017'.
    split: one of SPLITS.
    seed: integers from which every further random choice of this clip is
      drawn: `np.random.default_rng([*plan.seed, purpose])`.
    style: one of STYLES.
    choreography: seed of the key poses; splits never share one.
    tempo_bpm: mean tempo.
    key: tonic, 0 = C to 11 = B.
    is_minor: whether the key is minor.
    duration_s: length of the clip.
    beats_s: (K,) beat times, from two bars before t = 0 to two bars after the
      end; the spacing drifts by up to 4 % within the clip.
    first_downbeat: index into beats_s of the first beat of a bar of four.
    size_K: (K,) how big the dancer moves around each beat, 0 to 1.
    frame_rate_hz: of the camera; None for a variable rate.
    is_ambiguous: no visible cue settles phase and octave of this dancer.
  """

  clip_id: str
  split: str
  seed: tuple[int, ...]
  style: str
  choreography: int
  tempo_bpm: float
  key: int
  is_minor: bool
  duration_s: float
  beats_s: np.ndarray
  first_downbeat: int
  size_K: np.ndarray
  frame_rate_hz: float | None
  is_ambiguous: bool = False

  @property
  def beats_in_clip_s(self) -> np.ndarray:
    """The beats with 0 <= t < duration_s."""
    inside = (self.beats_s >= 0) & (self.beats_s < self.duration_s)
    return self.beats_s[inside]

  def rng(self, purpose: int) -> np.random.Generator:
    """Return the generator for one purpose; purposes are independent.

    Movement has those from 100 on, film from 120, natural dancers and their
    film from 200, music from 300.
    """
    return np.random.default_rng([*self.seed, purpose])


def tempo_cells(split: str, low_bpm: float, high_bpm: float) -> np.ndarray:
  """Return the cells of TEMPO_CELL_BPM that belong to a split."""
  cells = np.arange(
    low_bpm / TEMPO_CELL_BPM, high_bpm / TEMPO_CELL_BPM, dtype=int
  )
  return cells[np.isin(cells % 10, _TEMPO_CELLS[split])]


def draw_choreography(rng: np.random.Generator, split: str) -> int:
  """Draw one whose remainder by three is the split: splits never share one."""
  return int(rng.integers(2**20)) * len(SPLITS) + SPLITS.index(split)


def _draw_tempo_bpm(rng: np.random.Generator, split: str) -> float:
  cell = rng.choice(tempo_cells(split, MIN_TEMPO_BPM, MAX_TEMPO_BPM))
  return float((cell + rng.uniform()) * TEMPO_CELL_BPM)


def draw_beats_s(
  rng: np.random.Generator,
  tempo_bpm: float,
  duration_s: float,
  max_drift: float,
) -> tuple[np.ndarray, int]:
  """Integrate a smoothly drifting tempo; returns beats and a downbeat."""
  drift = rng.uniform(0.0, max_drift) * rng.choice([-1.0, 1.0])
  period_s, phase = (
    rng.uniform(0.8, 2.0) * duration_s,
    rng.uniform(0, 2 * np.pi),
  )
  margin_s = 2 * BEATS_PER_BAR * 60.0 / tempo_bpm
  time_s = np.arange(-margin_s, duration_s + margin_s, 1e-3)
  curve = np.sin(2 * np.pi * time_s / period_s + phase)
  inside = curve[(time_s >= 0) & (time_s < duration_s)]
  # The extreme tempi inside the clip differ by |drift|.
  curve = (curve - inside.mean()) / max(np.ptp(inside), 0.2)
  beats = np.cumsum(tempo_bpm * (1 + drift * curve) / 60.0 * 1e-3)
  beats += rng.uniform(0.0, 1.0)
  beats_s = np.interp(np.arange(1, int(beats[-1]) + 1), beats, time_s)
  return beats_s, int(rng.integers(BEATS_PER_BAR))


def draw_size(rng: np.random.Generator, num_beats: int) -> np.ndarray:
  """A movement size that changes every bar or two, smoothed over beats."""
  bars = int(rng.integers(1, 3)) * BEATS_PER_BAR
  levels = rng.uniform(0.1, 1.0, size=num_beats // bars + 2)
  offset = int(rng.integers(bars))
  steps = levels[(np.arange(num_beats) + offset) // bars]
  kernel = np.array([0.25, 0.5, 0.25])
  return np.convolve(np.pad(steps, 1, mode='edge'), kernel, mode='valid')


def draw_plan(
  index: int,
  split: str,
  *,
  seed: int = 0,
  is_ambiguous: bool = False,
  duration_s: float | None = None,
) -> Plan:
  """Draw the plan of clip `index` of `split`, always the same one.

  A `duration_s` takes the place of the one that is drawn.
  """
  key = (seed, SPLITS.index(split), index, int(is_ambiguous))
  rng = np.random.default_rng(key)
  tempo_bpm = _draw_tempo_bpm(rng, split)
  drawn_s = round(rng.uniform(MIN_DURATION_S, MAX_DURATION_S), 3)
  duration_s = drawn_s if duration_s is None else duration_s
  beats_s, first_downbeat = draw_beats_s(rng, tempo_bpm, duration_s, 0.04)
  rate = rng.choice([*FRAME_RATES_HZ, 0.0])
  return Plan(
    clip_id=f'{split}_{index:05d}',
    split=split,
    seed=key,
    style=STYLES[rng.integers(len(STYLES))],
    choreography=draw_choreography(rng, split),
    tempo_bpm=tempo_bpm,
    key=int(rng.choice(KEYS[split])),
    is_minor=bool(rng.uniform() < 0.5),
    duration_s=duration_s,
    beats_s=beats_s,
    first_downbeat=first_downbeat,
    size_K=draw_size(rng, len(beats_s)),
    frame_rate_hz=float(rate) or None,
    is_ambiguous=is_ambiguous,
  )
