"""Cycles of dilations that are one program: the same sound, less to compile."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dance2wave.models.layers import num_cycles
from dance2wave.models.wavenet import WaveNet
from dance2wave.training import sequence, sharding

HOP, FRAMES = 10, 16
CYCLE = (1, 2, 4, 8)


def make(cycles=3, **changes):
  return WaveNet(
    context_dim=6,
    num_styles=2,
    dilations=CYCLE * cycles,
    kernel=2,
    residual=8,
    gate=12,
    skip=16,
    num_outputs=12,
    samples_per_frame=HOP,
    rngs=nnx.Rngs(0),
    **changes,
  )


def loss_of(model, mesh=None):
  """Return a function from parameters to a loss, and random parameters."""
  graphdef, state = nnx.split(model)
  rng = np.random.default_rng(0)
  params = jax.tree.map(
    lambda p: p + 0.1 * rng.normal(size=p.shape).astype(np.float32),
    nnx.to_pure_dict(state),
  )
  layers = len(model.dilations)
  condition = rng.normal(size=(2, FRAMES + 1, layers, 24)).astype(np.float32)
  past = rng.uniform(-1, 1, (2, FRAMES * HOP)).astype(np.float32)

  def alone(params, past, condition):
    return nnx.merge(graphdef, params)(past, condition)

  call = alone
  if mesh is not None:
    call = sequence.over_time(graphdef, model, mesh, 'data')

  def loss(params):
    return jnp.mean(call(params, past, condition) ** 2)

  return loss, params


@pytest.mark.parametrize('devices', [1, 2])
@pytest.mark.parametrize('remat', [False, True])
def test_loss_and_gradients_are_those_of_all_layers(remat, devices):
  mesh = sharding.make_mesh(devices, 1) if devices > 1 else None
  found = []
  for model in (make(), make(scan=True, remat=remat)):
    loss, params = loss_of(model, mesh)
    found.append(jax.jit(jax.value_and_grad(loss))(params))
  for a, b in zip(*map(jax.tree.leaves, found), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-7)
  assert any(np.any(g) for g in jax.tree.leaves(found[0][1]))


@functools.cache
def lowered(cycles, **changes):
  loss, params = loss_of(make(cycles, **changes))
  return jax.jit(jax.grad(loss)).lower(params)


def test_the_program_is_as_long_however_many_cycles_there_are():
  lines = {
    (scan, cycles): len(lowered(cycles, scan=scan).as_text().splitlines())
    for scan in (False, True)
    for cycles in (2, 6)
  }
  assert lines[True, 6] == lines[True, 2]
  assert lines[False, 6] > 2.5 * lines[False, 2]


def test_of_a_cycle_that_is_made_again_only_what_it_begins_with_is_kept():
  def kept(**changes):
    compiled = lowered(6, **changes).compile()
    return compiled.memory_analysis().temp_size_in_bytes

  assert kept(scan=True, remat=True) < 0.5 * kept()


def test_cycles_are_counted():
  assert num_cycles(CYCLE * 3) == 3
  assert num_cycles((1, 2, 4, 1, 2)) == 1
  assert num_cycles((2, 2, 2)) == 3
