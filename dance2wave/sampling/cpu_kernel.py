"""The sample loop of the `cpu` engine, in Numba.

It computes what `WaveNet.step` and `draw` do. A block of clips goes through
all samples of a call before the next block, and each weight that is read
serves every row of the block. With guidance a clip has two rows, with its
context and without. The residual, gate and skip channels R, G, S and the
outputs O are padded to whole vectors with zeros, which stay zero. One array
carries both paths of a layer:

    stream (rows, R + S) = [residual path | sum of skip path]

Several cores may go through the same block, each with a part of the units and
of the skip path, and with rings of its own; see `cpu_team.py`.
"""

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
from dance2wave.sampling.cpu_team import arrive, fetch_to_write, meet, wait
from dance2wave.sampling.tiles import compile_multiply

CLIPS = 32  # Of a block: they share the weights that are read.
# Beyond these, tanh and sigmoid are constant to 1e-13 and 1e-17.
_TANH_END, _SIGMOID_END = np.float32(30), np.float32(40)
_TWO, _ZERO = np.float32(2), np.float32(0)


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
def _interpolate(gates, condition_RFLG, frame, weight, layer, unit):
  """Write what the context gives to a layer, between two frames."""
  half, all_units = gates.shape[1] // 2, condition_RFLG.shape[3] // 2
  for row in range(condition_RFLG.shape[0]):
    now = condition_RFLG[row, frame, layer]
    then = condition_RFLG[row, frame + 1, layer]
    for part in range(2):
      here, there = part * half, part * all_units + unit
      for i in range(half):
        value = now[there + i]
        gates[row, here + i] = value + (then[there + i] - value) * weight


@jit
def _unit(gates, units, rows, unit):
  """Write tanh(value) sigmoid(gate), with one division."""
  half = gates.shape[1] // 2
  for row in range(rows):
    for i in range(half):
      value, gate = gates[row, i], gates[row, half + i]
      rise = expm1(clip(_TWO * value, -_TANH_END, _TANH_END))
      fall = expm1(clip(-gate, -_SIGMOID_END, _SIGMOID_END))
      units[row, unit + i] = rise / ((rise + _TWO) * (fall + _TWO))


@jit
def _rectify(source, at, target, to, count, rows):
  for row in range(rows):
    for i in range(count):
      x = source[row, at + i]
      target[row, to + i] = _ZERO if x < _ZERO else x


def _multiply(out, width, x, inputs, rows, packed):
  """Add a packed matrix times rows of x to columns of `out`.

  Args:
    out: first column of those that it is added to.
    width: their number.
    x: (rows, inputs).
    inputs: of the matrix.
    rows: of x and out.
    packed: the matrix and what follows.

  Returns:
    Its size in `packed`.
  """
  raise NotImplementedError  # Numba takes what is chosen below.


@overload(_multiply)
def _choose_multiply(out, width, x, inputs, rows, packed):
  is_bytes = packed.dtype == numba.types.int8
  multiply, scales = compile_multiply(is_bytes), 4 if is_bytes else 0

  def chosen(out, width, x, inputs, rows, packed):
    stride, pitch = out.strides[0] // 4, x.strides[0] // 4
    multiply(
      out.ctypes, stride, x.ctypes, pitch, rows, packed.ctypes, inputs, width
    )
    return (inputs + scales) * width

  return chosen


@jit
def _add_product(net, out, width, x, inputs, rows, at):
  """Add the matrix at `at` times rows of x; return where the next begins."""
  return at + _multiply(out, width, x, inputs, rows, net.packed[at:])


@once_jit
def _prepare(net, work, rings, given, place, sample, at, unit):
  """Write what a layer's gates are given by context and by past inputs.

  Args:
    net: parameters.
    work: of which `gates` is written.
    rings: (slots, rows, R) past inputs of all layers and clips.
    given: the block's condition, frame in it, weight of the next, layer.
    place: first slot of the layer's ring, dilation, first of the block's rows
      and their number.
    sample: number of the sample.
    at: where the layer's matrices begin.
    unit: first of the member's.

  Returns:
    Where the next matrix begins.
  """
  gates, residual = work.gates, rings.shape[2]
  base, dilation, first, rows = place
  condition_RFLG, frame, weight, layer = given
  _interpolate(gates, condition_RFLG, frame, weight, layer, unit)
  reach = (net.kernel - 1) * dilation
  for tap in range(net.kernel - 1, 0, -1):
    past = rings[base + (sample - tap * dilation) % reach, first:]
    at = _add_product(net, gates, gates.shape[1], past, residual, rows, at)
  return at


@once_jit
def _layers(net, work, rings, condition_RFLG, moment, first, member, turn):
  """Bring a block's stream through all layers.

  While a member waits for the units of the others it prepares the next layer.

  Returns:
    The next turn, and where the matrices of the head begin.
  """
  sample, frame, weight = moment
  rows, layers = condition_RFLG.shape[0], net.dilations_L.size
  stream, gates, residual = work.stream, work.gates, rings.shape[2]
  at, base, slot = 0, 0, 0
  for layer in range(layers + 1):
    units = work.units[layer % 2]
    if layer > 0:
      turn = arrive(member.flags, member.number, turn)
    if layer < layers:
      place = base, net.dilations_L[layer], first, rows
      given = condition_RFLG, frame, weight, layer
      at = _prepare(net, work, rings, given, place, sample, at, member.unit)
    if layer > 0:
      wait(member.flags, turn)
      _remember(rings, stream, slot, first, rows)
      before = work.units[1 - layer % 2]
      width, inputs = stream.shape[1], before.shape[1]
      at = _add_product(net, stream, width, before, inputs, rows, at)
    if layer < layers:
      fetch_to_write(
        member.flags, units, rows, member.unit, gates.shape[1] // 2
      )
      at = _add_product(net, gates, gates.shape[1], stream, residual, rows, at)
      _unit(gates, units, rows, member.unit)
      reach = (net.kernel - 1) * net.dilations_L[layer]
      slot = base + sample % reach
      base += reach
  return turn, at


@once_jit
def _remember(rings, stream, slot, first, rows):
  """Write a layer's inputs into the member's own ring."""
  for row in range(rows):
    for i in range(rings.shape[2]):
      rings[slot, first + row, i] = stream[row, i]


@once_jit
def _head(net, work, rows, member, turn, at):
  """Write the outputs of every row; return the next turn.

  `at` is where its matrices begin.
  """
  skip, hidden, outputs = work.skip, work.hidden, work.outputs
  flags, number, begin = member.flags, member.number, member.skip
  own, own_outputs = net.skip_S.size, net.logits_O.size
  at_skip = work.stream.shape[1] - own
  _rectify(work.stream, at_skip, skip, begin, own, rows)
  for row in range(rows):
    for i in range(own):
      hidden[row, begin + i] = net.hidden_S[i]
    for i in range(own_outputs):
      outputs[row, member.output + i] = net.logits_O[i]
  turn = meet(flags, number, turn)
  inputs = skip.shape[1]
  at = _add_product(net, hidden[:, begin:], own, skip, inputs, rows, at)
  _rectify(hidden, begin, hidden, begin, own, rows)
  turn = meet(flags, number, turn)
  out = outputs[:, member.output :]
  _add_product(net, out, own_outputs, hidden, inputs, rows, at)
  return meet(flags, number, turn)


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
def _draw(net, outputs, choice, uniform_B2, bent_B, each, first, step):
  """Draw the next sample of every clip, or of every so many."""
  count, width = net.num_outputs, choice.width
  temperature, top_p = choice.temperature, choice.top_p
  for k in range(first, bent_B.size, step):
    if each == 2:
      _guide(outputs, 2 * k, choice, count)
    mine = outputs[each * k, :count]
    if choice.is_mixture:
      bent_B[k] = draw_mixture(mine, uniform_B2[k], temperature, top_p, width)
    else:
      code = draw_class(mine, uniform_B2[k, 1], temperature, top_p, width)
      bent_B[k] = net.bent_V[code]


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
  member,
):
  """Draw all samples of a call.

  Args:
    net: parameters, of the member's part.
    choice: how samples are drawn.
    work: what is computed in.
    condition_RFLG: (rows, F + 1, L, 2 G), biases of the taps included.
    uniform_FSB2: draws, for S samples of F frames.
    rings: (slots, rows, R) past inputs of every layer, the member's own;
      brought up to date.
    bent_B: the sample before, in [-1, 1]; brought up to date.
    sample: number of the first sample since silence.
    bent_BT: where samples are written.
    member: who computes, of a team that draws the same clips.
  """
  frames, hop, clips, _ = uniform_FSB2.shape
  each = condition_RFLG.shape[0] // max(clips, 1)
  flags, number, turn = member.flags, member.number, 1
  for begin in range(0, clips, CLIPS):
    end = min(begin + CLIPS, clips)
    condition = condition_RFLG[begin * each : end * each]
    bent, first = bent_B[begin:end], begin * each
    rows = condition.shape[0]
    for t in range(frames * hop):
      frame, step = t // hop, t % hop
      moment = sample + t, frame, np.float32(step) / np.float32(hop)
      _begin(net, work.stream, bent, each)
      turn, at = _layers(
        net, work, rings, condition, moment, first, member, turn
      )
      turn = _head(net, work, rows, member, turn, at)
      uniform = uniform_FSB2[frame, step, begin:end]
      _draw(net, work.outputs, choice, uniform, bent, each, number, len(flags))
      turn = meet(flags, number, turn)
      if number == 0:
        for k in range(end - begin):
          bent_BT[begin + k, t] = bent[k]
