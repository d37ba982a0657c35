"""A WaveNet's parameters as the kernel of the `cpu` engine reads them."""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dance2wave.models.quantise import bent_of_codes
from dance2wave.sampling.cpu_types import Net
from dance2wave.sampling.draw import order_of_outputs
from dance2wave.sampling.products import BYTES, FLOATS
from dance2wave.sampling.vectors import LANES, pad

# Samples for which past inputs are multiplied at once, at most, and that are
# drafted together.
AHEAD = 16


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
  """Return the matrices of past taps and the others, in the order of use."""
  layers, gate = len(wave.dilations), wave.gate
  residual = wave.residual.shape[-1]
  taps, of_taps = form.split(wave.taps[...])
  taps = taps.reshape(layers, wave.kernel, residual, 2, gate)
  taps = _padded(taps, 2, 4)[..., part.units]
  taps = taps.reshape(*taps.shape[:3], -1)
  of_taps = _padded(of_taps.reshape(layers, 2, gate), 2)[..., part.units]
  of_taps = of_taps.reshape(layers, -1)
  skip = np.asarray(wave.skip.kernel[...]).reshape(layers, gate, -1)
  paths = [
    (_padded(numbers, 1, 2), _padded(scale, 2)[:, 0])
    for numbers, scale in map(form.split, (wave.residual[...], skip))
  ]
  residuals, skips = (
    [form.pack(n[..., mine], s[..., mine]) for n, s in zip(*path)]
    for path, mine in zip(paths, (slice(None), part.skips))
  )
  pasts, others = [], []
  for layer in range(layers):
    packed = [form.pack(tap, of_taps[layer]) for tap in taps[layer]]
    pasts += packed[:-1]
    if layer > 0:
      others.append(residuals[layer - 1])
    others.append(packed[-1])
    if layer > 0:
      others.append(skips[layer - 1])
  return pasts, [*others, skips[-1]]


def _pack_head(matrix_IO, form, columns):
  numbers, scale = form.split(matrix_IO)
  numbers, scale = _padded(numbers, 0, 1), _padded(scale, 1)[0]
  return form.pack(numbers[:, columns], scale[columns])


def pack_team(wave, draw, members, form=None):
  """Return each member's part of a WaveNet, and its parameters.

  Args:
    wave: `WaveNet`.
    draw: `Draw`, for its levels and weights.
    members: of the team.
    form: of the matrices, see `products.py`; None is that of the weights.

  Returns:
    (`Part`, `Net`) of each.
  """
  form = form or (BYTES if draw.weights == 'int8' else FLOATS)
  return [
    (part, _pack_net(wave, draw, form, part)) for part in _parts(wave, members)
  ]


def _in_a_row(matrices):
  """Return packed matrices one after the other, as one array."""
  kind = matrices[0].dtype
  packed = aligned(sum(m.nbytes for m in matrices) // 4).view(kind)
  np.concatenate(matrices, out=packed)
  return frozen(packed, kind)


def _pack_net(wave, draw, form, part):
  """Return a member's parameters of the WaveNet as the kernel reads them."""
  pasts, others = _pack_layers(wave, form, part)
  others.append(_pack_head(wave.hidden.kernel[...], form, part.skips))
  order = order_of_outputs(draw)
  logits = np.asarray(wave.logits.kernel)[:, order]
  others.append(_pack_head(logits, form, part.outputs))
  embed = np.concatenate([wave.embed.kernel[...], wave.embed.bias[...][None]])
  return Net(
    packed_taps=_in_a_row(pasts),
    packed=_in_a_row(others),
    embed_2R=frozen(_padded(embed, 1)),
    skip_S=frozen(_padded(wave.skip.bias[...], 0)[part.skips]),
    hidden_S=frozen(_padded(wave.hidden.bias[...], 0)[part.skips]),
    logits_O=frozen(
      _padded(np.asarray(wave.logits.bias)[order], 0)[part.outputs]
    ),
    dilations_L=frozen(wave.dilations, np.int64),
    ahead_L=frozen([math.gcd(d, AHEAD) for d in wave.dilations], np.int64),
    bent_V=frozen(np.asarray(_signal_of_classes(draw.levels))[order]),
    kernel=wave.kernel,
    spare=0,
    num_outputs=wave.logits.kernel.shape[1],
  )


@functools.partial(jax.jit, static_argnums=0)
def _signal_of_classes(levels):
  return bent_of_codes(jnp.arange(levels), levels)
