"""Build a dataset: `tfds build` without TensorFlow, with the same flags.

    python -m dance2wave.datasets.build synthetic_dance --data_dir=DIR
    python -m dance2wave.datasets.build clip_folder --manual_dir=MY_VIDEOS

`--config` names a configuration (or gives one as JSON), `--overwrite` builds
again, `--helpfull` lists all flags. Without --config the default one is
built, where `tfds build` would build them all. On Apache Beam (the extra
[beam]), with any of its runners and on a disk that all workers reach:

    python -m dance2wave.datasets.build kinetics_dance --manual_dir=CLIPS \\
      --beam_pipeline_options=runner=DirectRunner,direct_num_workers=8,\\
    direct_running_mode=multi_processing

A build on Beam that was killed goes on where it was when it is run again.
"""

import dataclasses
import json
import re
import sys

import tensorflow_datasets as tfds
from absl import app, logging
from tensorflow_datasets.scripts.cli import build as tfds_build
from tensorflow_datasets.scripts.cli import cli_utils

from dance2wave import datasets
from dance2wave.datasets import beam_work
from dance2wave.errors import InputError, one_line_errors

_NAME = re.compile(r'\w[\w+.-]*', re.ASCII)


def _check_config(builder_cls: type, config: str) -> None:
  """Raise InputError unless the config exists, or is good JSON for a new one.

  A new one must have a name that can be that of its folder, and be opened by.
  """
  known = ', '.join(builder_cls.builder_configs) or 'none'
  try:
    if config.startswith('{'):
      name = builder_cls.builder_config_cls(**json.loads(config)).name
      if name in builder_cls.builder_configs:
        raise KeyError(f'the name {name!r} is taken')
      if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise KeyError(f'{name!r} cannot name a folder')
    elif config.partition(':')[0] not in builder_cls.builder_configs:
      raise KeyError(f'no config {config!r}')
  except (KeyError, TypeError, json.JSONDecodeError) as error:
    raise InputError(
      f'config of {builder_cls.name} is {config!r} ({error.args[0]}); expected '
      f'one of: {known}; or JSON with a name of its own and their fields; '
      'correct it'
    ) from None


def _for_one_dataset(args: tfds_build.Args, dataset: str) -> tfds_build.Args:
  """Return args for one dataset, with its default config if none is named.

  Raises:
    InputError: unknown dataset or config.
  """
  name, _, config = dataset.partition('/')
  if name not in datasets.dataset_names():
    raise InputError(
      f'dataset is {name!r}; expected one of '
      f'{", ".join(datasets.dataset_names())}; correct the name'
    )
  builder_cls, generation = tfds.builder_cls(name), args.generation
  config = config or generation.config
  if config:
    _check_config(builder_cls, config)
  elif generation.config_idx is None and builder_cls.BUILDER_CONFIGS:
    generation = dataclasses.replace(generation, config_idx=0)
  # TFDS reads a name as a path unless it is told where names come from.
  generation = dataclasses.replace(generation, imports='dance2wave.datasets')
  return dataclasses.replace(
    args, positional_datasets=[dataset], datasets=[], generation=generation
  )


def main(args: tfds_build.Args) -> None:
  """Build every named dataset; bad input is one line and exit status 2."""
  names = args.positional_datasets + args.datasets
  with one_line_errors():
    if not names:
      raise InputError(
        'no dataset named; expected one or more of '
        f'{", ".join(datasets.dataset_names())}; name it after the command'
      )
    if args.generation.beam_pipeline_options:
      beam_work.check_installed()  # TFDS would build without it.
    for one in [_for_one_dataset(args, name) for name in names]:
      one.execute()


parse_flags = cli_utils.make_flags_parser(tfds_build.Args, description=__doc__)

if __name__ == '__main__':
  logging.set_verbosity(logging.WARNING)
  app.run(main, argv=sys.argv, flags_parser=parse_flags)
