import itertools
import time

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from dance2wave.errors import InputError
from dance2wave.pose.bvh import read_bvh
from dance2wave.pose.clean import clean_pose
from dance2wave.pose.skeleton import SKELETONS

NAMES = SKELETONS['core14']
AT = {name: j for j, name in enumerate(NAMES)}

# name, parent, offset (Y up, facing +Z: the left side is +X).
BODY = (
  ('Hips', None, (0, 90, 0)),
  ('Spine', 'Hips', (0, 40, 0)),
  ('Head', 'Spine', (0, 20, 5)),
  *(
    (f'{side}{name}', f'{side}{parent}' if own else parent, offset)
    for side, sign in (('Left', 1), ('Right', -1))
    for name, parent, own, offset in (
      ('Arm', 'Spine', False, (sign * 18, 0, 0)),
      ('ForeArm', 'Arm', True, (sign * 28, 0, 0)),
      ('Hand', 'ForeArm', True, (sign * 25, 0, 0)),
      ('UpLeg', 'Hips', False, (sign * 10, 0, 0)),
      ('Leg', 'UpLeg', True, (0, -45, 0)),
      ('Foot', 'Leg', True, (0, -43, 0)),
    )
  ),
)
# Names of arm, forearm, hand, thigh, shin and foot, and of head and root.
RIGS = {
  'mixamo': (
    'mixamorig:{Left}',
    'Arm ForeArm Hand UpLeg Leg Foot',
    'mixamorig:Head',
  ),
  'mixamo_fbx': ('mixamorig1_{Left}', 'Arm ForeArm Hand UpLeg Leg Foot', None),
  'poser': ('{l}', 'Shldr ForeArm Hand Thigh Shin Foot', 'head'),
  'blender': ('', 'upper_arm forearm hand thigh shin foot', 'head'),
  'cmu_asf': ('{l}', 'humerus radius wrist femur tibia foot', 'head'),
  'motive': ('Take1:{L}', 'UArm FArm Hand Thigh Shin Foot', 'Take1:Head'),
  'motion_builder': (
    'Character1_{Left}',
    'Arm ForeArm Hand UpLeg Leg Foot',
    None,
  ),
  'perception_neuron': (
    'Robot_{Left}',
    'Arm ForeArm Hand UpLeg Leg Foot',
    None,
  ),
  'rokoko': ('{Left}', 'Arm ForeArm Hand Thigh Shin Foot', 'Head'),
  'xsens': ('{Left}', 'Shoulder Elbow Wrist Hip Knee Ankle', 'Head'),
  'smpl': ('{L}_', 'Shoulder Elbow Wrist Hip Knee Ankle', 'Head'),
  'smplx': ('{left}_', 'shoulder elbow wrist hip knee ankle', 'head'),
  'smpl_maya': ('m_avg_{L}_', 'Shoulder Elbow Wrist Hip Knee Ankle', None),
  'biped': (
    'Bip01 {L} ',
    'UpperArm Forearm Hand Thigh Calf Foot',
    'Bip01 Head',
  ),
  'vrm': (
    'J_Bip_{L}_',
    'UpperArm LowerArm Hand UpperLeg LowerLeg Foot',
    'J_Bip_C_Head',
  ),
  'no_head': ('{Left}', 'Shoulder Elbow Wrist Hip Knee Ankle', 'Neck'),
}
PARTS = ('Arm', 'ForeArm', 'Hand', 'UpLeg', 'Leg', 'Foot')


def _renamer(rig):
  """Return a function from the names of BODY to those of a rig."""
  form, parts, head = RIGS[rig]
  names = dict(zip(PARTS, parts.split()))
  front = form.partition('{')[0]

  def rename(name):
    for side in ('Left', 'Right'):
      if name.startswith(side):
        part = names[name.removeprefix(side)]
        sides = {'Left': side, 'left': side.lower()}
        sides |= {'L': side[0], 'l': side[0].lower()}
        return form.format(**sides) + part if form else f'{part}.{side[0]}'
    return head if name == 'Head' and head else front + name

  return rename


def _bvh(
  order='ZXY',
  angles=None,
  num_frames=3,
  rename=lambda name: name,
  place=lambda xyz: xyz,
  has_places=False,
):
  """Text of a file; `angles` maps a joint to its (F, 3) channel values.

  `place` turns and scales all offsets; `has_places` gives every joint position
  channels, all zero.
  """
  children = {name: [] for name, *_ in BODY}
  for name, parent, _ in BODY:
    if parent:
      children[parent].append(name)
  offsets = {name: offset for name, _, offset in BODY}
  turns = ' '.join(f'{axis}rotation' for axis in order)
  written, lines = [], ['HIERARCHY']

  def write(name, keyword):
    written.append(name)
    lines.extend([f'{keyword} {rename(name)}', '{'])
    lines.append('OFFSET ' + ' '.join(map(str, place(offsets[name]))))
    is_placed = keyword == 'ROOT' or has_places
    places = 'Xposition Yposition Zposition ' if is_placed else ''
    lines.append(f'CHANNELS {6 if places else 3} {places}{turns}')
    for child in children[name]:
      write(child, 'JOINT')
    if not children[name]:
      end = ' '.join(map(str, place((0, 4, 0))))
      lines.extend(['End Site', '{', f'OFFSET {end}', '}'])
    lines.append('}')

  write('Hips', 'ROOT')
  lines += ['MOTION', f'Frames: {num_frames}', 'Frame Time: 0.04']
  for f in range(num_frames):
    row = list(place((0, 90 + 0.1 * f, 0)))
    for name in written:
      row += [0, 0, 0] * (has_places and name != 'Hips')
      values = (angles or {}).get(name)
      row += [0, 0, 0] if values is None else list(values[f])
    lines.append(' '.join(map(str, row)))
  return '\n'.join(lines) + '\n'


def _write(tmp_path, text):
  path = tmp_path / 'a.bvh'
  path.write_text(text)
  return path


@pytest.mark.parametrize('order', [*itertools.permutations('XYZ')])
def test_every_rotation_order_matches_an_independent_one(tmp_path, order):
  order = ''.join(order)
  rng = np.random.default_rng(0)
  degrees = rng.uniform(-40, 40, size=(3, 3))
  text = _bvh(order, {'LeftArm': degrees, 'LeftForeArm': degrees[::-1]})
  pose = read_bvh(_write(tmp_path, text)).pose_FJD
  upper = Rotation.from_euler(order, degrees, degrees=True)
  lower = upper * Rotation.from_euler(order, degrees[::-1], degrees=True)
  elbow = upper.apply([28, 0, 0])
  wrist = elbow + lower.apply([25, 0, 0])
  # The torso's rest length tells the scale of the picture.
  torso = pose[:, AT['right_hip'], 1] - pose[:, AT['right_shoulder'], 1]
  scale = torso[0] / 40
  for name, place in (('left_elbow', elbow), ('left_wrist', wrist)):
    seen = (pose[:, AT[name]] - pose[:, AT['left_shoulder']])[:, :2] / scale
    np.testing.assert_allclose(seen, place[:, :2] * (1, -1), atol=1e-3)


@pytest.mark.parametrize('rig', RIGS)
def test_common_rigs_are_the_same_dancer(tmp_path, rig):
  want = read_bvh(_write(tmp_path, _bvh())).pose_FJD
  text = _bvh(rename=_renamer(rig))
  np.testing.assert_array_equal(read_bvh(_write(tmp_path, text)).pose_FJD, want)


def test_wrists_and_ankles_win_over_knuckles_and_balls(tmp_path):
  rename = _renamer('smpl')
  text = _bvh(rename=rename)
  want = read_bvh(_write(tmp_path, text)).pose_FJD
  for part, end in (('Wrist', 'Hand'), ('Ankle', 'Foot')):
    for side in 'LR':
      lines = text.splitlines()
      row = lines.index(f'JOINT {side}_{part}') + 4
      assert lines[row] == 'End Site'
      more = [f'JOINT {side}_{end}', '{', 'OFFSET 9 9 9', 'CHANNELS 0', '}']
      text = '\n'.join([*lines[:row], *more, *lines[row + 4 :]]) + '\n'
  assert text.count('_Foot') == 2
  np.testing.assert_array_equal(read_bvh(_write(tmp_path, text)).pose_FJD, want)


@pytest.mark.parametrize(
  'place',
  [
    lambda p: (p[0], -p[2], p[1]),  # z up
    lambda p: (p[1], p[2], p[0]),  # x up
    lambda p: (-p[0], -p[1], p[2]),  # y down
    lambda p: tuple(v / 100 for v in p),  # metres
    lambda p: tuple(v / 2.54 for v in p),  # inches
  ],
)
def test_units_and_the_axis_that_is_up_do_not_matter(tmp_path, place):
  want = read_bvh(_write(tmp_path, _bvh())).pose_FJD
  got = read_bvh(_write(tmp_path, _bvh(place=place))).pose_FJD
  np.testing.assert_allclose(got, want, atol=1e-6)


def test_unused_position_channels_keep_the_offsets(tmp_path):
  want = read_bvh(_write(tmp_path, _bvh())).pose_FJD
  text = _bvh(has_places=True)
  np.testing.assert_array_equal(read_bvh(_write(tmp_path, text)).pose_FJD, want)
  used = text.replace('0 90.1 0 0 0 0 0 0 0', '0 90.1 0 0 0 0 0 30 0', 1)
  assert used != text
  other = read_bvh(_write(tmp_path, used)).pose_FJD
  assert np.abs(other - want).max() > 0.01


def test_used_position_channels_stand_for_the_offsets(tmp_path):
  want = read_bvh(_write(tmp_path, _bvh())).pose_FJD
  lines = _bvh(has_places=True).splitlines()
  row = lines.index('MOTION') + 3
  values = np.array([line.split() for line in lines[row:]], float)
  offsets = {name: offset for name, _, offset in BODY}
  names = [x.split()[1] for x in lines if x.startswith('JOINT')]
  for n, name in enumerate(names, 1):
    values[:, 6 * n : 6 * n + 3] = offsets[name]
    lines[lines.index(f'JOINT {name}') + 2] = 'OFFSET 1 2 3'
  lines[row:] = [' '.join(map(str, frame)) for frame in values]
  path = _write(tmp_path, '\n'.join(lines) + '\n')
  np.testing.assert_allclose(read_bvh(path).pose_FJD, want, atol=1e-6)


@pytest.mark.parametrize(
  'change',
  [lambda text: '\ufeff' + text, lambda text: text.replace('\n{', ' {')],
)
def test_a_byte_order_mark_and_braces_beside_names_are_read(tmp_path, change):
  want = read_bvh(_write(tmp_path, _bvh())).pose_FJD
  path = tmp_path / 'b.bvh'
  path.write_text(change(_bvh()), encoding='utf-8')
  np.testing.assert_array_equal(read_bvh(path).pose_FJD, want)


def test_nose_and_neck_lie_in_the_middle_of_others(tmp_path):
  pose = read_bvh(_write(tmp_path, _bvh())).pose_FJD[0, :, :2]
  right, left = pose[AT['right_shoulder']], pose[AT['left_shoulder']]
  scale = (pose[AT['right_hip'], 1] - right[1]) / 40
  np.testing.assert_allclose(pose[AT['neck']], (right + left) / 2, atol=1e-6)
  nose = (pose[AT['nose']] - pose[AT['neck']]) / scale
  np.testing.assert_allclose(nose, [0, -22], atol=1e-3)


def test_two_minutes_at_120_hz_are_read_in_seconds(tmp_path):
  head, motion = _bvh(num_frames=4).split('Frames: 4')
  frame_time, *rows = motion.strip().splitlines()
  many = '\n'.join([f'Frames: {4 * 3600}', frame_time, *rows * 3600])
  path = _write(tmp_path, head + many + '\n')
  start_s = time.process_time()
  track = read_bvh(path)
  assert time.process_time() - start_s < 3.0
  assert len(track.pose_FJD) == 14400


@pytest.mark.parametrize('turn', [0, 90, 200])
def test_camera_stands_in_front_of_the_dancer(tmp_path, turn):
  text = _bvh('YXZ', {'Hips': np.array([[turn, 0, 0]] * 3)})
  pose = read_bvh(_write(tmp_path, text)).pose_FJD
  for part in ('shoulder', 'wrist', 'hip', 'ankle'):
    right, left = pose[:, AT[f'right_{part}']], pose[:, AT[f'left_{part}']]
    assert (left[:, 0] > right[:, 0] + 0.05).all()
  assert (pose[:, AT['nose'], 1] < pose[:, AT['neck'], 1]).all()
  height = pose[0, AT['left_ankle'], 1] - pose[0, AT['nose'], 1]
  assert 0.6 < height < 0.7 and pose[..., 2].min() == 1
  assert pose[..., 1].min() > 0 and pose[..., 1].max() < 1


@pytest.mark.parametrize(
  'name,num_frames,duration_s,spin',
  [('dab', 339, 11.30, False), ('jesse_dance', 1007, 10.07, False)],
)
def test_real_dances(shared_data, name, num_frames, duration_s, spin):
  track = read_bvh(shared_data / 'animateddrawings' / f'{name}.bvh')
  assert track.pose_FJD.shape == (num_frames, 14, 3)
  assert track.skeleton == 'core14'
  assert track.duration_s == pytest.approx(duration_s, abs=0.005)
  pose = track.pose_FJD
  assert pose[..., :2].min() > 0 and pose[..., 0].max() < 16 / 9
  upright = pose[:, AT['nose'], 1] < pose[:, AT['right_hip'], 1]
  facing = pose[:, AT['left_hip'], 0] > pose[:, AT['right_hip'], 0]
  assert upright.mean() > 0.95 and facing.mean() > 0.8
  cleaned = clean_pose(track, 25)
  assert np.isfinite(cleaned).all() and np.abs(cleaned).max() < 5
  # A person, in torsos: hips at 0, feet 1.2 to 2 below.
  feet = np.median(cleaned[:, [10, 13], 1])
  assert 1.0 < feet < 2.0


def test_unknown_rig_lists_its_joints_and_what_is_missing(tmp_path):
  text = _bvh(rename=lambda name: f'bone_{len(name)}_{name[::-1]}')
  with pytest.raises(InputError, match=r'no joint found for .*left_ankle') as e:
    read_bvh(_write(tmp_path, text))
  assert 'bone_5_enipS' in str(e.value) and '\n' not in str(e.value)


@pytest.mark.parametrize(
  'old,new,message',
  [
    ('HIERARCHY', 'HIERARCHIE', 'line 1: .*HIERARCHY'),
    ('OFFSET 0 40 0', 'OFFSET 0 forty 0', r"line 8: '0 forty 0'"),
    ('OFFSET 0 40 0', 'OFFSET 0 40', r"line 8: '0 40'"),
    ('CHANNELS 3 Zrotation', 'CHANNELS 4 Zrotation', 'line 9: .*CHANNELS'),
    ('3 Zrotation', '3 Wrotation', "line 9: unknown channel 'Wrotation'"),
    ('ROOT Hips', 'JOINT Hips', 'line 2: JOINT at this depth'),
    ('JOINT Spine\n{', 'JOINT Spine\n', "brace after 'Spine'"),
    ('MOTION\n', '}\nMOTION\n', 'a joint, }, or MOTION'),
    ('Frames: 3', 'Frames: many', "'many'.*number of frames"),
    ('Frames: 3', 'Frames: 4', '3 lines of motion; expected 4'),
    ('Frames: 3', 'Frames: 1', '1 frames; expected 2 to'),
    ('Frame Time: 0.04', 'Frame Time: 0', 'frame time 0 s'),
    ('Frame Time: 0.04', 'Frame Time: nan', "'nan'"),
    ('90.1', '90.1 7', 'values; expected'),
    ('90.1', 'ninety', "'0 ninety 0"),
    ('90.1', 'inf', 'not finite'),
    ('MOTION', '', "'Frames: 3'"),
  ],
)
def test_malformed_files_name_the_line(tmp_path, old, new, message):
  text = _bvh()
  assert old in text
  path = _write(tmp_path, text.replace(old, new, 1))
  with pytest.raises(InputError, match=message) as caught:
    read_bvh(path)
  assert 'a.bvh' in str(caught.value) and 'line' in str(caught.value)


def test_line_number_of_a_bad_value_is_right(tmp_path):
  text = _bvh().replace('90.2', 'x')
  line = next(n for n, row in enumerate(text.splitlines(), 1) if ' x ' in row)
  with pytest.raises(InputError, match=f'line {line}:'):
    read_bvh(_write(tmp_path, text))


def test_cut_empty_binary_and_absent_files(tmp_path):
  text = _bvh()
  with pytest.raises(InputError, match='the file ends'):
    read_bvh(_write(tmp_path, text[: len(text) // 3]))
  with pytest.raises(InputError, match='the file ends'):
    read_bvh(_write(tmp_path, ''))
  (tmp_path / 'b.bvh').write_bytes(bytes(range(256)))
  with pytest.raises(InputError, match='cannot be read'):
    read_bvh(tmp_path / 'b.bvh')
  with pytest.raises(InputError, match='does not exist'):
    read_bvh(tmp_path / 'none.bvh')
