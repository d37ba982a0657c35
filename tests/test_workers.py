"""Processes that make clips: how they end, and what they leave."""

import multiprocessing.connection
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import time

import pytest
from command_line import ROOT

from dance2wave.datasets import workers
from dance2wave.errors import one_line_errors


def leave_a_file(task):
  handle, path = tempfile.mkstemp()
  os.close(handle)
  time.sleep(task)
  return pathlib.Path(path)


def write_slowly(mark):
  """Return what this process needs a second to send; mark that it began."""
  if mark is None:
    return None
  send = multiprocessing.connection.Connection._send

  def send_slowly(self, data, *args):
    half = len(data) // 2
    send(self, data[:half], *args)
    mark.touch()
    time.sleep(1.0)
    send(self, data[half:], *args)

  multiprocessing.connection.Connection._send = send_slowly
  return bytes(100_000)


def wait_until(is_so):
  deadline = time.monotonic() + 600
  while not is_so():
    assert time.monotonic() < deadline
    time.sleep(0.02)


def test_what_tasks_leave_is_removed_with_their_pool():
  results = workers.ordered_map(leave_a_file, [0, 0], num_workers=1)
  path = next(results)
  assert path.exists() and path.parent.name.startswith('dance2wave-')
  assert len(list(results)) == 1
  assert not path.parent.exists()


def test_tasks_that_nobody_waits_for_are_given_up():
  results = workers.ordered_map(leave_a_file, [0, 600], num_workers=1)
  path, began = next(results), time.monotonic()
  results.close()
  assert time.monotonic() - began < 30
  assert not path.parent.exists()


def test_a_result_that_is_half_sent_is_not_cut_short(tmp_path):
  """The reader of results would wait for the other half without end."""
  mark = tmp_path / 'mark'
  tasks = [None, mark, None]
  results = workers.ordered_map(write_slowly, tasks, num_workers=1)
  assert next(results) is None
  wait_until(mark.exists)
  closing = threading.Thread(target=results.close, daemon=True)
  closing.start()
  closing.join(60)
  assert not closing.is_alive()


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_heard_when_the_workers_have_started(hears_sigint, number):
  read = []

  def tasks():
    for task in range(2):
      read.append(task)
      yield task
      signal.raise_signal(number)

  with pytest.raises(SystemExit) as stop, one_line_errors():
    list(workers.ordered_map(str, tasks(), num_workers=1))
  assert stop.value.code == 128 + number
  assert read == [0, 1]


def test_workers_of_a_killed_process_remove_what_they_left(tmp_path):
  code = (
    'from dance2wave.datasets import workers\n'
    'import test_workers\n'
    'list(workers.ordered_map(test_workers.leave_a_file, [600], num_workers=1))'
  )
  with tempfile.TemporaryDirectory() as folder:  # a short name, for sockets
    temporary = pathlib.Path(folder)
    path = f'{ROOT}:{ROOT / "tests"}'
    child = subprocess.Popen(
      [sys.executable, '-c', code],
      env=os.environ | {'PYTHONPATH': path, 'TMPDIR': folder},
    )
    wait_until(lambda: any(temporary.glob('dance2wave-*/*')))
    child.kill()
    child.wait()
    wait_until(lambda: not any(temporary.glob('dance2wave-*')))
