"""Draw clips with drafts, each by a core or by two; see `cpu_speculate.py`."""

from typing import NamedTuple

import numba
import numpy as np

from dance2wave.sampling.cpu_pack import AHEAD, aligned, frozen, pack_team
from dance2wave.sampling.cpu_pair import draft_ahead, draw_behind
from dance2wave.sampling.cpu_speculate import Clip, Drafts, speculate
from dance2wave.sampling.cpu_team import all_at_once, make_flags
from dance2wave.sampling.cpu_types import Member, Net, Scratch
from dance2wave.sampling.products import DRAFTS

KERNELS = speculate, draft_ahead, draw_behind


class Drafted(NamedTuple):
  """What clips are drawn with.

  Attributes:
    net: parameters in float32.
    quick: the same of one byte, which drafts.
    work: what the samples of a round are computed in, without gates ahead.
    quick_work: what a draft is computed in, with gates of AHEAD samples.
  """

  net: Net
  quick: Net
  work: Scratch
  quick_work: Scratch


def pack_drafts(wave, draw):
  """Return a WaveNet's parameters as drafts read them.

  Args:
    wave: `WaveNet`.
    draw: `Draw`.
  """
  return pack_team(wave, draw, 1, DRAFTS)[0][1]


def draw_drafted(
  drafted, choice, condition_FLRG, uniform_FSB2, state, bent_BT, cores
):
  """Draw all samples of a call, clip by clip; see `draw_clips`.

  Args:
    drafted: `Drafted`.
    choice: how samples are drawn; they are classes.
    condition_FLRG: of all clips.
    uniform_FSB2: draws.
    state: of the engine; brought up to date, but for the number of samples.
    bent_BT: where samples are written.
    cores: for each clip; more than two are as two.

  Returns:
    How many samples a round had, on average, and whether the cores were there
    nearly all the time.
  """
  hop, clips = uniform_FSB2.shape[1:3]
  rows = condition_FLRG.shape[2] // clips
  draw = _by_two if cores > 1 else _by_one
  rounds, had_cores = 0, True
  for clip in range(clips):
    first, before_T = clip * rows, np.empty(bent_BT.shape[1] + 1, np.float32)
    before_T[0] = state['bent'][clip]
    given = Clip(
      frozen(condition_FLRG[:, :, first : first + rows]),
      hop,
      frozen(uniform_FSB2[:, :, clip].reshape(-1, 2)),
      state['rings'],
      first,
      state['sample'],
    )
    more, had = draw(drafted, choice, before_T, given, bent_BT[clip])
    state['bent'][clip] = bent_BT[clip, -1]
    rounds, had_cores = rounds + more, had_cores and had
  return bent_BT.size / rounds, had_cores


def _by_one(drafted, choice, before_T, clip, bent_T):
  net, quick, work, quick_work = drafted
  net, quick = (n._replace(spare=AHEAD) for n in (net, quick))
  drafts = _make_drafts(net, before_T, clip)
  alone = Member(0, make_flags(1), 0, 0, 0)
  rounds = speculate(
    net, quick, choice, work, quick_work, drafts, clip, bent_T, alone
  )
  return rounds, True


def _by_two(drafted, choice, before_T, clip, bent_T):
  net, quick, work, quick_work = drafted
  net, quick = net._replace(spare=AHEAD), quick._replace(spare=2 * AHEAD)
  drafts, own = (_make_drafts(n, before_T, clip) for n in (net, quick))
  flags = make_flags(2)
  calls = (
    (draw_behind, (net, choice, work, drafts, clip, bent_T, flags)),
    (draft_ahead, (quick, choice, quick_work, own, clip, flags)),
  )
  for kernel, given in calls:  # What may fail or take long comes before.
    kernel.compile(tuple(map(numba.typeof, given)))
  rounds = {}

  def one_core(number):
    kernel, given = calls[number]
    rounds[number] = kernel(*given)

  had_cores = all_at_once(one_core, 2)
  return rounds[0], had_cores


def _make_drafts(net, before_T, clip):
  """Return `Drafts` with the rings of a clip."""
  rows, (slots, _, residual) = clip.condition_FLRG.shape[2], clip.rings.shape
  slots += net.spare * net.dilations_L.size
  rings = aligned(slots, rows, residual)
  return Drafts(rings, aligned(AHEAD * rows, residual), before_T)
