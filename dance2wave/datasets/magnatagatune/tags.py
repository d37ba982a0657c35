"""The tables of MagnaTagATune: which clip has which tags, and is of which song.

clip_id  no voice  singer  ...  english  mp3_path
2        0         0       ...  0        f/artist-album-01-title-30-59.mp3
                                         |                      start, end
                                         folder, which decides the split
"""

import csv
import dataclasses
import pathlib
import re
from collections.abc import Iterator, Mapping

from dance2wave.errors import InputError

NUM_TAGS = 188
# The most frequent tags of the 25,863 clips, by count. The tags are as people
# gave them: synonyms ('female', 'woman') are not merged.
TOP_50 = (
  *('guitar', 'classical', 'slow', 'techno', 'strings', 'drums'),
  *('electronic', 'rock', 'fast', 'piano', 'ambient', 'beat', 'violin'),
  *('vocal', 'synth', 'female', 'indian', 'opera', 'male', 'singing'),
  *('vocals', 'no vocals', 'harpsichord', 'loud', 'quiet', 'flute', 'woman'),
  *('male vocal', 'no vocal', 'pop', 'soft', 'sitar', 'solo', 'man'),
  *('classic', 'choir', 'voice', 'new age', 'dance', 'male voice'),
  *('female vocal', 'beats', 'harp', 'cello', 'no voice', 'weird'),
  *('country', 'female voice', 'metal', 'choral'),
)
# First character of mp3_path -> split, as all papers have it.
SPLIT_OF_FOLDER = {
  **dict.fromkeys('0123456789ab', 'train'),
  'c': 'validation',
  **dict.fromkeys('def', 'test'),
}
ANNOTATIONS_NAME = 'annotations_final.csv'
CLIP_INFO_NAME = 'clip_info_final.csv'

# Artist, album and title hold no '-': the publisher's script took them out.
_PATH = re.compile(
  r'(?P<folder>[0-9a-f])/(?P<track>[^/\\]+?-(?P<number>[0-9]{2,4}))'
  r'-[^/\\]*-(?P<start>[0-9]+)-(?P<end>[0-9]+)\.mp3'
)


@dataclasses.dataclass(frozen=True)
class Row:
  """One clip of the table.

  Attributes:
    clip_id: the publisher's number, as text.
    mp3_path: inside the folder of sounds.
    is_tagged: one byte, 0 or 1, for each of the 188 tags.
    track: artist, album and number of the song: 'artist-album-01'.
    number: of the song on its album.
    start_s, end_s: of the clip in the song.
  """

  clip_id: str
  mp3_path: str
  is_tagged: bytes
  track: str
  number: int
  start_s: int
  end_s: int

  @property
  def folder(self) -> str:
    """The folder's name, '0' to 'f'."""
    return self.mp3_path[0]

  @property
  def group(self) -> str:
    """What all clips of a song share."""
    return f'{self.folder}/{self.track}'


def read_annotations(path: pathlib.Path) -> tuple[tuple[str, ...], list[Row]]:
  """Read annotations_final.csv; return the names of the tags, and the clips.

  Raises:
    InputError: no such file, not 188 tags, a top-50 tag missing, a value that
      is not 0 or 1, a path that leads elsewhere, or a clip or path twice.
  """
  if not path.is_file():
    raise InputError(
      f'magnatagatune: {path} is not there; expected the table of tags; fetch '
      'it with python -m data_prep.download_magnatagatune'
    )
  lines = _read_lines(path)
  names = _tag_names(path, next(lines, (0, []))[1])
  rows, seen = [], {}
  for number, line in lines:
    row = _row(f'{path} line {number}', line)
    for key in (f'clip {row.clip_id}', row.mp3_path):
      if key in seen:
        raise InputError(
          f'{path} has {key} in the lines {seen[key]} and {number}; expected '
          'each clip and each path once; drop one, or fetch the table again'
        )
      seen[key] = number
    rows.append(row)
  if not rows:
    raise InputError(
      f'{path} lists no clips; expected one in each line; fetch it again'
    )
  return names, rows


def _read_lines(path: pathlib.Path) -> Iterator[tuple[int, list[str]]]:
  """Yield the numbers and cells of the lines that are not empty."""
  try:
    with path.open(encoding='utf-8-sig', newline='') as file:
      reader = csv.reader(file, delimiter='\t')
      for cells in reader:
        if cells:
          yield reader.line_num, cells
  except (UnicodeDecodeError, csv.Error) as error:
    raise InputError(
      f'{path} cannot be read ({error}); expected UTF-8 text with tabs; fetch '
      'it again'
    ) from None


def _tag_names(path: pathlib.Path, header: list[str]) -> tuple[str, ...]:
  names = tuple(header[1:-1])
  is_known = header[:1] == ['clip_id'] and header[-1:] == ['mp3_path']
  if not is_known or len(set(names)) != NUM_TAGS:
    raise InputError(
      f'{path} begins with {header[:2]} and {len(header)} columns; expected '
      f'clip_id, {NUM_TAGS} different tags and mp3_path, with tabs between; '
      'fetch it again'
    )
  missing = [tag for tag in TOP_50 if tag not in names]
  if missing or any(',' in name for name in names):
    wrong = f'no tag {missing[0]!r}' if missing else 'a tag with a comma'
    raise InputError(
      f"{path} has {wrong}; expected the publisher's tags; fetch it again"
    )
  return names


def _row(place: str, cells: list[str]) -> Row:
  if len(cells) != NUM_TAGS + 2:
    raise InputError(
      f'{place} has {len(cells)} columns; expected {NUM_TAGS + 2}; correct it, '
      'or fetch the table again'
    )
  clip_id, *values, mp3_path = cells
  wrong = [value for value in values if value not in ('0', '1')]
  if wrong or not clip_id.isdecimal():
    raise InputError(
      f'{place} has the value {[*wrong, clip_id][0]!r}; expected a number for '
      'clip_id and 0 or 1 for each tag; correct it, or fetch the table again'
    )
  match = _PATH.fullmatch(mp3_path)
  if not match:
    raise InputError(
      f'{place} has the mp3_path {mp3_path!r}; expected '
      "'0/artist-album-01-title-0-29.mp3' with a folder from 0 to f; correct "
      'it, or fetch the table again'
    )
  return Row(
    clip_id,
    mp3_path,
    bytes(map(int, values)),
    match['track'],
    int(match['number']),
    int(match['start']),
    int(match['end']),
  )


def read_clip_info(path: pathlib.Path) -> dict[str, Mapping[str, str]]:
  """Read clip_info_final.csv: clip_id -> title, artist, album, ...

  It lists 31,382 clips, more than have tags. An absent file is an empty
  table; characters that are not UTF-8 are replaced. Every line is a row of its
  own: a quote that is not closed on it is a character of its title.

  Raises:
    InputError: it has no column clip_id, title, artist or album, or a line has
      more or fewer cells than the first.
  """
  if not path.exists():
    return {}
  with path.open(encoding='utf-8-sig', errors='replace') as file:
    names = _cells(file.readline())
    missing = {'clip_id', 'title', 'artist', 'album'} - set(names)
    if missing:
      raise InputError(
        f'{path} has no column {min(missing)}; expected clip_id, title, artist '
        'and album with tabs between; fetch it again, or remove it'
      )
    rows = []
    for number, line in enumerate(file, 2):
      if not line.strip():
        continue
      cells = _cells(line, len(names))
      if len(cells) != len(names):
        raise InputError(
          f'{path} line {number} has {len(cells)} columns; expected '
          f'{len(names)} with tabs between; fetch it again, or remove it'
        )
      rows.append(dict(zip(names, cells)))
  return {row['clip_id']: row for row in rows}


def _cells(line: str, count: int | None = None) -> list[str]:
  """Return the cells of a line; with its quotes where they make no sense."""
  line = line.rstrip('\r\n')
  try:
    [cells] = csv.reader([line], delimiter='\t', strict=True)
  except (csv.Error, ValueError):
    return line.split('\t')
  return cells if len(cells) == (count or len(cells)) else line.split('\t')
