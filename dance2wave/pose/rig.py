"""Find the joints of core14 in a rig by the names that motion captures use.

A name is read without its case, punctuation and name space; what all names
have in front ('Character1_LeftArm', 'Bip01 L Thigh') is dropped as well.
"""

import re
from collections.abc import Sequence

from dance2wave.errors import InputError

# Names of each part without its side; earlier ones win. In many rigs the
# 'shoulder' is the collar bone and the 'arm' turns in the shoulder; 'hand' and
# 'foot' are the knuckles and the ball where there is a wrist and an ankle.
_PARTS = {
  'shoulder': (
    *('arm', 'uparm', 'uarm', 'upperarm', 'shldr', 'shldrbend', 'humerus'),
    'shoulder',
  ),
  'elbow': (
    *('forearm', 'farm', 'lowarm', 'lowerarm', 'forearmbend', 'radius'),
    'elbow',
  ),
  'wrist': ('wrist', 'hand'),
  'hip': ('upleg', 'upperleg', 'thigh', 'thighbend', 'femur', 'hip'),
  'knee': ('leg', 'lowleg', 'lowerleg', 'shin', 'calf', 'tibia', 'knee'),
  'ankle': ('ankle', 'foot'),
}
_SIDES = {'right': ('right', 'r'), 'left': ('left', 'l')}
_HEADS = ('head', 'skull', 'neck')


def _plain(name: str) -> str:
  """Drop a name space and punctuation: 'mixamorig:Left_Arm' -> 'leftarm'."""
  return re.sub(r'[^a-z0-9]', '', re.split('[:|]', name)[-1].lower())


def _sided(side: str, part: str) -> list[str]:
  """Return the names of a part on a side, the best first."""
  return [
    name
    for synonym in _PARTS[part]
    for word in _SIDES[side]
    for name in (word + synonym, synonym + word)
  ]


def _prefixes(names: dict[str, int]) -> list[str]:
  """Return what may stand in front of all names, nothing first."""
  ankles = _sided('left', 'ankle')
  found = {
    name[: -len(ankle)]
    for name in names
    for ankle in ankles
    if name.endswith(ankle)
  }
  return sorted({'', *found}, key=lambda prefix: (len(prefix), prefix))


def _find(
  names: dict[str, int], prefix: str, wanted: Sequence[str]
) -> int | None:
  for name in wanted:
    if prefix + name in names:
      return names[prefix + name]
  return None


def _find_head(names: dict[str, int], prefix: str) -> int | None:
  """Find the head, whose name may have a word more in front than the rest."""
  index = _find(names, prefix, _HEADS)
  if index is not None:
    return index
  ends = [n for n in names if n.startswith(prefix) and n.endswith('head')]
  return names[ends[0]] if prefix and ends else None


def core14_indices(
  joint_names: Sequence[str], parents: Sequence[int], source: str
) -> dict[str, list[int]]:
  """Map joints of core14 to the joints of a rig whose middle they are.

  Args:
    joint_names: of the rig.
    parents: index of each joint's parent, -1 for none.
    source: what is read, for the message.

  Raises:
    InputError: which joints cannot be told, and the names there are.
  """
  names: dict[str, int] = {}
  for n, name in enumerate(joint_names):
    names.setdefault(_plain(name), n)
  found, missing = {}, None
  for prefix in _prefixes(names):
    tried = {
      f'{side}_{part}': _find(names, prefix, _sided(side, part))
      for side in _SIDES
      for part in _PARTS
    }
    tried['nose'] = _find_head(names, prefix)
    lacking = sorted(name for name, index in tried.items() if index is None)
    if missing is None or len(lacking) < len(missing):
      found, missing = tried, lacking
  if missing:
    raise InputError(
      f'{source}: no joint found for {", ".join(missing)} among '
      f'{", ".join(joint_names)}; expected names such as Head, LeftArm, '
      'LeftForeArm, LeftHand, LeftUpLeg, LeftLeg, LeftFoot; rename the joints'
    )
  indices = {name: [index] for name, index in found.items()}
  # The face is half way up the head.
  top = [n for n, parent in enumerate(parents) if parent == found['nose']]
  indices['nose'] += top[:1]
  indices['neck'] = [found['right_shoulder'], found['left_shoulder']]
  return indices
