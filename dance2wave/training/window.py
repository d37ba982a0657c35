"""The sound of a joint step: which part of a crop, and its likelihood."""

import functools

import jax
import jax.numpy as jnp

from dance2wave.models.loudness import gain_of_samples
from dance2wave.models.parts import WHOLE
from dance2wave.models.quantise import bend
from dance2wave.models.timbre import band_levels
from dance2wave.options import Options
from dance2wave.training import sharding
from dance2wave.training.losses import timbre_loss, wave_nll
from dance2wave.training.prompts import jitter_frames, take_frames
from dance2wave.training.self_fed import feed_itself


def cut_window(options: Options, context_BFC, batch, start_B):
  """Cut the same window of time from context and sound.

        context   f0 .. f0 + n      n + 1 frames, the last closes
        audio     f0 .. f0 + n      n x samples_per_frame samples
        past      the same, one sample earlier
        mask      the receptive field at the window's start is not scored,
                  except at the start of the crop, where nothing came before

  Returns a dict of context, audio, past and mask.
  """
  hop, frames = options.samples_per_frame, options.window_frames
  audio_BT = _to_be_drawn(options, batch)
  delayed = jnp.pad(audio_BT, ((0, 0), (1, 0)))[:, :-1]

  return {
    'context': _cut(context_BFC, start_B, frames + 1),
    'audio': _cut(audio_BT, start_B * hop, frames * hop),
    'past': _cut(delayed, start_B * hop, frames * hop),
    'mask': window_mask(options, batch, start_B),
  }


def window_mask(options: Options, batch, start_B):
  """Return (B, T) bool: which samples of the window of each clip count."""
  frames, lead = options.window_frames, options.receptive_frames
  valid = _cut(batch['valid_BF'], start_B, frames)
  scored = (jnp.arange(frames)[None] >= lead) | (start_B[:, None] == 0)
  mask = valid & scored & batch['has_audio_B'][:, None]
  return jnp.repeat(mask, options.samples_per_frame, axis=1)


def _cut(x, start_B, length):
  """Cut `length` of axis 1 from where each clip's window starts."""

  def cut(x, start):
    return jax.lax.dynamic_slice_in_dim(x, start, length)

  return jax.vmap(cut)(x, start_B)


def _to_be_drawn(options, batch):
  """Return the sound that the WaveNet is to draw, levelled or as it is."""
  audio_BT = batch['audio_BT']
  if not options.wave.is_levelled:
    return audio_BT
  closed = jnp.pad(batch['loudness_BF'], ((0, 0), (0, 1)), mode='edge')
  gain_BT = gain_of_samples(closed, options.samples_per_frame)
  return jnp.clip(audio_BT / gain_BT, -1.0, 1.0)


def last_start(options, batch):
  """Return the last window start (B,) that keeps within each clip."""
  valid = jnp.sum(batch['valid_BF'], axis=1)
  return jnp.maximum(valid - options.window_frames - 1, 0)


def draw_start(options, key, batch):
  """Draw window starts; the crop's own start as often as a lead of frames."""
  last = last_start(options, batch)
  start = jax.random.randint(
    key, last.shape, -options.receptive_frames, last + 1
  )
  return jnp.maximum(start, 0)


def _worn(options, key, past_BT, part=WHOLE):
  """Change the gain of every clip's past, put noise on it and drop samples.

  What the WaveNet cannot copy from its past, it must take from the context.
  Gains, levels of noise and shares of samples that are dropped, which are
  zero, are drawn for each clip, from nothing to the most that is asked for.
  """
  gain_key, level_key, noise_key = jax.random.split(key, 3)
  clips = past_BT.shape[0] * part.count
  gain_db = options.train.past_gain_db * jax.random.uniform(
    gain_key, (clips, 1), minval=-1.0
  )
  level = options.train.past_noise * jax.random.uniform(level_key, (clips, 1))
  noise = jax.random.normal(noise_key, (clips, past_BT.shape[1]))
  gain_db, level, noise = part.of((gain_db, level, noise))
  bent_BT = bend(past_BT * 10.0 ** (gain_db / 20.0), options.wave.levels)
  bent_BT = bent_BT + level * noise
  if options.train.past_dropout:
    drop_key = jax.random.fold_in(key, 1)
    bent_BT = bent_BT * _is_kept(options, drop_key, bent_BT.shape, part)
  return bent_BT


def _is_kept(options, key, shape, part):
  """Draw which samples (B, T) of the past are not dropped."""
  share_key, drop_key = jax.random.split(key)
  clips, samples = shape[0] * part.count, shape[1]
  most = options.train.past_dropout
  share = most * jax.random.uniform(share_key, (clips, 1))
  return part.of(jax.random.uniform(drop_key, (clips, samples)) >= share)


def window_nll(
  options,
  wave,
  context_BFC,
  label_BS,
  batch,
  start_B,
  wear_key=None,
  part=WHOLE,
  bands_BFK=None,
  self_fed=None,
):
  """Return nats per sample; the past is worn where a key for it is given.

  Context and label are of the clips of `part`, batch and start of all: the
  parts' results add up to that of the batch. `bands_BFK` are levels of bands
  to be told, where the WaveNet is told any, for its own. `self_fed` is the
  share of blocks of the past that the WaveNet draws itself, where any.
  """
  mine, start = part.of((batch, start_B))
  window = cut_window(options, context_BFC, mine, start)
  bands = bands_BFK
  if bands is not None:
    bands = _cut(bands, start, options.window_frames + 1)
  condition = wave.condition(window['context'], label_BS, bands)
  if self_fed is not None:
    fed_key = jax.random.fold_in(wear_key, 2)
    window['past'] = feed_itself(
      options, wave, window, condition, self_fed, fed_key, part
    )
  train = options.train
  is_worn = train.past_noise or train.past_gain_db or train.past_dropout
  if wear_key is not None and is_worn:
    past = _worn(options, wear_key, window['past'], part)
  else:
    past = bend(window['past'], options.wave.levels)
  past = past.astype(condition.dtype)
  return wave_nll(
    wave(past, condition),
    window['audio'],
    window['mask'],
    window_mask(options, batch, start_B),
    levels=options.wave.levels,
    is_mixture=options.wave.output == 'mixture',
  )


def said_and_true_bands(options, mesh, wave, context_BFC, label_BS, batch):
  """Return the levels (B, F, K) that `Timbre` says, and those of the sound."""
  true_levels = functools.partial(
    band_levels,
    hop=options.samples_per_frame,
    sample_rate_hz=options.sample_rate_hz,
    num_bands=options.wave.num_bands,
  )
  audio_BT = _to_be_drawn(options, batch)
  true_BFK = sharding.by_clips(true_levels, mesh)(audio_BT)
  return wave.timbre(context_BFC, label_BS), true_BFK


def _told_bands(options, key, said_BFK, true_BFK, part):
  """Return what the WaveNet is told: true levels of some clips, else said."""
  clips = (true_BFK.shape[0] * part.count,)
  is_true = jax.random.bernoulli(key, options.train.true_bands, clips)
  # The likelihood of samples must not bend what the levels mean.
  said_BFK = jax.lax.stop_gradient(said_BFK)
  return jnp.where(part.of(is_true)[:, None, None], true_BFK, said_BFK)


def sound_losses(
  options,
  mesh,
  wave,
  context_BFC,
  label_BS,
  batch,
  start_B,
  key,
  part=WHOLE,
  self_fed=None,
):
  """Return `nll` of a window in training, and `timbre` where there is one.

  Arguments are those of `window_nll`, whose past is worn, and the mesh that the
  batch is split over.
  """
  wear_key, bands_key = jax.random.split(key)
  losses, bands = {}, None
  if options.wave.num_bands:
    mine = part.of(batch)
    said, true = said_and_true_bands(
      options, mesh, wave, context_BFC, label_BS, mine
    )
    losses = timbre_loss(said, true, mine, batch)
    bands = _told_bands(options, bands_key, said, true, part)
  if options.train.time_jitter:
    jitter_key = jax.random.fold_in(key, 2)
    told = jitter_frames(options, jitter_key, batch['valid_BF'], part)
    context_BFC, bands = take_frames((context_BFC, bands), told)
  losses['nll'] = window_nll(
    options,
    wave,
    context_BFC,
    label_BS,
    batch,
    start_B,
    wear_key,
    part,
    bands,
    self_fed,
  )
  return losses
