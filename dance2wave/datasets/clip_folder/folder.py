"""A folder of videos: which files, and which splits they go to."""

import csv
import pathlib
from collections.abc import Iterable, Mapping

from dance2wave.datasets import styles
from dance2wave.datasets.video_clips import SUFFIXES, Video
from dance2wave.errors import InputError


def find_videos(folder: pathlib.Path) -> list[Video]:
  """List the videos of a folder and its sub-folders, by name.

  Raises:
    InputError: no such folder, no video in it, or a bad styles.csv.
  """
  if not folder.is_dir():
    raise InputError(
      f'clip_folder: {folder} is not a folder; expected a folder of videos; '
      'give it as --manual_dir'
    )
  paths = sorted(
    path
    for path in folder.rglob('*')
    if path.suffix.lower() in SUFFIXES
    and not any(p.startswith('.') for p in path.relative_to(folder).parts)
  )
  if not paths:
    raise InputError(
      f'clip_folder: no video in {folder}; expected files ending in '
      f'{", ".join(SUFFIXES)}; put some there or give another --manual_dir'
    )
  names = {path.relative_to(folder).as_posix(): path for path in paths}
  rows = _read_styles(folder / 'styles.csv', names)
  return [
    _video(name, path, rows.get(name, {})) for name, path in names.items()
  ]


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
      f'{path} has the columns {", ".join(sorted(columns))}; expected '
      'file,style or file,style,song in the first line; correct that line'
    )
  unknown = [row['file'] for row in rows if row['file'] not in names]
  if unknown:
    raise InputError(
      f'{path} names {unknown[0]!r}, which is not in the folder; expected '
      'paths inside the folder with their suffix; correct or drop the line'
    )
  return {row['file']: row for row in rows}
