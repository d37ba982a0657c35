"""A folder or a list of videos: which files, with which styles and songs."""

import csv
import pathlib
from collections.abc import Iterable, Mapping

from dance2wave.datasets import styles
from dance2wave.datasets.listing import visible_files
from dance2wave.datasets.video_clips import SUFFIXES, Video
from dance2wave.errors import InputError


def find_videos(place: pathlib.Path) -> list[Video]:
  """List the videos of a folder and its sub-folders, or of a list, by name.

  Args:
    place: a folder, or a text file with the path of a video in each line,
      absolute or from the list's own folder. styles.csv lies in the folder, or
      beside the list.

  Raises:
    InputError: no video in it, a bad line of the list, or a bad styles.csv.
  """
  is_list = place.is_file()
  folder = place.parent if is_list else place
  names = _listed(place) if is_list else _found(place)
  rows = _read_styles(folder / 'styles.csv', names)
  return [
    _video(name, path, rows.get(name, {})) for name, path in names.items()
  ]


def _found(folder: pathlib.Path) -> dict[str, pathlib.Path]:
  """Return the videos in a folder by their paths inside it."""
  paths = [p for p in visible_files(folder) if p.suffix.lower() in SUFFIXES]
  if not paths:
    raise InputError(
      f'clip_folder: no video in {folder}; expected files ending in '
      f'{", ".join(SUFFIXES)}; put some there or give another --manual_dir'
    )
  return {path.relative_to(folder).as_posix(): path for path in paths}


def _listed(place: pathlib.Path) -> dict[str, pathlib.Path]:
  """Return the videos of a list by what its lines say."""
  try:
    lines = place.read_bytes().decode('utf-8-sig').split('\n')
  except UnicodeDecodeError as error:
    raise InputError(
      f'{place} cannot be read ({error}); expected UTF-8 text with a path in '
      'each line; save it as UTF-8'
    ) from None
  names = sorted({line.strip() for line in lines} - {''})
  paths = {name: place.parent / pathlib.Path(name) for name in names}
  for name, path in paths.items():
    if not _is_file(path) or path.suffix.lower() not in SUFFIXES:
      raise InputError(
        f'{place} names {name!r}, which is not a video; expected a file ending '
        f'in {", ".join(SUFFIXES)}; correct or drop the line'
      )
  if not paths:
    raise InputError(
      f'{place} names no video; expected a path in each line; add some'
    )
  return paths


def _is_file(path: pathlib.Path) -> bool:
  try:
    return path.is_file()
  except OSError:  # A line of any text may be too long for a name.
    return False


def _video(name: str, path: pathlib.Path, row: Mapping[str, str]) -> Video:
  song = row.get('song', '')
  group = f'song:{song}' if song else f'file:{name}'
  style = styles.plain(row.get('style', ''))
  return Video(path, name, 'clip_folder', style, group)


def _read_styles(
  path: pathlib.Path, names: Iterable[str]
) -> dict[str, dict[str, str]]:
  """Read file,style[,song] by file; an absent file is an empty table."""
  if not path.exists():
    return {}
  try:
    with path.open(encoding='utf-8-sig', newline='') as file:
      reader = csv.DictReader(file)
      rows = [
        {str(k).strip(): str(v or '').strip() for k, v in row.items()}
        for row in reader
      ]
      columns = {name.strip() for name in reader.fieldnames or ()}
  except (UnicodeDecodeError, csv.Error) as error:
    raise InputError(
      f'{path} cannot be read ({error}); expected UTF-8 text with commas; save '
      'it as CSV UTF-8'
    ) from None
  if not {'file', 'style'} <= columns <= {'file', 'style', 'song'}:
    raise InputError(
      f'{path} has the columns {sorted(columns)!r:.200}; expected '
      'file,style or file,style,song in the first line; correct that line'
    )
  unknown = [row['file'] for row in rows if row['file'] not in names]
  if unknown:
    raise InputError(
      f'{path} names {unknown[0]!r}, which is not in the folder; expected '
      'paths inside the folder with their suffix; correct or drop the line'
    )
  return {row['file']: row for row in rows}
