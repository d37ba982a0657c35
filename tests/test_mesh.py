"""Any mesh, any number of parts: the same losses; every parameter covered."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from small_config import config_with, options_with

from configs import audio_pretrain, pose_transformer, wavenet, wavenet_large
from dance2wave import options as options_lib
from dance2wave.errors import InputError
from dance2wave.media.audio_features import NUM_AUDIO_FEATURES
from dance2wave.models.parts import Draws, Dropout, Part
from dance2wave.pose.features import MOTION_DIM
from dance2wave.training import sharding, workdir
from dance2wave.training.programs import make_programs

WITH_DROPOUT = {
  'train__batch_size': 8,
  'train__style_dropout': 0.25,
  'train__context_dropout': 0.25,
  'pose__dropout': 0.1,
  'pose__describes': ('style', 'audio_features'),
  'train__infonce_weight': 0.5,
  'train__beat_contrast_weight': 0.5,
  'train__past_dropout': 0.5,
  'train__time_jitter': 0.2,
  'train__self_fed': 0.5,
}


def random_batch(options, frames=50):
  """A batch of noise in which clips differ in how much of them is known."""
  rng, clips = np.random.default_rng(0), options.train.batch_size
  shape = (clips, frames)
  names = ('beat', 'half_beat', 'beat_phase', 'onset', 'level', 'loudness')
  batch = {f'{k}_BF': rng.uniform(size=shape) for k in names}
  batch |= {
    'motion_BFM': rng.normal(size=(*shape, MOTION_DIM)),
    'audio_BT': rng.uniform(-1, 1, (clips, frames * options.samples_per_frame)),
    'features_BFA': rng.normal(size=(*shape, NUM_AUDIO_FEATURES)),
    'label_BS': np.eye(clips, len(options.styles)),
  }
  batch = {k: v.astype(np.float32) for k, v in batch.items()}
  flags = np.arange(clips) % 3 > 0
  length = frames - 2 * np.arange(clips)[:, None]
  return batch | {
    'valid_BF': np.arange(frames)[None] < length,
    'has_audio_B': flags,
    'has_features_B': flags[::-1],
  }


def run(**changes):
  """Figures of three joint steps on a mesh, by one program."""
  options = options_with(**(WITH_DROPOUT | changes))
  mesh = sharding.make_mesh(*dataclasses.astuple(options.mesh))
  made = make_programs(options, mesh)
  state, one_step = made.make_state(jax.random.key(0)), made.steps[True]
  batch = sharding.shard_batch(random_batch(options), mesh)
  rows = []
  for _ in range(3):
    state, figures = one_step(state, batch, jax.random.key(1))
    rows.append(jax.device_get(figures))
  assert one_step._cache_size() == 1
  places = jax.tree.map(lambda x: x.sharding, state)
  assert places == jax.tree.map(lambda x: x.sharding, made.abstract)
  return {k: np.array([row[k] for row in rows]) for k in rows[0]}


@pytest.fixture(scope='module')
def alone():
  """Figures on one device, of the whole batch; with all kinds of dropout."""
  return run()


WAYS = [
  {'mesh__data': 2, 'mesh__fsdp': 2, 'mesh__tensor': 2, 'train__accumulate': 2},
  {'mesh__data': 8},
  {'mesh__data': 4, 'mesh__fsdp': 2},
  {'mesh__data': 2, 'mesh__fsdp': 4},
  {'mesh__fsdp': 8},
  {'mesh__tensor': 4},
  {'mesh__data': 2, 'mesh__fsdp': 2, 'mesh__sequence': 2},
  {'mesh__sequence': 3, 'train__accumulate': 2, 'train__remat': True},
  {'train__accumulate': 4},
  {'train__accumulate': 8, 'train__remat': True},
]


def name(way):
  return '-'.join(f'{k.split("__")[1]}{v}' for k, v in way.items())


@pytest.mark.parametrize(
  'way',
  [
    pytest.param(w, marks=pytest.mark.slow if i else [], id=name(w))
    for i, w in enumerate(WAYS)
  ],
)
def test_losses_are_those_of_one_device(alone, way, capfd):
  found = run(**way)
  assert found.keys() == alone.keys()
  for key, values in alone.items():
    np.testing.assert_allclose(found[key], values, rtol=1e-5, err_msg=key)
  assert 'rematerialization' not in capfd.readouterr().err


CONFIGS = (audio_pretrain, pose_transformer, wavenet, wavenet_large)


@pytest.mark.parametrize('module', CONFIGS)
def test_rules_cover_the_whole_state_of_every_config(module):
  options = options_lib.parse(module.get_config())
  mesh = sharding.make_mesh(2, 2, 2)
  leaves = jax.tree.leaves(make_programs(options, mesh).abstract)
  shares = [x.sharding.shard_shape(x.shape) for x in leaves]
  whole = sum(x.size for x in leaves)
  assert sum(map(np.prod, shares)) < 0.5 * whole


def test_tensor_splits_pairs_of_matrices_and_not_the_residual_path():
  mesh = sharding.make_mesh(1, 1, 4)
  shapes = {
    'pose/layers/1/mlp_in/kernel': ((16, 64), (16, 16)),
    'pose/layers/1/mlp_out/kernel': ((64, 16), (16, 16)),
    'wave/skip/kernel': ((24, 16), (24, 4)),
    'wave/hidden/kernel': ((16, 16), (4, 16)),
    'pose/embed/kernel': ((8, 16), (8, 16)),
    'wave/style': ((4, 16), (4, 16)),
  }
  tree = {k: jax.ShapeDtypeStruct(s, 'float32') for k, (s, _) in shapes.items()}
  places = sharding.shardings(tree, mesh)
  for key, (shape, part) in shapes.items():
    assert places[key].shard_shape(shape) == part, key


@pytest.mark.parametrize('count', [1, 2, 4])
def test_parts_take_every_clip_once_and_draw_as_the_whole_does(count):
  clips = np.arange(8)
  parts = [Part(i, count).of(clips) for i in range(count)]
  np.testing.assert_array_equal(np.sort(np.concatenate(parts)), clips)
  key, drop = jax.random.key(3), Dropout(0.5)
  x = 1.0 + np.arange(8 * 50, dtype=np.float32).reshape(8, 50)
  whole = Draws(key)
  wanted = [drop(x, whole), drop(x, whole)]
  assert not np.array_equal(*wanted)
  for i in range(count):
    part = Part(i, count)
    draws = Draws(key, part)
    for y in wanted:
      np.testing.assert_array_equal(drop(part.of(x), draws), part.of(y))


def test_older_configs_have_no_new_keys_and_go_on(tmp_path):
  config = config_with()
  new = options_lib.parse(config)
  for group, key in (('mesh', 'tensor'), ('train', 'accumulate')):
    del config[group][key]
  del config['train']['remat']
  assert options_lib.parse(config) == new
  (tmp_path / 'config.json').write_text(json.dumps(config))
  (tmp_path / 'checkpoints' / '10').mkdir(parents=True)
  workdir.open_workdir(tmp_path, options_with(mesh__tensor=2))
  assert not workdir.differences(config, dataclasses.asdict(new))


@pytest.mark.parametrize(
  'changes, words',
  [
    ({'mesh__tensor': 0}, ('mesh.tensor=0', '> 0')),
    ({'mesh__sequence': 4}, ('mesh.sequence=4', 'a divisor of 6')),
    (
      {'mesh__sequence': 9, 'wave__layers_per_cycle': 10},
      ('mesh.sequence=9', '512 samples'),
    ),
    ({'train__accumulate': 0}, ('train.accumulate=0', '> 0')),
    ({'train__accumulate': 3}, ('train.batch_size=4', 'train.accumulate = 3')),
    ({'train__remat': 1}, ('train.remat=1', 'bool')),
  ],
)
def test_bad_values_are_named(changes, words):
  with pytest.raises(InputError) as error:
    options_with(**changes)
  for word in words:
    assert word in str(error.value)
