import json

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from dance2wave import evaluated_folder
from dance2wave.errors import InputError
from dance2wave.pose.clean import clean_pose
from dance2wave.pose.deepmimic import read_deepmimic
from dance2wave.pose.skeleton import SKELETONS
from dance2wave.pose.source import read_pose
from dance2wave.sampling import files

AT = {name: j for j, name in enumerate(SKELETONS['core14'])}
# First value of each rotation, in the order of a frame.
BALLS = (4, 8, 12, 16, 21, 25, 30, 35, 39)  # quaternions
RIGHT_ELBOW, LEFT_SHOULDER = 29, 39


def _frames(num_frames=4):
  """An upright humanoid that moves upwards by 1 cm each frame."""
  frame = np.zeros((num_frames, 44))
  frame[:, 0] = 0.04
  frame[:, 2] = 0.9 + 0.01 * np.arange(num_frames)
  frame[:, list(BALLS)] = 1.0
  return frame.tolist()


def _write(tmp_path, frames, name='a.txt', **extra):
  path = tmp_path / name
  path.write_text(json.dumps({'Loop': 'wrap', 'Frames': frames, **extra}))
  return path


def test_an_upright_humanoid_faces_the_camera(tmp_path):
  frames = _frames()
  frames[-1][0] = 0.0  # As the last frame of a loop.
  track = read_deepmimic(_write(tmp_path, frames))
  np.testing.assert_allclose(track.pose_time_s, [0, 0.04, 0.08, 0.12])
  assert track.duration_s == pytest.approx(0.12)
  pose = track.pose_FJD
  for part in ('shoulder', 'wrist', 'hip', 'ankle'):
    assert (
      pose[:, AT[f'left_{part}'], 0] > pose[:, AT[f'right_{part}'], 0]
    ).all()
  order = [
    AT[n] for n in ('nose', 'neck', 'left_hip', 'left_knee', 'left_ankle')
  ]
  assert (np.diff(pose[:, order, 1], axis=1) > 0.05).all()
  rise = pose[0, AT['nose'], 1] - pose[1, AT['nose'], 1]
  height = pose[0, AT['left_ankle'], 1] - pose[0, AT['nose'], 1]
  assert rise / height == pytest.approx(0.01 / (0.635 + 0.832), rel=1e-3)


def test_rotations_match_an_independent_reading(tmp_path):
  frames = np.array(_frames(3))
  turn = Rotation.random(3, random_state=0)
  frames[:, LEFT_SHOULDER : LEFT_SHOULDER + 4] = np.roll(
    turn.as_quat(), 1, axis=1
  )
  frames[:, 43] = angle = [0.3, 0.9, 1.4]
  pose = read_deepmimic(_write(tmp_path, frames.tolist())).pose_FJD
  scale = (pose[0, AT['left_knee'], 1] - pose[0, AT['left_hip'], 1]) / 0.422
  bent = turn * Rotation.from_euler('z', np.array(angle)[:, None])
  elbow = turn.apply([0, -0.275, 0])
  wrist = elbow + bent.apply([0, -0.259, 0])
  for name, place in (('left_elbow', elbow), ('left_wrist', wrist)):
    seen = (pose[:, AT[name]] - pose[:, AT['left_shoulder']])[:, :2] / scale
    # The dancer faces x, and the left side is at negative z.
    np.testing.assert_allclose(seen, -place[:, [2, 1]], atol=1e-4)


@pytest.mark.parametrize(
  'name,num_frames,duration_s',
  [('dance_a', 98, 1.6166), ('dance_spin', 122, 1.0083), ('walk', 39, 1.2666)],
)
def test_real_motions(shared_data, name, num_frames, duration_s):
  path = shared_data / 'deepmimic' / f'humanoid3d_{name}.txt'
  track = read_pose(path)
  assert track.pose_FJD.shape == (num_frames, 14, 3)
  assert track.duration_s == pytest.approx(duration_s, abs=1e-3)
  pose = track.pose_FJD
  assert (pose[:, AT['nose'], 1] < pose[:, AT['neck'], 1]).mean() > 0.95
  assert (pose[:, AT['left_hip'], 1] < pose[:, AT['left_ankle'], 1]).all()
  step = np.abs(np.diff(pose[..., :2], axis=0)).max()
  assert step < 0.1  # No joint jumps.
  feet = np.median(clean_pose(track, 25)[:, [10, 13], 1])
  assert 1.4 < feet < 1.9


def test_a_real_walk_steps_right_and_left(shared_data):
  path = shared_data / 'deepmimic' / 'humanoid3d_walk.txt'
  pose = read_deepmimic(path).pose_FJD
  ankle_F2 = pose[:, [AT['right_ankle'], AT['left_ankle']], 1]
  assert np.corrcoef(ankle_F2.T)[0, 1] < -0.3
  assert (ankle_F2.max(axis=1) > ankle_F2.max() - 0.03).all()


def _damage(frames, value, frame=2, column=20):
  frames[frame][column] = value
  return frames


@pytest.mark.parametrize(
  'frames,message',
  [
    (_frames()[:1], 'has 1 frames; expected'),
    (None, 'has no frames; expected'),
    ([*_frames(), [1.0, 2.0]], 'frame 4: 2 values; expected 44'),
    ([*_frames(), 7], 'frame 4: 7; expected 44'),
    (_damage(_frames(), 'x'), "frame 2: 'x'; expected numbers"),
    (_damage(_frames(), None), 'frame 2: None; expected numbers'),
    (_damage(_frames(), float('nan')), 'frame 2: a value is not finite'),
    (_damage(_frames(), 0.0, column=0), 'frame 2: a duration of 0 s'),
    (_damage(_frames(), -0.1, frame=3, column=0), 'frame 3: a duration of'),
    (_damage(_frames(), 0.2, column=4), 'frame 2: root .* length 0.2'),
    (_damage(_frames(), 0.0, column=25), 'frame 2: right_shoulder .* length 0'),
  ],
)
def test_malformed_files_name_the_frame(tmp_path, frames, message):
  path = _write(tmp_path, frames)
  with pytest.raises(InputError, match=message) as caught:
    read_deepmimic(path)
  assert str(path) in str(caught.value) and '\n' not in str(caught.value)


def test_files_that_are_no_json_name_the_line(tmp_path):
  path = tmp_path / 'a.txt'
  text = json.dumps({'Frames': _frames()}, indent=1)
  path.write_text(text.replace('0.91', '0.9.1', 1))
  line = 1 + text[: text.index('0.91')].count('\n')
  with pytest.raises(InputError, match=f'a.txt, line {line}: '):
    read_deepmimic(path)
  path.write_text('one two\n')
  with pytest.raises(InputError, match=r'line 1: .*; expected JSON'):
    read_deepmimic(path)
  path.write_bytes(b'\xff\xfe{')
  with pytest.raises(InputError, match='cannot be read'):
    read_deepmimic(path)
  with pytest.raises(InputError, match='does not exist'):
    read_deepmimic(tmp_path / 'none.txt')


def test_notes_beside_dances_are_no_dances(tmp_path):
  dance = _write(tmp_path, _frames(), 'dance.txt')
  (tmp_path / 'beats.txt').write_text('0.5\n1.0\n')
  (tmp_path / 'sound.txt').write_text('0.5\n1.0\n')
  assert files.find_inputs([str(tmp_path)]) == [dance]
  assert files.find_inputs([str(dance)]) == [dance]
  assert evaluated_folder._dance_of(tmp_path / 'dance.wav', tmp_path) == dance
  with pytest.raises(InputError, match='has no dance'):
    evaluated_folder._dance_of(tmp_path / 'sound.wav', tmp_path)
  with pytest.raises(InputError, match='--capture is missing'):
    files.find_inputs([], '--capture')
