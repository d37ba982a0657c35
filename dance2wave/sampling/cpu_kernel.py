"""The sample loop of the `cpu` engine, in Numba.

It computes what `WaveNet.step` and `draw` do. A block of clips goes through
all samples of a call before the next block, and each weight that is read
serves every row of the block. With guidance a clip has two rows, with its
context and without. The residual, gate and skip channels R, G, S and the
outputs O are padded to whole vectors with zeros, which stay zero. One array
carries both paths of a layer:

    stream (rows, R + S) = [residual path | sum of skip path]
"""

from typing import NamedTuple

import numba
import numpy as np
from numba.extending import overload

from dance2wave.sampling.cpu_draw import (
  clip,
  draw_class,
  draw_mixture,
  expm1,
  jit,
  once_jit,
)
from dance2wave.sampling.tiles import compile_multiply

CLIPS = 32  # Of a block: they share the weights that are read.
# Beyond these, tanh and sigmoid are constant to 1e-13 and 1e-17.
_TANH_END, _SIGMOID_END = np.float32(30), np.float32(40)
_floats, _bytes = compile_multiply(), compile_multiply(is_bytes=True)
_TWO, _ZERO = np.float32(2), np.float32(0)


class Net(NamedTuple):
  """A WaveNet's parameters as the kernel reads them.

  Attributes:
    packed: all matrices from `tiles.pack` in the order of use: for each layer
      its past taps, oldest first, its newest tap, and its residual beside its
      part of the skip matrix; then hidden and logits.
    embed_2R: what the signal is multiplied by, and what is added.
    skip_S: bias of the skip path.
    hidden_S: bias.
    logits_O: bias.
    dilations_L: in samples.
    bent_V: the signal of each class.
    kernel: taps of a layer.
    num_outputs: without padding.
  """

  packed: np.ndarray
  embed_2R: np.ndarray
  skip_S: np.ndarray
  hidden_S: np.ndarray
  logits_O: np.ndarray
  dilations_L: np.ndarray
  bent_V: np.ndarray
  kernel: int
  num_outputs: int


class Choice(NamedTuple):
  """How samples are drawn, as in `Draw`; sums run in blocks of `width`."""

  temperature: np.float32
  top_p: np.float32
  guidance: np.float32
  is_mixture: bool
  width: int


class Scratch(NamedTuple):
  """What one sample of a block is computed in; a row for each of its rows."""

  stream: np.ndarray
  gates: np.ndarray
  units: np.ndarray
  skip: np.ndarray
  hidden: np.ndarray
  outputs: np.ndarray


@once_jit
def _begin(net, stream, bent_B, each):
  """Write the embedded past sample and the bias of the skip path."""
  residual = net.embed_2R.shape[1]
  for row in range(bent_B.size * each):
    bent = bent_B[row // each]
    for i in range(residual):
      stream[row, i] = bent * net.embed_2R[0, i] + net.embed_2R[1, i]
    for i in range(net.skip_S.size):
      stream[row, residual + i] = net.skip_S[i]


@once_jit
def _interpolate(gates, condition_RFLG, frame, weight, layer):
  """Write what the context gives to a layer, between two frames."""
  for row in range(condition_RFLG.shape[0]):
    now = condition_RFLG[row, frame, layer]
    then = condition_RFLG[row, frame + 1, layer]
    for i in range(now.size):
      gates[row, i] = now[i] + (then[i] - now[i]) * weight


@jit
def _unit(gates, units, rows):
  """Write tanh(value) sigmoid(gate), with one division."""
  half = units.shape[1]
  for row in range(rows):
    for i in range(half):
      value, gate = gates[row, i], gates[row, half + i]
      rise = expm1(clip(_TWO * value, -_TANH_END, _TANH_END))
      fall = expm1(clip(-gate, -_SIGMOID_END, _SIGMOID_END))
      units[row, i] = rise / ((rise + _TWO) * (fall + _TWO))


@jit
def _rectify(source, at, target, rows):
  for row in range(rows):
    for i in range(target.shape[1]):
      x = source[row, at + i]
      target[row, i] = _ZERO if x < _ZERO else x


def _multiply(out, x, inputs, rows, packed):
  """Add a packed matrix times rows of x; return its size in `packed`."""
  raise NotImplementedError  # Numba takes one of the two below.


@overload(_multiply)
def _choose_multiply(out, x, inputs, rows, packed):
  is_bytes = packed.dtype == numba.types.int8
  multiply, scales = (_bytes, 4) if is_bytes else (_floats, 0)

  def chosen(out, x, inputs, rows, packed):
    width = out.shape[1]
    multiply(
      out.ctypes,
      width,
      x.ctypes,
      x.shape[1],
      rows,
      packed.ctypes,
      inputs,
      width,
    )
    return (inputs + scales) * width

  return chosen


@jit
def _add_product(net, out, x, inputs, rows, at):
  """Add the matrix at `at` times rows of x; return where the next begins."""
  return at + _multiply(out, x, inputs, rows, net.packed[at:])


@once_jit
def _layer(net, work, rings, ring, place, sample, at):
  """Advance the rows of a block by one layer.

  Args:
    net: parameters.
    work: of which `gates` holds what the context gives.
    rings: (slots, rows, R) past inputs of all layers and clips.
    ring: first slot of this layer and its dilation.
    place: first of the block's rows and their number.
    sample: number of the sample.
    at: where the layer's weights begin.

  Returns:
    Where the next layer's weights begin.
  """
  (base, dilation), (first, rows) = ring, place
  residual, reach = rings.shape[2], (net.kernel - 1) * dilation
  for tap in range(net.kernel - 1, 0, -1):
    slot = base + (sample - tap * dilation) % reach
    past = rings[slot, first:]
    at = _add_product(net, work.gates, past, residual, rows, at)
  stream, half = work.stream, work.units.shape[1]
  at = _add_product(net, work.gates, stream, residual, rows, at)
  slot = base + sample % reach
  for row in range(rows):
    for i in range(residual):
      rings[slot, first + row, i] = stream[row, i]
  _unit(work.gates, work.units, rows)
  return _add_product(net, stream, work.units, half, rows, at)


@once_jit
def _head(net, work, rows, at):
  """Write the outputs of every row; `at` is where its matrices begin."""
  skip, hidden, outputs = work.skip, work.hidden, work.outputs
  width = skip.shape[1]
  _rectify(work.stream, work.stream.shape[1] - width, skip, rows)
  for row in range(rows):
    for i in range(width):
      hidden[row, i] = net.hidden_S[i]
    for i in range(outputs.shape[1]):
      outputs[row, i] = net.logits_O[i]
  at = _add_product(net, hidden, skip, width, rows, at)
  _rectify(hidden, 0, hidden, rows)
  _add_product(net, outputs, hidden, width, rows, at)


@once_jit
def _guide(outputs, row, choice, count):
  """Move a clip's outputs away from those without context, in place.

  The scales of a mixture stay: beyond both models' own they only add noise.
  """
  last = 2 * count // 3 if choice.is_mixture else count
  for i in range(last):
    without = outputs[row + 1, i]
    more = choice.guidance * (outputs[row, i] - without)
    outputs[row, i] = without + more


@once_jit
def _draw(net, outputs, choice, uniform_B2, bent_B, each):
  """Draw the next sample of every clip."""
  count, width = net.num_outputs, choice.width
  temperature, top_p = choice.temperature, choice.top_p
  for k in range(bent_B.size):
    if each == 2:
      _guide(outputs, 2 * k, choice, count)
    mine = outputs[each * k, :count]
    if choice.is_mixture:
      bent_B[k] = draw_mixture(mine, uniform_B2[k], temperature, top_p, width)
    else:
      code = draw_class(mine, uniform_B2[k, 1], temperature, top_p, width)
      bent_B[k] = net.bent_V[code]


@once_jit
def _one_sample(net, work, rings, condition_RFLG, bent_B, moment, first, each):
  """Write the outputs for one sample of a block.

  Args:
    net: parameters.
    work: what is computed in.
    rings: of all clips.
    condition_RFLG: of the block's rows.
    bent_B: the past sample of the block's clips.
    moment: number of the sample, frame in `condition`, weight of the next.
    first: of the block's rows.
    each: rows of a clip.
  """
  sample, frame, weight = moment
  rows = bent_B.size * each
  _begin(net, work.stream, bent_B, each)
  at, base = 0, 0
  for layer in range(net.dilations_L.size):
    dilation = net.dilations_L[layer]
    _interpolate(work.gates, condition_RFLG, frame, weight, layer)
    ring, place = (base, dilation), (first, rows)
    at = _layer(net, work, rings, ring, place, sample, at)
    base += (net.kernel - 1) * dilation
  _head(net, work, rows, at)


@numba.njit(nogil=True, error_model='numpy', fastmath={'contract'})
def draw_clips(
  net,
  choice,
  work,
  condition_RFLG,
  uniform_FSB2,
  rings,
  bent_B,
  sample,
  bent_BT,
):
  """Draw all samples of a call.

  Args:
    net: parameters.
    choice: how samples are drawn.
    work: what is computed in.
    condition_RFLG: (rows, F + 1, L, 2 G), biases of the taps included.
    uniform_FSB2: draws, for S samples of F frames.
    rings: (slots, rows, R) past inputs of every layer; brought up to date.
    bent_B: the sample before, in [-1, 1]; brought up to date.
    sample: number of the first sample since silence.
    bent_BT: where samples are written.
  """
  frames, hop, clips, _ = uniform_FSB2.shape
  each = condition_RFLG.shape[0] // max(clips, 1)
  for begin in range(0, clips, CLIPS):
    end = min(begin + CLIPS, clips)
    condition = condition_RFLG[begin * each : end * each]
    bent = bent_B[begin:end]
    for t in range(frames * hop):
      frame, step = t // hop, t % hop
      moment = sample + t, frame, np.float32(step) / np.float32(hop)
      _one_sample(net, work, rings, condition, bent, moment, begin * each, each)
      uniform = uniform_FSB2[frame, step, begin:end]
      _draw(net, work.outputs, choice, uniform, bent, each)
      for k in range(end - begin):
        bent_BT[begin + k, t] = bent[k]
