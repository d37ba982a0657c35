"""The main job is killed, stopped and started again, as a user's would be."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from command_line import HEARS_SIGINT, ROOT
from warm_tool import WarmTool

from dance2wave import pipeline
from dance2wave.errors import Interrupted
from dance2wave.training import loop, manifest
from dance2wave.training.steps import Steps

SAVE_EVERY = 2
# When a kill is due: what has to be seen first, and the longest wait after.
MOMENTS = {
  'start': 3.0,
  'compile': 1.0,
  'step': 0.1,
  'save': 0.05,
  'rename': 0.0,
}


class Fork:
  """A run of a warm tool, with what a test needs of `Popen`."""

  def __init__(self, tool, arguments, stderr):
    self._tool = tool
    self._pid = tool.start(*arguments, stderr=stderr)

  def poll(self):
    return self._tool.poll(self._pid)

  def send_signal(self, number):
    os.kill(self._pid, number)

  def kill(self):
    os.kill(self._pid, signal.SIGKILL)

  def wait(self):
    self._tool.wait(self._pid)


class Run:
  """A run of the main job that is started again after every end.

  Args:
    folder: its workdir.
    data_dir: of the dataset.
    flags: more of the command line.
    tool: of which it is a fork; None for a process that imports all.
  """

  def __init__(self, folder, data_dir, *flags, tool=None):
    self.folder = folder
    self.checkpoints = folder / 'checkpoints'
    self._stderr = folder.with_name(f'{folder.name}_stderr.txt')
    self._tool = tool
    self._arguments = [
      '--config=configs/debug.py',
      f'--config.dataset.data_dir={data_dir}',
      f'--config.train.save_every={SAVE_EVERY}',
      *('--config.sample.num_clips=1', '--config.sample.num_videos=0'),
      f'--workdir={folder}',
      *flags,
    ]

  def start(self):
    """Start it; a shell's background job would not hear SIGINT."""
    if self._tool:
      self._stderr.write_text('')  # What the one before has said is not its.
      return Fork(self._tool, self._arguments, self._stderr)
    command = [sys.executable, '-m', 'dance2wave.main', *self._arguments]
    with self._stderr.open('w') as stderr:
      return subprocess.Popen(
        [sys.executable, '-c', HEARS_SIGINT, *command],
        cwd=ROOT,
        env=os.environ | {'JAX_PLATFORMS': 'cpu'},
        stdout=subprocess.DEVNULL,
        stderr=stderr,
      )

  def lines(self):
    """Whole lines of metrics by step."""
    path = self.folder / 'metrics.jsonl'
    text = path.read_text() if path.exists() else ''
    whole = text.split('\n')[:-1]
    return {json.loads(line)['step']: line for line in whole}

  def size(self):
    """Bytes of the metrics."""
    path = self.folder / 'metrics.jsonl'
    return path.stat().st_size if path.exists() else 0

  def stderr(self):
    return self._stderr.read_text()

  def good_step(self):
    return Steps(self.checkpoints).newest_good() or 0

  def halves(self):
    """Names of what was not finished."""
    names = self.names()
    return [name for name in names if not name.isdecimal()]

  def names(self):
    return os.listdir(self.checkpoints) if self.checkpoints.is_dir() else []

  def wait_for(self, child, is_there, every_s=0.01):
    """Wait until something is seen or the child has ended."""
    began = time.monotonic()
    while child.poll() is None and not is_there():
      time.sleep(every_s)
      if time.monotonic() - began > 1200:
        child.kill()
        pytest.fail(f'nothing happened: {self.stderr()}')

  def kill_at(self, moment, rng):
    """Start, and SIGKILL at a random moment of a kind."""
    before, size = max(self.lines(), default=0), self.size()
    more = int(rng.integers(1, 2 * SAVE_EVERY))
    seen = {
      'start': lambda: True,
      'compile': lambda: 'train: ' in self.stderr(),
      'step': lambda: (
        self.size() > size and max(self.lines(), default=0) >= before + more
      ),
      'save': lambda: any('tmp' in name for name in self.names()),
      'rename': lambda: any('unsigned' in name for name in self.names()),
    }
    # What an earlier run left is no sign of this one.
    left = set(self.halves())
    child = self.start()
    if moment in ('save', 'rename') and left:
      self.wait_for(child, lambda: not left & set(self.names()))
    self.wait_for(child, seen[moment], every_s=0.0005)
    time.sleep(rng.uniform(0, MOMENTS[moment]))
    child.kill()
    child.wait()

  def finish(self, last):
    """Let it train to the end; what follows is of no interest here."""
    child = self.start()
    self.wait_for(child, lambda: (self.checkpoints / str(last)).is_dir())
    child.kill()
    child.wait()
    assert self.good_step() == last, self.stderr()


def assert_same_lines(run, wanted):
  """Every line that is there is the unbroken run's, to the last digit."""
  for number, line in run.lines().items():
    assert line == wanted[number]


def stop_at(run, number, moment, rng):
  """Start, signal twice, and return how long it took to leave."""
  child = run.start()
  before = max(run.lines(), default=0)
  run.wait_for(child, lambda: 'train: ' in run.stderr())
  if moment == 'step':
    run.wait_for(child, lambda: max(run.lines(), default=0) > before)
  time.sleep(rng.uniform(0, MOMENTS[moment]))
  began = time.monotonic()
  child.send_signal(number)
  time.sleep(rng.uniform(0, 0.1))
  if child.poll() is None:
    child.send_signal(number)
  run.wait_for(child, lambda: False)
  assert child.poll() == 128 + number, run.stderr()
  spent_s = time.monotonic() - began
  step = run.good_step()
  (line,) = (x for x in run.stderr().splitlines() if 'dance2wave:' in x)
  assert f'stopped by {number.name}: step {step} is saved' in line
  assert 'Traceback' not in run.stderr()
  assert max(run.lines()) == step and not run.halves()
  return spent_s


def break_again_and_again(run, wanted, plan, seed):
  """Kill and stop a run by a plan of (signal, moment), and let it end.

  Returns the steps that each kill cost, what kills left half made, and the
  seconds that each stop took.
  """
  rng = np.random.default_rng(seed)
  costs, left, spent_s = [], [], []
  for number, moment in plan:
    if number == signal.SIGKILL:
      run.kill_at(moment, rng)
      costs.append(max(run.lines(), default=0) - run.good_step())
      left += run.halves()
      assert 0 <= costs[-1] <= SAVE_EVERY, (moment, run.names(), run.stderr())
    else:
      spent_s.append(stop_at(run, number, moment, rng))
    assert_same_lines(run, wanted)
  run.finish(max(wanted))
  assert run.lines() == wanted
  print('\nsteps lost', costs, 'halves', left, 'seconds to leave', spent_s)
  return costs, left, spent_s


def unbroken(folder, data_dir, flags, steps, tool=None):
  """The metrics of a run that nobody stops."""
  flags = *flags, '--config.train.save_every=1000'
  run = Run(folder, data_dir, *flags, tool=tool)
  run.finish(steps)
  assert [*run.lines()] == [*range(1, steps + 1)]
  return run.lines()


SHORT = (
  '--config.train.pose_steps=12',
  '--config.train.joint_steps=0',
  '--config.pose.num_blocks=0',
)
LONG = ('--config.train.pose_steps=40', '--config.train.joint_steps=40')
KILL, TERM, INT = signal.SIGKILL, signal.SIGTERM, signal.SIGINT


def test_a_run_that_is_killed_and_stopped_loses_nothing(data_dir, tmp_path):
  """Forks of one process, which imports; slow tests start each anew."""
  plan = [
    (KILL, 'compile'),
    (KILL, 'save'),
    (TERM, 'step'),
    (KILL, 'rename'),
    (INT, 'compile'),
    (KILL, 'step'),
    (KILL, 'start'),
  ]
  with WarmTool('dance2wave.main', 'dance2wave.experiment') as tool:
    wanted = unbroken(tmp_path / 'whole', data_dir, SHORT, 12, tool)
    run = Run(tmp_path / 'run', data_dir, *SHORT, tool=tool)
    break_again_and_again(run, wanted, plan, seed=0)


@pytest.mark.slow
def test_twenty_kills_and_ten_stops_lose_nothing(data_dir, tmp_path):
  wanted = unbroken(tmp_path / 'whole', data_dir, LONG, 80)
  kills = [(KILL, moment) for moment in MOMENTS]
  stops = [(number, at) for number in (TERM, INT) for at in ('step', 'compile')]
  plan = [*kills, *stops, *kills, (TERM, 'step'), *kills, *stops, *kills]
  plan.append((INT, 'step'))
  run = Run(tmp_path / 'run', data_dir, *LONG)
  costs, left, spent_s = break_again_and_again(run, wanted, plan, seed=1)
  assert (len(costs), len(spent_s)) == (20, 10)
  assert any('tmp' in name for name in left)
  assert max(spent_s) < 10


def test_a_signal_while_the_last_figures_are_made_stops_the_run(
  data_dir, tmp_path, monkeypatch
):
  from test_training import make_options

  options = make_options(
    data_dir,
    train__save_every=3,
    train__pose_steps=3,
    train__joint_steps=0,
    pose__num_blocks=0,
  )
  real = loop._HeldOut.__call__

  def call(self, params):
    figures = real(self, params)
    os.kill(os.getpid(), signal.SIGTERM)
    return figures

  monkeypatch.setattr(loop._HeldOut, '__call__', call)
  with pytest.raises(Interrupted, match='step 3 is saved'):
    loop.train(options, tmp_path)
  monkeypatch.undo()
  assert Steps(tmp_path / 'checkpoints').newest_good() == 3
  assert loop.train(options, tmp_path).num_steps == 3


def test_a_save_that_fails_is_known_one_step_later(
  data_dir, tmp_path, monkeypatch
):
  from test_training import make_options

  def fail(*_):
    raise OSError(28, 'No space left on device')

  asked = []
  real = pipeline.Pipeline.iterate

  def iterate(self, start_step=0, **kwargs):
    for number, batch in enumerate(real(self, start_step, **kwargs), 1):
      asked.append(number)
      yield batch

  options = make_options(
    data_dir,
    train__save_every=3,
    train__pose_steps=12,
    train__joint_steps=0,
    pose__num_blocks=0,
  )
  monkeypatch.setattr(pipeline.Pipeline, 'iterate', iterate)
  real_write = manifest.write
  monkeypatch.setattr(
    manifest, 'write', lambda *a: fail() if asked[-1] > 5 else real_write(*a)
  )
  with pytest.raises(OSError, match='No space left'):
    loop.train(options, tmp_path)
  assert asked[-1] == 7  # the save was of step 6
  assert Steps(tmp_path / 'checkpoints').newest_good() == 3
