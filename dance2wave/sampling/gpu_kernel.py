"""The persistent kernel of the `gpu` engine, in Pallas for Triton.

A program keeps one clip and loops over the samples of a call. Its rows are
the clip with its context and, if guided, the same clip without.

    for each sample:
      for each layer:    past taps from rings, gates, unit, residual path
      barrier            rings and units are seen by all threads
      skip path over the units of all layers, then the head
      draw, embed what was drawn

A ring has one slot more than its layer reaches back, so that what a sample
writes is never what it reads, and one barrier a sample is enough. Sizes are
padded with zeros to powers of two, which Triton needs. Weights stay in the
second cache, which holds them all; shared memory would not.

Products are written as sums, in float32. Triton's own product needs 16 rows:
programs of 16 clips took 1.8 times as long for a sample, and drew 0.8 of the
samples of 256 clips in the same time (wn30 on an H200).
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from dance2wave.models.quantise import MIXTURE_MIN_LOG_SCALE
from dance2wave.sampling.draw import BISECTIONS

_CHUNK = 64  # Rows of the head's matrices that are multiplied at once.
_PARAMS = triton.CompilerParams(num_warps=4, num_stages=1)


class Weights(NamedTuple):
  """A WaveNet's padded parameters, in the order of use.

  Attributes:
    embed: (2, R) kernel and bias.
    taps: (L, K, 2, R, G) oldest tap first, value and gate.
    residual: (L, G, R).
    skip: (L, G, S).
    skip_bias: (S,).
    hidden: (S, S).
    hidden_bias: (S,).
    outputs: (O, S, V) of classes, or of weights, means and log scales.
    outputs_bias: (O, V).
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
  places: jax.Array


def _dot(x_RK, w_KN):
  return jnp.sum(x_RK[:, :, None] * w_KN[None], axis=1)


def _unit(value, gate):
  return jnp.tanh(value) / (1.0 + jnp.exp(-gate))


def _run_layers(net, given, rings, units, x, frame, weight, sample):
  """Run the residual path; units and rings keep what the layers made."""
  kernel = net.taps.shape[1]

  def layer(index, x):
    first, dilation = net.places[index, 0], net.places[index, 1]
    length = (kernel - 1) * dilation + 1
    taps = [
      rings[first + jax.lax.rem(sample + length - j * dilation, length)]
      for j in range(kernel - 1, 0, -1)
    ]
    rings[first + jax.lax.rem(sample, length)] = x
    halves = []
    for half in range(2):
      now, then = given[frame, index, half], given[frame + 1, index, half]
      h = now + (then - now) * weight
      for j, tap in enumerate([*taps, x]):
        h += _dot(tap, net.taps[index, j, half])
      halves.append(h)
    z = _unit(*halves)
    units[index] = z
    return x + _dot(z, net.residual[index])

  jax.lax.fori_loop(0, net.taps.shape[0], layer, x)


def _multiply(x_ref, bias, weights_of):
  """Multiply what lies in memory by a matrix, some of its rows at a time."""
  rows, inputs = x_ref.shape
  chunk = min(_CHUNK, inputs)

  def body(i, total):
    part = pl.ds(i * chunk, chunk)
    return total + _dot(x_ref[:, part], weights_of(part))

  start = jnp.broadcast_to(bias[None], (rows, *bias.shape))
  return jax.lax.fori_loop(0, inputs // chunk, body, start)


def _run_head(net, units, skip, hidden, barrier):
  """Return the outputs: a list of (rows, V)."""

  def layer(index, total):
    return total + _dot(units[index], net.skip[index])

  start = jnp.broadcast_to(net.skip_bias[...][None], skip.shape)
  total = jax.lax.fori_loop(0, units.shape[0], layer, start)
  skip[...] = jnp.maximum(total, 0.0)
  barrier()
  total = _multiply(skip, net.hidden_bias[...], lambda part: net.hidden[part])
  hidden[...] = jnp.maximum(total, 0.0)
  barrier()
  return [
    _multiply(
      hidden, net.outputs_bias[i], lambda part, i=i: net.outputs[i, part]
    )
    for i in range(net.outputs.shape[0])
  ]


def _guide(outputs, draw):
  """Weigh the rows with and without context: (1, V) each."""
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


def _draw_class(logits, uniform, classes, draw):
  """Draw classes (1,) int32; those from `classes` on are padding."""
  logits = logits / max(draw.temperature, 1e-4)
  place = jax.lax.broadcasted_iota(jnp.int32, logits.shape, 1)
  logits = jnp.where(place < classes, logits, -1e30)
  raised = jnp.exp(logits - jnp.max(logits, axis=1)[:, None])
  probabilities = raised / jnp.sum(raised, axis=1)[:, None]
  if draw.top_p < 1.0:
    probabilities = _keep_top_p(probabilities, draw.top_p)
  wanted = uniform * jnp.sum(probabilities, axis=1)
  below = jax.lax.cumsum(probabilities, axis=1) <= wanted[:, None]
  return jnp.minimum(jnp.sum(below.astype(jnp.int32), axis=1), classes - 1)


def _draw(outputs, uniforms, classes, draw):
  """Draw samples (1,) on the mu-law scale."""
  if not draw.is_mixture:
    code = _draw_class(outputs[0], uniforms[1], classes, draw)
    return 2.0 * code.astype(jnp.float32) / (draw.levels - 1) - 1.0
  weights, means, log_scales = outputs
  chosen = _draw_class(weights, uniforms[0], classes, draw)
  place = jax.lax.broadcasted_iota(jnp.int32, means.shape, 1)
  is_chosen = place == chosen[:, None]
  mean = jnp.sum(jnp.where(is_chosen, means, 0.0), axis=1)
  log_scale = jnp.sum(jnp.where(is_chosen, log_scales, 0.0), axis=1)
  scale = jnp.exp(jnp.maximum(log_scale, MIXTURE_MIN_LOG_SCALE))
  uniform = jnp.clip(uniforms[1], 1e-5, 1 - 1e-5)
  logit = jnp.log(uniform / (1.0 - uniform))
  return jnp.clip(mean + scale * draw.temperature * logit, -1.0, 1.0)


def _kernel(*refs, classes, hop, draw, barrier):
  count = len(Weights._fields)
  net, (span, given, uniform, last, _) = Weights(*refs[:count]), refs[count:-6]
  bent, rings, samples, units, skip, hidden = refs[-6:]
  rows = units.shape[1]

  def one_sample(step, past):
    frame = jax.lax.div(step, hop)
    weight = jax.lax.rem(step, hop).astype(jnp.float32) / hop
    past = jnp.broadcast_to(past, (rows,))
    x = past[:, None] * net.embed[0][None] + net.embed[1][None]
    _run_layers(net, given, rings, units, x, frame, weight, span[1] + step)
    barrier()
    outputs = _guide(_run_head(net, units, skip, hidden, barrier), draw)
    drawn = _draw(outputs, (uniform[step, 0], uniform[step, 1]), classes, draw)
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
    given: (B, F + 1, L, 2, rows, G) what the gates are given, frame by frame.
    uniform: (B, F x hop, 2, 1).
    bent: (B, 1) the samples before, on the mu-law scale.
    rings: (B, N, rows, R).
    classes: of the outputs, without padding.
    hop: samples of a frame.
    draw: how samples are drawn.
    interpret: whether to run as plain operations, on any device.

  Returns:
    bent, rings, samples (B, F x hop, 1) on the mu-law scale.
  """
  batch, layers = given.shape[0], weights.taps.shape[0]
  rows = rings.shape[2]
  gate, skip = weights.skip.shape[1:]

  def whole(array):
    return pl.BlockSpec(array.shape, lambda p: (0,) * array.ndim)

  def own(array):
    rest = array.shape[1:]
    return pl.BlockSpec((None, *rest), lambda p: (p, *(0,) * len(rest)))

  outputs = [
    jax.ShapeDtypeStruct((batch, *shape), jnp.float32)
    for shape in (
      bent.shape[1:],
      rings.shape[1:],
      (uniform.shape[1], 1),
      (layers, rows, gate),
      (rows, skip),
      (rows, skip),
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
    grid=(batch,),
    in_specs=[*map(whole, (*weights, span)), *map(own, mine)],
    out_specs=[own(x) for x in outputs],
    input_output_aliases={len(weights) + 4: 1},
    compiler_params=_PARAMS,
    interpret=interpret,
    name='dance2wave_sampling',
  )
  return call(*weights, span, *mine)[:3]
