"""Motion files of DeepMimic: one humanoid, a rotation per joint and frame.

JSON of `Loop` and `Frames`. A frame is its duration in seconds, the root's
place in metres, then rotations: of root, chest, neck, the right leg and arm,
the left leg and arm. Ball joints turn by a quaternion (w, x, y, z), knees and
elbows by an angle about z. y is up, the humanoid faces x.

The humanoid is that of 'DeepMimic' (Peng et al., 2018, 1804.02717), its
lengths those of `humanoid3d`.
"""

import json
import os
import pathlib
from typing import NamedTuple

import numpy as np

from dance2wave.errors import InputError
from dance2wave.pose.skeleton import SKELETONS
from dance2wave.pose.track import PoseTrack
from dance2wave.pose.virtual_camera import film


class _Joint(NamedTuple):
  name: str
  parent: str
  offset: tuple[float, float, float]  # metres, in the frame of the parent
  num_values: int  # 4 quaternion, 1 angle about z, 0 fixed


def _side(side: str, sign: int) -> tuple[_Joint, ...]:
  """Return a leg and an arm in the order of a frame's values."""
  hip, knee, ankle = (f'{side}_{part}' for part in ('hip', 'knee', 'ankle'))
  arm = [f'{side}_{part}' for part in ('shoulder', 'elbow', 'wrist')]
  return (
    _Joint(hip, 'root', (0, 0, 0.085 * sign), 4),
    _Joint(knee, hip, (0, -0.422, 0), 1),
    _Joint(ankle, knee, (0, -0.410, 0), 4),
    _Joint(arm[0], 'chest', (-0.024, 0.244, 0.183 * sign), 4),
    _Joint(arm[1], arm[0], (0, -0.275, 0), 1),
    _Joint(arm[2], arm[1], (0, -0.259, 0), 0),
  )


_JOINTS = (
  _Joint('root', '', (0, 0, 0), 4),
  _Joint('chest', 'root', (0, 0.236, 0), 4),
  _Joint('neck_base', 'chest', (0, 0.224, 0), 4),
  _Joint('nose', 'neck_base', (0, 0.175, 0), 0),
  *_side('right', 1),
  *_side('left', -1),
)
_HEAD_VALUES = 4  # duration and place
_NUM_VALUES = _HEAD_VALUES + sum(joint.num_values for joint in _JOINTS)


def is_motion_file(path: str | os.PathLike) -> bool:
  """Return whether a file starts as JSON does, unlike lists and notes."""
  try:
    with pathlib.Path(path).open('rb') as file:
      return file.read(64).lstrip().startswith(b'{')
  except OSError:
    return False


def _load_frames(path: pathlib.Path) -> list:
  """Return the frames of a file, unchecked."""
  expected = 'expected JSON with "Frames"; export the motion again'
  try:
    content = json.loads(path.read_text(encoding='utf-8-sig'))
  except FileNotFoundError:
    raise InputError(
      f'DeepMimic file {path} does not exist; expected a motion file; check '
      'the path'
    ) from None
  except json.JSONDecodeError as error:
    raise InputError(
      f'DeepMimic file {path}, line {error.lineno}: {error.msg}; {expected}'
    ) from None
  except (OSError, ValueError, RecursionError) as error:
    raise InputError(
      f'DeepMimic file {path} cannot be read ({error}); {expected}'
    ) from None
  frames = content.get('Frames') if isinstance(content, dict) else None
  if not isinstance(frames, list) or len(frames) < 2:
    count = len(frames) if isinstance(frames, list) else 'no'
    raise InputError(
      f'DeepMimic file {path} has {count} frames; expected "Frames", a list of '
      'at least 2; export the motion again'
    )
  return frames


def _fault(path: pathlib.Path, frame: int, wrong: str, expected: str):
  return InputError(
    f'DeepMimic file {path}, frame {frame}: {wrong}; expected {expected}; '
    'export the motion again'
  )


def _checked_frames(path: pathlib.Path) -> np.ndarray:
  """Return (F, _NUM_VALUES) finite values; frames count from 0."""
  frames = _load_frames(path)
  for number, frame in enumerate(frames):
    is_list = isinstance(frame, list)
    if not is_list or len(frame) != _NUM_VALUES:
      found = f'{len(frame)} values' if is_list else f'{frame!r:.40}'
      raise _fault(path, number, found, f'{_NUM_VALUES} values of a humanoid')
    if not all(type(value) in (int, float) for value in frame):
      odd = next(v for v in frame if type(v) not in (int, float))
      raise _fault(path, number, f'{odd!r:.40}', 'numbers')
  value_FV = np.array(frames, np.float64)
  bad = np.flatnonzero(~np.isfinite(value_FV).all(axis=1))
  if len(bad):
    raise _fault(path, bad[0], 'a value is not finite', 'numbers')
  short = np.flatnonzero(value_FV[:-1, 0] <= 0)
  if len(short) or value_FV[-1, 0] < 0:
    number = short[0] if len(short) else len(value_FV) - 1
    wrong = f'a duration of {value_FV[number, 0]:g} s'
    raise _fault(path, number, wrong, 'more than 0 s, or 0 s in the last frame')
  return value_FV


def _quaternion_matrix(quaternion_F4: np.ndarray) -> np.ndarray:
  """(F, 3, 3) rotations of unit quaternions (w, x, y, z)."""
  w, x, y, z = quaternion_F4.T
  rows = (
    (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
    (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
    (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
  )
  return np.moveaxis(np.array(rows), -1, 0)


def _rotation(path, joint: _Joint, value_FV: np.ndarray) -> np.ndarray:
  """(F, 3, 3) from a joint's own values; any number of them."""
  if not joint.num_values:
    return np.broadcast_to(np.eye(3), (len(value_FV), 3, 3))
  if joint.num_values == 1:
    half_F = 0.5 * value_FV[:, 0]
    zero_F = np.zeros_like(half_F)
    return _quaternion_matrix(
      np.stack([np.cos(half_F), zero_F, zero_F, np.sin(half_F)], axis=1)
    )
  length_F1 = np.linalg.norm(value_FV, axis=1, keepdims=True)
  bad = np.flatnonzero(np.abs(length_F1 - 1) > 0.1)
  if len(bad):
    wrong = f'{joint.name} turns by a quaternion of length '
    wrong += f'{length_F1[bad[0], 0]:g}'
    raise _fault(path, bad[0], wrong, 'length 1')
  return _quaternion_matrix(value_FV / length_F1)


def _places(path, value_FV: np.ndarray) -> dict[str, np.ndarray]:
  """Forward kinematics: the place (F, 3) of each joint by name."""
  places: dict[str, np.ndarray] = {}
  turns: dict[str, np.ndarray] = {}
  column = _HEAD_VALUES
  for joint in _JOINTS:
    own = value_FV[:, column : column + joint.num_values]
    column += joint.num_values
    turn = _rotation(path, joint, own)
    if joint.parent:
      place = places[joint.parent] + turns[joint.parent] @ joint.offset
      turn = turns[joint.parent] @ turn
    else:
      place = value_FV[:, 1:_HEAD_VALUES]
    places[joint.name], turns[joint.name] = place, turn
  return places


def read_deepmimic(path: str | os.PathLike) -> PoseTrack:
  """Read a motion of DeepMimic's humanoid as a 'core14' track.

  The camera is that of `virtual_camera.film`. A motion that loops is read as
  the one cycle that the file holds.

  Raises:
    InputError: a malformed file, with the line or the frame (from 0).
  """
  path = pathlib.Path(path)
  value_FV = _checked_frames(path)
  place = _places(path, value_FV)
  place['neck'] = (place['right_shoulder'] + place['left_shoulder']) / 2
  core_FJ3 = np.stack([place[name] for name in SKELETONS['core14']], axis=1)
  end_F = np.cumsum(value_FV[:, 0])
  time_F = end_F - value_FV[:, 0]
  return film(core_FJ3, time_F, float(end_F[-1]), f'DeepMimic file {path}')
