"""What a WaveNet in training is given of its past and of the dance."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_config import options_with

from dance2wave.errors import InputError
from dance2wave.models.parts import WHOLE, Part
from dance2wave.models.quantise import bend
from dance2wave.training import prompts, window

CLEAN = {'train__past_noise': 0.0, 'train__past_gain_db': 0.0}
KEY = jax.random.key(0)


def test_past_dropout_zeroes_a_share_of_samples_up_to_what_is_asked():
  past = jnp.full((64, 2000), 0.3)
  bent = bend(past)
  for most in (0.5, 1.0):
    options = options_with(train__past_dropout=most, **CLEAN)
    worn = window._worn(options, KEY, past)
    is_zero = worn == 0.0
    np.testing.assert_allclose(worn, jnp.where(is_zero, 0.0, bent), rtol=1e-6)
    shares = jnp.mean(is_zero, axis=1)
    assert shares.min() < 0.1 * most and 0.9 * most < shares.max() < most + 0.05
    assert abs(float(shares.mean()) - most / 2) < 0.1 * most
    parts = [
      window._worn(options, KEY, Part(i, 4).of(past), Part(i, 4))
      for i in range(4)
    ]
    for i, part in enumerate(parts):
      np.testing.assert_array_equal(part, Part(i, 4).of(worn))


def test_what_is_not_asked_for_changes_no_draw_of_the_rest():
  past = jax.random.uniform(KEY, (8, 400), minval=-1.0)
  without, dropped = (
    window._worn(options_with(train__past_dropout=most), KEY, past)
    for most in (0.0, 0.5)
  )
  np.testing.assert_array_equal(
    dropped, jnp.where(dropped == 0.0, 0.0, without)
  )
  assert 0.1 < float(jnp.mean(dropped == 0.0)) < 0.4


@pytest.mark.parametrize('share', [0.0, 0.12, 1.0])
def test_time_jitter_takes_neighbours_and_keeps_within_the_clip(share):
  """Within three standard deviations of what is asked for."""
  options = options_with(train__time_jitter=share)
  frames, length = 500, jnp.array([500, 300, 1, 0])[:, None]
  valid = jnp.arange(frames)[None] < length
  told = prompts.jitter_frames(options, KEY, valid)
  step = np.asarray(told - jnp.arange(frames)[None])
  assert set(np.unique(step)) <= {-1, 0, 1}
  assert not step[~np.asarray(valid)].any() and not step[2].any()
  inside = np.concatenate([step[0, 1:-1], step[1, 1:299]])
  bound = 3 * (share * (1 - share) / len(inside)) ** 0.5 + 1e-9
  assert abs(np.mean(inside != 0) - share) <= bound
  assert abs(inside.mean()) <= 3 * (share / len(inside)) ** 0.5 + 1e-9
  assert (step[:2, 0] >= 0).all() and step[0, -1] <= 0 and step[1, 299] <= 0
  for i in range(2):
    part = prompts.jitter_frames(options, KEY, valid, Part(i, 2))
    np.testing.assert_array_equal(part, Part(i, 2).of(told))


class Listener:
  """A stand-in for a WaveNet that keeps what it was told."""

  def condition(self, context_BFC, label_BS, bands_BFK):
    self.told = context_BFC, bands_BFK
    return context_BFC

  def timbre(self, context_BFC, label_BS):
    return context_BFC * jnp.ones(12)[None, None]

  def __call__(self, past_BT, condition):
    return jnp.zeros((*past_BT.shape, 256))


def told(start=7, **train):
  """Context and bands, both the number of the frame, as a WaveNet hears."""
  changes = {f'train__{k}': v for k, v in train.items()}
  options = options_with(train__true_bands=0.0, **CLEAN, **changes)
  frames = 50
  context = jnp.arange(frames, dtype=jnp.float32)[None, :, None]
  batch = {
    'audio_BT': jnp.zeros((1, frames * options.samples_per_frame)),
    'loudness_BF': jnp.ones((1, frames)),
    'valid_BF': jnp.ones((1, frames), bool),
    'has_audio_B': jnp.ones(1, bool),
  }
  wave, label = Listener(), jnp.zeros((1, 6))
  starts = jnp.array([start])
  window.sound_losses(options, wave, context, label, batch, starts, KEY, WHOLE)
  return np.asarray(wave.told[0][0, :, 0]), np.asarray(wave.told[1][0, :, 0])


def test_context_and_bands_are_jittered_alike_and_only_if_asked():
  context, bands = told()
  np.testing.assert_array_equal(context, 7 + np.arange(len(context)))
  np.testing.assert_array_equal(context, bands)
  jittered, bands = told(time_jitter=0.5)
  np.testing.assert_array_equal(jittered, bands)
  assert set(np.unique(jittered - context)) == {-1, 0, 1}


@pytest.mark.parametrize('key', ['past_dropout', 'time_jitter'])
def test_shares_that_are_none_are_named(key):
  for value in (-0.1, 1.1):
    with pytest.raises(InputError, match=f'train.{key}={value}.* from 0 to 1'):
      options_with(**{f'train__{key}': value})
