"""The engine for processors: one compiled loop over samples, by Numba.

It takes the same parameters, context and draws as the `xla` engine and draws
the same classes. A call keeps one core busy and releases the interpreter
lock, so that groups of clips run in threads.
"""

import functools
import math
import threading

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dance2wave.models.quantise import bent_of_codes, unbend
from dance2wave.sampling import xla
from dance2wave.sampling.cpu_kernel import (
  CLIPS,
  Choice,
  Net,
  Scratch,
  draw_clips,
)
from dance2wave.sampling.draw import BLOCK
from dance2wave.sampling.listen import in_company
from dance2wave.sampling.tiles import pack, pack_bytes, pad
from dance2wave.sampling.weights import to_bytes

_COMPILING = threading.Lock()


def _frozen(array, dtype=np.float32):
  """Return a contiguous array that is not written to: one type to compile."""
  view = np.ascontiguousarray(array, dtype).view()
  view.flags.writeable = False
  return view


def _aligned(size):
  """Return zeros that begin on a line of the cache."""
  spare = np.zeros(size + 16, np.float32)
  return spare[-spare.ctypes.data % 64 // 4 :][:size]


def _padded(array, *axes):
  """Pad the named axes with zeros to whole vectors."""
  array = np.asarray(array)
  widths = [(0, 0)] * array.ndim
  for axis in axes:
    widths[axis] = (0, pad(array.shape[axis]) - array.shape[axis])
  return np.pad(array, widths)


class _Floats:
  """How matrices are given to the kernel as float32."""

  dtype = np.float32

  @staticmethod
  def split(weights_IO):
    """Return the matrices and the scales of their outputs."""
    weights_IO = np.asarray(weights_IO, np.float32)
    return weights_IO, np.ones_like(weights_IO[..., :1, :])

  @staticmethod
  def pack(numbers_IO, scale_O):
    """Return one as the kernel reads it."""
    return pack(numbers_IO)


class _Bytes:
  """How matrices are given to the kernel as whole numbers and scales."""

  dtype = np.int8
  split, pack = staticmethod(to_bytes), staticmethod(pack_bytes)


def _pack_layers(wave, form):
  """Yield every matrix of the layers in the order of use."""
  layers, gate = len(wave.dilations), wave.gate
  residual = wave.residual.shape[-1]
  taps, of_taps = form.split(wave.taps[...])
  taps = taps.reshape(layers, wave.kernel, residual, 2, gate)
  taps = _padded(taps, 2, 4)
  taps = taps.reshape(*taps.shape[:3], -1)
  of_taps = _padded(of_taps.reshape(layers, 2, gate), 2).reshape(layers, -1)
  skip = np.asarray(wave.skip.kernel[...]).reshape(layers, gate, -1)
  paths = [form.split(m) for m in (wave.residual[...], skip)]
  out = np.concatenate([_padded(m, 1, 2) for m, _ in paths], axis=2)
  of_out = np.concatenate([_padded(scale, 2) for _, scale in paths], axis=2)
  for layer in range(layers):
    yield from (form.pack(tap, of_taps[layer]) for tap in taps[layer])
    yield form.pack(out[layer], of_out[layer, 0])


def _pack_head(matrix_IO, form):
  numbers, scale = form.split(matrix_IO)
  return form.pack(_padded(numbers, 0, 1), _padded(scale, 1)[0])


def _pack_net(wave, levels, form):
  """Return the WaveNet's parameters as the kernel reads them."""
  matrices = [
    *_pack_layers(wave, form),
    _pack_head(wave.hidden.kernel[...], form),
    _pack_head(wave.logits.kernel[...], form),
  ]
  packed = _aligned(sum(m.nbytes for m in matrices) // 4).view(form.dtype)
  np.concatenate(matrices, out=packed)
  embed = np.concatenate([wave.embed.kernel[...], wave.embed.bias[...][None]])
  return Net(
    packed=_frozen(packed, form.dtype),
    embed_2R=_frozen(_padded(embed, 1)),
    skip_S=_frozen(_padded(wave.skip.bias[...], 0)),
    hidden_S=_frozen(_padded(wave.hidden.bias[...], 0)),
    logits_O=_frozen(_padded(wave.logits.bias[...], 0)),
    dilations_L=_frozen(wave.dilations, np.int64),
    bent_V=_frozen(_signal_of_classes(levels)),
    kernel=wave.kernel,
    num_outputs=wave.logits.kernel.shape[1],
  )


@functools.partial(jax.jit, static_argnums=0)
def _signal_of_classes(levels):
  return bent_of_codes(jnp.arange(levels), levels)


def _condition(graphdef, params, context_BFC, style_B, count, draw):
  """Return what every layer's gate is given: (rows, F, L, 2 G), padded.

  Frames are projected one by one, so that their bits do not depend on how
  many there are. A guided clip has two rows, with its context and without.
  """
  wave = nnx.merge(graphdef, params).wave
  if draw.guidance != 1.0:
    nothing = jnp.zeros_like(context_BFC)
    context_BFC = jnp.stack([context_BFC, nothing], axis=1)
    context_BFC = context_BFC.reshape(-1, *context_BFC.shape[2:])
    style_B = jnp.stack([style_B, jnp.full_like(style_B, -1)], axis=1).ravel()

  def body(frame, given_BFLG):
    context = jax.lax.dynamic_slice_in_dim(context_BFC, frame, 1, 1)
    given = wave.condition_on_style(context, style_B, draw.style_strength)
    given = given.astype(jnp.float32) + wave.taps_bias[...][None, None]
    return jax.lax.dynamic_update_slice_in_dim(given_BFLG, given, frame, 1)

  shape = (*context_BFC.shape[:2], *wave.taps_bias.shape)
  given = jax.lax.fori_loop(0, count, body, jnp.zeros(shape))
  halves = given.reshape(*given.shape[:3], 2, wave.gate)
  more = pad(wave.gate) - wave.gate
  halves = jnp.pad(halves, [(0, 0)] * 4 + [(0, more)])
  return halves.reshape(*halves.shape[:3], -1)


@functools.partial(jax.jit, static_argnums=1)
def _to_signal(bent_BS, levels):
  return jnp.clip(unbend(bent_BS, levels), -1.0, 1.0)


class CpuEngine:
  """Draw samples by a compiled loop; streaming, batched and resumable.

  Args:
    graphdef: of a `Dance2Wave`.
    params: its parameters.
    draw: how samples are drawn.
  """

  name = 'cpu'

  def __init__(self, graphdef, params, draw):
    wave = nnx.merge(graphdef, params).wave
    self.params, self._draw = params, draw
    self._hop, self._each = wave.samples_per_frame, 1 + (draw.guidance != 1.0)
    form = {'float32': _Floats, 'int8': _Bytes}[draw.weights]
    self._net = _pack_net(wave, draw.levels, form)
    self._gate, self._reach = pad(wave.gate), wave.receptive_field - 1
    classes = self._net.num_outputs // (3 if draw.is_mixture else 1)
    self._choice = Choice(
      np.float32(draw.temperature),
      np.float32(draw.top_p),
      np.float32(draw.guidance),
      draw.is_mixture,
      math.gcd(classes, BLOCK),
    )
    self._condition = jax.jit(
      functools.partial(_condition, graphdef, draw=draw)
    )
    self._compile()

  def _compile(self):
    """Compile the loop by drawing no samples of one clip."""
    layers = self._net.dilations_L.size
    given = np.zeros((self._each, 1, layers, 2 * self._gate))
    with _COMPILING:
      self._draw_clips(given, np.zeros((0, self._hop, 1, 2)), self.start(1))

  def start(self, batch):
    """Return the state before the first sample of `batch` clips."""
    shape = self._reach, batch * self._each, self._net.embed_2R.shape[1]
    rings = _aligned(int(np.prod(shape))).reshape(shape)
    return {'rings': rings, 'bent': np.zeros(batch, np.float32), 'sample': 0}

  def run(self, context_BFC, style_B, uniform_FSB2, state):
    """Draw as `XlaEngine.run` does: samples (B, (F - 1) x hop), the state."""
    rows, parts = len(context_BFC) * self._each, []
    context_BFC, style = (in_company(x, 0) for x in (context_BFC, style_B))
    for context, uniform, count in xla.blocks(context_BFC, uniform_FSB2):
      given = self._condition(self.params, context, style, count + 1)
      given = np.asarray(given)[:rows, : count + 1]
      bent_BT, state = self._draw_clips(given, uniform[:count], state)
      parts += self._signals(bent_BT)
    return np.concatenate(parts, axis=1), state

  def fork(self, state, row_B):
    """Return the state of other clips, as `XlaEngine.fork` does."""
    rows = row_B[:, None] * self._each + np.arange(self._each)
    old = state['rings']
    shape = old.shape[0], rows.size, old.shape[2]
    rings = _aligned(int(np.prod(shape))).reshape(shape)
    np.take(old, rows.ravel(), axis=1, out=rings)
    return state | {'rings': rings, 'bent': state['bent'][row_B]}

  def _signals(self, bent_BT):
    """Return the signal frame by frame: (B, S) each."""
    frames = np.split(bent_BT, bent_BT.shape[1] // self._hop, axis=1)
    return [np.asarray(_to_signal(f, self._draw.levels)) for f in frames]

  def _draw_clips(self, given, uniform_FSB2, state):
    uniform = _frozen(uniform_FSB2)
    frames, hop, batch, _ = uniform.shape
    bent_BT = np.empty((batch, frames * hop), np.float32)
    draw_clips(
      self._net,
      self._choice,
      self._make_scratch(min(batch, CLIPS) * self._each),
      _frozen(given),
      uniform,
      state['rings'],
      state['bent'],
      state['sample'],
      bent_BT,
    )
    return bent_BT, state | {'sample': state['sample'] + frames * hop}

  def _make_scratch(self, rows):
    skip, outputs = self._net.skip_S.size, self._net.logits_O.size
    widths = Scratch(
      stream=self._net.embed_2R.shape[1] + skip,
      gates=2 * self._gate,
      units=self._gate,
      skip=skip,
      hidden=skip,
      outputs=outputs,
    )
    return Scratch(*(_aligned(rows * w).reshape(rows, w) for w in widths))

  def draw_uniform(self, keys_B, first_frame, num_frames):
    """Draw as `XlaEngine.draw_uniform` does: (F, S, B, 2)."""
    return xla.draw_uniform(keys_B, first_frame, num_frames, self._hop)
