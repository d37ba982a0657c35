"""Measures of a sound: closed forms, bounds, invariances, correlations."""

import hypothesis
import numpy as np
import pytest
import scipy.signal
from hypothesis import strategies as st

from dance2wave.datasets.synthetic_dance.generate import Task, make_clip
from dance2wave.errors import InputError
from dance2wave.media.audio import resample
from dance2wave.metrics import k_weighting, sound

few = hypothesis.settings(max_examples=25, deadline=None)
seeds = st.integers(0, 2**32 - 1)


def sine(frequency_hz, rate_hz, duration_s=2.0, gain=1.0):
  time_T = np.arange(round(duration_s * rate_hz)) / rate_hz
  return (gain * np.sin(2 * np.pi * frequency_hz * time_T)).astype(np.float32)


def noise(seed=0, num=8000, gain=0.1):
  samples_T = gain * np.random.default_rng(seed).normal(size=num)
  return np.clip(samples_T, -1, 1).astype(np.float32)


SILENCE = np.zeros(8000, np.float32)
EMPTY = np.zeros(0, np.float32)
SQUARE = np.where(np.arange(8000) % 100 < 50, 1.0, -1.0).astype(np.float32)


# Loudness.


@pytest.mark.parametrize('rate_hz', [8000, 16000, 22050, 44100, 48000])
def test_full_scale_sine_has_the_standards_loudness(rate_hz):
  loudness_db = sound.loudness_db(sine(997, rate_hz, 5.0), rate_hz)
  assert loudness_db == pytest.approx(-3.01, abs=0.03)


def test_the_gate_leaves_quiet_parts_out():
  # EBU Tech 3341, case 3, for one channel: -36, -23, -36 dB, here shortened.
  quiet, loud = (
    sine(1000, 48000, duration_s, 10 ** (db / 20))
    for db, duration_s in ((-36, 2), (-23, 12))
  )
  audio_T = np.concatenate([quiet, loud, quiet])
  ungated_db = -23 - 3.01 + 10 * np.log10((12 + 4 * 10**-1.3) / 16)
  found_db = sound.loudness_db(audio_T, 48000)
  assert found_db == pytest.approx(-23 - 3.01, abs=0.1)
  assert found_db > ungated_db + 0.5


def test_white_noise_has_the_mean_gain_of_the_weighting():
  _, gain = scipy.signal.sosfreqz(k_weighting._FILTERS, 2**14)
  expected_db = -0.691 + 10 * np.log10(0.01 * np.mean(np.abs(gain) ** 2))
  loudness_db = sound.loudness_db(noise(num=480_000), 48000)
  assert loudness_db == pytest.approx(expected_db, abs=0.05)


def test_bass_counts_less_and_treble_more():
  low, middle, high = (
    sound.loudness_db(sine(hz, 16000), 16000) for hz in (40, 500, 4000)
  )
  assert low < middle - 3 and high > middle + 3


@few
@hypothesis.given(st.floats(0.02, 1.0))
def test_loudness_follows_the_gain(gain):
  loud_T = noise(gain=0.2)
  before_db = sound.loudness_db(loud_T, 8000)
  after_db = sound.loudness_db(np.float32(gain) * loud_T, 8000)
  assert after_db - before_db == pytest.approx(20 * np.log10(gain), abs=1e-3)


def test_loudness_of_silence_and_of_short_sounds():
  assert sound.loudness_db(SILENCE, 8000) == sound.SILENCE_DB
  assert sound.loudness_db(1e-6 * SQUARE, 8000) == sound.SILENCE_DB
  assert np.isnan(sound.loudness_db(EMPTY, 8000))
  short_db = sound.loudness_db(sine(997, 48000, 0.1), 48000)
  assert short_db == pytest.approx(-3.0, abs=0.3)
  assert np.isfinite(sound.loudness_db(np.ones(1, np.float32), 8000))


# Shares, offset, crest, length.


def test_clipped_share():
  assert sound.clipped_share(SQUARE) == 1.0
  assert sound.clipped_share(SQUARE * np.float32(0.99)) == 0.0
  assert sound.clipped_share(SILENCE) == 0.0
  whole_T = sine(np.pi, 8000, 100.0)
  expected = 2 / np.pi * np.arccos(32767 / 32768)
  assert sound.clipped_share(whole_T) == pytest.approx(expected, rel=0.02)
  assert np.isnan(sound.clipped_share(EMPTY))
  # The ends of 16 bits, as files hold them.
  ends = np.array([-32768, 32767, 32766], np.float32) / 32768
  assert sound.clipped_share(ends) == pytest.approx(2 / 3)


def test_silent_share():
  assert sound.silent_share(SILENCE, 8000) == 1.0
  assert sound.silent_share(SQUARE, 8000) == 0.0
  half_T = np.concatenate([SILENCE, noise()])
  assert sound.silent_share(half_T, 8000) == 0.5
  assert sound.silent_share(np.full(8000, 0.3, np.float32), 8000) == 1.0
  assert np.isnan(sound.silent_share(EMPTY, 8000))


def test_silence_ends_at_its_floor_and_the_rest_counts_by_its_length():
  below, above = (SQUARE * np.float32(10 ** (db / 20)) for db in (-61, -59))
  assert sound.silent_share(below, 8000) == 1.0
  assert sound.silent_share(above, 8000) == 0.0
  assert sound.silent_share(above, 8000, floor_db=-58) == 1.0
  audio_T = np.concatenate([SQUARE[:400], SILENCE[:100]])
  assert sound.silent_share(audio_T, 8000) == pytest.approx(0.2)


def test_dc_offset():
  assert sound.dc_offset(SQUARE) == 0.0
  assert sound.dc_offset(SQUARE * np.float32(0.5) - np.float32(0.25)) == -0.25
  assert sound.dc_offset(np.ones(3, np.float32)) == 1.0
  assert np.isnan(sound.dc_offset(EMPTY))


def test_crest():
  assert sound.crest(SQUARE) == pytest.approx(1.0)
  assert sound.crest(sine(100, 8000)) == pytest.approx(2**0.5, rel=1e-3)
  assert 3.5 < sound.crest(noise(num=100_000)) < 5.5
  assert np.isnan(sound.crest(SILENCE)) and np.isnan(sound.crest(EMPTY))
  tiny_T = np.full(9, 1e-38, np.float32)
  assert sound.crest(tiny_T) == pytest.approx(1.0)


@few
@hypothesis.given(seeds, st.floats(1e-3, 1.0))
def test_crest_does_not_hear_the_gain(seed, gain):
  audio_T = noise(seed, num=500)
  assert sound.crest(audio_T) >= 1.0
  assert sound.crest(np.float32(gain) * audio_T) == pytest.approx(
    sound.crest(audio_T), rel=1e-5
  )


def test_duration_error():
  assert sound.duration_error_samples(16000, 1.0, 16000) == 0
  assert sound.duration_error_samples(15990, 1.0, 16000) == -10
  assert sound.duration_error_samples(7, 0.0, 8000) == 7
  assert sound.duration_error_samples(80003, 10.0003, 8000) == 1
  with pytest.raises(InputError, match='sample_rate_hz'):
    sound.duration_error_samples(1, 1.0, 0)


# Spectral distance.


@few
@hypothesis.given(seeds, st.integers(1, 3000), st.sampled_from([8000, 16000]))
@hypothesis.example(587141, 1, 16000)  # one sample, and it is nearly zero
def test_spectral_distance_is_symmetric_and_bounded(seed, num, rate_hz):
  a_T, b_T = noise(seed, num, 0.5), noise(seed + 1, num, 0.01)
  magnitude, log_magnitude = sound.spectral_terms(a_T, b_T, rate_hz)
  assert 0 < magnitude <= 1 and 0 <= log_magnitude < 9.91
  # Two sounds below the floor of the logarithm, -80 dB of a sine, are alike;
  # the shortest window has a sum of 40 or more.
  assert log_magnitude > 0 or np.abs(a_T).sum() < 1e-4 * 40
  distance = sound.spectral_distance(a_T, b_T, rate_hz)
  assert distance == magnitude + log_magnitude
  assert sound.spectral_distance(b_T, a_T, rate_hz) == pytest.approx(distance)
  assert sound.spectral_distance(a_T, a_T, rate_hz) == 0.0
  assert sound.spectral_distance(a_T, -a_T, rate_hz) == 0.0


@few
@hypothesis.given(seeds, st.floats(0.2, 0.9))
def test_a_gain_has_a_closed_form(seed, gain):
  a_T = noise(seed, 4000, 0.2)
  magnitude, log_magnitude = sound.spectral_terms(
    a_T, np.float32(gain) * a_T, 8000
  )
  assert magnitude == pytest.approx((1 - gain) / (1 + gain), rel=1e-4)
  # Near the floor the logarithm bends: few bins of noise are there.
  assert log_magnitude == pytest.approx(-np.log(gain), rel=0.02)


def test_silence_is_as_far_as_magnitudes_go():
  assert sound.spectral_terms(noise(), SILENCE, 8000)[0] == pytest.approx(1.0)
  assert sound.spectral_distance(SILENCE, SILENCE, 8000) == 0.0
  apart, _ = sound.spectral_terms(sine(500, 8000), sine(2000, 8000), 8000)
  assert apart == pytest.approx(0.5**0.5, rel=0.01)


def test_more_noise_is_farther():
  music_T = sine(440, 8000, gain=0.5)
  distances = [
    sound.spectral_distance(music_T, music_T + noise(1, 16000, gain), 8000)
    for gain in (0.0, 0.001, 0.01, 0.1)
  ]
  assert distances[0] == 0 and (np.diff(distances) > 0.1).all()


def test_the_longer_sound_is_cut_and_pieces_do_not_matter(monkeypatch):
  a_T, b_T = noise(0, 9000), noise(1, 7000)
  whole = sound.spectral_distance(a_T, b_T, 8000)
  assert whole == sound.spectral_distance(a_T[:7000], b_T, 8000)
  assert np.isnan(sound.spectral_distance(a_T, EMPTY, 8000))
  monkeypatch.setattr(sound, '_MAX_VALUES', 5000)
  assert sound.spectral_distance(a_T, b_T, 8000) == pytest.approx(whole)


# Loudness and motion.


def swell(rate_hz, duration_s=8.0, seed=0, lag_s=0.0):
  """A noise whose level swings by 20 dB within 4 s, and the same motion."""

  def curve(time_s):
    return 10 ** (0.5 * np.sin(2 * np.pi * time_s / 4.0) - 0.5)

  time_T = np.arange(round(duration_s * rate_hz)) / rate_hz
  audio_T = curve(time_T - lag_s) * noise(seed, len(time_T))
  motion_F = curve(np.arange(round(duration_s * 50)) / 50)
  return audio_T.astype(np.float32), motion_F


@pytest.mark.parametrize('rate_hz', [8000, 16000])
def test_loud_where_big_correlates(rate_hz):
  audio_T, motion_F = swell(rate_hz)
  correlate = sound.loudness_motion_correlation
  assert correlate(audio_T, rate_hz, motion_F, 50) > 0.98
  assert correlate(audio_T, rate_hz, 2 - motion_F, 50) < -0.9
  opposite_T, _ = swell(rate_hz, lag_s=2.0)
  assert correlate(opposite_T, rate_hz, motion_F, 50) < -0.8
  quarter_T, _ = swell(rate_hz, lag_s=1.0)
  assert abs(correlate(quarter_T, rate_hz, motion_F, 50)) < 0.2


def test_gain_and_units_of_motion_do_not_matter():
  audio_T, motion_F = swell(8000)
  one = sound.loudness_motion_correlation(audio_T, 8000, motion_F, 50)
  other = sound.loudness_motion_correlation(
    audio_T * np.float32(0.5), 8000, 7 * motion_F, 50
  )
  assert one == pytest.approx(other, abs=1e-4)


def test_strokes_within_a_beat_do_not_count():
  audio_T, motion_F = swell(8000)
  pulse_F = 1 + 0.9 * np.sin(2 * np.pi * 4 * np.arange(len(motion_F)) / 50)
  found = sound.loudness_motion_correlation(
    audio_T, 8000, motion_F * pulse_F, 50
  )
  assert found > 0.95


def test_the_longer_of_sound_and_motion_is_cut():
  audio_T, motion_F = swell(8000)
  one = sound.loudness_motion_correlation(audio_T, 8000, motion_F, 50)
  late_F = np.concatenate([motion_F, np.full(500, 9.0)])
  late_T = np.concatenate([audio_T, SQUARE])
  for pair in ((audio_T, late_F), (late_T, motion_F)):
    cut = sound.loudness_motion_correlation(pair[0], 8000, pair[1], 50)
    assert cut == pytest.approx(one, abs=1e-3)


def test_no_answer_is_nan():
  audio_T, motion_F = swell(8000)
  correlate = sound.loudness_motion_correlation
  assert np.isnan(correlate(0 * audio_T, 8000, motion_F, 50))
  assert np.isnan(correlate(audio_T, 8000, np.ones(400), 50))
  assert np.isnan(correlate(audio_T, 8000, motion_F[:2], 50))
  assert np.isnan(correlate(audio_T, 8000, motion_F[:0], 50))
  assert np.isnan(correlate(EMPTY, 8000, motion_F, 50))


@few
@hypothesis.given(seeds)
def test_correlation_is_bounded(seed):
  rng = np.random.default_rng(seed)
  motion_F = rng.uniform(size=rng.integers(3, 80))
  audio_T = noise(seed, int(rng.integers(500, 9000)))
  found = sound.loudness_motion_correlation(audio_T, 8000, motion_F, 50)
  assert -1 <= found <= 1 or np.isnan(found)


def test_correlation_over_clips():
  correlate = sound.loudness_motion_correlation_of_clips
  loudness_C, motion_C = np.array([-30.0, -20, -25]), np.array([0.1, 9.0, 0.2])
  assert correlate(loudness_C, motion_C) == pytest.approx(1.0)
  assert correlate(-loudness_C, motion_C) == pytest.approx(-1.0)
  with_gap = correlate([*loudness_C, np.nan], [*motion_C, -5.0])
  assert with_gap == pytest.approx(1.0)
  assert np.isnan(correlate(loudness_C[:2], motion_C[:2]))
  assert np.isnan(correlate(np.zeros(3), motion_C))
  with pytest.raises(InputError, match='one value of each per clip'):
    correlate(loudness_C, motion_C[:2])


# Refusals.


@pytest.mark.parametrize(
  'audio_T',
  [
    np.zeros((2, 100), np.float32),
    np.zeros(100, np.int16),
    np.array([0.0, np.nan], np.float32),
    np.array([0.0, 1.5], np.float32),
  ],
)
@pytest.mark.parametrize(
  'measure',
  [
    sound.crest,
    sound.dc_offset,
    sound.clipped_share,
    lambda a_T: sound.silent_share(a_T, 8000),
    lambda a_T: sound.loudness_db(a_T, 8000),
    lambda a_T: sound.spectral_distance(noise(), a_T, 8000),
    lambda a_T: sound.loudness_motion_correlation(a_T, 8000, np.ones(9), 50),
  ],
)
def test_what_is_no_sound_is_refused(audio_T, measure):
  with pytest.raises(InputError):
    measure(audio_T)


@pytest.mark.parametrize(
  ('motion_F', 'rate_hz'),
  [(np.ones((3, 2)), 50), (np.array([1, np.nan, 2]), 50), (np.ones(9), 0)],
)
def test_what_is_no_motion_is_refused(motion_F, rate_hz):
  with pytest.raises(InputError, match='motion of shape'):
    sound.loudness_motion_correlation(noise(), 8000, motion_F, rate_hz)


# What docstrings state of synthetic_dance.


def originals(num):
  for index in range(num):
    clip = make_clip(Task(index, 'test'))
    yield clip['audio'].astype(np.float32) / 32768


@pytest.mark.slow
def test_stated_distances_of_originals():
  audios = list(originals(40))
  rng = np.random.default_rng(0)

  def mean_distance(change):
    pairs = [(a_T, change(i, a_T)) for i, a_T in enumerate(audios)]
    return np.mean(
      [sound.spectral_distance(a[-len(b) :], b, 16000) for a, b in pairs]
    )

  def noisy(_, audio_T):
    noise_T = 0.1 * audio_T.std() * rng.normal(size=len(audio_T))
    return np.clip(audio_T + noise_T, -1, 1).astype(np.float32)

  def other(i, audio_T):
    return audios[(i + 1) % len(audios)][: len(audio_T)]

  stated = {
    1.24: noisy,
    0.47: lambda _, a_T: a_T[:-160],
    1.32: lambda _, a_T: a_T[:-6400],
    1.80: lambda _, a_T: 0 * a_T,
    1.51: other,
  }
  for expected, change in stated.items():
    assert mean_distance(change) == pytest.approx(expected, abs=0.08)


@pytest.mark.slow
def test_stated_correlations_of_originals():
  from dance2wave.datasets.clips import ready_clip
  from dance2wave.pose.features import motion_size

  audios, motions = [], []
  for index in range(64):
    clip = ready_clip(
      make_clip(Task(index, 'test')), sample_rate_hz=8000, pose_rate_hz=50
    )
    audios.append(clip.audio_T.astype(np.float32) / 32768)
    motions.append(motion_size(clip.pose_FJD, 50))

  def within(shift):
    return [
      sound.loudness_motion_correlation(a_T, 8000, motions[i - shift], 50)
      for i, a_T in enumerate(audios)
    ]

  assert np.mean(within(0)) == pytest.approx(0.67, abs=0.02)
  shuffled = np.concatenate([within(shift) for shift in (1, 7, 13)])
  assert abs(np.mean(shuffled)) < 0.1
  assert np.std(shuffled) == pytest.approx(0.44, abs=0.05)
  over_clips = sound.loudness_motion_correlation_of_clips(
    [sound.loudness_db(a_T, 8000) for a_T in audios],
    [motion_F.mean() for motion_F in motions],
  )
  assert over_clips == pytest.approx(0.85, abs=0.03)


def test_a_resampled_sound_is_as_loud():
  audio_T = next(originals(1))
  at_8000_T = resample(audio_T, 16000, 8000)
  assert sound.loudness_db(at_8000_T, 8000) == pytest.approx(
    sound.loudness_db(audio_T, 16000), abs=0.5
  )
