"""The engine for NVIDIA GPUs: one kernel that loops over samples.

The kernel is Pallas code for its Triton backend. It takes the same parameters,
context and draws as the `xla` engine and draws the same classes. Context is
projected outside, frame by frame, and interpolated inside.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dance2wave.models.quantise import bent_of_codes, unbend
from dance2wave.sampling import gpu_kernel, xla
from dance2wave.sampling.draw import order_of_outputs
from dance2wave.sampling.gpu_kernel import ROWS, Weights
from dance2wave.sampling.listen import in_company
from dance2wave.sampling.weights import rounded


def _size(width):
  """Return the power of two that a width is padded to."""
  return max(16, 1 << (width - 1).bit_length())


def _padded(array, *axes):
  widths = [(0, 0)] * array.ndim
  for axis in axes:
    widths[axis] = 0, _size(array.shape[axis]) - array.shape[axis]
  return jnp.pad(array, widths)


def _turned(array):
  """Pad the two last axes and exchange them: inputs lie last."""
  last = array.ndim - 1
  return jnp.swapaxes(_padded(array, last - 1, last), last - 1, last)


def _pack(wave, draw):
  """Return the WaveNet's parameters as the kernel reads them."""
  layers, gate = len(wave.dilations), wave.gate
  residual = wave.residual.shape[-1]
  taps = wave.taps[...].reshape(layers, wave.kernel, residual, 2, gate)
  halves = _turned(taps[..., 0, :]), _turned(taps[..., 1, :])
  skip = wave.skip.kernel[...].reshape(layers, gate, -1)
  parts, order = 3 if draw.is_mixture else 1, order_of_outputs(draw)
  outputs = wave.logits.kernel[...][:, order].reshape(skip.shape[-1], parts, -1)
  signal = bent_of_codes(jnp.arange(draw.levels), draw.levels)[order]
  reach = [(wave.kernel - 1) * d + 1 for d in wave.dilations]
  places = np.stack([np.cumsum([0, *reach[:-1]]), wave.dilations], axis=1)
  embed = jnp.stack([wave.embed.kernel[0], wave.embed.bias[...]])
  return Weights(
    embed=_padded(embed, 1),
    taps=jnp.concatenate(halves, axis=2),
    residual=_turned(wave.residual[...]),
    skip=_turned(skip),
    skip_bias=_padded(wave.skip.bias[...], 0),
    hidden=_turned(wave.hidden.kernel[...][None]),
    hidden_bias=_padded(wave.hidden.bias[...], 0),
    outputs=_turned(jnp.swapaxes(outputs, 0, 1)),
    outputs_bias=_padded(wave.logits.bias[...][order].reshape(parts, -1), 1),
    signal=_padded(signal, 0),
    places=jnp.asarray(places, jnp.int32),
  )


def _clips(draw):
  """Return how many clips a program's rows are."""
  return ROWS if draw.guidance == 1.0 else 1


def _condition(wave, context_BFC, style_B, draw, programs):
  """Return what the gates are given: (P, F, L, ROWS, 2G), padded.

  Frames are projected one by one, so that their bits do not depend on how
  many there are.
  """
  clips = _clips(draw)
  missing = max(0, programs * clips - len(style_B))
  context_BFC = jnp.pad(context_BFC, ((0, missing), (0, 0), (0, 0)))
  style_B = jnp.pad(style_B, (0, missing), constant_values=-1)
  kinds = ROWS // clips  # With context and, if guided, without.
  if kinds == 2:
    nothing = jnp.zeros_like(context_BFC)
    context_BFC = jnp.concatenate([context_BFC, nothing])
    style_B = jnp.concatenate([style_B, jnp.full_like(style_B, -1)])

  def one_frame(context_BC):
    given = wave.condition_on_style(
      context_BC[:, None], style_B, draw.style_strength
    )
    return given[:, 0] + wave.taps_bias[...][None]

  given = jax.lax.map(one_frame, jnp.moveaxis(context_BFC, 1, 0))
  layers, gate = len(wave.dilations), wave.gate
  given = given.reshape(len(given), kinds, -1, layers, 2, gate)
  given = given[:, :, : programs * clips]
  given = given.reshape(len(given), kinds, programs, clips, layers, 2, gate)
  given = _padded(jnp.transpose(given, (2, 0, 4, 1, 3, 5, 6)), 6)
  return given.reshape(*given.shape[:3], ROWS, -1)


def _run(
  graphdef,
  params,
  weights,
  context_BFC,
  style_B,
  uniform_FSB2,
  count,
  state,
  *,
  draw,
  interpret,
):
  wave = nnx.merge(graphdef, params).wave
  frames, hop, batch, _ = uniform_FSB2.shape
  programs, clips = state['bent'].shape
  uniform = uniform_FSB2.reshape(frames * hop, batch, 2)
  missing = programs * clips - batch
  uniform = jnp.pad(uniform, ((0, 0), (0, missing), (0, 0)))
  uniform = uniform.reshape(frames * hop, programs, clips, 2)
  bent, rings, samples = gpu_kernel.run(
    weights,
    jnp.stack([count, state['sample']]),
    _condition(wave, context_BFC, style_B, draw, programs),
    jnp.transpose(uniform, (1, 0, 3, 2)),
    state['bent'],
    state['rings'],
    classes=wave.logits.kernel.shape[1] // (3 if draw.is_mixture else 1),
    hop=hop,
    draw=draw,
    interpret=interpret,
  )
  samples = jnp.swapaxes(samples, 1, 2).reshape(programs * clips, -1)[:batch]
  signal_BT = jnp.clip(unbend(samples, draw.levels), -1.0, 1.0)
  sample = state['sample'] + count * hop
  return signal_BT, {'rings': rings, 'bent': bent, 'sample': sample}


class GpuEngine:
  """Draw samples by a persistent kernel; streaming, batched and resumable.

  Args:
    graphdef: of a `Dance2Wave`.
    params: its parameters.
    draw: how samples are drawn.
    interpret: whether the kernel runs as plain operations on any device,
      which is slow and made for tests.
  """

  name, team = 'gpu', 1

  def __init__(self, graphdef, params, draw, interpret=False):
    params = rounded(params, draw.weights)
    wave = nnx.merge(graphdef, params).wave
    self.params, self._clips = params, _clips(draw)
    self._hop = wave.samples_per_frame
    pack = functools.partial(_pack, draw=draw)
    self._weights = jax.jit(pack)(wave)
    self._slots = wave.receptive_field - 1 + len(wave.dilations)
    self._run = jax.jit(
      functools.partial(_run, graphdef, draw=draw, interpret=interpret),
      donate_argnames='state',
    )
    if not interpret:
      self._try(wave.context.kernel.shape[0])

  def _try(self, width):
    """Draw a frame of silence, so that what does not compile is known now."""
    context, uniform = np.zeros((1, 2, width)), np.zeros((1, self._hop, 1, 2))
    style = np.full(1, -1, np.int32)
    audio, _ = self.run(
      np.float32(context), style, np.float32(uniform), self.start(1)
    )
    audio.block_until_ready()

  def start(self, batch, cores=1):
    """Return the state before the first sample of `batch` clips.

    `cores` are for the `cpu` engine to use; this one does as it likes.
    """
    programs = -(-batch // self._clips)
    residual = self._weights.embed.shape[1]
    return {
      'rings': jnp.zeros((programs, self._slots, ROWS, residual)),
      'bent': jnp.zeros((programs, self._clips)),
      'sample': jnp.zeros((), jnp.int32),
    }

  def run(self, context_BFC, style_B, uniform_FSB2, state):
    """Draw as `XlaEngine.run` does: samples (B, (F - 1) x hop), the state."""
    parts = []
    context_BFC, style_B = (in_company(x, 0) for x in (context_BFC, style_B))
    for part, uniform, count in xla.blocks(context_BFC, uniform_FSB2):
      samples, state = self._run(
        self.params, self._weights, part, style_B, uniform, count, state
      )
      parts.append(samples[:, : count * self._hop])
    return jnp.concatenate(parts, axis=1), state

  def fork(self, state, row_B):
    """Return the state of other clips, as `XlaEngine.fork` does."""
    row_B = np.pad(row_B, (0, -len(row_B) % self._clips), mode='edge')
    program, place = np.divmod(row_B.reshape(-1, self._clips), self._clips)
    programs, slots, _, residual = state['rings'].shape
    kinds = ROWS // self._clips
    shape = programs, slots, kinds, self._clips, residual
    rings = state['rings'].reshape(shape)[program, :, :, place]
    rings = jnp.moveaxis(rings, 1, 3).reshape(-1, slots, ROWS, residual)
    return {
      'rings': rings,
      'bent': state['bent'][program, place],
      'sample': jnp.copy(state['sample']),
    }

  def draw_uniform(self, keys_B, first_frame, num_frames):
    """Draw as `XlaEngine.draw_uniform` does: (F, S, B, 2)."""
    return xla.draw_uniform(keys_B, first_frame, num_frames, self._hop)
