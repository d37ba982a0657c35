"""Intervals cover, p-values are uniform by chance, chance F meets trials."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from dance2wave.errors import InputError
from dance2wave.metrics import statistics, timing

few = hypothesis.settings(max_examples=40, deadline=None)
values = st.lists(st.floats(0, 1).map(lambda v: round(v, 3)), max_size=12)


def even_train(rng, duration_s=8.0):
  period_s = 60 / rng.uniform(70, 170)
  return np.arange(rng.uniform(0, period_s), duration_s, period_s)


def simulated_f(reference_s, period_s, duration_s, tolerance_s, num=400):
  phases_s = (np.arange(num) + 0.5) / num * period_s
  trains = [np.arange(p, duration_s, period_s) for p in phases_s]
  scores = [
    timing.beat_f(reference_s, t, tolerance_s, duration_s) for t in trains
  ]
  return np.mean(scores)


def test_interval_holds_the_true_mean_as_often_as_it_says():
  rng, hits = np.random.default_rng(0), []
  for seed in range(150):
    scores = 1 - rng.beta(0.5, 4, size=40)  # crowded at one, as F is
    interval = statistics.bootstrap_interval(scores, num=500, seed=seed)
    hits.append(interval.low <= 1 - 0.5 / 4.5 <= interval.high)
  assert 0.88 <= np.mean(hits) <= 0.99


def test_interval_meets_the_normal_one_and_widens_with_the_level():
  scores = np.random.default_rng(0).normal(size=2000)
  mean, low, high, num_clips, num_nan = statistics.bootstrap_interval(scores)
  assert mean == pytest.approx(scores.mean())
  half = 1.96 * scores.std() / np.sqrt(2000)
  assert (low, high) == pytest.approx((mean - half, mean + half), abs=0.004)
  assert (num_clips, num_nan) == (2000, 0)
  wide = statistics.bootstrap_interval(scores, level=0.99)
  assert wide.low < low and wide.high > high


def test_seed_decides():
  scores = np.random.default_rng(0).random(30)
  first, again, other = (
    statistics.bootstrap_interval(scores, seed=seed) for seed in (0, 0, 1)
  )
  assert first == again and first != other


def test_nan_clips_are_left_out_and_counted():
  scores = [0.2, np.nan, 0.9, 0.5, np.nan]
  interval = statistics.bootstrap_interval(scores)
  assert interval[:3] == statistics.bootstrap_interval([0.2, 0.9, 0.5])[:3]
  assert (interval.num_clips, interval.num_nan) == (3, 2)


@pytest.mark.parametrize(
  ('scores', 'expected'),
  [
    ([], (np.nan, np.nan, np.nan, 0, 0)),
    ([np.nan], (np.nan, np.nan, np.nan, 0, 1)),
    ([0.3], (0.3, np.nan, np.nan, 1, 0)),
    ([0.3] * 5, (0.3, 0.3, 0.3, 5, 0)),
    ([0.0] * 5, (0, 0, 0, 5, 0)),
  ],
)
def test_intervals_of_hardly_anything(scores, expected):
  interval = statistics.bootstrap_interval(scores)
  assert interval == pytest.approx(expected, nan_ok=True)


@few
@hypothesis.given(values)
def test_interval_stays_within_the_range_of_the_values(scores):
  interval = statistics.bootstrap_interval(scores, num=99)
  if len(scores) > 1:
    slack = 1e-9
    assert min(scores) - slack <= interval.low <= interval.high
    assert interval.high <= max(scores) + slack
    assert interval.mean == pytest.approx(np.mean(scores))


def test_interval_of_a_figure_of_the_set():
  scores = np.random.default_rng(0).random(200)
  of_mean = statistics.bootstrap_statistic(lambda i: scores[i].mean(), 200)
  other = statistics.bootstrap_interval(scores)
  assert of_mean[:3] == pytest.approx(other[:3], abs=0.01)
  of_median = statistics.bootstrap_statistic(
    lambda i: np.median(scores[i]), 200
  )
  assert of_median.low < np.median(scores) == of_median.mean < of_median.high
  again = statistics.bootstrap_statistic(lambda i: np.median(scores[i]), 200)
  assert again == of_median


@pytest.mark.parametrize(('level', 'sigmas'), [(0.9, 1.645), (0.6, 0.842)])
def test_interval_of_a_figure_of_the_set_is_as_wide_as_its_level(level, sigmas):
  scores = np.random.default_rng(0).normal(size=400)
  interval = statistics.bootstrap_statistic(
    lambda i: scores[i].mean(), 400, level=level
  )
  half = sigmas * scores.std() / 20
  mean = scores.mean()
  assert interval[1:3] == pytest.approx(
    (mean - half, mean + half), abs=0.1 * half
  )


def test_figures_of_the_set_that_do_not_exist():
  empty = statistics.bootstrap_statistic(lambda i: 1.0, 0)
  assert np.isnan(empty[:3]).all() and empty.num_clips == 0
  nowhere = statistics.bootstrap_statistic(lambda i: np.nan, 5, num=9)
  assert np.isnan(nowhere[:3]).all()


@pytest.mark.parametrize(('level', 'num'), [(0, 9), (1, 9), (95, 9), (0.9, 0)])
def test_levels_and_resamples_are_checked(level, num):
  with pytest.raises(InputError, match=f'level {level} with {num} resamples'):
    statistics.bootstrap_interval([1, 2, 3], level=level, num=num)
  with pytest.raises(InputError, match='2000 are usual'):
    statistics.bootstrap_statistic(len, 3, level=level, num=num)


def test_pair_scores_are_estimates_by_references():
  scores_NN = statistics.pair_scores(lambda i, j: 10 * i + j, 3)
  np.testing.assert_array_equal(scores_NN[1], [10, 11, 12])
  assert statistics.pair_scores(lambda i, j: 0.0, 0).shape == (0, 0)


def test_a_clear_relation_has_the_least_p():
  scores_NN = np.eye(20) + 0.1 * np.random.default_rng(0).random((20, 20))
  assert statistics.permutation_p(scores_NN, num=999) == 1 / 1000
  assert statistics.permutation_p(-scores_NN, num=999) > 0.99
  p = statistics.permutation_p(-scores_NN, num=999, is_distance=True)
  assert p == 1 / 1000


@pytest.mark.parametrize(
  ('num_clips', 'p'), [(2, 1 / 2), (3, 1 / 6), (4, 1 / 24), (5, 1 / 120)]
)
def test_few_clips_cannot_look_sure(num_clips, p):
  assert statistics.permutation_p(np.eye(num_clips)) == pytest.approx(p)


@pytest.mark.parametrize('num_clips', [5, 8])
def test_p_is_uniform_without_a_relation(num_clips):
  rng = np.random.default_rng(0)
  p = [
    statistics.permutation_p(rng.random((num_clips,) * 2), num=99, seed=seed)
    for seed in range(400)
  ]
  assert np.mean(p) == pytest.approx(0.5, abs=0.04)
  assert 0.02 <= np.mean(np.array(p) <= 0.05) <= 0.08
  assert min(p) > 0


def test_easy_clips_are_no_evidence():
  # Some dances score high with every music: a relation of no pair.
  scores_NN = np.tile(np.random.default_rng(0).random(12)[:, None], 12)
  assert statistics.permutation_p(scores_NN) == 1
  assert statistics.permutation_p(scores_NN.T) == 1
  assert statistics.permutation_p(np.full((9, 9), 0.1)) == 1


def test_clips_without_a_score_of_their_own_are_left_out():
  rng = np.random.default_rng(0)
  scores_NN = np.eye(9) + rng.random((9, 9))
  whole = statistics.permutation_p(scores_NN[:8, :8])
  scores_NN[8] = scores_NN[:, 8] = np.nan
  assert statistics.permutation_p(scores_NN) == whole
  scores_NN[0, 1] = np.nan  # one pair less changes little
  assert statistics.permutation_p(scores_NN) == pytest.approx(whole, abs=0.01)
  for few_NN in (np.zeros((0, 0)), np.ones((1, 1)), np.full((4, 4), np.nan)):
    assert np.isnan(statistics.permutation_p(few_NN))
  only = np.array([[1, np.nan], [np.nan, 1]])
  assert statistics.permutation_p(only) == 1 / 2
  with pytest.raises(InputError, match=r'shape \(2, 3\)'):
    statistics.permutation_p(np.ones((2, 3)))


def test_median_period():
  assert statistics.median_period_s([1.5, 0, 0.5, 1.0, 1.0]) == 0.5
  assert np.isnan(statistics.median_period_s([1.0]))
  assert np.isnan(statistics.median_period_s([]))


@pytest.mark.parametrize('tolerance_s', [0.07, 0.035])
@pytest.mark.parametrize('duration_s', [2.0, 8.3])
@pytest.mark.parametrize('period_s', [60 / 72, 60 / 120, 60 / 167, 0.093])
def test_chance_f_meets_trials(tolerance_s, duration_s, period_s):
  rng = np.random.default_rng(0)
  for tempo_bpm in (70, 121, 168):
    reference_s = np.arange(rng.uniform(0, 0.5), duration_s, 60 / tempo_bpm)
    reference_s += 0.01 * rng.normal(size=len(reference_s))
    args = reference_s, period_s, duration_s, tolerance_s
    assert statistics.chance_f(*args) == pytest.approx(
      simulated_f(*args), abs=0.005
    )


@pytest.mark.parametrize(
  ('true_s', 'period_s'),
  [(0.1, 0.1), (0.1, 0.5), (0.5, 0.1), (0.093, 0.12), (0.05, 0.3)],
)
def test_chance_f_where_windows_overlap(true_s, period_s):
  args = np.arange(0.03, 8, true_s), period_s, 8.0, 0.07
  assert statistics.chance_f(*args) == pytest.approx(
    simulated_f(*args, num=200), abs=0.005
  )


def test_chance_f_of_two_uneven_clusters():
  reference_s = np.array([0.02, 0.05, 0.09, 2.0, 2.06, 2.9, 2.99, 3.5])
  args = reference_s, 0.4, 3.0, 0.07
  assert statistics.chance_f(*args) == pytest.approx(
    simulated_f(*args, num=2000), abs=0.005
  )


@few
@hypothesis.given(
  st.lists(st.floats(0, 10), min_size=1, max_size=20),
  st.floats(0.02, 5),
  st.floats(0.5, 12),
  st.floats(0.005, 0.3),
)
def test_chance_f_is_bounded_and_grows_with_tolerance(
  reference_s, period_s, duration_s, tolerance_s
):
  hypothesis.assume(min(reference_s) < duration_s)
  args = np.array(reference_s), period_s, duration_s
  score = statistics.chance_f(*args, tolerance_s)
  assert 0 <= score <= 1
  assert statistics.chance_f(*args, 2 * tolerance_s) >= score - 1e-9


def test_independent_trains_of_70_to_170_bpm():
  rng = np.random.default_rng(0)
  references = [even_train(rng) for _ in range(80)]
  periods_s = [statistics.median_period_s(r) for r in references]
  for tolerance_s, expected in ((0.07, 0.27), (0.035, 0.13)):
    args = references, periods_s, [8.0] * 80, tolerance_s
    chance = statistics.shuffled_chance_f(*args)
    assert chance == pytest.approx(expected, abs=0.01)
    trials = [
      timing.beat_f(references[i], even_train(rng), tolerance_s)
      for i in range(80)
      for _ in range(20)
    ]
    assert chance == pytest.approx(np.mean(trials), abs=0.015)
    own = statistics.analytic_chance_f(*args)
    formula = np.mean([2 * tolerance_s / p for p in periods_s])
    assert own == pytest.approx(formula, abs=0.01)


def test_chance_of_clips_without_beats_or_tempo():
  grid_s = np.arange(0.25, 8, 0.5)
  assert np.isnan(statistics.chance_f(np.zeros(0), 0.5, 8.0, 0.07))
  assert np.isnan(statistics.chance_f(grid_s, 0.5, 0.1, 0.07))
  assert statistics.chance_f(grid_s, np.nan, 8.0, 0.07) == 0
  chance = statistics.chance_f(grid_s, 0.5, 8.0, 0.07)
  args = [grid_s, np.zeros(0)], [0.5, 0.5], [8.0, 8.0], 0.07
  assert statistics.analytic_chance_f(*args) == chance
  assert statistics.shuffled_chance_f(*args) == chance
  one = [grid_s], [0.5], [8.0], 0.07
  assert np.isnan(statistics.shuffled_chance_f(*one))


def test_shuffled_chance_cuts_a_pair_to_the_shorter_clip():
  early_s = np.arange(0.25, 4, 0.5)  # nothing in the second half of 8 s
  args = [early_s, early_s], [0.5, 0.5], [8.0, 4.0], 0.07
  expected = statistics.chance_f(early_s, 0.5, 4.0, 0.07)
  assert statistics.shuffled_chance_f(*args) == pytest.approx(expected)
  assert statistics.chance_f(early_s, 0.5, 8.0, 0.07) < 0.8 * expected
