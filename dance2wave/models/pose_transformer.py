"""The pose transformer: motion features in, context and rhythm heads out."""

import functools

import jax
import jax.numpy as jnp
from flax import nnx

from dance2wave.models.controls import NUM_CONTROLS
from dance2wave.models.graph import GraphEmbedding
from dance2wave.models.layers import (
  Dense,
  GatedConv,
  LocalAttention,
  RMSNorm,
  remade,
)

# Channels of the heads, in order.
HEADS = (
  'beat',
  'half_beat',
  'onset',
  'level',
  'loudness',
  'phase_cos',
  'phase_sin',
)
NUM_HEADS = len(HEADS)
LOUDNESS, PHASE = HEADS.index('loudness'), HEADS.index('phase_cos')


def share_look_ahead(total, wishes):
  """Give each layer of a chain its look-ahead, in frames.

  Convolutions wish for half their span; what is left is spread over the
  layers that wish for more. `total` None means that every wish comes true.
  """
  if total is None:
    return list(wishes)
  shares = [0] * len(wishes)
  left = total
  for index in sorted(range(len(wishes)), key=lambda i: wishes[i]):
    rest = sum(
      wishes[i] >= wishes[index] and not shares[i] for i in range(len(wishes))
    )
    shares[index] = min(wishes[index], left // max(rest, 1))
    left -= shares[index]
  return shares


class PoseTransformer(nnx.Module):
  """Map motion features to context and to the activations of rhythm heads.

  A frame's motion is embedded by one matrix or, given a `graph`, joint by joint
  over the skeleton. A stem of gated dilated convolutions sees how each joint
  moves, local rotary attention finds the pulse over seconds, and top
  convolutions put both together at frame precision.

  Beside the rhythm heads it may be given two that describe a whole clip or
  its sound (`describe_style`, `describe_features`); nothing downstream reads
  them, they only shape the context.

  Args:
    motion_dim: motion features of a frame.
    graph: a `JointGraph` to embed them over, None for one matrix.

  Attributes:
    remat: whether a layer's activations are computed again for gradients
      rather than kept.
    look_ahead: frames of the future that an output depends on.
  """

  def __init__(
    self,
    *,
    motion_dim,
    width,
    num_heads,
    num_blocks,
    stem_dilations,
    top_dilations,
    kernel,
    window_s,
    look_ahead_s,
    pose_rate_hz,
    dropout=0.0,
    num_styles=0,
    num_features=0,
    remat=False,
    graph=None,
    rngs,
  ):
    half_window = round(0.5 * window_s * pose_rate_hz)
    conv_wish = [
      (kernel - 1) * d // 2 for d in (*stem_dilations, *top_dilations)
    ]
    total = None if look_ahead_s is None else int(look_ahead_s * pose_rate_hz)
    shares = share_look_ahead(total, [*conv_wish, *[half_window] * num_blocks])
    conv_ahead, attention_ahead = (
      shares[: len(conv_wish)],
      shares[len(conv_wish) :],
    )
    convs = [
      GatedConv(
        width,
        kernel=kernel,
        dilation=dilation,
        look_ahead=ahead,
        dropout=dropout,
        rngs=rngs,
      )
      for dilation, ahead in zip((*stem_dilations, *top_dilations), conv_ahead)
    ]
    attention = [
      LocalAttention(
        width,
        num_heads=num_heads,
        look_back=2 * half_window - ahead,
        look_ahead=ahead,
        pose_rate_hz=pose_rate_hz,
        dropout=dropout,
        rngs=rngs,
      )
      for ahead in attention_ahead
    ]
    stem = len(stem_dilations)
    self.remat = remat
    if graph is None:
      self.embed = Dense(motion_dim, width, rngs=rngs)
    else:
      self.embed = GraphEmbedding(motion_dim, width, graph=graph, rngs=rngs)
    self.controls = Dense(NUM_CONTROLS, width, rngs=rngs, use_bias=False)
    self.layers = nnx.List([*convs[:stem], *attention, *convs[stem:]])
    self.look_ahead = sum(layer.look_ahead for layer in self.layers)
    self.norm = RMSNorm(width)
    self.heads = Dense(width, NUM_HEADS, rngs=rngs, scale=0.1)
    if num_styles:
      self.style_head = Dense(width, num_styles, rngs=rngs, scale=0.1)
    if num_features:
      self.features_head = Dense(width, num_features, rngs=rngs, scale=0.1)

  def __call__(self, motion_BFM, valid_BF, controls_BN=None, draws=None):
    """Return context (B, F, C) and head logits (B, F, NUM_HEADS).

    Args:
      motion_BFM: motion features.
      valid_BF: which frames there are.
      controls_BN: from `encode_controls`; None asks for nothing.
      draws: of dropout, in training.
    """
    x = self._embed(motion_BFM, controls_BN)
    for layer in self.layers:
      call = functools.partial(layer, valid_BF=valid_BF, draws=draws)
      x = remade(call, self.remat)(x)
    context = self.norm(x)
    return context, self.heads(context)

  def _embed(self, motion, controls_BN):
    """Embed motion (B, F, M) or (B, M) and what is asked of all of it."""
    x = self.embed(motion)
    if controls_BN is None:
      return x
    asked = self.controls(controls_BN.astype(x.dtype))
    return x + asked.reshape(len(asked), *(1,) * (x.ndim - 2), -1)

  def describe_style(self, context_BFC, valid_BF):
    """Return style logits (B, S) of whole clips."""
    weight = valid_BF[..., None].astype(context_BFC.dtype)
    total = jnp.maximum(jnp.sum(weight, axis=1), 1.0)
    return self.style_head(jnp.sum(context_BFC * weight, axis=1) / total)

  def describe_features(self, context_BFC):
    """Return the audio features (B, F, A) that the dance suggests."""
    return self.features_head(context_BFC)

  def start(self, batch, dtype=jnp.float32):
    """Return the state before the first frame."""
    return [layer.start(batch, dtype) for layer in self.layers]

  def step(self, motion_BM, valid_B, state, controls_BN=None):
    """Take one frame of motion; return context and heads of an earlier one.

    Returns context (B, C), head logits (B, NUM_HEADS), whether that frame
    is valid (B,), and the state. The frame is the one `look_ahead` ago.
    """
    x = self._embed(motion_BM, controls_BN)
    new_state = []
    for layer, layer_state in zip(self.layers, state):
      x, valid_B, layer_state = layer.step(x, valid_B, layer_state)
      new_state.append(layer_state)
    context = self.norm(x)
    return context, self.heads(context), valid_B, new_state


def activate_heads(logits):
  """Map head logits (..., NUM_HEADS) to activations of the same shape.

  Beat, half-beat, onset, level and loudness become shares; the phase stays a
  vector (cos, sin) shortened to length one at most, so that its length says
  how sure the transformer is.
  """
  bounded = jax.nn.sigmoid(logits[..., :PHASE])
  phase = logits[..., PHASE:]
  length = jnp.sqrt(jnp.sum(phase * phase, axis=-1, keepdims=True) + 1e-6)
  return jnp.concatenate([bounded, phase * jnp.tanh(length) / length], axis=-1)
