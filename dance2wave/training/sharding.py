"""Where arrays live: the mesh, and a table from names to partitions.

The mesh has four axes. A batch is split over `data` and `fsdp`; parameters,
their average and the optimizer's moments over `fsdp` and `tensor`:

    mesh (data=2, fsdp=2, tensor=2)   batch (B, ...)       skip (I, O)
      0 1   2 3                       01 | 23 | 45 | 67    04 | 26 | 15 | 37
      4 5   6 7                       B / 4 clips each     O / 4 columns each

The parts of a kernel over `fsdp` are put together before each use. Those over
`tensor` are not: each device makes its own channels, and the matrix that
follows sums over them. Over `sequence` each clip's samples are split, within
the WaveNet alone: see `training/sequence.py`.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from dance2wave.errors import InputError
from dance2wave.training.state import first_match, leaf_name

AXES = ('data', 'fsdp', 'tensor', 'sequence')
_CLIPS = ('data', 'fsdp')

# A name ends alike in params, ema and the optimizer's moments, so that one
# rule holds for all three. Kernels are split over their outputs by fsdp; the
# first axis of WaveNet's stacked ones is its layers. Over tensor, pairs of
# matrices are split, the first by its outputs and the second by its inputs
# (Shoeybi 2019, section 3). WaveNet's stacked ones are not: taps are turned
# about before their use, and the compiler would rebuild them whole. Nor is the
# style table, whose rows are gathered, for the same reason: it is small.
RULES = (
  (r'(^|/)(bias|taps_bias|scale|style|edges|ns_coeffs)$', P()),
  (r'(^|/)(qkv|mlp_in|skip)/kernel$', P(None, ('tensor', 'fsdp'))),
  (r'(^|/)(out|mlp_out|hidden)/kernel$', P('tensor', 'fsdp')),
  (r'(^|/)kernel$', P(None, 'fsdp')),
  (r'(^|/)(taps|residual)$', P(None, None, 'fsdp')),
)


def make_mesh(data: int, fsdp: int, tensor: int = 1, sequence: int = 1) -> Mesh:
  """Make a mesh of the first data x fsdp x tensor x sequence devices.

  Raises:
    InputError: there are fewer devices, or several processes and spare ones.
  """
  devices, wanted = jax.devices(), data * fsdp * tensor * sequence
  is_multi_process = jax.process_count() > 1
  if wanted > len(devices) or (is_multi_process and wanted < len(devices)):
    raise InputError(
      f'mesh.data={data} x mesh.fsdp={fsdp} x mesh.tensor={tensor} x '
      f'mesh.sequence={sequence} is {wanted} devices, but there '
      f'{"is" if len(devices) == 1 else "are"} '
      f'{len(devices)}; expected '
      f'{"exactly" if is_multi_process else "at most"} that many; set '
      '--config.mesh.data, --config.mesh.fsdp, --config.mesh.tensor and '
      '--config.mesh.sequence'
    )
  return mesh_of(devices[:wanted], data, fsdp, tensor, sequence)


def mesh_of(
  devices, data: int, fsdp: int, tensor: int = 1, sequence: int = 1
) -> Mesh:
  """Make a mesh of exactly these devices."""
  # `jax.make_mesh` now makes Explicit axes unless told otherwise. Under those
  # a kernel split like the batch is a type error at every matrix product;
  # with Auto the compiler gathers kernels and the models stay as they are.
  return jax.make_mesh(
    (data, fsdp, tensor, sequence),
    AXES,
    (AxisType.Auto,) * len(AXES),
    devices=devices,
  )


def _spec(name, shape, mesh, rules):
  """Return the spec of the first rule, less what splits nothing here.

  That is an axis of the mesh of one device, and all that would split one of
  the leaf's axes where they do not divide it.
  """
  if not shape:
    return P()
  spec = first_match(rules, name, 'the sharding rules')
  if len(spec) > len(shape):
    raise InputError(
      f'parameter {name} of shape {tuple(shape)} cannot be split as {spec}; '
      'expected at most one entry for each of its axes; correct the sharding '
      'rules'
    )
  entries = [_entry(axes, size, mesh) for axes, size in zip(spec, shape)]
  while entries and entries[-1] is None:
    entries.pop()
  return P(*entries)


def _entry(axes, size, mesh):
  axes = (axes,) if isinstance(axes, str) else axes or ()
  axes = tuple(axis for axis in axes if mesh.shape[axis] > 1)
  if not axes or size % math.prod(mesh.shape[axis] for axis in axes):
    return None
  return axes[0] if len(axes) == 1 else axes


def shardings(abstract_tree, mesh: Mesh, rules=RULES):
  """Return the tree of `NamedSharding`s for a tree of arrays or shapes.

  Scalars are replicated. Every other leaf takes the spec of the first rule
  whose regex is found in its name; an axis that this does not divide evenly
  is not split.

  Args:
    abstract_tree: such as `jax.eval_shape(init, key)`.
    mesh: from `make_mesh`.
    rules: ordered (regex, PartitionSpec) pairs.

  Raises:
    InputError: a leaf is covered by no rule, or has too few axes for its own.
  """

  def sharding(path, leaf):
    spec = _spec(leaf_name(path), leaf.shape, mesh, rules)
    return NamedSharding(mesh, spec)

  return jax.tree_util.tree_map_with_path(sharding, abstract_tree)


def with_shardings(abstract_tree, mesh: Mesh, rules=RULES):
  """Return the tree as `ShapeDtypeStruct`s that say where to be restored."""
  return jax.tree.map(
    lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
    abstract_tree,
    shardings(abstract_tree, mesh, rules),
  )


def batch_sharding(mesh: Mesh) -> NamedSharding:
  """Split the first axis, clips, over `data` and `fsdp`."""
  return NamedSharding(mesh, P(_CLIPS))


def by_clips(call, mesh: Mesh):
  """Return a function of arrays (B, ...) that each device calls on its clips.

  For what the compiler splits over no devices, such as Fourier transforms: it
  would send each of them the whole batch. Clips are taken one at a time, by a
  loop that the compiler compiles alike however many clips a device holds: the
  results have the same bits on any number of devices.
  """

  def call_one(clip):
    return jax.tree.map(lambda x: x[0], call(*(x[None] for x in clip)))

  def call_each(*arrays):
    clips = len(arrays[0])
    if clips == 1:  # A loop of one turn would be none.
      arrays = jax.tree.map(lambda x: jnp.concatenate([x, x]), arrays)
    results = jax.lax.map(call_one, arrays)
    return jax.tree.map(lambda x: x[:clips], results)

  clips = P(_CLIPS)
  return jax.shard_map(
    call_each, mesh=mesh, in_specs=clips, out_specs=clips, axis_names={*_CLIPS}
  )


def batch_rows(mesh: Mesh, batch_size: int) -> np.ndarray:
  """Return which clips of a global batch this process's devices hold."""
  places = batch_sharding(mesh).addressable_devices_indices_map((batch_size,))
  rows = [np.arange(batch_size)[index] for (index,) in places.values()]
  return np.unique(np.concatenate(rows))


def shard_batch(batch, mesh: Mesh):
  """Put this process's numpy batch on its devices; first axes are clips."""
  sharding = batch_sharding(mesh)
  return jax.tree.map(
    lambda x: jax.make_array_from_process_local_data(sharding, x), batch
  )
