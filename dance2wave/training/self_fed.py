"""A past that the model has drawn itself, block by block and in parallel.

    true past    0 0 0 0 | 1 1 1 1 | 2 2 2 2 | 3 3 3 3
    drawn        0'0'0'0'| 1'1'1'1'| 2'2'2'2'| 3'3'3'3'   each after the truth
    given        0 0 0 0 | 1'1'1'1'| 2 2 2 2 | 3'3'3'3'

A model that only ever heard true sound has not learned what to do after a
slip of its own. Dance Revolution (Huang 2021, section 3.3) feeds it with more
and more of what it has drawn; there frame after frame, which for samples would
take as long as drawing the sound. Here a first pass after the true past draws
all samples at once.
"""

import jax
import jax.numpy as jnp

from dance2wave.models.parts import WHOLE
from dance2wave.models.quantise import bend, mu_law_decode, unbend
from dance2wave.options import Options
from dance2wave.sampling.draw import draw_class, draw_mixture


def self_fed_share(options: Options, step):
  """Return () the share of self-fed blocks at a step, None where none are.

  It grows from 0 at the first joint step by as much with each.
  """
  train = options.train
  if not train.self_fed:
    return None
  done = (step - train.pose_steps) / max(train.joint_steps, 1)
  return train.self_fed * jnp.clip(done, 0.0, 1.0)


def draw_after(options: Options, wave, past_BT, condition_BFLG, uniform_BTN):
  """Draw each sample (B, T) after a true past, in [-1, 1], without gradient.

  Args:
    options: of the run.
    wave: a `WaveNet`.
    past_BT: the sound, one sample earlier.
    condition_BFLG: from `wave.condition`.
    uniform_BTN: two draws from 0 to 1 for each sample.
  """
  levels = options.wave.levels
  condition = jax.lax.stop_gradient(condition_BFLG)
  bent = bend(past_BT, levels).astype(condition.dtype)
  outputs = jax.lax.stop_gradient(wave(bent, condition))
  flat = outputs.reshape(-1, outputs.shape[-1])
  uniform = uniform_BTN.reshape(-1, 2)
  if options.wave.output == 'mixture':
    bent = draw_mixture(flat, uniform, temperature=1.0, top_p=1.0)
    drawn = unbend(bent, levels)
  else:
    codes = draw_class(flat, uniform, temperature=1.0, top_p=1.0)
    drawn = mu_law_decode(codes, levels)
  return drawn.reshape(past_BT.shape)


def feed_itself(
  options: Options, wave, window, condition_BFLG, share, key, part=WHOLE
):
  """Return the past (B, T) with a share of blocks as the model draws them.

  A block is a pose frame. Frames that are not scored keep the true past,
  because their draws would know too little of what came before.

  Args:
    options: of the run.
    wave: a `WaveNet`.
    window: from `cut_window`, of the clips of `part`.
    condition_BFLG: from `wave.condition`.
    share: () of the blocks that are scored.
    key: of the draws.
    part: which clips.
  """
  uniform_key, block_key = jax.random.split(key)
  past_BT = window['past']
  clips, samples = past_BT.shape[0] * part.count, past_BT.shape[1]
  frames = samples // options.samples_per_frame
  uniform = jax.random.uniform(uniform_key, (clips, samples, 2))
  is_fed = jax.random.uniform(block_key, (clips, frames)) < share
  uniform, is_fed = part.of((uniform, is_fed))
  drawn_BT = draw_after(options, wave, past_BT, condition_BFLG, uniform)
  earlier_BT = jnp.concatenate([past_BT[:, :1], drawn_BT[:, :-1]], axis=1)
  is_fed_BT = jnp.repeat(is_fed, options.samples_per_frame, axis=1)
  return jnp.where(is_fed_BT & window['mask'], earlier_BT, past_BT)
