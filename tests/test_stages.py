"""Runs of poses alone and of sound alone, and what they hand on."""

import dataclasses
import re
import shutil

import jax
import numpy as np
import pytest
from flashing import flashing_clip
from small_config import options_with

from configs import audio_pretrain, pose_transformer, wavenet
from dance2wave import experiment, pipeline
from dance2wave import options as options_lib
from dance2wave.datasets import clips, styles
from dance2wave.errors import InputError
from dance2wave.metrics import score
from dance2wave.training import loop, sharding, warm_start
from dance2wave.training.programs import make_programs

STYLE_TABLES = ('wave/style',)


def make_options(data_dir, **changes):
  return options_with(dataset__data_dir=str(data_dir), **changes)


@pytest.fixture(scope='module')
def pose_run(data_dir, tmp_path_factory):
  """A finished run of the pose transformer alone: (folder, figures)."""
  options = make_options(
    data_dir,
    pose__describes=('style', 'audio_features'),
    train__pose_steps=40,
    train__joint_steps=0,
    train__learning_rate=5e-3,
  )
  folder = tmp_path_factory.mktemp('pose') / 'run'
  return folder, experiment.run(options, folder)


@pytest.fixture(scope='module')
def audio_run(data_dir, tmp_path_factory):
  """A finished run of the WaveNet alone: (folder, figures)."""
  options = make_options(
    data_dir,
    train__is_audio_only=True,
    train__pose_steps=0,
    train__joint_steps=10,
  )
  folder = tmp_path_factory.mktemp('audio') / 'run'
  return folder, experiment.run(options, folder)


def initial_state(options):
  made = make_programs(options, sharding.make_mesh(1, 1))
  return made.make_state(jax.random.key(options.seed))


def state_of_zeros(options):
  """A state of the right shapes, for what never asks for its values."""
  abstract = make_programs(options, sharding.make_mesh(1, 1)).abstract
  return jax.tree.map(
    lambda x: jax.device_put(np.zeros(x.shape, x.dtype), x.sharding), abstract
  )


def parameters(folder):
  return warm_start._by_name(warm_start.load_ema(folder)[2])


def test_poses_alone_learn_and_are_scored_beside_chance(pose_run):
  _, figures = pose_run
  assert 'nll' not in figures and 'num_clips' not in figures
  assert 0 <= figures['style_accuracy'] <= 1
  assert 0.5 < figures['audio_features'] < 1.3
  assert figures['beat_shuffled_pose'] > 0
  table = score.format_held_out(figures)
  assert f'{figures["style_accuracy"]:.3f}' in table
  assert f'{figures["phase_cosine_shuffled_pose"]:.3f}' in table


def test_sound_alone_leaves_the_pose_transformer_as_it_was(audio_run, data_dir):
  folder, figures = audio_run
  assert 0 < figures['nll'] < 6 and 'beat' not in figures
  assert {'nll_unlabelled', 'nll_shuffled_label'} <= figures.keys()
  options = warm_start.load_ema(folder)[0]
  state = initial_state(options)
  trained = parameters(folder)
  for name, value in warm_start._by_name(state.params).items():
    # What reads the context of a silent dance learns nothing from it.
    reads_context = re.search('context|timbre/hidden', name)
    is_wave = name.startswith('wave/') and not reads_context
    decayed = np.asarray(value) * np.ones_like(trained[name])
    if name.startswith('pose/') and name.endswith('bias'):
      np.testing.assert_array_equal(trained[name], decayed)
    if is_wave and name.endswith('kernel'):
      assert np.abs(trained[name] - value).max() > 1e-4


def test_a_new_run_starts_from_both(pose_run, audio_run, data_dir, capsys):
  folders = [str(folder) for folder, _ in (pose_run, audio_run)]
  options = make_options(data_dir, train__init_from=tuple(folders))
  state = initial_state(options)
  fresh = warm_start._by_name(state.params)
  state, coverages = warm_start.warm_start(options, state)
  theirs = [parameters(folder) for folder, _ in (pose_run, audio_run)]
  given = 0
  for name, value in warm_start._by_name(state.params).items():
    which = 0 if name.startswith(('pose/', 'wave/timbre/')) else 1
    met_no_dance = name.startswith('wave/context/')
    given += 0 if met_no_dance else value.size
    if met_no_dance:
      np.testing.assert_array_equal(value, fresh[name])
    else:
      np.testing.assert_array_equal(value, theirs[which][name], err_msg=name)
  for a, b in zip(jax.tree.leaves(state.params), jax.tree.leaves(state.ema)):
    np.testing.assert_array_equal(a, b)
  assert 'pose/style_head/kernel' in coverages[0].left
  total = sum(value.size for value in fresh.values())
  assert sum(c.share for c in coverages) == pytest.approx(given / total)
  assert '% of all values' in str(coverages[0])


def test_a_run_that_is_in_its_pose_stage_has_no_sound_yet(monkeypatch):
  options = options_with(train__pose_steps=40, train__joint_steps=10)
  for made, is_sound in ((30, False), (40, False), (41, True)):
    so_far = warm_start.so_far(options, made)
    assert so_far.train.pose_steps + so_far.train.joint_steps == made
    assert warm_start.is_trained(so_far, 'wave/taps') == is_sound
    assert warm_start.is_trained(so_far, 'pose/embed/kernel')
    run = options, 'graph', 'params', made
    monkeypatch.setattr(warm_start, '_load', lambda _, run=run: run)
    if is_sound:
      assert warm_start.load_player('folder') == run[:3]
    else:
      with pytest.raises(
        InputError, match=f'made {made} of its 40 .* no sound'
      ):
        warm_start.load_player('folder')


def test_rows_of_other_labels_are_left(audio_run, data_dir):
  folder = str(audio_run[0])
  options = make_options(
    data_dir, train__init_from=(folder,), styles=('polka', 'house')
  )
  state = state_of_zeros(options)
  _, (coverage,) = warm_start.warm_start(options, state)
  assert coverage.left == STYLE_TABLES
  same = dataclasses.replace(options, styles=tuple('abcdef'))
  _, (coverage,) = warm_start.warm_start(same, state_of_zeros(same))
  assert coverage.left == STYLE_TABLES


def test_other_sizes_and_other_folders_are_named(audio_run, data_dir, tmp_path):
  folder = str(audio_run[0])
  options = make_options(
    data_dir, train__init_from=(folder,), wave__residual=12
  )
  state = state_of_zeros(options)
  with pytest.raises(InputError, match=r'wave/.* has the shape .*config\.json'):
    warm_start.warm_start(options, state)
  options = make_options(data_dir, train__init_from=(str(tmp_path),))
  with pytest.raises(InputError, match=r'holds no config\.json'):
    warm_start.warm_start(options, state)
  with pytest.raises(InputError, match=r'^train.init_from: .* no config\.json'):
    warm_start.check_sources(options)


@pytest.mark.parametrize(
  ('changes', 'there', 'here'),
  [
    ({'sample_rate_hz': 16000}, 'sample_rate_hz=8000', 'says 16000'),
    ({'wave__is_levelled': False}, 'wave.is_levelled=True', 'says False'),
    ({'wave__is_whitened': False}, 'wave.is_whitened=True', 'says False'),
    (
      {'wave__num_cycles': 2, 'wave__layers_per_cycle': 2},
      'wave.num_cycles=1',
      'says 2',
    ),
  ],
)
def test_parameters_that_fit_but_mean_something_else_are_named(
  audio_run, data_dir, changes, there, here
):
  options = make_options(
    data_dir, train__init_from=(str(audio_run[0]),), **changes
  )
  with pytest.raises(InputError) as error:
    warm_start.warm_start(options, state_of_zeros(options))
  for word in (there, here, f'set --config.{there}', 'train.init_from='):
    assert word in str(error.value)


def test_a_pose_run_of_another_sample_rate_is_welcome(pose_run, data_dir):
  options = make_options(
    data_dir, train__init_from=(str(pose_run[0]),), sample_rate_hz=16000
  )
  _, (coverage,) = warm_start.warm_start(options, state_of_zeros(options))
  assert coverage.taken and 'wave/timbre/levels/kernel' in coverage.left
  slower = make_options(
    data_dir, train__init_from=(str(pose_run[0]),), pose_rate_hz=20
  )
  with pytest.raises(InputError, match='pose_rate_hz=25, but the config says'):
    warm_start.warm_start(slower, state_of_zeros(slower))


@pytest.mark.parametrize(
  'key, value',
  [
    ('num_heads', 4),
    ('stem_dilations', (4,)),
    ('top_dilations', (2,)),
    ('window_s', 0.5),
    ('look_ahead_s', 0.8),
    ('look_ahead_s', None),
  ],
)
def test_poses_that_fit_but_are_read_otherwise_are_named(
  pose_run, data_dir, key, value
):
  changes = {f'pose__{key}': value, 'train__init_from': (str(pose_run[0]),)}
  options = make_options(data_dir, **changes)
  with pytest.raises(InputError, match=rf'was trained with pose\.{key}='):
    warm_start.warm_start(options, state_of_zeros(options))


def test_a_warm_start_is_not_taken_again_on_resume(
  pose_run, data_dir, tmp_path, capsys
):
  options = make_options(
    data_dir,
    train__init_from=(str(pose_run[0]),),
    train__pose_steps=2,
    train__joint_steps=0,
    train__save_every=2,
  )
  loop.train(options, tmp_path / 'run')
  assert 'Took ' in capsys.readouterr().out
  loop.train(options, tmp_path / 'run')
  assert 'Took ' not in capsys.readouterr().out


def test_a_run_goes_on_without_the_run_that_it_started_from(
  pose_run, data_dir, tmp_path, monkeypatch
):
  source = tmp_path / 'source'
  shutil.copytree(pose_run[0], source)
  options = make_options(
    data_dir,
    train__init_from=(str(source),),
    train__pose_steps=2,
    train__joint_steps=0,
    train__save_every=2,
  )
  folder = tmp_path / 'run'
  experiment.run(options, folder)
  (folder / 'result.json').unlink()
  shutil.rmtree(source)
  assert experiment.run(options, folder)['num_steps'] == 2
  with pytest.raises(InputError, match=r'holds no config\.json'):
    experiment.run(options, tmp_path / 'new')


def test_configs_parse_and_name_the_whole_vocabulary():
  assert set(wavenet.STYLES) == set(styles.STYLES)
  pose = options_lib.parse(pose_transformer.get_config('dancing2music'))
  assert pose.train.joint_steps == 0 and pose.styles == wavenet.STYLES
  audio = options_lib.parse(audio_pretrain.get_config())
  assert audio.dataset.names == ('magnatagatune',)
  assert len(audio.styles) == 50 and audio.train.is_audio_only
  assert wavenet.get_config('synthetic_dance/debug').styles != wavenet.STYLES
  mixed = wavenet.get_config('synthetic_dance/debug,aistpp')
  assert mixed.styles == wavenet.STYLES
  assert options_lib.parse(mixed).dataset.names == (
    'synthetic_dance/debug',
    'aistpp',
  )


@pytest.mark.parametrize(
  'changes, key',
  [
    ({'dataset__weights': (1.0,), 'dataset__name': 'a,b'}, 'dataset.weights'),
    ({'dataset__weights': (1.0, -1.0), 'dataset__name': 'a,b'}, 'weights'),
    ({'dataset__name': 'a,,b'}, 'dataset.name'),
    ({'dataset__name': 'a,a'}, 'dataset.name'),
    ({'pose__describes': ('mood',)}, 'pose.describes'),
    ({'train__is_audio_only': True}, 'train.pose_steps'),
  ],
)
def test_bad_options_are_named(changes, key):
  with pytest.raises(InputError, match=key):
    make_options('', **changes)


def test_labels_are_the_style_and_the_tags():
  clip = {**flashing_clip(2.0), 'aux': {'labels': b'drums,no vocals'}}
  clip['style'] = 'house'
  (batch,) = (
    pipeline.Pipeline(
      [clip],
      batch_size=1,
      crop_s=1.0,
      sample_rate_hz=8000,
      pose_rate_hz=50,
      styles=('no vocals', 'pop', 'house'),
    ).batch(0),
  )
  assert batch['label_BS'].tolist() == [[1.0, 0.0, 1.0]]


def test_audio_features_are_the_sources_own_or_those_of_the_sound():
  own = np.random.default_rng(0).normal(3, 2, (46, 28)).astype(np.float32)
  rates = {'sample_rate_hz': 8000, 'pose_rate_hz': 25}
  plain = flashing_clip(3.0)
  given = clips.ready_clip(
    {**plain, 'aux': {'audio_features_FA': own}}, with_features=True, **rates
  )
  standard = (own - own.mean(0)) / own.std(0)
  # Frame 5 k of the poses is frame 3 k of the features.
  np.testing.assert_allclose(given.features_FA[::5], standard[:45:3], atol=1e-4)
  heard = clips.ready_clip(plain, with_features=True, **rates)
  assert heard.features_FA.shape == (75, 28)
  assert np.isfinite(heard.features_FA).all() and heard.features_FA.std() > 0.5
  mute = {**plain, 'audio': np.zeros(0, np.int16)}
  assert not len(
    clips.ready_clip(mute, with_features=True, **rates).features_FA
  )
  assert not len(clips.ready_clip(plain, **rates).features_FA)
