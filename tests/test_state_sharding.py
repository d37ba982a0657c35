import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from dance2wave.errors import InputError
from dance2wave.models.dance2wave import Dance2Wave
from dance2wave.models.envelope import ORDER, whiten
from dance2wave.models.timbre import band_levels
from dance2wave.models.wavenet import WaveNet
from dance2wave.training import optimizer as optimizer_lib
from dance2wave.training import sharding
from dance2wave.training.state import TrainState, first_match, leaf_name


def make_model(key):
  pose = {
    'motion_dim': 7,
    'width': 16,
    'num_heads': 2,
    'num_blocks': 1,
    'stem_dilations': (1,),
    'top_dilations': (1,),
    'kernel': 3,
    'window_s': 0.8,
    'look_ahead_s': None,
    'pose_rate_hz': 25,
  }
  wave = {
    'num_styles': 3,
    'dilations': (1, 2, 4),
    'kernel': 2,
    'residual': 8,
    'gate': 8,
    'skip': 16,
    'num_outputs': 32,
    'samples_per_frame': 10,
  }
  return Dance2Wave(pose=pose, wave=wave, rngs=nnx.Rngs(key))


def make_wave():
  return WaveNet(
    context_dim=8,
    num_styles=3,
    dilations=(1, 2),
    kernel=2,
    residual=8,
    gate=8,
    skip=8,
    num_outputs=16,
    samples_per_frame=10,
    rngs=nnx.Rngs(0),
  )


def make_state(key):
  params = nnx.to_pure_dict(nnx.state(make_model(key), nnx.Param))
  optimizer = optimizer_lib.make_optimizer(
    lambda count: 1e-3, weight_decay=0.1, clip_norm=1.0
  )
  return TrainState(
    step=jnp.zeros((), jnp.int32),
    params=params,
    ema=params,
    opt_state=optimizer.init(params),
  )


@pytest.fixture(scope='module')
def abstract_state():
  return jax.eval_shape(make_state, jax.random.key(0))


ADAM = 'opt_state/1/inner_states/adam/inner_state'
MUON = 'opt_state/1/inner_states/muon/inner_state/0'


def named(tree):
  leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
  return {leaf_name(path): leaf for path, leaf in leaves}


def test_a_state_is_a_tree_with_readable_names(abstract_state):
  names = named(abstract_state)
  assert 'step' in names
  assert 'params/pose/layers/0/taps/kernel' in names
  assert 'ema/wave/taps' in names
  assert f'{ADAM}/mu/wave/style' in names
  assert f'{MUON}/mu/wave/taps' in names
  doubled = jax.tree.map(lambda x: 2 * x, TrainState(1, {0: 2}, {0: 3}, (4,)))
  assert doubled == TrainState(2, {0: 4}, {0: 6}, (8,))


def test_the_first_rule_that_is_found_counts():
  rules = ((r'a/b$', 1), (r'b$', 2), (r'(^|/)c$', 3))
  assert first_match(rules, 'x/a/b', 't') == 1
  assert first_match(rules, 'x/b', 't') == 2
  assert first_match(rules, 'c', 't') == 3
  with pytest.raises(InputError, match='x/cc is covered by no rule of t'):
    first_match(rules, 'x/cc', 't')


@pytest.mark.parametrize(
  'shape', [(1, 1, 1, 1), (2, 4, 1, 1), (1, 2, 4, 1), (2, 1, 1, 3)]
)
def test_a_mesh_has_the_asked_shape_and_leaves_sharding_to_the_compiler(shape):
  mesh = sharding.make_mesh(*shape)
  assert mesh.axis_names == ('data', 'fsdp', 'tensor', 'sequence')
  assert mesh.devices.shape == shape
  assert mesh.axis_types == (AxisType.Auto,) * 4
  wanted = jax.devices()[: math.prod(shape)]
  assert list(mesh.devices.flat) == wanted


def test_too_few_devices_are_refused_with_keys_and_numbers():
  with pytest.raises(InputError) as error:
    sharding.make_mesh(4, 3)
  for part in ('mesh.data=4', 'mesh.fsdp=3', '12 devices', 'are 8'):
    assert part in str(error.value)


def test_no_process_may_be_left_without_a_device(monkeypatch):
  monkeypatch.setattr(jax, 'process_count', lambda: 2)
  with pytest.raises(InputError, match='exactly that many'):
    sharding.make_mesh(2, 2)


def test_every_parameter_of_the_model_is_covered(abstract_state):
  places = named(sharding.shardings(abstract_state, sharding.make_mesh(2, 4)))
  assert places['step'].spec == P()
  assert places[f'{ADAM}/count'].spec == P()
  assert places[f'{MUON}/ns_coeffs'].spec == P()
  for part in ('params', 'ema', f'{ADAM}/mu', f'{ADAM}/nu'):
    assert places[f'{part}/pose/embed/kernel'].spec == P(None, 'fsdp')
    assert places[f'{part}/wave/taps_bias'].spec == P()
    assert places[f'{part}/wave/style'].spec == P()
    assert places[f'{part}/pose/layers/0/norm/scale'].spec == P()
    # (16, 6) does not divide by 4.
    assert places[f'{part}/pose/heads/kernel'].spec == P()
  for part in ('params', 'ema', f'{MUON}/mu'):
    assert places[f'{part}/wave/taps'].spec == P(None, None, 'fsdp')
    assert places[f'{part}/wave/skip/kernel'].spec == P(None, 'fsdp')


def test_most_of_the_memory_is_split(abstract_state):
  mesh = sharding.make_mesh(1, 8)
  places = sharding.shardings(abstract_state, mesh)
  pairs = [
    (leaf.shape, place.shard_shape(leaf.shape))
    for leaf, place in zip(
      jax.tree.leaves(abstract_state), jax.tree.leaves(places)
    )
  ]
  whole, shard = (sum(map(np.prod, shapes)) for shapes in zip(*pairs))
  assert shard < 0.3 * whole


def test_a_parameter_that_no_rule_covers_is_named():
  tree = {'params': {'new': {'table': jnp.ones((4, 4))}}}
  with pytest.raises(
    InputError, match='params/new/table is covered by no rule'
  ):
    sharding.shardings(tree, sharding.make_mesh(1, 2))


def test_a_rule_with_too_many_axes_is_an_error_with_name_and_shape():
  tree = {'a': {'kernel': jnp.ones(8)}}
  with pytest.raises(InputError, match=r'a/kernel of shape \(8,\)'):
    sharding.shardings(tree, sharding.make_mesh(1, 2))


def test_rules_may_split_one_axis_over_both_mesh_axes():
  rules = (('w', P(('data', 'fsdp'))),)
  mesh = sharding.make_mesh(2, 4)
  tree = {'w': jnp.ones((16, 3)), 'w2': jnp.ones((12, 3))}
  places = sharding.shardings(tree, mesh, rules)
  assert places['w'].shard_shape((16, 3)) == (2, 3)
  assert places['w2'].spec == P()


def test_a_state_is_born_where_it_is_meant_to_live():
  def make():
    params = {'a': {'kernel': jnp.ones((8, 16)), 'bias': jnp.ones(16)}}
    return TrainState(jnp.int32(0), params, params, (params,))

  mesh = sharding.make_mesh(2, 4)
  target = sharding.with_shardings(jax.eval_shape(make), mesh)
  places = jax.tree.map(lambda leaf: leaf.sharding, target)
  state = jax.jit(make, out_shardings=places)()
  for leaf, wanted in zip(jax.tree.leaves(state), jax.tree.leaves(target)):
    assert (leaf.shape, leaf.dtype) == (wanted.shape, wanted.dtype)
    assert leaf.sharding.is_equivalent_to(wanted.sharding, leaf.ndim)
  moment = state.opt_state[0]['a']['kernel']
  assert moment.sharding.shard_shape(moment.shape) == (8, 4)


def test_a_batch_is_split_by_clips_over_all_devices():
  mesh = sharding.make_mesh(2, 4)
  batch = {
    'audio_BT': np.arange(16 * 5, dtype=np.int16).reshape(16, 5),
    'clip_index_B': np.arange(16, dtype=np.int32),
  }
  placed = sharding.shard_batch(batch, mesh)
  for name, array in placed.items():
    assert array.sharding == sharding.batch_sharding(mesh)
    np.testing.assert_array_equal(np.asarray(array), batch[name])
    firsts = [shard.data.shape[0] for shard in array.addressable_shards]
    assert firsts == [2] * 8


def test_sound_is_whitened_to_the_same_bits_on_any_number_of_devices():
  hop, rate = 320, 16_000
  sound = np.random.default_rng(0).standard_normal((8, 6 * hop), np.float32)
  sound = 0.1 * np.cumsum(sound, axis=1) / np.arange(1, 6 * hop + 1) ** 0.5

  def whitened(sound_BT):
    levels = band_levels(sound_BT, hop=hop, sample_rate_hz=rate, num_bands=24)
    cut = sound_BT[:, : ORDER + 5 * hop]
    return whiten(cut, levels, hop=hop, sample_rate_hz=rate)[0]

  drawn = []
  for data, fsdp in [(1, 1), (2, 2), (1, 8)]:
    mesh = sharding.make_mesh(data, fsdp)
    by_clips = jax.jit(sharding.by_clips(whitened, mesh))
    drawn.append(np.asarray(by_clips(sharding.shard_batch(sound, mesh))))
  assert 0.05 < drawn[0].std() < 0.5
  np.testing.assert_array_equal(drawn[0], drawn[1])
  np.testing.assert_array_equal(drawn[0], drawn[2])


def test_the_loss_and_its_gradient_are_those_of_one_device(capfd):
  """Of a WaveNet, which has every kind of parameter: stacked and a table."""
  graphdef, state = nnx.split(nnx.eval_shape(make_wave), nnx.Param)
  rng = np.random.default_rng(0)
  params = jax.tree.map(
    lambda leaf: 0.3 * rng.standard_normal(leaf.shape, np.float32),
    nnx.to_pure_dict(state),
  )
  batch = {
    'context': rng.standard_normal((8, 4, 8)).astype(np.float32),
    'past': rng.standard_normal((8, 30)).astype(np.float32),
    'label': np.eye(4, 3, dtype=np.float32)[np.arange(8) % 4],
  }

  def loss(params, batch):
    model = nnx.merge(graphdef, params)
    condition = model.condition(batch['context'], batch['label'])
    return jnp.mean(model(batch['past'], condition) ** 2)

  step = jax.jit(jax.value_and_grad(loss))
  results = []
  for shape in ((1, 1), (2, 4)):
    mesh = sharding.make_mesh(*shape)
    placed = jax.device_put(params, sharding.shardings(params, mesh))
    results.append(step(placed, sharding.shard_batch(batch, mesh)))
  (value, grads), (other, other_grads) = jax.device_get(results)
  np.testing.assert_allclose(value, other, rtol=1e-6)
  for a, b in zip(jax.tree.leaves(grads), jax.tree.leaves(other_grads)):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
  assert np.abs(grads['style']).max() > 0
  assert 'rematerialization' not in capfd.readouterr().err
