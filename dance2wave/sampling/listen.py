"""What the WaveNet is given of a dance, frame by frame."""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dance2wave.models.controls import encode_controls
from dance2wave.models.loudness import gain
from dance2wave.models.pose_transformer import (
  HEADS,
  LOUDNESS,
)

# Programs take up to so many pose frames in a call. How many is told when
# they run: another length would be another program, which may round
# differently, and a stream would not be what is drawn of the whole clip.
BLOCK_FRAMES = 50
MIN_CLIPS = 2
# Heads that say when something is to be heard.
RHYTHM = ('beat', 'onset')
_RHYTHM = np.array([HEADS.index(name) for name in RHYTHM])


def pad_to_block(array, axis, frames=BLOCK_FRAMES):
  """Lengthen an axis to `frames` with zeros; a full one is as it was."""
  missing = frames - array.shape[axis]
  if not missing:
    return array
  shape = *array.shape[:axis], missing, *array.shape[axis + 1 :]
  return np.concatenate([array, np.zeros(shape, array.dtype)], axis)


def in_company(array, axis):
  """Give a lone clip a silent companion along an axis of clips.

  The product of a matrix and one row is another program than that of several,
  and rounds differently: a clip would sound otherwise alone than in company.
  """
  return pad_to_block(array, axis, max(MIN_CLIPS, array.shape[axis]))


class Heard(NamedTuple):
  """What is heard of frames.

  Attributes:
    context_FBC: for the WaveNet.
    gain_FB: of levelled sound.
    rhythm_FBR: activations of `RHYTHM`.
    levels_FBK: of bands, to colour whitened sound; K is 0 where the model's is
      not.
    phase_FBD: cosine and sine of the phase of the beat.
  """

  context_FBC: np.ndarray
  gain_FB: np.ndarray
  rhythm_FBR: np.ndarray
  levels_FBK: np.ndarray
  phase_FBD: np.ndarray

  def map(self, call):
    """Return what `call` makes of each field."""
    return Heard(*map(call, self))


def concatenated(some):
  """Return what is `Heard` of all clips, numpy, given that of some and some."""
  return Heard(*(np.concatenate(fields, axis=1) for fields in zip(*some)))


def _start(graphdef, params, style_B, controls_BN):
  model = nnx.merge(graphdef, params)
  width = model.wave.context.kernel.shape[0]
  batch = len(controls_BN)
  held = Heard(
    jnp.zeros((batch, width)),
    jnp.zeros(batch),
    jnp.zeros((batch, len(RHYTHM))),
    jnp.zeros((batch, model.wave.num_bands * model.wave.is_whitened)),
    jnp.zeros((batch, 2)),
  )
  return {
    'style': style_B,
    'heard': model.start_listening(batch),
    'held': held,
    'controls': controls_BN,
  }


def _one_frame(model, style_strength, motion_BM, valid_B, state):
  """Take one frame; return what is held after it, and the state."""
  context, activations, phase, valid, heard = model.listen_on(
    motion_BM, valid_B, state['controls'], state['heard']
  )
  levels = model.wave.colours_on_style(
    context[:, None], state['style'], style_strength
  )[:, 0]
  rhythm = activations[..., _RHYTHM]
  gain_B = gain(activations[..., LOUDNESS])
  now = Heard(context, gain_B, rhythm, levels, phase)

  def hold(new, old):
    is_new = valid.reshape(-1, *(1,) * (new.ndim - 1))
    return jnp.where(is_new, new, old)

  held = Heard(*map(hold, now, state['held']))
  return state | {'heard': heard, 'held': held}


def _run(graphdef, style_strength, params, motion_FBM, valid_FB, count, state):
  model = nnx.merge(graphdef, params)

  def body(frame, carry):
    state, heard = carry
    state = _one_frame(
      model, style_strength, motion_FBM[frame], valid_FB[frame], state
    )
    heard = [x.at[frame].set(now) for x, now in zip(heard, state['held'])]
    return state, Heard(*heard)

  blank = state['held'].map(lambda x: jnp.zeros((BLOCK_FRAMES, *x.shape)))
  state, heard = jax.lax.fori_loop(0, count, body, (state, blank))
  return heard, state


class Listener:
  """Run the pose transformer as a stream; batched and resumable.

      motion   0  1  2  3  4  |  not valid
      heard             0  1  |  2  3  4  4  4      look_ahead = 3

  After a clip's last frame, what was heard of that is held.

  Args:
    graphdef: of a `Dance2Wave`.
    params: its parameters.
    style_strength: see `WaveNet.condition_on_style`.

  Attributes:
    look_ahead: frames by which what is heard comes later.
  """

  def __init__(self, graphdef, params, style_strength=1.0):
    self._params = params
    self.look_ahead = nnx.merge(graphdef, params).pose.look_ahead
    self._start = functools.partial(_start, graphdef, params)
    self._run = jax.jit(
      functools.partial(_run, graphdef, style_strength), donate_argnames='state'
    )

  def start(self, batch, style=-1, tempo_bpm=math.nan, energy_db=math.nan):
    """Return the state before the first frame of `batch` dances.

    Args:
      batch: B.
      style: index of the style wanted of all, or (B,) of each; -1 is none.
      tempo_bpm: wanted of all, or (B,) of each; NaN leaves it to the dance.
      energy_db: likewise; see `encode_controls`.
    """
    style, tempo, energy = (
      in_company(np.broadcast_to(np.asarray(x, dtype), (batch,)), 0)
      for x, dtype in ((style, 'i4'), (tempo_bpm, 'f4'), (energy_db, 'f4'))
    )
    return self._start(jnp.asarray(style), encode_controls(tempo, energy))

  def run(self, motion_FBM, valid_FB, state):
    """Take F frames; return what is heard, and the state to go on.

    Args:
      motion_FBM: motion features.
      valid_FB: False after a dance's end.
      state: from `start` or an earlier call; used up.

    Returns:
      `Heard` of the frames `look_ahead` ago, numpy, and the state.
    """
    parts, batch = [], motion_FBM.shape[1]
    motion_FBM, valid_FB = (in_company(x, 1) for x in (motion_FBM, valid_FB))
    for first in range(0, len(motion_FBM), BLOCK_FRAMES):
      motion = motion_FBM[first : first + BLOCK_FRAMES]
      valid = pad_to_block(valid_FB[first : first + BLOCK_FRAMES], 0)
      count = len(motion)
      heard, state = self._run(
        self._params, pad_to_block(motion, 0), valid, count, state
      )
      parts.append([np.asarray(x)[:count, :batch] for x in heard])
    return Heard(*map(np.concatenate, zip(*parts))), state
