"""The pulse of a dance: a tempo and a phase that all of it agrees on.

The rhythm heads hear seconds and say what they see now; a dance keeps its tempo
for minutes, through steps off the beat and none at all. A Bayesian filter over
tempo and phase (the bar pointer of Whiteley, Cemgil and Godsill 2006, with the
length of a beat for a bar) weighs what the heads have said so far:

    belief ── each tempo goes on by its turn, and drifts a little
       │                    x
       │      what the phase heads say of this frame
       └─> belief ──> beat, half-beat, phase

It has no parameters, and its state is as large after an hour as after a frame.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dance2wave.models import pose_transformer
from dance2wave.models.pose_transformer import HEADS

# What the pulse tells, of a frame: as the heads of these names, activated.
PULSE = ('beat', 'half_beat', 'phase_cos', 'phase_sin')
NUM_PULSE = len(PULSE)
PHASE = PULSE.index('phase_cos')
_MIN_BPM, _MAX_BPM = 55.0, 215.0
# Tempi are 2.2 % apart, phases a fifth of a radian.
NUM_TEMPI, NUM_PHASES = 64, 32
# A tempo's way up or down the table, a second; about 1.5 %, root mean square.
_DRIFT_PER_S = 0.25
# How often a dance begins anew, a second.
_ANEW_PER_S = 0.005
# Neighbouring frames say the same: a second of them counts once.
_EVIDENCE_PER_S = 1.0
_SUREST = 0.98  # length of a phase vector
_NODES = 6  # of the polynomial between phases


class _Tables(NamedTuple):
  """What a pose rate makes of the constants.

  Attributes:
    taps_J1N1: of the phases before, around and after a state, what goes there.
    before: phases before it.
    after: phases after it.
    told_K1NP: beat and half-beat, where a state is right.
  """

  taps_J1N1: np.ndarray
  before: int
  after: int
  told_K1NP: np.ndarray


@functools.lru_cache
def _tables(pose_rate_hz: float) -> _Tables:
  """Return the tables of a pose rate in Hz."""
  tempo_N = np.geomspace(_MIN_BPM, _MAX_BPM, NUM_TEMPI)
  turn_N = tempo_N / 60 / pose_rate_hz  # of a beat, a frame
  before = int(np.ceil(turn_N.max() * NUM_PHASES)) + _NODES // 2 - 1
  after = _NODES // 2
  taps_NJ = np.zeros((NUM_TEMPI, before + after + 1), np.float32)
  for taps_J, turn in zip(taps_NJ, turn_N):
    # The Lagrange polynomial through the phases around where it came from.
    source = -turn * NUM_PHASES
    nodes = int(np.floor(source)) - _NODES // 2 + 1 + np.arange(_NODES)
    for node in nodes:
      others = nodes[nodes != node]
      share = np.prod((source - others) / (node - others))
      taps_J[node + before] = share
  phase_P = np.arange(NUM_PHASES) / NUM_PHASES
  told = []
  for place in (0.0, 0.5):
    away_P = np.abs((phase_P - place + 0.5) % 1 - 0.5)
    frames_NP = away_P / turn_N[:, None]
    told.append(np.where(frames_NP < 0.5, 1.0, 0.5 * (frames_NP < 1.5)))
  taps_J1N1 = taps_NJ.T[:, None, :, None]
  told_K1NP = np.stack(told)[:, None].astype(np.float32)
  return _Tables(taps_J1N1, before, after, told_K1NP)


_ANGLE_P = 2 * np.pi * np.arange(NUM_PHASES) / NUM_PHASES
_CIRCLE_D1P = np.stack([np.cos(_ANGLE_P), np.sin(_ANGLE_P)])[:, None]
_CIRCLE_D1P = _CIRCLE_D1P.astype(np.float32)


def start(batch: int) -> jax.Array:
  """Return the belief (B, N, P) in tempi and phases before the first frame."""
  shape = batch, NUM_TEMPI, NUM_PHASES
  return jnp.full(shape, 1 / (NUM_TEMPI * NUM_PHASES), jnp.float32)


def _go_on(belief_BNP, pose_rate_hz):
  """Return the belief a frame later, of which nothing is known yet."""
  tables = _tables(pose_rate_hz)
  round_ = jnp.concatenate(
    [
      belief_BNP[..., NUM_PHASES - tables.before :],
      belief_BNP,
      belief_BNP[..., : tables.after],
    ],
    axis=-1,
  )
  moved = sum(
    taps_1N1 * round_[..., j : j + NUM_PHASES]
    for j, taps_1N1 in enumerate(tables.taps_J1N1)
  )
  moved = jnp.maximum(moved, 0.0)
  beside = jnp.concatenate([moved[:, :1], moved, moved[:, -1:]], axis=1)
  drift, anew = _DRIFT_PER_S / pose_rate_hz, _ANEW_PER_S / pose_rate_hz
  moved += drift * (beside[:, :-2] - 2 * moved + beside[:, 2:])
  return (1 - anew) * moved + anew / (NUM_TEMPI * NUM_PHASES)


def _evidence(phase_BD, pose_rate_hz):
  """Return log likelihoods (B, P): von Mises about the phase that is said.

  How long the vector is says how concentrated (Banerjee et al. 2005, eq. 4.4).
  """
  square_B1 = jnp.sum(phase_BD * phase_BD, axis=-1, keepdims=True)
  square_B1 = jnp.minimum(square_B1, _SUREST**2)
  concentration_B1 = (2 - square_B1) / (1 - square_B1)
  said_BP = sum(phase_BD[:, d, None] * _CIRCLE_D1P[d] for d in range(2))
  return _EVIDENCE_PER_S / pose_rate_hz * concentration_B1 * said_BP


def step(activations_BH, valid_B, belief_BNP, pose_rate_hz):
  """Take one frame of heads; return the pulse (B, K) there, and the belief.

  Args:
    activations_BH: of all `HEADS`, from `activate_heads`.
    valid_B: whether there is such a frame; the belief stays where not.
    belief_BNP: from `start` or the frame before.
    pose_rate_hz: frames a second.
  """
  phase = slice(pose_transformer.PHASE, len(HEADS))
  phase_BD = activations_BH[:, phase].astype(jnp.float32)
  said_BP = _evidence(phase_BD, pose_rate_hz)
  likely_BP = jnp.exp(said_BP - jnp.max(said_BP, axis=-1, keepdims=True))
  new_BNP = _go_on(belief_BNP, pose_rate_hz) * likely_BP[:, None]
  new_BNP /= jnp.sum(new_BNP, axis=(1, 2), keepdims=True)
  beats_BK = [
    jnp.sum(new_BNP * told_1NP, axis=(1, 2))
    for told_1NP in _tables(pose_rate_hz).told_K1NP
  ]
  phases_BP = jnp.sum(new_BNP, axis=1)
  circle_BD = [jnp.sum(phases_BP * x_1P, axis=-1) for x_1P in _CIRCLE_D1P]
  belief_BNP = jnp.where(valid_B[:, None, None], new_BNP, belief_BNP)
  return jnp.stack([*beats_BK, *circle_BD], axis=-1), belief_BNP


def follow(activations_BFH, valid_BF, pose_rate_hz):
  """Return the pulse (B, F, K) of dances from their start; see `step`.

  No gradient flows through it: the heads are asked for what they see.
  """

  def body(belief_BNP, frame):
    pulse_BK, belief_BNP = step(*frame, belief_BNP, pose_rate_hz)
    return belief_BNP, pulse_BK

  frames = jnp.moveaxis(jax.lax.stop_gradient(activations_BFH), 1, 0)
  begin = start(len(activations_BFH))
  _, pulse_FBK = jax.lax.scan(body, begin, (frames, valid_BF.T))
  return jnp.moveaxis(pulse_FBK, 0, 1)
