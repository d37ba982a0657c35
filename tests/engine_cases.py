"""WaveNets, draws and what the `xla` engine makes of them, for every engine.

Engines round sums in their own order, so that a draw within about 1e-7 of a
boundary between two classes may fall on either side, once in some ten
thousand samples. Draws are therefore settled first: one that lies within _TIE
of a boundary of the class that the reference takes is moved to the middle of
that class, until the reference meets no tie. Then every engine has to draw
the same.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from noise_models import make

from dance2wave.models import quantise
from dance2wave.models.wavenet import WaveNet
from dance2wave.sampling import draw as draw_lib
from dance2wave.sampling.weights import rounded
from dance2wave.sampling.xla import Draw, XlaEngine

_TIE = 1e-5  # A hundred times what rounding moves a boundary by.
CONTEXT, HOP = 12, 320
_SIZES = {
  'samples_per_frame': HOP,
  'residual': 8,
  'gate': 8,
  'skip': 16,
  'dilations': (1, 2, 4, 8),
}


class Model(nnx.Module):
  """The part of `Dance2Wave` that engines use."""

  def __init__(self, **sizes):
    self.wave = WaveNet(**sizes)


@functools.cache
def make_model(output='softmax', kernel=2, sizes=(), levels=256):
  """Return a model of the debug config's sizes; no parameter is zero."""
  model = make(
    Model,
    context_dim=CONTEXT,
    num_styles=3,
    kernel=kernel,
    num_outputs=levels if output == 'softmax' else 30,
    is_mixture=output == 'mixture',
    **(_SIZES | dict(sizes)),
  )
  rng = np.random.default_rng(0)
  graphdef, state = nnx.split(model)
  params = nnx.to_pure_dict(state)
  return graphdef, jax.tree.map(
    lambda p: p + 0.1 * rng.normal(size=p.shape).astype(np.float32), params
  )


@functools.partial(jax.jit, static_argnums=(0, 2))
def whole_sequence_outputs(graphdef, params, draw, context, style, audio):
  """Return what the model says before each sample, all at once: (B, T, O)."""
  wave = nnx.merge(graphdef, params).wave
  past = quantise.bend(audio, draw.levels)
  past = jnp.pad(past, ((0, 0), (1, 0)))[:, :-1]

  def outputs(context, style):
    label = jax.nn.one_hot(style, wave.num_labels)
    return wave(past, wave.condition(context, label))

  right = outputs(context, style)
  if draw.guidance == 1.0:
    return right
  without = outputs(jnp.zeros_like(context), jnp.full_like(style, -1))
  return without + draw.guidance * (right - without)


@functools.partial(jax.jit, static_argnums=1)
def kept_classes(logits, draw):
  """Return the probabilities as they are, and as rounding might make them.

  All but the highest are a little too low or too high, which decides whether
  a class at the edge of top_p is kept.
  """
  p = jax.nn.softmax(logits / draw.temperature)
  if draw.top_p == 1.0:
    return p[None]
  is_rest = p < p.max(axis=1, keepdims=True)
  changes = jnp.array([0.0, -2e-6, 2e-6])[:, None, None]
  return draw_lib.keep_top_p(
    p[None] * (1 + is_rest[None] * changes), draw.top_p
  )


def bounds_of_choice(weights_KTN, uniform_T):
  """Return what a draw takes, and the draws (low, high) that take it as well.

  The first weights are as they are, the others as rounding might make them.
  """
  ends = np.cumsum(np.float64(weights_KTN), axis=2)
  ends /= np.maximum(ends[..., -1:], 1e-30)
  chosen = (ends[0] <= uniform_T[:, None]).sum(axis=1)
  at = chosen[None, :, None]
  high = np.take_along_axis(ends, at, axis=2).min(axis=0)[:, 0]
  ends = np.pad(ends, ((0, 0), (0, 0), (1, 0)))
  low = np.take_along_axis(ends, at, axis=2).max(axis=0)[:, 0]
  return chosen, low, high


def settle_choice(weights_KTN, uniform_T):
  """Move draws that lie on a boundary to the middle of what they take.

  Returns:
    What each takes, the draws, and which were moved.
  """
  chosen, low, high = bounds_of_choice(weights_KTN, uniform_T)
  # The first begins at 0 and the last ends at 1: no boundaries.
  is_tie = (low > 0) & (uniform_T < low + _TIE)
  is_tie |= (high < 1) & (uniform_T > high - _TIE)
  is_tie |= low >= high
  # No draw settles whether top_p keeps the class itself: take the first.
  middle = np.where(low < high, (low + high) / 2, 0.0)
  return chosen, np.where(is_tie, middle, uniform_T), is_tie


def settle(uniform_FSB2, outputs_BTO, draw):
  """Move draws that lie on a boundary; return them and how many did."""
  logits = outputs_BTO
  if draw.is_mixture:
    logits = logits[..., : logits.shape[-1] // 3]
  logits = logits.reshape(-1, logits.shape[-1])
  frames, hop, batch, _ = uniform_FSB2.shape
  uniform = np.array(uniform_FSB2).reshape(frames * hop, batch, 2)
  first, second = uniform.transpose(2, 1, 0).reshape(2, -1)
  kept = np.asarray(kept_classes(logits, draw))
  if draw.is_mixture:
    _, first, is_tie = settle_choice(kept, first)
  else:
    order = np.asarray(draw_lib.classes_in_order(draw.levels))
    # Much faster than an index of two axes.
    kept = kept.take(order.ravel(), axis=2).reshape(
      *kept.shape[:2], *order.shape
    )
    column, first, is_tie = settle_choice(kept.sum(axis=3), first)
    rows = np.take_along_axis(kept, column[None, :, None, None], axis=2)[
      :, :, 0
    ]
    _, second, more = settle_choice(rows, second)
    is_tie |= more
  uniform = np.stack([first, second]).reshape(2, batch, -1).transpose(2, 1, 0)
  return uniform.reshape(uniform_FSB2.shape), int(is_tie.sum())


@dataclasses.dataclass
class Case:
  model: tuple
  draw: Draw
  context: np.ndarray
  style: np.ndarray
  uniform: np.ndarray
  audio: np.ndarray

  def run(self, make_engine, clips=slice(None)):
    engine = make_engine(*self.model, self.draw)
    context = self.context[clips]
    start, uniform = engine.start(len(context)), self.uniform[:, :, clips]
    return engine.run(context, self.style[clips], uniform, start)[0]


@functools.cache
def make_case(batch, frames, output='softmax', kernel=2, sizes=(), **draw):
  """Return settled draws and what the reference makes of them."""
  model = make_model(output, kernel, sizes, draw.get('levels', 256))
  draw = Draw(is_mixture=output == 'mixture', **draw)
  reference = XlaEngine(*model, draw)
  graphdef, params = model[0], rounded(model[1], draw.weights)
  shape = batch, frames + 1, CONTEXT
  context = jax.random.normal(jax.random.key(1), shape)
  style = jnp.arange(batch) % 3 - 1
  keys = jax.random.split(jax.random.key(5), batch)
  uniform = reference.draw_uniform(keys, 0, frames)
  for _ in range(5):
    start = reference.start(batch)
    audio, _ = reference.run(context, style, uniform, start)
    outputs = whole_sequence_outputs(
      graphdef, params, draw, context, style, audio
    )
    uniform, ties = settle(uniform, outputs, draw)
    assert ties < 1e-2 * audio.size
    if not ties:
      break
  assert not ties
  return Case(model, draw, context, style, uniform, np.asarray(audio))


def tokens(audio):
  return np.round((np.asarray(quantise.bend(audio)) + 1) / 2 * 255).astype(int)
