"""WaveNet's layers with gradients by hand: those of the formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dance2wave.models.gated_layers import Weights, gated_layers
from dance2wave.models.layers import shift_frames

HOP, FRAMES, BATCH = 5, 6, 3
RESIDUAL, UNITS, SKIP = 4, 3, 6
DILATIONS = (1, 2, 4, 8)


def make_inputs(kernel, dtype=np.float32):
  layers, rng = len(DILATIONS), np.random.default_rng(0)

  def normal(*shape):
    return jnp.asarray(rng.normal(size=shape), dtype)

  weights = Weights(
    normal(layers, kernel * RESIDUAL, 2 * UNITS),
    normal(layers, 2 * UNITS),
    normal(layers, UNITS, RESIDUAL),
    normal(layers, UNITS, SKIP),
  )
  x = normal(BATCH, FRAMES * HOP, RESIDUAL)
  return x, weights, normal(BATCH, FRAMES + 1, layers, 2 * UNITS)


def by_formula(x, weights, condition):
  """Sum tap by tap (van den Oord 2016, eq. 2), context interpolated."""
  place = np.arange(FRAMES * HOP) / HOP
  low = place.astype(int)
  share = jnp.asarray(place % 1, x.dtype)[None, :, None, None]
  given = condition[:, low] * (1 - share) + condition[:, low + 1] * share
  skipped = 0
  for layer, dilation in enumerate(DILATIONS):
    taps = weights.taps_LKG[layer].reshape(-1, RESIDUAL, 2 * UNITS)
    h = weights.bias_LG[layer][None, None] + given[:, :, layer]
    for age, tap in enumerate(taps[::-1]):
      past = jnp.pad(x, ((0, 0), (age * dilation, 0), (0, 0)))
      h = h + past[:, : x.shape[1]] @ tap
    unit = jnp.tanh(h[..., :UNITS]) * jax.nn.sigmoid(h[..., UNITS:])
    skipped = skipped + unit @ weights.skip_LGS[layer]
    x = x + unit @ weights.residual_LGR[layer]
  return x, skipped


def ours(remat):
  def call(x, weights, condition):
    return gated_layers(
      x, weights, condition, DILATIONS, HOP, shift_frames, remat
    )

  return call


def differentiated(call, inputs):
  """Return outputs, and the gradients of random weights of them."""

  def both(*inputs):
    outputs, back = jax.vjp(call, *inputs)
    rng = np.random.default_rng(1)
    slopes = [jnp.asarray(rng.normal(size=y.shape), y.dtype) for y in outputs]
    return outputs, back(tuple(slopes))

  return jax.tree.leaves(jax.jit(both)(*inputs))


@pytest.mark.parametrize('kernel', [2, 3])
@pytest.mark.parametrize('remat', [False, True])
def test_outputs_and_gradients_are_those_of_the_formulas(kernel, remat):
  inputs = make_inputs(kernel)
  found = differentiated(ours(remat), inputs)
  expected = differentiated(by_formula, inputs)
  assert len(found) == 2 + 1 + len(Weights._fields) + 1
  for a, b in zip(found, expected, strict=True):
    np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-4 * np.abs(b).max())


@pytest.mark.parametrize('used', [0, 1])
def test_of_two_outputs_one_may_be_used(used):
  inputs = make_inputs(2)
  found, expected = (
    differentiated(lambda *x, call=call: call(*x)[used : used + 1], inputs)
    for call in (ours(True), by_formula)
  )
  for a, b in zip(found, expected, strict=True):
    np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-4 * np.abs(b).max())


def test_what_is_made_again_is_what_it_was():
  inputs = make_inputs(2)
  kept, again = (differentiated(ours(remat), inputs) for remat in (False, True))
  for a, b in zip(kept, again, strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6 * np.abs(b).max())


@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16])
def test_gates_that_are_shut_or_wide_open_have_finite_gradients(dtype):
  x, weights, condition = make_inputs(2, dtype)
  condition = condition.at[:, :3, :, UNITS:].set(-300.0)
  condition = condition.at[:, 4:, :, :].set(300.0)
  inputs = x, weights, condition
  found = differentiated(ours(False), inputs)
  expected = differentiated(by_formula, inputs)
  assert all(np.all(np.isfinite(g.astype(np.float32))) for g in found)
  if dtype == jnp.float32:
    for a, b in zip(found, expected, strict=True):
      np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-4 * np.abs(b).max())


def test_a_slope_that_is_no_number_is_seen_in_what_is_made_again():
  """The tie to it adds 0 times it: finite slopes alone change nothing."""
  inputs = make_inputs(2)

  @jax.jit
  def gradients(slopes):
    return jax.vjp(ours(True), *inputs)[1](slopes)

  x = inputs[0]
  slopes = jnp.zeros_like(x), jnp.full((*x.shape[:2], SKIP), jnp.nan)
  assert all(np.isnan(g).any() for g in jax.tree.leaves(gradients(slopes)))


def test_in_bfloat16_gradients_are_as_near_as_those_of_the_formulas():
  def error(call):
    """Return each gradient's mean distance from that in float32."""
    narrow = differentiated(call, make_inputs(2, jnp.bfloat16))
    assert all(g.dtype == jnp.bfloat16 for g in narrow)
    pairs = zip(narrow, differentiated(by_formula, make_inputs(2)), strict=True)
    return np.array([np.abs(a.astype(np.float32) - b).mean() for a, b in pairs])

  for remat in (False, True):
    assert np.all(error(ours(remat)) < 1.5 * error(by_formula))
