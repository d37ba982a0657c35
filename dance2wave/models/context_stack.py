"""A slower, causal stack over what the WaveNet is told.

The WaveNet hears a fraction of a beat of its own sound; a smaller stack at a
lower rate may tell it of seconds (van den Oord 2016, section 2.6, 'context
stacks').

    context  0  1  2  3  4  5  6  7
                         dilation 1      2^L frames with the newest,
                         dilation 2      L layers of two taps
                         dilation 4 ...
"""

import functools

import jax.numpy as jnp
from flax import nnx

from dance2wave.models.layers import GatedConv, remade

_KERNEL = 2


class ContextStack(nnx.Module):
  """Gated dilated convolutions of context; without layers it is as it was.

  It has both faces of `models/layers.py`, and looks ahead to no frame.

  Args:
    dim: channels of the context.
    num_layers: dilations 1, 2, 4 ...; 0 changes nothing and has no parameter.
    remat: whether a layer's activations are computed again for gradients.
    rngs: from which parameters are drawn.
  """

  def __init__(self, dim, *, num_layers, remat=False, rngs):
    self.remat = remat
    self.layers = nnx.List(
      [
        GatedConv(
          dim,
          kernel=_KERNEL,
          dilation=2**i,
          look_ahead=0,
          dropout=0.0,
          rngs=rngs,
        )
        for i in range(num_layers)
      ]
    )

  def __call__(self, context_BFC, valid_BF):
    """Map (B, F, C) to (B, F, C), 0 where not valid."""
    x = context_BFC
    for layer in self.layers:
      call = functools.partial(layer, valid_BF=valid_BF)
      x = remade(call, self.remat)(x)
    return self._only_valid(x, valid_BF)

  def _only_valid(self, x, valid):
    if not self.layers:
      return x
    return jnp.where(valid[..., None], x, jnp.zeros_like(x))

  def start(self, batch, dtype=jnp.float32):
    """Return the state before the first frame."""
    return [layer.start(batch, dtype) for layer in self.layers]

  def step(self, context_BC, valid_B, state):
    """Take one frame; return what the WaveNet is told of it, and the state."""
    x, new_state = context_BC, []
    for layer, layer_state in zip(self.layers, state):
      x, _, layer_state = layer.step(x, valid_B, layer_state)
      new_state.append(layer_state)
    return self._only_valid(x, valid_B), new_state
