"""A WaveNet's parameters as the kernel of the `cpu` engine reads them."""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dance2wave.models.quantise import bent_of_codes
from dance2wave.sampling.cpu_types import Net
from dance2wave.sampling.tiles import LANES, pack, pack_bytes, pad
from dance2wave.sampling.weights import to_bytes


def frozen(array, dtype=np.float32):
  """Return a contiguous array that is not written to: one type to compile."""
  view = np.ascontiguousarray(array, dtype).view()
  view.flags.writeable = False
  return view


def aligned(*shape):
  """Return zeros that begin on a line of the cache."""
  size = math.prod(shape)
  spare = np.zeros(size + 16, np.float32)
  return spare[-spare.ctypes.data % 64 // 4 :][:size].reshape(shape)


def _padded(array, *axes):
  """Pad the named axes with zeros to whole vectors."""
  array = np.asarray(array)
  widths = [(0, 0)] * array.ndim
  for axis in axes:
    widths[axis] = (0, pad(array.shape[axis]) - array.shape[axis])
  return np.pad(array, widths)


class _Floats:
  """How matrices are given to the kernel as float32."""

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

  split, pack = staticmethod(to_bytes), staticmethod(pack_bytes)


class Part(NamedTuple):
  """What one member of a team computes of each layer and of the head."""

  units: slice
  skips: slice
  outputs: slice


def _parts(wave, members):
  """Share out units, and outputs of the skip path and of the model."""
  sizes = wave.gate, wave.skip.kernel.shape[1], wave.logits.kernel.shape[1]
  bounds = [
    [LANES * (pad(size) // LANES * m // members) for m in range(members + 1)]
    for size in sizes
  ]
  return [
    Part(*(slice(ends[m], ends[m + 1]) for ends in bounds))
    for m in range(members)
  ]


def _pack_layers(wave, form, part):
  """Yield every matrix of the layers in the order of use."""
  layers, gate = len(wave.dilations), wave.gate
  residual = wave.residual.shape[-1]
  taps, of_taps = form.split(wave.taps[...])
  taps = taps.reshape(layers, wave.kernel, residual, 2, gate)
  taps = _padded(taps, 2, 4)[..., part.units]
  taps = taps.reshape(*taps.shape[:3], -1)
  of_taps = _padded(of_taps.reshape(layers, 2, gate), 2)[..., part.units]
  of_taps = of_taps.reshape(layers, -1)
  skip = np.asarray(wave.skip.kernel[...]).reshape(layers, gate, -1)
  paths = wave.residual[...], skip
  columns = slice(None), part.skips
  out, of_out = [], []
  for path, mine in zip(paths, columns):
    numbers, scale = form.split(path)
    out.append(_padded(numbers, 1, 2)[..., mine])
    of_out.append(_padded(scale, 2)[..., 0, mine])
  out, of_out = np.concatenate(out, axis=2), np.concatenate(of_out, axis=1)
  for layer in range(layers + 1):
    for tap in range(wave.kernel - 1 if layer < layers else 0):
      yield form.pack(taps[layer, tap], of_taps[layer])
    if layer > 0:
      yield form.pack(out[layer - 1], of_out[layer - 1])
    if layer < layers:
      yield form.pack(taps[layer, -1], of_taps[layer])


def _pack_head(matrix_IO, form, columns):
  numbers, scale = form.split(matrix_IO)
  numbers, scale = _padded(numbers, 0, 1), _padded(scale, 1)[0]
  return form.pack(numbers[:, columns], scale[columns])


def pack_team(wave, draw, members):
  """Return each member's part of a WaveNet, and its parameters.

  Args:
    wave: `WaveNet`.
    draw: `Draw`, for its levels and weights.
    members: of the team.

  Returns:
    (`Part`, `Net`) of each.
  """
  form = _Bytes if draw.weights == 'int8' else _Floats
  return [
    (part, _pack_net(wave, draw.levels, form, part))
    for part in _parts(wave, members)
  ]


def _pack_net(wave, levels, form, part):
  """Return a member's parameters of the WaveNet as the kernel reads them."""
  matrices = [
    *_pack_layers(wave, form, part),
    _pack_head(wave.hidden.kernel[...], form, part.skips),
    _pack_head(wave.logits.kernel[...], form, part.outputs),
  ]
  kind = matrices[0].dtype
  packed = aligned(sum(m.nbytes for m in matrices) // 4).view(kind)
  np.concatenate(matrices, out=packed)
  embed = np.concatenate([wave.embed.kernel[...], wave.embed.bias[...][None]])
  return Net(
    packed=frozen(packed, kind),
    embed_2R=frozen(_padded(embed, 1)),
    skip_S=frozen(_padded(wave.skip.bias[...], 0)[part.skips]),
    hidden_S=frozen(_padded(wave.hidden.bias[...], 0)[part.skips]),
    logits_O=frozen(_padded(wave.logits.bias[...], 0)[part.outputs]),
    dilations_L=frozen(wave.dilations, np.int64),
    bent_V=frozen(_signal_of_classes(levels)),
    kernel=wave.kernel,
    num_outputs=wave.logits.kernel.shape[1],
  )


@functools.partial(jax.jit, static_argnums=0)
def _signal_of_classes(levels):
  return bent_of_codes(jnp.arange(levels), levels)
