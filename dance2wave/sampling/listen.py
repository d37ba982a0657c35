"""What the WaveNet is given of a dance, frame by frame."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dance2wave.models.controls import encode_controls
from dance2wave.models.loudness import gain
from dance2wave.models.pose_transformer import (
  HEADS,
  LOUDNESS,
  activate_heads,
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
  widths = [(0, 0)] * array.ndim
  widths[axis] = (0, missing)
  return np.pad(np.asarray(array), widths)


def in_company(array, axis):
  """Give a lone clip a silent companion along an axis of clips.

  The product of a matrix and one row is another program than that of several,
  and rounds differently: a clip would sound otherwise alone than in company.
  """
  return pad_to_block(array, axis, max(MIN_CLIPS, array.shape[axis]))


def _start(graphdef, params, controls_BN):
  model = nnx.merge(graphdef, params)
  width = model.wave.context.kernel.shape[0]
  batch = len(controls_BN)
  held = (
    jnp.zeros((batch, width)),
    jnp.zeros(batch),
    jnp.zeros((batch, len(RHYTHM))),
  )
  return {
    'pose': model.pose.start(batch),
    'stack': model.context_stack.start(batch),
    'held': held,
    'controls': controls_BN,
  }


def _one_frame(model, motion_BM, valid_B, state):
  """Take one frame; return what is held after it, and the state."""
  context, heads, valid, pose = model.pose.step(
    motion_BM, valid_B, state['pose'], state['controls']
  )
  activations = activate_heads(heads)
  context = model.join(context, heads, valid)
  context, stack = model.context_stack.step(context, valid, state['stack'])
  old_context, old_gain, old_rhythm = state['held']
  held = (
    jnp.where(valid[:, None], context, old_context),
    jnp.where(valid, gain(activations[..., LOUDNESS]), old_gain),
    jnp.where(valid[:, None], activations[..., _RHYTHM], old_rhythm),
  )
  return state | {'pose': pose, 'stack': stack, 'held': held}


def _run(graphdef, params, motion_FBM, valid_FB, count, state):
  model = nnx.merge(graphdef, params)

  def body(frame, carry):
    state, heard = carry
    state = _one_frame(model, motion_FBM[frame], valid_FB[frame], state)
    heard = [x.at[frame].set(now) for x, now in zip(heard, state['held'])]
    return state, heard

  blank = [jnp.zeros((BLOCK_FRAMES, *x.shape)) for x in state['held']]
  state, heard = jax.lax.fori_loop(0, count, body, (state, blank))
  return *heard, state


class Listener:
  """Run the pose transformer as a stream; batched and resumable.

      motion   0  1  2  3  4  |  not valid
      heard             0  1  |  2  3  4  4  4      look_ahead = 3

  After a clip's last frame, what was heard of that is held.

  Args:
    graphdef: of a `Dance2Wave`.
    params: its parameters.

  Attributes:
    look_ahead: frames by which what is heard comes later.
  """

  def __init__(self, graphdef, params):
    self._params = params
    self.look_ahead = nnx.merge(graphdef, params).pose.look_ahead
    self._start = functools.partial(_start, graphdef, params)
    self._run = jax.jit(
      functools.partial(_run, graphdef), donate_argnames='state'
    )

  def start(self, batch, tempo_bpm=math.nan, energy_db=math.nan):
    """Return the state before the first frame of `batch` dances.

    Args:
      batch: B.
      tempo_bpm: wanted of all, or (B,) of each; NaN leaves it to the dance.
      energy_db: likewise; see `encode_controls`.
    """
    wanted = (jnp.asarray(x, jnp.float32) for x in (tempo_bpm, energy_db))
    wanted = (in_company(jnp.broadcast_to(x, (batch,)), 0) for x in wanted)
    return self._start(encode_controls(*wanted))

  def run(self, motion_FBM, valid_FB, state):
    """Take F frames; return what is heard, and the state to go on.

    Args:
      motion_FBM: motion features.
      valid_FB: False after a dance's end.
      state: from `start` or an earlier call; used up.

    Returns:
      context (F, B, C), gain of levelled sound (F, B), activations of `RHYTHM`
      (F, B, R), all numpy and of the frames `look_ahead` ago, and the state.
    """
    parts, batch = [], motion_FBM.shape[1]
    motion_FBM, valid_FB = (in_company(x, 1) for x in (motion_FBM, valid_FB))
    for first in range(0, len(motion_FBM), BLOCK_FRAMES):
      motion = motion_FBM[first : first + BLOCK_FRAMES]
      valid = pad_to_block(valid_FB[first : first + BLOCK_FRAMES], 0)
      count = len(motion)
      *heard, state = self._run(
        self._params, pad_to_block(motion, 0), valid, count, state
      )
      parts.append([np.asarray(x)[:count, :batch] for x in heard])
    context, gains, rhythm = (np.concatenate(x) for x in zip(*parts))
    return context, gains, rhythm, state


def gain_of_samples(gain_FB, samples_per_frame):
  """Interpolate the gain linearly: (F + 1, B) to (B, F x samples_per_frame).

  The arithmetic is numpy's, whose bits do not depend on the length.
  """
  weight = np.arange(samples_per_frame, dtype=np.float32) / np.float32(
    samples_per_frame
  )
  now, then = gain_FB[:-1].T[..., None], gain_FB[1:].T[..., None]
  return (now + (then - now) * weight).reshape(gain_FB.shape[1], -1)
