"""Each source's miniature is built by the main job and trained on."""

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
