"""Say how sure a figure is, and what chance would have scored.

clips ──> one value each ──> bootstrap_interval ──> mean, low, high
N x N scores of estimate i against reference j ──> permutation_p
references and periods alone ──> analytic_chance_f, shuffled_chance_f
"""

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from dance2wave.errors import InputError

_ALL_ORDERS_UP_TO = 7  # clips: 5040 orders


class Interval(NamedTuple):
  """A figure over clips and its confidence interval.

  Attributes:
    mean: of the clips that have a value, or the statistic of all clips.
    low: lower bound.
    high: upper bound.
    num_clips: how many clips have a value.
    num_nan: how many have none and were left out.
  """

  mean: float
  low: float
  high: float
  num_clips: int
  num_nan: int


def _check_resampling(level: float, num: int) -> None:
  if not 0 < level < 1 or num < 1:
    raise InputError(
      f'level {level} with {num} resamples; expected a level between 0 and 1 '
      'and at least 1 resample; 0.95 and 2000 are usual'
    )


def bootstrap_interval(
  values: Sequence[float],
  *,
  level: float = 0.95,
  num: int = 2000,
  seed: int = 0,
) -> Interval:
  """Return the mean over clips with its bootstrap interval.

  Bias-corrected and accelerated (BCa; Efron 1987), because scores that crowd
  at 1 are skewed; equal values have an interval of no width. Clips are drawn
  as if independent: average over clips that share a performance first.

  Args:
    values: one per clip; NaN clips are left out and counted.
    level: share of intervals that hold the true mean.
    num: resamples.
    seed: of the resamples; equal seeds give equal intervals.

  Returns:
    All NaN where no clip has a value; low and high NaN where only one has.

  Raises:
    InputError: level or num make no sense.
  """
  import scipy.stats

  _check_resampling(level, num)
  values = np.asarray(values, float)
  known = values[~np.isnan(values)]
  counts = len(known), len(values) - len(known)
  if len(known) < 2:
    mean = float(known[0]) if len(known) else math.nan
    return Interval(mean, math.nan, math.nan, *counts)
  mean = float(known.mean())
  if np.ptp(known) <= 1e-12 * np.abs(known).max():
    return Interval(mean, mean, mean, *counts)
  low, high = scipy.stats.bootstrap(
    (known,),
    np.mean,
    n_resamples=num,
    batch=max(1, 10**6 // len(known)),
    confidence_level=level,
    method='BCa',
    rng=np.random.default_rng(seed),
  ).confidence_interval
  return Interval(mean, float(low), float(high), *counts)


def bootstrap_statistic(
  statistic: Callable[[np.ndarray], float],
  num_clips: int,
  *,
  level: float = 0.95,
  num: int = 2000,
  seed: int = 0,
) -> Interval:
  """Return a figure of a whole set of clips with its percentile interval.

  A clip that is drawn twice counts twice. A distance between distributions
  grows with that, so that its interval may lie above its value.

  Args:
    statistic: takes (num_clips,) indices of clips, returns a figure.
    num_clips: size of the set.
    level: share of intervals that hold the true figure.
    num: resamples, each one call; those whose figure is NaN are left out.
    seed: of the resamples.

  Returns:
    All NaN without clips; low and high NaN where no resample has a figure.

  Raises:
    InputError: level or num make no sense.
  """
  _check_resampling(level, num)
  if not num_clips:
    return Interval(math.nan, math.nan, math.nan, 0, 0)
  value = float(statistic(np.arange(num_clips)))
  rng = np.random.default_rng(seed)
  figures = np.array(
    [statistic(rng.integers(num_clips, size=num_clips)) for _ in range(num)]
  )
  figures = figures[~np.isnan(figures)]
  low = high = math.nan
  if len(figures):
    low, high = np.quantile(figures, [(1 - level) / 2, (1 + level) / 2])
  return Interval(value, float(low), float(high), num_clips, 0)


def pair_scores(
  score: Callable[[int, int], float], num_clips: int
) -> np.ndarray:
  """Return the (N, N) scores of every estimate against every reference.

  Args:
    score: takes the index of the estimate, then that of the reference.
    num_clips: N; the score is called N * N times.
  """
  return np.array(
    [[score(i, j) for j in range(num_clips)] for i in range(num_clips)], float
  ).reshape(num_clips, num_clips)


def _orders(num_clips: int, num: int, seed: int) -> Iterable[np.ndarray]:
  """Return all orders of a few clips but the first, or `num` random ones."""
  if num_clips <= _ALL_ORDERS_UP_TO:
    orders = itertools.permutations(range(num_clips))
    return map(np.array, itertools.islice(orders, 1, None))
  rng = np.random.default_rng(seed)
  return (rng.permutation(num_clips) for _ in range(num))


def permutation_p(
  scores_NN: np.ndarray,
  *,
  num: int = 5000,
  seed: int = 0,
  is_distance: bool = False,
) -> float:
  """Return the p-value of the mean of the right pairs against shuffled ones.

  One-sided: (1 + shuffles whose mean is at least as good) / (1 + shuffles),
  never zero (Phipson and Smyth 2010); uniform in (0, 1] where nothing relates
  the pairs. A shuffle is any order of the clips: derangements alone are no
  group and reject too often (9 % at p <= 0.05 with 8 clips). Up to 7 clips all
  orders are taken, so that few clips cannot look sure: p >= 1/2 for 2 clips.

  Args:
    scores_NN: score of estimate i against reference j, as of `pair_scores`;
      the diagonal holds the right pairs. Clips whose own score is NaN are left
      out, other NaN count as no pair.
    num: shuffles of more than 7 clips.
    seed: of the shuffles.
    is_distance: whether small scores are the good ones.

  Returns:
    NaN for fewer than two clips.

  Raises:
    InputError: the scores are no square.
  """
  scores_NN = np.asarray(scores_NN, float)
  if scores_NN.ndim != 2 or scores_NN.shape[0] != scores_NN.shape[1]:
    raise InputError(
      f'scores of shape {scores_NN.shape}; expected (N, N), estimates by '
      'references; score every pair with pair_scores'
    )
  known = np.flatnonzero(~np.isnan(np.diag(scores_NN)))
  if len(known) < 2:
    return math.nan
  good_NN = (-1 if is_distance else 1) * scores_NN[np.ix_(known, known)]
  paired = np.diag(good_NN).mean()
  rows = np.arange(len(known))
  means = []
  for order in _orders(len(known), num, seed):
    others = good_NN[rows, order]
    others = others[~np.isnan(others)]
    means.append(others.mean() if len(others) else -np.inf)
  # Sums in another order may differ in the last bits; equal is equal.
  slack = 1e-12 * np.abs(paired)
  return float(
    (1 + np.sum(np.array(means) >= paired - slack)) / (1 + len(means))
  )


def median_period_s(beats_s: np.ndarray) -> float:
  """Return the median interval between beats; NaN for fewer than two."""
  beats_s = np.unique(np.asarray(beats_s, float))
  return float(np.median(np.diff(beats_s))) if len(beats_s) > 1 else math.nan


def _expected_matches(
  windows: tuple[np.ndarray, np.ndarray, np.ndarray],
  period_s: float,
  phases_s: tuple[float, float],
) -> float:
  """Return the expected matches that a train of phases [a, b) contributes.

  Args:
    windows: (low, free, high) of each beat in seconds; [free, high] is what
      the window before does not cover.
    period_s: of the train; its phase is uniform in [0, period_s).
    phases_s: a and b.
  """
  low_s, free_s, high_s = windows

  def length_before(time_s, phase_s):
    turns, rest_s = np.divmod(time_s, period_s)
    return turns * phase_s + np.minimum(rest_s, phase_s)

  def length(start_s):
    inside_s = [
      length_before(high_s, phase_s) - length_before(start_s, phase_s)
      for phase_s in phases_s
    ]
    return np.maximum(inside_s[1] - inside_s[0], 0)

  alone_s = np.minimum(length(low_s), phases_s[1] - phases_s[0])
  return float(min(length(free_s).sum(), alone_s.sum())) / period_s


def chance_f(
  reference_s: np.ndarray,
  period_s: float,
  duration_s: float,
  tolerance_s: float,
) -> float:
  """Return the beat F that an even train of a random phase is expected to get.

  With a phase uniform in one period q, an estimate lies in a window of length
  w with probability w / q, capped at one; windows that overlap share their
  estimates. So the expected matches are min(|union of w_i| / q,
  sum_i min(1, w_i / q)) over windows cut to the clip, about
  F = 4 tolerance / (p + q) for an even reference of period p. Phases below
  duration mod q fit one estimate more and are counted apart, which makes F
  exact where beats and q are longer than a window, and right within 0.005
  elsewhere.

  Args:
    reference_s: true beats; those from the end of the clip on do not count.
    period_s: of the train; NaN is an estimate without tempo, which scores 0.
    duration_s: of the clip.
    tolerance_s: largest distance of a match.

  Returns:
    NaN where the reference has no beats, else 0 to 1.
  """
  reference_s = np.sort(np.asarray(reference_s, float))
  reference_s = reference_s[reference_s < duration_s]
  if not len(reference_s):
    return math.nan
  if not 0 < period_s < math.inf:
    return 0.0
  low_s, high_s = (
    np.clip(reference_s + side_s, 0, duration_s)
    for side_s in (-tolerance_s, tolerance_s)
  )
  windows = low_s, np.maximum(low_s, np.r_[0, high_s[:-1]]), high_s
  num, rest_s = divmod(duration_s, period_s)
  more = _expected_matches(windows, period_s, (0, rest_s))
  less = _expected_matches(windows, period_s, (rest_s, period_s))
  size = len(reference_s) + num
  return min(1.0, float(2 * more / (size + 1) + 2 * less / size))


def analytic_chance_f(
  references_s: Sequence[np.ndarray],
  periods_s: Sequence[float],
  durations_s: Sequence[float],
  tolerance_s: float,
) -> float:
  """Return what right tempi at random phases are expected to score.

  The mean over clips of `chance_f` with each clip's own period: what the
  metronome of the true tempo and random phase gets.

  Args:
    references_s: true beats of each clip; clips without are left out.
    periods_s: of each clip's train: `median_period_s` of the estimates, or
      60 / tempo.
    durations_s: of each clip.
    tolerance_s: largest distance of a match.
  """
  clips = zip(references_s, periods_s, durations_s)
  return mean_of_known([chance_f(*clip, tolerance_s) for clip in clips])


def shuffled_chance_f(
  references_s: Sequence[np.ndarray],
  periods_s: Sequence[float],
  durations_s: Sequence[float],
  tolerance_s: float,
) -> float:
  """Return what other clips' tempi at random phases are expected to score.

  The mean of `chance_f` over all pairs of different clips, each cut to the
  shorter one: what shuffled pairs get when their phases are independent. Takes
  the same arguments as `analytic_chance_f`; NaN for a single clip.
  """
  pairs = itertools.permutations(range(len(references_s)), 2)
  return mean_of_known(
    [
      chance_f(
        references_s[j],
        periods_s[i],
        min(durations_s[i], durations_s[j]),
        tolerance_s,
      )
      for i, j in pairs
    ]
  )


def median_of_known(values: Sequence[float]) -> float:
  """Return the median without NaN; NaN where nothing is left."""
  known = [value for value in values if not math.isnan(value)]
  return float(np.median(known)) if known else math.nan


def mean_of_known(values: Sequence[float]) -> float:
  """Average without NaN; NaN where nothing is left."""
  known = [value for value in values if not math.isnan(value)]
  return float(np.mean(known)) if known else math.nan
