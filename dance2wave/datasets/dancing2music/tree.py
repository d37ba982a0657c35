"""What the zips of Dancing2Music unpack to, and what its lists name.

    data/unitList/<style>_{unit,unitseq3,unitseq4}.txt
    data/stats/all_{onbeat,aud}_{mean,std}.npy
    data/<style>/<youtube id>/<chunk>/{unit,unitseq3,unitseq4}/<number>.npy
    data/<style>/<youtube id>/<chunk>/aud/c<chunk>_fps15.npy
    audio/<youtube id>/<chunk>.wav         the user's own, for config `paired`

A list has a record a line; its first field is a path that begins with data/.
"""

import dataclasses
import os
import pathlib
from collections.abc import Iterable

from absl import logging

from dance2wave.datasets.styles import WORDS
from dance2wave.datasets.work import Failure
from dance2wave.errors import InputError

STYLES = tuple(sorted(WORDS['dancing2music']))
# Longest first: a sequence holds units that are listed again for themselves.
KINDS = {'unitseq4': 4, 'unitseq3': 3, 'unit': 0}


@dataclasses.dataclass(frozen=True)
class Listed:
  """One file of poses that a list names.

  Attributes:
    name: its path below the folder of data, with '/'.
    path: where it is, or should be.
    word: the dataset's own word for the style.
    youtube_id: of the video.
    chunk_id: of the part of the video.
    num_units: in a file of a list of sequences; 0: a list of units, where a
      file holds one, or several that are no sequence.
  """

  name: str
  path: pathlib.Path
  word: str
  youtube_id: str
  chunk_id: str
  num_units: int

  @property
  def features_name(self) -> str:
    """The path of its chunk's audio features below the folder of data."""
    folder = f'{self.word}/{self.youtube_id}/{self.chunk_id}'
    return f'{folder}/aud/c{self.chunk_id}_fps15.npy'


class Tree:
  """The unpacked files: manual_dir, or a folder `data` in it.

  The lists, the statistics and each style come from zips of their own, so
  each is looked for in both places.
  """

  def __init__(self, manual_dir: pathlib.Path):
    """Look for the lists.

    Raises:
      InputError: none of them is there.
    """
    self.roots = (manual_dir / 'data', manual_dir)
    self._lists = {
      (word, kind): self.find(f'unitList/{word}_{kind}.txt')
      for word in STYLES
      for kind in KINDS
    }
    absent = [f'{w}_{k}.txt' for (w, k), p in self._lists.items() if not p]
    if len(absent) == len(self._lists):
      raise InputError(
        f'dancing2music: no unitList/{absent[0]} in {manual_dir} or its folder '
        'data; expected the folder into which data.zip, ballet.zip, zumba.zip '
        'and hiphop.zip were unpacked; python -m '
        'data_prep.download_dancing2music, or give another --manual_dir'
      )
    if absent:
      logging.warning(
        'dancing2music: %s missing in unitList; going on without',
        ', '.join(absent),
      )

  def place(self, name: str) -> pathlib.Path:
    """Return where a path of a list lies; if nowhere, where it should."""
    return self.find(name) or self.roots[0] / name

  def find(self, name: str) -> pathlib.Path | None:
    """Return the first of the places where a path exists, or None."""
    paths = (root / name for root in self.roots)
    return next((path for path in paths if path.exists()), None)

  def find_sound(self, listed: Listed) -> pathlib.Path | None:
    """Return the user's sound of a chunk, of any suffix, or None."""
    folder = self.find(f'audio/{listed.youtube_id}')
    if not folder or not folder.is_dir():
      return None
    files = [p for p in folder.iterdir() if p.stem == listed.chunk_id]
    return min(files, key=lambda p: (p.suffix != '.wav', p.name), default=None)

  def read_lists(self) -> tuple[list[Listed], list[Failure]]:
    """Return every file that a list names, once, and the lines that name none.

    Sequences of four come first, then those of three, then units.
    """
    listed, failures = {}, []
    for kind in KINDS:
      for word in STYLES:
        for number, field in _records(self._lists[word, kind]):
          one = self._parse(field, word, KINDS[kind])
          if isinstance(one, Listed):
            listed.setdefault(one.name, one)
          else:
            path = f'unitList/{word}_{kind}.txt:{number}'
            failures.append(Failure(path, 'list', 'InputError', one))
    return list(listed.values()), failures

  def _parse(self, field: str, word: str, num_units: int) -> Listed | str:
    """Return the file of a record, or what is wrong with the record."""
    parts = field.replace('\\', '/').split('/')
    parts = parts[1:] if parts[0] == 'data' else parts
    is_path = len(parts) >= 4 and not {'', '.', '..'} & set(parts)
    if not is_path or parts[0] != word or not parts[-1].endswith('.npy'):
      return (
        f'the list names {field!r}; expected data/{word}/<youtube id>/<chunk>/'
        '.../<file>.npy; unpack data.zip again'
      )
    name = '/'.join(parts)
    return Listed(name, self.place(name), *parts[:3], num_units)

  def count_unlisted(self, listed: Iterable[Listed]) -> int:
    """Return how many files of poses no list names: they are ignored."""
    names = {one.name for one in listed}
    return sum(
      os.path.relpath(os.path.join(folder, file), root) not in names
      for root in self.roots
      for word in STYLES
      for folder, _, files in os.walk(root / word)
      if os.path.basename(folder) != 'aud'
      for file in files
      if file.endswith('.npy')
    )


def _records(path: pathlib.Path | None) -> list[tuple[int, str]]:
  """Return (line number, first field) of a list; an absent one is empty."""
  if path is None:
    return []
  lines = path.read_text('utf-8', errors='replace').splitlines()
  fields = [(number, line.split()) for number, line in enumerate(lines, 1)]
  return [(number, words[0]) for number, words in fields if words]
