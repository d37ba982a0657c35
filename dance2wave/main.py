r"""Train on dances and sample test dances: the main job.

    python -m dance2wave.main --config=configs/wavenet.py \
        [--workdir=DIR] [--config.key=value ...]

Builds the dataset if it is not there, trains, evaluates, samples test dances
into DIR/samples and writes DIR/result.json. Run again to go on.
"""

import os
import pathlib
import re

from absl import flags, logging

from dance2wave import config_file
from dance2wave.allocator import keep_freed_memory
from dance2wave.errors import InputError, one_line_errors, run_tool

_CONFIG = config_file.define()
_WORKDIR = flags.DEFINE_string(
  'workdir', None, 'Folder of the run; runs/<config>[-<dataset>] if not given.'
)

_MULTIHOST = flags.DEFINE_bool(
  'multihost', False, 'This is one of several processes that train together.'
)
_PROFILE = flags.DEFINE_string(
  'profile', None, 'Steps of which a trace is written, such as 10:15.'
)


def _run_name(path: pathlib.Path) -> str:
  """Return the config's name, and what was said after the colon."""
  argument = flags.FLAGS['config'].config_filename.partition(':')[2]
  return '-'.join([path.stem, *re.findall(r'\w+', argument)])


def main(argv: list[str]) -> None:
  """Parse options and do the job; bad input is one line and exit status 2."""
  with one_line_errors():
    if len(argv) > 1:
      raise InputError(
        f'unexpected argument {argv[1]!r}; expected flags only; write '
        '--config=... --workdir=...'
      )
    path = config_file.check()
    from dance2wave import options

    parsed = options.parse(_CONFIG.value)
    if _MULTIHOST.value:
      from dance2wave.training import hosts

      hosts.start()
    from dance2wave import compiled, experiment
    from dance2wave.training import pace

    workdir = pathlib.Path(_WORKDIR.value or f'runs/{_run_name(path)}')
    workdir = workdir.absolute()
    compiled.keep_compiled_programs(workdir if _MULTIHOST.value else None)
    profile = pace.parse_profile(_PROFILE.value)
    experiment.run(parsed, workdir, profile)


def run() -> None:
  """Parse flags, turning a bad one into one line, and run `main`."""
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
  keep_freed_memory()
  logging.set_verbosity(logging.WARNING)
  run_tool(main)


if __name__ == '__main__':
  run()
