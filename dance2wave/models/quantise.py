"""Signals as classes and as mixtures: what a WaveNet puts out."""

import jax
import jax.numpy as jnp

MIXTURE_MIN_LOG_SCALE = -7.0


def mu_law_encode(signal, levels=256):
  """Map [-1, 1] to mu-law codes 0 to levels - 1; zero to levels / 2.

  ITU-T G.711 with mu = levels - 1, as in the WaveNet paper, section 2.2.
  """
  bent = bend(jnp.clip(signal, -1.0, 1.0), levels)
  return jnp.int32((bent + 1) / 2 * (levels - 1) + 0.5)


def mu_law_decode(codes, levels=256):
  """Map mu-law codes back to [-1, 1]; the code of zero to zero."""
  bent = bent_of_codes(codes, levels)
  return jnp.where(codes == levels // 2, 0.0, unbend(bent, levels))


def bent_of_codes(codes, levels=256):
  """Return the places of mu-law codes on the mu-law scale, in [-1, 1]."""
  return 2.0 * codes.astype(jnp.float32) / (levels - 1) - 1.0


def bend(signal, levels=256):
  """Return the signal on the mu-law scale, in [-1, 1]: the model's input."""
  mu = levels - 1
  return jnp.sign(signal) * jnp.log1p(mu * jnp.abs(signal)) / jnp.log1p(mu)


def unbend(bent, levels=256):
  """Invert `bend`."""
  mu = levels - 1
  return jnp.sign(bent) * jnp.expm1(jnp.abs(bent) * jnp.log1p(mu)) / mu


def log_step(signal, levels=256):
  """Return, but for a constant, the logarithm of the steps between codes."""
  return jnp.log(1 / (levels - 1) + jnp.abs(signal))


def mixture_bias(mixtures):
  """Return a first bias (3 K,): means spread over the range, narrow scales.

  Logistics that all start at zero take hundreds of steps to part.
  """
  means = jnp.linspace(-0.8, 0.8, mixtures)
  return jnp.concatenate([jnp.zeros(mixtures), means, jnp.full(mixtures, -2.0)])


def mixture_log_prob(outputs, bent, levels=256):
  """Log probability of one level under a discretised logistic mixture.

  PixelCNN++ (Salimans 2017, eq. 2) on the mu-law scale: outputs (..., 3 K)
  are logits, means and log scales; bent (...) in [-1, 1]. Returns nats per
  sample, comparable with the cross entropy over `levels` classes.
  """
  weights, means, log_scales = jnp.split(outputs.astype(jnp.float32), 3, -1)
  log_scales = jnp.maximum(log_scales, MIXTURE_MIN_LOG_SCALE)
  half, inverse = 1.0 / (levels - 1), jnp.exp(-log_scales)
  centred = bent[..., None] - means
  upper, lower = (centred + half) * inverse, (centred - half) * inverse
  inside = jax.nn.sigmoid(upper) - jax.nn.sigmoid(lower)
  density = (
    centred * inverse - log_scales - 2 * jax.nn.softplus(centred * inverse)
  )
  log_inside = jnp.where(
    inside > 1e-5,
    jnp.log(jnp.maximum(inside, 1e-12)),
    density + jnp.log(2 * half),
  )
  log_low = -jax.nn.softplus(-upper)
  log_high = -jax.nn.softplus(lower)
  edge = 1.0 - half
  log_prob = jnp.where(
    bent[..., None] < -edge,
    log_low,
    jnp.where(bent[..., None] > edge, log_high, log_inside),
  )
  return jax.nn.logsumexp(jax.nn.log_softmax(weights) + log_prob, axis=-1)
