r"""Measure how fast this is on your machine.

    python -m dance2wave.benchmark [--quick] [--cores=1]
        [--json=PATH] [--compare=PATH]

Every figure is the median of five rounds in which all cases take turns; it
stands beside a plain loop that does the same, and beside what the machine can
do at most, both measured in the same rounds. On processors time is counted by
core, which other programs disturb less than the clock on the wall.
"""

import dataclasses
import os
import pathlib
import sys

from absl import flags, logging

from dance2wave import config_file, cores
from dance2wave.allocator import keep_freed_memory
from dance2wave.errors import InputError, one_line_errors, run_tool

_QUICK = flags.DEFINE_bool('quick', False, 'Less of everything: a minute.')
_JSON = flags.DEFINE_string('json', None, 'File that gets the figures.')
_COMPARE = flags.DEFINE_string('compare', None, "Another commit's --json file.")
_VIDEO = flags.DEFINE_string('video', None, 'Of a dancer, to find poses in.')
_CORES = flags.DEFINE_integer(
  'cores', None, 'Of the processor that are used; all if not given.'
)
_MODEL = flags.DEFINE_enum(
  'model', 'wn30', ['wn30', 'debug'], 'WaveNet of the sampling and training.'
)
_ROUNDS = flags.DEFINE_integer('rounds', 5, 'Of everything.', lower_bound=1)
_CONFIG = config_file.define(
  'configs/wavenet.py', 'Of the model of the dances, streams and memory.'
)


def _progress(name: str) -> None:
  if sys.stderr.isatty():
    print(f'\r\033[K{name}', end='', file=sys.stderr, flush=True)


def _check_files() -> None:
  if _JSON.value is not None and not pathlib.Path(_JSON.value).parent.is_dir():
    raise InputError(
      f'--json={_JSON.value} is in a folder that does not exist; expected one '
      'that does; make it or choose another'
    )
  if _VIDEO.value is not None and not pathlib.Path(_VIDEO.value).is_file():
    raise InputError(
      f'--video={_VIDEO.value} does not exist; expected a video of a dancer; '
      'correct the path'
    )


def main(argv: list[str]) -> None:
  """Measure, print and write; bad input is one line and exit status 2."""
  with one_line_errors():
    if len(argv) > 1:
      raise InputError(
        f'unexpected argument {argv[1]!r}; expected flags only; see --help'
      )
    config_file.check()
    _check_files()
    if _CORES.value is not None:
      cores.keep_to(_CORES.value)
    from dance2wave.benchmarks import suite, table

    plan = suite.QUICK if _QUICK.value else suite.FULL
    plan = dataclasses.replace(plan, model=_MODEL.value, rounds=_ROUNDS.value)
    config, other = _CONFIG.value.to_dict(), None
    if _COMPARE.value:
      other = table.read(_COMPARE.value)
      described = suite.describe(plan, config)
      table.check_comparable(described, other, _COMPARE.value)
    result = suite.run(plan, config, video=_VIDEO.value, progress=_progress)
    _progress('')
    print(table.render(result, other))
    if _JSON.value is not None:
      table.write(_JSON.value, result)


if __name__ == '__main__':
  keep_freed_memory()  # as the main job does
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
  logging.set_verbosity(logging.WARNING)
  run_tool(main)
