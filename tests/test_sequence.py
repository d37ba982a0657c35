"""A clip over several devices, exact against one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from noise_models import make

from dance2wave.errors import InputError
from dance2wave.models.wavenet import WaveNet
from dance2wave.training import collectives, sequence, sharding

HOP, LAYERS = 10, (1, 2, 4, 8, 16, 1, 2, 4)


@pytest.fixture(scope='module')
def wave():
  made = make(
    WaveNet,
    context_dim=6,
    num_styles=2,
    dilations=LAYERS,
    kernel=3,
    residual=8,
    gate=8,
    skip=8,
    num_outputs=12,
    samples_per_frame=HOP,
  )
  # Zeros hide what crosses the border between devices.
  rng = np.random.default_rng(1)
  made.taps_bias[...] = jnp.asarray(rng.normal(size=made.taps_bias.shape))
  made.embed.bias[...] = jnp.asarray(rng.normal(size=made.embed.bias.shape))
  return made


def inputs(frames):
  rng = np.random.default_rng(0)
  condition = rng.normal(size=(2, frames + 1, len(LAYERS), 16))
  past = rng.uniform(-1, 1, (2, frames * HOP))
  return past.astype(np.float32), condition.astype(np.float32)


@pytest.mark.parametrize(
  'devices', [pytest.param(2, marks=pytest.mark.slow), 8]
)
def test_outputs_and_gradients_are_those_of_one_device(wave, devices):
  graphdef, state = nnx.split(wave)
  params = nnx.to_pure_dict(state)
  mesh = sharding.make_mesh(devices, 1)
  past, condition = inputs(32)
  assert wave.receptive_field > 32 * HOP // 8  # reaches over several devices
  many = sequence.over_time(graphdef, wave, mesh, 'data')

  def alone(params, past, condition):
    return nnx.merge(graphdef, params)(past, condition)

  outputs = [jax.jit(f)(params, past, condition) for f in (alone, many)]
  np.testing.assert_allclose(*outputs, rtol=1e-6, atol=1e-6)
  assert outputs[1].sharding.shard_shape(outputs[1].shape)[1] == 320 // devices

  def loss(call, params, condition):
    return jnp.mean(call(params, past, condition) ** 2)

  grads = [
    jax.jit(jax.grad(lambda p, c, call=call: loss(call, p, c), (0, 1)))(
      params, condition
    )
    for call in (alone, many)
  ]
  for a, b in zip(*map(jax.tree.leaves, grads)):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize('sizes', [(2, 1, 1, 2), (1, 1, 2, 2)])
def test_bfloat16_over_time_and_another_axis_is_compiled(wave, sizes):
  """XLA's compiler for processors aborted; gradients agree with float32's."""
  graphdef, state = nnx.split(wave)
  params = nnx.to_pure_dict(state)
  mesh = sharding.make_mesh(*sizes)
  call = sequence.over_time(graphdef, wave, mesh, 'sequence')
  clips = sharding.batch_sharding(mesh)
  past, condition = jax.device_put(inputs(32), clips)

  def loss(params, projection, dtype):
    frames = condition.astype(dtype) @ projection.astype(dtype)
    outputs = call(params, past, frames)
    return jnp.mean(outputs.astype(jnp.float32) ** 2)

  slopes = jax.jit(jax.grad(loss, (0, 1)), static_argnums=2)
  wide, narrow = (
    jax.tree.leaves(slopes(params, np.eye(16, dtype=np.float32), dtype))
    for dtype in (jnp.float32, jnp.bfloat16)
  )
  norm = np.sqrt(sum(np.sum(np.square(x)) for x in wide))
  apart = np.sqrt(sum(np.sum(np.square(x - y)) for x, y in zip(wide, narrow)))
  assert apart < 0.05 * norm


def test_only_halos_are_sent(wave):
  graphdef, state = nnx.split(wave)
  params = nnx.to_pure_dict(state)
  mesh = sharding.make_mesh(8, 1)
  call = jax.jit(sequence.over_time(graphdef, wave, mesh, 'data'))
  program = call.lower(params, *inputs(32)).compile().as_text()
  (kind,) = found = collectives.read(program)
  assert kind == 'collective-permute'
  # Two taps of each layer: the far one reaches twice as far as the near one.
  # Beside them, a frame of the condition for each layer.
  halos = 4 * 3 * sum(LAYERS) * 2 * 16
  assert halos < found[kind][1] < 2 * halos


@pytest.mark.parametrize('frames, said', [(30, '30 frames'), (16, '16 frames')])
def test_a_clip_that_cannot_be_split_is_named(wave, frames, said):
  graphdef, state = nnx.split(wave)
  call = sequence.over_time(graphdef, wave, sharding.make_mesh(8, 1), 'data')
  with pytest.raises(InputError, match=f'{said} over mesh.data=8'):
    call(nnx.to_pure_dict(state), *inputs(frames))
