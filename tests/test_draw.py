import time

import numpy as np
import pytest

from dance2wave.pose.draw import (
  LEFT_JOINTS,
  RIGHT_JOINTS,
  draw_dance,
  draw_pose,
  overlay_pose,
  view_box,
)
from dance2wave.pose.skeleton import CORE14_EDGES

LEFT_WRIST, RIGHT_ELBOW, RIGHT_WRIST = 7, 3, 4
XY = [
  *((0.50, 0.12), (0.50, 0.24)),
  *((0.42, 0.25), (0.33, 0.18), (0.30, 0.06)),
  *((0.58, 0.25), (0.68, 0.33), (0.76, 0.26)),
  *((0.46, 0.50), (0.40, 0.68), (0.42, 0.88)),
  *((0.54, 0.50), (0.63, 0.64), (0.58, 0.84)),
]
FRAME = (0.0, 0.0, 360.0)  # a view box that shows the unit square


def _pose():
  return np.column_stack([np.array(XY), np.ones(len(XY))])


def _colour_at(rgb_HWC, pose_JD, joint):
  x, y = np.rint(pose_JD[joint, :2] * 360).astype(int)
  return rgb_HWC[y, x].astype(int)


def _figure(rgb_HWC):
  """Where the picture differs from its background, the top left pixel."""
  return (rgb_HWC != rgb_HWC[0, 0]).any(axis=2)


def test_limbs_stand_where_the_joints_are_with_y_down():
  pose_JD = _pose()
  rgb_HWC = draw_pose(pose_JD, CORE14_EDGES, box=FRAME)
  assert rgb_HWC.shape == (360, 360, 3) and rgb_HWC.dtype == np.uint8
  figure_HW = _figure(rgb_HWC)
  for a, b in CORE14_EDGES:
    for share in (0.0, 0.5, 1.0):
      x, y = (1 - share) * pose_JD[a, :2] + share * pose_JD[b, :2]
      assert figure_HW[round(y * 360), round(x * 360)]
  assert figure_HW.mean() < 0.15


def test_right_is_orange_and_left_is_blue():
  pose_JD = _pose()
  rgb_HWC = draw_pose(pose_JD, CORE14_EDGES, box=FRAME)
  for joint in RIGHT_JOINTS:
    red, _, blue = _colour_at(rgb_HWC, pose_JD, joint)
    assert red > blue + 100
  for joint in LEFT_JOINTS:
    red, _, blue = _colour_at(rgb_HWC, pose_JD, joint)
    assert blue > red + 100


def test_edges_are_smooth():
  rgb_HWC = draw_pose(_pose(), CORE14_EDGES)
  assert len(np.unique(rgb_HWC.reshape(-1, 3), axis=0)) > 10


@pytest.mark.parametrize('value', [0.0, np.nan])
def test_unseen_joints_and_their_limbs_are_left_out(value):
  pose_JD = _pose()
  pose_JD[RIGHT_WRIST, 2] = value
  figure_HW = _figure(draw_pose(pose_JD, CORE14_EDGES, box=FRAME))
  x, y = np.rint(_pose()[RIGHT_WRIST, :2] * 360).astype(int)
  assert not figure_HW[y - 5 : y + 6, x - 5 : x + 6].any()
  x, y = np.rint(_pose()[RIGHT_ELBOW, :2] * 360).astype(int)
  assert figure_HW[y, x]


def test_unsure_joints_are_paler():
  pose_JD = _pose()
  pose_JD[LEFT_WRIST, 2] = 0.2
  unsure = draw_pose(pose_JD, CORE14_EDGES, box=FRAME)
  sure = draw_pose(_pose(), CORE14_EDGES, box=FRAME)
  pale = _colour_at(unsure, pose_JD, LEFT_WRIST)
  assert pale.sum() < 0.7 * _colour_at(sure, pose_JD, LEFT_WRIST).sum()


def test_beat_lights_up_the_background():
  levels = [
    draw_pose(_pose(), CORE14_EDGES, beat=beat)[0, 0].sum()
    for beat in (0.0, 0.5, 1.0)
  ]
  assert levels[0] < levels[1] < levels[2]


def test_nothing_to_see_is_an_empty_picture():
  pose_JD = _pose()
  pose_JD[:, 2] = 0
  assert not _figure(draw_pose(pose_JD, CORE14_EDGES, height=90)).any()


@pytest.mark.parametrize('height,width', [(360, 360), (200, 320), (91, 53)])
@pytest.mark.parametrize('unit', [1.0, 720.0])
def test_figure_fills_the_picture_in_any_unit(height, width, unit):
  pose_JD = _pose() * [unit, unit, 1] + [5 * unit, -3 * unit, 0]
  rgb_HWC = draw_pose(pose_JD, CORE14_EDGES, height=height, width=width)
  assert rgb_HWC.shape == (height, width, 3)
  rows, columns = np.nonzero(_figure(rgb_HWC))
  assert rows.min() > 0 and rows.max() < height - 1
  assert columns.min() > 0 and columns.max() < width - 1
  share = max(np.ptp(rows) / height, np.ptp(columns) / width)
  assert share > 0.7


def test_dance_has_one_view_box_and_one_picture_per_frame():
  pose_FJD = np.repeat(_pose()[None], 3, axis=0)
  pose_FJD[1, :, 0] += 0.5
  frames = list(draw_dance(pose_FJD, CORE14_EDGES, beat_F=[0, 0, 1.0]))
  assert len(frames) == 3
  centres = [np.nonzero(_figure(f))[1].mean() for f in frames]
  assert centres[1] > centres[0] + 50
  assert centres[2] == pytest.approx(centres[0], abs=1.0)
  assert frames[2][0, 0].sum() > frames[0][0, 0].sum()


def test_one_wild_landmark_does_not_shrink_a_dance():
  pose_FJD = np.repeat(_pose()[None], 50, axis=0)
  calm = view_box(pose_FJD, height=360, width=360)
  pose_FJD[7, LEFT_WRIST, :2] = 1e6
  wild = view_box(pose_FJD, height=360, width=360)
  assert wild[2] == pytest.approx(calm[2], rel=0.1)
  frames = list(draw_dance(pose_FJD, CORE14_EDGES, height=90, width=90))
  assert len(frames) == 50


def test_overlay_uses_units_of_the_picture_height():
  photo_HWC = np.random.default_rng(0).integers(0, 255, (120, 200, 3), np.uint8)
  before_HWC = photo_HWC.copy()
  pose_JD = _pose()
  rgb_HWC = overlay_pose(photo_HWC, pose_JD, CORE14_EDGES)
  np.testing.assert_array_equal(photo_HWC, before_HWC)
  changed_HW = (rgb_HWC != photo_HWC).any(axis=2)
  assert 0 < changed_HW.mean() < 0.1
  for x, y, _ in pose_JD:
    assert changed_HW[round(y * 120), round(x * 120)]
  assert not changed_HW[:, 110:].any()


def test_two_hundred_pictures_a_second():
  pose_FJD = np.repeat(_pose()[None], 40, axis=0)
  start = time.process_time()
  assert sum(1 for _ in draw_dance(pose_FJD, CORE14_EDGES)) == 40
  assert time.process_time() - start < 40 / 100  # measured: 480 per second
