"""What a WaveNet in training is given of its past and of the dance."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from noise_models import params_of
from small_config import options_with
from test_mesh import random_batch

from dance2wave.errors import InputError
from dance2wave.models.envelope import ORDER, whiten
from dance2wave.models.parts import WHOLE, Part
from dance2wave.models.quantise import bend, mu_law_decode
from dance2wave.pose.features import MOTION_DIM
from dance2wave.training import prompts, self_fed, sharding, step, window

CLEAN = {'train__past_noise': 0.0, 'train__past_gain_db': 0.0}
KEY = jax.random.key(0)
MESH = sharding.make_mesh(1, 1)


def worn_by(options, past):
  return jax.jit(functools.partial(window._worn, options, KEY))(past)


def test_past_dropout_zeroes_a_share_of_samples_up_to_what_is_asked():
  past = jnp.full((64, 2000), 0.3)
  bent = bend(past)
  for most in (0.5, 1.0):
    options = options_with(train__past_dropout=most, **CLEAN)
    worn = worn_by(options, past)
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
    worn_by(options_with(train__past_dropout=most), past) for most in (0.0, 0.5)
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
  moved = np.asarray(told - jnp.arange(frames)[None])
  assert set(np.unique(moved)) <= {-1, 0, 1}
  assert not moved[~np.asarray(valid)].any() and not moved[2].any()
  inside = np.concatenate([moved[0, 1:-1], moved[1, 1:299]])
  bound = 3 * (share * (1 - share) / len(inside)) ** 0.5 + 1e-9
  assert abs(np.mean(inside != 0) - share) <= bound
  assert abs(inside.mean()) <= 3 * (share / len(inside)) ** 0.5 + 1e-9
  assert (moved[:2, 0] >= 0).all() and moved[0, -1] <= 0 and moved[1, 299] <= 0
  for i in range(2):
    part = prompts.jitter_frames(options, KEY, valid, Part(i, 2))
    np.testing.assert_array_equal(part, Part(i, 2).of(told))


class Listener:
  """A stand-in for a WaveNet that keeps what it was told."""

  def condition(self, context_BFC, label_BS, bands_BFK):
    self.told = context_BFC, bands_BFK
    return context_BFC

  def timbre(self, context_BFC, label_BS):
    return context_BFC * jnp.ones(24)[None, None]

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
  mesh, starts = sharding.make_mesh(1, 1), jnp.array([start])

  @jax.jit
  def tell(context, batch):
    window.sound_losses(
      options, mesh, wave, context, label, batch, starts, KEY, WHOLE
    )
    return wave.told

  return tuple(np.asarray(x[0, :, 0]) for x in tell(context, batch))


def test_context_and_bands_are_jittered_alike_and_only_if_asked():
  context, bands = told()
  np.testing.assert_array_equal(context, 7 + np.arange(len(context)))
  np.testing.assert_array_equal(context, bands)
  jittered, bands = told(time_jitter=0.5)
  np.testing.assert_array_equal(jittered, bands)
  assert set(np.unique(jittered - context)) == {-1, 0, 1}


def test_a_whitened_window_says_how_much_finer_its_levels_are_and_what_counts():
  options = options_with(wave__is_levelled=False)
  hop, count, begin = options.samples_per_frame, options.window_frames, 7
  rng, frames = np.random.default_rng(0), 50
  sound = rng.uniform(-0.5, 0.5, (3, frames * hop)).astype(np.float32)
  levels = rng.uniform(-1, 1, (3, frames, 24)).astype(np.float32)
  batch = {
    'audio_BT': sound,
    'valid_BF': np.arange(frames) < np.array([[50], [50], [begin + count - 2]]),
    'has_audio_B': np.array([True, False, True]),
  }
  cut = jax.jit(functools.partial(window.cut_window, options, MESH))
  found = cut(np.zeros((3, frames, 1)), levels, batch, np.full(3, begin))
  first, last = begin * hop, (begin + count) * hop
  drawn, gain = jax.jit(
    functools.partial(whiten, hop=hop, sample_rate_hz=8000)
  )(sound[:, first - ORDER : last], levels[:, begin : begin + count + 1])
  assert float(jnp.abs(drawn).max()) > 1.5
  np.testing.assert_allclose(found['audio'], np.clip(drawn, -1, 1), atol=5e-3)
  small = 1 / (options.wave.levels - 1)
  before, after = (
    np.log(small + np.abs(x)) for x in (sound[:, first:last], found['audio'])
  )
  finer = np.log(gain) + after - before
  np.testing.assert_allclose(found['finer'], finer, atol=0.01)
  scored = count - options.receptive_frames
  of_clips = np.array([scored, 0, scored - 2]) * hop
  np.testing.assert_array_equal(found['mask'].sum(axis=1), of_clips)


class Drawer:
  """A stand-in whose outputs are of one bias, whatever it is given."""

  def __init__(self, outputs):
    self.outputs = outputs

  def __call__(self, past_BT, condition):
    shape = (*past_BT.shape, len(self.outputs))
    return jnp.broadcast_to(self.outputs[None, None], shape)


def window_of(options, clips=32, frames=10, unscored=2):
  """A window whose past is 0.5 throughout, and its unscored first frames."""
  samples = frames * options.samples_per_frame
  scored = np.arange(samples) >= unscored * options.samples_per_frame
  mask = jnp.broadcast_to(jnp.asarray(scored)[None], (clips, samples))
  return {'past': jnp.full((clips, samples), 0.5), 'mask': mask}


@functools.partial(jax.jit, static_argnums=(0, 4))
def _feed(options, outputs, past, share, part):
  return self_fed.feed_itself(
    options, Drawer(outputs), past, jnp.zeros((1, 1)), share, KEY, part
  )


def fed(options, outputs, share, part=WHOLE, **sizes):
  past = part.of(window_of(options, **sizes))
  return _feed(options, outputs, past, share, part)


def test_a_share_of_whole_blocks_is_what_the_model_draws():
  options = options_with(train__self_fed=0.5, wave__levels=16)
  code = jax.nn.one_hot(jnp.array(3), 16) * 100.0
  none, some, every = (fed(options, code, share) for share in (0.0, 0.3, 1.0))
  np.testing.assert_array_equal(none, jnp.full_like(none, 0.5))
  frames = np.asarray(every).reshape(32, 10, -1)
  np.testing.assert_array_equal(frames[:, :2], np.float32(0.5))
  value = frames[0, 2, 0]
  assert value == pytest.approx(float(mu_law_decode(jnp.array(3), 16)))
  np.testing.assert_array_equal(frames[:, 2:], value)
  frames = np.asarray(some).reshape(32, 10, -1)
  is_fed = frames[..., 0] == value
  wanted = np.where(is_fed[..., None], value, np.float32(0.5))
  np.testing.assert_array_equal(frames, np.broadcast_to(wanted, frames.shape))
  count = 32 * 8
  assert abs(is_fed[:, 2:].mean() - 0.3) < 3 * (0.3 * 0.7 / count) ** 0.5
  for i in range(2):
    part = Part(i, 2)
    np.testing.assert_array_equal(fed(options, code, 0.3, part), part.of(some))


def test_draws_are_of_the_models_own_distribution():
  options = options_with(train__self_fed=1.0, wave__levels=16)
  two = jnp.array([3, 12])
  logits = jnp.full(16, -1e9).at[two].set(jnp.log(jnp.array([0.25, 0.75])))
  past = fed(options, logits, 1.0)[:, 2 * options.samples_per_frame :]
  low, high = jax.jit(mu_law_decode, static_argnums=1)(two, 16)
  assert bool(jnp.all((past == low) | (past == high)))
  bound = 3 * (0.25 * 0.75 / past.size) ** 0.5
  assert abs(float(jnp.mean(past == high)) - 0.75) < bound


def test_what_is_drawn_comes_a_sample_later_and_without_gradient():
  """A mixture whose one component lies where the past is: it repeats it."""
  options = options_with(train__self_fed=1.0, wave__output='mixture')
  past = jax.random.uniform(KEY, (1, 960), minval=-0.5, maxval=0.5)
  window = {'past': past, 'mask': jnp.ones((1, 960), bool)}

  def fed_by(scale):
    def wave(bent_BT, condition):
      sure = jnp.full(bent_BT.shape, -30.0)
      return jnp.stack([0.0 * sure, scale * bent_BT, sure], axis=-1)

    condition = jnp.zeros((1, 1))
    return self_fed.feed_itself(options, wave, window, condition, 1.0, KEY)

  fed_by = jax.jit(fed_by)
  given = fed_by(1.0)
  np.testing.assert_allclose(given[:, 1:], past[:, :-1], atol=0.03)
  assert float(fed_by(0.5).std()) < 0.5 * float(given.std())
  assert float(jax.grad(lambda scale: fed_by(scale).sum())(1.0)) == 0.0


def test_self_feeding_grows_over_the_joint_steps():
  options = options_with(
    train__self_fed=0.4, train__pose_steps=10, train__joint_steps=20
  )
  shares = [self_fed.self_fed_share(options, s) for s in (10, 20, 30, 99)]
  np.testing.assert_allclose(shares, [0.0, 0.2, 0.4, 0.4], rtol=1e-6)
  assert self_fed.self_fed_share(options_with(), 20) is None


def test_a_joint_step_starts_with_the_true_past_and_leaves_it():
  options = options_with(train__self_fed=0.9)
  graphdef, init = step.split_model(options, MOTION_DIM)
  params, batch = params_of(init), random_batch(options)
  mesh = sharding.make_mesh(1, 1)
  loss = functools.partial(
    step._joint_loss, options, graphdef, mesh, params, batch
  )
  fed_loss = jax.jit(lambda share: loss(KEY, self_fed=share)[0])
  plain = jax.jit(lambda: loss(KEY)[0])()
  assert float(fed_loss(0.0)) == pytest.approx(float(plain), rel=1e-6)
  assert abs(float(fed_loss(0.9)) - float(plain)) > 1e-5


class Deaf(nnx.Module):
  """A stand-in for a model of whose parts nothing is asked."""

  wave = None


@pytest.mark.parametrize('share, weight', [(0.0, 0.0), (0.25, 1.0), (0.9, 2.0)])
def test_dances_are_dropped_and_heads_weigh_as_is_asked_for(
  monkeypatch, share, weight
):
  """The dance of a clip is told whole or not at all."""
  clips = 400
  dances = jnp.arange(1.0, 1.0 + clips * 3 * 2).reshape(clips, 3, 2)

  def listen(*_):
    return dances, {'beat': jnp.array(3.0), 'style_accuracy': jnp.array(50.0)}

  def hear(options, mesh, wave, context, *_):
    return {'nll': jnp.array(7.0), 'told': context}

  monkeypatch.setattr(step, '_listen_in_training', listen)
  monkeypatch.setattr(step, '_losses_of_sound', hear)
  options = options_with(
    train__context_dropout=share, train__heads_weight=weight
  )
  batch = {'valid_BF': jnp.ones((clips, 3), bool)}
  graphdef = nnx.split(Deaf())[0]
  total, losses = step._joint_loss(options, graphdef, None, {}, batch, KEY)
  assert float(total) == 7.0 + weight * 3.0
  told = np.asarray(losses['told'])
  is_dropped = np.all(told == 0, axis=(1, 2))
  assert (told == dances * ~is_dropped[:, None, None]).all()
  bound = 3 * (share * (1 - share) / clips) ** 0.5
  assert abs(is_dropped.mean() - share) <= bound


@pytest.mark.parametrize('key', ['past_dropout', 'time_jitter', 'self_fed'])
def test_shares_that_are_none_are_named(key):
  for value in (-0.1, 1.1):
    with pytest.raises(InputError, match=f'train.{key}={value}.* from 0 to 1'):
      options_with(**{f'train__{key}': value})
