"""The `gpu` engine draws what the `xla` engine draws.

Without a GPU its kernel runs as plain operations, which shows what it
computes, but not that its threads wait for one another. With one it runs as
it is; repeat it then, so that a race is seen:

    for i in $(seq 20); do JAX_DEFAULT_MATMUL_PRECISION=highest \
        python -m pytest -n 0 tests/test_gpu_engine.py || break; done
"""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from engine_cases import CONTEXT, make_case, make_model, tokens

from dance2wave.errors import InputError
from dance2wave.sampling import engines, gpu
from dance2wave.sampling.gpu import GpuEngine
from dance2wave.sampling.xla import Draw
from dance2wave.training import cost

_HAS_GPU = jax.default_backend() == 'gpu'
_RUNS = 10 if _HAS_GPU else 1
_SHORT = (('samples_per_frame', 24),)
# No size is a power of two, and no ring is of a frame's length.
_ODD = (('residual', 20), ('gate', 24), ('skip', 72), *_SHORT)
make_engine = functools.partial(GpuEngine, interpret=not _HAS_GPU)


@pytest.mark.parametrize(
  'kernel, sizes, draw',
  [
    pytest.param(2, _SHORT, {'temperature': 0.9}, marks=pytest.mark.slow),
    (3, _ODD, {'guidance': 2.0, 'top_p': 0.8}),
    (2, _SHORT, {'weights': 'int8', 'levels': 200}),
    (2, _SHORT, {'levels': 7}),
  ],
)
def test_classes_are_those_of_the_reference(kernel, sizes, draw):
  case = make_case(3, 4, kernel=kernel, sizes=sizes, **draw)
  for _ in range(_RUNS):
    audio = np.asarray(case.run(make_engine))
    assert audio.shape == case.audio.shape
    np.testing.assert_array_equal(tokens(audio), tokens(case.audio))
    np.testing.assert_allclose(audio, case.audio, atol=1e-6)


def test_mixture_samples_are_those_of_the_reference():
  """They are continuous, so that rounding is heard, but does not grow."""
  draw = {'guidance': 2.0, 'top_p': 0.8}
  case = make_case(2, 4, 'mixture', 3, _SHORT, **draw)
  for _ in range(_RUNS):
    audio = case.run(make_engine)
    np.testing.assert_allclose(audio, case.audio, atol=1e-4)


def test_a_clip_is_the_same_in_pieces_alone_and_from_a_fork():
  """The second piece is drawn by clips that a fork has put in its place."""
  case = make_case(3, 4, sizes=_SHORT, temperature=0.9)
  engine = make_engine(*case.model, case.draw)
  order = np.array([2, 0, 2])
  first, state = engine.run(
    case.context[:, :2], case.style, case.uniform[:1], engine.start(3)
  )
  second, state = engine.run(
    case.context[order, 1:],
    case.style[order],
    case.uniform[1:, :, order],
    engine.fork(state, order),
  )
  drawn = np.concatenate([np.asarray(first)[order], second], axis=1)
  np.testing.assert_array_equal(tokens(drawn), tokens(case.audio[order]))
  alone = case.run(make_engine, slice(1, 2))
  np.testing.assert_array_equal(tokens(alone), tokens(case.audio[1:2]))


def trace(output, draw):
  """Trace the kernel of a model of odd sizes."""
  draw = Draw(is_mixture=output == 'mixture', **draw)
  graphdef, params = make_model(output, 3, _ODD)
  engine = GpuEngine(graphdef, params, draw, interpret=True)
  batch, frames, hop = 3, 5, 24
  blank = functools.partial(jax.ShapeDtypeStruct, dtype=jnp.float32)
  run = functools.partial(gpu._run, graphdef, draw=draw, interpret=False)
  return jax.jit(run).trace(
    params,
    engine._weights,
    blank((batch, frames + 1, CONTEXT)),
    jax.ShapeDtypeStruct((batch,), jnp.int32),
    blank((frames, hop, batch, 2)),
    jax.ShapeDtypeStruct((), jnp.int32),
    jax.eval_shape(lambda: engine.start(batch)),
  )


_OUTPUTS = pytest.mark.parametrize(
  'output, draw',
  [('softmax', {}), ('mixture', {'guidance': 2.0, 'top_p': 0.8})],
)


@_OUTPUTS
def test_it_lowers_for_cuda_to_one_kernel_of_triton(output, draw):
  text = trace(output, draw).lower(lowering_platforms=('cuda',)).as_text()
  calls = re.findall(r'custom_call @(\S+)\(', text)
  assert sum('triton' in name for name in calls) == 1
  assert not [name for name in calls if 'mosaic' in name]


def equations(jaxpr):
  """Yield all equations of a jaxpr and of those in it."""
  for equation in jaxpr.eqns:
    yield equation
    for inner in cost._inner(equation.params.values()):
      yield from equations(inner)


@_OUTPUTS
def test_no_operation_drops_what_is_not_a_number(output, draw):
  """Those of Triton for max, min and clamp do; its plain ones do not."""
  (kernel,) = (
    equation.params['jaxpr']
    for equation in equations(trace(output, draw).jaxpr.jaxpr)
    if equation.primitive.name == 'pallas_call'
  )
  found = {
    equation.primitive.name
    for equation in equations(kernel)
    for value in equation.outvars
    if jnp.issubdtype(value.aval.dtype, jnp.floating)
  }
  assert 'exp' in found
  assert not found & {'max', 'min', 'clamp'}


def test_a_model_that_is_not_finite_is_not_made_up_for():
  graphdef, params = make_model('mixture', 3, _SHORT)
  params = jax.tree.map(lambda p: jnp.full_like(p, jnp.nan), params)
  engine = make_engine(graphdef, params, Draw(is_mixture=True))
  audio, _ = engine.run(
    jnp.zeros((1, 2, CONTEXT)),
    jnp.array([-1]),
    jnp.full((1, 24, 1, 2), 0.5),
    engine.start(1),
  )
  np.testing.assert_array_equal(audio, np.full((1, 24), np.nan))


@pytest.mark.skipif(_HAS_GPU, reason='there is a GPU here')
def test_without_a_gpu_it_is_refused_in_one_line():
  with pytest.raises(InputError, match=r'runs on cpu; .* use engine=xla'):
    engines.make_engine('gpu', *make_model(sizes=_SHORT), Draw())


@pytest.mark.skipif(_HAS_GPU, reason='there is a GPU here')
def test_auto_tries_it_on_gpus_and_says_why_it_is_not_taken(
  monkeypatch, caplog
):
  model = make_model(sizes=_SHORT)
  monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
  assert engines.make_engine('auto', *model, Draw()).name == 'xla'
  (record,) = caplog.records
  assert 'gpu does not compile here' in record.message
  with pytest.raises(InputError, match='engine=gpu does not compile here'):
    engines.make_engine('gpu', *model, Draw())
