"""A trained model from its workdir, ready to sample."""

import pathlib

import jax

from dance2wave.errors import InputError
from dance2wave.options import Options
from dance2wave.pose.features import MOTION_DIM
from dance2wave.training import sharding, step, workdir
from dance2wave.training.checkpoint import Checkpoints


def load_model(folder: pathlib.Path) -> tuple[Options, object, dict]:
  """Return options, graph and averaged weights of a run's newest checkpoint.

  Raises:
    InputError: the folder is no workdir, holds no checkpoint yet, or one of
      another model.
  """
  options = workdir.read_options(folder)
  graphdef, init = step.split_model(options, MOTION_DIM)
  abstract = jax.eval_shape(init, jax.random.key(0))
  mesh = sharding.make_mesh(1, 1)
  abstract = sharding.with_shardings(abstract, mesh)
  with Checkpoints(folder / 'checkpoints', max_to_keep=None) as checkpoints:
    if checkpoints.latest_step() is None:
      raise InputError(
        f'{folder} holds no checkpoint yet; expected a run that has saved one; '
        f'train it with python -m dance2wave.main --workdir={folder}'
      )
    return options, graphdef, checkpoints.restore_ema(abstract)
