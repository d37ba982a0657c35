"""The persistent kernel of the `gpu` engine, in Pallas for Triton.

A program keeps two rows and loops over the samples of a call. The rows are two
clips or, if guided, one clip with its context and without.

    for each sample:
      for each layer:    past taps from rings, gates, unit, residual path
      barrier            rings and units are seen by all threads
      skip path over the units of all layers, then the head
      draw, embed what was drawn

A ring has one slot more than its layer reaches back, so that what a sample
writes is never what it reads, and one barrier a sample is enough. Sizes are
padded with zeros to powers of two, which Triton needs. Weights stay in the
second cache, which holds them all; shared memory would not. Two clips share
what is read of it; four did not fit the registers.

Products are written as sums, in float32; Triton's own product needs 16 rows.
Matrices are read with an axis of one row, (1, N, K), in which Triton multiplies
them as they come: of a matrix (N, K) it moves every weight from thread to
thread first, which took as long as all else. Inputs lie last, so that sums over
them need the threads of one warp only, and no barrier.
"""

import functools
import operator
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from dance2wave.models.quantise import MIXTURE_MIN_LOG_SCALE
from dance2wave.sampling.draw import BISECTIONS, num_columns

ROWS = 2  # Of a program.
_CHUNK = 16  # Inputs of the skip path and the head that are summed at once.
_UNROLL = 4  # Chunks that are read before they are needed.
_FLAT = 10.0  # From here on tanh is 1 in float32.
_PARAMS = triton.CompilerParams(num_warps=8, num_stages=1)


class Weights(NamedTuple):
  """A WaveNet's padded parameters, in the order of use.

  Attributes:
    embed: (2, R) kernel and bias.
    taps: (L, K, 2G, R) oldest tap first, values and then gates.
    residual: (L, R, G).
    skip: (L, S, G).
    skip_bias: (S,).
    hidden: (1, S, S).
    hidden_bias: (S,).
    outputs: (O, V, S) of classes in order, or of weights, means and log scales.
    outputs_bias: (O, V).
    signal: (V,) of classes, in order.
    places: (L, 2) int32, first slot of a layer's ring and its dilation.
  """

  embed: jax.Array
  taps: jax.Array
  residual: jax.Array
  skip: jax.Array
  skip_bias: jax.Array
  hidden: jax.Array
  hidden_bias: jax.Array
  outputs: jax.Array
  outputs_bias: jax.Array
  signal: jax.Array
  places: jax.Array


def _products(x_BK, w_1NK):
  return x_BK[:, None, :] * w_1NK


def _at_least(low, x):
  """Return the maximum of both, or NaN of NaN, which Triton's own drops."""
  return jnp.where(x < low, low, x)


def _at_most(high, x):
  return jnp.where(x > high, high, x)


def _unit(value, gate):
  """Return tanh(value) x sigmoid(gate), with one division."""
  twice = jnp.exp(2.0 * _at_most(_FLAT, value))
  return (twice - 1.0) / ((twice + 1.0) * (1.0 + jnp.exp(-gate)))


def _run_layers(net, given, rings, units, x, frame, weight, sample):
  """Run the residual path; units and rings keep what the layers made."""
  layers, kernel = net.taps.shape[:2]

  def weights(index):
    one = pl.ds(index, 1)
    return [net.taps[one, j] for j in range(kernel)], net.residual[one]

  def known(index):
    """Return what a layer takes, but for its newest input."""
    first, dilation = net.places[index, 0], net.places[index, 1]
    length = (kernel - 1) * dilation + 1
    past = [
      rings[first + jax.lax.rem(sample + length - j * dilation, length)]
      for j in range(kernel - 1, 0, -1)
    ]
    slot = first + jax.lax.rem(sample, length)
    now, then = given[frame, index], given[frame + 1, index]
    return slot, past, now + (then - now) * weight

  def layer(index, carry):
    x, (slot, past, h), (taps, residual) = carry
    following = jax.lax.rem(index + 1, layers)
    soon = known(following)
    rings[slot] = x
    products = [_products(*pair) for pair in zip([*past, x], taps, strict=True)]
    h += jnp.sum(functools.reduce(operator.add, products), axis=2)
    z = _unit(*jnp.split(h, 2, axis=1))
    units[index] = z
    x += jnp.sum(_products(z, residual), axis=2)
    return x, soon, weights(following)

  jax.lax.fori_loop(0, layers, layer, (x, known(0), weights(0)))


def _multiply(x_ref, w_ref, bias, first=0):
  """Multiply rows (I, B, K) by matrices (I, N, K), and sum over I.

  Products are summed chunk by chunk, and over a chunk's inputs at the end.
  The matrices are those from `first` on.
  """
  count, rows, inputs = x_ref.shape
  size = min(_CHUNK, inputs)
  together = min(_UNROLL, inputs // size)
  turns = inputs // (size * together)

  def body(i, total):
    index, turn = jax.lax.div(i, turns), jax.lax.rem(i, turns)
    for j in range(together):
      part = pl.ds((turn * together + j) * size, size)
      w = w_ref[pl.ds(first + index, 1), :, part]
      total += _products(x_ref[index, :, part], w)
    return total

  total = jnp.zeros((rows, w_ref.shape[1], size))
  total = jax.lax.fori_loop(0, count * turns, body, total)
  return bias[None] + jnp.sum(total, axis=2)


def _run_head(net, units, skip, hidden, barrier):
  """Return the outputs: a list of (rows, V)."""
  total = _multiply(units, net.skip, net.skip_bias[...])
  skip[0] = _at_least(0.0, total)
  barrier()
  total = _multiply(skip, net.hidden, net.hidden_bias[...])
  hidden[0] = _at_least(0.0, total)
  barrier()
  return [
    _multiply(hidden, net.outputs, net.outputs_bias[i], i)
    for i in range(net.outputs.shape[0])
  ]


def _guide(outputs, draw):
  """Weigh the rows with and without context: a list of (1, V)."""
  if draw.guidance == 1.0:
    return outputs
  guided = []
  for number, rows in enumerate(outputs):
    # Log scales beyond both models' own would only add noise.
    weight = 1.0 if draw.is_mixture and number == 2 else draw.guidance
    is_right = jax.lax.broadcasted_iota(jnp.int32, rows.shape, 0) == 0
    share = jnp.where(is_right, weight, 1.0 - weight)
    guided.append(jnp.sum(rows * share, axis=0)[None])
  return guided


def _keep_top_p(probabilities, top_p):
  """Zero the least probable classes, as `draw.keep_top_p` does."""

  def mass(threshold):
    kept = probabilities >= threshold[:, None]
    return jnp.sum(jnp.where(kept, probabilities, 0.0), axis=1)

  def halve(_, bounds):
    low, high = bounds
    middle = 0.5 * (low + high)
    enough = mass(middle) >= top_p
    return jnp.where(enough, middle, low), jnp.where(enough, high, middle)

  high = jnp.max(probabilities, axis=1)
  low, _ = jax.lax.fori_loop(0, BISECTIONS, halve, (jnp.zeros_like(high), high))
  kept = jnp.where(probabilities >= low[:, None], probabilities, 0.0)
  return kept / jnp.sum(kept, axis=1)[:, None]


def _probabilities(logits, classes, draw):
  """Return (C, V) of logits; those from `classes` on are padding."""
  logits = logits / max(draw.temperature, 1e-4)
  place = jax.lax.broadcasted_iota(jnp.int32, logits.shape, 1)
  logits = jnp.where(place < classes, logits, -1e30)
  raised = jnp.exp(logits - jnp.max(logits, axis=1)[:, None])
  probabilities = raised / jnp.sum(raised, axis=1)[:, None]
  if draw.top_p < 1.0:
    probabilities = _keep_top_p(probabilities, draw.top_p)
  return probabilities


def _pick(weights, uniform, is_end, count):
  """Draw one of so many groups of weights (C, V) by inverse distribution.

  Args:
    weights: non-negative.
    uniform: (C,) draws.
    is_end: (C, V) whether a weight is the last of its group.
    count: of groups.
  """
  wanted = uniform * jnp.sum(weights, axis=1)
  below = jax.lax.cumsum(weights, axis=1) <= wanted[:, None]
  below = jnp.sum((is_end & below).astype(jnp.int32), axis=1)
  return jnp.minimum(below, count - 1)


def _draw_class(net, logits, uniforms, classes, draw):
  """Draw samples (C,) of classes that lie column by column, see `draw.py`."""
  probabilities = _probabilities(logits, classes, draw)
  columns = num_columns(classes)
  rows = classes // columns
  place = jax.lax.broadcasted_iota(jnp.int32, logits.shape, 1)
  is_class, is_last = place < classes, jax.lax.rem(place, rows) == rows - 1
  column = _pick(probabilities, uniforms[0], is_class & is_last, columns)
  is_inside = jax.lax.div(place, rows) == column[:, None]
  inside = jnp.where(is_inside, probabilities, 0.0)
  row = _pick(inside, uniforms[1], is_inside, rows)
  is_chosen = place == (column * rows + row)[:, None]
  return jnp.sum(jnp.where(is_chosen, net.signal[...][None], 0.0), axis=1)


def _draw(net, outputs, uniforms, classes, draw):
  """Draw samples (C,) on the mu-law scale."""
  if not draw.is_mixture:
    return _draw_class(net, outputs[0], uniforms, classes, draw)
  weights, means, log_scales = outputs
  probabilities = _probabilities(weights, classes, draw)
  place = jax.lax.broadcasted_iota(jnp.int32, means.shape, 1)
  chosen = _pick(probabilities, uniforms[0], place < classes, classes)
  is_chosen = place == chosen[:, None]
  mean = jnp.sum(jnp.where(is_chosen, means, 0.0), axis=1)
  log_scale = jnp.sum(jnp.where(is_chosen, log_scales, 0.0), axis=1)
  scale = jnp.exp(_at_least(MIXTURE_MIN_LOG_SCALE, log_scale))
  uniform = _at_least(1e-5, _at_most(1 - 1e-5, uniforms[1]))
  logit = jnp.log(uniform / (1.0 - uniform))
  drawn = mean + scale * draw.temperature * logit
  return _at_least(-1.0, _at_most(1.0, drawn))


def _kernel(*refs, classes, hop, draw, barrier):
  count = len(Weights._fields)
  net, (span, given, uniform, last, _) = Weights(*refs[:count]), refs[count:-6]
  bent, rings, samples, units, skip, hidden = refs[-6:]

  def one_sample(step, past):
    frame = jax.lax.div(step, hop)
    weight = jax.lax.rem(step, hop).astype(jnp.float32) / hop
    draws = uniform[step, 0], uniform[step, 1]
    past = jnp.broadcast_to(past, (ROWS,))
    x = past[:, None] * net.embed[0][None] + net.embed[1][None]
    _run_layers(net, given, rings, units, x, frame, weight, span[1] + step)
    barrier()
    outputs = _guide(_run_head(net, units, skip, hidden, barrier), draw)
    drawn = _draw(net, outputs, draws, classes, draw)
    samples[step] = drawn
    return drawn

  bent[...] = jax.lax.fori_loop(0, span[0] * hop, one_sample, last[...])


@functools.partial(
  jax.jit, static_argnames=('classes', 'hop', 'draw', 'interpret')
)
def run(
  weights, span, given, uniform, bent, rings, *, classes, hop, draw, interpret
):
  """Draw the samples of a block.

  Args:
    weights: the `Weights`.
    span: (2,) int32, frames to draw and samples drawn before.
    given: (P, F + 1, L, ROWS, 2G) what the gates are given, frame by frame.
    uniform: (P, F x hop, 2, C) for the clips of each program.
    bent: (P, C) the samples before, on the mu-law scale.
    rings: (P, N, ROWS, R).
    classes: of the outputs, without padding.
    hop: samples of a frame.
    draw: how samples are drawn.
    interpret: whether to run as plain operations, on any device.

  Returns:
    bent, rings, samples (P, F x hop, C) on the mu-law scale.
  """
  programs, layers = len(given), len(weights.taps)
  skip, gate = weights.skip.shape[1:]

  def whole(array):
    return pl.BlockSpec(array.shape, lambda p: (0,) * array.ndim)

  def own(array):
    rest = array.shape[1:]
    return pl.BlockSpec((None, *rest), lambda p: (p, *(0,) * len(rest)))

  outputs = [
    jax.ShapeDtypeStruct((programs, *shape), jnp.float32)
    for shape in (
      bent.shape[1:],
      rings.shape[1:],
      (uniform.shape[1], bent.shape[1]),
      (layers, ROWS, gate),
      (1, ROWS, skip),
      (1, ROWS, skip),
    )
  ]
  # Plain operations run one after another.
  barrier = (lambda: None) if interpret else triton.debug_barrier
  mine = [given, uniform, bent, rings]
  call = pl.pallas_call(
    functools.partial(
      _kernel, classes=classes, hop=hop, draw=draw, barrier=barrier
    ),
    out_shape=outputs,
    grid=(programs,),
    in_specs=[*map(whole, (*weights, span)), *map(own, mine)],
    out_specs=[own(x) for x in outputs],
    input_output_aliases={len(weights) + 4: 1},
    compiler_params=_PARAMS,
    interpret=interpret,
    name='dance2wave_sampling',
  )
  return call(*weights, span, *mine)[:3]
