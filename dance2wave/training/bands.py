"""Levels of bands in training: of the sound, and as `Timbre` says them."""

import functools

import jax
import jax.numpy as jnp

from dance2wave.models.loudness import gain_of_samples
from dance2wave.models.parts import WHOLE
from dance2wave.models.timbre import band_levels
from dance2wave.training import sharding
from dance2wave.training.losses import timbre_loss


def levelled(options, mesh, batch):
  """Return the sound (B, T) as loud at any time, or as it is."""
  if not options.wave.is_levelled:
    return batch['audio_BT']

  def level(audio_BT, loudness_BF):
    closed = jnp.pad(loudness_BF, ((0, 0), (0, 1)), mode='edge')
    gain_BT = gain_of_samples(closed, options.samples_per_frame)
    return jnp.clip(audio_BT / gain_BT, -1.0, 1.0)

  # Else a sample might be of another class in another number of clips.
  return sharding.by_clips(level, mesh)(batch['audio_BT'], batch['loudness_BF'])


def bands_and_loss(
  options, mesh, wave, context_BFC, label_BS, batch, part=WHOLE
):
  """Return the levels that `Timbre` says, the sound's (B, F, K), and the loss.

  Context and label are of the clips of `part`, the batch is all of it.
  """
  true_levels = functools.partial(
    band_levels,
    hop=options.samples_per_frame,
    sample_rate_hz=options.sample_rate_hz,
    num_bands=options.wave.num_bands,
  )
  mine = part.of(batch)
  true_BFK = sharding.by_clips(true_levels, mesh)(levelled(options, mesh, mine))
  said_BFK = wave.timbre(context_BFC, label_BS)
  return said_BFK, true_BFK, timbre_loss(said_BFK, true_BFK, mine, batch)


def told_bands(options, key, said_BFK, true_BFK, part):
  """Return what the WaveNet is told: true levels of some clips, else said."""
  clips = (true_BFK.shape[0] * part.count,)
  is_true = jax.random.bernoulli(key, options.train.true_bands, clips)
  # The likelihood of samples must not bend what the levels mean.
  said_BFK = jax.lax.stop_gradient(said_BFK)
  return jnp.where(part.of(is_true)[:, None, None], true_BFK, said_BFK)
