"""Where arrays live: the mesh, and a table from names to partitions.

The mesh has two axes. A batch is split over both; parameters, their average
and the optimizer's moments are split over `fsdp` only:

    mesh (data=2, fsdp=4)     batch (B, ...)         kernel (I, O)
      0 1 2 3                 B / 8 clips each       O / 4 columns each,
      4 5 6 7                                        the same in both rows
"""

import math

import jax
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from dance2wave.errors import InputError
from dance2wave.training.state import first_match, leaf_name

AXES = ('data', 'fsdp')

# A name ends alike in params, ema and the optimizer's moments, so that one
# rule holds for all three. Kernels are split over their outputs; the first
# axis of WaveNet's stacked ones is its layers. The style table is replicated:
# it is small, and splitting the columns of a table whose rows are gathered
# makes the compiler rebuild it whole in the backward pass.
RULES = (
  (r'(^|/)(bias|taps_bias|scale|style|ns_coeffs)$', P()),
  (r'(^|/)kernel$', P(None, 'fsdp')),
  (r'(^|/)(taps|residual)$', P(None, None, 'fsdp')),
)


def make_mesh(data: int, fsdp: int) -> Mesh:
  """Make a mesh of the first data x fsdp devices.

  Raises:
    InputError: there are fewer devices, or several processes and spare ones.
  """
  devices, wanted = jax.devices(), data * fsdp
  is_multi_process = jax.process_count() > 1
  if wanted > len(devices) or (is_multi_process and wanted < len(devices)):
    raise InputError(
      f'mesh.data={data} x mesh.fsdp={fsdp} is {wanted} devices, but there '
      f'{"is" if len(devices) == 1 else "are"} {len(devices)}; expected '
      f'{"exactly" if is_multi_process else "at most"} that many; set '
      '--config.mesh.data and --config.mesh.fsdp'
    )
  # `jax.make_mesh` now makes Explicit axes unless told otherwise. Under those
  # a kernel split like the batch is a type error at every matrix product;
  # with Auto the compiler gathers kernels and the models stay as they are.
  return jax.make_mesh(
    (data, fsdp), AXES, (AxisType.Auto,) * 2, devices=devices[:wanted]
  )


def _spec(name, shape, mesh, rules):
  """Return the spec of the first rule, or P() where it would not divide."""
  if not shape:
    return P()
  spec = first_match(rules, name, 'the sharding rules')
  if len(spec) > len(shape):
    raise InputError(
      f'parameter {name} of shape {tuple(shape)} cannot be split as {spec}; '
      'expected at most one entry for each of its axes; correct the sharding '
      'rules'
    )
  names = [(a,) if isinstance(a, str) else a or () for a in spec]
  parts = [math.prod(mesh.shape[a] for a in axis) for axis in names]
  divides = all(size % n == 0 for size, n in zip(shape, parts))
  return spec if divides else P()


def shardings(abstract_tree, mesh: Mesh, rules=RULES):
  """Return the tree of `NamedSharding`s for a tree of arrays or shapes.

  Scalars are replicated. Every other leaf takes the spec of the first rule
  whose regex is found in its name, and is replicated where that spec does
  not divide its shape evenly.

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
  """Split the first axis, clips, over all devices."""
  return NamedSharding(mesh, P(AXES))


def shard_batch(batch, mesh: Mesh):
  """Put this process's numpy batch on its devices; first axes are clips."""
  sharding = batch_sharding(mesh)
  return jax.tree.map(
    lambda x: jax.make_array_from_process_local_data(sharding, x), batch
  )
