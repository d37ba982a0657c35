"""Plans of natural dancers: tempi and durations of real music and takes."""

import numpy as np

from dance2wave.datasets.synthetic_dance import plan as plan_lib
from dance2wave.datasets.synthetic_dance.natural_camera import CAPTURE_RATES_HZ
from dance2wave.datasets.synthetic_dance.plan import SPLITS, STYLES, Plan

MIN_TEMPO_BPM, MAX_TEMPO_BPM = 60.0, 190.0
MIN_DURATION_S, MAX_DURATION_S = 8.0, 12.0
_USUAL_BPM, _SPREAD = 112.0, 0.42  # of the logarithm of the tempo
_FILMED = 0.35  # share that is seen by an estimator of poses
_KIND = 2  # beside default (0) and ambiguous (1)


def _draw_tempo_bpm(rng: np.random.Generator, split: str) -> float:
  """Draw from the split's cells, more often near what music mostly has."""
  cells = plan_lib.tempo_cells(split, MIN_TEMPO_BPM, MAX_TEMPO_BPM)
  far = np.log(cells * plan_lib.TEMPO_CELL_BPM / _USUAL_BPM) / _SPREAD
  odds = 0.15 + np.exp(-0.5 * far**2)
  cell = rng.choice(cells, p=odds / odds.sum())
  return float((cell + rng.uniform()) * plan_lib.TEMPO_CELL_BPM)


def draw_natural_plan(
  index: int, split: str, *, seed: int = 0, duration_s: float | None = None
) -> Plan:
  """Draw the plan of clip `index` of `split`, always the same one.

  A `duration_s` takes the place of the one that is drawn.
  """
  key = (seed, SPLITS.index(split), index, _KIND)
  rng = np.random.default_rng(key)
  tempo_bpm = _draw_tempo_bpm(rng, split)
  drawn_s = round(rng.uniform(MIN_DURATION_S, MAX_DURATION_S), 3)
  duration_s = drawn_s if duration_s is None else duration_s
  # Most music is produced to a click.
  drift = 0.04 if rng.uniform() < 0.3 else 0.004
  beats_s, first_downbeat = plan_lib.draw_beats_s(
    rng, tempo_bpm, duration_s, drift
  )
  is_filmed = rng.uniform() < _FILMED
  rates = (
    (*plan_lib.FRAME_RATES_HZ[1:4], 0.0) if is_filmed else CAPTURE_RATES_HZ
  )
  return Plan(
    clip_id=f'{split}_{index:05d}',
    split=split,
    seed=key,
    style=STYLES[rng.integers(len(STYLES))],
    choreography=plan_lib.draw_choreography(rng, split),
    tempo_bpm=tempo_bpm,
    key=int(rng.choice(plan_lib.KEYS[split])),
    is_minor=bool(rng.uniform() < 0.5),
    duration_s=duration_s,
    beats_s=beats_s,
    first_downbeat=first_downbeat,
    size_K=plan_lib.draw_size(rng, len(beats_s)),
    frame_rate_hz=float(rng.choice(rates)) or None,
  )
