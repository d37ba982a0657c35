r"""What does each part pay? One change at a time, at equal training cost.

    python -m dance2wave.ablate --config=configs/wavenet.py \
        --output=runs/ablation [--levers='clean past,mixture'] [--seeds=0,1,2]

Trains and scores the config as it is and every lever of dance2wave/levers.py,
writes a JSON for each and DIR/table.md. Run again to go on.
"""

import os
import pathlib

from absl import flags, logging

from dance2wave import config_file
from dance2wave.allocator import keep_freed_memory
from dance2wave.errors import InputError, one_line_errors, run_tool

_CONFIG = config_file.define()
_OUTPUT = flags.DEFINE_string('output', 'runs/ablation', 'Folder of results.')
_LEVERS = flags.DEFINE_list('levers', None, 'Names; all if not given.')
_SEEDS = flags.DEFINE_list('seeds', ['0'], 'Seeds of each.')
_SHARE = flags.DEFINE_float(
  'share', 0.3, "Share of the config's steps.", lower_bound=0.0
)
_NUM_CLIPS = flags.DEFINE_integer(
  'num_clips', 64, 'Validation clips that are scored.', lower_bound=2
)
_JOBS = flags.DEFINE_integer('jobs', 1, 'Runs at a time.', lower_bound=1)


def _seeds() -> list[int]:
  try:
    return [int(seed) for seed in _SEEDS.value]
  except ValueError as error:
    raise InputError(
      f'--seeds={",".join(_SEEDS.value)}; expected whole numbers with commas '
      'between them; give --seeds=0,1,2'
    ) from error


def main(argv: list[str]) -> None:
  """Run the ablation; bad input is one line and exit status 2."""
  with one_line_errors():
    if len(argv) > 1:
      raise InputError(
        f'unexpected argument {argv[1]!r}; expected flags only; give '
        '--config=configs/wavenet.py'
      )
    config_file.check()
    from dance2wave import ablation, ablation_table, options
    from dance2wave.levers import LEVERS

    output = pathlib.Path(_OUTPUT.value).absolute()
    tasks = ablation.plan(
      options.parse(_CONFIG.value),
      output,
      list(LEVERS) if _LEVERS.value is None else _LEVERS.value,
      _seeds(),
      _SHARE.value,
      _NUM_CLIPS.value,
    )
    failed = ablation.run(tasks, _JOBS.value)
    table = ablation_table.format_table(tasks)
    (output / 'table.md').write_text(table + '\n')
    print(table)
    if failed:
      name, problem = next(iter(failed.items()))
      raise InputError(
        f'{len(failed)} of {len(tasks)} runs failed, the first {name} '
        f'({problem}); correct what it says and run again to go on'
      )


if __name__ == '__main__':
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
  keep_freed_memory()
  logging.set_verbosity(logging.WARNING)
  run_tool(main)
