"""Speculative sampling of clips, one by one, by the `cpu` engine, in Numba.

One clip is drawn as fast as all weights are read, for every sample anew. They
are read once for several samples if the sample before each is known. So these
are drafted, one by one, by the same WaveNet with weights of one byte, which the
second cache holds; then what follows each is drawn at once, as if the samples
were those of as many clips:

    drafted     d1   d2   d3          by weights of one byte
    drawn  s1   s2   s3   s4          s3 after d1 and d2
    kept   yes  yes  yes  if d3 = s3  as d1 = s1 and d2 = s2

Draws are made outside, so that a draft is right if it is equal (Wiggers and
Hoogeboom 2020, arXiv 2002.09928; the scheme of Leviathan et al. 2023, arXiv
2211.17192, keeps the distribution only). What is kept is what is drawn without
drafts, to the last bit.
"""

from typing import NamedTuple

import numpy as np

from dance2wave.sampling.cpu_draw import kernel_jit, once_jit
from dance2wave.sampling.cpu_kernel import (
  add_product,
  copy_rows,
  draw_samples,
  embed,
  gated_unit,
  interpolate,
  num_slots,
  run_head,
  run_layers,
)
from dance2wave.sampling.cpu_types import Call
from dance2wave.sampling.products import multiply
from dance2wave.sampling.vectors import use_all_lanes

ROUNDS = np.float32(8)  # Of which the usual number kept is the mean, fading.


class Drafts(NamedTuple):
  """What a core computes a round of up to K samples of a clip in, or drafts.

  Attributes:
    rings: (slots, rows, R) past inputs of the clip. They have slots to spare:
      what is written of samples that are not kept takes no other's place.
    past: (K x rows, R) those of one tap.
    before_T: the sample before each of the call's; beyond what is drawn, a
      draft.
  """

  rings: np.ndarray
  past: np.ndarray
  before_T: np.ndarray


class Clip(NamedTuple):
  """What a clip's samples of a call are drawn of.

  Attributes:
    condition_FLRG: (F + 1, L, rows, 2 G) of the clip, biases included.
    hop: samples of a frame.
    uniform_T2: draws.
    rings: (slots, rows, R) past inputs of all clips.
    first: row of the clip there.
    sample: number of the first sample since silence.
  """

  condition_FLRG: np.ndarray
  hop: int
  uniform_T2: np.ndarray
  rings: np.ndarray
  first: int
  sample: int


@once_jit
def copy_past(net, source, first, spare, target, to, now, rows):
  """Copy all past inputs from rings of clips to others; one has slots to spare.

  Args:
    net: parameters.
    source: rings, of one of both.
    first: row there.
    spare: slots there that are to spare, all of a layer's or none.
    target: rings of the other.
    to: row there.
    now: number of the next sample.
    rows: to copy.
  """
  base, other = 0, 0
  for layer in range(net.dilations_L.size):
    reach = (net.kernel - 1) * net.dilations_L[layer]
    slots, others = reach + spare, reach + net.spare - spare
    for k in range(now - reach, now):
      slot, there = base + k % slots, other + k % others
      copy_rows(source[slot], first, target[there], to, rows)
    base, other = base + slots, other + others


@kernel_jit
def draft(quick, work, drafts, choice, call, uniform_T2, begin, end, member):
  """Draft some of a call's samples, one by one."""
  use_all_lanes()
  rows, before_T = call.rows, drafts.before_T
  for t in range(begin, end):
    embed(quick, work.stream, before_T[t : t + 1], rows)
    turn, at = run_layers(quick, work, drafts.rings, call, t, member, 1)
    run_head(quick, work, rows, member, turn, at)
    sample, outputs = before_T[t + 1 : t + 2], work.outputs
    draw_samples(quick, outputs, choice, uniform_T2[t:], sample, rows, 0, 1)


@once_jit
def _prepare_round(net, gates, drafts, call, layer, base, count):
  """Write what a layer's gates are given by context and by past inputs."""
  rows, residual = call.rows, drafts.past.shape[1]
  for k in range(count):
    mine = gates[k * rows : (k + 1) * rows]
    interpolate(mine, call, call.begin + k, layer, 0)
  slots, now = num_slots(net, layer), call.sample + call.begin
  at = layer * (net.packed_taps.size // net.dilations_L.size)
  for tap in range(net.kernel - 1, 0, -1):
    for k in range(count):
      slot = base + (now + k - tap * net.dilations_L[layer]) % slots
      copy_rows(drafts.rings[slot], 0, drafts.past, k * rows, rows)
    packed = net.packed_taps[at:]
    width, many = gates.shape[1], count * rows
    at += multiply(gates, width, drafts.past, residual, many, packed)


@once_jit
def _run_round(net, work, drafts, call, count):
  """Bring the streams of a round's samples through all layers.

  Inputs of later samples are written before those of earlier ones are read, as
  a layer's past inputs may be those of the same round.

  Returns:
    Where the matrices of the head begin.
  """
  rows, many, now = call.rows, count * call.rows, call.sample + call.begin
  stream, residual, skips = work.stream, drafts.past.shape[1], net.skip_S.size
  to_skip, gates = stream[:, residual:], work.gates[0, 0]
  both, inputs = gates.shape[1], work.units.shape[2]
  layers, at, base = net.dilations_L.size, 0, 0
  for layer in range(layers + 1):
    before = work.units[(layer + 1) % 2]
    if layer < layers:
      if layer > 0:
        at = add_product(net, stream, residual, before, inputs, many, at)
      slots = num_slots(net, layer)
      for k in range(count):
        ring = drafts.rings[base + (now + k) % slots]
        copy_rows(stream, k * rows, ring, 0, rows)
      _prepare_round(net, gates, drafts, call, layer, base, count)
      at = add_product(net, gates, both, stream, residual, many, at)
      gated_unit(gates, work.units[layer % 2], many, 0)
      base += slots
    if layer > 0:
      at = add_product(net, to_skip, skips, before, inputs, many, at)
  return at


@kernel_jit
def draw_round(
  net, work, drafts, choice, call, uniform_T2, bent_T, known, member
):
  """Draw a round's samples at once, each as if its draft were right.

  Args:
    net: parameters, float32.
    work: what is computed in.
    drafts: `Drafts`; the first that is wrong becomes what was drawn.
    choice: how samples are drawn.
    call: `Call`, whose samples are the round's.
    uniform_T2: draws.
    bent_T: where samples are written.
    known: how many of the samples are drafted.
    member: the only one.

  Returns:
    How many of these drafts, from the first on, are right.
  """
  use_all_lanes()
  begin, end, rows = call.begin, call.end, call.rows
  count, before_T, outputs = end - begin, drafts.before_T, work.outputs
  embed(net, work.stream, before_T[begin:end], rows)
  at = _run_round(net, work, drafts, call, count)
  run_head(net, work, count * rows, member, 1, at)
  bent = bent_T[begin:end]
  draw_samples(net, outputs, choice, uniform_T2[begin:], bent, rows, 0, 1)
  right = 0
  while right < known and before_T[begin + right + 1] == bent[right]:
    right += 1
  if right < count:
    before_T[begin + right + 1] = bent[right]
  return right


@kernel_jit
def speculate(
  net,
  quick,
  choice,
  work,
  quick_work,
  drafts,
  clip,
  bent_T,
  member,
):
  """Draw all samples of a call for one clip, as `draw_clips` does.

  Args:
    net: parameters, float32, with a slot to spare for each sample of a round.
    quick: the same of one byte.
    choice: how samples are drawn; they are classes.
    work: what rounds are computed in, with rows for each of their samples.
    quick_work: what drafts are computed in.
    drafts: `Drafts`, of which `before_T` has the sample before the first.
    clip: `Clip`, whose rings are brought up to date.
    bent_T: where samples are written.
    member: the only one.

  Returns:
    The number of rounds.
  """
  use_all_lanes()
  condition_FLRG, hop, uniform_T2, rings, first, sample = clip
  rows, total = condition_FLRG.shape[2], bent_T.size
  most = drafts.past.shape[0] // rows
  copy_past(net, rings, first, 0, drafts.rings, 0, sample, rows)
  # Where few are kept few are drafted: rounds are hardly longer than a sample.
  t, rounds, usual = np.int64(0), 0, np.float32(most)
  while t < total:
    count = min(np.int64(2 * usual), most, total - t)
    # The last sample needs no draft.
    last = t + count - 1
    drafted = Call(condition_FLRG, 0, rows, sample, hop, t, last)
    draft(
      quick, quick_work, drafts, choice, drafted, uniform_T2, t, last, member
    )
    call = Call(condition_FLRG, 0, rows, sample, hop, t, last + 1)
    right = draw_round(
      net, work, drafts, choice, call, uniform_T2, bent_T, count - 1, member
    )
    usual += (np.float32(right + 1) - usual) / ROUNDS
    t, rounds = t + right + 1, rounds + 1
  copy_past(net, drafts.rings, 0, net.spare, rings, first, sample + total, rows)
  return rounds
