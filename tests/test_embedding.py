"""Embeddings, the Fréchet distance between sets of them, and diversity."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from dance2wave.datasets.synthetic_dance.generate import Task, make_clip
from dance2wave.errors import InputError
from dance2wave.media.audio import resample
from dance2wave.metrics import embedding as em

few = hypothesis.settings(max_examples=25, deadline=None)
seeds = st.integers(0, 2**32 - 1)


def noise(seed=0, num=16000, gain=0.1):
  samples_T = gain * np.random.default_rng(seed).normal(size=num)
  return np.clip(samples_T, -1, 1).astype(np.float32)


def sine(frequency_hz, rate_hz, duration_s=2.0):
  time_T = np.arange(round(duration_s * rate_hz)) / rate_hz
  return np.sin(2 * np.pi * frequency_hz * time_T).astype(np.float32)


def draw(seed, num=40, dim=5):
  rng = np.random.default_rng(seed)
  mixing_DD = rng.normal(size=(dim, dim))
  return rng.normal(size=(num, dim)) @ mixing_DD + rng.normal(size=dim)


def gaussian(seed, dim=4):
  rows = draw(seed, 50, dim)
  return rows.mean(axis=0), np.cov(rows.T)


# Log-mel statistics.


def parts(audio_T, rate_hz, **options):
  statistics = em.log_mel_statistics(audio_T, rate_hz, **options)
  assert statistics.shape == (em.LOG_MEL_DIM,)
  return np.split(statistics, 3)


def test_silence_is_all_floor():
  mean, deviation, change = parts(np.zeros(9000, np.float32), 8000)
  np.testing.assert_allclose(mean, -70, atol=1e-9)
  assert not deviation.any() and not change.any()
  mean, _, _ = parts(np.zeros(9000, np.float32), 8000, floor_db=-50)
  np.testing.assert_allclose(mean, -50, atol=1e-9)


@pytest.mark.parametrize(('hz', 'low', 'high'), [(150, 0, 2), (3200, 21, 24)])
def test_a_sine_is_loud_in_its_band_only(hz, low, high):
  mean, deviation, change = parts(sine(hz, 16000), 16000)
  loud = np.flatnonzero(mean > -20)
  assert len(loud) and low <= loud.min() and loud.max() < high
  assert mean.max() < 0 and np.median(mean) < -60
  assert deviation[loud].max() < 1 and change[loud].max() < 0.5


def test_a_step_moves_the_deviation_and_not_the_change():
  steady_T = noise(num=32000, gain=0.05)
  step_T = steady_T.copy()
  step_T[16000:] *= np.float32(10)
  step_T = np.clip(step_T, -1, 1)
  steady, step = parts(steady_T, 8000), parts(step_T, 8000)
  assert (step[1] - steady[1] > 4).all()
  np.testing.assert_allclose(step[2], steady[2], atol=0.5)
  assert (steady[2] > 0.5).all()  # noise is restless in every band


def test_gain_shifts_the_means_alone():
  before = parts(noise(gain=0.2), 8000, floor_db=-200)
  after = parts(noise(gain=0.2) * np.float32(0.5), 8000, floor_db=-200)
  np.testing.assert_allclose(after[0], before[0] - 20 * np.log10(2), atol=1e-3)
  np.testing.assert_allclose(after[1:], before[1:], atol=1e-3)


@pytest.mark.parametrize('rate_hz', [8000, 22050, 44100])
def test_the_rate_does_not_matter(rate_hz):
  music_T = make_clip(Task(0, 'test'))['audio'].astype(np.float32) / 32768
  other_T = resample(music_T, 16000, rate_hz)
  np.testing.assert_allclose(
    em.log_mel_statistics(other_T, rate_hz),
    em.log_mel_statistics(music_T, 16000),
    atol=0.01,
  )


def test_one_sample_is_enough_and_none_is_not():
  assert np.isfinite(parts(np.ones(1, np.float32), 8000)).all()
  with pytest.raises(InputError, match='0 samples'):
    em.log_mel_statistics(np.zeros(0, np.float32), 8000)
  with pytest.raises(InputError, match='4000 Hz'):
    em.log_mel_statistics(noise(), 4000)
  with pytest.raises(InputError, match='one axis of floats'):
    em.log_mel_statistics(np.zeros(100, np.int16), 8000)


# Embeddings of the caller.


def mean_and_rms(audio_T, sample_rate_hz):
  assert sample_rate_hz == 8000
  return np.array([audio_T.mean(), audio_T.std()])


def test_embed_with_the_callers_function():
  audios = [noise(seed) for seed in range(3)]
  rows = em.embed(audios, 8000, mean_and_rms)
  assert rows.shape == (3, 2)
  np.testing.assert_allclose(rows[1], mean_and_rms(audios[1], 8000))
  assert em.embed(audios, 8000).shape == (3, em.LOG_MEL_DIM)
  assert em.embed([], 8000).shape == (0, 0)


def test_embeddings_of_different_lengths_are_refused():
  with pytest.raises(InputError, match='of one D'):
    em.embed([noise(num=3), noise(num=4)], 8000, lambda a_T, _: a_T)
  with pytest.raises(InputError, match='of one D'):
    em.embed([noise()], 8000, lambda a_T, _: a_T.mean())


def test_embedding_by_name():
  name = 'dance2wave.metrics.embedding:log_mel_statistics'
  assert em.embedding_named(name) is em.log_mel_statistics


@pytest.mark.parametrize(
  'name',
  [
    *('', ':', 'no_such_module:f', 'dance2wave.metrics.embedding'),
    *('dance2wave.metrics.embedding:no', 'dance2wave.metrics.embedding:math'),
  ],
)
def test_bad_names_are_refused(name):
  with pytest.raises(InputError, match='correct the name'):
    em.embedding_named(name)


# Fréchet distance.


def test_closed_form_of_gaussians_in_one_dimension():
  a, b = ((np.array([m]), np.array([[s**2]])) for m, s in ((1, 2), (4, 7)))
  assert em.frechet_distance(a, b) == pytest.approx(3**2 + 5**2)


def test_closed_form_of_gaussians_that_commute():
  rng = np.random.default_rng(0)
  axes_DD, _ = np.linalg.qr(rng.normal(size=(6, 6)))
  first_D, second_D = rng.uniform(0, 3, size=(2, 6))
  first_D[2] = second_D[3] = 0.0  # not of full rank
  mean_D = rng.normal(size=6)
  a = (mean_D, axes_DD * first_D**2 @ axes_DD.T)
  b = (np.zeros(6), axes_DD * second_D**2 @ axes_DD.T)
  expected = np.sum(mean_D**2) + np.sum((first_D - second_D) ** 2)
  assert em.frechet_distance(a, b) == pytest.approx(expected)


def test_gaussians_that_do_not_commute_agree_with_the_matrix_root():
  import scipy.linalg

  (mean_a, cov_a), (mean_b, cov_b) = gaussian(0), gaussian(1)
  root = scipy.linalg.sqrtm(cov_a @ cov_b).real
  expected = np.sum((mean_a - mean_b) ** 2)
  expected += np.trace(cov_a + cov_b - 2 * root)
  found = em.frechet_distance((mean_a, cov_a), (mean_b, cov_b))
  assert found == pytest.approx(expected)


@few
@hypothesis.given(seeds, seeds, st.integers(2, 30), st.floats(1e-3, 1e3))
def test_distance_is_a_symmetric_square(seed_a, seed_b, num, scale):
  a, b = draw(seed_a, num) * scale, draw(seed_b, num + 3) * scale
  size = scale**2 * 1e3
  distance = em.frechet_distance(a, b)
  assert distance >= 0
  assert em.frechet_distance(b, a) == pytest.approx(distance, abs=1e-8 * size)
  assert em.frechet_distance(a, a) == pytest.approx(0, abs=1e-8 * size)
  assert em.frechet_distance(a / scale, b / scale) == pytest.approx(
    distance / scale**2, rel=1e-6, abs=1e-5
  )
  assert em.frechet_distance(a + 5, b + 5) == pytest.approx(
    distance, rel=1e-6, abs=1e-6 * size
  )


def test_a_shift_of_one_set_is_its_square():
  rows = draw(0)
  shift_D = np.arange(5.0)
  found = em.frechet_distance(rows, rows + shift_D)
  assert found == pytest.approx(np.sum(shift_D**2))


def test_few_sounds_of_many_dimensions_are_safe():
  rng = np.random.default_rng(0)
  a, b = rng.normal(size=(2, 3, 72))
  assert 0 < em.frechet_distance(a, b) < 1e3
  assert em.frechet_distance(np.ones((4, 9)), np.ones((2, 9))) == 0.0
  # Fewer sounds than dimensions: the plain covariance is singular.
  assert em.frechet_distance(a, a) == pytest.approx(0, abs=1e-8)


def test_shrinkage_keeps_variances_and_lets_go_with_more_sounds():
  rng = np.random.default_rng(0)
  shrunk = []
  for num in (8, 50, 5000):
    rows = rng.normal(size=(num, 30)) * np.arange(1, 31)
    rows[:, 1] = rows[:, 0] + 0.1 * rows[:, 1]
    mean_D, covariance_DD = em.mean_and_covariance(rows)
    plain_DD = np.cov(rows.T)
    np.testing.assert_allclose(mean_D, rows.mean(axis=0))
    np.testing.assert_allclose(np.diag(covariance_DD), np.diag(plain_DD))
    shrunk.append(1 - covariance_DD[0, 1] / plain_DD[0, 1])
  # All columns but two are independent: correlations of few rows are chance.
  assert shrunk[0] > 0.7 and shrunk[1] > 0.7 and shrunk[2] < 0.15
  unit_ND = rng.normal(size=(5000, 1)) + 0.5 * rng.normal(size=(5000, 30))
  _, covariance_DD = em.mean_and_covariance(unit_ND)
  np.testing.assert_allclose(covariance_DD, np.cov(unit_ND.T), rtol=2e-3)


def test_shrinkage_is_that_of_the_paper():
  """Schäfer and Strimmer's lambda, entry by entry."""
  rows = draw(3, num=9, dim=3)
  unit = (rows - rows.mean(axis=0)) / rows.std(axis=0, ddof=1)
  variance = square = 0.0
  for i in range(3):
    for j in range(3):
      if i != j:
        product_N = unit[:, i] * unit[:, j]
        spread = np.sum((product_N - product_N.mean()) ** 2)
        variance += 9 / 8**3 * spread
        square += (9 / 8 * product_N.mean()) ** 2
  _, covariance_DD = em.mean_and_covariance(rows)
  expected = (1 - min(1, variance / square)) * np.cov(rows.T)[0, 1]
  assert covariance_DD[0, 1] == pytest.approx(expected)


def test_halves_shrink_with_the_number_of_sounds():
  halves = [em.frechet_halves(draw(0, num)) for num in (10, 40, 400)]
  assert halves[0] > 2 * halves[1] > 4 * halves[2] > 0
  assert em.frechet_halves(draw(0)) == em.frechet_halves(draw(0))
  assert em.frechet_halves(draw(0), seed=1) != em.frechet_halves(draw(0))


def test_halves_are_equal_and_disjoint(monkeypatch):
  pairs = []
  monkeypatch.setattr(
    em, 'frechet_distance', lambda a, b: pairs.append((a, b)) or 2.0
  )
  assert em.frechet_halves(np.arange(9.0)[:, None], num_splits=3) == 2.0
  for left, right in pairs:
    assert len(left) == len(right) == 4
    assert len({*left[:, 0], *right[:, 0]}) == 8


@pytest.mark.parametrize(
  ('a', 'b', 'message'),
  [
    (np.ones((5, 3)), np.ones((5, 2)), 'same embedding'),
    (np.ones((1, 3)), np.ones((5, 3)), 'N >= 2'),
    (np.ones(5), np.ones((5, 3)), 'N >= 2'),
    (np.ones((5, 0)), np.ones((5, 0)), 'N >= 2'),
    (np.full((5, 3), np.nan), np.ones((5, 3)), 'NaN'),
    ((np.ones(3), np.ones((2, 2))), np.ones((5, 3)), r'\(D, D\)'),
    ((np.ones(2), np.full((2, 2), np.inf)), np.ones((5, 2)), 'NaN'),
  ],
)
def test_what_has_no_distance_is_refused(a, b, message):
  with pytest.raises(InputError, match=message):
    em.frechet_distance(a, b)


def test_halves_of_three_are_refused():
  with pytest.raises(InputError, match='N >= 4'):
    em.frechet_halves(np.ones((3, 2)))


# Diversity.


def test_diversity():
  corners = np.array([[0.0, 0], [3, 0], [0, 4]])
  assert em.diversity(corners) == pytest.approx((3 + 4 + 5) / 3)
  assert em.diversity(corners + 7) == pytest.approx(4)
  assert em.diversity(np.ones((6, 3))) == 0.0
  assert np.isnan(em.diversity(corners[:1]))
  assert np.isnan(em.diversity(corners[:0]))
  with pytest.raises(InputError, match='NaN'):
    em.diversity(np.full((3, 2), np.nan))


# What docstrings state of synthetic_dance.


@pytest.mark.slow
def test_stated_distances_of_originals():
  audios = [
    make_clip(Task(i, 'train'))['audio'].astype(np.float32) / 32768
    for i in range(256)
  ]
  rows = em.embed(audios, 16000)
  for num, expected in ((32, 104), (64, 52), (128, 30)):
    # Splits of one set of 256 are not as free as draws from 600.
    found = np.mean(
      [
        em.frechet_halves(rows[start : start + 2 * num], num_splits=20)
        for start in range(0, 256, 2 * num)
      ]
    )
    assert found == pytest.approx(expected, rel=0.35)
  silent = em.embed([0 * a_T for a_T in audios[:64]], 16000)
  assert em.frechet_distance(silent, rows[:64]) > 4000
  rng = np.random.default_rng(0)

  def noisy(audio_T):
    noise_T = rng.normal(size=len(audio_T)) * audio_T.std() * 10**-1.5
    return np.clip(audio_T + noise_T, -1, 1).astype(np.float32)

  noisy_rows = em.embed([noisy(a_T) for a_T in audios], 16000)
  assert em.frechet_distance(noisy_rows, rows) == pytest.approx(7, abs=2)
