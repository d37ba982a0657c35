import numpy as np
import pytest

from dance2wave.errors import InputError
from dance2wave.pose import track as track_lib
from dance2wave.pose.track import (
  PoseTrack,
  read_pose_file,
  read_poses_of,
  write_pose_file,
)


def _fields(num_frames=5, num_joints=14, skeleton='core14'):
  rng = np.random.default_rng(0)
  return {
    'pose_FJD': rng.uniform(size=(num_frames, num_joints, 3)),
    'pose_time_s': np.arange(num_frames) / 30,
    'skeleton': skeleton,
    'duration_s': num_frames / 30,
  }


def _arrays(**changes):
  fields = _fields()
  arrays = {
    'pose': fields['pose_FJD'],
    'pose_time_s': fields['pose_time_s'],
    'skeleton': 'core14',
  }
  return {k: v for k, v in (arrays | changes).items() if v is not None}


def test_round_trip_is_exact_and_leaves_nothing_behind(tmp_path):
  track = PoseTrack(**_fields(7, 33, 'blazepose33'))
  write_pose_file(tmp_path / 'a.npz', track)
  again = read_pose_file(tmp_path / 'a.npz')
  np.testing.assert_array_equal(again.pose_FJD, track.pose_FJD)
  np.testing.assert_array_equal(again.pose_time_s, track.pose_time_s)
  assert (again.skeleton, again.duration_s) == ('blazepose33', 7 / 30)
  assert again.pose_FJD.dtype == np.float32
  assert again.pose_time_s.dtype == np.float64
  assert [p.name for p in tmp_path.iterdir()] == ['a.npz']


def test_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
  write_pose_file(tmp_path / 'a.npz', PoseTrack(**_fields()))
  before = (tmp_path / 'a.npz').read_bytes()

  def full_disk(*_, **__):
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr(np, 'savez_compressed', full_disk)
  with pytest.raises(OSError, match='No space'):
    write_pose_file(tmp_path / 'a.npz', PoseTrack(**_fields(9)))
  assert (tmp_path / 'a.npz').read_bytes() == before
  assert [p.name for p in tmp_path.iterdir()] == ['a.npz']


def test_absent_duration_is_last_time_plus_median_gap(tmp_path):
  time_s = np.array([0, 0.1, 0.2, 0.3, 0.9])
  np.savez(tmp_path / 'a.npz', **_arrays(pose_time_s=time_s))
  assert read_pose_file(tmp_path / 'a.npz').duration_s == pytest.approx(1.0)


def test_missing_joints_may_hold_nan(tmp_path):
  pose = _fields()['pose_FJD']
  pose[2, 3] = (np.nan, np.nan, 0)
  pose[3, 4] = np.nan
  np.savez(tmp_path / 'a.npz', **_arrays(pose=pose))
  track = read_pose_file(tmp_path / 'a.npz')
  assert not track.pose_FJD[2, 3].any() and not track.pose_FJD[3, 4].any()


def test_what_is_rounded_or_missing_is_no_fault(tmp_path):
  """Confidences just above 1, far places of joints that nobody saw."""
  pose = _fields()['pose_FJD']
  pose[1, 2, 2] = 1.0005
  np.savez(tmp_path / 'a.npz', **_arrays(pose=pose))
  track = read_pose_file(tmp_path / 'a.npz')
  assert track.pose_FJD[1, 2, 2] == 1.0
  np.testing.assert_array_equal(
    track.pose_FJD[1, 2, :2], pose[1, 2, :2].astype('f4')
  )
  fields = _fields()
  fields['pose_FJD'][3, 4] = (640.0, 480.0, 0.0)
  fields['duration_s'] = fields['pose_time_s'][-1]  # no frame after the last
  assert PoseTrack(**fields).duration_s == fields['pose_time_s'][-1]


def test_only_more_than_poses_can_shrink_to_is_a_bomb(tmp_path, monkeypatch):
  path, pose = tmp_path / 'a.npz', np.zeros((3000, 14, 3), np.float32)
  track = PoseTrack(pose, np.arange(3000) / 30, 'core14', 100.0)
  write_pose_file(path, track)
  monkeypatch.setattr(track_lib, '_SMALL_BYTES', 1000)
  assert len(read_pose_file(path).pose_FJD) == 3000
  np.savez_compressed(path, pose=np.zeros(1_000_000))
  with pytest.raises(InputError, match=r'brings 8000128 bytes out of \d+;'):
    read_pose_file(path)


def _with(value, where):
  pose = _fields()['pose_FJD']
  pose[where] = value
  return pose


@pytest.mark.parametrize(
  'changes,message',
  [
    ({'pose': _with(np.nan, (1, 2, 0))}, 'frame 1, joint 2'),
    ({'pose': _with(1e300, (1, 2, 0))}, 'not finite at frame 1, joint 2'),
    ({'pose': _with(640.0, (1, 2, 0))}, r'640.*divide pixel'),
    ({'pose': _with(1.5, (1, 2, 2))}, r'confidence .*1\.5.*0 to 1'),
    ({'pose': _with(-0.5, (1, 2, 2))}, r'confidence spans -0\.5 .*0 to 1'),
    ({'pose': np.zeros((5, 14, 2))}, r'\(5, 14, 2\).*14, 3'),
    ({'pose': np.zeros((1, 14, 3)), 'pose_time_s': np.zeros(1)}, '1 frame'),
    ({'pose': np.array([['a']])}, 'pose has dtype'),
    ({'pose': np.ones((5, 14, 3), bool)}, 'pose has dtype bool'),
    ({'pose': np.array([{}], dtype=object)}, "'pose' holds pickled"),
    ({'pose_time_s': np.array([0, 0.1, 0.1, 0.2, 0.3])}, 'strictly'),
    ({'pose_time_s': np.arange(5) + 1.0}, 'starts at 1 s'),
    ({'pose_time_s': np.arange(4) / 30}, r'shape \(4,\) for 5'),
    ({'pose_time_s': np.zeros((0,))}, r'shape \(0,\)'),
    ({'pose_time_s': np.zeros((5, 1))}, r'pose_time_s has shape \(5, 1\)'),
    ({'duration_s': np.zeros(0)}, r'duration_s has shape \(0,\); expected one'),
    ({'duration_s': np.ones(2)}, r'duration_s has shape \(2,\); expected one'),
    ({'duration_s': 'long'}, r'^pose file \S+: duration_s has dtype'),
    ({'duration_s': 0.05}, 'duration_s is 0.05'),
    ({'duration_s': np.nan}, 'duration_s is nan'),
    ({'skeleton': 'smpl24'}, "'smpl24'.*blazepose33"),
    ({'skeleton': None}, 'has no skeleton'),
  ],
)
def test_bad_files_are_named_with_what_is_wrong(tmp_path, changes, message):
  np.savez(tmp_path / 'bad.npz', **_arrays(**changes))
  with pytest.raises(InputError, match=message) as caught:
    read_pose_file(tmp_path / 'bad.npz')
  assert 'bad.npz' in str(caught.value) and '\n' not in str(caught.value)


def test_truncated_absent_and_foreign_files(tmp_path, shared_data):
  write_pose_file(tmp_path / 'a.npz', PoseTrack(**_fields()))
  cut = tmp_path / 'cut.npz'
  cut.write_bytes((tmp_path / 'a.npz').read_bytes()[:500])
  with pytest.raises(InputError, match=r'cut\.npz cannot be read'):
    read_pose_file(cut)
  with pytest.raises(InputError, match='does not exist'):
    read_pose_file(tmp_path / 'none.npz')
  pickled = shared_data / 'isaacgymenvs' / 'amp_humanoid_dance.npy'
  with pytest.raises(InputError, match='amp_humanoid_dance'):
    read_pose_file(pickled)


@pytest.mark.parametrize('longer_s', [1.0, -1.0])
def test_poses_of_a_longer_and_of_a_shorter_video_are_refused(
  tmp_path, longer_s
):
  path, video = tmp_path / 'a.npz', tmp_path / 'a.mp4'
  track = PoseTrack(**_fields(60))
  write_pose_file(path, track)
  for duration_s in (track.duration_s + 0.4 * longer_s, None):
    assert read_poses_of(video, path, duration_s).duration_s == track.duration_s
  with pytest.raises(InputError, match='poses of this video; remove the pose'):
    read_poses_of(video, path, track.duration_s + longer_s)
