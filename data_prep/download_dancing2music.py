"""Download the data of Dancing to Music: poses, beats and audio features.

    python -m data_prep.download_dancing2music --output=DIR [--models]

Two hosts are tried in turn: the paper's, and the page its first author moved
to. No checksums are published: those of the first download are kept in
DIR/checksums.json and hold from then on.

    DIR/data/ballet, hiphop, zumba   poses (32, 14, 2) at 15 fps, features
    DIR/data/unitList, DIR/data/stats   lists of the units, means, deviations
    DIR/downloads/*.zip              may be deleted once unpacked

With --models the published models come too. They are kept as they are, in
DIR/models, checked to be whole, and neither unpacked nor converted:

    Stage1.ckpt    PyTorch: the movement VAE (dance units to latents and back)
    Stage2.ckpt    PyTorch: music to a sequence of those latents
    Model_MY.zip   vid2vid weights: poses to pictures of one dancer

The style classifier, a GRU over the 28 audio features, is part of the data:
DIR/data/stats/aud_3cls.ckpt. PyTorch checkpoints are pickles: opening one from
a stranger without `weights_only=True` runs whatever it says.

The same command goes on where it was interrupted. No licence is stated for the
data; the code is NVIDIA's, for research only. Lee et al.: Dancing to Music
(NeurIPS 2019), https://arxiv.org/abs/1911.02001.
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

ROOT_URLS = (
  'http://vllab.ucmerced.edu/hylee/Dancing2Music',
  'https://hsinyinglee.com/Project_page/Dancing2Music',
)
STYLES = ('ballet', 'zumba', 'hiphop')
MODELS = ('Stage1.ckpt', 'Stage2.ckpt')
PICTURE_MODEL = 'Model_MY.zip'
# It never was on the paper's own host; dl=1 asks for the file, not its page.
PICTURE_MODEL_URL = (
  'https://www.dropbox.com/s/1c7s7rn7z3pvhp9/Model_MY.zip?dl=1'
)
_INSIDE_DATA = {*STYLES, 'unitList', 'stats'}


def archives_of(root_urls: Sequence[str]) -> list[Wanted]:
  """Return the archives of the three styles, and of lists and statistics."""
  names = [f'{style}.zip' for style in (*STYLES, 'data')]
  return [
    Wanted(f'downloads/{name}', at_roots(root_urls, name), 'archive')
    for name in names
  ]


def models_of(root_urls: Sequence[str], *, with_dropbox: bool) -> list[Wanted]:
  """Return the published models."""
  models = [
    Wanted(f'models/{name}', at_roots(root_urls, name)) for name in MODELS
  ]
  urls = at_roots(root_urls, PICTURE_MODEL)
  if with_dropbox:
    urls = (PICTURE_MODEL_URL, *urls)
  return [*models, Wanted(f'models/{PICTURE_MODEL}', urls, 'archive')]


def place_of(archive: str, roots: Sequence[str]) -> str:
  """Return where an archive belongs so that the tree begins with `data/`.

  How deep the publisher's archives begin is not documented.

  Args:
    archive: 'ballet', 'hiphop', 'zumba' or 'data'.
    roots: the first parts of the names in it.
  """
  if 'data' in roots:
    return '.'
  if archive == 'data' or set(roots) <= _INSIDE_DATA:
    return 'data'
  return f'data/{archive}'


def steps_of(wanted: Sequence[Wanted]) -> list[Unpacking]:
  """Return how the archives are unpacked."""

  def step(name: str) -> Unpacking:
    archive = name.removeprefix('downloads/').removesuffix('.zip')
    return Unpacking((name,), lambda roots: place_of(archive, roots))

  return [step(file.name) for file in wanted]


def main(argv: Sequence[str]) -> None:
  """Run from the command line; exit status 1 if anything failed."""
  with one_line_errors():
    output = output_folder(argv)
    root_urls = flags.FLAGS.root_url or ROOT_URLS
    archives = archives_of(root_urls)
    wanted = list(archives)
    if flags.FLAGS.models:
      with_dropbox = not flags.FLAGS.root_url
      wanted += models_of(root_urls, with_dropbox=with_dropbox)
    if flags.FLAGS.dry_run:
      print_plan(output, wanted)
      return
    steps = steps_of(archives)
    num_failed = download_all(output, wanted, steps, flags.FLAGS.retry)
  sys.exit(1 if num_failed else 0)


if __name__ == '__main__':
  define_flags()
  flags.DEFINE_multi_string(
    'root_url', [], 'Another place of the files; several are tried in turn.'
  )
  flags.DEFINE_bool('models', False, 'Download the published models as well.')
  run_tool(main)
