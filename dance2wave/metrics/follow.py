"""How far a sound goes along when its dance is changed, beside chance.

Whatever is asked of the sounds before a change and after it is asked twice
more, by the same code:

  unchanged   of the sounds before it, as if after: who does not notice
  shuffled    of the sounds after it of another dance
"""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from dance2wave.metrics import statistics, timing
from dance2wave.metrics.beat_detector import FASTEST_BPM, SLOWEST_BPM
from dance2wave.metrics.groups import mean_of_each
from dance2wave.metrics.report_tables import Figure

TURNING_BPM, TEMPO_TOLERANCE = 105.0, 0.04
# Tempi that dancers keep; faster or slower ones are heard an octave off.
TEMPI_BPM = (70.0, 170.0)

# What is heard before a change, of C clips; and after each of S changes.
Compare = Callable[[Sequence, Sequence[Sequence]], Sequence[float]]


def beside_chance(
  compare: Compare,
  before_C: Sequence,
  after_SC: Sequence[Sequence],
  other_C: Sequence[int | None],
) -> dict[str, list[float]]:
  """Return what is compared of each clip, by name: '' and what chance gets.

  Args:
    compare: `compare(before_C, after_SC)` returns a figure for each clip.
    before_C: of each clip, before any change.
    after_SC: of each change and clip.
    other_C: another dance for each, None where there is none.
  """
  found = {
    '': list(compare(before_C, after_SC)),
    'unchanged': list(compare(before_C, [before_C] * len(after_SC))),
  }
  has_other = [c for c, other in enumerate(other_C) if other is not None]
  if has_other:
    mine = [before_C[c] for c in has_other]
    others = [[after_C[other_C[c]] for c in has_other] for after_C in after_SC]
    found['shuffled'] = list(compare(mine, others))
  return found


def make_figure(
  key: str,
  name: str,
  found: Mapping[str, Sequence[float]],
  better: str,
  unit: str,
  what: str,
  groups: Sequence[str],
) -> Figure:
  """Return a figure over groups of clips with its controls.

  Args:
    key, name, better, unit: of the figure.
    found: values of the clips by name, from `beside_chance`.
    what: one sentence.
    groups: of each clip; see `ruler.groups_of`.
  """
  intervals = {
    name: tuple(statistics.bootstrap_interval(mean_of_each(values, groups)))[:3]
    for name, values in found.items()
  }
  own = intervals.pop('')
  known = {k: v for k, v in intervals.items() if math.isfinite(v[0])}
  return Figure(key, name, *own, better, unit, what, known)


def later_s(before_s: np.ndarray, after_s: np.ndarray, shift_s: float) -> float:
  """Return how much later beats became, looked for around `shift_s`."""
  if len(before_s) < 2 or not len(after_s):
    return math.nan
  errors_s, _ = timing.phase_errors_s(before_s + shift_s, after_s)
  return shift_s + float(np.median(errors_s)) if len(errors_s) else math.nan


def slope(x: Sequence[float], y: Sequence[float]) -> float:
  """Return the slope of the line through 0 that fits best; NaN left out."""
  x, y = np.asarray(x, float), np.asarray(y, float)
  known = np.isfinite(y)
  if not known.any():
    return math.nan
  return float(x[known] @ y[known] / (x[known] @ x[known]))


def log_ratio(
  before_s: np.ndarray, after_s: np.ndarray, factor: float
) -> float:
  """Return the logarithm of how much longer the median interval became.

  Not a number where the stretched tempo would be none that dancers have.
  """
  periods = [statistics.median_period_s(b) for b in (before_s, after_s)]
  slowest_bpm, fastest_bpm = TEMPI_BPM
  if not slowest_bpm <= 60 / (periods[0] * factor) <= fastest_bpm:
    return math.nan
  return float(np.log(periods[1] / periods[0]))


def shifts_of_beats(shifts_S: Sequence[float], is_residual: bool) -> Compare:
  """Return what compares beats before and after shifts of the dance.

  Args:
    shifts_S: in seconds.
    is_residual: whether it finds the median distance from the shift, in ms,
      or the slope of how much later beats became.
  """

  def compare(before_C, after_SC):
    later_CS = np.array(
      [
        [later_s(before, after, s) for s, after in zip(shifts_S, afters)]
        for before, afters in zip(before_C, zip(*after_SC))
      ]
    )
    if not is_residual:
      return [slope(shifts_S, later_S) for later_S in later_CS]
    left_CS = 1000 * np.abs(later_CS - np.asarray(shifts_S))
    return [statistics.median_of_known(left_S) for left_S in left_CS]

  return compare


def stretches_of_beats(factors_S: Sequence[float]) -> Compare:
  """Return what finds the slope of the logarithms of intervals."""

  def compare(before_C, after_SC):
    return [
      slope(
        np.log(factors_S),
        [log_ratio(before, a, f) for a, f in zip(afters, factors_S)],
      )
      for before, afters in zip(before_C, zip(*after_SC))
    ]

  return compare


def same_beats(before_C, after_1C):
  """Return F at 70 ms of the beats after a change against those before."""
  return [
    timing.beat_f(before, after) if len(before) > 1 else math.nan
    for before, after in zip(before_C, after_1C[0])
  ]


def other_octave_bpm(beats_s: np.ndarray) -> float:
  """Return twice the tempo of slow beats, half that of fast ones.

  Not a number where no such beats would be heard.
  """
  bpm = 60 / statistics.median_period_s(beats_s)
  bpm *= 2 if bpm < TURNING_BPM else 0.5
  return bpm if SLOWEST_BPM <= bpm <= FASTEST_BPM else math.nan


def is_other_octave(before_C, after_1C):
  """Return 1 or 0: whether beats have the other octave of the tempo before.

  NaN where that cannot be heard.
  """
  asked_bpm = map(other_octave_bpm, before_C)
  return [_is_tempo(a, bpm) for a, bpm in zip(after_1C[0], asked_bpm)]


def _is_tempo(beats_s, bpm):
  if not math.isfinite(bpm):
    return math.nan
  heard_bpm = 60 / statistics.median_period_s(np.asarray(beats_s))
  return float(abs(heard_bpm / bpm - 1) <= TEMPO_TOLERANCE)
