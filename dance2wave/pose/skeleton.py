"""The skeletons of all sources and the common core on which they agree.

Joints are matched by name and never by position, so that the left wrist stays
the left wrist whatever a source's order. Left and right are the dancer's own.
"""

import numpy as np

from dance2wave.errors import InputError

_CORE14 = (
  'nose',
  'neck',
  'right_shoulder',
  'right_elbow',
  'right_wrist',
  'left_shoulder',
  'left_elbow',
  'left_wrist',
  'right_hip',
  'right_knee',
  'right_ankle',
  'left_hip',
  'left_knee',
  'left_ankle',
)
_COCO_HEAD = ('nose', 'left_eye', 'right_eye', 'left_ear', 'right_ear')
_LIMBS = ('shoulder', 'elbow', 'wrist', 'hip', 'knee', 'ankle')
_FACE = ('right_eye', 'left_eye', 'right_ear', 'left_ear')
_FEET = ('big_toe', 'small_toe', 'heel')


def _both(*parts: str) -> tuple[str, ...]:
  return tuple(f'{side}_{part}' for part in parts for side in ('left', 'right'))


def _blazepose33() -> tuple[str, ...]:
  eyes = [
    f'{side}_eye{end}'
    for side in ('left', 'right')
    for end in ('_inner', '', '_outer')
  ]
  arms = _both('shoulder', 'elbow', 'wrist', 'pinky', 'index', 'thumb')
  legs = _both('hip', 'knee', 'ankle', 'heel', 'foot_index')
  return ('nose', *eyes, *_both('ear', 'mouth'), *arms, *legs)


def _openpose25() -> tuple[str, ...]:
  feet = [f'{side}_{part}' for side in ('left', 'right') for part in _FEET]
  return (*_CORE14[:8], 'mid_hip', *_CORE14[8:], *_FACE, *feet)


SKELETONS: dict[str, tuple[str, ...]] = {
  'blazepose33': _blazepose33(),
  'coco17': (*_COCO_HEAD, *_both(*_LIMBS)),
  'openpose25': _openpose25(),
  'openpose18': (*_CORE14, *_FACE),
  'openpose14': _CORE14,
  'core14': _CORE14,
}

# Bones of core14 as pairs of joint indices, from the neck outwards.
CORE14_EDGES: tuple[tuple[int, int], ...] = (
  (1, 0),
  *((1, 2), (2, 3), (3, 4)),
  *((1, 5), (5, 6), (6, 7)),
  *((1, 8), (8, 9), (9, 10)),
  *((1, 11), (11, 12), (12, 13)),
)


def _mirrored(name: str) -> str:
  side, _, part = name.partition('_')
  other = {'left': 'right', 'right': 'left'}
  return f'{other[side]}_{part}' if side in other else name


# pose_FJD[:, list(CORE14_MIRROR)] renames left to right and right to left.
CORE14_MIRROR: tuple[int, ...] = tuple(
  _CORE14.index(_mirrored(name)) for name in _CORE14
)


def joint_names(skeleton: str) -> tuple[str, ...]:
  """Return a skeleton's joint names; InputError lists the known skeletons."""
  if skeleton not in SKELETONS:
    raise InputError(
      f'skeleton is {skeleton!r}; expected one of {", ".join(SKELETONS)}; '
      'convert the poses to one of these'
    )
  return SKELETONS[skeleton]


def to_core14(pose_FJD: np.ndarray, skeleton: str) -> np.ndarray:
  """Select the common core by joint name.

  Args:
    pose_FJD: (F, J, 3) x, y, confidence of `skeleton`.
    skeleton: a key of SKELETONS.

  Returns:
    (F, 14, 3) float32 in the order of SKELETONS['core14']. Where the source
    has no neck it is the middle of the shoulders, as sure as the less sure.

  Raises:
    InputError: an unknown skeleton, or a shape that does not fit it.
  """
  names = joint_names(skeleton)
  pose_FJD = np.asarray(pose_FJD, np.float32)
  if pose_FJD.ndim != 3 or pose_FJD.shape[1:] != (len(names), 3):
    raise InputError(
      f'pose has shape {pose_FJD.shape}; expected (frames, {len(names)}, 3) '
      f'for skeleton {skeleton}; check which skeleton the poses were made with'
    )
  index = {name: j for j, name in enumerate(names)}
  if 'neck' in index:
    return pose_FJD[:, [index[name] for name in _CORE14]]
  shoulders_F2D = pose_FJD[:, [index[name] for name in _both('shoulder')]]
  neck_FD = shoulders_F2D.mean(axis=1)
  neck_FD[:, 2] = shoulders_F2D[:, :, 2].min(axis=1)
  picked = pose_FJD[:, [index.get(name, 0) for name in _CORE14]]
  picked[:, _CORE14.index('neck')] = neck_FD
  return picked
