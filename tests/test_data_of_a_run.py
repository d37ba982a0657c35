"""A run keeps to its data: what is said, refused and written otherwise."""

import pytest
from small_config import options_with

from dance2wave import experiment
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
