"""Each source's miniature is built by the main job and trained on."""

import ast
import shlex

import aistpp_fixture
import dancing2music_fixture
import kinetics_fixture
import magnatagatune_fixture
import numpy as np
import pytest

from configs import audio_pretrain, debug
from dance2wave import experiment
from dance2wave import options as options_lib
from dance2wave.datasets import base
from dance2wave.errors import InputError
from dance2wave.training import workdir


@pytest.fixture(autouse=True)
def here(monkeypatch):
  """Make clips in this process: starting others takes seconds."""
  one_by_one = lambda recorder, tasks, _: map(recorder, tasks)  # noqa: E731
  monkeypatch.setattr(base, 'run_here', one_by_one)


def make_options(folder, name, manual_dir='', **train):
  config = debug.get_config(name).to_dict()
  config['dataset'] |= {
    'data_dir': str(folder / 'tfds'),
    'manual_dir': str(manual_dir),
    'crop_s': 1.0,
  }
  # What reaches the steps is of interest, and not how much they can learn.
  config['pose'] |= {
    'describes': ('style', 'audio_features'),
    'num_blocks': 0,
  }
  config['train'] |= {'pose_steps': 2, 'joint_steps': 2, **train}
  config['sample'] |= {'num_clips': 2, 'num_videos': 0}
  return options_lib.parse(config)


def test_kinetics_trains_poses_and_sound(tmp_path):
  source = tmp_path / 'source'
  source.mkdir()
  contents = kinetics_fixture.make_clips(source)
  manual = tmp_path / 'kinetics'
  kinetics_fixture.class_folders(manual, contents)
  kinetics_fixture.add_poses(manual, source)
  options = make_options(tmp_path, 'kinetics_dance/k400', manual)
  figures = experiment.run(options, tmp_path / 'run')
  assert np.isfinite(figures['nll']) and figures['num_clips'] == 1
  assert 0 <= figures['beat_f70'] <= 1


def test_poses_without_sound_train_from_two_sources(tmp_path, capsys):
  name = 'aistpp,dancing2music'
  aistpp = aistpp_fixture.write_tree(tmp_path / 'aistpp')
  units = tmp_path / 'dancing2music'
  dancing2music_fixture.write_tree(units)
  options = make_options(tmp_path, name, units, joint_steps=0)
  with pytest.raises(InputError, match='aistpp, dancing2music; expected a fol'):
    experiment.run(options, tmp_path / 'run')
  for one, folder in (('aistpp', aistpp), ('dancing2music', units)):
    experiment.prepare_datasets(make_options(tmp_path, one, folder))
  options = make_options(tmp_path, name, joint_steps=0, pose_steps=4)
  figures = experiment.run(options, tmp_path / 'run')
  assert figures['beat'] > 0 and 0 <= figures['style_accuracy'] <= 1
  assert 'style accuracy' in capsys.readouterr().out
  with_sound = make_options(tmp_path, name)
  with pytest.raises(InputError, match='has no audio'):
    experiment.run(with_sound, tmp_path / 'other')


def test_what_a_second_dataset_lacks_is_told_before_the_first_is_built(
  tmp_path,
):
  options = make_options(tmp_path, 'synthetic_dance/debug,clip_folder')
  with pytest.raises(InputError, match='clip_folder: no folder given'):
    experiment.prepare_datasets(options)
  assert not list(tmp_path.rglob('synthetic_dance'))


def test_a_dataset_under_two_names_is_refused(tmp_path):
  options = make_options(tmp_path, 'synthetic_dance,synthetic_dance/default')
  with pytest.raises(InputError, match=r'synthetic_dance/default/.* twice'):
    experiment.prepare_datasets(options)


@pytest.mark.parametrize(
  ('key', 'value'),
  [
    ('dataset.weights', [1.0, 3.0]),
    ('train.init_from', ["runs/it's", 'a b']),
    ('train.batch_size', 4),
    ('dataset.name', 'synthetic_dance'),
  ],
)
def test_a_flag_that_is_advised_can_be_pasted(key, value):
  (word,) = shlex.split(workdir.as_flag(key, value))
  name, _, text = word.partition('=')
  assert name == f'--config.{key}'
  if isinstance(value, list):
    assert ast.literal_eval(text) == tuple(value)
  else:
    assert text == str(value)


@pytest.mark.slow
def test_magnatagatune_trains_the_wavenet_on_tags(tmp_path):
  (tmp_path / 'mtat').mkdir()
  manual = magnatagatune_fixture.write_tree(tmp_path / 'mtat')
  options = make_options(
    tmp_path,
    'magnatagatune/all',
    manual,
    pose_steps=0,
    joint_steps=3,
    is_audio_only=True,
  )
  config = options_lib.to_dict(options)
  config |= {'styles': audio_pretrain.TAGS}
  config['pose']['describes'] = ()
  figures = experiment.run(options_lib.parse(config), tmp_path / 'run')
  assert 0 < figures['nll'] < 10
  assert figures['nll'] != figures['nll_unlabelled']
