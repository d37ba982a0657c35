"""Download AIST++: dance motions and keypoints; on request the AIST videos.

    python -m data_prep.download_aistpp --output=DIR
    python -m data_prep.download_aistpp --output=DIR --parts=motions,splits
    python -m data_prep.download_aistpp --output=DIR --parts=splits,videos \\
        --accept_terms

    DIR/motions/<sequence>.pkl        SMPL poses, 60 fps
    DIR/keypoints2d/<sequence>.pkl    (9 cameras, N, 17, 3)
    DIR/keypoints3d/<sequence>.pkl    (N, 17, 3)
    DIR/cameras, DIR/splits, DIR/ignore_list.txt
    DIR/videos/<sequence with its camera>.mp4   with the music
    DIR/downloads/*.zip               may be deleted once unpacked

The annotations (about 2.3 GB; CC BY 4.0, Google LLC) are the release v1.0 of
https://github.com/google/aistplusplus_dataset. The videos (about 15 MB each)
are AIST's own: read https://aistdancedb.ongaaccel.jp/terms_of_use/ and, if you
accept, say so by --accept_terms. Which videos there are is read from AIST++'s
video_list.txt, or from --video_list, a file of your own with a name per line;
where the list cannot be had, the names in DIR/splits are taken.

The same command goes on where it was interrupted. Li et al.: AI Choreographer
(ICCV 2021), https://arxiv.org/abs/2101.08779.
"""

import hashlib
import pathlib
import re
import sys
from collections.abc import Iterable, Sequence

from absl import flags

from dance2wave.errors import InputError, one_line_errors, run_tool
from data_prep.downloads import (
  Unpacking,
  Wanted,
  at_roots,
  define_flags,
  download_all,
  output_folder,
  print_plan,
)

ROOT_URL = (
  'https://github.com/google/aistplusplus_dataset/releases/download/v1.0'
)
VIDEO_ROOT_URL = 'https://aistdancedb.ongaaccel.jp/v1.0.0/video/10M'
VIDEO_LIST_URL = (
  'https://storage.googleapis.com/aist_plusplus_public/20121228/video_list.txt'
)
TERMS_URL = 'https://aistdancedb.ongaaccel.jp/terms_of_use/'
ARCHIVES = ('motions', 'keypoints2d', 'keypoints3d', 'cameras', 'splits')
ANNOTATIONS = (*ARCHIVES, 'ignore_list')
PARTS = (*ANNOTATIONS, 'videos')
CAMERAS = tuple(f'c{number:02d}' for number in range(1, 10))
VIDEO_LIST_NAME = 'video_list.txt'
_NAME = re.compile(
  r'(g[A-Z]{2}_s[A-Z]{2})_(c\d{2}|cAll)_(d\d{2}_m[A-Z]{2}\d_ch\d{2})'
)


def annotations_of(
  parts: Iterable[str], root_urls: Sequence[str]
) -> list[Wanted]:
  """Return the files of the annotations."""
  wanted = []
  for part in parts:
    if part in ARCHIVES:
      urls = at_roots(root_urls, f'{part}.zip')
      wanted.append(Wanted(f'downloads/{part}.zip', urls, 'archive'))
    elif part == 'ignore_list':
      urls = at_roots(root_urls, 'ignore_list.txt')
      wanted.append(Wanted('ignore_list.txt', urls, 'table'))
  return wanted


def steps_of(parts: Iterable[str]) -> list[Unpacking]:
  """Return how the archives are unpacked: each into a folder of its name."""

  def step(part: str) -> Unpacking:
    return Unpacking(
      (f'downloads/{part}.zip',),
      lambda roots: '.' if part in roots else part,
    )

  return [step(part) for part in parts if part in ARCHIVES]


def videos_of(
  lines: Iterable[str], cameras: Sequence[str], root_urls: Sequence[str]
) -> list[Wanted]:
  """Return the videos of a list, in alphabetical order.

  Args:
    lines: names such as gBR_sBM_c01_d04_mBR0_ch01, with or without .mp4; cAll
      stands for all cameras.
    cameras: 'c01' … 'c09': which to take.
    root_urls: where the videos are.

  Raises:
    InputError: a line is no such name, or nothing is left.
  """
  names = set()
  for line in filter(None, map(str.strip, lines)):
    match = _NAME.fullmatch(line.removesuffix('.mp4'))
    if not match:
      raise InputError(
        f'{line!r} in the list of videos is no name of AIST; expected such as '
        'gBR_sBM_c01_d04_mBR0_ch01, one a line; correct the list'
      )
    before, camera, after = match.groups()
    shown = cameras if camera == 'cAll' else {camera} & set(cameras)
    names.update(f'{before}_{one}_{after}.mp4' for one in shown)
  if not names:
    raise InputError(
      f'the list of videos has none of camera {", ".join(cameras)}; expected '
      'names such as gBR_sBM_c01_d04_mBR0_ch01; correct --cameras or the list'
    )
  return [
    Wanted(f'videos/{name}', at_roots(root_urls, name), 'media')
    for name in sorted(names)
  ]


def _names_in(path: pathlib.Path) -> list[str]:
  try:
    return path.read_text(encoding='utf-8').splitlines()
  except (OSError, UnicodeDecodeError) as error:
    raise InputError(
      f'{path} cannot be read ({error}); expected a text file with the name of '
      'a video per line; correct --video_list'
    ) from error


def _get_names(output: pathlib.Path, source: str, retry: Sequence[str]):
  """Return the names of the videos; None if there is no way to know them."""
  if not source.startswith(('http://', 'https://')):
    return _names_in(pathlib.Path(source))
  wanted = _list_of(source)
  if not download_all(output, [wanted], retry=retry):
    return _names_in(output / wanted.name)
  lists = sorted((output / 'splits').glob('*.txt'))
  if not lists:
    return None
  print(f'taking the names of the videos from {output / "splits"} instead')
  return [line for path in lists for line in _names_in(path)]


def _list_of(source: str) -> Wanted:
  """Return the file of a list; another address is another file."""
  name = VIDEO_LIST_NAME
  if source != VIDEO_LIST_URL:
    digest = hashlib.sha256(source.encode()).hexdigest()
    name = f'video_list_{digest[:8]}.txt'
  return Wanted(name, (source,), 'table')


def _print_plan(output: pathlib.Path, given: flags.FlagValues) -> None:
  wanted = annotations_of(given.parts, given.root_url)
  if 'videos' in given.parts:
    source = pathlib.Path(given.video_list)
    if given.video_list.startswith(('http://', 'https://')):
      wanted.append(_list_of(given.video_list))
      source = output / wanted[-1].name
    if source.exists():
      names = _names_in(source)
      wanted += videos_of(names, given.cameras, given.video_root_url)
    else:
      print('the videos are known once their list is there', file=sys.stderr)
  print_plan(output, wanted)


def _check(given: flags.FlagValues) -> None:
  for flag, known in (('parts', PARTS), ('cameras', CAMERAS)):
    for value in given[flag].value or ['']:
      if value not in known:
        raise InputError(
          f'{flag} holds {value!r}; expected some of {", ".join(known)}, '
          f'joined by commas; correct --{flag}'
        )
  if 'videos' in given.parts and not given.accept_terms:
    raise InputError(
      f'the videos are under the terms of {TERMS_URL}; expected --accept_terms '
      'beside --parts=videos; read them, and add it if you accept them'
    )


def run(output: pathlib.Path, given: flags.FlagValues) -> int:
  """Download all parts that are asked for; return how much failed."""
  wanted = annotations_of(given.parts, given.root_url)
  steps = steps_of(given.parts)
  num_failed = 0
  if wanted:
    num_failed = download_all(output, wanted, steps, given.retry)
  if 'videos' in given.parts:
    names = _get_names(output, given.video_list, given.retry)
    if names is None:
      return num_failed + 1
    videos = videos_of(names, given.cameras, given.video_root_url)
    num_failed += download_all(output, videos, retry=given.retry)
  return num_failed


def main(argv: Sequence[str]) -> None:
  """Run from the command line; exit status 1 if anything failed."""
  with one_line_errors():
    output = output_folder(argv)
    _check(flags.FLAGS)
    if flags.FLAGS.dry_run:
      _print_plan(output, flags.FLAGS)
      return
    num_failed = run(output, flags.FLAGS)
  sys.exit(1 if num_failed else 0)


if __name__ == '__main__':
  define_flags()
  flags.DEFINE_multi_string(
    'root_url', [ROOT_URL], 'Where the annotations are; tried in turn.'
  )
  flags.DEFINE_list('parts', list(ANNOTATIONS), f'Of {", ".join(PARTS)}.')
  flags.DEFINE_bool(
    'accept_terms', False, f'You have read and accept {TERMS_URL}.'
  )
  flags.DEFINE_list('cameras', ['c01'], 'Of the videos: c01 to c09.')
  flags.DEFINE_string(
    'video_list', VIDEO_LIST_URL, 'File or URL: a name of a video per line.'
  )
  flags.DEFINE_multi_string(
    'video_root_url', [VIDEO_ROOT_URL], 'Where the videos are; tried in turn.'
  )
  run_tool(main)
