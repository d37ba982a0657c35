import numpy as np
import pytest

from dance2wave.errors import InputError
from dance2wave.pose.skeleton import (
  CORE14_EDGES,
  CORE14_MIRROR,
  SKELETONS,
  to_core14,
)

SIZES = {
  'blazepose33': 33,
  'coco17': 17,
  'openpose25': 25,
  'openpose18': 18,
  'openpose14': 14,
  'core14': 14,
}


def _numbered(skeleton):
  """Frames whose x tells the joint's index, with falling confidences."""
  num_joints = len(SKELETONS[skeleton])
  pose_FJD = np.zeros((2, num_joints, 3), np.float32)
  pose_FJD[..., 0] = np.arange(num_joints)
  pose_FJD[..., 2] = 1 - np.arange(num_joints) / 100
  return pose_FJD


@pytest.mark.parametrize('skeleton', SKELETONS)
def test_names_are_complete_and_unique(skeleton):
  names = SKELETONS[skeleton]
  assert len(names) == len(set(names)) == SIZES[skeleton]


@pytest.mark.parametrize(
  'skeleton,expected',
  [
    # Indices as published by MediaPipe, COCO and OpenPose.
    ('blazepose33', [0, 11.5, 12, 14, 16, 11, 13, 15, 24, 26, 28, 23, 25, 27]),
    ('coco17', [0, 5.5, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15]),
    ('openpose25', [0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14]),
    ('openpose18', list(range(14))),
    ('core14', list(range(14))),
  ],
)
def test_core_is_picked_by_published_index(skeleton, expected):
  core_FJD = to_core14(_numbered(skeleton), skeleton)
  assert core_FJD.dtype == np.float32
  np.testing.assert_array_equal(core_FJD[0, :, 0], expected)


def test_neck_is_as_sure_as_the_less_sure_shoulder():
  core_FJD = to_core14(_numbered('coco17'), 'coco17')
  np.testing.assert_allclose(core_FJD[:, 1, 2], 1 - 6 / 100)


def test_mirror_swaps_sides_and_undoes_itself():
  names = SKELETONS['core14']
  for name, other in zip(names, CORE14_MIRROR):
    swapped = {'left': 'right', 'right': 'left'}.get(name.split('_')[0])
    expected = f'{swapped}_{name.split("_")[1]}' if swapped else name
    assert names[other] == expected
  assert [CORE14_MIRROR[j] for j in CORE14_MIRROR] == list(range(14))


def test_edges_make_a_tree_over_all_joints():
  assert len(CORE14_EDGES) == 13
  reached = {1}
  for parent, child in CORE14_EDGES:
    assert parent in reached and child not in reached
    reached.add(child)
  assert reached == set(range(14))


def test_unknown_skeleton_lists_the_known_ones():
  with pytest.raises(InputError, match=r"'smpl24'.*blazepose33.*core14"):
    to_core14(np.zeros((2, 24, 3)), 'smpl24')


def test_wrong_number_of_joints_is_named():
  with pytest.raises(InputError, match=r'\(2, 18, 3\).*25, 3'):
    to_core14(np.zeros((2, 18, 3)), 'openpose25')
