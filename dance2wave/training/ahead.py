"""Compile a run's programs before it starts: it then finds them on disk."""

import dataclasses
import time
from collections.abc import Iterator

import jax

from dance2wave.options import Options
from dance2wave.training import cost, loop, sharding
from dance2wave.training.programs import make_programs


def lowered_programs(
  options: Options,
) -> Iterator[tuple[str, jax.stages.Lowered]]:
  """Yield the name and the lowered form of each program of `loop.train`.

  They are those that draw the first state, make a step of each stage and
  score held-out clips, for the devices that are here.

  Raises:
    InputError: the mesh of the options does not fit the devices.
  """
  mesh = sharding.make_mesh(*dataclasses.astuple(options.mesh))
  made = make_programs(options, mesh)
  yield 'first state', made.make_state.lower(jax.random.key(options.seed))
  batch = cost.abstract_batch(options, mesh)
  key = loop.dropout_key(options)
  stages = {
    'pose step': (False, options.train.pose_steps),
    'joint step': (True, options.train.joint_steps),
  }
  for name, (is_joint, count) in stages.items():
    if count:
      yield name, made.steps[is_joint].lower(made.abstract, batch, key)
  yield 'held-out figures', made.evaluate.lower(made.abstract.ema, batch)


def compile_programs(options: Options) -> Iterator[tuple[str, float]]:
  """Compile each of `lowered_programs`; yield its name and the seconds taken.

  One that is on disk already is read from there.
  """
  began = time.monotonic()
  for name, lowered in lowered_programs(options):
    lowered.compile()
    yield name, time.monotonic() - began
    began = time.monotonic()
