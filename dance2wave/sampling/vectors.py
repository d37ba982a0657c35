"""What `tiles.py` and `dots.py` are written with: vectors and their code.

A matrix of (inputs, outputs) is packed in panels of up to four vectors of
outputs, each panel contiguous:

    outputs   |  panel 0: 4 vectors  |  panel 1: 2  | 2: 1 |
    input 0   |  first to be read    |              |      |
    input 1   |  next                |              |      |

so that weights are read once, in the order in which they lie.
"""

import functools

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils, codegen
from numba.extending import intrinsic


def has(feature):
  """Return whether code is compiled for a processor with a feature of LLVM's.

  That is this one's unless the environment names another; see Numba's
  NUMBA_CPU_FEATURES, which is '+avx2,+fma' or the like.
  """
  features = numba.config.CPU_FEATURES
  if features is None:
    features = codegen.get_host_cpu_features()
  return f'+{feature}' in features.split(',')


LINE = 64  # Bytes that are fetched at once.
# Floats in a vector.
LANES = 16 if has('avx512f') else 8
FLOAT, WHOLE, BYTE = ir.FloatType(), ir.IntType(32), ir.IntType(8)
FLOATS, WHOLES = ir.VectorType(FLOAT, LANES), ir.VectorType(WHOLE, LANES)


def index(value):
  """Return a constant that counts elements."""
  return ir.Constant(ir.IntType(64), value)


def pad(size):
  """Return the size in whole vectors."""
  return -(-size // LANES) * LANES


def _panels(outputs):
  """Yield the (first, last) output of each panel."""
  first = 0
  for vectors in (4, 2, 1):
    width = vectors * LANES
    while first + width <= outputs:
      yield first, first + width
      first += width


def padded(matrix_IO, dtype):
  """Return a matrix whose outputs are whole vectors, with zeros."""
  inputs, outputs = matrix_IO.shape
  wide = np.zeros((inputs, pad(outputs)), dtype)
  wide[:, :outputs] = matrix_IO
  return wide


def in_panels(matrix, *heads_O):
  """Return a matrix of (inputs, whole vectors, ...) panel by panel, flat.

  Args:
    matrix: what its outputs have for each row lies together.
    heads_O: arrays of which each panel's part comes before it.
  """
  parts = [matrix[:, :0].ravel()]  # There may be no outputs.
  for i, j in _panels(matrix.shape[1]):
    parts += [head_O[i:j].view(matrix.dtype) for head_O in heads_O]
    parts.append(matrix[:, i:j].ravel())
  return np.concatenate(parts)


def at(builder, base, *terms, kind=FLOATS):
  """Return where a vector begins, so many elements after the base."""
  place = builder.gep(base, [functools.reduce(builder.add, terms)])
  return builder.bitcast(place, kind.as_pointer())


def constant(kind, value):
  """Return a vector of equal numbers."""
  return ir.Constant(kind, [value] * kind.count)


def repeat(builder, number, kind=FLOATS):
  """Return a vector whose lanes are all the number."""
  one = builder.insert_element(
    ir.Constant(kind, ir.Undefined), number, ir.Constant(WHOLE, 0)
  )
  return builder.shuffle_vector(one, one, ir.Constant(WHOLES, None))


def call(builder, name, result, arguments):
  """Return what an intrinsic function of LLVM's makes of its arguments."""
  signature = ir.FunctionType(result, [a.type for a in arguments])
  function = cgutils.get_or_insert_function(builder.module, signature, name)
  return builder.call(function, arguments)


def fused(builder, x, y, z):
  """Return x y + z of vectors, rounded once."""
  return call(builder, f'llvm.fma.v{LANES}f32', FLOATS, [x, y, z])


def emit_fetch(builder, place):
  """Fetch a line into the nearest cache, to be read soon."""
  to_read, nearest, of_data = (ir.Constant(WHOLE, n) for n in (0, 3, 1))
  place = builder.bitcast(place, BYTE.as_pointer())
  terms = [place, to_read, nearest, of_data]
  call(builder, 'llvm.prefetch.p0', ir.VoidType(), terms)


def loop_over_inputs(function, builder, sums, count, step, add):
  """Write a loop that adds to sums, after which the builder goes on.

  Args:
    function: that is written.
    builder: at the end of a block.
    sums: before the loop.
    count: of the inputs, one or more.
    step: how many of them a turn takes.
    add: `add(i, sums)` returns the sums with inputs from the i-th on.

  Returns:
    The sums after the loop.
  """
  loop = function.append_basic_block('inputs')
  end = function.append_basic_block('end')
  begin = builder.block
  builder.branch(loop)
  builder.position_at_end(loop)
  i, *before = (builder.phi(v.type) for v in (count, *sums))
  after = add(i, before)
  following = builder.add(i, index(step))
  firsts, nexts = [index(0), *sums], [following, *after]
  for phi, first, value in zip([i, *before], firsts, nexts):
    phi.add_incoming(first, begin)
    phi.add_incoming(value, loop)
  builder.cbranch(builder.icmp_signed('<', following, count), loop, end)
  builder.position_at_end(end)
  return after


@intrinsic
def use_all_lanes(_):
  """Let loops of the function that calls this have vectors of LANES.

  LLVM takes half of them where it believes that wide ones slow a processor
  down; the products have them anyway.
  """

  def emit(context, builder, signature, values):
    # llvmlite knows no such attribute by name, and would refuse it.
    wide = f'"prefer-vector-width"="{32 * LANES}"'
    set.add(builder.function.attributes, wide)
    return context.get_dummy_value()

  return types.void(), emit


@intrinsic
def move(_, pointer, count):
  """Return the pointer moved by so many elements."""

  def emit(context, builder, signature, values):
    return builder.gep(values[0], [values[1]])

  return pointer(pointer, types.int64), emit


def make_function(name, emit):
  """Return a function for Numba whose body is written in LLVM's code.

  It stays one function however often it is called, which compiles fast.

  Args:
    name: its own; a second function of this name would be the first.
    emit: `emit(function)` writes its blocks; it returns nothing.
  """

  @intrinsic
  def made(_, *arguments):
    def call_it(context, builder, signature, values):
      # Numba passes them as one tuple.
      values = cgutils.unpack_tuple(builder, values[0])
      kind = ir.FunctionType(ir.VoidType(), [v.type for v in values])
      function = cgutils.get_or_insert_function(builder.module, kind, name)
      if not function.blocks:
        function.linkage = 'linkonce_odr'
        function.attributes.add('noinline')
        emit(function)
      builder.call(function, values)
      return context.get_dummy_value()

    return types.void(types.BaseTuple.from_types(arguments)), call_it

  return made
