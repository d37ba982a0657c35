"""Matrices in bytes: what they are rounded to, and who reads what."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from engine_cases import make_case, make_model, tokens
from small_config import config_with

from dance2wave.errors import InputError
from dance2wave.options import parse
from dance2wave.sampling import cpu, offline, weights
from dance2wave.sampling.cpu import CpuEngine


def test_a_weight_is_off_by_half_a_step_of_its_output_at_most():
  rng = np.random.default_rng(0)
  matrix_LIO = rng.normal(size=(3, 20, 5)).astype(np.float32)
  matrix_LIO *= np.logspace(-3, 3, 5, dtype=np.float32)
  numbers, scale = weights.to_bytes(matrix_LIO)
  assert numbers.dtype == np.int8 and scale.shape == (3, 1, 5)
  assert np.all(np.abs(numbers).max(axis=1) == 127)
  np.testing.assert_array_less(
    np.abs(numbers * scale - matrix_LIO), 0.501 * scale + 0 * matrix_LIO
  )


def test_outputs_of_nothing_and_of_no_number_stay_so():
  matrix = np.array([[0, np.nan, 1], [0, 2, np.inf]], np.float32)
  numbers, scale = weights.to_bytes(matrix)
  np.testing.assert_array_equal(numbers, 0)
  np.testing.assert_array_equal(scale, [[0, np.nan, np.inf]])


def test_matrices_of_the_loop_are_rounded_layer_by_layer_and_nothing_else():
  _, params = make_model()
  params = jax.device_put(params, jax.devices()[3])
  assert weights.rounded(params, 'float32') is params
  rounded = weights.rounded(params, 'int8')
  changed = set()
  for path, value in jax.tree.leaves_with_path(rounded):
    old = params
    for key in path:
      old = old[key.key]
    assert value.sharding == old.sharding and value.dtype == old.dtype
    if not np.array_equal(value, old):
      changed.add(jax.tree_util.keystr(path, simple=True, separator='/'))
  names = ('skip/kernel', 'hidden/kernel', 'logits/kernel', 'taps', 'residual')
  assert changed == {f'wave/{name}' for name in names}
  layers = params['wave']['residual'].shape[0]
  skip = np.asarray(rounded['wave']['skip']['kernel'])
  skip = skip.reshape(layers, -1, skip.shape[-1])
  old = np.asarray(params['wave']['skip']['kernel']).reshape(skip.shape)
  # Each layer's largest weight of an output is kept.
  np.testing.assert_allclose(
    np.abs(skip).max(axis=1), np.abs(old).max(axis=1), rtol=1e-6
  )


@pytest.mark.parametrize(
  'clips, kernel, draw',
  [
    (11, 2, {}),
    pytest.param(3, 3, {'guidance': 2.0}, marks=pytest.mark.slow),
  ],
)
def test_engines_draw_the_same_of_them(clips, kernel, draw):
  """Eleven clips are tiles of eight, two and one."""
  sizes = ('residual', 40), ('gate', 24), ('skip', 72)
  case = make_case(clips, 4, kernel=kernel, sizes=sizes, weights='int8', **draw)
  audio = case.run(CpuEngine)
  np.testing.assert_array_equal(tokens(audio), tokens(case.audio))
  alone = case.run(CpuEngine, slice(clips - 1, clips))
  np.testing.assert_array_equal(alone, audio[-1:])
  # It is not what is drawn of the weights as they are.
  plain = make_case(clips, 4, kernel=kernel, sizes=sizes, **draw)
  assert np.any(tokens(plain.audio) != tokens(case.audio))


def test_drafts_are_of_weights_that_are_no_bytes_yet(monkeypatch):
  monkeypatch.setattr(cpu, '_LEAST_S', 0.0)
  sizes = ('residual', 40), ('gate', 24), ('skip', 72)
  case = make_case(3, 4, kernel=3, sizes=sizes, weights='int8', guidance=2.0)
  assert CpuEngine(*case.model, case.draw)._drafts is None


def test_no_number_is_not_made_up_for():
  case = make_case(1, 4, 'mixture', kernel=3, weights='int8')
  graphdef, params = case.model
  params = jax.tree.map(lambda p: jnp.full_like(p, jnp.nan), params)
  case.model = graphdef, params
  assert np.all(np.isnan(case.run(CpuEngine)))


def test_they_are_asked_for_by_config_or_by_call():
  options = parse(config_with(sample__weights='int8'))
  assert offline.make_draw(options).weights == 'int8'
  assert offline.make_draw(options, weights='float32').weights == 'float32'
  with pytest.raises(InputError, match=r"sample.weights='int4'.*or int8"):
    parse(config_with(sample__weights='int4'))
