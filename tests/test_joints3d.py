import numpy as np
import pytest

from dance2wave.errors import InputError
from dance2wave.pose.clean import NEUTRAL_POSE_J2, clean_pose
from dance2wave.pose.joints3d import SPACE_SKELETONS
from dance2wave.pose.skeleton import SKELETONS
from dance2wave.pose.source import read_pose

CORE = SKELETONS['core14']
AT = {name: j for j, name in enumerate(CORE)}


def _dancer(skeleton, num_frames=30):
  """A dancer in metres, y up, who faces z and sways to the left: (F, J, 3)."""
  names = {**SKELETONS, **SPACE_SKELETONS}[skeleton]
  pose = np.zeros((num_frames, len(names), 3))
  for j, name in enumerate(names):
    if name in AT:
      x, y = NEUTRAL_POSE_J2[AT[name]]
      pose[:, j] = 0.5 * x, 1.0 - 0.5 * y, 0.1
  pose[..., 0] += 0.01 * np.arange(num_frames)[:, None]
  return pose


def _write(tmp_path, skeleton='coco17', changes=None):
  arrays = {
    'pose3d': _dancer(skeleton),
    'skeleton': np.array(skeleton),
    'rate_hz': 60.0,
    **(changes or {}),
  }
  path = tmp_path / 'a.npz'
  np.savez(path, **{k: v for k, v in arrays.items() if v is not None})
  return path


@pytest.mark.parametrize('skeleton', ['coco17', 'core14', 'smpl24', 'smpl22'])
def test_joints_in_space_are_seen_from_the_front(tmp_path, skeleton):
  track = read_pose(_write(tmp_path, skeleton))
  assert track.skeleton == 'core14' and track.duration_s == 0.5
  np.testing.assert_allclose(track.pose_time_s, np.arange(30) / 60)
  pose = track.pose_FJD
  np.testing.assert_array_equal(pose[..., 2], 1)
  scale = (pose[0, AT['left_knee'], 1] - pose[0, AT['left_hip'], 1]) / 0.82
  shape = pose[0, :, :2] - pose[0, [AT['left_hip'], AT['right_hip']], :2].mean(
    0
  )
  np.testing.assert_allclose(shape / scale, NEUTRAL_POSE_J2, atol=1e-3)
  assert pose[-1, 0, 0] > pose[0, 0, 0] + 0.05
  assert clean_pose(track, 25).shape == (12, 14, 3)


@pytest.mark.parametrize('unit', [100.0, 1 / 0.0254])
@pytest.mark.parametrize('axes', [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_units_and_axes_do_not_matter(tmp_path, unit, axes):
  want = read_pose(_write(tmp_path)).pose_FJD
  pose3d = unit * _dancer('coco17')[..., list(axes)]
  got = read_pose(_write(tmp_path, changes={'pose3d': pose3d})).pose_FJD
  np.testing.assert_allclose(got, want, atol=1e-5)


def test_missing_joints_have_no_confidence(tmp_path):
  pose3d = _dancer('coco17')
  pose3d[4, SKELETONS['coco17'].index('left_wrist')] = np.nan
  pose = read_pose(_write(tmp_path, changes={'pose3d': pose3d})).pose_FJD
  assert np.argwhere(pose[..., 2] == 0).tolist() == [[4, AT['left_wrist']]]
  want = read_pose(_write(tmp_path)).pose_FJD
  np.testing.assert_allclose(pose[5:] - pose[5], want[5:] - want[5], atol=1e-6)


def test_times_and_the_picture_are_taken_as_they_are(tmp_path):
  time_s = np.arange(30) * 0.02 + 0.001 * (np.arange(30) % 2)
  track = read_pose(
    _write(tmp_path, changes={'pose_time_s': time_s, 'rate_hz': None})
  )
  np.testing.assert_array_equal(track.pose_time_s, time_s)
  pose = np.full((30, 17, 3), 0.5, np.float32)
  both = _write(tmp_path, changes={'pose_time_s': time_s, 'pose': pose})
  np.testing.assert_array_equal(read_pose(both).pose_FJD, pose)


@pytest.mark.parametrize(
  'changes,message',
  [
    ({'skeleton': np.array('smpl25')}, "skeleton is 'smpl25'.*smpl24"),
    ({'skeleton': np.array('smpl24')}, r'shape \(30, 17, 3\).*24, 3\)'),
    ({'skeleton': None}, 'has no skeleton;'),
    ({'rate_hz': None}, 'has no pose_time_s or rate_hz'),
    ({'rate_hz': 0.0}, 'rate_hz is 0.0'),
    ({'rate_hz': [30.0, 60.0]}, 'rate_hz is .30'),
    ({'pose_time_s': np.zeros(30)}, 'does not increase'),
    ({'pose_time_s': np.zeros(3)}, 'for 30 frames'),
    ({'pose3d': np.zeros((30, 17, 3))}, 'no height'),
    ({'pose3d': np.full((30, 17, 3), np.nan)}, 'every frame misses a joint'),
    ({'pose3d': np.full((30, 17, 3), 'x')}, 'dtype'),
    ({'pose3d': _dancer('coco17')[:1]}, '1 frame'),
  ],
)
def test_malformed_files_are_one_error(tmp_path, changes, message):
  path = _write(tmp_path, changes=changes)
  with pytest.raises(InputError, match=message) as caught:
    read_pose(path)
  assert str(path) in str(caught.value) and '\n' not in str(caught.value)


def test_joints_in_space_under_the_wrong_name_are_explained(tmp_path):
  pose, time_s = _dancer('coco17') - 0.2, np.arange(30) / 60
  changes = {'pose3d': None, 'pose': pose, 'pose_time_s': time_s}
  path = _write(tmp_path, changes=changes)
  with pytest.raises(InputError, match='joints in space as pose3d'):
    read_pose(path)
