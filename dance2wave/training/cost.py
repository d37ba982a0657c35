"""What a step costs, told by the compiler before there is a device."""

import dataclasses
import math

import jax
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from dance2wave.media.audio_features import NUM_AUDIO_FEATURES
from dance2wave.options import Options
from dance2wave.pose.features import MOTION_DIM
from dance2wave.training import collectives, sharding
from dance2wave.training.accelerators import Accelerator
from dance2wave.training.programs import make_programs


@dataclasses.dataclass(frozen=True)
class Cost:
  """One step of the last stage; all but the first two for one device.

  Attributes:
    parameters: numbers that are trained.
    matrix_flops: of all matrix products of a step, on all devices.
    devices: that share it.
    flops: of the compiled program; a loop's body counts once in it.
    accessed_bytes: that its operations read and write. Fusion is that of the
      compiler that made it.
    parameter_bytes: of the parameters and their average.
    optimizer_bytes: of the optimizer's state.
    activation_bytes: all that a step needs beside its arguments.
    read: {kind: (count, bytes)} of the collectives in the program.
    by_rule: {kind: bytes sent} on GPU and TPU; see `collectives.by_rule`.
  """

  parameters: int
  matrix_flops: float
  devices: int
  flops: float
  accessed_bytes: float
  parameter_bytes: int
  optimizer_bytes: int
  activation_bytes: int
  read: dict[str, tuple[int, int]]
  by_rule: dict[str, float]

  @property
  def memory_bytes(self) -> int:
    """All that a device must hold."""
    kept = self.parameter_bytes + self.optimizer_bytes
    return kept + self.activation_bytes

  @property
  def _rounds(self) -> float:
    """How often a loop goes round, as far as its matrix products tell."""
    return max(1.0, self.matrix_flops / self.devices / self.flops)

  def seconds(self, device: Accelerator) -> dict[str, float]:
    """Return the least time of a step for each of its three bounds."""
    sent = sum(self.by_rule.values())
    return {
      'compute': self.matrix_flops / self.devices / device.flops,
      'memory': self.accessed_bytes * self._rounds / device.memory_rate,
      'links': sent / device.rate(self.devices),
    }


def abstract_batch(options: Options, mesh) -> dict:
  """Return the shapes of what a step reads of a batch; see `Pipeline`."""
  clips = options.train.batch_size
  frames = round(options.dataset.crop_s * options.pose_rate_hz)
  describes_sound = 'audio_features' in options.pose.describes
  motion = 0 if options.train.is_audio_only else MOTION_DIM
  names = ('beat', 'half_beat', 'beat_phase', 'onset', 'level', 'loudness')
  shapes = {f'{name}_BF': ((frames,), np.float32) for name in names} | {
    'motion_BFM': ((frames, motion), np.float32),
    'audio_BT': ((frames * options.samples_per_frame,), np.float32),
    'features_BFA': (
      (frames, NUM_AUDIO_FEATURES * describes_sound),
      np.float32,
    ),
    'label_BS': ((len(options.styles),), np.float32),
    'valid_BF': ((frames,), np.bool_),
    'has_audio_B': ((), np.bool_),
    'has_features_B': ((), np.bool_),
    'clip_index_B': ((), np.int32),
  }
  place = sharding.batch_sharding(mesh)
  return {
    name: jax.ShapeDtypeStruct((clips, *shape), dtype, sharding=place)
    for name, (shape, dtype) in shapes.items()
  }


def trace_step(options: Options, mesh, *, is_joint: bool):
  """Return the traced step and the abstract state that it is for."""
  made = make_programs(options, mesh)
  key = jax.eval_shape(lambda: jax.random.key(0))
  everywhere = NamedSharding(mesh, P())
  key = jax.ShapeDtypeStruct(key.shape, key.dtype, sharding=everywhere)
  batch = abstract_batch(options, mesh)
  one_step = made.steps[is_joint]
  return one_step.trace(made.abstract, batch, key), made.abstract


def _matrix_flops(jaxpr) -> float:
  """Count two FLOPs for each product of a matrix product.

  Those of loops, and of parts that run on each device, are counted in full.
  """
  total = 0.0
  for eqn in jaxpr.eqns:
    if eqn.primitive.name == 'dot_general':
      (contracted, _), _ = eqn.params['dimension_numbers']
      left = eqn.invars[0].aval.shape
      inner = math.prod(left[axis] for axis in contracted)
      total += 2.0 * inner * math.prod(eqn.outvars[0].aval.shape)
    times = eqn.params.get('length', 1) if eqn.primitive.name == 'scan' else 1
    if eqn.primitive.name == 'shard_map':  # its shapes are those of a device
      sizes = eqn.params['mesh'].shape
      times = math.prod(sizes[axis] for axis in eqn.params['newly_manual_axes'])
    total += times * sum(map(_matrix_flops, _inner(eqn.params.values())))
  return total


def _inner(values):
  """Yield the jaxprs among the parameters of an equation."""
  for value in values:
    if isinstance(value, (tuple, list)):
      yield from _inner(value)
    elif hasattr(value, 'eqns'):
      yield value
    elif hasattr(value, 'jaxpr'):
      yield value.jaxpr


def _held(tree) -> int:
  """Return the bytes that one device holds of a tree with shardings."""
  return sum(
    leaf.dtype.itemsize * math.prod(leaf.sharding.shard_shape(leaf.shape))
    for leaf in jax.tree.leaves(tree)
  )


def matrix_flops(options: Options, *, is_joint: bool) -> float:
  """Return what the matrix products of a step of a stage cost, uncompiled."""
  traced, _ = trace_step(options, sharding.make_mesh(1, 1), is_joint=is_joint)
  return _matrix_flops(traced.jaxpr.jaxpr)


def measure(options: Options, mesh) -> Cost:
  """Compile a step for the mesh and read what it costs."""
  traced, state = trace_step(
    options, mesh, is_joint=options.train.joint_steps > 0
  )
  compiled = traced.lower().compile()
  figures, memory = compiled.cost_analysis(), compiled.memory_analysis()
  return Cost(
    parameters=sum(leaf.size for leaf in jax.tree.leaves(state.params)),
    matrix_flops=_matrix_flops(traced.jaxpr.jaxpr),
    devices=mesh.size,
    flops=figures['flops'],
    accessed_bytes=figures['bytes accessed'],
    parameter_bytes=_held((state.params, state.ema)),
    optimizer_bytes=_held(state.opt_state),
    activation_bytes=memory.temp_size_in_bytes,
    read=collectives.read(compiled.as_text()),
    by_rule=collectives.by_rule(state.params, mesh),
  )
