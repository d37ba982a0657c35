"""What the heads and the WaveNet are asked for, in nats."""

import jax
import jax.numpy as jnp

from dance2wave.models.pose_transformer import HEADS, PHASE, activate_heads
from dance2wave.models.quantise import bend, mixture_log_prob, mu_law_encode

# Weights of what the heads are asked for; style and audio features only where
# the model describes them.
HEAD_WEIGHTS = {
  'beat': 1.0,
  'half_beat': 0.5,
  'onset': 0.5,
  'level': 0.5,
  'loudness': 20.0,  # it changes little, and slowly
  'phase': 2.0,
  'style': 0.1,
  'audio_features': 0.5,
  'timbre': 1.0,
}


def masked_mean(value, mask, whole=None):
  """Mean of value where mask is set; zero where it is set nowhere.

  Where value and mask are of a part of a batch, `whole` is the mask of all of
  it: the parts' results add up to the mean of the batch.
  """
  mask = mask.astype(jnp.float32)
  count = mask if whole is None else whole.astype(jnp.float32)
  return jnp.sum(value * mask) / jnp.maximum(jnp.sum(count), 1.0)


def binary_cross_entropy(logits, target):
  """Cross entropy of a Bernoulli with soft targets, less their entropy.

  It is zero at best, so that the figure says how far there is to go.
  """
  safe = jnp.clip(target, 1e-6, 1 - 1e-6)
  entropy = -(safe * jnp.log(safe) + (1 - safe) * jnp.log1p(-safe))
  return jax.nn.softplus(logits) - logits * target - entropy


def known(batch):
  """Return (B, F) bool: where the beats are known."""
  return batch['valid_BF'] & (batch['beat_phase_BF'] >= 0)


def heard(batch):
  """Return (B, F) bool: where there is sound."""
  return batch['valid_BF'] & batch['has_audio_B'][:, None]


def head_losses(heads_BFH, batch, whole=None):
  """Return a dict of scalar losses of the rhythm heads.

  Beats, half-beats and phase count where the clip's beats are known, onset,
  level and loudness where it has sound. The phase is asked for as a vector,
  whose length shrinks where the dance does not tell.

  Args:
    heads_BFH: logits of the heads.
    batch: of the same clips.
    whole: the batch that they are a part of; see `masked_mean`.
  """
  whole = batch if whole is None else whole
  heads = heads_BFH.astype(jnp.float32)
  losses = {}
  for index, name in enumerate(HEADS[:PHASE]):
    loss_BF = binary_cross_entropy(heads[..., index], batch[f'{name}_BF'])
    mask = known if name in ('beat', 'half_beat') else heard
    losses[name] = masked_mean(loss_BF, mask(batch), mask(whole))
  angle = 2 * jnp.pi * batch['beat_phase_BF']
  wanted = jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=-1)
  error = jnp.sum((activate_heads(heads)[..., PHASE:] - wanted) ** 2, axis=-1)
  losses['phase'] = masked_mean(error, known(batch), known(whole))
  return losses


def style_losses(logits_BS, label_BS, whole_BS):
  """Return cross entropy and accuracy of styles, where a clip has one.

  A clip with several labels is right with any of them. `whole_BS` are the
  labels of the batch that these clips are a part of; see `masked_mean`.
  """
  known_B, whole_B = (jnp.sum(x, axis=1) > 0 for x in (label_BS, whole_BS))
  share_BS = label_BS / jnp.maximum(jnp.sum(label_BS, 1, keepdims=True), 1.0)
  logits_BS = logits_BS.astype(jnp.float32)
  loss_B = -jnp.sum(share_BS * jax.nn.log_softmax(logits_BS), axis=1)
  best_B = jnp.argmax(logits_BS, axis=1)
  is_right_B = jnp.take_along_axis(label_BS, best_B[:, None], axis=1)[:, 0]
  return {
    'style': masked_mean(loss_B, known_B, whole_B),
    'style_accuracy': masked_mean(is_right_B, known_B, whole_B),
  }


def features_loss(features_BFA, batch, whole):
  """Return the mean squared error; 1 is what saying the mean would cost.

  `whole` is the batch that these clips are a part of; see `masked_mean`.
  """
  error_BF = jnp.mean(
    (features_BFA.astype(jnp.float32) - batch['features_BFA']) ** 2, -1
  )
  mask_BF, whole_BF = (
    part['valid_BF'] & part['has_features_B'][:, None]
    for part in (batch, whole)
  )
  return {'audio_features': masked_mean(error_BF, mask_BF, whole_BF)}


def timbre_loss(said_BFK, true_BFK, batch, whole):
  """Return the mean squared error of the levels of bands.

  `whole` is the batch that these clips are a part of; see `masked_mean`.
  """
  error_BF = jnp.mean((said_BFK.astype(jnp.float32) - true_BFK) ** 2, -1)
  return {'timbre': masked_mean(error_BF, heard(batch), heard(whole))}


def sum_head_losses(losses):
  """Return the weighted sum; figures that are no loss have no weight."""
  return sum(
    HEAD_WEIGHTS[name] * value
    for name, value in losses.items()
    if name in HEAD_WEIGHTS
  )


def wave_nll(
  outputs_BTO,
  audio_BT,
  mask_BT,
  whole_BT=None,
  *,
  levels,
  is_mixture,
  codes_BT=None,
):
  """Return the mean negative log likelihood, in nats per sample.

  Both outputs are over the same mu-law levels, so that they compare.
  `whole_BT` is the mask of the batch that these clips are a part of; see
  `masked_mean`. `codes_BT` are the samples' classes where they are known.
  """
  if is_mixture:
    log_prob = mixture_log_prob(outputs_BTO, bend(audio_BT, levels), levels)
    return masked_mean(-log_prob, mask_BT, whole_BT)
  logits = outputs_BTO.astype(jnp.float32)
  if codes_BT is None:
    codes_BT = mu_law_encode(audio_BT, levels)
  picked = jnp.take_along_axis(logits, codes_BT[..., None], axis=-1)[..., 0]
  nll = jax.nn.logsumexp(logits, axis=-1) - picked
  return masked_mean(nll, mask_BT, whole_BT)
