"""What a model in training is told of its clips, and not always."""

import jax
import jax.numpy as jnp

from dance2wave.models.controls import (
  MAX_TEMPO_BPM,
  MIN_TEMPO_BPM,
  encode_controls,
)
from dance2wave.models.loudness import level_db
from dance2wave.models.parts import WHOLE
from dance2wave.options import Options

# Who asks for a tempo or an energy is seldom exactly right.
_TEMPO_ERROR, _ENERGY_ERROR_DB = 0.03, 1.0


def drop_label(options: Options, key, label_BS):
  """Return the labels (B, S), those of some clips set to zero."""
  said_B = jax.random.uniform(key, label_BS.shape[:1])
  return label_BS * (said_B >= options.train.style_dropout)[:, None]


def jitter_frames(options: Options, key, valid_BF, part=WHOLE):
  """Return of which frame (B, F) the WaveNet is told at each frame.

  That is the frame before or after it for a share `train.time_jitter` of
  frames, each with half the probability, and else the frame itself
  (Chorowski 2019, the jitter of latents, where the share is 0.12). A clip's
  ends are not left.
  """
  drawn = jax.random.uniform(key, valid_BF.shape)
  half, frames = 0.5 * options.train.time_jitter, valid_BF.shape[1]
  step = jnp.int32(drawn > 1.0 - half) - jnp.int32(drawn < half)
  own = jnp.arange(frames)[None]
  told = own + step
  last = jnp.sum(valid_BF, axis=1, keepdims=True) - 1
  is_there = (own <= last) & (told >= 0) & (told <= last)
  return part.of(jnp.where(is_there, told, own))


def take_frames(tree, frames_BF):
  """Return arrays (B, F, C) of a tree at other frames."""
  return jax.tree.map(
    lambda x: jnp.take_along_axis(x, frames_BF[..., None], axis=1), tree
  )


def true_tempo_bpm(options: Options, batch):
  """Return the tempo (B,) of each clip, NaN where its beats are not known."""
  phase_BF = batch['beat_phase_BF']
  known_BF = batch['valid_BF'] & (phase_BF >= 0)
  pair_BF = known_BF[:, 1:] & known_BF[:, :-1]
  step_BF = jnp.mod(jnp.diff(phase_BF, axis=1), 1.0)
  pairs = jnp.sum(pair_BF, axis=1)
  beats = jnp.sum(step_BF * pair_BF, axis=1)
  tempo = 60.0 * options.pose_rate_hz * beats / jnp.maximum(pairs, 1)
  is_tempo = (tempo >= MIN_TEMPO_BPM) & (tempo <= MAX_TEMPO_BPM)
  return jnp.where((pairs > 0) & is_tempo, tempo, jnp.nan)


def true_energy_db(batch):
  """Return the mean level (B,) in dB, NaN of clips without sound."""
  heard_BF = batch['valid_BF'] & batch['has_audio_B'][:, None]
  frames = jnp.sum(heard_BF, axis=1)
  total = jnp.sum(level_db(batch['loudness_BF']) * heard_BF, axis=1)
  return jnp.where(frames > 0, total / jnp.maximum(frames, 1), jnp.nan)


def draw_controls(options: Options, key, batch):
  """Return controls (B, N): tempo and energy, each told of some clips only.

  What is told is a little wrong, so that the dance has the last word.
  """
  said_key, tempo_key, energy_key = jax.random.split(key, 3)
  clips = batch['valid_BF'].shape[:1]
  is_said = jax.random.bernoulli(
    said_key, 1.0 - options.train.control_dropout, (2, *clips)
  )
  wrong = jax.random.uniform(tempo_key, clips, minval=-1.0)
  tempo = true_tempo_bpm(options, batch) * (1 + _TEMPO_ERROR * wrong)
  wrong_db = _ENERGY_ERROR_DB * jax.random.normal(energy_key, clips)
  energy = true_energy_db(batch) + wrong_db
  return encode_controls(
    jnp.where(is_said[0], tempo, jnp.nan),
    jnp.where(is_said[1], energy, jnp.nan),
  )
