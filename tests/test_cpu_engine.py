"""The `cpu` engine draws what the `xla` engine draws.

Both round sums in their own order, so that a draw within about 1e-7 of a
boundary between two classes may fall on either side, once in some ten
thousand samples. Draws are therefore settled first: one that lies within _TIE
of a boundary of the class that the reference takes is moved to the middle of
that class, until the reference meets no tie. Then every engine has to draw
the same.
"""

import ctypes
import dataclasses
import functools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dance2wave.errors import InputError
from dance2wave.models import quantise
from dance2wave.models.wavenet import WaveNet
from dance2wave.sampling import cpu_draw, cpu_kernel, engines, tiles
from dance2wave.sampling import draw as draw_lib
from dance2wave.sampling.cpu import CpuEngine
from dance2wave.sampling.xla import Draw, XlaEngine

_TIE = 1e-5  # A hundred times what rounding moves a boundary by.
_CONTEXT, _HOP = 12, 320
_FRAMES = 52  # 2.08 s at the debug model's 8 kHz.
_SIZES = {'residual': 8, 'gate': 8, 'skip': 16, 'dilations': (1, 2, 4, 8)}
_ODD = ('residual', 40), ('gate', 24), ('skip', 72)
# With a dilation of 128, frames do not end where its ring does.
_LONG = (('dilations', tuple(2**i for i in range(8))),)


class Model(nnx.Module):
  """The part of `Dance2Wave` that engines use."""

  def __init__(self, **sizes):
    self.wave = WaveNet(**sizes)


@functools.cache
def make_model(output='softmax', kernel=2, sizes=()):
  """Return a model of the debug config's sizes; no parameter is zero."""
  model = Model(
    context_dim=_CONTEXT,
    num_styles=3,
    kernel=kernel,
    num_outputs=256 if output == 'softmax' else 30,
    samples_per_frame=_HOP,
    is_mixture=output == 'mixture',
    rngs=nnx.Rngs(0),
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
  past = jnp.pad(quantise.bend(audio), ((0, 0), (1, 0)))[:, :-1]

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


def bounds_of_class(logits, uniform, draw):
  """Return the draws (low, high) between which the class stays the same."""
  ends = np.cumsum(np.float64(kept_classes(logits, draw)), axis=2)
  ends /= ends[..., -1:]
  chosen = (ends[0] <= uniform[:, None]).sum(axis=1)[None, :, None]
  high = np.take_along_axis(ends, chosen, axis=2).min(axis=0)[:, 0]
  ends = np.pad(ends, ((0, 0), (0, 0), (1, 0)))
  low = np.take_along_axis(ends, chosen, axis=2).max(axis=0)[:, 0]
  return low, high


def settle(uniform_FSB2, outputs_BTO, draw):
  """Move draws that lie on a boundary to the middle of their class."""
  index = 0 if draw.is_mixture else 1
  logits = outputs_BTO
  if draw.is_mixture:
    logits = logits[..., : logits.shape[-1] // 3]
  logits = logits.reshape(-1, logits.shape[-1])
  frames, hop, batch, _ = uniform_FSB2.shape
  uniform = np.array(uniform_FSB2).reshape(frames * hop, batch, 2)
  chosen = uniform[..., index].T.ravel()
  low, high = bounds_of_class(logits, chosen, draw)
  # The first class begins at 0 and the last ends at 1: no boundaries.
  is_tie = (low > 0) & (chosen < low + _TIE)
  is_tie |= (high < 1) & (chosen > high - _TIE)
  is_tie |= low >= high
  # No draw settles whether top_p keeps the class itself: take the first.
  middle = np.where(low < high, (low + high) / 2, 0.0)
  chosen = np.where(is_tie, middle, chosen)
  uniform[..., index] = chosen.reshape(batch, -1).T
  return uniform.reshape(uniform_FSB2.shape), int(is_tie.sum())


@dataclasses.dataclass
class Case:
  model: tuple
  draw: Draw
  context: np.ndarray
  style: np.ndarray
  uniform: np.ndarray
  audio: np.ndarray

  def run(self, clips=slice(None)):
    engine = CpuEngine(*self.model, self.draw)
    context = self.context[clips]
    start, uniform = engine.start(len(context)), self.uniform[:, :, clips]
    return engine.run(context, self.style[clips], uniform, start)[0]


@functools.cache
def make_case(batch, frames, output='softmax', kernel=2, sizes=(), **draw):
  """Return settled draws and what the reference makes of them."""
  model = make_model(output, kernel, sizes)
  draw = Draw(is_mixture=output == 'mixture', **draw)
  reference = XlaEngine(*model, draw)
  shape = batch, frames + 1, _CONTEXT
  context = jax.random.normal(jax.random.key(1), shape)
  style = jnp.arange(batch) % 3 - 1
  keys = jax.random.split(jax.random.key(5), batch)
  uniform = reference.draw_uniform(keys, 0, frames)
  for _ in range(5):
    start = reference.start(batch)
    audio, _ = reference.run(context, style, uniform, start)
    outputs = whole_sequence_outputs(*model, draw, context, style, audio)
    uniform, ties = settle(uniform, outputs, draw)
    assert ties < 1e-2 * audio.size
    if not ties:
      break
  assert not ties
  return Case(model, draw, context, style, uniform, np.asarray(audio))


def tokens(audio):
  return np.round((np.asarray(quantise.bend(audio)) + 1) / 2 * 255).astype(int)


@pytest.mark.parametrize(
  'kernel, sizes, draw',
  [
    (2, (), {'temperature': 0.9}),
    (2, (), {'top_p': 0.8, 'temperature': 0.7}),
    (3, _ODD, {'guidance': 2.0}),
  ],
)
def test_classes_are_those_of_the_reference(kernel, sizes, draw):
  batch = 2 if 'guidance' in draw else 1
  case = make_case(batch, _FRAMES, kernel=kernel, sizes=sizes, **draw)
  audio = case.run()
  assert audio.shape == (batch, _FRAMES * _HOP)
  np.testing.assert_array_equal(tokens(audio), tokens(case.audio))
  np.testing.assert_allclose(audio, case.audio, atol=1e-6)


@pytest.mark.parametrize('draw', [{'guidance': 2.0}, {'top_p': 0.8}])
def test_mixture_samples_are_those_of_the_reference(draw):
  """They are continuous, so that rounding is heard, but does not grow."""
  case = make_case(2, _FRAMES, 'mixture', kernel=3, **draw)
  audio = case.run()
  np.testing.assert_allclose(audio, case.audio, atol=1e-4)


def test_pieces_are_the_same_as_all_at_once():
  case = make_case(11, 4, sizes=_LONG)
  engine = CpuEngine(*case.model, case.draw)
  state, parts = engine.start(11), []
  for i, j in ((0, 1), (1, 3), (3, 4)):
    context, uniform = case.context[:, i : j + 1], case.uniform[i:j]
    part, state = engine.run(context, case.style, uniform, state)
    parts.append(part)
  whole = np.concatenate(parts, axis=1)
  np.testing.assert_array_equal(tokens(whole), tokens(case.audio))


def test_a_clip_does_not_depend_on_its_neighbours():
  """Eleven clips are a block of eight and one of three."""
  case = make_case(11, 4, sizes=_LONG)
  together = case.run()
  np.testing.assert_array_equal(tokens(together), tokens(case.audio))
  for clips in (slice(2, 3), slice(5, 11), slice(10, 11)):
    some = case.run(clips)
    np.testing.assert_array_equal(tokens(some), tokens(together[clips]))


@pytest.mark.parametrize('inputs, outputs', [(16, 16), (7, 112), (64, 320)])
def test_products_are_right_and_a_row_does_not_depend_on_the_others(
  inputs, outputs
):
  rng = np.random.default_rng(0)
  w_IO = rng.normal(size=(inputs, outputs)).astype(np.float32)
  x_RI = rng.normal(size=(9, inputs)).astype(np.float32)
  packed, multiply = tiles.pack(w_IO), tiles.compile_multiply()
  start_RO = rng.normal(size=(9, outputs)).astype(np.float32)

  def product(first, rows):
    out, x = start_RO[first:].copy(), x_RI[first:].copy()
    addresses = (out.ctypes.data, x.ctypes.data, packed.ctypes.data)
    out_at, x_at, w_at = map(pointer, addresses)
    multiply(out_at, outputs, x_at, inputs, rows, w_at, inputs, outputs)
    np.testing.assert_array_equal(out[rows:], start_RO[first + rows :])
    return out[:rows]

  whole = product(0, 9)
  np.testing.assert_allclose(whole, start_RO + x_RI @ w_IO, atol=1e-4)
  for first in range(9):
    for rows in (1, 2, 3, 5):
      some = product(first, min(rows, 9 - first))
      np.testing.assert_array_equal(some, whole[first : first + len(some)])


def pointer(address):
  return ctypes.cast(address, ctypes.POINTER(ctypes.c_float))


def test_unit_and_exponential_are_exact_to_a_few_roundings():
  x = np.linspace(-86, 86, 20001, dtype=np.float32)
  wide = x.astype(np.float64)
  exp = np.array([cpu_draw.exp(v) for v in x])
  np.testing.assert_allclose(exp, np.exp(wide), rtol=2.5e-7)
  near = np.float32(np.linspace(-1, 1, 4001))
  rise = np.array([cpu_draw.expm1(v) for v in near])
  np.testing.assert_allclose(rise, np.expm1(np.float64(near)), rtol=5e-7)
  gates = np.stack([x / 4, x[::-1]], axis=1).reshape(-1, 2)
  units = np.zeros((len(gates), 1), np.float32)
  cpu_kernel._unit(gates, units, len(gates))
  value, gate = np.float64(gates).T
  right = np.tanh(value) / (1 + np.exp(-gate))
  np.testing.assert_allclose(units[:, 0], right, rtol=1e-6, atol=1e-17)


def test_a_model_that_is_not_finite_is_not_made_up_for():
  """As with the `xla` engine: NaN where it can be heard, else class 0."""
  for output, expected in (('softmax', -1.0), ('mixture', np.nan)):
    graphdef, params = make_model(output, 2 if output == 'softmax' else 3)
    params = jax.tree.map(lambda p: jnp.full_like(p, jnp.nan), params)
    engine = CpuEngine(graphdef, params, Draw(is_mixture=output == 'mixture'))
    context = jnp.zeros((1, 2, _CONTEXT))
    uniform = jnp.full((1, _HOP, 1, 2), 0.5)
    audio, _ = engine.run(context, jnp.array([-1]), uniform, engine.start(1))
    np.testing.assert_array_equal(audio, np.full((1, _HOP), expected))


def test_auto_is_cpu_on_processors():
  model = make_model()
  assert engines.make_engine('auto', *model, Draw()).name == 'cpu'
  for name in ('xla', 'cpu'):
    assert engines.make_engine(name, *model, Draw()).name == name


def test_auto_is_xla_on_accelerators(monkeypatch):
  model = make_model()
  monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
  assert engines.make_engine('auto', *model, Draw()).name == 'xla'


def test_without_numba_auto_is_xla_and_says_why(monkeypatch, caplog):
  model = make_model()
  monkeypatch.setitem(sys.modules, 'dance2wave.sampling.cpu', None)
  assert engines.make_engine('auto', *model, Draw()).name == 'xla'
  (record,) = caplog.records
  assert 'ModuleNotFoundError' in record.message
  with pytest.raises(InputError, match='engine=cpu does not compile here'):
    engines.make_engine('cpu', *model, Draw())


def test_an_unknown_engine_is_refused():
  model = make_model()
  with pytest.raises(InputError, match='expected one of auto, xla, cpu'):
    engines.make_engine('gpu', *model, Draw())
