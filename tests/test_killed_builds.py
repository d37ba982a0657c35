"""Datasets whose building is killed, again and again, come out the same."""

import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import pytest
import tensorflow_datasets as tfds
import toy_dataset
from command_line import ROOT

tfds.disable_progress_bar()
TASKS = [(f'a{k}', 'slow', 3) for k in range(6)] + [('b', 'bad')]


def files_of(folder):
  """Return the files of the finished dataset in a folder, by name."""
  return {path.name: path.read_bytes() for path in folder.iterdir()}


def start(command):
  return subprocess.Popen(
    command,
    cwd=ROOT,
    env=os.environ | {'PYTHONPATH': str(ROOT), 'JAX_PLATFORMS': 'cpu'},
    stdout=subprocess.DEVNULL,
    stderr=subprocess.PIPE,
    text=True,
    start_new_session=True,
  )


def unfinished(root):
  return set(root.rglob('incomplete.*')) if root.exists() else set()


def wait_for_writing(child, root, before):
  while child.poll() is None and not unfinished(root) - before:
    time.sleep(0.01)


def kill_building(command, root, rng, longest_s):
  """Kill at a random moment after writing began; return whether it was so."""
  before = unfinished(root)
  child = start(command)
  wait_for_writing(child, root, before)
  time.sleep(rng.uniform(0, longest_s))
  is_killed = child.poll() is None
  child.send_signal(signal.SIGKILL)
  child.communicate()
  return is_killed


def finish(command):
  child = start(command)
  _, stderr = child.communicate()
  assert child.returncode == 0, stderr


def killed_and_finished(command, root, done, num_kills, longest_s):
  rng = random.Random(0)
  kills = 0
  for _ in range(num_kills):
    kills += kill_building(command, root, rng, longest_s)
    assert not done.exists() or not kills
  finish(command)
  assert not unfinished(root)
  return kills, files_of(done)


def toy_command(data_dir, tasks=TASKS):
  program = pathlib.Path(toy_dataset.__file__)
  tasks = json.dumps({'train': tasks})
  return [sys.executable, str(program), str(data_dir), tasks]


def test_a_killed_build_begins_again_and_gives_the_same_bytes(tmp_path):
  tasks = {'train': [toy_dataset.Task(*fields) for fields in TASKS]}
  whole = toy_dataset.content(toy_dataset.build(tmp_path / 'whole', tasks))
  kills, found = killed_and_finished(
    toy_command(tmp_path / 'killed'),
    tmp_path / 'killed',
    tmp_path / 'killed' / 'toy' / '1.0.0',
    num_kills=1,
    longest_s=1.0,
  )
  assert kills == 1
  assert found == whole


def test_a_build_waits_for_a_living_one_and_takes_what_it_makes(tmp_path):
  marks, root = tmp_path / 'marks', tmp_path / 'data'
  marks.mkdir()

  def begin():
    """Begin a build that waits for another one while it is writing."""
    before = unfinished(root)
    child = start(toy_command(root, tasks))
    wait_for_writing(child, root, before)
    return child

  tasks = [('a', 'together', 1, None, str(marks)), ('b',)]
  killed = begin()
  while killed.poll() is None and not any(marks.iterdir()):
    time.sleep(0.01)
  killed.kill()
  killed.communicate()
  left = unfinished(root)
  assert len(left) == 1
  for mark in marks.iterdir():
    mark.unlink()
  first = begin()
  mine = unfinished(root) - left
  assert len(mine) == 1 and unfinished(root) == mine
  second = start(toy_command(root, tasks))
  said = ''
  while 'waiting for it' not in said:
    line = second.stderr.readline()
    assert line, said
    said += line
  assert unfinished(root) == mine
  marks.joinpath('of the test').touch()
  ends = [(c.communicate()[1], c.returncode) for c in (first, second)]
  assert [code for _, code in ends] == [0, 0], ends
  assert (root / 'toy' / '1.0.0').is_dir() and not unfinished(root)
  # The second has read nothing: what the first has made is its own.
  assert len([*marks.iterdir()]) == 2


@pytest.mark.slow
def test_a_dataset_killed_ten_times_is_byte_identical(tmp_path):
  def command(place):
    return [
      *(sys.executable, '-m', 'dance2wave.datasets.build'),
      *('synthetic_dance/debug', f'--data_dir={tmp_path / place}'),
    ]

  inside = pathlib.Path('synthetic_dance', 'debug')
  finish(command('whole'))
  (version,) = (tmp_path / 'whole' / inside).iterdir()
  whole = files_of(version)
  done = tmp_path / 'killed' / inside / version.name
  kills, found = killed_and_finished(
    command('killed'), tmp_path / 'killed', done, 10, 1.5
  )
  print(f'{kills} of 10 builds killed')
  assert kills >= 8
  assert found == whole


@pytest.mark.slow
def test_two_builds_at_once_do_not_spoil_each_other(tmp_path):
  command = toy_command(tmp_path / 'data')
  tasks = {'train': [toy_dataset.Task(*fields) for fields in TASKS]}
  whole = toy_dataset.content(toy_dataset.build(tmp_path / 'whole', tasks))
  for _ in range(3):
    children = [start(command) for _ in range(2)]
    errors = [child.communicate()[1] for child in children]
    assert [child.returncode for child in children] == [0, 0], errors
    done = tmp_path / 'data' / 'toy' / '1.0.0'
    assert files_of(done) == whole
    for path in done.iterdir():
      path.unlink()
    done.rmdir()
