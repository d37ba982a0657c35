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

import numpy as np

from dance2wave.sampling.cpu_draw import (
  clip,
  draw_class,
  draw_mixture,
  expm1,
  jit,
  kernel_jit,
  once_jit,
)
from dance2wave.sampling.cpu_team import arrive, fetch, meet, wait
from dance2wave.sampling.cpu_types import Call
from dance2wave.sampling.products import as_read, multiply
from dance2wave.sampling.vectors import use_all_lanes

CLIPS = 32  # Of a block: they share the weights that are read.
# Beyond these, tanh and sigmoid are constant to 1e-13 and 1e-17.
_TANH_END, _SIGMOID_END = np.float32(30), np.float32(40)
_TWO, _ZERO = np.float32(2), np.float32(0)


@once_jit
def embed(net, stream, bent_B, each):
  """Write the embedded past sample and the bias of the skip path."""
  residual = net.embed_2R.shape[1]
  for row in range(bent_B.size * each):
    bent, to_skip = bent_B[row // each], stream[row, residual:]
    for i in range(residual):
      stream[row, i] = bent * net.embed_2R[0, i] + net.embed_2R[1, i]
    for i in range(net.skip_S.size):
      to_skip[i] = net.skip_S[i]


@once_jit
def interpolate(gates, call, t, layer, unit):
  """Write what the context gives to a layer at a sample, between two frames."""
  condition_FLRG, first, frame = call.condition_FLRG, call.first, t // call.hop
  weight = np.float32(t % call.hop) / np.float32(call.hop)
  half, all_units = gates.shape[1] // 2, condition_FLRG.shape[3] // 2
  for row in range(gates.shape[0]):
    for part in range(2):
      there = part * all_units + unit
      now = condition_FLRG[frame, layer, first + row, there : there + half]
      then = condition_FLRG[frame + 1, layer, first + row, there : there + half]
      out = gates[row, part * half : (part + 1) * half]
      for i in range(half):
        out[i] = now[i] + (then[i] - now[i]) * weight


@jit
def gated_unit(gates, units, rows, unit):
  """Write tanh(value) sigmoid(gate), with one division."""
  use_all_lanes()
  half = gates.shape[1] // 2
  for row in range(rows):
    values, closing = gates[row, :half], gates[row, half:]
    out = units[row, unit : unit + half]
    for i in range(half):
      value, gate = values[i], closing[i]
      rise = expm1(clip(_TWO * value, -_TANH_END, _TANH_END))
      fall = expm1(clip(-gate, -_SIGMOID_END, _SIGMOID_END))
      out[i] = rise / ((rise + _TWO) * (fall + _TWO))


@jit
def _rectify(source, at, target, to, count, rows):
  use_all_lanes()
  for row in range(rows):
    x, out = source[row, at:], target[row, to:]
    for i in range(count):
      out[i] = _ZERO if x[i] < _ZERO else x[i]


@jit
def add_product(net, out, width, x, inputs, rows, at):
  """Add the matrix at `at` times rows of x; return where the next begins."""
  return at + multiply(out, width, x, inputs, rows, net.packed[at:])


@jit
def num_slots(net, layer):
  """Return how many slots a layer's ring has."""
  return (net.kernel - 1) * net.dilations_L[layer] + net.spare


@jit
def _gates(work, layer, sample):
  """Return the first index and the second of a layer's gates in `work`."""
  layers, ahead = work.gates.shape[:2]
  return layer % layers, sample % ahead


@once_jit
def _prepare(net, work, rings, call, t, layer, base, unit):
  """Write what a layer's gates are given by context and by past inputs.

  Past inputs of as many samples are known as the layer's dilation says, so
  that some are prepared at once: the weights are read once for all of them.

  Args:
    net: parameters.
    work: of which `gates` is written.
    rings: (slots, rows, R) past inputs of all layers and clips.
    call: `Call`.
    t: number of the sample in it.
    layer: its number.
    base: first slot of the layer's ring.
    unit: first of the member's.
  """
  first, rows, now = call.first, call.rows, call.sample + t
  dilation, residual = net.dilations_L[layer], rings.shape[2]
  ahead = min(net.ahead_L[layer], work.gates.shape[1])
  past = now % ahead
  if past > 0 and t > call.begin:
    return
  count = min(ahead - past, call.end - t)
  which, place = _gates(work, layer, now)
  for k in range(count):
    gates = work.gates[which, place + k, :rows]
    interpolate(gates, call, t + k, layer, unit)
  gates = work.gates[which, place]
  width, slots = gates.shape[1], num_slots(net, layer)
  size = net.packed_taps.size // net.dilations_L.size
  at = layer * size
  for tap in range(net.kernel - 1, 0, -1):
    inputs = rings[base + (now - tap * dilation) % slots, first:]
    packed = net.packed_taps[at:]
    many = count * rows
    inputs = as_read(work.digits, inputs, residual, many, packed)
    at += multiply(gates, width, inputs, residual, many, packed)


@once_jit
def run_layers(net, work, rings, call, t, member, turn):
  """Bring a block's stream through all layers.

  While a member waits for the units of the others it adds those of the layer
  before to the skip path, and prepares the next layer.

  Args:
    net: parameters.
    work: what is computed in.
    rings: (slots, rows, R) past inputs of all layers and clips.
    call: `Call`.
    t: number of the sample in it.
    member: who computes.
    turn: the next.

  Returns:
    The next turn, and where the matrices of the head begin.
  """
  first, rows, now = call.first, call.rows, call.sample + t
  stream, residual, skips = work.stream, rings.shape[2], net.skip_S.size
  to_skip = stream[:, residual:]
  layers, num_units = net.dilations_L.size, work.units.shape[0]
  at, base, inputs = 0, 0, work.units.shape[2]
  before = as_read(work.unit_digits, work.units[0], inputs, 0, net.packed)
  for layer in range(layers + 2):
    if layer > 1:
      at = add_product(net, to_skip, skips, before, inputs, rows, at)
    if layer < layers:
      _prepare(net, work, rings, call, t, layer, base, member.unit)
    if 0 < layer <= layers:
      wait(member.flags, turn)
      before = work.units[(layer - 1) % num_units]
      fetch(member.flags, before, rows)
      before = as_read(work.unit_digits, before, inputs, rows, net.packed)
    if layer < layers:
      if layer > 0:
        at = add_product(net, stream, residual, before, inputs, rows, at)
      which, place = _gates(work, layer, now)
      gates, units = work.gates[which, place], work.units[layer % num_units]
      both = gates.shape[1]
      x = as_read(work.digits, stream, residual, rows, net.packed)
      at = add_product(net, gates, both, x, residual, rows, at)
      gated_unit(gates, units, rows, member.unit)
      turn = arrive(member.flags, member.number, turn)
      slots = num_slots(net, layer)
      copy_rows(stream, 0, rings[base + now % slots], first, rows)
      base += slots
  return turn, at


@once_jit
def copy_rows(source, first, target, to, rows):
  """Copy rows from the first on to those from `to` on, as wide as these are."""
  for row in range(rows):
    for i in range(target.shape[1]):
      target[to + row, i] = source[first + row, i]


@once_jit
def run_head(net, work, rows, member, turn, at):
  """Write the outputs of every row; return the next turn.

  `at` is where its matrices begin.
  """
  skip, hidden, outputs = work.skip, work.hidden, work.outputs
  flags, number, begin = member.flags, member.number, member.skip
  own, own_outputs = net.skip_S.size, net.logits_O.size
  at_skip = work.stream.shape[1] - own
  _rectify(work.stream, at_skip, skip, begin, own, rows)
  for row in range(rows):
    hidden_S, outputs_O = hidden[row, begin:], outputs[row, member.output :]
    for i in range(own):
      hidden_S[i] = net.hidden_S[i]
    for i in range(own_outputs):
      outputs_O[i] = net.logits_O[i]
  turn = meet(flags, number, turn)
  fetch(flags, skip, rows)
  inputs = skip.shape[1]
  x = as_read(work.digits, skip, inputs, rows, net.packed)
  at = add_product(net, hidden[:, begin:], own, x, inputs, rows, at)
  _rectify(hidden, begin, hidden, begin, own, rows)
  turn = meet(flags, number, turn)
  fetch(flags, hidden, rows)
  out = outputs[:, member.output :]
  x = as_read(work.digits, hidden, inputs, rows, net.packed)
  add_product(net, out, own_outputs, x, inputs, rows, at)
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
def draw_samples(net, outputs, choice, uniform_B2, bent_B, each, first, step):
  """Draw the next sample of every clip, or of every so many."""
  count, columns = net.num_outputs, choice.columns
  temperature, top_p = choice.temperature, choice.top_p
  for k in range(first, bent_B.size, step):
    if each == 2:
      _guide(outputs, 2 * k, choice, count)
    mine = outputs[each * k, :count]
    if choice.is_mixture:
      bent_B[k] = draw_mixture(mine, uniform_B2[k], temperature, top_p)
    else:
      place = draw_class(mine, uniform_B2[k], temperature, top_p, columns)
      bent_B[k] = net.bent_V[place]


@kernel_jit
def draw_clips(
  net,
  choice,
  work,
  condition_FLRG,
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
    condition_FLRG: (F + 1, L, rows, 2 G), biases of the taps included.
    uniform_FSB2: draws, for S samples of F frames.
    rings: (slots, rows, R) past inputs of every layer, the member's own;
      brought up to date.
    bent_B: the sample before, in [-1, 1]; brought up to date.
    sample: number of the first sample since silence.
    bent_BT: where samples are written.
    member: who computes, of a team that draws the same clips.
  """
  use_all_lanes()
  frames, hop, clips, _ = uniform_FSB2.shape
  each = condition_FLRG.shape[2] // max(clips, 1)
  flags, number, turn = member.flags, member.number, 1
  for begin in range(0, clips, CLIPS):
    end = min(begin + CLIPS, clips)
    bent, first, rows = bent_B[begin:end], begin * each, (end - begin) * each
    total = frames * hop
    call = Call(condition_FLRG, first, rows, sample, hop, 0, total)
    for t in range(total):
      embed(net, work.stream, bent, each)
      turn, at = run_layers(net, work, rings, call, t, member, turn)
      turn = run_head(net, work, rows, member, turn, at)
      uniform = uniform_FSB2[t // hop, t % hop, begin:end]
      draw_samples(
        net, work.outputs, choice, uniform, bent, each, number, len(flags)
      )
      turn = meet(flags, number, turn)
      if number == 0:
        for k in range(end - begin):
          bent_BT[begin + k, t] = bent[k]
