"""Turn a WaveNet's outputs and uniform draws into samples.

The uniform draws are made outside, so that every engine that computes the
same outputs takes the same samples.
"""

import math

import jax
import jax.numpy as jnp

from dance2wave.models.quantise import MIXTURE_MIN_LOG_SCALE

BISECTIONS = 16
BLOCK = 16


def keep_top_p(probabilities, top_p):
  """Zero the least probable classes beyond a mass of top_p (nucleus).

  The smallest set of most probable classes that holds at least `top_p`, found
  by bisection of its threshold, which is cheaper than a sort. (..., V).
  """
  low = jnp.zeros(probabilities.shape[:-1])
  high = jnp.max(probabilities, axis=-1)

  def halve(_, bounds):
    low, high = bounds
    middle = 0.5 * (low + high)
    kept = probabilities >= middle[..., None]
    mass = jnp.sum(jnp.where(kept, probabilities, 0.0), axis=-1)
    enough = mass >= top_p
    return jnp.where(enough, middle, low), jnp.where(enough, high, middle)

  low, _ = jax.lax.fori_loop(0, BISECTIONS, halve, (low, high))
  kept = jnp.where(probabilities >= low[..., None], probabilities, 0.0)
  return kept / jnp.sum(kept, axis=-1, keepdims=True)


def draw_class(logits, uniform, *, temperature, top_p):
  """Draw mu-law codes (B,) int32 by inverse distribution; logits (B, V)."""
  logits = logits.astype(jnp.float32) / jnp.maximum(temperature, 1e-4)
  probabilities = jax.nn.softmax(logits, axis=-1)
  if top_p < 1.0:
    probabilities = keep_top_p(probabilities, top_p)
  return _invert(probabilities, uniform)


def _invert(probabilities_BV, uniform_B):
  """Return how many classes lie below the uniform draw.

  Sums run within blocks of classes and then over blocks, which costs a
  third of a running sum over all classes.
  """
  batch, levels = probabilities_BV.shape
  width = math.gcd(levels, BLOCK)
  parts = probabilities_BV.reshape(batch, -1, width)
  within = parts @ jnp.triu(jnp.ones((width, width)))
  sums = within[..., -1]
  before = sums @ jnp.triu(jnp.ones((sums.shape[1],) * 2), 1)
  wanted = uniform_B * (before[:, -1] + sums[:, -1])
  below = within + before[..., None] <= wanted[:, None, None]
  return jnp.minimum(jnp.sum(below, axis=(1, 2)), levels - 1)


def draw_mixture(outputs, uniform_B2, *, temperature, top_p):
  """Draw from a mixture of logistics on the mu-law scale: (B,) in [-1, 1]."""
  weights, means, log_scales = jnp.split(outputs.astype(jnp.float32), 3, -1)
  component = draw_class(
    weights, uniform_B2[:, 0], temperature=temperature, top_p=top_p
  )
  chosen = component[:, None]
  mean = jnp.take_along_axis(means, chosen, axis=-1)[:, 0]
  log_scale = jnp.take_along_axis(log_scales, chosen, axis=-1)[:, 0]
  scale = jnp.exp(jnp.maximum(log_scale, MIXTURE_MIN_LOG_SCALE)) * temperature
  uniform = jnp.clip(uniform_B2[:, 1], 1e-5, 1 - 1e-5)
  return jnp.clip(mean + scale * jax.scipy.special.logit(uniform), -1.0, 1.0)
