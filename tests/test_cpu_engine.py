"""The `cpu` engine draws what the `xla` engine draws."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from engine_cases import CONTEXT, HOP, make_case, make_model, tokens

from dance2wave.errors import InputError
from dance2wave.sampling import cpu_draw, cpu_kernel, engines
from dance2wave.sampling.cpu import CpuEngine
from dance2wave.sampling.xla import Draw

_FRAMES = 52  # 2.08 s at the debug model's 8 kHz.
_ODD = ('residual', 40), ('gate', 24), ('skip', 72)
# With a dilation of 128, frames do not end where its ring does.
_LONG = (('dilations', tuple(2**i for i in range(8))),)
# Past inputs are multiplied for up to 16 samples at once, of 35 clips for one.
# Calls begin and end in between, and a dilation of 12 allows four of them.
_UNEVEN = ('samples_per_frame', 75), ('dilations', (1, 2, 3, 12, 40, 64))


@pytest.mark.parametrize(
  'kernel, sizes, draw',
  [
    (2, (), {'temperature': 0.9}),
    (2, (), {'top_p': 0.8, 'temperature': 0.7}),
    (3, _ODD, {'guidance': 2.0}),
    pytest.param(2, (), {'levels': 200}, marks=pytest.mark.slow),
    (2, (), {'levels': 7}),
  ],
)
def test_classes_are_those_of_the_reference(kernel, sizes, draw):
  batch = 2 if 'guidance' in draw else 1
  case = make_case(batch, _FRAMES, kernel=kernel, sizes=sizes, **draw)
  audio = case.run(CpuEngine)
  assert audio.shape == (batch, _FRAMES * HOP)
  np.testing.assert_array_equal(tokens(audio), tokens(case.audio))
  np.testing.assert_allclose(audio, case.audio, atol=1e-6)


@pytest.mark.parametrize('draw', [{'guidance': 2.0}, {'top_p': 0.8}])
def test_mixture_samples_are_those_of_the_reference(draw):
  """They are continuous, so that rounding is heard, but does not grow."""
  case = make_case(2, _FRAMES, 'mixture', kernel=3, **draw)
  audio = case.run(CpuEngine)
  np.testing.assert_allclose(audio, case.audio, atol=1e-4)


@pytest.mark.parametrize('batch, sizes', [(35, _LONG), (1, _UNEVEN)])
def test_pieces_are_the_same_as_all_at_once(batch, sizes):
  case = make_case(batch, 4, sizes=sizes)
  engine = CpuEngine(*case.model, case.draw)
  state, parts = engine.start(batch), []
  for i, j in ((0, 1), (1, 3), (3, 4)):
    context, uniform = case.context[:, i : j + 1], case.uniform[i:j]
    part, state = engine.run(context, case.style, uniform, state)
    parts.append(part)
  whole = np.concatenate(parts, axis=1)
  np.testing.assert_array_equal(tokens(whole), tokens(case.audio))


@pytest.mark.parametrize('kernel, sizes', [(2, _LONG), (3, _UNEVEN)])
def test_a_clip_does_not_depend_on_its_neighbours(kernel, sizes):
  """35 clips are a block of 32 and one of three."""
  case = make_case(35, 4, kernel=kernel, sizes=sizes)
  together = case.run(CpuEngine)
  np.testing.assert_array_equal(tokens(together), tokens(case.audio))
  for clips in (slice(2, 3), slice(20, 31), slice(34, 35)):
    some = case.run(CpuEngine, clips)
    np.testing.assert_array_equal(some, together[clips])


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
  cpu_kernel.gated_unit(gates, units, len(gates), 0)
  value, gate = np.float64(gates).T
  right = np.tanh(value) / (1 + np.exp(-gate))
  np.testing.assert_allclose(units[:, 0], right, rtol=1e-6, atol=1e-17)


def test_a_model_that_is_not_finite_is_not_made_up_for():
  """As with the `xla` engine: NaN where it can be heard, else class 0."""
  for output, expected in (('softmax', -1.0), ('mixture', np.nan)):
    graphdef, params = make_model(output, 2 if output == 'softmax' else 3)
    params = jax.tree.map(lambda p: jnp.full_like(p, jnp.nan), params)
    engine = CpuEngine(graphdef, params, Draw(is_mixture=output == 'mixture'))
    context = jnp.zeros((1, 2, CONTEXT))
    uniform = jnp.full((1, HOP, 1, 2), 0.5)
    audio, _ = engine.run(context, jnp.array([-1]), uniform, engine.start(1))
    np.testing.assert_array_equal(audio, np.full((1, HOP), expected))


def test_auto_is_cpu_on_processors():
  model = make_model()
  assert engines.make_engine('auto', *model, Draw()).name == 'cpu'
  for name in ('xla', 'cpu'):
    assert engines.make_engine(name, *model, Draw()).name == name


def test_auto_is_xla_on_other_accelerators(monkeypatch):
  model = make_model()
  monkeypatch.setattr(jax, 'default_backend', lambda: 'tpu')
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
  with pytest.raises(InputError, match='expected one of auto, xla, cpu, gpu'):
    engines.make_engine('tpu', *model, Draw())
