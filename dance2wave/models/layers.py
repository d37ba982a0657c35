"""Layers at pose-frame rate, each with a whole-sequence and a step face.

Every layer L has

    y_BFC = L(x_BFC, valid_BF)                    the whole sequence
    state = L.start(batch)                        before the first frame
    y_BC, valid_B, state = L.step(x_BC, valid_B, state)

`step` takes frame f and returns the output of frame f - L.look_ahead:

    in    0  1  2  3  4  5
    out            0  1  2      look_ahead = 3

so that a chain of layers has the sum of their look-aheads. Frames that are
not valid (padding after a clip's end, or the delay before its start) are
seen by no other frame. One test holds both faces equal.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dance2wave.models.parts import Dropout

_INIT = nnx.initializers.variance_scaling(1.0, 'fan_in', 'normal')
# Positions repeat after this many seconds, so that angles stay exact in
# float32 however long a stream runs; windows are far shorter.
_ROTARY_PERIOD_S = 64.0
_MASKED = -1e9


def remade(call, is_remade):
  """Return a call whose activations may be made again for its gradients.

  That keeps its input alone, and costs the call once more.
  """
  return jax.checkpoint(call) if is_remade else call


class Dense(nnx.Module):
  """Multiply the last axis by a kernel, as one 2-D matrix product."""

  def __init__(self, dim_in, dim_out, *, rngs, scale=1.0, use_bias=True):
    kernel = _INIT(rngs.params(), (dim_in, dim_out), jnp.float32)
    self.kernel = nnx.Param(scale * kernel)
    self.bias = nnx.Param(jnp.zeros(dim_out)) if use_bias else None

  def __call__(self, x):
    """Map (..., dim_in) to (..., dim_out) in the dtype of x."""
    flat = x.reshape(-1, x.shape[-1]) @ self.kernel[...].astype(x.dtype)
    if self.bias is not None:
      flat = flat + self.bias[...].astype(x.dtype)[None, :]
    return flat.reshape(*x.shape[:-1], flat.shape[-1])


class RMSNorm(nnx.Module):
  """Divide by the root mean square over channels; computed in float32."""

  def __init__(self, dim):
    self.scale = nnx.Param(jnp.ones(dim))

  def __call__(self, x):
    """Map (..., dim) to (..., dim)."""
    wide = x.astype(jnp.float32)
    power = jnp.mean(wide * wide, axis=-1, keepdims=True)
    scale = self.scale[...].reshape((1,) * (x.ndim - 1) + (-1,))
    return (wide * jax.lax.rsqrt(power + 1e-6) * scale).astype(x.dtype)


def num_cycles(dilations):
  """Return how often a sequence of dilations repeats a shorter one."""
  layers = len(dilations)
  return next(
    layers // period
    for period in range(1, layers + 1)
    if layers % period == 0
    and dilations[:period] * (layers // period) == dilations
  )


def shift_frames(x_BFC, offset):
  """Return y with y[:, f] = x[:, f + offset], zero outside the sequence."""
  num_frames = x_BFC.shape[1]
  if abs(offset) >= num_frames:
    return jnp.zeros_like(x_BFC)
  if offset >= 0:
    return jnp.pad(x_BFC[:, offset:], ((0, 0), (0, offset), (0, 0)))
  return jnp.pad(x_BFC[:, :offset], ((0, 0), (-offset, 0), (0, 0)))


def _write(ring_NB, frame, value_B):
  """Put a frame's value into its slot of a ring of the last N frames."""
  return ring_NB.at[frame % ring_NB.shape[0]].set(value_B)


def _read(ring_NB, frame):
  return ring_NB[frame % ring_NB.shape[0]]


class GatedConv(nnx.Module):
  """A residual dilated convolution over frames with a gated unit.

  The kernel reaches `look_ahead` frames ahead and the rest behind. All taps
  are one matrix product whose outputs are shifted, which is the fastest form
  on CPU and an ordinary matrix product elsewhere.
  """

  def __init__(self, dim, *, kernel, dilation, look_ahead, dropout, rngs):
    span = (kernel - 1) * dilation
    self.look_ahead = look_ahead
    self.span = span
    self.offsets = tuple(
      j * dilation - span + look_ahead for j in range(kernel)
    )
    self.norm = RMSNorm(dim)
    self.taps = Dense(dim, kernel * 2 * dim, rngs=rngs, scale=kernel**-0.5)
    self.out = Dense(dim, dim, rngs=rngs, scale=0.5)
    self.dropout = Dropout(dropout)

  def _gate(self, h, draws):
    value, gate = jnp.split(h, 2, axis=-1)
    z = jnp.tanh(value) * jax.nn.sigmoid(gate)
    return self.out(self.dropout(z, draws))

  def __call__(self, x_BFC, valid_BF, draws=None):
    """Map (B, F, C) to (B, F, C)."""
    taps = self.taps(self.norm(x_BFC)) * valid_BF[:, :, None].astype(
      x_BFC.dtype
    )
    parts = jnp.split(taps, len(self.offsets), axis=-1)
    h = sum(shift_frames(p, o) for p, o in zip(parts, self.offsets))
    return x_BFC + self._gate(h, draws)

  def start(self, batch, dtype=jnp.float32):
    """Return the state before the first frame."""
    dim = self.norm.scale.shape[0]
    width = self.taps.kernel.shape[1]
    return {
      'frame': jnp.zeros((), jnp.int32),
      'taps': jnp.zeros((self.span + 1, batch, width), dtype),
      'x': jnp.zeros((self.look_ahead + 1, batch, dim), dtype),
      'valid': jnp.zeros((self.look_ahead + 1, batch), bool),
    }

  def step(self, x_BC, valid_B, state):
    """Take one frame; return the frame `look_ahead` ago, and the state."""
    taps = self.taps(self.norm(x_BC)) * valid_B[:, None].astype(x_BC.dtype)
    new, frame = state['frame'], state['frame'] - self.look_ahead
    state = {
      'frame': new + 1,
      'taps': _write(state['taps'], new, taps),
      'x': _write(state['x'], new, x_BC),
      'valid': _write(state['valid'], new, valid_B),
    }
    width = taps.shape[-1] // len(self.offsets)
    h = sum(
      _read(state['taps'], frame + o)[:, j * width : (j + 1) * width]
      for j, o in enumerate(self.offsets)
    )
    y_BC = _read(state['x'], frame) + self._gate(h, None)
    return y_BC, _read(state['valid'], frame), state


def rotate(x_BFHD, frame_F, turns_D2, pose_rate_hz):
  """Rotate pairs of channels by frequency x time (RoFormer, eq. 34).

  Frequencies are whole numbers of turns in the rotary period and times whole
  numbers of frames, so that their product is exact in integers.

  Args:
    x_BFHD: queries or keys.
    frame_F: (F,) frame numbers, int32.
    turns_D2: (D / 2,) turns in `_ROTARY_PERIOD_S` seconds, int32.
    pose_rate_hz: frames a second.
  """
  period = round(_ROTARY_PERIOD_S * pose_rate_hz)
  turns = (frame_F % period)[:, None] * turns_D2[None, :] % period
  angle = 2 * jnp.pi * turns.astype(jnp.float32) / period
  cos = jnp.cos(angle)[None, :, None].astype(x_BFHD.dtype)
  sin = jnp.sin(angle)[None, :, None].astype(x_BFHD.dtype)
  a, b = jnp.split(x_BFHD, 2, axis=-1)
  return jnp.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1)


def _rotary_turns(head_dim, window_s):
  """Geometric from half a turn in a window to eight turns a second."""
  wanted_hz = np.geomspace(0.5 / window_s, 8.0, head_dim // 2)
  return np.maximum(np.round(wanted_hz * _ROTARY_PERIOD_S), 1).astype(np.int32)


def _attend(q, k, v, allowed):
  """Softmax attention in float32; q (B, Q, H, D), allowed (B, Q, K)."""
  logits = jnp.einsum('bqhd,bkhd->bhqk', q, k).astype(jnp.float32)
  logits = jnp.where(allowed[:, None], logits * q.shape[-1] ** -0.5, _MASKED)
  weights = jax.nn.softmax(logits, axis=-1).astype(v.dtype)
  return jnp.einsum('bhqk,bkhd->bqhd', weights, v)


def _attend_once(q_BHD, k_KBHD, v_KBHD, valid_KB):
  """Attend with one query to all valid keys; their order does not matter.

  Channels of a head are summed, and heads spread over channels, by a matrix
  product, which is faster on CPU than a short sum.
  """
  keys, batch, heads, dim = k_KBHD.shape
  head_of_channel = jnp.repeat(jnp.eye(heads, dtype=q_BHD.dtype), dim, axis=0)
  products = (k_KBHD * q_BHD[None]).reshape(-1, heads * dim)
  logits = (products @ head_of_channel).reshape(keys, batch, heads)
  logits = logits.astype(jnp.float32) * dim**-0.5
  logits = jnp.where(valid_KB[..., None], logits, _MASKED)
  weights = jax.nn.softmax(logits, axis=0).astype(v_KBHD.dtype)
  weights = weights.reshape(-1, heads) @ head_of_channel.T
  return jnp.sum(weights.reshape(v_KBHD.shape) * v_KBHD, axis=0)


class LocalAttention(nnx.Module):
  """Rotary self-attention within a window of seconds, then a gated MLP.

  Frame f sees the frames from f - look_back to f + look_ahead.
  """

  def __init__(
    self, dim, *, num_heads, look_back, look_ahead, pose_rate_hz, dropout, rngs
  ):
    self.num_heads = num_heads
    self.look_back, self.look_ahead = look_back, look_ahead
    self.pose_rate_hz = pose_rate_hz
    self.window_s = (look_back + look_ahead + 1) / pose_rate_hz
    self.norm = RMSNorm(dim)
    self.qkv = Dense(dim, 3 * dim, rngs=rngs, use_bias=False)
    self.out = Dense(dim, dim, rngs=rngs, scale=0.5)
    self.mlp_norm = RMSNorm(dim)
    self.mlp_in = Dense(dim, 4 * dim, rngs=rngs)
    self.mlp_out = Dense(2 * dim, dim, rngs=rngs, scale=0.5)
    self.dropout = Dropout(dropout)

  def _project(self, x_BFC, frame_F):
    batch, frames, dim = x_BFC.shape
    head_dim = dim // self.num_heads
    qkv = self.qkv(self.norm(x_BFC))
    q, k, v = jnp.split(
      qkv.reshape(batch, frames, 3 * self.num_heads, head_dim), 3, axis=2
    )
    turns, rate = _rotary_turns(head_dim, self.window_s), self.pose_rate_hz
    return rotate(q, frame_F, turns, rate), rotate(k, frame_F, turns, rate), v

  def _finish(self, x, attended, draws):
    y = self.out(attended.reshape(x.shape))
    x = x + self.dropout(y, draws)
    value, gate = jnp.split(self.mlp_in(self.mlp_norm(x)), 2, axis=-1)
    y = self.mlp_out(value * jax.nn.silu(gate))
    return x + self.dropout(y, draws)

  def __call__(self, x_BFC, valid_BF, draws=None):
    """Map (B, F, C) to (B, F, C)."""
    frames = x_BFC.shape[1]
    q, k, v = self._project(x_BFC, jnp.arange(frames))
    block = max(self.look_back, self.look_ahead, 1)
    attend = self._attend_all if frames <= 4 * block else self._attend_blocks
    return self._finish(x_BFC, attend(q, k, v, valid_BF), draws)

  def _allowed(self, query_index, key_index):
    ahead = key_index[None, :] - query_index[:, None]
    return (ahead >= -self.look_back) & (ahead <= self.look_ahead)

  def _attend_all(self, q, k, v, valid_BF):
    index = jnp.arange(q.shape[1])
    allowed = self._allowed(index, index)[None] & valid_BF[:, None, :]
    return _attend(q, k, v, allowed)

  def _attend_blocks(self, q, k, v, valid_BF):
    """Attend block by block to the neighbouring blocks; linear in F.

    keys    [ i-1 ][  i  ][ i+1 ]
    queries        [  i  ]
    """
    batch, frames = q.shape[:2]
    block = max(self.look_back, self.look_ahead, 1)
    num_blocks = -(-frames // block)
    pad = num_blocks * block - frames

    def split(x, before, after):
      widths = ((0, 0), (before, pad + after)) + ((0, 0),) * (x.ndim - 2)
      return jnp.pad(x, widths)

    def windows(x):
      padded = split(x, block, block)
      parts = [
        padded[:, j * block : (j + num_blocks) * block].reshape(
          batch * num_blocks, block, *x.shape[2:]
        )
        for j in range(3)
      ]
      return jnp.concatenate(parts, axis=1)

    queries = split(q, 0, 0).reshape(batch * num_blocks, block, *q.shape[2:])
    band = self._allowed(jnp.arange(block) + block, jnp.arange(3 * block))
    allowed = band[None] & windows(valid_BF)[:, None, :]
    y = _attend(queries, windows(k), windows(v), allowed)
    return y.reshape(batch, num_blocks * block, *q.shape[2:])[:, :frames]

  def start(self, batch, dtype=jnp.float32):
    """Return the state before the first frame."""
    dim = self.norm.scale.shape[0]
    keys = self.look_back + self.look_ahead + 1
    heads = (self.num_heads, dim // self.num_heads)
    return {
      'frame': jnp.zeros((), jnp.int32),
      'q': jnp.zeros((self.look_ahead + 1, batch, *heads), dtype),
      'k': jnp.zeros((keys, batch, *heads), dtype),
      'v': jnp.zeros((keys, batch, *heads), dtype),
      'x': jnp.zeros((self.look_ahead + 1, batch, dim), dtype),
      'valid': jnp.zeros((keys, batch), bool),
    }

  def step(self, x_BC, valid_B, state):
    """Take one frame; return the frame `look_ahead` ago, and the state."""
    new, frame = state['frame'], state['frame'] - self.look_ahead
    q, k, v = self._project(x_BC[:, None], new[None])
    state = {
      'frame': new + 1,
      'q': _write(state['q'], new, q[:, 0]),
      'k': _write(state['k'], new, k[:, 0]),
      'v': _write(state['v'], new, v[:, 0]),
      'x': _write(state['x'], new, x_BC),
      'valid': _write(state['valid'], new, valid_B),
    }
    query = _read(state['q'], frame)
    attended = _attend_once(query, state['k'], state['v'], state['valid'])
    y_BC = self._finish(_read(state['x'], frame), attended, None)
    return y_BC, _read(state['valid'], frame), state
