"""Codes of dance and sound that are near where the two belong together.

Nothing downstream reads them; learning them only shapes the context.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from dance2wave.models.layers import Dense, shift_frames

_WIDTH, _CODE = 64, 32


def _unit(x):
  """Return vectors of length one, in float32."""
  x = x.astype(jnp.float32)
  return x * jax.lax.rsqrt(jnp.sum(x * x, axis=-1, keepdims=True) + 1e-6)


class Match(nnx.Module):
  """Map the context and windows of sound to codes of length one.

  Args:
    context_dim: channels of the pose transformer's context.
    num_bands: mel bands whose levels tell the sound; see `band_levels`.
    reach: frames of sound on either side of a frame that its code hears.
    rngs: from which parameters are drawn.
  """

  def __init__(self, *, context_dim, num_bands, reach, rngs):
    self.num_bands, self.reach = num_bands, reach
    self.dance = Dense(context_dim, _CODE, rngs=rngs)
    window = (2 * reach + 1) * num_bands
    self.window = Dense(window, _WIDTH, rngs=rngs)
    self.sound = Dense(_WIDTH, _CODE, rngs=rngs)

  def codes_of_dance(self, context_BFC):
    """Return codes (B, F, K) of the context."""
    return _unit(self.dance(context_BFC))

  def codes_of_sound(self, bands_BFN):
    """Return codes (B, F, K) of the sound around each frame."""
    offsets = range(-self.reach, self.reach + 1)
    window = [shift_frames(bands_BFN, offset) for offset in offsets]
    hidden = self.window(jnp.concatenate(window, axis=-1))
    return _unit(self.sound(jnp.tanh(hidden)))
