"""The sound of a joint step: which part of a crop, and its likelihood."""

import functools

import jax
import jax.numpy as jnp

from dance2wave.models.envelope import ORDER, whiten
from dance2wave.models.parts import WHOLE
from dance2wave.models.quantise import bend, log_step, mu_law_encode
from dance2wave.options import Options
from dance2wave.training import sharding
from dance2wave.training.bands import bands_and_loss, levelled, told_bands
from dance2wave.training.losses import masked_mean, wave_nll
from dance2wave.training.prompts import jitter_frames, take_frames
from dance2wave.training.self_fed import feed_itself


def cut_window(options: Options, mesh, context_BFC, bands_BFK, batch, start_B):
  """Cut the same window of time from context, levels of bands and sound.

        context   f0 .. f0 + n      n + 1 frames, the last closes
        bands     the same, or None
        audio     f0 .. f0 + n      n x samples_per_frame samples
        past      the same, one sample earlier
        mask      the receptive field at the window's start is not scored,
                  except at the start of the crop, where nothing came before
        finer     nats by which a level of the mu-law scale is finer in the
                  levelled sound than in what is drawn

  Returns a dict of context, bands, audio, past, mask and finer. Audio is what
  the WaveNet is to draw: sound, or the excitation that the bands colour.
  """
  hop, frames = options.samples_per_frame, options.window_frames
  reach = ORDER * options.wave.is_whitened
  sound_BT = jnp.pad(levelled(options, mesh, batch), ((0, 0), (reach, 0)))
  sound_BT = _cut(sound_BT, start_B * hop, reach + frames * hop)
  context_BFC, bands_BFK = jax.tree.map(
    lambda x: _cut(x, start_B, frames + 1), (context_BFC, bands_BFK)
  )
  drawn_BT, finer_BT = sound_BT, jnp.zeros(())
  if options.wave.is_whitened:
    drawn_BT, finer_BT = _excitation(options, mesh, sound_BT, bands_BFK)
  return {
    'context': context_BFC,
    'bands': bands_BFK,
    'audio': drawn_BT,
    'past': jnp.pad(drawn_BT, ((0, 0), (1, 0)))[:, :-1],
    'mask': window_mask(options, batch, start_B),
    'finer': finer_BT,
  }


def _excitation(options, mesh, sound_BT, bands_BFK):
  """Return what is drawn (B, T) for a sound (B, ORDER + T), and `finer`."""
  whiten_clips = functools.partial(
    whiten,
    hop=options.samples_per_frame,
    sample_rate_hz=options.sample_rate_hz,
  )
  drawn_BT, gain_BT = sharding.by_clips(whiten_clips, mesh)(sound_BT, bands_BFK)
  drawn_BT = jnp.clip(drawn_BT, -1.0, 1.0)
  levels = options.wave.levels
  finer_BT = jnp.log(gain_BT) + log_step(drawn_BT, levels)
  return drawn_BT, finer_BT - log_step(sound_BT[:, ORDER:], levels)


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


def _codes(options, mesh, audio_BT):
  """Return the classes of samples, whatever the number of clips."""
  encode = functools.partial(mu_law_encode, levels=options.wave.levels)
  return sharding.by_clips(encode, mesh)(audio_BT)


def window_nll(
  options,
  mesh,
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

  The batch is split over the mesh. Context and label are of the clips of
  `part`, batch and start of all: the parts' results add up to that of the
  batch. `bands_BFK` are levels of bands to be told, where the WaveNet is told
  any, for its own. `self_fed` is the share of blocks of the past that the
  WaveNet draws itself, where any.
  """
  mine, start = part.of((batch, start_B))
  if options.wave.num_bands and bands_BFK is None:
    bands_BFK = wave.timbre(context_BFC, label_BS)
  window = cut_window(options, mesh, context_BFC, bands_BFK, mine, start)
  condition = wave.condition(window['context'], label_BS, window['bands'])
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
  whole = window_mask(options, batch, start_B)
  nll = wave_nll(
    wave(past, condition),
    window['audio'],
    window['mask'],
    whole,
    levels=options.wave.levels,
    is_mixture=options.wave.output == 'mixture',
    codes_BT=_codes(options, mesh, window['audio']),
  )
  return nll + masked_mean(window['finer'], window['mask'], whole)


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

  Arguments are those of `window_nll`, whose past is worn.
  """
  wear_key, bands_key = jax.random.split(key)
  losses, bands = {}, None
  if options.wave.num_bands:
    said, true, losses = bands_and_loss(
      options, mesh, wave, context_BFC, label_BS, batch, part
    )
    bands = told_bands(options, bands_key, said, true, part)
  if options.train.time_jitter:
    jitter_key = jax.random.fold_in(key, 2)
    told = jitter_frames(options, jitter_key, batch['valid_BF'], part)
    context_BFC, bands = take_frames((context_BFC, bands), told)
  losses['nll'] = window_nll(
    options,
    mesh,
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
