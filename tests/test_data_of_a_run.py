"""A run keeps to its data: what is said, refused and written otherwise."""

import json
import shutil

import pytest
from small_config import options_with

from dance2wave import experiment
from dance2wave.datasets import opening
from dance2wave.errors import InputError
from dance2wave.training import workdir


@pytest.fixture
def finished(tmp_path):
  """The folder of a finished run of the debug config."""
  folder = tmp_path / 'run'
  folder.mkdir()
  workdir.open_workdir(folder, options_with())
  workdir.write_json(folder / 'result.json', {'nll': 4.0})
  return folder


def test_a_finished_run_says_of_which_other_options_its_figures_are(
  finished, capsys
):
  config = (finished / 'config.json').read_bytes()
  asked = options_with(
    dataset__data_dir='/elsewhere',
    dataset__manual_dir='/videos',
    sample__temperature=0.5,
  )
  assert experiment.run(asked, finished) == {'nll': 4.0}
  line = capsys.readouterr().out.splitlines()[0]
  assert "is finished with dataset.data_dir='', not '/elsewhere', " in line
  assert "dataset.manual_dir='', not '/videos', sample.temperature=" in line
  assert ', not 0.5; remove ' in line
  assert (finished / 'config.json').read_bytes() == config
  experiment.run(options_with(), finished)
  assert 'is finished; remove' in capsys.readouterr().out


def test_a_finished_run_is_not_that_of_another_config(finished):
  with pytest.raises(InputError, match=r'seed=0, but the config says 7'):
    experiment.run(options_with(seed=7), finished)


def test_a_run_that_does_not_begin_keeps_its_config(tmp_path):
  folders = {'dataset__name': 'clip_folder'}
  folders['dataset__data_dir'] = str(tmp_path / 'data')
  workdir.open_workdir(tmp_path, options_with(**folders))
  before = (tmp_path / 'config.json').read_bytes()
  with pytest.raises(InputError, match='clip_folder: no folder given'):
    experiment.run(options_with(**folders, sample__seed=3), tmp_path)
  assert (tmp_path / 'config.json').read_bytes() == before


class Trained(Exception):
  """Raised in place of the training, which is not of interest."""


@pytest.fixture
def begin(tmp_path, monkeypatch):
  """Take a run up to its first step, on the data in a folder."""

  def stop(*_):
    raise Trained

  monkeypatch.setattr(experiment.loop, 'train', stop)

  def begin(folder, **changes):
    options = options_with(dataset__data_dir=str(folder), **changes)
    with pytest.raises(Trained):
      experiment.run(options, tmp_path / 'run')

  return begin


def changed_copy(data_dir, folder, change):
  """Copy the built dataset of the debug config, another in one respect."""
  shutil.copytree(data_dir, folder)
  (path,) = folder.glob('synthetic_dance/debug/*/dataset_info.json')
  info = json.loads(path.read_text())
  metadata = json.loads(path.with_name('metadata.json').read_text())
  change(info['splits'], metadata)
  path.write_text(json.dumps(info))
  path.with_name('metadata.json').write_text(json.dumps(metadata))
  return folder


def drop_clips(splits, metadata):
  splits[0]['shardLengths'] = ['7']


def drop_a_split(splits, metadata):
  del splits[1]


def seed(splits, metadata):
  metadata['config']['seed'] = 7


@pytest.mark.parametrize(
  'change, words',
  [
    (drop_clips, r'debug\[train\]=48, but the data has 7;'),
    (drop_a_split, r"splits=\['test', 'train', 'validation'\], but"),
    (seed, r'debug seed=0, but the data has 7;'),
  ],
)
def test_a_run_does_not_go_on_with_other_data(
  data_dir, tmp_path, begin, change, words
):
  other = changed_copy(data_dir, tmp_path / 'other', change)
  run = tmp_path / 'run'
  begin(other)
  begin(data_dir)  # Nothing has been trained yet.
  (run / 'checkpoints' / '1').mkdir(parents=True)
  before = {path: path.read_bytes() for path in run.glob('*.json')}
  assert {path.stem for path in before} == {'config', 'dataset'}
  with pytest.raises(InputError, match=words):
    experiment.run(options_with(dataset__data_dir=str(other)), run)
  assert before == {path: path.read_bytes() for path in run.glob('*.json')}
  (run / 'dataset.json').unlink()
  begin(other)


def test_a_folder_in_which_other_files_are_is_other_data(
  data_dir, tmp_path, begin
):
  def copied(name):
    def say(splits, metadata):
      metadata['fingerprint'] = name

    return changed_copy(data_dir, tmp_path / name, say)

  begin(copied('one'))
  (tmp_path / 'run' / 'checkpoints' / '1').mkdir(parents=True)
  options = options_with(dataset__data_dir=str(copied('other')))
  words = "debug fingerprint='one', but the data has 'other'"
  with pytest.raises(InputError, match=words):
    experiment.run(options, tmp_path / 'run')


def test_the_same_data_may_move_and_learn_more_of_itself(
  data_dir, tmp_path, begin
):
  def forget(splits, metadata):
    del metadata['config']['seed']

  begin(changed_copy(data_dir, tmp_path / 'older', forget))
  run = tmp_path / 'run'
  (run / 'checkpoints' / '1').mkdir(parents=True)
  begin(data_dir)
  assert workdir.read_options(run).dataset.data_dir == str(data_dir)


def test_the_same_data_may_know_less_of_itself_than_the_run(
  data_dir, tmp_path, begin
):
  def forget(splits, metadata):
    del metadata['config']['seed']

  begin(data_dir)
  (tmp_path / 'run' / 'checkpoints' / '1').mkdir(parents=True)
  begin(changed_copy(data_dir, tmp_path / 'older', forget))


def test_a_run_of_before_gets_its_data_written(data_dir, tmp_path, begin):
  options = options_with(dataset__data_dir=str(data_dir))
  run = tmp_path / 'run'
  run.mkdir()
  workdir.open_workdir(run, options)
  (run / 'checkpoints' / '1').mkdir(parents=True)
  assert not (run / 'dataset.json').exists()
  begin(data_dir)
  found = opening.contents(options.dataset.names, str(data_dir))
  assert json.loads((run / 'dataset.json').read_text()) == found
