"""Sound without its colour, and coloured again."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_config import options_with

from dance2wave.errors import InputError
from dance2wave.metrics.sound import loudness_db
from dance2wave.models.envelope import (
  EXCITATION_RMS,
  ORDER,
  predictors,
  whiten,
)
from dance2wave.models.quantise import mu_law_decode, mu_law_encode
from dance2wave.models.timbre import band_levels
from dance2wave.sampling.listen import Heard
from dance2wave.sampling.play import Player

RATE_HZ, HOP, BANDS = 8000, 160, 24
SIZES = {'hop': HOP, 'sample_rate_hz': RATE_HZ}
OPTIONS = options_with(
  pose_rate_hz=50, wave__num_bands=BANDS, wave__is_levelled=False
)


def levels_of(sound_T):
  """Return the levels (F + 1, K) of a sound of F frames."""
  levels = band_levels(
    jnp.asarray(sound_T, jnp.float32)[None], num_bands=BANDS, **SIZES
  )[0]
  return np.concatenate([levels, levels[-1:]])


def make_sound(frames=100, seed=0, noise=0.02):
  """Strokes of low tones and high noise, and a pause."""
  rng = np.random.default_rng(seed)
  time_s = np.arange(frames * HOP) / RATE_HZ
  sound = np.zeros(len(time_s))
  for start_s in (0.1, 0.45, 0.9, 1.5):
    since_s = np.maximum(time_s - start_s, 0)
    decay = (time_s >= start_s) * np.exp(-since_s / 0.1)
    sound += 0.4 * decay * np.sin(2 * np.pi * 110 * since_s)
    sound += noise * decay * rng.normal(size=len(time_s))
  return np.float32(sound)


def excite(sound_T, levels_FK):
  padded = jnp.pad(jnp.asarray(sound_T)[None], ((0, 0), (ORDER, 0)))
  drawn, gain = whiten(padded, jnp.asarray(levels_FK)[None], **SIZES)
  assert drawn.shape == gain.shape == (1, len(sound_T))
  return np.asarray(drawn[0])


def heard_of(levels_FBK, gain_FB=None):
  """What is heard where nothing else matters; gains are 1."""
  if gain_FB is None:
    gain_FB = np.ones(levels_FBK.shape[:2], np.float32)
  return Heard(None, gain_FB, None, levels_FBK, np.zeros((*gain_FB.shape, 2)))


def colour(drawn_T, levels_FK, frames=(100,), chords=''):
  """Play an excitation in pieces of so many frames."""
  player, parts, first = Player(OPTIONS, [chords]), [], 0
  for count in frames:
    last = first + count
    levels_FBK = levels_FK[first : last + 1, None]
    drawn_BT = drawn_T[None, first * HOP : last * HOP]
    parts.append(player.play(drawn_BT, heard_of(levels_FBK)))
    first = last
  return np.concatenate(parts, axis=1)[0]


def test_colour_undoes_whitening():
  sound = make_sound()
  levels = levels_of(sound)
  drawn = excite(sound, levels)
  np.testing.assert_allclose(colour(drawn, levels), sound, atol=1e-3)
  with_others = levels_of(make_sound())[::-1]
  drawn = excite(sound, with_others)
  np.testing.assert_allclose(colour(drawn, with_others), sound, atol=1e-3)


def test_an_excitation_is_white_and_as_loud_at_any_time():
  sound = make_sound()
  drawn = excite(sound, levels_of(sound))
  assert np.abs(drawn).max() < 1.0
  loud = sound.reshape(-1, HOP).std(axis=1)
  of_frames = drawn.reshape(-1, HOP).std(axis=1)
  heard = loud > 1e-3
  assert loud[heard].max() > 50 * loud[heard].min()
  assert of_frames[heard].max() < 20 * of_frames[heard].min()
  assert 0.2 * EXCITATION_RMS < drawn.std() < 2 * EXCITATION_RMS

  def tilt_db(x):
    power = np.abs(np.fft.rfft(x)) ** 2
    return 10 * np.log10(
      power[: len(x) // 8].sum() / power[-len(x) // 8 :].sum()
    )

  assert tilt_db(sound) > 25 and abs(tilt_db(drawn)) < 12


def test_noise_is_coloured_as_told_where_it_is_quiet_too():
  """What a WaveNet by itself is not: 10 dB too loud in quiet bands."""
  levels = np.full((401, BANDS), 0.0, np.float32)
  levels[:, 6:12] = -1.0  # 20 dB down
  noise = EXCITATION_RMS * np.random.default_rng(0).normal(size=400 * HOP)
  heard = colour(np.float32(noise), levels, [400])
  heard_db = 20 * levels_of(heard)[5:-5].mean(axis=0)
  assert np.abs(heard_db[14:] - 0.0).max() < 3.0
  assert np.abs(heard_db[8:10] + 20.0).max() < 4.0


def test_steps_of_the_scale_are_quiet_where_the_sound_is():
  sound = make_sound(noise=0.0005)
  levels = levels_of(sound)

  def code(signal):
    return np.asarray(mu_law_decode(mu_law_encode(jnp.asarray(signal))))

  def above_1_khz(error):
    stroke = error[46 * HOP : 54 * HOP] * np.hanning(8 * HOP)
    return np.std(np.fft.rfft(stroke)[len(stroke) // 8 :])

  coloured = colour(code(excite(sound, levels)), levels)
  assert above_1_khz(code(sound) - sound) > 10 * above_1_khz(coloured - sound)


def test_pieces_are_played_as_the_whole_is_bit_for_bit():
  sound = make_sound()
  levels = levels_of(sound)
  drawn = excite(sound, levels)
  whole = colour(drawn, levels)
  for frames in ([1] * 100, [3, 1, 50, 46], [99, 1]):
    np.testing.assert_array_equal(colour(drawn, levels, frames), whole)


def test_a_clip_is_played_alike_in_any_company_and_forks_go_on():
  rng = np.random.default_rng(0)
  drawn = np.float32(0.1 * rng.normal(size=(3, 8 * HOP)))
  levels = np.float32(rng.uniform(-1.5, 1.0, (9, 3, BANDS)))
  chords = ['', 'Am', 'C']
  together = Player(OPTIONS, chords)
  first = together.play(drawn[:, : 4 * HOP], heard_of(levels[:5]))
  for clip in range(3):
    alone = Player(OPTIONS, [chords[clip]]).play(
      drawn[clip : clip + 1, : 4 * HOP], heard_of(levels[:5, [clip]])
    )
    np.testing.assert_array_equal(alone[0], first[clip])
  together.fork(np.array([1, 1, 1]))
  rest = together.play(
    np.tile(drawn[1, 4 * HOP :], (3, 1)), heard_of(levels[4:, [1, 1, 1]])
  )
  whole = colour(drawn[1], levels[:, 1], [8], 'Am')
  for clip in range(3):
    np.testing.assert_array_equal(rest[clip], whole[4 * HOP :])


def test_what_is_played_is_level_up_to_9_db_as_loudness_is_measured():
  """Noise whose said levels are moved: by 2 or 3 dB it is level, by 30 not."""
  options = options_with(pose_rate_hz=50)
  frames = 1000
  noise = EXCITATION_RMS * np.random.default_rng(0).normal(size=frames * HOP)
  levels = np.full((frames + 1, 1, BANDS), 0.0, np.float32)
  levels[: frames // 2, :, 12:] -= 1.0  # dark, then bright

  def heard_db(moved_db):
    heard = heard_of(levels + np.float32(moved_db / 20))
    sound = Player(options, ['']).play(np.float32(noise[None]), heard)[0]
    halves = sound[RATE_HZ : frames * HOP // 2], sound[-9 * RATE_HZ :]
    return np.array([loudness_db(half, RATE_HZ) for half in halves])

  plain = heard_db(0.0)
  assert abs(plain[0] - plain[1]) < 0.5
  np.testing.assert_allclose(heard_db(3.0), plain, atol=0.1)
  np.testing.assert_allclose(heard_db(-2.0), plain, atol=0.1)
  assert (heard_db(-40.0) < plain - 20).all()
  assert (heard_db(30.0) > plain + 8).all()


def levelled(player, levels_FBK):
  """Play a tone, as loud in every frame, of the levels of F + 1 frames."""
  frames, clips = len(levels_FBK) - 1, levels_FBK.shape[1]
  tone_T = 0.1 * np.sin(np.arange(HOP) * np.pi / 8)
  drawn = np.tile(np.float32(tone_T), (clips, frames))
  return player.play(drawn, heard_of(levels_FBK))


def test_pieces_and_forks_are_levelled_as_the_whole_is_bit_for_bit():
  """And longer than the time whose loudness counts."""
  options = options_with(pose_rate_hz=50)
  rng = np.random.default_rng(0)
  levels = np.float32(rng.uniform(-0.7, 0.2, (61, 2, BANDS)))
  whole = levelled(Player(options, ['', 'Am']), levels)
  player = Player(options, ['', 'Am'])
  for first, last in ((0, 7), (7, 8), (8, 50), (50, 55)):
    part = levelled(player, levels[first : last + 1])
    np.testing.assert_array_equal(part, whole[:, first * HOP : last * HOP])
  player.fork(np.array([1, 0]))
  rest = levelled(player, levels[55:, ::-1])
  np.testing.assert_array_equal(rest, whole[::-1, 55 * HOP :])


def test_sound_is_as_loud_as_three_quarters_of_a_second_make_it():
  options = options_with(pose_rate_hz=50)
  levels = np.full((101, 2, BANDS), -0.1, np.float32)
  levels[:40, 1] -= 0.2  # 4 dB, until 0.8 s
  sounds = levelled(Player(options, ['', '']), levels)
  same, louder = sounds.reshape(2, 100, HOP).std(axis=-1)
  ratio = louder / same
  assert (np.diff(ratio[41:77]) < 0).all()
  np.testing.assert_allclose(ratio[79:], 1.0, atol=1e-4)


def test_what_would_be_louder_than_full_scale_is_cut_off():
  options = options_with(
    pose_rate_hz=50, wave__is_whitened=False, sample__loudness_range=1.0
  )
  gain = np.full((2, 1), 20.0, np.float32)
  drawn = np.linspace(-0.1, 0.1, HOP, dtype=np.float32)[None]
  heard = Player(options, ['']).play(drawn, heard_of(None, gain))
  np.testing.assert_allclose(heard, np.clip(20 * drawn, -1, 1), rtol=1e-6)


def test_loudness_is_as_wide_as_is_asked_for_around_its_middle():
  """Said: the middle, 6 dB above it, 6 below it; to go 1.5 times as far."""
  options = options_with(
    pose_rate_hz=50,
    wave__is_whitened=False,
    sample__loudness_range=1.5,
    sample__loudness_middle=0.5 + 1 / 15,
  )
  said_db = np.repeat(np.array([-6.0, 0.0, -12.0]), 10)
  gain = np.float32(10 ** (said_db / 20))[:, None]
  drawn = np.full((1, (len(gain) - 1) * HOP), 0.1, np.float32)
  played = Player(options, ['']).play(drawn, heard_of(None, gain))
  heard_db = 20 * np.log10(played[0, 5 * HOP :: 10 * HOP] / 0.1)
  np.testing.assert_allclose(heard_db, [-6.0, 3.0, -15.0], atol=1e-3)


@pytest.mark.parametrize('level', [-1e3, -1.5, 0.0, 1e3])
def test_predictors_of_any_levels_are_finite_and_stable(level):
  levels = np.zeros((1, 2, BANDS))
  levels[..., 5] = level
  coefficients, gain = predictors(levels, **SIZES)
  assert np.isfinite(coefficients).all() and (gain > 0).all()
  for predictor in coefficients[0]:
    assert np.abs(np.roots([1, *-predictor])).max() < 1.0


def test_white_sound_is_not_predicted_and_parts_are_alike_in_both_directions():
  white, _ = predictors(np.zeros((1, 2, BANDS)), **SIZES)
  np.testing.assert_allclose(white, 0.0, atol=1e-5)
  levels = np.random.default_rng(0).uniform(-1, 0, (1, 4, BANDS))
  ahead = predictors(levels, **SIZES)
  behind = predictors(levels[:, ::-1], **SIZES)
  for there, back in zip(ahead, behind):
    np.testing.assert_allclose(back[:, ::-1], there, rtol=1e-5, atol=1e-6)


def test_what_is_trained_is_what_is_played_of_levels_far_apart():
  """Float32 of a jitted step against a player's float64: bands by 50 dB."""
  levels = np.random.default_rng(0).normal(-3.0, 2.5, (8, 17, BANDS))
  coefficients, gain = predictors(levels, **SIZES)
  in_training = jax.jit(functools.partial(predictors, **SIZES))
  said, loud = in_training(jnp.float32(levels))
  np.testing.assert_allclose(said, coefficients, atol=1.0)
  np.testing.assert_allclose(loud, gain, rtol=0.25)


@pytest.mark.parametrize('platform', ['cuda', 'tpu'])
def test_accelerators_multiply_spectra_in_full(platform):
  """They would round to 10 or 7 bits: predictors with NaN, of real music."""

  @jax.jit
  def whitened(sound_BT):
    levels = band_levels(sound_BT, num_bands=BANDS, **SIZES)
    return whiten(sound_BT[:, HOP - ORDER :], levels, **SIZES)

  traced = whitened.trace(jnp.zeros((2, 10 * HOP)))
  program = traced.lower(lowering_platforms=(platform,)).as_text()
  products = [x for x in program.splitlines() if 'dot_general' in x]
  assert len(products) == 3
  for product in products:
    assert 'precision = [HIGHEST, HIGHEST]' in product


def test_whitening_needs_bands():
  with pytest.raises(InputError, match=r'is_whitened=True.*num_bands=0'):
    options_with(wave__num_bands=0)
