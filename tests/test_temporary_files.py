"""Nothing is left in the temporary folder, however a command ends."""

import pathlib
import subprocess
import sys
import tempfile
import time

import pytest
from command_line import ROOT, environment, run
from test_promises_of_sampling import track

from dance2wave.pose.track import write_pose_file


@pytest.fixture
def temporary():
  """A folder with a short name: those of sockets have a limit."""
  with tempfile.TemporaryDirectory() as folder:
    yield pathlib.Path(folder)


def names(folder):
  return sorted(path.name for path in folder.iterdir())


def stopped(command, temporary, is_due):
  """Send SIGTERM when it is due, and return how the command ended."""
  with subprocess.Popen(
    [sys.executable, '-m', *map(str, command)],
    cwd=ROOT,
    env=environment(TMPDIR=str(temporary)),
    stdout=subprocess.DEVNULL,
    stderr=subprocess.PIPE,
    text=True,
  ) as child:
    while child.poll() is None and not is_due():
      time.sleep(0.01)
    time.sleep(0.5)
    child.terminate()
    began = time.monotonic()
    _, stderr = child.communicate()
  print(f'{command[0]} left after {time.monotonic() - began:.1f} s')
  assert child.returncode == 143, stderr
  assert stderr.splitlines()[-1] == 'dance2wave: stopped by SIGTERM'
  assert 'Traceback' not in stderr


def test_a_build_that_is_stopped_leaves_nothing(temporary, tmp_path):
  def is_writing():
    return any(tmp_path.rglob('incomplete.*/*'))

  build = ('dance2wave.datasets.build', 'synthetic_dance')
  stopped([*build, f'--data_dir={tmp_path}'], temporary, is_writing)
  assert not names(temporary) and not [*tmp_path.rglob('incomplete.*')]


def test_sampling_leaves_nothing(trained, temporary, tmp_path):
  write_pose_file(tmp_path / 'dance.npz', track(40.0))
  command = (
    *('dance2wave.sample', f'--workdir={trained[0]}'),
    *(f'--input={tmp_path / "dance.npz"}', f'--output={tmp_path / "a.wav"}'),
  )
  stopped(command, temporary, (tmp_path / '.a.wav.lock').exists)
  assert names(tmp_path) == ['dance.npz'] and not names(temporary)


def test_a_temporary_folder_with_a_long_name_is_refused(tmp_path):
  folder = tmp_path / ('x' * 80)
  folder.mkdir()
  build = ('dance2wave.datasets.build', 'synthetic_dance/debug')
  result = run(*build, f'--data_dir={tmp_path / "data"}', TMPDIR=str(folder))
  line = result.stderr.splitlines()[-1]  # below the progress
  assert result.returncode == 2 and 'Traceback' not in result.stderr
  for words in (str(folder), 'expected 72', 'set TMPDIR'):
    assert words in line
  assert not names(folder) and not [*tmp_path.rglob('incomplete.*')]


def test_main_leaves_nothing(trained):
  assert (trained[0].parent / 'left.txt').read_text() == ''


@pytest.mark.slow
def test_an_evaluation_leaves_nothing(trained, temporary, tmp_path):
  command = (
    *('dance2wave.evaluate', f'--workdir={trained[0]}'),
    *(f'--output={tmp_path / "report"}', '--num_clips=4', '--num_changed=2'),
  )
  run(*command, check=True, TMPDIR=str(temporary))
  assert (tmp_path / 'report' / 'report.html').exists()
  assert not names(temporary)
  stopped(command, temporary, lambda: names(temporary))
  assert not names(temporary)
