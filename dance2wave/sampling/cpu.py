"""The engine for processors: one compiled loop over samples, by Numba.

It takes the same parameters, context and draws as the `xla` engine and draws
the same classes. A call releases the interpreter lock, so that groups of clips
run in threads; it keeps one core busy, or several with a team. A few clips may
be drafted first, see `cpu_speculate.py`; of two cores one drafts, see
`cpu_pair.py`. Whichever way is taken, samples are the same to the last bit.
"""

import functools
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dance2wave.models.quantise import unbend
from dance2wave.sampling import xla
from dance2wave.sampling.cpu_drafted import (
  KERNELS,
  Drafted,
  draw_drafted,
  pack_drafts,
)
from dance2wave.sampling.cpu_kept import keep
from dance2wave.sampling.cpu_kernel import CLIPS, draw_clips
from dance2wave.sampling.cpu_pack import AHEAD, aligned, frozen, pack_team
from dance2wave.sampling.cpu_scratch import ahead_of, make_scratch, sizes_of
from dance2wave.sampling.cpu_team import all_at_once, make_flags
from dance2wave.sampling.cpu_types import Choice, Member
from dance2wave.sampling.draw import num_columns
from dance2wave.sampling.listen import in_company
from dance2wave.sampling.vectors import LANES, pad

_COMPILING = threading.Lock()
# Cores that share the weights; more cores have not been measured.
_TEAM = 2
# Of one core for a layer of one clip: less is not worth sharing, since a team
# meets once in a layer, which takes 0.3 us.
_LEAST_S = 1e-6
# Of one core's time for the same clips, what a team takes where it begins to do
# no better than its cores apart; of fewer clips it takes less, and where these
# are few enough to be drafted, so much.
_SHARE_OF_TEAM, _SHARE_OF_DRAFTED = 0.68, 0.6
_TRIAL_SAMPLES, _TRIALS = 128, 4
_CALLS_ALONE = 8  # By one member, after a team has had to wait for cores.
# Of more clips than these the weights serve enough without drafts.
_FEW = 4
# A team draws up to 2.5 times what one core does of a few clips, two cores with
# drafts 1.5 times what one does with them.
_TEAM_OVER_TWO = 2.5 / 1.5
# Calls without drafts after one that kept too few, and after many in a row.
_CALLS_IN_STEP, _MOST_CALLS_IN_STEP = 8, 256


def _condition(graphdef, params, context_BFC, style_B, count, draw):
  """Return what every layer's gate is given: (rows, F, L, 2 G), padded.

  Frames are projected one by one, so that their bits do not depend on how
  many there are. A guided clip has two rows, with its context and without.
  """
  wave = nnx.merge(graphdef, params).wave
  if draw.guidance != 1.0:
    nothing = jnp.zeros_like(context_BFC)
    context_BFC = jnp.stack([context_BFC, nothing], axis=1)
    context_BFC = context_BFC.reshape(-1, *context_BFC.shape[2:])
    style_B = jnp.stack([style_B, jnp.full_like(style_B, -1)], axis=1).ravel()

  def body(frame, given_BFLG):
    context = jax.lax.dynamic_slice_in_dim(context_BFC, frame, 1, 1)
    given = wave.condition_on_style(context, style_B, draw.style_strength)
    given = given.astype(jnp.float32) + wave.taps_bias[...][None, None]
    return jax.lax.dynamic_update_slice_in_dim(given_BFLG, given, frame, 1)

  shape = (*context_BFC.shape[:2], *wave.taps_bias.shape)
  given = jax.lax.fori_loop(0, count, body, jnp.zeros(shape))
  halves = given.reshape(*given.shape[:3], 2, wave.gate)
  more = pad(wave.gate) - wave.gate
  halves = jnp.pad(halves, [(0, 0)] * 4 + [(0, more)])
  return halves.reshape(*halves.shape[:3], -1)


@functools.partial(jax.jit, static_argnums=1)
def _to_signal(bent_BS, levels):
  return jnp.clip(unbend(bent_BS, levels), -1.0, 1.0)


class CpuEngine:
  """Draw samples by a compiled loop; streaming, batched and resumable.

  Args:
    graphdef: of a `Dance2Wave`.
    params: its parameters.
    draw: how samples are drawn.

  Attributes:
    device: the processor, where all of this runs beside any accelerator.
  """

  name = 'cpu'

  @functools.cached_property
  def team(self):
    """How many cores are to draw a few clips together; one clip is tried."""
    return self._members(_TEAM) if self._is_slow else 1

  @functools.cached_property
  def _is_slow(self):
    """Whether one core takes so long for one clip that it is worth sharing."""
    alone_s = min(self._try(1) for _ in range(_TRIALS)) / _TRIAL_SAMPLES
    return alone_s >= _LEAST_S * len(self._wave.dilations)

  @functools.cached_property
  def _drafts(self):
    """What is read to make drafts, where these may pay; else None."""
    can = not self._draw.is_mixture and self._draw.weights == 'float32'
    return (
      pack_drafts(self._wave, self._draw) if can and self._is_slow else None
    )

  def __init__(self, graphdef, params, draw):
    self.device = jax.local_devices(backend='cpu')[0]
    params = jax.device_put(params, self.device)
    wave = nnx.merge(graphdef, params).wave
    self._wave = wave
    self.params, self._draw = params, draw
    self._hop, self._each = wave.samples_per_frame, 1 + (draw.guidance != 1.0)
    self._reach = wave.receptive_field - 1
    self._calls_alone = self._calls_in_step = 0
    self._next_calls_in_step = _CALLS_IN_STEP
    self._least = {}  # Samples of a round that pay for it, by clips.
    self._pays = {1: True}  # By the number of clips; one cannot be shared out.
    self._teams = {}  # By the number of members: their parts and parameters.
    self._sizes = sizes_of(wave)
    self._choice = Choice(
      np.float32(draw.temperature),
      np.float32(draw.top_p),
      np.float32(draw.guidance),
      draw.is_mixture,
      num_columns(draw.levels),
    )
    self._condition = jax.jit(
      functools.partial(_condition, graphdef, draw=draw)
    )
    with _COMPILING:
      keep(draw_clips)
      self._try(1, samples=1)
      if self._drafts:
        for kernel in KERNELS:
          keep(kernel)
        self._least_kept(1)
        self._try(1, samples=1, draw=self._draw_drafted, cores=self.team)

  def team_pays(self, clips):
    """Return whether a team draws so many clips faster than its cores apart.

    Apart each has some of the clips, which takes nearly as long as all of them
    where it is the reading of weights that takes the time. How many these are
    depends on the processor, and is tried; if with drafts, as many of them are
    kept as of silence.
    """
    if clips > CLIPS:
      return False
    if clips not in self._pays:
      own = -(-clips // self.team)
      fast = self._draw_drafted if self._speculates(own, 1) else None
      times = [
        (self._try(own, draw=fast), self._try(clips)) for _ in range(_TRIALS)
      ]
      apart_s, alone_s = map(min, zip(*times, strict=True))
      share = _SHARE_OF_DRAFTED if fast else _SHARE_OF_TEAM
      self._pays[clips] = apart_s > share * alone_s
    return self._pays[clips]

  def _try(self, clips, samples=_TRIAL_SAMPLES, draw=None, cores=1):
    """Draw samples of silence; return the time of a core in seconds."""
    shape = 2, len(self._wave.dilations), clips * self._each
    given = frozen(np.zeros((*shape, 2 * self._sizes.gate)))
    uniform = frozen(np.random.default_rng(0).random((1, samples, clips, 2)))
    state, draw = self.start(clips, cores), draw or self._draw_in_step
    bent_BT = np.empty((clips, samples), np.float32)
    began = time.thread_time()
    draw(given, uniform, state, bent_BT)
    return time.thread_time() - began

  def _speculates(self, clips, cores):
    """Return whether so many cores draw more with drafts than without."""
    if not (1 <= clips <= _FEW and self._drafts):
      return False
    return self._least_for(clips, cores) < AHEAD

  def _least_for(self, clips, cores):
    """Return how many samples a round must have to draw more than without."""
    return self._least_kept(clips) * (_TEAM_OVER_TWO if cores > 1 else 1)

  def _least_kept(self, clips):
    """Return how many samples a round of one core must have, which is tried."""
    if clips not in self._least:
      kept = []

      def draw(*arguments):
        kept.append(self._draw_drafted(*arguments))

      times = [
        (self._try(clips), self._try(clips, draw=draw)) for _ in range(_TRIALS)
      ]
      in_step_s, drafted_s = map(min, zip(*times, strict=True))
      self._least[clips] = kept[0] * drafted_s / in_step_s
    return self._least[clips]

  def start(self, batch, cores=1):
    """Return the state before the first sample of `batch` clips.

    So many processor cores draw them together, as far as there are units to
    share out, and while they have the cores to themselves; two draw each clip
    in turn, if that is more with drafts.
    """
    return {
      'rings': aligned(self._reach, batch * self._each, self._sizes.residual),
      'bent': np.zeros(batch, np.float32),
      'sample': 0,
      'cores': cores,
    }

  def run(self, context_BFC, style_B, uniform_FSB2, state):
    """Draw as `XlaEngine.run` does: samples (B, (F - 1) x hop), the state."""
    rows, parts = len(context_BFC) * self._each, []
    context_BFC, style = (in_company(x, 0) for x in (context_BFC, style_B))
    for context, uniform, count in xla.blocks(context_BFC, uniform_FSB2):
      given = self._condition(self.params, context, style, count + 1)
      given = np.asarray(given)[:rows, : count + 1]
      bent_BT, state = self._draw_clips(given, uniform[:count], state)
      parts += self._signals(bent_BT)
    return np.concatenate(parts, axis=1), state

  def fork(self, state, row_B):
    """Return the state of other clips, as `XlaEngine.fork` does."""
    rows = row_B[:, None] * self._each + np.arange(self._each)
    old = state['rings']
    rings = aligned(old.shape[0], rows.size, old.shape[2])
    np.take(old, rows.ravel(), axis=1, out=rings)
    return state | {'rings': rings, 'bent': state['bent'][row_B]}

  def _signals(self, bent_BT):
    """Return the signal frame by frame: (B, S) each."""
    frames = np.split(bent_BT, bent_BT.shape[1] // self._hop, axis=1)
    frames = jax.device_put(frames, self.device)
    return [np.asarray(_to_signal(f, self._draw.levels)) for f in frames]

  def _members(self, cores):
    """Return how many cores there are units for to share out."""
    return max(1, min(cores, self._sizes.gate // LANES))

  def _team(self, members):
    """Return the part and the parameters of each member of a team."""
    if members not in self._teams:
      self._teams[members] = pack_team(self._wave, self._draw, members)
    return self._teams[members]

  def _draw_clips(self, given, uniform_FSB2, state):
    condition_FLRG = frozen(np.moveaxis(given, 0, 2))
    uniform = frozen(uniform_FSB2)
    frames, hop, batch, _ = uniform.shape
    bent_BT = np.empty((batch, frames * hop), np.float32)
    arguments = condition_FLRG, uniform, state, bent_BT
    cores = self._cores(state)
    if not self._speculates(batch, cores):
      self._draw_in_step(*arguments)
    elif self._calls_in_step:
      self._calls_in_step -= 1
      self._draw_in_step(*arguments)
    else:
      kept = self._draw_drafted(*arguments)
      self._note_kept(kept >= self._least_for(batch, cores))
    return bent_BT, state | {'sample': state['sample'] + frames * hop}

  def _note_kept(self, is_enough):
    """Leave drafts for some calls where too few are kept, then for more."""
    if is_enough:
      self._next_calls_in_step = _CALLS_IN_STEP
    else:
      self._calls_in_step = self._next_calls_in_step
      self._next_calls_in_step = min(
        2 * self._next_calls_in_step, _MOST_CALLS_IN_STEP
      )

  def _draw_drafted(self, condition_FLRG, uniform, state, bent_BT):
    """Draw with drafts; return how many samples a round had, on average."""
    (part, net), *_ = self._team(1)
    drafted = Drafted(
      net,
      self._drafts,
      *make_scratch(self._sizes, AHEAD * self._each, [part], 1),
      *make_scratch(self._sizes, self._each, [part], AHEAD),
    )
    arguments = condition_FLRG, uniform, state, bent_BT, self._cores(state)
    kept, had_cores = draw_drafted(drafted, self._choice, *arguments)
    self._note_cores(state, had_cores)
    return kept

  def _draw_in_step(self, condition_FLRG, uniform, state, bent_BT):
    team = self._team(self._members(self._cores(state)))
    flags = make_flags(len(team))
    rows = min(len(bent_BT), CLIPS) * self._each
    # All that may fail comes before they wait for one another.
    parts = [part for part, _ in team]
    works = make_scratch(self._sizes, rows, parts, ahead_of(rows))
    rings = [state['rings']] + [state['rings'].copy() for _ in team[1:]]

    def one_member(number):
      part, net = team[number]
      draw_clips(
        net,
        self._choice,
        works[number],
        condition_FLRG,
        uniform,
        rings[number],
        state['bent'],
        state['sample'],
        bent_BT,
        Member(number, flags, *(columns.start for columns in part)),
      )

    self._note_cores(state, all_at_once(one_member, len(team)))

  def _cores(self, state):
    """Return how many cores draw a call: one, if others were not there."""
    return 1 if self._calls_alone > 0 else state['cores']

  def _note_cores(self, state, had_cores):
    """Leave some calls to one core where others were not there."""
    if not had_cores:
      self._calls_alone = _CALLS_ALONE
    elif self._calls_alone > 0 and state['cores'] > 1:
      self._calls_alone -= 1

  def draw_uniform(self, keys_B, first_frame, num_frames):
    """Draw as `XlaEngine.draw_uniform` does: (F, S, B, 2)."""
    keys_B = jax.device_put(keys_B, self.device)
    return xla.draw_uniform(keys_B, first_frame, num_frames, self._hop)
