"""The pose transformer and the WaveNet, joined.

motion ── PoseTransformer ──────── join ── ContextStack ── WaveNet ── outputs
                │                    │     frames           samples
                └─ heads ── pulse ───┘
"""

import jax.numpy as jnp
from flax import nnx

from dance2wave.models import pulse
from dance2wave.models.context_stack import ContextStack
from dance2wave.models.match import Match
from dance2wave.models.pose_transformer import (
  NUM_HEADS,
  PHASE,
  PoseTransformer,
  activate_heads,
)
from dance2wave.models.wavenet import WaveNet


def num_told(hears_heads: bool, hears_pulse: bool) -> int:
  """Return how many channels stand beside the pose transformer's context."""
  return NUM_HEADS * hears_heads + pulse.NUM_PULSE * hears_pulse


class Dance2Wave(nnx.Module):
  """A dance in, a distribution over the next sample out.

  The context that the WaveNet is given is the pose transformer's own context
  with the activations of its rhythm heads and the `pulse` that these agree on
  beside it, or without them.

  Args:
    pose: keyword arguments of `PoseTransformer`.
    wave: keyword arguments of `WaveNet` but for `context_dim`.
    hears_heads: whether the WaveNet is given the heads' activations.
    hears_pulse: whether it is given the pulse.
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
    hears_pulse=False,
    match=None,
    context_stack=0,
    rngs,
  ):
    self.hears_heads = hears_heads
    self.hears_pulse = hears_pulse
    self.pose_rate_hz = pose['pose_rate_hz']
    self.pose = PoseTransformer(**pose, rngs=rngs)
    context_dim = pose['width'] + num_told(hears_heads, hears_pulse)
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
    told = activate_heads(heads)
    beat = None
    if self.hears_pulse:
      beat = pulse.follow(told, valid_BF, self.pose_rate_hz)
    context = self._join(context, told, beat, valid_BF)
    return self.context_stack(context, valid_BF), heads

  def start_listening(self, batch):
    """Return the state of `listen_on` before the first frame."""
    state = {
      'pose': self.pose.start(batch),
      'stack': self.context_stack.start(batch),
    }
    return state | ({'pulse': pulse.start(batch)} if self.hears_pulse else {})

  def listen_on(self, motion_BM, valid_B, controls_BN, state):
    """Take one frame of motion; return what is heard of an earlier one.

    That is the WaveNet's context (B, C), the heads' activations (B, H), cosine
    and sine (B, 2) of the phase of the beat, of the pulse where the WaveNet
    hears it, whether the frame is valid (B,), and the state.
    """
    context, heads, valid_B, pose = self.pose.step(
      motion_BM, valid_B, state['pose'], controls_BN
    )
    told, beat, new = activate_heads(heads), None, {'pose': pose}
    phase = told[..., PHASE:]
    if self.hears_pulse:
      beat, new['pulse'] = pulse.step(
        told, valid_B, state['pulse'], self.pose_rate_hz
      )
      phase = beat[..., pulse.PHASE :]
    context = self._join(context, told, beat, valid_B)
    context, new['stack'] = self.context_stack.step(
      context, valid_B, state['stack']
    )
    return context, told, phase, valid_B, new

  def _join(self, context, told, beat, valid):
    """Put heads and pulse beside the context; 0 where not valid."""
    parts = [context]
    parts += [told] * self.hears_heads + [beat] * self.hears_pulse
    joined = jnp.concatenate([x.astype(context.dtype) for x in parts], -1)
    return joined * valid[..., None].astype(context.dtype)

  def __call__(self, motion_BFM, valid_BF, past_BT, label_BS, draws=None):
    """Return outputs (B, T, O) and head logits (B, F, H).

    T = (F - 1) x samples per frame: the last frame only closes the
    interpolation. past[t] = x[t - 1], on the mu-law scale.
    """
    context, heads = self.listen(motion_BFM, valid_BF, draws=draws)
    return self.wave(past_BT, self.wave.condition(context, label_BS)), heads
