"""Losses that compare: which sound is this dance's, where does it turn."""

import jax
import jax.numpy as jnp

from dance2wave.models.layers import shift_frames
from dance2wave.models.parts import WHOLE
from dance2wave.models.timbre import band_levels
from dance2wave.options import Options
from dance2wave.training.losses import heard, masked_mean

# Sound of `Match`: the bands, and how far from a frame it is heard.
_NUM_BANDS, _REACH_S = 12, 0.2
# How much too early or late the wrong sound is: less than most beats, so that
# it is not the same again.
_SHIFTS_S = (0.08, 0.16, 0.24, 0.32, 0.4)
_TEMPERATURE = 0.1
_NEVER = -1e9


def match_sizes(options: Options) -> dict | None:
  """Return the sizes of `Match` where it is trained, else None."""
  if not options.train.infonce_weight:
    return None
  reach = round(_REACH_S * options.pose_rate_hz)
  return {'num_bands': _NUM_BANDS, 'reach': reach}


def infonce(options: Options, match, context_BFC, batch, part=WHOLE):
  """Return the cross entropy, in nats, of finding a frame's own sound.

      sound of the clip   . . . x . x . x . O . x . x . x . . .
      sound of others     . . . . . . . . . x . . . . . . . . .
      dance                                 ^

  For the code of the dance at each frame, the sound at that frame (O) is told
  from that of the same clip 0.08 to 0.4 s earlier and later and from that of
  the other clips of the batch (x). InfoNCE (van den Oord 2018, eq. 4) with
  the cosine of codes over a temperature of 0.1. The sound is asked for of the
  dance and not the other way round: a part of a batch has the dances of its
  own clips only.

  Args:
    options: of the run.
    match: a `Match`.
    context_BFC: of the pose transformer, of the clips of `part`.
    batch: of all clips; the parts' results add up to that of the batch.
    part: which clips.
  """
  bands_BFN = band_levels(
    batch['audio_BT'],
    hop=options.samples_per_frame,
    sample_rate_hz=options.sample_rate_hz,
    num_bands=_NUM_BANDS,
  )
  sound_NFK, heard_NF = match.codes_of_sound(bands_BFN), heard(batch)
  dance_BFK = match.codes_of_dance(context_BFC)
  own, own_known = _own(options, dance_BFK, *part.of((sound_NFK, heard_NF)))
  others, others_known = _others(dance_BFK, sound_NFK, heard_NF, part)
  cosines = jnp.concatenate([own, others], axis=-1)
  is_known = jnp.concatenate([own_known, others_known], axis=-1)
  logits = jnp.where(is_known, cosines / _TEMPERATURE, _NEVER)
  loss_BF = jax.nn.logsumexp(logits, axis=-1) - logits[..., 0]
  return masked_mean(loss_BF, part.of(heard_NF), heard_NF)


def _own(options, dance_BFK, sound_BFK, heard_BF):
  """Return cosines (B, F, S) to a clip's own sound, the true one first."""
  frames = [round(s * options.pose_rate_hz) for s in _SHIFTS_S]
  shifts = (0, *frames, *(-f for f in frames))
  sounds = [shift_frames(sound_BFK, shift) for shift in shifts]
  known = [shift_frames(heard_BF[..., None], shift) for shift in shifts]
  cosines = [jnp.sum(dance_BFK * sound, axis=-1) for sound in sounds]
  return jnp.stack(cosines, axis=-1), jnp.concatenate(known, axis=-1)


def _others(dance_BFK, sound_NFK, heard_NF, part):
  """Return cosines (B, F, N) to the sound of all clips of a batch.

  And which of them are there, that is of another clip and heard.
  """
  clips = jnp.arange(len(sound_NFK))
  is_other_BN = part.of(clips)[:, None] != clips[None]
  cosines = jnp.einsum('bfk,nfk->bfn', dance_BFK, sound_NFK)
  return cosines, is_other_BN[:, None] & heard_NF.T[None]


def contrast_losses(options: Options, model, context_BFC, batch, part=WHOLE):
  """Return a dict of those losses here that have a weight."""
  losses = {}
  if options.train.infonce_weight:
    losses['infonce'] = infonce(options, model.match, context_BFC, batch, part)
  return losses


def weigh_contrast(options: Options, losses):
  """Return the weighted sum of what `contrast_losses` has put into losses."""
  return sum(
    getattr(options.train, f'{name}_weight') * losses[name]
    for name in ('infonce',)
    if name in losses
  )
