"""Clips that several processes share: the same sounds as of one alone."""

import json

import numpy as np
import pytest
from command_line import assert_one_line, run
from processes import Hosts, finish_well

from dance2wave.pose.track import PoseTrack, write_pose_file

NAMES = ('a', 'b', 'c')


@pytest.fixture
def dances(tmp_path):
  """A folder of three dances of different lengths."""
  folder, rng = tmp_path / 'dances', np.random.default_rng(0)
  folder.mkdir()
  for index, name in enumerate(NAMES):
    frames = 20 + 10 * index
    pose_FJD = rng.uniform(0.3, 0.7, (frames, 14, 3)).astype(np.float32)
    track = PoseTrack(pose_FJD, np.arange(frames) / 30, 'core14', frames / 30)
    write_pose_file(folder / f'{name}.npz', track)
  return folder


@pytest.mark.slow
def test_two_processes_sample_what_one_does(trained, dances, tmp_path):
  flags = [f'--workdir={trained[0]}']
  flags += [f'--input={dances / name}.npz' for name in NAMES]
  outputs = [tmp_path / 'alone', tmp_path / 'shared']
  for output in outputs:
    output.mkdir()
  run('dance2wave.sample', *flags, f'--output={outputs[0]}', check=True)
  two = Hosts(
    2, 2, *flags, f'--output={outputs[1]}', module='dance2wave.sample'
  )
  printed = finish_well(two)
  assert [out.count(' -> ') for out in printed] == [2, 1]
  for name in NAMES:
    alone, shared = (
      (o / f'{name}_dance2wave.mp4').read_bytes() for o in outputs
    )
    assert alone == shared, name


def figures_of(output):
  """The figures of a report; nan where there was too little to say one."""
  figures = json.loads((output / 'report.json').read_text())
  return {k: np.nan if v is None else v for k, v in figures.items()}


@pytest.mark.slow
def test_two_processes_evaluate_as_one_does(trained, tmp_path):
  flags = [f'--workdir={trained[0]}', '--num_clips=3', '--num_changed=2']
  outputs = [tmp_path / 'alone', tmp_path / 'shared']
  run('dance2wave.evaluate', *flags, f'--output={outputs[0]}', check=True)
  two = Hosts(
    2, 1, *flags, f'--output={outputs[1]}', module='dance2wave.evaluate'
  )
  printed = finish_well(two)
  assert ['report.html' in out for out in printed] == [True, False]
  alone, shared = map(figures_of, outputs)
  # Dances are heard in batches of other sizes, so that loudness is rounded
  # otherwise.
  assert shared == pytest.approx(alone, rel=1e-5, nan_ok=True)


def test_only_clips_of_a_model_are_shared(tmp_path):
  result = run(
    'dance2wave.evaluate', '--multihost', '--controls=a', f'--output={tmp_path}'
  )
  assert_one_line(result, '--multihost with --controls')
