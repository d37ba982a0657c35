import pathlib

import numpy as np
import pytest
from command_line import assert_one_line
from command_line import run as run_command

from dance2wave.errors import InputError
from dance2wave.pose.clean import NEUTRAL_POSE_J2
from dance2wave.pose.track import PoseTrack
from data_prep import motion_statistics


def _bouncing(hz=2.0, depth=0.1, rate_hz=50, num_frames=400, noise=0.0):
  """A dancer of torso 0.2 whose body bounces over resting feet."""
  pose = np.ones((num_frames, 14, 3))
  pose[..., :2] = 0.5 + 0.2 * NEUTRAL_POSE_J2
  time_s = np.arange(num_frames) / rate_hz
  sink = 0.2 * depth * np.sin(2 * np.pi * hz * time_s)
  pose[:, [j for j in range(14) if j not in (10, 13)], 1] += sink[:, None]
  rng = np.random.default_rng(0)
  pose[..., :2] += 0.2 * noise * rng.normal(size=(num_frames, 14, 2))
  return PoseTrack(pose, time_s, 'core14', num_frames / rate_hz)


def test_statistics_of_a_known_movement():
  seen = motion_statistics.measure(_bouncing())
  assert seen['hip height over feet, rms'] == pytest.approx(0.0707, rel=0.1)
  assert seen['hip height, share 1 to 3 Hz'] > 0.95
  assert seen['hip height, periodicity'] > 0.9
  assert seen['ankle speed, median'] < 0.05
  assert seen['share of time seen from behind'] == 0
  assert seen['noise, 0.001 torsos'] < 0.5
  assert seen['frames per second'] == pytest.approx(50)
  noisy = motion_statistics.measure(_bouncing(noise=0.01))
  assert 2 < noisy['noise, 0.001 torsos'] < 10
  quick = motion_statistics.measure(_bouncing(hz=4.0))
  assert quick['hip height, share above 3 Hz'] > 0.95
  still = motion_statistics.measure(_bouncing(depth=0.0))
  assert still['share of time still'] == 1


def test_what_lies_outside_is_marked():
  synthetic = [
    motion_statistics.measure(_bouncing(depth=d)) for d in (0.1, 0.2)
  ]
  lines = motion_statistics.table(
    synthetic, {'real': motion_statistics.measure(_bouncing(depth=0.6))}
  )
  (line,) = (x for x in lines if x.startswith('hip height over feet'))
  assert line.endswith('*') and 'real' in lines[0]
  (line,) = (x for x in lines if x.startswith('frames per second'))
  assert not line.endswith('*')


def test_kinds_of_synthetic_dancers():
  natural = motion_statistics.synthetic_track(0, 'natural')
  default = motion_statistics.synthetic_track(0, 'default')
  assert natural.duration_s != default.duration_s
  with pytest.raises(InputError, match="--kind='x'; expected one of default"):
    motion_statistics.synthetic_track(0, 'x')


@pytest.mark.parametrize(
  ('tool', 'flag', 'word'),
  [
    ('motion_statistics', '--num_clips=0', 'num_clips'),
    ('draw_dancers', '--split=nope', 'train|validation|test'),
  ],
)
def test_a_bad_flag_is_one_line(tool, flag, word):
  assert_one_line(run_command(f'data_prep.{tool}', flag), word)


def test_captures_of_one_name_are_columns_of_their_own():
  captures = [pathlib.Path(x) for x in ('a/same.bvh', 'b/same.bvh', 'c/d.npz')]
  names = motion_statistics.names_of(captures)
  assert names == ['a/same.bvh', 'b/same.bvh', 'd']
