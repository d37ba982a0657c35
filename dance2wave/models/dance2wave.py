"""The pose transformer and the WaveNet, joined.

motion ── PoseTransformer ── join ── ContextStack ── WaveNet ── outputs
                             heads     frames        samples
"""

import jax.numpy as jnp
from flax import nnx

from dance2wave.models.context_stack import ContextStack
from dance2wave.models.match import Match
from dance2wave.models.pose_transformer import (
  NUM_HEADS,
  PoseTransformer,
  activate_heads,
)
from dance2wave.models.wavenet import WaveNet


class Dance2Wave(nnx.Module):
  """A dance in, a distribution over the next sample out.

  The context that the WaveNet is given is the pose transformer's own context
  with the activations of its rhythm heads beside it, or without them.

  Args:
    pose: keyword arguments of `PoseTransformer`.
    wave: keyword arguments of `WaveNet` but for `context_dim`.
    hears_heads: whether the WaveNet is given the heads' activations.
    match: keyword arguments of `Match` but for `context_dim`, for training
      that compares dance and sound; None for none.
    context_stack: layers of a `ContextStack` between the two; 0 is none.
    rngs: from which parameters are drawn.
  """

  def __init__(
    self,
    *,
    pose,
    wave,
    hears_heads=True,
    match=None,
    context_stack=0,
    rngs,
  ):
    self.hears_heads = hears_heads
    self.pose = PoseTransformer(**pose, rngs=rngs)
    context_dim = pose['width'] + NUM_HEADS * hears_heads
    self.wave = WaveNet(**wave, context_dim=context_dim, rngs=rngs)
    if match is not None:
      self.match = Match(**match, context_dim=pose['width'], rngs=rngs)
    self.context_stack = ContextStack(
      context_dim,
      num_layers=context_stack,
      remat=wave.get('remat', False),
      rngs=rngs,
    )

  def listen(self, motion_BFM, valid_BF, controls_BN=None, draws=None):
    """Return the WaveNet's context (B, F, C) and head logits (B, F, H)."""
    context, heads = self.pose(motion_BFM, valid_BF, controls_BN, draws)
    context = self.join(context, heads, valid_BF)
    return self.context_stack(context, valid_BF), heads

  def join(self, context, heads, valid):
    """Put what is heard of the heads beside the context; 0 where not valid."""
    if self.hears_heads:
      activations = activate_heads(heads).astype(context.dtype)
      context = jnp.concatenate([context, activations], -1)
    return context * valid[..., None].astype(context.dtype)

  def __call__(self, motion_BFM, valid_BF, past_BT, label_BS, draws=None):
    """Return outputs (B, T, O) and head logits (B, F, H).

    T = (F - 1) x samples per frame: the last frame only closes the
    interpolation. past[t] = x[t - 1], on the mu-law scale.
    """
    context, heads = self.listen(motion_BFM, valid_BF, draws=draws)
    return self.wave(past_BT, self.wave.condition(context, label_BS)), heads
