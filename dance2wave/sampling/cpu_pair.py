"""Two cores draw one clip: the second drafts ahead of the first, in Numba.

While the first draws what is drafted (see `cpu_speculate.py`), the second goes
on from its last draft as if all were right. Each says a number whenever it has
got further, how many of a call's samples are drawn, or drafted, and how many
drafts were found wrong by then: after a wrong one the second begins anew with
the sample that was drawn instead.

Samples do not depend on who is when how far: they are those of one core.
"""

import numpy as np

from dance2wave.sampling.cpu_draw import kernel_jit
from dance2wave.sampling.cpu_speculate import (
  ROUNDS,
  copy_past,
  draft,
  draw_round,
)
from dance2wave.sampling.cpu_team import hear, pause, tell
from dance2wave.sampling.cpu_types import Call, Member
from dance2wave.sampling.vectors import use_all_lanes

_WRONG = 1 << 40  # Once for each wrong draft, in what is said.


@kernel_jit
def draft_ahead(
  quick,
  choice,
  work,
  drafts,
  clip,
  flags,
):
  """Draft all samples of a call but the last, as the second of two cores.

  Args:
    quick: parameters, of one byte; with as many slots to spare as are drafted
      ahead.
    choice: how samples are drawn; they are classes.
    work: what is computed in.
    drafts: `Drafts`; rings of its own, `before_T` of both.
    clip: `Clip`.
    flags: of the team.
  """
  use_all_lanes()
  condition_FLRG, hop, uniform_T2, rings, first, sample = clip
  rows, total = condition_FLRG.shape[2], len(uniform_T2)
  copy_past(quick, rings, first, 0, drafts.rings, 0, sample, rows)
  alone = Member(0, flags[:1], 0, 0, 0)
  begin, drafted, wrong, spins = np.int64(0), np.int64(0), 0, 0
  while True:
    said = hear(flags, 0)
    drawn = said % _WRONG
    if drawn == total:
      return
    if said // _WRONG > wrong:
      wrong, begin, drafted = said // _WRONG, drawn, drawn
    elif drafted == min(drawn + quick.spare, total - 1):
      spins = pause(spins)
      continue
    end = min(drafted + 1, total - 1)
    call = Call(condition_FLRG, 0, rows, sample, hop, begin, total)
    draft(quick, work, drafts, choice, call, uniform_T2, drafted, end, alone)
    drafted, spins = end, 0
    tell(flags, 1, wrong * _WRONG + drafted)


@kernel_jit
def draw_behind(
  net,
  choice,
  work,
  drafts,
  clip,
  bent_T,
  flags,
):
  """Draw all samples of a call, as the first of two cores.

  Args:
    net: parameters, float32, with a slot to spare for each sample of a round.
    choice: how samples are drawn; they are classes.
    work: what rounds are computed in, with rows for each of their samples.
    drafts: `Drafts`; rings of its own, `before_T` of both.
    clip: `Clip`, whose rings are brought up to date.
    bent_T: where samples are written.
    flags: of the team.

  Returns:
    The number of rounds.
  """
  use_all_lanes()
  condition_FLRG, hop, uniform_T2, rings, first, sample = clip
  rows, total = condition_FLRG.shape[2], bent_T.size
  most, alone = drafts.past.shape[0] // rows, Member(0, flags[:1], 0, 0, 0)
  copy_past(net, rings, first, 0, drafts.rings, 0, sample, rows)
  t, rounds, wrong, usual = np.int64(0), 0, 0, np.float32(most)
  while t < total:
    # The last sample of all needs no draft.
    count = min(np.int64(2 * usual), most, total - t)
    known, spins = min(count, total - 1 - t), 0
    while hear(flags, 1) < wrong * _WRONG + t + known:
      spins = pause(spins)
    call = Call(condition_FLRG, 0, rows, sample, hop, t, t + count)
    right = draw_round(
      net, work, drafts, choice, call, uniform_T2, bent_T, known, alone
    )
    kept = min(right + 1, count)
    usual += (np.float32(kept) - usual) / ROUNDS
    t, rounds, wrong = t + kept, rounds + 1, wrong + (right < known)
    tell(flags, 0, wrong * _WRONG + t)
  copy_past(net, drafts.rings, 0, net.spare, rings, first, sample + total, rows)
  return rounds
