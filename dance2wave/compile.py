r"""Compile a run's programs before the run, so that it starts at once.

    python -m dance2wave.compile --config=configs/wavenet_large.py \
        --config.mesh.data=8 [--workdir=DIR] [--multihost]

Give the flags of the run, on the devices of the run: programs are made for
them, and kept where the run looks for them (docs/scaling.md). Neither a dataset
nor a checkpoint is read or made.
"""

import os
import pathlib

from absl import flags, logging

from dance2wave import config_file
from dance2wave.errors import InputError, one_line_errors, run_tool

_CONFIG = config_file.define()
_WORKDIR = flags.DEFINE_string(
  'workdir', None, 'Folder of the run, which keeps programs with --multihost.'
)
_MULTIHOST = flags.DEFINE_bool(
  'multihost', False, 'This is one of several processes that train together.'
)


def _workdir() -> pathlib.Path | None:
  """Return where several processes keep programs; None for one process."""
  if not _MULTIHOST.value:
    return None
  if not _WORKDIR.value:
    raise InputError(
      '--workdir is missing; expected the folder of the run, where several '
      'processes keep programs; give --workdir=DIR as to the run'
    )
  return pathlib.Path(_WORKDIR.value).absolute()


def _compile(workdir: pathlib.Path | None) -> None:
  from dance2wave import compiled, options
  from dance2wave.training import ahead, hosts

  compiled.keep_compiled_programs(workdir)
  for name, seconds in ahead.compile_programs(options.parse(_CONFIG.value)):
    if hosts.is_first():
      print(f'{name}: {seconds:.1f} s', flush=True)


def main(argv: list[str]) -> None:
  """Compile; bad input is one line and exit status 2."""
  with one_line_errors():
    if len(argv) > 1:
      raise InputError(
        f'unexpected argument {argv[1]!r}; expected the flags of a run; give '
        '--config=configs/wavenet_large.py --config.mesh.data=8'
      )
    config_file.check()
    from dance2wave.training import hosts

    workdir = _workdir()
    with hosts.joined(_MULTIHOST.value):
      _compile(workdir)


if __name__ == '__main__':
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
  logging.set_verbosity(logging.WARNING)
  run_tool(main)
