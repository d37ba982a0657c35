"""WaveNet's layers on whole sequences, with gradients by hand.

    x ──┬─> dilated taps ─> + context ─> tanh · sigmoid = z ──┬─> residual ─> +
        │                                                     └─> skip        ^
        └─────────────────────────────────────────────────────────────────────┘

Of each layer its gate's sigmoid s, its unit z and its input x are kept: with
tanh = z / s the gradients need no more. Where layers are made again only the
input of the first one is. What the compiler would make long before it is used,
for all layers at once, is tied to what comes just before.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp


class Weights(NamedTuple):
  """Of L layers with k taps, residual channels R, units G, skip channels S.

  Attributes:
    taps_LKG: (L, k R, 2 G) oldest first, [value | gate].
    bias_LG: (L, 2 G).
    residual_LGR: (L, G, R).
    skip_LGS: (L, G, S).
  """

  taps_LKG: jax.Array
  bias_LG: jax.Array
  residual_LGR: jax.Array
  skip_LGS: jax.Array


class Kept(NamedTuple):
  """What gradients need of every layer; each (B, T, ...)."""

  x: list
  unit: list
  gate: list


def _add_between_frames(h_BTG, frames_BFG, hop):
  """Add to samples (B, T, G) what frames (B, F + 1, G) are between them."""
  batch, _, width = h_BTG.shape
  weight = _weights(hop, h_BTG.dtype)[1][None, None, :, None]
  now, then = frames_BFG[:, :-1, None], frames_BFG[:, 1:, None]
  h = h_BTG.reshape(batch, -1, hop, width)
  return (h + now + (then - now) * weight).reshape(h_BTG.shape)


def _weights(hop, dtype):
  """Return (2, S) how much a frame, and the next, are in the samples after."""
  then = (jnp.arange(hop) / hop).astype(dtype)
  return jnp.stack([1 - then, then])


def _gather_from_samples(slope_BTG, hop):
  """Return the gradients of the frames that were added between.

  As a matrix product, which sums far faster; one for each frame moves nothing
  about.
  """
  batch, _, width = slope_BTG.shape
  slope = slope_BTG.reshape(batch, -1, hop, width)
  weights = _weights(hop, slope.dtype)
  weights = jnp.broadcast_to(weights, (*slope.shape[:2], *weights.shape))
  both = jnp.einsum('bfks,bfsg->bfkg', weights, slope)
  now = jnp.pad(both[:, :, 0], ((0, 0), (0, 1), (0, 0)))
  then = jnp.pad(both[:, :, 1], ((0, 0), (1, 0), (0, 0)))
  return now + then


def _times(x, matrix):
  """Multiply the last axis, as one 2-D matrix product."""
  flat = x.reshape(-1, x.shape[-1]) @ matrix
  return flat.reshape(*x.shape[:-1], flat.shape[-1])


def _summed(x, slope):
  """Return the gradient of a matrix that x was multiplied by."""
  return x.reshape(-1, x.shape[-1]).T @ slope.reshape(-1, slope.shape[-1])


def _beside(taps_KG, residual):
  """Put a layer's taps side by side: (k R, 2 G) to (R, k 2 G)."""
  taps = taps_KG.reshape(-1, residual, taps_KG.shape[-1])
  return jnp.moveaxis(taps, 0, 1).reshape(residual, -1)


def _dilated(x, taps_KG, dilation, shift):
  """Multiply by all taps at once, then shift the outputs."""
  residual = x.shape[-1]
  kernel = len(taps_KG) // residual
  parts = jnp.split(_times(x, _beside(taps_KG, residual)), kernel, axis=-1)
  return sum(
    shift(part, (tap + 1 - kernel) * dilation) for tap, part in enumerate(parts)
  )


def _undilated(slope, kernel, dilation, shift):
  """Return the gradients of the products whose shifted sum was taken."""

  def unshifted(offset):
    move = functools.partial(shift, offset=offset)
    return jax.linear_transpose(move, slope)(slope)[0]

  last = kernel - 1
  parts = [unshifted((tap - last) * dilation) for tap in range(kernel)]
  return jnp.concatenate(parts, axis=-1)


def _forward(x, weights, condition_BFLG, dilations, hop, shift):
  """Return the residual path after the layers, and what `Kept` keeps."""
  kept = Kept([], [], [])
  for layer, dilation in enumerate(dilations):
    h = _dilated(x, weights.taps_LKG[layer], dilation, shift)
    h = h + weights.bias_LG[layer][None, None]
    h = _add_between_frames(h, condition_BFLG[:, :, layer], hop)
    value, gate = jnp.split(h, 2, axis=-1)
    gate = jax.nn.sigmoid(gate)
    unit = jnp.tanh(value) * gate
    for values, value in zip(kept, (x, unit, gate)):
      values.append(value)
    x = x + _times(unit, weights.residual_LGR[layer])
  return x, kept


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5, 6))
def gated_layers(x, weights, condition_BFLG, dilations, hop, shift, remat):
  """Return the residual path (B, T, R) after layers, and their skips (B, T, S).

  Args:
    x: (B, T, R) the residual path before them.
    weights: `Weights`, in the dtype of x.
    condition_BFLG: (B, F + 1, L, 2 G), what frames give to the gates.
    dilations: L of them, in samples.
    hop: samples in a frame.
    shift: of (B, T, C) by an offset of 0 or less; linear.
    remat: whether the layers are made again for gradients.
  """
  return _with_kept(x, weights, condition_BFLG, dilations, hop, shift)[:2]


def _with_kept(x, weights, condition_BFLG, dilations, hop, shift):
  x, kept = _forward(x, weights, condition_BFLG, dilations, hop, shift)
  skip = weights.skip_LGS.reshape(-1, weights.skip_LGS.shape[-1])
  return x, _times(jnp.concatenate(kept.unit, axis=-1), skip), kept


def _keep(x, weights, condition_BFLG, dilations, hop, shift, remat):
  inputs = jax.tree.map(lambda a: a.value, (x, weights, condition_BFLG))
  *outputs, kept = _with_kept(*inputs, dilations, hop, shift)
  return tuple(outputs), (*inputs, None if remat else kept)


def _tied(x, slope):
  """Return x, which no compiler can make before the slope is there."""
  return x + 0 * slope[..., :1]


def _gradients(dilations, hop, shift, remat, saved, slopes):
  x, weights, condition_BFLG, kept = saved
  of_x, of_skipped = slopes
  if _is_zero(of_skipped):
    of_skipped = jnp.zeros(of_skipped.shape, of_skipped.dtype)
  # The residual path after the last layer of all goes nowhere.
  of_x = None if _is_zero(of_x) else of_x
  before = of_skipped if of_x is None else _tied(of_skipped, of_x)
  if remat:
    x = _tied(x, before)
    kept = _forward(x, weights, condition_BFLG, dilations, hop, shift)[1]
  skip = weights.skip_LGS.reshape(-1, of_skipped.shape[-1])
  of_units = jnp.split(_times(before, skip.T), len(dilations), axis=-1)
  found = []
  for layer in reversed(range(len(dilations))):
    of_x, *others = _layer_gradients(
      [values[layer] for values in kept],
      [array[layer] for array in weights],
      (of_x, of_skipped, of_units[layer]),
      (dilations[layer], hop, shift),
    )
    found.append(others)
  *of_weights, of_frames = zip(*reversed(found))
  of_weights = Weights(*map(jnp.stack, of_weights))
  return of_x, of_weights, jnp.stack(of_frames, axis=2)


def _is_zero(slope):
  return isinstance(slope, jax.custom_derivatives.SymbolicZero)


def _layer_gradients(kept, weights, slopes, sizes):
  """Return a layer's: of x, of its `Weights`, of what its frames gave."""
  (x, unit, gate), (taps, _, residual, _) = kept, weights
  (of_x, of_skipped, of_unit), (dilation, hop, shift) = slopes, sizes
  of_skip = _summed(unit, of_skipped)
  if of_x is None:
    of_residual, of_x = jnp.zeros_like(residual), jnp.zeros_like(x)
  else:
    of_residual = _summed(unit, of_x)
    of_unit = of_unit + _times(of_x, residual.T)
  # tanh is unit / gate. Where the gate is 0, so is the unit.
  least = jnp.finfo(gate.dtype).tiny
  of_value = of_unit * (gate - unit * unit / jnp.maximum(gate, least))
  of_gate = of_unit * unit * (1 - gate)
  of_h = jnp.concatenate([of_value, of_gate], axis=-1)
  of_frames = _gather_from_samples(of_h, hop)
  width = x.shape[-1]
  kernel = len(taps) // width
  of_parts = _undilated(of_h, kernel, dilation, shift)
  of_taps = _summed(x, of_parts).reshape(width, kernel, -1)
  of_taps = jnp.moveaxis(of_taps, 1, 0).reshape(taps.shape)
  of_x = of_x + _times(of_parts, _beside(taps, width).T)
  # A sample's shares in the frames around it are one in all.
  of_bias = jnp.sum(of_frames, axis=(0, 1))
  return of_x, of_taps, of_bias, of_residual, of_skip, of_frames


gated_layers.defvjp(_keep, _gradients, symbolic_zeros=True)
