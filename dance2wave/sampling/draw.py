"""Turn a WaveNet's outputs and uniform draws into samples.

The uniform draws are made outside, so that every engine that computes the
same outputs takes the same samples.

Engines round differently, and drafts are of rounded weights. Where outputs are
a little off, all boundaries between classes are, and the draw may lie between
where one is and where it should be. So a class is drawn in two steps, each with
a draw of its own: which remainder its number leaves by 16, and which of the
classes that leave it. That is 30 boundaries for 256 classes, not 255. Outputs
are off in much the same way for neighbours; so classes of one remainder are
taken in an order in which such errors cancel, bits of their quotients reversed
(van der Corput's). Of the default model on a real dance, its weights rounded to
bytes, a fifth of the draws took another class in one step, 2.2 % in two, 1.9 %
in this order. By a distance d of distributions, here 0.5 %, no scheme whose
sides do not know each other's promises less than 2 d / (1 + d), 1.0 % (Bavarian
et al. 2016, arXiv 1612.01041).
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from dance2wave.models.quantise import MIXTURE_MIN_LOG_SCALE

BISECTIONS = 16
_REMAINDERS = 16


def num_columns(levels):
  """Return how many columns classes lie in, one for each remainder."""
  return math.gcd(levels, _REMAINDERS)


@functools.cache
def classes_in_order(levels):
  """Return the classes as they are drawn: int (columns, rows), numpy.

  A column holds all that leave its remainder.
  """
  columns = num_columns(levels)
  rows = levels // columns
  bits = max(rows - 1, 1).bit_length()
  turned = [int(f'{row:0{bits}b}'[::-1], 2) for row in range(rows)]
  return np.arange(columns)[:, None] + columns * np.argsort(turned)


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


def order_of_outputs(draw):
  """Return which of a WaveNet's outputs are read, in which order."""
  return (
    slice(None) if draw.is_mixture else classes_in_order(draw.levels).ravel()
  )


def draw_class(logits, uniform_B2, *, temperature, top_p):
  """Draw mu-law codes (B,) int32 from logits (B, V), in two steps."""
  probabilities = _probabilities(logits, temperature, top_p)
  order_CR = classes_in_order(probabilities.shape[1])
  columns, rows = order_CR.shape
  table_BRC = probabilities.reshape(-1, rows, columns)
  column_B = _pick(jnp.sum(table_BRC, axis=1), uniform_B2[:, 0])
  is_chosen_BC = jax.nn.one_hot(column_B, columns)
  chosen_BR = jnp.sum(table_BRC * is_chosen_BC[:, None], axis=2)
  order_R = order_CR[0] // columns
  place_B = _pick(chosen_BR[:, order_R], uniform_B2[:, 1])
  return jnp.asarray(order_R)[place_B] * columns + column_B


def _probabilities(logits, temperature, top_p):
  logits = logits.astype(jnp.float32) / jnp.maximum(temperature, 1e-4)
  probabilities = jax.nn.softmax(logits, axis=-1)
  return probabilities if top_p >= 1.0 else keep_top_p(probabilities, top_p)


def _pick(weights_BN, uniform_B):
  """Return by inverse distribution how many of the weights lie below a draw."""
  sums_BN = jnp.cumsum(weights_BN, axis=1)
  below = sums_BN <= (uniform_B * sums_BN[:, -1])[:, None]
  return jnp.minimum(jnp.sum(below, axis=1), weights_BN.shape[1] - 1)


def draw_mixture(outputs, uniform_B2, *, temperature, top_p):
  """Draw from a mixture of logistics on the mu-law scale: (B,) in [-1, 1]."""
  weights, means, log_scales = jnp.split(outputs.astype(jnp.float32), 3, -1)
  probabilities = _probabilities(weights, temperature, top_p)
  component = _pick(probabilities, uniform_B2[:, 0])
  chosen = component[:, None]
  mean = jnp.take_along_axis(means, chosen, axis=-1)[:, 0]
  log_scale = jnp.take_along_axis(log_scales, chosen, axis=-1)[:, 0]
  scale = jnp.exp(jnp.maximum(log_scale, MIXTURE_MIN_LOG_SCALE)) * temperature
  uniform = jnp.clip(uniform_B2[:, 1], 1e-5, 1 - 1e-5)
  return jnp.clip(mean + scale * jax.scipy.special.logit(uniform), -1.0, 1.0)
