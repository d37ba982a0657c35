"""Timing: published answers, closed forms, chance, properties, odd inputs."""

import json

import hypothesis
import mir_eval
import numpy as np
import pytest
from hypothesis import strategies as st

from dance2wave.errors import InputError
from dance2wave.metrics import timing

RATE_HZ = 16000
NONE = np.zeros(0)
GRID_S = np.arange(0.25, 8, 0.5)

few = hypothesis.settings(max_examples=40, deadline=None)
trains = st.lists(
  st.floats(0, 20).map(lambda s: round(s, 4)),
  min_size=2,
  max_size=25,
  unique=True,
).map(np.array)


def strokes(onsets_s, rate_hz=RATE_HZ, duration_s=4.0):
  """Play decaying strokes of 900 Hz."""
  time_T = np.arange(round(duration_s * rate_hz)) / rate_hz
  sound_T = np.zeros(len(time_T))
  for onset_s in onsets_s:
    since_T = np.maximum(time_T - onset_s, 0)
    sound_T += np.exp(-since_T / 0.03) * np.sin(2 * np.pi * 900 * since_T)
  return 0.5 * sound_T


@pytest.mark.parametrize('number', ['00', '01', '02'])
def test_published_answers(shared_data, number):
  folder = shared_data / 'mir_eval'
  answer = json.loads((folder / f'output{number}.json').read_text())
  whole = [
    np.loadtxt(folder / f'{kind}{number}.txt') for kind in ('ref', 'est')
  ]
  # The published values leave out the first five seconds; ours do not.
  trimmed = [mir_eval.beat.trim_beats(beats_s) for beats_s in whole]
  assert timing.beat_f(*trimmed) == pytest.approx(answer['F-measure'], abs=1e-6)
  untrimmed = mir_eval.beat.f_measure(*whole)
  assert timing.beat_f(*whole) == pytest.approx(untrimmed, abs=1e-12)
  assert timing.beat_f(*whole) != timing.beat_f(*trimmed)


def test_beat_f_of_known_cases():
  assert timing.beat_f(GRID_S, GRID_S) == 1
  assert timing.beat_f(GRID_S, GRID_S + 0.05, 0.07) == 1
  assert timing.beat_f(GRID_S, GRID_S + 0.05, 0.035) == 0
  assert timing.beat_f(GRID_S, GRID_S[::2]) == pytest.approx(2 / 3)
  assert timing.beat_f(GRID_S[::-1], GRID_S[::-1]) == 1
  late_s = np.append(GRID_S, [8.3, 8.8])
  assert timing.beat_f(GRID_S, late_s, duration_s=8.0) == 1
  assert timing.beat_f(GRID_S, late_s) == pytest.approx(32 / 34)


def test_nothing_to_find_is_nan_and_nothing_found_is_zero():
  assert timing.beat_f(GRID_S, NONE) == 0
  assert np.isnan(timing.beat_f(NONE, GRID_S))
  assert np.isnan(timing.beat_f(GRID_S, GRID_S, duration_s=0.1))
  assert timing.tempo_accuracies(GRID_S, GRID_S[:1]) == (0, 0)
  assert np.isnan(timing.tempo_accuracies(GRID_S[:1], GRID_S)).all()
  for pair in ((NONE, GRID_S), (GRID_S[:1], GRID_S), (GRID_S, NONE)):
    errors = timing.phase_errors_s(*pair)
    assert [e.shape for e in errors] == [(0,), (0,)]
    assert np.isnan(timing.phase_statistics(*errors)).all()


@few
@hypothesis.given(trains, trains, st.floats(0, 5))
def test_beat_f_is_symmetric_bounded_and_keeps_under_a_shift(a_s, b_s, shift_s):
  score = timing.beat_f(a_s, b_s)
  assert 0 <= score <= 1
  assert timing.beat_f(b_s, a_s) == pytest.approx(score)
  assert timing.beat_f(a_s, a_s) == 1
  assert timing.beat_f(a_s, b_s, 0.2) >= score
  # Distances that equal the tolerance may round to either side.
  distances_s = np.abs(a_s[:, None] - b_s)
  hypothesis.assume(np.abs(distances_s - 0.07).min() > 1e-6)
  shifted = timing.beat_f(a_s + shift_s, b_s + shift_s)
  assert shifted == pytest.approx(score)


@pytest.mark.parametrize(
  ('stretch', 'answer'),
  [
    (1, (1, 1)),
    (1 / 1.039, (1, 1)),
    (1 / 1.041, (0, 0)),
    (1 / 0.961, (1, 1)),
    (2, (0, 1)),
    (1 / 2, (0, 1)),
    (3, (0, 1)),
    (1 / 3, (0, 1)),
    (1 / 2.05, (0, 1)),
    (1 / 2.1, (0, 0)),
    (1.5, (0, 0)),
    (4, (0, 0)),
  ],
)
def test_tempo_accuracies(stretch, answer):
  assert timing.tempo_accuracies(GRID_S, GRID_S * stretch + 0.13) == answer


def test_tempo_outlives_beats_named_twice_and_out_of_order():
  twice_s = np.concatenate([GRID_S, GRID_S])
  assert timing.tempo_accuracies(twice_s, twice_s) == (1, 1)


def test_errors_are_signed_and_relative_to_the_local_period():
  reference_s = np.array([1.0, 2.0, 2.5])
  estimate_s = np.array([0.9, 1.25, 1.75, 2.05, 2.625])
  error_s, angle = timing.phase_errors_s(reference_s, estimate_s)
  np.testing.assert_allclose(error_s, [-0.1, 0.25, -0.25, 0.05, 0.125])
  np.testing.assert_allclose(angle / np.pi, [-0.2, 0.5, -0.5, 0.2, 0.5])


def test_beats_beyond_half_a_period_outside_belong_to_none():
  estimate_s = np.array([0.4, 0.6, 1.4, 3.4, 3.6])
  error_s, _ = timing.phase_errors_s(np.array([1.0, 2.0, 3.0]), estimate_s)
  np.testing.assert_allclose(error_s, [-0.4, 0.4, 0.4])


@pytest.mark.parametrize('late_s', [-0.2, -0.01, 0.0, 0.004, 0.2])
def test_statistics_of_a_constant_delay(late_s):
  errors = timing.phase_errors_s(GRID_S, GRID_S + late_s)
  median_ms, mean_ms, concentration = timing.phase_statistics(*errors)
  assert median_ms == pytest.approx(1e3 * late_s, abs=1e-6)
  assert mean_ms == pytest.approx(1e3 * late_s, abs=1e-6)
  assert concentration == pytest.approx(1)


def test_half_a_period_early_and_late_do_not_cancel():
  # Anti-phase: the median is anywhere, the circular mean is half a period.
  jitter_s = 0.01 * np.where(np.arange(len(GRID_S)) % 2, 1, -1)
  errors = timing.phase_errors_s(GRID_S, GRID_S + 0.25 + jitter_s)
  _, mean_ms, concentration = timing.phase_statistics(*errors)
  assert abs(mean_ms) == pytest.approx(250, abs=3)
  assert concentration > 0.98


def test_twice_the_tempo_has_no_concentration():
  double_s = np.arange(0.25, 7.8, 0.25)[:-1]
  errors = timing.phase_errors_s(GRID_S, double_s)
  assert timing.phase_statistics(*errors)[2] < 0.05


@pytest.mark.parametrize('num', [4, 16, 64])
def test_concentration_by_chance(num):
  angles_RK = np.random.default_rng(0).uniform(-np.pi, np.pi, (4000, num))
  squares = [timing.phase_statistics(a, a)[2] ** 2 for a in angles_RK]
  assert np.sqrt(np.mean(squares)) == pytest.approx(num**-0.5, rel=0.03)


def test_one_beat_is_concentrated_and_shapes_must_agree():
  assert timing.phase_statistics(np.ones(1), np.ones(1))[2] == 1
  with pytest.raises(InputError, match='one angle per error'):
    timing.phase_statistics(np.ones(2), np.ones(3))


@few
@hypothesis.given(trains, trains, st.floats(0, 5))
def test_phase_errors_keep_under_a_shift_and_in_bounds(a_s, b_s, shift_s):
  hypothesis.assume(np.diff(np.sort(a_s)).min() > 1e-3)
  error_s, angle = timing.phase_errors_s(a_s, b_s)
  nearest_s = np.abs(b_s[:, None] - a_s).min(axis=1)
  assert len(error_s) <= len(b_s)
  assert (np.abs(angle) <= np.pi * (1 + 1e-9)).all()
  for value_s in np.abs(error_s):
    assert np.isclose(nearest_s, value_s, atol=1e-9).any()
  if len(error_s):
    assert 0 <= timing.phase_statistics(error_s, angle)[2] <= 1 + 1e-9
  turned = angle[np.abs(np.abs(angle) - np.pi) > 1e-6]
  _, shifted = timing.phase_errors_s(a_s + shift_s, b_s + shift_s)
  shifted = shifted[np.abs(np.abs(shifted) - np.pi) > 1e-6]
  np.testing.assert_allclose(shifted, turned, atol=1e-6)


@pytest.mark.parametrize('rate_hz', [8000, 22050, 48000])
def test_onsets_are_found_where_they_are_at_every_rate(rate_hz):
  onsets_s = np.arange(0.303, 3.9, 0.371)
  heard_s = timing.detect_onsets(strokes(onsets_s, rate_hz), rate_hz)
  assert len(heard_s) == len(onsets_s)
  assert np.abs(heard_s - onsets_s).max() < 0.012


def test_onset_f_falls_with_missing_and_displaced_onsets():
  onsets_s = np.arange(0.3, 3.9, 0.4)
  sound_T = strokes(onsets_s)
  rng = np.random.default_rng(0)
  noisy_T = sound_T + 1e-3 * rng.normal(size=len(sound_T))
  assert timing.onset_f(sound_T, sound_T, RATE_HZ) == 1
  assert timing.onset_f(sound_T, 0.1 * sound_T, RATE_HZ) == 1
  assert timing.onset_f(noisy_T, strokes(onsets_s + 0.03), RATE_HZ) > 0.8
  assert timing.onset_f(sound_T, strokes(onsets_s + 0.03), RATE_HZ, 0.015) == 0
  half = timing.onset_f(sound_T, strokes(onsets_s[:4]), RATE_HZ)
  assert half == pytest.approx(2 * 4 / (9 + 4))
  assert timing.onset_f(sound_T, strokes(onsets_s + 0.2), RATE_HZ) == 0


@pytest.mark.parametrize('num_samples', [0, 1, 500, RATE_HZ])
def test_silence_and_slivers_have_no_onsets(num_samples):
  silence_T = np.zeros(num_samples, np.float32)
  assert timing.detect_onsets(silence_T, RATE_HZ).shape == (0,)
  assert timing.detect_onsets(silence_T + 0.1, RATE_HZ).dtype == np.float64
  sound_T = strokes([0.5, 1.5])
  assert timing.onset_f(sound_T, silence_T, RATE_HZ) == 0
  assert np.isnan(timing.onset_f(silence_T, sound_T, RATE_HZ))
