"""The lists of AIST++: splits, ignored sequences, segments; and their checks.

The published cross-modal split keeps two things apart, both checked here:

- music: no song of validation or test is in train. Validation and test have
  the same ten songs, one of each genre;
- performances (who dances which choreography): no two splits share one.
"""

import collections
import itertools
import pathlib
import re
from collections.abc import Mapping, Sequence

from absl import logging

from dance2wave.datasets.aistpp.names import GENRES, Name, parse_name
from dance2wave.errors import InputError

# Our name of a split -> its name in the files.
SPLITS = {'train': 'train', 'validation': 'val', 'test': 'test'}
PUBLISHED_SIZES = {'train': 980, 'validation': 20, 'test': 20}
_NUMBERS = (0, 5, 5, 3, 2, 4, 2, 3, 1, 0)  # Of the music, in order of GENRES.
PUBLISHED_MUSICS = frozenset(f'm{g}{n}' for g, n in zip(GENRES, _NUMBERS))

_SEGMENT = re.compile(r'(?P<name>\w+?)(?:_seg|\s+)(?P<number>\d+)')
_WINDOW_TAG = re.compile(r'_s(\d+)$')


def _lines(path: pathlib.Path) -> list[str]:
  try:
    lines = path.read_text('utf-8-sig').split('\n')
  except FileNotFoundError:
    raise InputError(
      f'aistpp: {path} does not exist; expected the annotations of AIST++ with '
      'splits/crossmodal_{train,val,test}.txt and ignore_list.txt; fetch them '
      'with python -m data_prep.download_aistpp, or give as --manual_dir the '
      'folder that holds splits/'
    ) from None
  except (OSError, UnicodeDecodeError) as error:
    raise InputError(
      f'aistpp: {path} cannot be read ({error}); expected a text file with a '
      'name on each line; fetch it again'
    ) from None
  return [line.strip() for line in lines if line.strip()]


def _names(path: pathlib.Path) -> list[Name]:
  names = [parse_name(line, str(path)) for line in _lines(path)]
  for name, count in collections.Counter(names).items():
    if count > 1:
      raise InputError(
        f'{path} names {name.sequence} {count} times; expected each sequence '
        'once; drop the other lines'
      )
  return names


def read_splits(
  folder: pathlib.Path,
) -> tuple[dict[str, list[Name]], set[Name]]:
  """Read the cross-modal split without ignored sequences, and the ignored.

  Returns:
    {split: sequences in the order of its list}, and those of ignore_list.txt.

  Raises:
    InputError: a list is missing or names what is no sequence, or splits share
      what they must not.
  """
  listed = {
    split: _names(folder / 'splits' / f'crossmodal_{word}.txt')
    for split, word in SPLITS.items()
  }
  ignored = set(_names(folder / 'ignore_list.txt'))
  used = {
    split: [name for name in names if name not in ignored]
    for split, names in listed.items()
  }
  check_apart(used)
  if {s: len(names) for s, names in listed.items()} == PUBLISHED_SIZES:
    _check_published(listed)
  return used, ignored


def check_apart(names_of: Mapping[str, Sequence[Name]]) -> None:
  """Raise InputError if a song or a performance leaks from train.

  Songs are apart between train and the others; performances between all.
  """
  for split, other in itertools.combinations(names_of, 2):
    pairs = [('performance', 'performance')]
    if 'train' in (split, other):
      pairs.append(('music', 'song'))
    for part, word in pairs:
      places = {getattr(name, part): name for name in names_of[split]}
      for name in names_of[other]:
        value = getattr(name, part)
        if value in places:
          raise InputError(
            f'aistpp: the {word} {value} is in {split} '
            f'({places[value].sequence}) and in {other} ({name.sequence}); '
            f'expected splits that share no {word}; restore the published '
            'lists in splits/'
          )


def _check_published(names_of: Mapping[str, Sequence[Name]]) -> None:
  for split in ('validation', 'test'):
    musics = {name.music for name in names_of[split]}
    strange = sorted(musics ^ PUBLISHED_MUSICS)
    if strange:
      raise InputError(
        f'aistpp: the music of {split} differs from the published list in '
        f'{", ".join(strange)}; expected {", ".join(sorted(PUBLISHED_MUSICS))} '
        'in lists of 980, 20 and 20 sequences; fetch the splits again'
      )


def _segments_of(path: pathlib.Path) -> dict[Name, set[int]]:
  found: dict[Name, set[int]] = {}
  for line in _lines(path):
    stem = re.sub(r'\.\w+$', '', line.replace('\\', '/').rsplit('/', 1)[-1])
    match = _SEGMENT.fullmatch(stem)
    if match is None or int(match['number']) < 1:
      raise InputError(
        f'{path}: {line[:120]!r} is no segment; expected a name and a number '
        'from 1, such as gBR_sBM_c01_d04_mBR0_ch02_seg1; correct the line'
      )
    name = parse_name(match['name'], str(path))
    found.setdefault(name, set()).add(int(match['number']))
  return found


def _list_paths(
  folder: pathlib.Path, split: str, window_s: float
) -> list[pathlib.Path]:
  """Return the lists of a split whose windows have this length.

  `aist_motion_train_segment_s6.txt` is for train and has 6 s; without `_s6`
  a list has 2 s.
  """
  paths = []
  for path in sorted((folder / 'segments').glob('*.txt')):
    tag = _WINDOW_TAG.search(path.stem)
    length_s = float(tag[1]) if tag else 2.0
    words = re.split(r'[^a-z]+', path.stem.lower())
    if length_s == window_s and SPLITS[split] in words:
      paths.append(path)
  return paths


def read_segments(
  folder: pathlib.Path,
  window_s: float,
  names_of: Mapping[str, Sequence[Name]],
  ignored: set[Name],
) -> dict[str, dict[Name, tuple[int, ...]] | None]:
  """Read the segments that a user's lists name, numbered from 1.

  Several lists of a split (of motions, of sound) are joined. Ignored sequences
  are left out and logged.

  Args:
    folder: of AIST++; its lists are segments/*.txt.
    window_s: length of the windows.
    names_of: sequences of each split.
    ignored: sequences that no split has.

  Returns:
    {split: {sequence: numbers}}, and None for a split without a list.

  Raises:
    InputError: a line is no segment, or of a sequence of another split.
  """
  segments = {}
  for split, names in names_of.items():
    paths = _list_paths(folder, split, window_s)
    chosen: dict[Name, set[int]] = {}
    for path in paths:
      for name, numbers in _segments_of(path).items():
        if name in ignored:
          logging.warning('%s: %s is ignored', path, name.sequence)
        elif name not in set(names):
          raise InputError(
            f'{path} names {name.sequence}, which is not in the split {split}; '
            f'expected sequences of crossmodal_{SPLITS[split]}.txt; correct '
            'the list'
          )
        else:
          chosen.setdefault(name, set()).update(numbers)
    ordered = {name: tuple(sorted(chosen[name])) for name in chosen}
    segments[split] = ordered if paths else None
  return segments
