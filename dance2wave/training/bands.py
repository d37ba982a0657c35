"""Levels of bands in training: of the sound, and as `Timbre` says them."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from dance2wave.datasets.targets import LOUDNESS_SPAN_S
from dance2wave.models.loudness import gain_of_samples
from dance2wave.models.parts import WHOLE
from dance2wave.models.timbre import band_levels, level_around
from dance2wave.training import sharding
from dance2wave.training.losses import heard, levels_loss


class Bands(NamedTuple):
  """Levels of bands, frame by frame.

  Attributes:
    told_BFK: to the WaveNet.
    colours_BFK: that whitened sound is to get.
  """

  told_BFK: jax.Array
  colours_BFK: jax.Array


def levelled(options, batch):
  """Return the sound (B, T) as loud at any time, or as it is."""
  audio_BT = batch['audio_BT']
  if not options.wave.is_levelled:
    return audio_BT
  closed = jnp.pad(batch['loudness_BF'], ((0, 0), (0, 1)), mode='edge')
  gain_BT = gain_of_samples(closed, options.samples_per_frame)
  return jnp.clip(audio_BT / gain_BT, -1.0, 1.0)


def said_bands(wave, context_BFC, label_BS):
  """Return what the WaveNet's `Timbre` says: `Bands`, and the trim."""
  said_BFK, trim_BF1 = wave.timbre.with_trim(context_BFC, label_BS)
  return Bands(said_BFK, said_BFK + trim_BF1), trim_BF1


def bands_and_losses(
  options, mesh, wave, context_BFC, label_BS, batch, part=WHOLE
):
  """Return the `Bands` that are said, the sound's (B, F, K), and losses.

  Context and label are of the clips of `part`, the batch is all of it.
  """
  true_levels = functools.partial(
    band_levels,
    hop=options.samples_per_frame,
    sample_rate_hz=options.sample_rate_hz,
    num_bands=options.wave.num_bands,
  )
  mine = part.of(batch)
  true_BFK = sharding.by_clips(true_levels, mesh)(levelled(options, mine))
  said, trim_BF1 = said_bands(wave, context_BFC, label_BS)
  losses = {'timbre': levels_loss(said.told_BFK, true_BFK, mine, batch)}
  if options.wave.is_whitened:
    missing_BF1 = _missing(options, said.told_BFK, true_BFK, mine)
    losses['trim'] = levels_loss(trim_BF1, missing_BF1, mine, batch)
  return said, true_BFK, losses


def _missing(options, said_BFK, true_BFK, batch):
  """Return (B, F, 1) by how much less loud, around a frame, the said ones are.

  Around is as far as loudness is measured: then levelled sound is level.
  """
  around = functools.partial(
    level_around,
    valid_BF=heard(batch),
    half_frames=round(0.5 * LOUDNESS_SPAN_S * options.pose_rate_hz),
    sample_rate_hz=options.sample_rate_hz,
  )
  said_BFK = jax.lax.stop_gradient(said_BFK).astype(jnp.float32)
  return (around(true_BFK) - around(said_BFK))[..., None]


def told_bands(options, key, said: Bands, true_BFK, part) -> Bands:
  """Return what the WaveNet is told: true levels of some clips, else said."""
  clips = (true_BFK.shape[0] * part.count,)
  is_true = jax.random.bernoulli(key, options.train.true_bands, clips)
  is_true = part.of(is_true)[:, None, None]
  # The likelihood of samples must not bend what the levels mean.
  said = jax.lax.stop_gradient(said)
  return Bands(*(jnp.where(is_true, true_BFK, levels) for levels in said))
