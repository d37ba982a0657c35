"""Download MagnaTagATune: 25,863 clips of 29 s (16 kHz mp3) and their tags.

    python -m data_prep.download_magnatagatune --output=DIR

About 2.9 GB come and as much again is unpacked; the three volumes are read as
one archive where they lie, so that no joined copy is ever written.

    DIR/annotations_final.csv   clip_id, 188 columns of 0 and 1, mp3_path
    DIR/clip_info_final.csv     titles, artists and times, tab-separated too
    DIR/mp3/0 … DIR/mp3/f       the clips, by the first digit of their hash
    DIR/downloads/mp3.zip.00?   may be deleted once unpacked

The same command goes on where it was interrupted. Licence of the data:
CC BY-NC-SA 3.0. Law, West, Mandel, Bay, Downie: Evaluation of algorithms using
games: the case of music tagging (ISMIR 2009),
https://mirg.city.ac.uk/codeapps/the-magnatagatune-dataset.
"""

import sys
from collections.abc import Sequence

from absl import flags

from dance2wave.errors import one_line_errors, run_tool
from data_prep.downloads import (
  Unpacking,
  Wanted,
  at_roots,
  define_flags,
  download_all,
  output_folder,
  print_plan,
)

ROOT_URL = 'https://mirg.city.ac.uk/datasets/magnatagatune'
TABLES = ('annotations_final.csv', 'clip_info_final.csv')
VOLUMES = ('mp3.zip.001', 'mp3.zip.002', 'mp3.zip.003')


def files_of(root_urls: Sequence[str]) -> list[Wanted]:
  """Return the files; only the first volume begins as an archive does."""
  tables = [Wanted(name, at_roots(root_urls, name), 'table') for name in TABLES]
  volumes = [
    Wanted(
      f'downloads/{name}',
      at_roots(root_urls, name),
      'archive' if name == VOLUMES[0] else 'binary',
    )
    for name in VOLUMES
  ]
  return tables + volumes


def place_of(roots: Sequence[str]) -> str:
  """Return 'mp3' for the folders 0 … f, '.' if the archive says it itself."""
  return '.' if list(roots) == ['mp3'] else 'mp3'


def main(argv: Sequence[str]) -> None:
  """Run from the command line; exit status 1 if anything failed."""
  with one_line_errors():
    output = output_folder(argv)
    wanted = files_of(flags.FLAGS.root_url)
    if flags.FLAGS.dry_run:
      print_plan(output, wanted)
      return
    volumes = tuple(f'downloads/{name}' for name in VOLUMES)
    steps = [Unpacking(volumes, place_of)]
    num_failed = download_all(output, wanted, steps, flags.FLAGS.retry)
  sys.exit(1 if num_failed else 0)


if __name__ == '__main__':
  define_flags()
  flags.DEFINE_multi_string(
    'root_url', [ROOT_URL], 'Where the files are; several are tried in turn.'
  )
  run_tool(main)
