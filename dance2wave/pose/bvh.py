"""Motion capture in BVH files, seen by a camera in front of the dancer.

A BVH file is a tree of joints with offsets and channels, then one line of
channel values per frame. Angles are degrees, applied in the order in which a
joint lists its channels.
"""

import dataclasses
import os
import pathlib

import numpy as np

from dance2wave.errors import InputError
from dance2wave.pose.rig import core14_indices
from dance2wave.pose.skeleton import SKELETONS
from dance2wave.pose.track import PoseTrack
from dance2wave.pose.virtual_camera import film

_AXES = {'x': 0, 'y': 1, 'z': 2}
_MAX_FRAMES = 10_000_000


@dataclasses.dataclass
class _Joint:
  name: str
  parent: int
  offset: np.ndarray
  channels: list[tuple[str, int]]  # ('position' or 'rotation', axis)


class _Lines:
  """The lines of a file with a position for error messages."""

  def __init__(self, path: pathlib.Path) -> None:
    self.path = path
    self.number = 0
    try:
      self._lines = path.read_text(encoding='utf-8-sig').splitlines()
    except FileNotFoundError:
      raise InputError(
        f'BVH file {path} does not exist; expected a motion capture file; '
        'check the path'
      ) from None
    except (OSError, UnicodeDecodeError) as error:
      raise InputError(
        f'BVH file {path} cannot be read ({error}); expected a text file; '
        'export the motion again'
      ) from None

  def next(self, expected: str) -> list[str]:
    """Return the words of the next line that is not blank."""
    while self.number < len(self._lines):
      self.number += 1
      words = self._lines[self.number - 1].split()
      if words:
        return words
    raise self.fault('the file ends', expected)

  def rest(self) -> list[tuple[int, list[str]]]:
    """Return number and words of all further lines that are not blank."""
    start, self.number = self.number, len(self._lines)
    split = enumerate((x.split() for x in self._lines[start:]), start + 1)
    return [(number, words) for number, words in split if words]

  def fault(
    self, wrong: str, expected: str, number: int | None = None
  ) -> InputError:
    line = self.number if number is None else number
    return InputError(
      f'BVH file {self.path}, line {line}: {wrong}; expected {expected}; '
      'export the motion again'
    )

  def numbers(self, words: list[str], count: int, expected: str) -> np.ndarray:
    try:
      values = np.array([float(word) for word in words])
    except ValueError:
      raise self.fault(f'{" ".join(words)!r}', expected) from None
    if len(values) != count or not np.isfinite(values).all():
      raise self.fault(f'{" ".join(words)!r}', expected)
    return values


def _read_channels(lines: _Lines, words: list[str]) -> list[tuple[str, int]]:
  expected = 'CHANNELS, their number, and names such as Xrotation'
  channels = []
  for word in words[2:]:
    axis, kind = word[:1].lower(), word[1:].lower()
    if axis not in _AXES or kind not in ('position', 'rotation'):
      raise lines.fault(f'unknown channel {word!r}', expected)
    channels.append((kind, _AXES[axis]))
  if len(words) < 2 or words[1] != str(len(channels)):
    raise lines.fault(f'{" ".join(words)!r}', expected)
  return channels


def _read_hierarchy(lines: _Lines) -> list[_Joint]:
  """Read up to MOTION; an end site is a joint '<parent>_end'."""
  if [w.upper() for w in lines.next('HIERARCHY')] != ['HIERARCHY']:
    raise lines.fault('this is not the start of a BVH file', 'HIERARCHY')
  joints: list[_Joint] = []
  stack: list[int] = []
  while True:
    words = lines.next('ROOT, JOINT, End Site, OFFSET, CHANNELS, } or MOTION')
    keyword = words[0].upper()
    if keyword in ('ROOT', 'JOINT', 'END'):
      parent = stack[-1] if stack else -1
      if keyword == 'END' and parent >= 0:
        name = f'{joints[parent].name}_end'
      elif keyword == 'END' or (keyword == 'JOINT') != (parent >= 0):
        raise lines.fault(f'{words[0]} at this depth', 'one ROOT around JOINTs')
      else:
        name = ' '.join(words[1:])
      joints.append(_Joint(name, parent, np.zeros(3), []))
      if not words[-1].endswith('{') and lines.next('{') != ['{']:
        raise lines.fault(f'no brace after {name!r}', '{')
      stack.append(len(joints) - 1)
    elif keyword == 'OFFSET' and stack:
      joints[stack[-1]].offset = lines.numbers(words[1:], 3, 'three numbers')
    elif keyword == 'CHANNELS' and stack:
      joints[stack[-1]].channels = _read_channels(lines, words)
    elif keyword == '}' and stack:
      stack.pop()
    elif keyword == 'MOTION' and joints and not stack:
      return joints
    else:
      raise lines.fault(f'{" ".join(words)!r}', 'a joint, }, or MOTION')


def _read_motion(lines: _Lines, num_channels: int) -> tuple[np.ndarray, float]:
  """Return (F, channels) values and the time between frames."""
  words = lines.next('Frames:')
  if words[0].lower() not in ('frames:', 'frames'):
    raise lines.fault(f'{" ".join(words)!r}', 'Frames: and their number')
  count = float(lines.numbers(words[-1:], 1, 'the number of frames')[0])
  if not 2 <= count <= _MAX_FRAMES or count != int(count):
    raise lines.fault(f'{words[-1]} frames', f'2 to {_MAX_FRAMES}')
  words = lines.next('Frame Time:')
  if [w.lower() for w in words[:2]] != ['frame', 'time:']:
    raise lines.fault(f'{" ".join(words)!r}', 'Frame Time: and seconds')
  frame_s = float(lines.numbers(words[2:], 1, 'seconds between frames')[0])
  if not 0 < frame_s <= 10:
    raise lines.fault(f'frame time {frame_s:g} s', 'more than 0 s, at most 10')
  rows = lines.rest()
  if len(rows) != count:
    raise lines.fault(f'{len(rows)} lines of motion', f'{int(count)}')
  for number, row in rows:
    if len(row) != num_channels:
      raise lines.fault(f'{len(row)} values', f'{num_channels}', number)
  return _numbers_of(lines, rows), frame_s


def _numbers_of(lines: _Lines, rows) -> np.ndarray:
  try:
    values = np.array([row for _, row in rows], dtype=np.float64)
  except ValueError:
    for lines.number, row in rows:
      lines.numbers(row, len(row), 'numbers')
    raise
  bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
  if len(bad):
    raise lines.fault('a value is not finite', 'numbers', rows[bad[0]][0])
  return values


def _rotation(axis: int, angle_F: np.ndarray) -> np.ndarray:
  """(F, 3, 3) right-handed rotations about a coordinate axis."""
  matrix = np.zeros((len(angle_F), 3, 3))
  i, j = (axis + 1) % 3, (axis + 2) % 3
  matrix[:, axis, axis] = 1
  matrix[:, i, i] = matrix[:, j, j] = np.cos(angle_F)
  matrix[:, j, i] = np.sin(angle_F)
  matrix[:, i, j] = -matrix[:, j, i]
  return matrix


def _moves(joint: _Joint, own_FC: np.ndarray) -> bool:
  """Return whether any position channel of a joint is ever used."""
  is_position = [kind == 'position' for kind, _ in joint.channels]
  return bool(own_FC[:, is_position].any())


def _forward_kinematics(
  joints: list[_Joint], motion_FC: np.ndarray
) -> np.ndarray:
  """Return (F, joints, 3) world positions.

  A position channel replaces that coordinate of the joint's offset, but where
  an exporter left all of a joint's at zero, the offset holds.
  """
  num_frames, column = len(motion_FC), 0
  place = np.zeros((num_frames, len(joints), 3))
  turns: list[np.ndarray] = []
  for n, joint in enumerate(joints):
    local_F3 = np.repeat(joint.offset[None], num_frames, axis=0)
    own_FC = motion_FC[:, column : column + len(joint.channels)]
    is_fixed = joint.parent >= 0 and not _moves(joint, own_FC)
    turn = np.broadcast_to(np.eye(3), (num_frames, 3, 3))
    for kind, axis in joint.channels:
      value_F = motion_FC[:, column]
      column += 1
      if kind == 'rotation':
        turn = turn @ _rotation(axis, np.deg2rad(value_F))
      elif not is_fixed:
        local_F3[:, axis] = value_F
    if joint.parent >= 0:
      parent = turns[joint.parent]
      local_F3 = (parent @ local_F3[..., None])[..., 0]
      local_F3 += place[:, joint.parent]
      turn = parent @ turn
    place[:, n] = local_F3
    turns.append(turn)
  return place


def read_bvh(path: str | os.PathLike) -> PoseTrack:
  """Read a BVH file as a 'core14' track of confidence 1.

  The camera is orthographic and in front of the dancer, whose body is 0.65
  frame heights tall. Joints are found by name, see `rig`; units and
  the axis that is up do not matter.

  Raises:
    InputError: a malformed file, with the line; or a rig whose joints cannot
      be told, with their names.
  """
  path = pathlib.Path(path)
  lines = _Lines(path)
  joints = _read_hierarchy(lines)
  num_channels = sum(len(joint.channels) for joint in joints)
  motion_FC, frame_s = _read_motion(lines, num_channels)
  source = f'BVH file {path}'
  indices = core14_indices(
    [joint.name for joint in joints], [joint.parent for joint in joints], source
  )
  place = _forward_kinematics(joints, motion_FC)
  core_FJ3 = np.stack(
    [place[:, indices[name]].mean(axis=1) for name in SKELETONS['core14']],
    axis=1,
  )
  time_F = np.arange(len(core_FJ3)) * frame_s
  return film(core_FJ3, time_F, len(core_FJ3) * frame_s, source)
