"""Controls: what the detector hears in each, lengths, bounds, draws."""

import numpy as np
import pytest

from dance2wave.datasets.synthetic_dance.generate import Task, make_clip
from dance2wave.errors import InputError
from dance2wave.metrics import controls, timing
from dance2wave.metrics.beat_detector import detect_beats
from dance2wave.metrics.statistics import analytic_chance_f, median_period_s

RATE_HZ = 16000
BEATS_S = np.arange(0.3, 3.9, 0.5)


def control(kind, original_T, *, rate_hz=RATE_HZ, seed=0, **changes):
  inputs = {
    'original_T': original_T,
    'beats_s': BEATS_S,
    'sample_rate_hz': rate_hz,
    'rng': np.random.default_rng(seed),
    'other_T': np.linspace(-0.5, 0.5, 1000, dtype=np.float32),
  }
  return controls.make_control(kind, **(inputs | changes))


def sound(rate_hz=RATE_HZ, duration_s=4.0):
  num_samples = round(rate_hz * duration_s)
  return np.random.default_rng(9).uniform(-0.4, 0.4, num_samples)


@pytest.fixture(scope='module')
def clips():
  """Three clips between 80 and 120 bpm: 0.4 s are no whole beat of theirs."""
  made = [make_clip(Task(index, 'test')) for index in (2, 3, 4)]
  tempi_bpm = [60 / median_period_s(clip['beats_s']) for clip in made]
  assert min(tempi_bpm) > 80 and max(tempi_bpm) < 120
  return made


@pytest.fixture(scope='module')
def scores(clips):
  """Mean beat F at 70 ms of each control, of four draws where it is drawn."""
  originals = [clip['audio'].astype(np.float32) / 32768 for clip in clips]
  rng, means = np.random.default_rng(0), {}
  for kind in controls.CONTROLS:
    values = []
    for i, clip in enumerate(clips):
      for _ in range(8 if kind == 'metronome_random_phase' else 1):
        sound_T = control(
          kind,
          originals[i],
          rng=rng,
          beats_s=clip['beats_s'],
          other_T=originals[i - 1],
        )
        heard_s = detect_beats(sound_T, RATE_HZ)
        values.append(timing.beat_f(clip['beats_s'], heard_s))
    means[kind] = np.mean(values)
  return means


def test_only_what_has_the_beats_scores_them(scores):
  assert scores['original'] > 0.97
  assert scores['metronome_true_phase'] > 0.97
  for kind in ('delayed', 'shuffled', 'always_on', 'noise'):
    assert scores[kind] < 0.6, kind
  assert scores['metronome_random_phase'] < 0.6
  assert scores['silence'] == 0


def test_random_phase_scores_what_chance_says(clips, scores):
  beats = [clip['beats_s'] for clip in clips]
  chance = analytic_chance_f(
    beats,
    [median_period_s(beats_s) for beats_s in beats],
    [clip['duration_s'] for clip in clips],
    0.07,
  )
  # 24 draws that score about 1 or 0: a standard error of 0.08.
  assert scores['metronome_random_phase'] == pytest.approx(chance, abs=0.2)


@pytest.mark.parametrize('rate_hz', [8000, 22050, 48000])
@pytest.mark.parametrize('bpm', [75, 120, 160])
def test_clicks_are_heard_where_they_are_at_every_rate(rate_hz, bpm):
  beats_s = np.arange(0.217, 8, 60 / bpm)
  track_T = controls.click_track(beats_s, 8 * rate_hz, rate_hz)
  heard_s = detect_beats(track_T, rate_hz)
  errors = timing.phase_errors_s(beats_s, heard_s)
  median_ms, _, concentration = timing.phase_statistics(*errors)
  assert timing.beat_f(beats_s, heard_s, 0.035) > 0.95
  assert abs(median_ms) < 4 and concentration > 0.98
  onsets_s = timing.detect_onsets(track_T, rate_hz)
  assert timing.beat_f(beats_s, onsets_s, 0.02) == 1


def test_click_is_the_same_at_every_rate_and_starts_on_time():
  fine_T = controls.click_track([0.1], 9600, 48000)
  coarse_T = controls.click_track([0.1], 1600, 8000)
  np.testing.assert_allclose(fine_T[::6], coarse_T, atol=1e-6)
  assert not fine_T[: round(0.1 * 48000)].any()
  assert 0.45 < fine_T.max() <= 0.5
  spectrum = np.abs(np.fft.rfft(fine_T))
  above = np.fft.rfftfreq(len(fine_T), 1 / 48000) >= 4000
  assert spectrum[above].max() < 1e-4 * spectrum.max()


def test_clicks_keep_fractions_of_a_sample():
  # A click later by a third of a sample is the same band-limited sound later.
  here, later = (
    np.fft.rfft(controls.click_track([0.1 + d / 8000], 1600, 8000))
    for d in (0, 1 / 3)
  )
  band = slice(160, 320)  # 800 to 1600 Hz
  turn = np.angle(later[band] / here[band])
  expected = -2 * np.pi * np.arange(160, 320) / 1600 / 3
  np.testing.assert_allclose(turn, expected, atol=0.005)


def test_clicks_outside_the_sound_are_left_out_and_crowds_are_bounded():
  track_T = controls.click_track([-0.1, 0.0999, 0.1, 7.0], 800, 8000)
  assert not track_T[:-1].any()
  crowd_T = controls.click_track([0.01] * 5, 800, 8000)
  assert np.abs(crowd_T).max() == 1


@pytest.mark.parametrize('kind', controls.CONTROLS)
@pytest.mark.parametrize('rate_hz', [8000, 44100])
def test_length_bounds_and_type(kind, rate_hz):
  for original_T in (sound(rate_hz), sound(rate_hz)[:101], np.zeros(0)):
    sound_T = control(kind, original_T, rate_hz=rate_hz)
    assert sound_T.shape == original_T.shape
    assert sound_T.dtype == np.float32
    assert np.isfinite(sound_T).all()
    assert np.abs(sound_T).max(initial=0) <= 1


@pytest.mark.parametrize('kind', controls.CONTROLS)
def test_only_the_drawn_kinds_depend_on_the_generator(kind):
  first, again, other = (
    control(kind, sound(), seed=seed) for seed in (0, 0, 1)
  )
  np.testing.assert_array_equal(first, again)
  is_drawn = kind in ('metronome_random_phase', 'noise')
  assert np.array_equal(first, other) != is_drawn


def test_original_is_a_copy():
  original_T = sound().astype(np.float32)
  copy_T = control('original', original_T)
  np.testing.assert_array_equal(copy_T, original_T)
  copy_T[:] = 0
  assert original_T.any()


def test_delayed_is_the_original_after_silence():
  original_T = sound()
  delayed_T = control('delayed', original_T)
  gap = round(0.4 * RATE_HZ)
  assert not delayed_T[:gap].any()
  np.testing.assert_allclose(delayed_T[gap:], original_T[:-gap], atol=1e-7)


def test_shuffled_is_cut_or_played_again():
  long_T = np.arange(9, dtype=np.float32) / 10
  original_T = np.zeros(6)
  np.testing.assert_array_equal(
    control('shuffled', original_T, other_T=long_T), long_T[:6]
  )
  again_T = control('shuffled', original_T, other_T=long_T[:4])
  np.testing.assert_array_equal(again_T, long_T[[0, 1, 2, 3, 0, 1]])


def test_metronomes_have_the_median_tempo():
  for kind in ('metronome_random_phase', 'metronome_true_phase'):
    onsets_s = timing.detect_onsets(control(kind, sound()), RATE_HZ)
    assert median_period_s(onsets_s) == pytest.approx(0.5, abs=0.01)
  # Beats that are not even: the true phase follows them, the other does not.
  uneven_s = np.array([0.2, 0.7, 1.2, 2.0, 2.5, 3.0, 3.8])
  follows_T = control('metronome_true_phase', sound(), beats_s=uneven_s)
  heard_s = timing.detect_onsets(follows_T, RATE_HZ)
  np.testing.assert_allclose(heard_s, uneven_s, atol=0.02)
  even_T = control('metronome_random_phase', sound(), beats_s=uneven_s)
  steps_s = np.diff(timing.detect_onsets(even_T, RATE_HZ))
  np.testing.assert_allclose(steps_s, 0.5, atol=0.011)


def test_always_on_clicks_every_93_ms():
  onsets_s = timing.detect_onsets(control('always_on', sound()), RATE_HZ)
  assert len(onsets_s) in (42, 43, 44)
  np.testing.assert_allclose(np.diff(onsets_s), 0.093, atol=0.011)


def test_noise_is_white_and_as_strong_as_the_original():
  original_T = 0.1 + 0.4 * np.sin(np.arange(4 * RATE_HZ) * 0.05)
  noise_T = control('noise', original_T)
  rms = np.sqrt(np.mean(original_T**2))
  assert np.sqrt(np.mean(noise_T**2)) == pytest.approx(rms, rel=0.01)
  power = np.abs(np.fft.rfft(noise_T)[1:]) ** 2
  octants = power[: len(power) // 8 * 8].reshape(8, -1).mean(axis=1)
  np.testing.assert_allclose(octants / octants.mean(), 1, atol=0.06)


def test_what_a_control_lacks_is_said():
  with pytest.raises(InputError, match=r"'metronome' is unknown; .*always_on"):
    control('metronome', sound())
  for other_T in (None, np.zeros(0)):
    with pytest.raises(InputError, match='no other sound'):
      control('shuffled', sound(), other_T=other_T)
  with pytest.raises(InputError, match='has 1 beats'):
    control('metronome_random_phase', sound(), beats_s=BEATS_S[:1])
  silent_T = control('metronome_true_phase', sound(), beats_s=np.zeros(0))
  assert not silent_T.any()
  with pytest.raises(InputError, match='one channel'):
    control('noise', np.zeros((100, 2)))
  with pytest.raises(InputError, match='4000 Hz'):
    control('noise', sound(), rate_hz=4000)
