"""What the WaveNet is told beside the dance: bands, style, tempo, energy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from noise_models import make
from small_config import options_with

from dance2wave.models import controls
from dance2wave.models.loudness import gain, level_db
from dance2wave.models.parts import WHOLE
from dance2wave.models.timbre import band_levels, bins_of_levels, said_or_not
from dance2wave.models.wavenet import WaveNet
from dance2wave.training import bands, prompts

RATE_HZ, HOP = 8000, 160


def make_wave(**changes):
  return make(
    WaveNet,
    context_dim=5,
    num_styles=3,
    dilations=(1, 2),
    kernel=2,
    residual=8,
    gate=8,
    skip=8,
    num_outputs=16,
    samples_per_frame=HOP,
    num_bands=4,
    **changes,
  )


@pytest.mark.parametrize('hz', [100.0, 700.0, 3000.0])
def test_a_tone_is_loudest_in_its_band_and_20_db_are_one_unit(hz):
  time_s = np.arange(RATE_HZ) / RATE_HZ
  tone = np.sin(2 * np.pi * hz * time_s).astype(np.float32)
  sizes = {'hop': HOP, 'sample_rate_hz': RATE_HZ, 'num_bands': 8}
  loud, soft = band_levels(jnp.array([0.5 * tone, 0.05 * tone]), **sizes)
  assert loud.shape == (RATE_HZ // HOP, 8)
  mel = 2595 * np.log10(1 + np.array([40.0, hz, 4000.0]) / 700)
  band = (mel[1] - mel[0]) / (mel[2] - mel[0]) * 9 - 1
  inside = loud[5:-5].mean(axis=0)
  assert abs(int(jnp.argmax(inside)) - band) <= 0.75
  loudest = int(jnp.argmax(inside))
  np.testing.assert_allclose(
    (loud - soft)[5:-5, loudest], np.ones(RATE_HZ // HOP - 10), atol=0.02
  )


@pytest.mark.parametrize('band', [1, 4, 7])
def test_the_power_of_a_band_is_where_its_middle_is(band):
  levels = np.full(8, -1.0)
  levels[band] = 0.0
  power = bins_of_levels(levels, 401, RATE_HZ)
  low, high = (2595 * np.log10(1 + hz / 700) for hz in (40.0, 4000.0))
  mel = low + (high - low) * (band + 1) / 9
  middle_hz = 700 * (10 ** (mel / 2595) - 1)
  assert abs(10.0 * np.argmax(power[:-1]) - middle_hz) <= 10.0
  assert 10 * np.log10(power.max()) == pytest.approx(-40.0, abs=0.5)


def test_bands_hear_a_stroke_at_the_frame_where_it_is():
  sound = np.zeros((1, 20 * HOP), np.float32)
  sound[0, 8 * HOP] = 1.0
  levels = band_levels(
    jnp.array(sound), hop=HOP, sample_rate_hz=RATE_HZ, num_bands=4
  )[0].mean(axis=-1)
  assert int(jnp.argmax(levels)) == 8
  silent = levels[np.r_[0:7, 10:20]]
  np.testing.assert_allclose(silent, -1.5, atol=1e-5)  # -70 dB


def test_bands_that_are_told_reach_the_gates_and_else_timbre_says_them():
  wave = make_wave()
  context = jax.random.normal(jax.random.key(0), (2, 6, 5))
  label = jnp.eye(3)[:2]
  said = wave.condition(context, label)
  same = wave.condition(context, label, wave.timbre(context, label))
  other = wave.condition(context, label, jnp.ones((2, 6, 4)))
  np.testing.assert_array_equal(said, same)
  assert float(jnp.abs(said - other).max()) > 0.1


def test_strength_multiplies_what_a_style_changes_and_nothing_else():
  wave = make_wave()
  style = wave.timbre.style
  style[...] = jax.random.normal(jax.random.key(1), style.shape)
  context = jax.random.normal(jax.random.key(0), (2, 6, 5))
  styles = jnp.array([1, -1])
  plain = wave.condition(context, jnp.zeros((2, 3)))
  once, twice = (
    wave.condition_on_style(context, styles, strength)
    for strength in (1.0, 2.0)
  )
  assert float(jnp.abs(once - plain)[0].max()) > 0.01
  np.testing.assert_allclose(
    twice[0] - plain[0], 2 * (once[0] - plain[0]), atol=1e-5
  )
  np.testing.assert_array_equal(twice[1], plain[1])


def test_several_labels_are_as_much_said_as_one():
  label_BS = jnp.array([[1.0, 1.0, 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
  told = said_or_not(label_BS)
  np.testing.assert_array_equal(told[:, 0], [0, 0, 1])
  np.testing.assert_array_equal(told[:, 1:], label_BS)


@pytest.mark.parametrize('share', [0.0, 1.0])
def test_training_tells_as_many_true_bands_as_it_is_asked_to(share):
  options = options_with(train__true_bands=share)
  said, true = jnp.zeros((64, 3, 2)), jnp.ones((64, 3, 2))
  key = jax.random.key(0)
  told = bands.told_bands(options, key, said, true, WHOLE)
  np.testing.assert_array_equal(told, jnp.full_like(told, share))


def test_the_likelihood_of_samples_does_not_bend_what_timbre_says():
  options, key = options_with(train__true_bands=0.0), jax.random.key(0)
  said = true = jnp.ones((4, 3, 2))

  def total(said):
    return bands.told_bands(options, key, said, true, WHOLE).sum()

  np.testing.assert_array_equal(jax.grad(total)(said), jnp.zeros_like(said))


@pytest.mark.parametrize('share', [0.0, 0.25, 0.9])
def test_as_many_clips_as_asked_for_are_told_no_style(share):
  """Within three standard deviations."""
  options, label = options_with(train__style_dropout=share), jnp.ones((1000, 2))
  told = np.asarray(prompts.drop_label(options, jax.random.key(0), label))
  is_dropped = (told == 0).all(axis=1)
  assert (told == ~is_dropped[:, None]).all()
  bound = 3 * (share * (1 - share) / 1000) ** 0.5
  assert abs(is_dropped.mean() - share) <= bound


def test_only_whitened_sound_is_coloured_and_as_its_style_is_told():
  wave = make_wave(is_whitened=True)
  context = jax.random.normal(jax.random.key(0), (2, 6, 5))
  wave.timbre.style[...] += jax.random.normal(jax.random.key(1), (4, 128))
  style = jnp.array([0, -1])
  levels = wave.timbre(context, jax.nn.one_hot(style, 3))
  colours = wave.colours_on_style(context, style)
  np.testing.assert_allclose(colours, levels, rtol=1e-6)
  stronger = wave.colours_on_style(context, style, 3.0)
  np.testing.assert_allclose(stronger[1], colours[1], rtol=1e-6)
  assert float(jnp.abs(stronger[0] - colours[0]).max()) > 0.1
  given, same = (
    wave.condition_on_style(context, style, strength) for strength in (1.0, 3.0)
  )
  np.testing.assert_array_equal(given, same)  # the gates: as was learned
  assert make_wave().colours_on_style(context, style).shape == (2, 6, 0)


def make_batch(bpm, level, frames=100):
  """Clips of 25 Hz at a tempo and a loudness; the last has neither."""
  bpm = np.asarray(bpm, float)
  phase = (np.arange(frames)[None] * bpm[:, None] / 60 / 25) % 1.0
  phase[-1] = -1
  clips = len(bpm)
  return {
    'beat_phase_BF': jnp.asarray(phase, jnp.float32),
    'valid_BF': jnp.arange(frames)[None] < jnp.full((clips, 1), frames - 7),
    'loudness_BF': jnp.full((clips, frames), level),
    'has_audio_B': jnp.arange(clips) < clips - 1,
  }


def test_tempo_and_energy_of_a_batch_are_found():
  options = options_with()
  assert options.pose_rate_hz == 25
  batch = make_batch([70.0, 128.0, 170.0, 100.0], 2 / 3)
  tempo = prompts.true_tempo_bpm(options, batch)
  np.testing.assert_allclose(tempo[:-1], [70.0, 128.0, 170.0], rtol=1e-4)
  later = batch['beat_phase_BF'].at[0, :20].set(-1)
  known_later = batch | {'beat_phase_BF': later}
  tempo_later = prompts.true_tempo_bpm(options, known_later)
  np.testing.assert_allclose(tempo_later[0], 70.0, rtol=1e-4)
  energy = prompts.true_energy_db(batch)
  np.testing.assert_allclose(energy[:-1], -20.0, atol=1e-4)
  after_the_end = jnp.where(batch['valid_BF'], batch['loudness_BF'], 0.1)
  same = prompts.true_energy_db(batch | {'loudness_BF': after_the_end})
  np.testing.assert_array_equal(same, energy)
  assert jnp.isnan(tempo[-1]) and jnp.isnan(energy[-1])
  assert float(level_db(1.0)) == 0.0


def test_what_is_softer_than_minus_40_db_is_not_raised_further():
  gains = gain(jnp.array([0.0, 0.2, 1 / 3, 2 / 3, 1.0]))
  np.testing.assert_allclose(gains, [0.1, 0.1, 0.1, 1.0, 10.0], rtol=1e-5)


def test_controls_are_a_little_wrong_and_by_no_more():
  batch = make_batch([120.0] * 64, 2 / 3)
  always = options_with(train__control_dropout=0.0)
  draw = jax.jit(functools.partial(prompts.draw_controls, always))
  drawn = np.asarray(draw(jax.random.key(0), batch))[:-1]
  bpm, energy_db = 110.0 * 2.0 ** drawn[:, 1], 6.0 * drawn[:, 5] - 20.0
  away = bpm / 120.0 - 1.0
  assert 0.02 < np.abs(away).max() < 0.0301 and abs(away.mean()) < 0.01
  assert 0.7 < energy_db.std() < 1.3 and abs(energy_db.mean() + 20.0) < 0.5


def test_what_is_no_tempo_of_a_dance_is_not_told_as_one():
  bpm = [30.0, 41.0, 238.0, 300.0, 100.0]
  tempo = prompts.true_tempo_bpm(options_with(), make_batch(bpm, 0.5))
  nan = jnp.nan
  np.testing.assert_allclose(tempo, [nan, 41.0, 238.0, nan, nan], rtol=1e-3)


def test_controls_say_nothing_of_what_is_not_known_or_not_told():
  unknown = controls.encode_controls(jnp.array([jnp.nan]), jnp.array([jnp.nan]))
  np.testing.assert_array_equal(unknown, jnp.zeros((1, 6)))
  tempo_only = controls.encode_controls(
    jnp.array([110.0]), jnp.array([jnp.nan])
  )
  np.testing.assert_allclose(tempo_only, [[1, 0, 1, 0, 0, 0]], atol=1e-6)
  batch = make_batch([120.0] * 64, 0.5)
  never = options_with(train__control_dropout=1.0)
  drawn = prompts.draw_controls(never, jax.random.key(0), batch)
  np.testing.assert_array_equal(drawn, jnp.zeros((64, 6)))
  half = options_with(train__control_dropout=0.5)
  drawn = prompts.draw_controls(half, jax.random.key(0), batch)
  shares = jnp.mean(drawn[:-1, [0, 4]], axis=0)
  assert ((shares > 0.3) & (shares < 0.7)).all()
  np.testing.assert_array_equal(drawn[-1], jnp.zeros(6))
  assert bool(jnp.isfinite(drawn).all())
