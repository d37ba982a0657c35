import contextlib
import json
import logging
import types

import numpy as np
import pytest

from dance2wave.errors import InputError
from dance2wave.pose import landmarker
from dance2wave.pose.clean import NEUTRAL_POSE_J2
from dance2wave.pose.landmarker import extract_poses
from dance2wave.pose.model_file import find_model
from dance2wave.pose.people import follow_dancer
from dance2wave.pose.skeleton import SKELETONS
from dance2wave.pose.source import read_pose
from dance2wave.pose.track import PoseTrack, write_pose_file

BLAZEPOSE = {name: j for j, name in enumerate(SKELETONS['blazepose33'])}


def _person(x, y=0.5, size=0.15, visibility=0.9):
  """33 landmarks: those of the core in place, the rest at the hips."""
  person = np.zeros((33, 3))
  person[:, 2] = visibility
  for j, name in enumerate(SKELETONS['core14']):
    if name != 'neck':
      person[BLAZEPOSE[name], :2] = NEUTRAL_POSE_J2[j]
  person[:, :2] = person[:, :2] * size + (x, y)
  return person


@pytest.fixture
def fake(monkeypatch):
  """A scripted video and landmarker.

  `fake.people` holds per frame what is seen, `fake.times_s` the times; the
  milliseconds given to the landmarker are in `fake.times_ms`.
  """
  script = types.SimpleNamespace(
    people=[], times_s=None, times_ms=[], shape=(90, 160)
  )

  def times_s():
    if script.times_s is None:
      return np.arange(len(script.people)) / 30
    return np.asarray(script.times_s)

  def probe(_):
    return types.SimpleNamespace(
      frame_time_s=times_s(), duration_s=float(times_s()[-1]) + 0.04
    )

  def read_frames(_):
    for time_s in times_s():
      yield float(time_s), np.zeros((*script.shape, 3), np.uint8)

  @contextlib.contextmanager
  def open_landmarker(_):
    def detect(rgb_HWC, time_ms):
      assert rgb_HWC.shape == (*script.shape, 3)
      script.times_ms.append(time_ms)
      return script.people[len(script.times_ms) - 1]

    yield detect

  monkeypatch.setattr(landmarker, 'probe', probe)
  monkeypatch.setattr(landmarker, 'read_frames', read_frames)
  monkeypatch.setattr(landmarker, 'open_landmarker', open_landmarker)
  monkeypatch.setattr(landmarker, 'find_model', lambda path: path)
  return script


def test_track_has_frame_heights_times_and_gaps(fake):
  person = _person(0.5)
  person[0] = (0.25, 0.1, 0.8)
  fake.people = [[person], [], [person]]
  fake.times_s = [0, 0.01, 0.5]
  done = []
  track = extract_poses('a.mp4', progress=lambda *args: done.append(args))
  assert track.skeleton == 'blazepose33'
  np.testing.assert_array_equal(track.pose_time_s, fake.times_s)
  assert track.duration_s == pytest.approx(0.54)
  np.testing.assert_allclose(
    track.pose_FJD[0, 0], (0.25 * 160 / 90, 0.1, 0.8), rtol=1e-6
  )
  assert not track.pose_FJD[1].any()
  assert done == [(1, 3), (2, 3), (3, 3)]


def test_milliseconds_increase_even_above_1000_frames_per_second(fake):
  fake.people = [[_person(0.5)]] * 50
  fake.times_s = np.arange(50) / 4000
  track = extract_poses('a.mp4')
  assert (np.diff(fake.times_ms) >= 1).all() and fake.times_ms[0] == 0
  assert all(type(ms) is int for ms in fake.times_ms)
  np.testing.assert_array_equal(track.pose_time_s, fake.times_s)


@pytest.mark.parametrize('num_seen', [0, 1, 3])
def test_nobody_is_an_error_with_the_share(fake, num_seen):
  fake.people = [[_person(0.5)]] * num_seen + [[]] * (20 - num_seen)
  share = f'{num_seen} of 20 frames .{5 * num_seen}%'
  with pytest.raises(InputError, match=rf'empty\.mp4: .*{share}.*20%'):
    extract_poses('empty.mp4')


def test_a_fifth_of_the_frames_is_enough(fake):
  fake.people = [[_person(0.5)]] * 4 + [[]] * 16
  assert extract_poses('a.mp4').pose_FJD[:4].any()


def test_landmarks_far_outside_stay_bounded(fake):
  person = _person(0.5)
  person[5] = (-1e6, np.nan, 1.7)
  fake.people = [[person]] * 3
  track = extract_poses('a.mp4')
  assert np.abs(track.pose_FJD).max() <= 10


def test_largest_and_steadiest_of_several_is_followed(fake, caplog):
  """Two people cross; a third, larger one passes through for a moment."""
  fake.shape = (100, 100)
  frames = []
  for f in range(60):
    dancer = [] if f in (10, 30) else [_person(0.2 + f / 100, 0.5)]
    other = [_person(0.8 - f / 100, 0.6, 0.1)]
    third = [_person(0.5, 0.5, 0.3)] if 20 <= f < 24 else []
    frames.append(third + (dancer + other if f % 2 else other + dancer))
  fake.people = frames
  with caplog.at_level(logging.INFO, logger='absl'):
    track = extract_poses('two.mp4')
  x = track.pose_FJD[:, BLAZEPOSE['right_hip'], 0]
  seen = track.pose_FJD[..., 2].max(axis=1) > 0
  assert seen.sum() == 58 and not seen[10] and not seen[30]
  want = 0.2 + np.arange(60) / 100 - 0.18 * 0.15
  np.testing.assert_allclose(x[seen], want[seen], atol=1e-5)
  (line,) = [r.getMessage() for r in caplog.records if 'people' in r.message]
  assert 'two.mp4: 2 people' in line and '97 %' in line


def test_people_seen_twice_are_one_and_lost_ones_come_back():
  person = _person(0.5)
  twice = [[person, person + 0.001]] * 10 + [[]] * 30 + [[person]] * 10
  picks, num_people = follow_dancer(twice, np.arange(50) / 30)
  assert num_people == 1
  assert picks == [0] * 10 + [None] * 30 + [0] * 10


def test_steady_small_one_beats_a_large_one_of_short_stay():
  small, large = _person(0.2, size=0.1), _person(0.8, size=0.25)
  people = [[large, small]] * 10 + [[small]] * 40
  picks, num_people = follow_dancer(people, np.arange(50) / 30)
  assert picks == [1] * 10 + [0] * 40 and num_people == 2


@pytest.mark.parametrize('size', [0.15, 0.4])
def test_dancer_who_comes_back_late_or_in_close_up_keeps_both_sides(size):
  """Out of sight for three seconds, then as before, or at once larger."""
  wide, later = _person(0.5), _person(0.5, size=size)
  gap = [] if size == 0.15 else [[later]] * 15
  people = [[wide]] * 40 + (gap or [[]] * 15) + [[later]] * 65
  picks, num_people = follow_dancer(people, np.arange(120) / 5)
  assert picks == [0 if seen else None for seen in people]
  assert num_people == 1


def test_what_is_no_dancer_does_not_fill_the_time_without_one():
  """A flicker, somebody tiny, somebody who was there before the end."""
  dancer, guest = _person(0.5), _person(0.9)
  tiny, flicker = _person(0.1, size=0.03), _person(0.3)
  people = [[dancer]] * 100 + [[]] * 60
  people[70:75] = [[]] * 5  # The dancer is unseen for a moment: no guest then.
  for frames, person in (
    (range(72, 85), guest),
    (range(125, 130), flicker),
    (range(130, 155), tiny),
  ):
    for f in frames:
      people[f] = [*people[f], person]
  picks, _ = follow_dancer(people, np.arange(160) / 10)
  seen = [*range(70), *range(75, 100)]
  assert [f for f, pick in enumerate(picks) if pick is not None] == seen
  assert all(people[f][picks[f]] is dancer for f in seen)


def test_the_next_person_is_followed_only_where_the_dancer_is_away():
  """And the smaller of two who are there at that time is not."""
  dancer, second, third = _person(0.2), _person(0.4), _person(0.7, size=0.1)
  people = [[second]] * 30 + [[]] * 30 + [[third, dancer]] * 60
  people[10:30] = [[third, second]] * 20
  picks, num_people = follow_dancer(people, np.arange(120) / 10)
  assert picks == [0] * 10 + [1] * 20 + [None] * 30 + [1] * 60
  assert num_people == 3


@pytest.mark.parametrize('is_long', [True, False])
def test_who_is_out_of_sight_for_long_may_come_back_farther_away(is_long):
  """By a body size in a second; a stranger is there for too short a time."""
  here, there = _person(0.3), _person(0.9)
  gap = [[]] * (10 if is_long else 2)
  people = [[here]] * 20 + gap + [[there]] * 5
  picks, _ = follow_dancer(people, np.arange(len(people)) / 10)
  assert picks == [0] * 20 + [None] * len(gap) + [0 if is_long else None] * 5


def test_nobody_to_follow():
  assert follow_dancer([[], []], np.array([0, 0.1])) == ([None, None], 0)


def test_read_pose_goes_by_suffix(fake, tmp_path, shared_data):
  pose = np.ones((3, 14, 3))
  track = PoseTrack(pose, np.arange(3) / 10, 'core14', 0.3)
  write_pose_file(tmp_path / 'a.npz', track)
  assert read_pose(tmp_path / 'a.npz').duration_s == 0.3
  dance = shared_data / 'animateddrawings' / 'dab.bvh'
  assert read_pose(dance).skeleton == 'core14'
  fake.people = [[_person(0.5)]] * 3
  assert read_pose(tmp_path / 'a.MP4').skeleton == 'blazepose33'


@pytest.fixture(scope='module')
def model():
  try:
    return find_model()
  except InputError as error:
    pytest.skip(f'no pose model: {error}')


def test_garbage_model_is_refused(tmp_path, shared_data):
  (tmp_path / 'bad.task').write_bytes(b'not a model')
  with pytest.raises(InputError, match=r'bad\.task is refused'):
    extract_poses(shared_data / 'tfjs-pose/pose_1.mp4', tmp_path / 'bad.task')


def test_real_landmarks_agree_with_movenet(shared_data, model, capfd):
  """Median distance below 5 % of the body height; 1.5 % when measured."""
  folder = shared_data / 'tfjs-pose'
  reference = json.loads((folder / 'pose_1.json').read_text())
  track = extract_poses(folder / 'pose_1.mp4', model)
  assert len(track.pose_FJD) == len(reference) == 120
  assert track.duration_s == pytest.approx(4.0, abs=0.01)
  names = SKELETONS['coco17']
  want = np.array([[(f[n]['x'], f[n]['y']) for n in names] for f in reference])
  got = track.pose_FJD[:, [BLAZEPOSE[n] for n in names], :2] * 576
  error = np.linalg.norm(got - want, axis=-1)
  height = np.median(np.ptp(want[..., 1], axis=1))
  assert np.median(error) < 0.05 * height
  assert np.median(error, axis=0).max() < 0.12 * height
  assert track.pose_FJD[..., 2].mean() > 0.7
  assert capfd.readouterr().err == ''
