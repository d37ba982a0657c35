"""What a run compiles, made once for all runs with the same programs."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from dance2wave.options import Options
from dance2wave.pose.features import MOTION_DIM
from dance2wave.training import optimizer as optimizer_lib
from dance2wave.training import sharding, step
from dance2wave.training.held_out import make_eval_step
from dance2wave.training.state import TrainState

# Options that no program depends on: what a run reads, writes and how often.
_OF_DATASET = (
  'name',
  'weights',
  'data_dir',
  'manual_dir',
  'cache_bytes',
  'is_augmented',
)
_OF_TRAINING = (
  'init_from',
  'log_every',
  'eval_every',
  'eval_batches',
  'save_every',
  'max_to_keep',
  'max_skipped',
)


@dataclasses.dataclass(frozen=True)
class Programs:
  """The functions that a run compiles, for the devices of a mesh.

  Attributes:
    graphdef: of the model.
    make_state: `(key) -> state`, the first one.
    abstract: that state, with shapes and shardings for arrays.
    steps: `(state, batch, key) -> (state, figures)` of a stage, by whether it
      is joint.
    evaluate: `(averaged weights, batch) -> figures and counts`, held out.
  """

  graphdef: object
  make_state: Callable
  abstract: TrainState
  steps: dict[bool, Callable]
  evaluate: Callable


def make_schedule(options: Options) -> optax.Schedule:
  """Return the learning rate over both stages; each warms up and decays."""
  train = options.train
  stages = (
    (train.learning_rate, train.pose_steps),
    (train.joint_learning_rate, train.joint_steps),
  )
  first, second = (
    optimizer_lib.make_schedule(
      learning_rate=rate,
      warmup_steps=min(train.warmup_steps, max(steps - 1, 0)),
      num_steps=max(steps, 1),
    )
    for rate, steps in stages
  )
  return optimizer_lib.join_schedules(first, second, train.pose_steps)


def _make_optimizer(options):
  """Return the optimizer that the options ask for."""
  return optimizer_lib.make_optimizer(
    make_schedule(options),
    weight_decay=options.train.weight_decay,
    clip_norm=options.train.clip_norm,
    matrix_rules=(
      optimizer_lib.MATRIX_RULES
      if options.train.optimizer == 'muon'
      else optimizer_lib.NO_MATRICES
    ),
  )


def _first_state(init, optimizer, mesh):
  """Return (function from key to state, abstract state with shardings)."""

  def make_state(key):
    params = init(key)
    return TrainState(
      step=jnp.zeros((), jnp.int32),
      params=params,
      ema=jax.tree.map(jnp.copy, params),
      opt_state=optimizer.init(params),
    )

  abstract = jax.eval_shape(make_state, jax.random.key(0))
  abstract = sharding.with_shardings(abstract, mesh)
  places = jax.tree.map(lambda leaf: leaf.sharding, abstract)
  return jax.jit(make_state, out_shardings=places), abstract


def make_programs(options: Options, mesh) -> Programs:
  """Return what a run of these options compiles on a mesh.

  What was made last is kept, so that a second run of a process traces and
  compiles nothing if only its seed, its paths or the like differ.
  """
  dataset = dict.fromkeys(_OF_DATASET)
  train = dict.fromkeys(_OF_TRAINING)
  # What is None here cannot have been made part of a program.
  options = dataclasses.replace(
    options,
    seed=None,
    dataset=dataclasses.replace(options.dataset, **dataset),
    train=dataclasses.replace(options.train, **train),
    sample=None,
  )
  return _make_programs(options, mesh)


@functools.lru_cache(maxsize=1)
def _make_programs(options, mesh):
  graphdef, init = step.split_model(options, MOTION_DIM)
  optimizer = _make_optimizer(options)
  make_state, abstract = _first_state(init, optimizer, mesh)
  steps = {
    is_joint: step.make_train_step(
      options, graphdef, optimizer, mesh, is_joint=is_joint
    )
    for is_joint in (False, True)
  }
  evaluate = make_eval_step(options, graphdef, mesh)
  return Programs(graphdef, make_state, abstract, steps, evaluate)
