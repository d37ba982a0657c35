"""Name the dance classes of Kinetics, by release, set and archive number.

Labels are compared across releases as the label lists of Kinetics-400, -600
and -700 (alphabetical, counted from 1) give them; 'dancing' is the category
of that name in Showmax/kinetics-downloader, resources/categories.json.
"""

import dataclasses
import types

from dance2wave.errors import InputError

RELEASES = ('k400', 'k600', 'k700_2020')
CLASS_SETS = ('dancing', 'strict', 'loose')


@dataclasses.dataclass(frozen=True)
class _Class:
  """One class: the first release that has it, as it is in all later ones.

  Attributes:
    since: a release.
    number: in the names of the archives of Kinetics-700, from 1.
    kind: 'dance', 'near' for what only resembles dance, or 'mute' for dance
      without music that could be heard.
    is_dancing: whether Showmax's category 'dancing' names it.
  """

  since: str
  number: int
  kind: str = 'dance'
  is_dancing: bool = False


_CLASSES = types.MappingProxyType(
  {
    'belly dancing': _Class('k400', 32, is_dancing=True),
    'breakdancing': _Class('k400', 55, is_dancing=True),
    'capoeira': _Class('k400', 74, 'near'),
    'cheerleading': _Class('k400', 97, 'near', is_dancing=True),
    'contorting': _Class('k600', 119, 'near'),
    'country line dancing': _Class('k400', 128, is_dancing=True),
    'cumbia': _Class('k600', 137),
    'dancing ballet': _Class('k400', 147, is_dancing=True),
    'dancing charleston': _Class('k400', 148, is_dancing=True),
    'dancing gangnam style': _Class('k400', 149, is_dancing=True),
    'dancing macarena': _Class('k400', 150, is_dancing=True),
    'doing aerobics': _Class('k400', 163, 'near'),
    'gymnastics tumbling': _Class('k400', 234, 'near'),
    'headbanging': _Class('k400', 238, 'near'),
    'hula hooping': _Class('k400', 255, 'near'),
    'jumpstyle dancing': _Class('k400', 277, is_dancing=True),
    'karaoke': _Class('k600', 278, 'near'),
    'krumping': _Class('k400', 284, is_dancing=True),
    'marching': _Class('k400', 322, 'near', is_dancing=True),
    'moon walking': _Class('k600', 333),
    'mosh pit dancing': _Class('k600', 335),
    'pirouetting': _Class('k600', 371),
    'robot dancing': _Class('k400', 491, is_dancing=True),
    'salsa dancing': _Class('k400', 500, is_dancing=True),
    'shoot dance': _Class('k700_2020', 524),
    'shuffling feet': _Class('k600', 535, 'near'),
    'silent disco': _Class('k700_2020', 539, 'mute'),
    'ski ballet': _Class('k700_2020', 544, 'near'),
    'spinning poi': _Class('k400', 571, 'near'),
    'square dancing': _Class('k600', 576),
    'swing dancing': _Class('k400', 600, is_dancing=True),
    'tango dancing': _Class('k400', 610, is_dancing=True),
    'tap dancing': _Class('k400', 611, is_dancing=True),
    'zumba': _Class('k400', 700, is_dancing=True),
  }
)


def plain_label(label: str) -> str:
  """Return a label as Kinetics writes it: lower case, single spaces."""
  return ' '.join(label.replace('_', ' ').lower().split())


def _is_in(entry: _Class, class_set: str) -> bool:
  if class_set == 'dancing':
    return entry.is_dancing
  kinds = ('dance',) if class_set == 'strict' else ('dance', 'near')
  return entry.kind in kinds


def known_classes(release: str) -> tuple[str, ...]:
  """Return every class of a release that this table knows, alphabetical.

  Raises:
    InputError: no such release.
  """
  _check(release, RELEASES, 'release')
  age = RELEASES.index(release)
  return tuple(
    sorted(k for k, v in _CLASSES.items() if RELEASES.index(v.since) <= age)
  )


def classes_of(release: str, class_set: str) -> tuple[str, ...]:
  """Return the classes of a set that a release has, alphabetical.

  'dancing' are the 17 that Showmax's category names, with cheerleading and
  marching; 'strict' is dance and nothing near it, without 'silent disco', in
  which no music is heard; 'loose' is strict and what is near dance.

  Raises:
    InputError: no such release or class set.
  """
  _check(class_set, CLASS_SETS, 'class set')
  return tuple(
    label
    for label in known_classes(release)
    if _is_in(_CLASSES[label], class_set)
  )


def k700_archive_number(label: str) -> int:
  """Return the number of a class in the names of Kinetics-700's archives.

  Raises:
    InputError: the class is not one of this table.
  """
  entry = _CLASSES.get(plain_label(label))
  if entry is None:
    raise InputError(
      f'class is {label!r}, whose archive number is not known; expected one of '
      f'{", ".join(_CLASSES)}; correct the class'
    )
  return entry.number


def _check(value: str, allowed: tuple[str, ...], what: str) -> None:
  if value not in allowed:
    raise InputError(
      f'{what} is {value!r}; expected one of {", ".join(allowed)}; choose one'
    )
