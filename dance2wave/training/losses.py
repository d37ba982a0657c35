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
  'loudness': 10.0,  # it changes little, and slowly
  'phase': 2.0,
  'style': 0.1,
  'audio_features': 0.5,
}


def masked_mean(value, mask):
  """Mean of value where mask is set; zero where it is set nowhere."""
  mask = mask.astype(jnp.float32)
  return jnp.sum(value * mask) / jnp.maximum(jnp.sum(mask), 1.0)


def binary_cross_entropy(logits, target):
  """Cross entropy of a Bernoulli with soft targets, less their entropy.

  It is zero at best, so that the figure says how far there is to go.
  """
  safe = jnp.clip(target, 1e-6, 1 - 1e-6)
  entropy = -(safe * jnp.log(safe) + (1 - safe) * jnp.log1p(-safe))
  return jax.nn.softplus(logits) - logits * target - entropy


def head_losses(heads_BFH, batch):
  """Return a dict of scalar losses of the rhythm heads.

  Beats, half-beats and phase count where the clip's beats are known, onset,
  level and loudness where it has sound. The phase is asked for as a vector,
  whose length shrinks where the dance does not tell.
  """
  heads = heads_BFH.astype(jnp.float32)
  valid = batch['valid_BF']
  known = valid & (batch['beat_phase_BF'] >= 0)
  heard = valid & batch['has_audio_B'][:, None]
  losses = {}
  for index, name in enumerate(HEADS[:PHASE]):
    loss_BF = binary_cross_entropy(heads[..., index], batch[f'{name}_BF'])
    mask_BF = known if name in ('beat', 'half_beat') else heard
    losses[name] = masked_mean(loss_BF, mask_BF)
  angle = 2 * jnp.pi * batch['beat_phase_BF']
  wanted = jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=-1)
  error = jnp.sum((activate_heads(heads)[..., PHASE:] - wanted) ** 2, axis=-1)
  losses['phase'] = masked_mean(error, known)
  return losses


def style_losses(logits_BS, label_BS):
  """Return cross entropy and accuracy of styles, where a clip has one.

  A clip with several labels is right with any of them.
  """
  known_B = jnp.sum(label_BS, axis=1) > 0
  share_BS = label_BS / jnp.maximum(jnp.sum(label_BS, 1, keepdims=True), 1.0)
  logits_BS = logits_BS.astype(jnp.float32)
  loss_B = -jnp.sum(share_BS * jax.nn.log_softmax(logits_BS), axis=1)
  best_B = jnp.argmax(logits_BS, axis=1)
  is_right_B = jnp.take_along_axis(label_BS, best_B[:, None], axis=1)[:, 0]
  return {
    'style': masked_mean(loss_B, known_B),
    'style_accuracy': masked_mean(is_right_B, known_B),
  }


def features_loss(features_BFA, batch):
  """Return the mean squared error; 1 is what saying the mean would cost."""
  error_BFA = (features_BFA.astype(jnp.float32) - batch['features_BFA']) ** 2
  mask_BF = batch['valid_BF'] & batch['has_features_B'][:, None]
  return {'audio_features': masked_mean(jnp.mean(error_BFA, -1), mask_BF)}


def sum_head_losses(losses):
  """Return the weighted sum; figures that are no loss have no weight."""
  return sum(
    HEAD_WEIGHTS[name] * value
    for name, value in losses.items()
    if name in HEAD_WEIGHTS
  )


def wave_nll(outputs_BTO, audio_BT, mask_BT, *, levels, is_mixture):
  """Return the mean negative log likelihood, in nats per sample.

  Both outputs are over the same mu-law levels, so that they compare.
  """
  if is_mixture:
    log_prob = mixture_log_prob(outputs_BTO, bend(audio_BT, levels), levels)
    return masked_mean(-log_prob, mask_BT)
  logits = outputs_BTO.astype(jnp.float32)
  codes = mu_law_encode(audio_BT, levels)
  picked = jnp.take_along_axis(logits, codes[..., None], axis=-1)[..., 0]
  nll = jax.nn.logsumexp(logits, axis=-1) - picked
  return masked_mean(nll, mask_BT)
