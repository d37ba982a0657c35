"""Several dances of a user: drawn together, each as if it was alone.

What draws is a stand-in; that clips sound the same in company is of
test_sampling.py.
"""

import pathlib

import numpy as np
import pytest

from dance2wave.errors import InputError
from dance2wave.pose.features import MOTION_DIM
from dance2wave.sampling import rounds
from dance2wave.sampling.files import Job
from dance2wave.sampling.offline import Dance


class Recorder:
  """Draws silence, and notes which clips it drew together."""

  def __init__(self, num_devices=1, is_on_accelerator=False):
    self.num_devices = num_devices
    self.is_on_accelerator = is_on_accelerator
    self.drawn = []

  def generate(self, dances, *, seed, as_if_alone):
    assert seed == 3 and as_if_alone
    self.drawn.append([dance.num_samples for dance in dances])
    return [np.full(d.num_samples, d.num_samples) for d in dances]


def jobs_of(*names, with_poses=True):
  paths = [pathlib.Path(name) for name in names]
  return [
    Job(p, p.with_suffix('.wav'), p if with_poses else None) for p in paths
  ]


def read(job):
  length = int(job.input.stem)
  if not length:
    raise InputError(f'{job.input} is empty; expected a dance; dance')
  return Dance(np.zeros((1, MOTION_DIM), np.float32), length), job.input.name


def write(job, audio_T, seen):
  assert len(audio_T) == audio_T[0] == int(job.input.stem)
  assert seen == job.input.name
  return job.output.name


def sample(jobs, generator):
  return list(rounds.sample(jobs, generator, read, write, 3))


def test_dances_of_like_length_are_drawn_together_and_told_in_order():
  generator = Recorder()
  names = ['90.npz', '200.npz', '100.npz', '190.npz', '70.npz']
  told = sample(jobs_of(*names), generator)
  assert told == [name.replace('npz', 'wav') for name in names]
  assert generator.drawn == [[200, 190], [100, 90, 70]]


@pytest.mark.parametrize('num_devices', [1, 2])
def test_what_is_drawn_together_is_bounded(num_devices):
  generator = Recorder(num_devices)
  sample(jobs_of(*(f'{i}.npz' for i in range(100, 120))), generator)
  each = 8 * num_devices
  assert [len(some) for some in generator.drawn] == [each] * (20 // each) + [4]
  hour = 3600 * 16_000
  assert rounds.alike([hour, hour], num_devices) == [[0], [1]]


def test_a_processor_draws_a_video_before_it_looks_at_the_next():
  names = ['100.mp4', '101.mp4', '102.mp4']
  alone, together = Recorder(), Recorder(is_on_accelerator=True)
  for generator in (alone, together):
    sample(jobs_of(*names, with_poses=False), generator)
  assert alone.drawn == [[100], [101], [102]]
  assert together.drawn == [[102, 101, 100]]


@pytest.mark.parametrize('num_devices', [1, 2])
def test_one_bad_file_does_not_stop_the_others(num_devices, capsys):
  told = []
  with pytest.raises(InputError, match='1 of 4 inputs were not sampled'):
    jobs = jobs_of('7.npz', '0.npz', '9.npz', '8.npz')
    for line in rounds.sample(jobs, Recorder(num_devices), read, write, 3):
      told.append(line)
  assert told == ['7.wav', '9.wav', '8.wav']
  (line,) = capsys.readouterr().err.splitlines()
  assert line.startswith('dance2wave: ') and '0.npz' in line
  with pytest.raises(InputError, match=r'0\.npz'):
    sample(jobs_of('0.npz'), Recorder(num_devices))


def test_a_result_that_cannot_be_written_does_not_stop_the_others(capsys):
  def full(job, audio_T, seen):
    if job.input.stem == '8':
      raise InputError('no room; expected some; make it')
    return write(job, audio_T, seen)

  told = []
  with pytest.raises(InputError, match='1 of 2 inputs were not sampled'):
    jobs = jobs_of('8.npz', '9.npz')
    for line in rounds.sample(jobs, Recorder(), read, full, 3):
      told.append(line)
  assert told == ['9.wav']
  assert 'no room' in capsys.readouterr().err
