import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from noise_models import at_once, make

from dance2wave.datasets import targets
from dance2wave.models import loudness as loudness_lib
from dance2wave.models.dance2wave import Dance2Wave
from dance2wave.models.layers import GatedConv, LocalAttention
from dance2wave.models.parts import Draws
from dance2wave.models.pose_transformer import PoseTransformer, share_look_ahead
from dance2wave.models.wavenet import WaveNet, receptive_field

MOTION_DIM, FRAMES = 7, 60


def make_pose(look_ahead_s, **changes):
  sizes = {
    'motion_dim': MOTION_DIM,
    'width': 16,
    'num_heads': 2,
    'num_blocks': 2,
    'stem_dilations': (1, 2),
    'top_dilations': (1,),
    'kernel': 3,
    'window_s': 0.8,
    'look_ahead_s': look_ahead_s,
    'pose_rate_hz': 25,
  }
  return make(PoseTransformer, **(sizes | changes))


def make_wave(kernel=2, **changes):
  sizes = {
    'context_dim': 5,
    'num_styles': 3,
    'dilations': (1, 2, 4, 1, 2, 4),
    'kernel': kernel,
    'residual': 8,
    'gate': 8,
    'skip': 16,
    'num_outputs': 32,
    'samples_per_frame': 10,
  }
  return WaveNet(**(sizes | changes), rngs=nnx.Rngs(0))


def stream(layer, x_BFC, valid_BF):
  """Run `step` over all frames and as many invalid ones as it looks ahead."""
  batch, frames, dim = x_BFC.shape
  x_BFC, valid_BF = np.asarray(x_BFC), np.asarray(valid_BF)
  state, out = layer.start(batch), []
  step = jax.jit(layer.step)
  for frame in range(frames + layer.look_ahead):
    inside = frame < frames
    x = x_BFC[:, frame] if inside else np.ones((batch, dim), x_BFC.dtype)
    valid = valid_BF[:, frame] if inside else np.zeros(batch, bool)
    y, _, *_, state = step(x, valid, state)
    out.append(y)
  return np.stack(out[layer.look_ahead :], axis=1)


@pytest.mark.parametrize('look_ahead', [0, 2, 4])
def test_conv_step_equals_the_whole_sequence(look_ahead):
  layer = make(
    GatedConv,
    6,
    kernel=3,
    dilation=2,
    look_ahead=look_ahead,
    dropout=0.0,
  )
  x = jax.random.normal(jax.random.key(0), (2, 20, 6))
  valid = jnp.arange(20)[None] < jnp.array([20, 13])[:, None]
  whole, steps = at_once(layer, x, valid), stream(layer, x, valid)
  np.testing.assert_allclose(
    np.where(valid[..., None], whole, 0),
    np.where(valid[..., None], steps, 0),
    atol=1e-5,
  )


@pytest.mark.parametrize('frames', [20, 70])
@pytest.mark.parametrize('look_ahead', [0, 4])
def test_attention_step_equals_the_whole_sequence(look_ahead, frames):
  layer = make(
    LocalAttention,
    8,
    num_heads=2,
    look_back=6,
    look_ahead=look_ahead,
    pose_rate_hz=25,
    dropout=0.0,
  )
  x = jax.random.normal(jax.random.key(0), (2, frames, 8))
  valid = jnp.arange(frames)[None] < jnp.array([frames, 13])[:, None]
  whole, steps = at_once(layer, x, valid), stream(layer, x, valid)
  np.testing.assert_allclose(
    np.where(valid[..., None], whole, 0),
    np.where(valid[..., None], steps, 0),
    atol=1e-5,
  )


@pytest.mark.parametrize(
  'cls, sizes',
  [
    (GatedConv, {'kernel': 3, 'dilation': 1, 'look_ahead': 0}),
    (
      LocalAttention,
      {'num_heads': 2, 'look_back': 2, 'look_ahead': 0, 'pose_rate_hz': 25},
    ),
  ],
)
def test_a_layer_of_which_all_is_dropped_adds_nothing_in_training(cls, sizes):
  layer = make(cls, 4, dropout=1 - 1e-6, **sizes)
  x = jax.random.normal(jax.random.key(0), (2, 6, 4))
  valid = jnp.ones((2, 6), bool)

  @jax.jit
  def both(key):
    return layer(x, valid, Draws(key)), layer(x, valid)

  trained, played = both(jax.random.key(1))
  np.testing.assert_array_equal(trained, x)
  assert float(jnp.abs(played - x).max()) > 0.1


def test_attention_in_blocks_equals_attention_at_once():
  layer = make(
    LocalAttention,
    8,
    num_heads=2,
    look_back=6,
    look_ahead=3,
    pose_rate_hz=25,
    dropout=0.0,
  )
  x = jax.random.normal(jax.random.key(0), (2, 50, 8))
  valid = jnp.arange(50)[None] < jnp.array([50, 31])[:, None]
  q, k, v = jax.jit(layer._project)(x, jnp.arange(50))
  np.testing.assert_allclose(
    jax.jit(layer._attend_all)(q, k, v, valid)[:, :31],
    jax.jit(layer._attend_blocks)(q, k, v, valid)[:, :31],
    atol=1e-6,
  )


def test_rotary_positions_repeat_exactly_in_long_streams():
  layer = make(
    LocalAttention,
    8,
    num_heads=2,
    look_back=6,
    look_ahead=0,
    pose_rate_hz=25,
    dropout=0.0,
  )
  x = jax.random.normal(jax.random.key(0), (1, 12, 8))
  valid = jnp.ones((1,), bool)

  step = jax.jit(layer.step)

  def last(first_frame):
    state = layer.start(1) | {'frame': jnp.int32(first_frame)}
    for frame in range(12):
      y, _, state = step(x[:, frame], valid, state)
    return y

  np.testing.assert_allclose(last(0), last(25 * 3600 - 5), atol=1e-5)


@pytest.mark.parametrize('look_ahead_s', [0.0, 0.4, 1.0, None])
def test_pose_transformer_sees_no_further_than_it_says(look_ahead_s):
  model = make_pose(look_ahead_s)
  if look_ahead_s is not None:
    assert model.look_ahead <= look_ahead_s * 25 + 1e-9
  x = jax.random.normal(jax.random.key(0), (1, FRAMES, MOTION_DIM))
  valid = jnp.ones((1, FRAMES), bool)
  changed = x.at[:, 40].add(1.0)
  call = jax.jit(model.__call__)
  difference = np.abs(call(x, valid)[0] - call(changed, valid)[0])
  touched = np.flatnonzero(difference.sum((0, 2)))
  assert touched[0] == 40 - model.look_ahead
  assert touched[-1] > 40


@pytest.mark.parametrize('look_ahead_s', [0.0, 0.4, 1.0])
def test_pose_transformer_step_equals_the_whole_sequence(look_ahead_s):
  model = make_pose(look_ahead_s)
  x = jax.random.normal(jax.random.key(0), (2, FRAMES, MOTION_DIM))
  valid = jnp.arange(FRAMES)[None] < jnp.array([FRAMES, 41])[:, None]
  whole, steps = at_once(model, x, valid)[0], stream(model, x, valid)
  np.testing.assert_allclose(
    np.where(valid[..., None], whole, 0),
    np.where(valid[..., None], steps, 0),
    atol=1e-5,
  )


def test_look_ahead_is_shared_within_the_total():
  assert share_look_ahead(None, [2, 4, 50]) == [2, 4, 50]
  for total in range(60):
    shares = share_look_ahead(total, [2, 4, 50, 50])
    assert sum(shares) <= total
    assert all(s <= w for s, w in zip(shares, [2, 4, 50, 50]))
  assert share_look_ahead(0, [2, 4, 50]) == [0, 0, 0]
  assert share_look_ahead(56, [2, 4, 25, 25]) == [2, 4, 25, 25]


@pytest.mark.parametrize('kernel', [2, 3])
def test_wavenet_is_causal_over_exactly_its_receptive_field(kernel):
  model = make_wave(kernel)
  past = jax.random.normal(jax.random.key(0), (1, 120))
  condition = jax.jit(model.condition)(jnp.ones((1, 13, 5)), jnp.eye(3)[:1])
  changed = past.at[0, 50].add(1.0)
  call = jax.jit(model.__call__)
  difference = np.abs(call(past, condition) - call(changed, condition))
  touched = np.flatnonzero(difference.sum((0, 2)))
  assert touched[0] == 50
  assert touched[-1] == 50 + model.receptive_field - 1
  assert model.receptive_field == receptive_field((1, 2, 4) * 2, kernel)


@pytest.mark.parametrize('kernel', [2, 3])
def test_wavenet_step_equals_the_whole_sequence(kernel):
  model = make_wave(kernel)
  past = 0.3 * jax.random.normal(jax.random.key(0), (2, 120))
  context = jax.random.normal(jax.random.key(1), (2, 13, 5))
  label = jnp.array([[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
  condition = jax.jit(model.condition)(context, label)
  whole = at_once(model, past, condition)
  state, step, out = model.start(2), jax.jit(model.step), []
  taps = model.split_taps()
  for sample in range(120):
    frame, weight = sample // 10, sample % 10 / 10
    now, then = condition[:, frame], condition[:, frame + 1]
    given = now + (then - now) * weight
    y, state = step(past[:, sample], given, taps, state)
    out.append(y)
  np.testing.assert_allclose(whole, jnp.stack(out, 1), atol=1e-5)


def test_context_changes_only_the_samples_between_its_neighbours():
  """Frame f is heard from just after frame f - 1 to just before f + 1."""
  model = make_wave(dilations=(1,))
  past = jnp.zeros((1, 120))
  context = jnp.zeros((1, 13, 5))
  label = jnp.zeros((1, 3))

  @jax.jit
  def outputs(context):
    return model(past, model.condition(context, label))

  difference = np.abs(outputs(context) - outputs(context.at[:, 6].set(1.0)))
  touched = np.flatnonzero(difference.sum((0, 2)))
  assert touched[0] == 51
  assert touched[-1] == 69


def test_conditioning_reaches_the_outputs_of_the_joined_model():
  pose = {
    'motion_dim': MOTION_DIM,
    'width': 16,
    'num_heads': 2,
    'num_blocks': 1,
    'stem_dilations': (1,),
    'top_dilations': (),
    'kernel': 3,
    'window_s': 0.8,
    'look_ahead_s': None,
    'pose_rate_hz': 25,
  }
  wave = {
    'num_styles': 3,
    'dilations': (1, 2),
    'kernel': 2,
    'residual': 8,
    'gate': 8,
    'skip': 8,
    'num_outputs': 16,
    'samples_per_frame': 10,
  }
  call = jax.jit(make(Dance2Wave, pose=pose, wave=wave).__call__)
  motion = jax.random.normal(jax.random.key(0), (2, 12, MOTION_DIM))
  valid = jnp.ones((2, 12), bool)
  past = jnp.zeros((2, 110))
  label = jnp.eye(3)[:2]
  outputs, heads = call(motion, valid, past, label)
  assert outputs.shape == (2, 110, 16)
  assert heads.shape[:2] == (2, 12)
  other, _ = call(motion[::-1], valid, past, label)
  assert float(jnp.abs(outputs - other).max()) > 1e-4


def test_levelled_sound_gets_its_loudness_back():
  loudness = jnp.array([[0.2, 1 / 3, 2 / 3, 1.0]])
  gains = loudness_lib.gain(loudness)
  # Softer than -40 dB stays softer; 20 dB up or down are a factor of 10.
  np.testing.assert_allclose(gains, [[0.1, 0.1, 1.0, 10.0]], rtol=1e-5)
  samples = loudness_lib.gain_of_samples(loudness, 4)
  wanted = np.interp(np.arange(12) / 4, np.arange(4), np.asarray(gains[0]))
  np.testing.assert_allclose(samples[0], wanted, rtol=1e-6)


def test_loudness_means_the_same_to_targets_and_to_gains():
  """Sound of -32 dB has -20 dB when it is levelled."""
  time_s = np.arange(4 * 8000) / 8000
  sound = np.float32(10 ** (-32 / 20) * 2**0.5) * np.sin(2e3 * np.pi * time_s)
  asked = targets.loudness(sound.astype(np.float32), 160, 50)
  gains = loudness_lib.gain_of_samples(jnp.append(asked, asked[-1])[None], 160)
  levelled = sound / np.asarray(gains[0])
  rms_db = 20 * np.log10(np.sqrt(np.mean(levelled**2)))
  np.testing.assert_allclose(rms_db, -20.0, atol=0.01)
