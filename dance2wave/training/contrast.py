"""Losses that compare: which sound is this dance's, where does it turn."""

import jax
import jax.numpy as jnp

from dance2wave.models.layers import shift_frames
from dance2wave.models.parts import WHOLE
from dance2wave.models.timbre import band_levels
from dance2wave.options import Options
from dance2wave.pose.skeleton import SKELETONS
from dance2wave.training.losses import heard, masked_mean

# Sound of `Match`: the bands, and how far from a frame it is heard.
_NUM_BANDS, _REACH_S = 12, 0.2
# How much too early or late the wrong sound is: less than most beats, so that
# it is not the same again.
_SHIFTS_S = (0.08, 0.16, 0.24, 0.32, 0.4)
_TEMPERATURE = 0.1
_NEVER = -1e9
_MARGIN = 3.0
# Where motion features hold the coordinates of all joints, and what they do.
_PLACES = 2 * len(SKELETONS['core14'])
_VELOCITIES = slice(_PLACES, 2 * _PLACES)


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


def motion_trend(motion_BFM):
  """Return (B, F) 1 where a pose spreads at each frame, -1 where it shrinks.

  The sign of the slope of the standard deviation over a pose's coordinates.
  Taken from the velocities and not from the difference of two poses, whose
  sign at 50 Hz is mostly that of the landmarks' noise.
  """
  place, velocity = motion_BFM[..., :_PLACES], motion_BFM[..., _VELOCITIES]
  centred = place - jnp.mean(place, axis=-1, keepdims=True)
  return jnp.sign(jnp.sum(centred * velocity, axis=-1))


def beat_contrast(context_BFC, trend_BF, valid_BF, whole_BF):
  """Return the contrastive beat loss of neighbouring frames.

  Frames whose motion keeps its trend are drawn together, and where it turns
  they are pushed apart up to a distance of 3 (Yalta 2019, the contrastive
  cost; there the codes are of the music).

  Args:
    context_BFC: of the pose transformer.
    trend_BF: from `motion_trend`.
    valid_BF: which frames there are.
    whole_BF: the same of the batch that these clips are a part of.
  """
  context = context_BFC.astype(jnp.float32)
  square_BF = jnp.sum(jnp.diff(context, axis=1) ** 2, axis=-1)
  distance_BF = jnp.sqrt(square_BF + 1e-6)
  turns_BF = trend_BF[:, 1:] * trend_BF[:, :-1] < 0
  short_BF = jnp.maximum(_MARGIN - distance_BF, 0.0)
  loss_BF = 0.5 * jnp.where(turns_BF, short_BF**2, square_BF)
  pairs_BF, whole_BF = (x[:, 1:] & x[:, :-1] for x in (valid_BF, whole_BF))
  return masked_mean(loss_BF, pairs_BF, whole_BF)


def contrast_losses(options: Options, model, context_BFC, batch, part=WHOLE):
  """Return a dict of those losses here that have a weight."""
  losses = {}
  if options.train.infonce_weight:
    losses['infonce'] = infonce(options, model.match, context_BFC, batch, part)
  if options.train.beat_contrast_weight:
    mine = part.of(batch)
    losses['beat_contrast'] = beat_contrast(
      context_BFC,
      motion_trend(mine['motion_BFM']),
      mine['valid_BF'],
      batch['valid_BF'],
    )
  return losses


def add_contrast(options: Options, total, losses):
  """Add to a total what `contrast_losses` has put into losses, weighted."""
  weighted = (
    getattr(options.train, f'{name}_weight') * losses[name]
    for name in ('infonce', 'beat_contrast')
    if name in losses
  )
  return sum(weighted, start=total)
