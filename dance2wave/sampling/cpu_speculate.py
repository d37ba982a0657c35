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

import numba
import numpy as np

from dance2wave.sampling.cpu_draw import once_jit
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
from dance2wave.sampling.cpu_pack import AHEAD, aligned, frozen, pack_team
from dance2wave.sampling.cpu_team import make_flags
from dance2wave.sampling.cpu_types import Call, Member
from dance2wave.sampling.products import DRAFTS, multiply
from dance2wave.sampling.vectors import use_all_lanes

_ROUNDS = np.float32(8)  # Of which the usual number kept is the mean, fading.


class Drafts(NamedTuple):
  """What a round of up to K samples of a clip is computed in.

  Attributes:
    rings: (slots, rows, R) past inputs of the clip. They have K to spare: what
      is written of samples that are not kept takes no other's place.
    past: (K x rows, R) those of one tap.
    before_K: the sample before each of them, a draft for all but the first.
    drawn_K: the samples.
  """

  rings: np.ndarray
  past: np.ndarray
  before_K: np.ndarray
  drawn_K: np.ndarray


@once_jit
def _copy_past(net, source, first, spare, target, to, now, rows):
  """Copy all past inputs from rings of clips to others; one has K to spare.

  Args:
    net: parameters.
    source: rings, of one of both.
    first: row there.
    spare: slots there, K or none.
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


@once_jit
def _draft(quick, work, drafts, choice, call, uniform_T2, member):
  """Draft the samples of a call, one by one."""
  for k in range(call.end - call.begin):
    t, before = call.begin + k, drafts.before_K
    embed(quick, work.stream, before[k : k + 1], call.rows)
    turn, at = run_layers(quick, work, drafts.rings, call, t, member, 1)
    run_head(quick, work, call.rows, member, turn, at)
    draft, outputs = before[k + 1 : k + 2], work.outputs
    draw_samples(quick, outputs, choice, uniform_T2[t:], draft, call.rows, 0, 1)


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


@numba.njit(nogil=True, error_model='numpy', fastmath={'contract'}, _nrt=False)
def speculate(
  net,
  quick,
  choice,
  work,
  quick_work,
  drafts,
  condition_FLRG,
  hop,
  uniform_T2,
  rings,
  first,
  bent_1,
  sample,
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
    drafts: `Drafts`.
    condition_FLRG: (F + 1, L, rows, 2 G) of the clip, biases included.
    hop: samples of a frame.
    uniform_T2: draws.
    rings: (slots, rows, R) past inputs of all clips; brought up to date.
    first: row of the clip there.
    bent_1: the sample before, in [-1, 1]; brought up to date.
    sample: number of the first sample since silence.
    bent_T: where samples are written.
    member: the only one.

  Returns:
    The number of rounds.
  """
  use_all_lanes()
  rows, total, most = condition_FLRG.shape[2], bent_T.size, drafts.drawn_K.size
  before, drawn = drafts.before_K, drafts.drawn_K
  _copy_past(net, rings, first, 0, drafts.rings, 0, sample, rows)
  before[0] = bent_1[0]
  # Where few are kept few are drafted: rounds are hardly longer than a sample.
  t, rounds, usual = 0, 0, np.float32(most)
  while t < total:
    count = min(np.int64(2 * usual), most, total - t)
    end = t + count - 1  # The last sample needs no draft.
    call = Call(condition_FLRG, 0, rows, sample, hop, t, end)
    _draft(quick, quick_work, drafts, choice, call, uniform_T2, member)
    embed(net, work.stream, before[:count], rows)
    at = _run_round(net, work, drafts, call, count)
    run_head(net, work, count * rows, member, 1, at)
    new = drawn[:count]
    draw_samples(net, work.outputs, choice, uniform_T2[t:], new, rows, 0, 1)
    kept = 1
    while kept < count and before[kept] == drawn[kept - 1]:
      kept += 1
    for k in range(kept):
      bent_T[t + k] = drawn[k]
    before[0] = drawn[kept - 1]
    usual += (np.float32(kept) - usual) / _ROUNDS
    t, rounds = t + kept, rounds + 1
  bent_1[0] = before[0]
  _copy_past(
    net, drafts.rings, 0, net.spare, rings, first, sample + total, rows
  )
  return rounds


def pack_drafted(wave, draw, net):
  """Return a WaveNet's parameters as rounds read them and as drafts do.

  Args:
    wave: `WaveNet`.
    draw: `Draw`.
    net: `Net` in float32.
  """
  _, quick = pack_team(wave, draw, 1, DRAFTS)[0]
  return net._replace(spare=AHEAD), quick._replace(spare=AHEAD)


def draw_drafted(
  nets, choice, works, condition_FLRG, uniform_FSB2, state, bent_BT
):
  """Draw all samples of a call, clip by clip; see `draw_clips`.

  Args:
    nets: what `pack_drafted` returned.
    choice: how samples are drawn; they are classes.
    works: `Scratch` of a round's samples, without gates ahead, and of one
      sample's, with AHEAD.
    condition_FLRG: of all clips.
    uniform_FSB2: draws.
    state: of the engine; brought up to date, but for the number of samples.
    bent_BT: where samples are written.

  Returns:
    How many samples a round had, on average.
  """
  hop, clips = uniform_FSB2.shape[1:3]
  rows, rings = condition_FLRG.shape[2] // clips, state['rings']
  residual, slots = (
    rings.shape[2],
    len(rings) + AHEAD * nets[0].dilations_L.size,
  )
  drafts = Drafts(
    aligned(slots, rows, residual),
    aligned(AHEAD * rows, residual),
    aligned(AHEAD),
    aligned(AHEAD),
  )
  rounds, alone = 0, Member(0, make_flags(1), 0, 0, 0)
  for clip in range(clips):
    first = clip * rows
    rounds += speculate(
      *nets,
      choice,
      *works,
      drafts,
      frozen(condition_FLRG[:, :, first : first + rows]),
      hop,
      frozen(uniform_FSB2[:, :, clip].reshape(-1, 2)),
      rings,
      first,
      state['bent'][clip : clip + 1],
      state['sample'],
      bent_BT[clip],
      alone,
    )
  return bent_BT.size / rounds
