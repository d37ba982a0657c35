r"""Fetch the dance clips of Kinetics, once.

    python -m data_prep.download_kinetics --output=DIR --dry_run
    python -m data_prep.download_kinetics --output=DIR
    python -m data_prep.download_kinetics --output=DIR --release=k600 \
      --categories dancing --num-workers 4
    python -m data_prep.download_kinetics --output=DIR \
      --classes 'tap dancing' 'salsa dancing' --source=youtube --accept_tos
    python -m data_prep.download_kinetics --output=DIR --source=local \
      --local_dir=OLD

Clips become DIR/<split>/<class>/<youtube_id>_<start>_<end>.mp4. What became
of each of them is in DIR/ledger.jsonl; the same command goes on where it was
stopped. Exit status 0 says that nothing is left to be tried, 1 that the
command should be run again, 2 that it should be corrected.
"""

import os
import pathlib
import signal
import sys
from collections.abc import Sequence

from absl import flags

from dance2wave.datasets.kinetics_dance.classes import RELEASES
from dance2wave.errors import InputError, one_line_errors, run_tool, signal_of
from data_prep import (
  kinetics_mirror,
  kinetics_sources,
  youtube,
  youtube_reasons,
)
from data_prep.kinetics_run import Request, dry_run, run
from data_prep.kinetics_selection import (
  choose_classes,
  choose_splits,
  words,
)

REASONS = (*youtube_reasons.REASONS, *kinetics_sources.REASONS, 'all')
_LISTS = ('categories', 'classes', 'annotations', 'splits', 'retry')

_OUTPUT = flags.DEFINE_string('output', None, 'Folder for the clips.')
_RELEASE = flags.DEFINE_enum('release', 'k700_2020', RELEASES, 'Of Kinetics.')
_CATEGORIES = flags.DEFINE_multi_string(
  'categories',
  [],
  "Sets of classes: 'strict' (default: dance only), 'dancing' (17 classes, "
  "with cheerleading and marching) or 'loose' (also what is near dance).",
)
_CLASSES = flags.DEFINE_multi_string('classes', [], 'Names of classes.')
_SPLITS = flags.DEFINE_multi_string(
  'splits', [], 'Of train, validation, test; train and validation if not given.'
)
_SOURCE = flags.DEFINE_enum(
  'source',
  'mirror',
  ('mirror', 'youtube', 'local'),
  'Where clips come from: archives of the CVDF mirror, YouTube through '
  'yt-dlp, or files that are here already.',
)
_ANNOTATIONS = flags.DEFINE_multi_string(
  'annotations', [], 'Csv, txt or json files; fetched if not given.'
)
_LOCAL_DIR = flags.DEFINE_string(
  'local_dir', None, 'Folder of clips or archives, for --source=local.'
)
_NUM_WORKERS = flags.DEFINE_integer(
  'num_workers',
  None,
  'Downloads at once: 2 from the mirror, 1 from YouTube if not given; for '
  'local files all cores.',
  lower_bound=1,
)
_DRY_RUN = flags.DEFINE_bool(
  'dry_run', False, 'Print URLs or commands, and do nothing.'
)
_RETRY = flags.DEFINE_multi_string(
  'retry', [], "Reasons of failures for good to try again, or 'all'."
)
_MIRROR_URL = flags.DEFINE_string(
  'mirror_url', kinetics_mirror.MIRROR_URL, 'Address of the mirror.'
)
_KEEP_ARCHIVES = flags.DEFINE_bool(
  'keep_archives', False, 'Keep archives after they are unpacked.'
)
_ACCEPT_TOS = flags.DEFINE_bool(
  'accept_tos', False, "Say that you may fetch these videos by YouTube's terms."
)
_COOKIES = flags.DEFINE_string(
  'cookies', None, 'Cookies file of a browser, in Netscape format.'
)
_MIN_SLEEP_S = flags.DEFINE_float(
  'min_sleep_s', 10.0, 'Shortest pause before a clip.', lower_bound=0.0
)
_MAX_SLEEP_S = flags.DEFINE_float(
  'max_sleep_s', 20.0, 'Longest pause before a clip.', lower_bound=0.0
)
_LIMIT_RATE = flags.DEFINE_string(
  'limit_rate', '', "Bytes per second of one download, such as '2M'."
)
_CLIP_TIMEOUT_S = flags.DEFINE_float(
  'clip_timeout_s', 600.0, 'Longest time for one clip.', lower_bound=1.0
)


def translate(argv: Sequence[str]) -> list[str]:
  """Return a command line of the older downloaders in absl's spelling.

  '--num-workers 4' is '--num_workers 4', '-v' is '--verbosity=0', and
  '--classes a b' is '--classes=a --classes=b'.
  """
  translated, current = list(argv[:1]), ''
  for token in argv[1:]:
    if token in ('-v', '--verbose'):
      translated.append('--verbosity=0')
    elif token.startswith('--'):
      name, equals, value = token[2:].partition('=')
      name = name.replace('-', '_')
      current = name if name in _LISTS else ''
      if equals or not current:
        translated.append(f'--{name}{equals}{value}')
    elif current:
      translated.append(f'--{current}={token}')
    else:
      translated.append(token)
  return translated


def _options() -> youtube.YouTubeOptions:
  """Return how to ask YouTube, from the flags.

  Raises:
    InputError: the longest pause is shorter than the shortest, or there is no
      file of cookies.
  """
  if _MIN_SLEEP_S.value > _MAX_SLEEP_S.value:
    raise InputError(
      f'min_sleep_s is {_MIN_SLEEP_S.value:g}; expected at most max_sleep_s, '
      f'{_MAX_SLEEP_S.value:g}; correct one of them'
    )
  cookies = pathlib.Path(_COOKIES.value).resolve() if _COOKIES.value else None
  if cookies and not cookies.is_file():
    raise InputError(
      f'cookies is {_COOKIES.value}, which is no file; expected a cookies file '
      'in Netscape format; correct --cookies'
    )
  return youtube.YouTubeOptions(
    cookies=cookies,
    min_sleep_s=_MIN_SLEEP_S.value,
    max_sleep_s=_MAX_SLEEP_S.value,
    limit_rate=_LIMIT_RATE.value,
    clip_timeout_s=_CLIP_TIMEOUT_S.value,
  )


def request_of_flags() -> Request:
  """Return what the flags ask for.

  Raises:
    InputError: a class, set, split or option that cannot be.
  """
  local_dir = _LOCAL_DIR.value
  return Request(
    output=pathlib.Path(_OUTPUT.value),
    release=_RELEASE.value,
    labels=choose_classes(
      _RELEASE.value, words(_CATEGORIES.value), words(_CLASSES.value)
    ),
    splits=choose_splits(words(_SPLITS.value)),
    source=_SOURCE.value,
    annotations=tuple(map(pathlib.Path, _ANNOTATIONS.value)),
    retry=words(_RETRY.value),
    num_workers=_NUM_WORKERS.value,
    mirror_url=_MIRROR_URL.value.rstrip('/'),
    keep_archives=_KEEP_ARCHIVES.value,
    local_dir=pathlib.Path(local_dir) if local_dir else None,
    youtube=_options(),
  )


def check_flags(argv: Sequence[str]) -> None:
  """Raise InputError for what no run can do anything with."""
  if argv[1:]:
    raise InputError(
      f'argument {argv[1]!r} belongs to no flag; expected --name=value; see '
      '--help'
    )
  if not _OUTPUT.value:
    raise InputError('output is missing; expected --output=DIR; give it')
  for reason in words(_RETRY.value):
    if reason not in REASONS:
      raise InputError(
        f'retry is {reason!r}; expected of {", ".join(REASONS)}; correct it'
      )
  if _SOURCE.value == 'local' and not _LOCAL_DIR.value:
    raise InputError(
      'local_dir is missing; --source=local expects a folder of downloaded '
      'clips or archives; give --local_dir'
    )
  if _SOURCE.value == 'youtube' and not _DRY_RUN.value:
    _check_youtube()


def _check_youtube() -> None:
  if not _ACCEPT_TOS.value:
    raise InputError(
      'accept_tos is not given; --source=youtube expects that you have read '
      "YouTube's terms of service and may fetch these videos; give "
      '--accept_tos, or take --source=mirror'
    )
  youtube.check_programs()


def main(argv: Sequence[str]) -> None:
  """Run from the command line."""
  with one_line_errors():
    check_flags(argv)
    request = request_of_flags()
    if _DRY_RUN.value:
      signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # '| head' is no error
      for line in dry_run(request):
        print(line)
      return
    try:
      status = run(request)
    except KeyboardInterrupt as error:
      print('stopped; the same command goes on from here', file=sys.stderr)
      sys.stderr.flush()
      # No thread is waited for: what is on disk is safe.
      os._exit(128 + signal_of(error))
  sys.exit(status)


if __name__ == '__main__':
  run_tool(main, translate(sys.argv))
