"""Multiply a few rows by a packed matrix, in vectors that stay in registers.

A matrix of (inputs, outputs) is packed in panels of up to four vectors of
outputs, each panel contiguous:

    outputs   |  panel 0: 4 vectors  |  panel 1: 2  | 2: 1 |
    input 0   |  first to be read    |              |      |
    input 1   |  next                |              |      |

so that weights are read once, in the order in which they lie. A tile keeps
the sums of up to `_ROWS` rows of one panel in registers. Every sum runs over
the inputs in order, by fused multiply and add, whatever the number of rows:
a row's result does not depend on its neighbours, to the last bit.
"""

import functools

import llvmlite.binding
import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic


def _has_avx512():
  return bool(llvmlite.binding.get_host_cpu_features().get('avx512f'))


# Floats in a vector, and rows in the largest tile: four vectors of sums for
# each row must fit in the registers, 32 with AVX-512 and else 16.
LANES, _ROWS = (16, 4) if _has_avx512() else (8, 2)
_FLOAT = ir.FloatType()
_VECTOR = ir.VectorType(_FLOAT, LANES)


def _index(value):
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


def pack(matrix_IO):
  """Return a matrix as `multiply` reads it, flat; outputs are padded."""
  inputs, outputs = matrix_IO.shape
  wide = np.zeros((inputs, pad(outputs)), np.float32)
  wide[:, :outputs] = matrix_IO
  parts = [wide[:, i:j].ravel() for i, j in _panels(wide.shape[1])]
  return np.concatenate(parts)


def _at(builder, base, *terms):
  """Return where a vector begins, so many floats after the base."""
  index = functools.reduce(builder.add, terms)
  return builder.bitcast(builder.gep(base, [index]), _VECTOR.as_pointer())


def _repeat(builder, number):
  """Return a vector whose lanes are all the number."""
  one = builder.insert_element(
    ir.Constant(_VECTOR, ir.Undefined), number, ir.Constant(ir.IntType(32), 0)
  )
  zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), None)
  return builder.shuffle_vector(one, one, zeros)


def _fused(builder):
  """Return LLVM's fused multiply and add of vectors."""
  signature = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
  name = f'llvm.fma.v{LANES}f32'
  return cgutils.get_or_insert_function(builder.module, signature, name)


def _emit_input(builder, sums, x, starts, weights, i):
  """Return the sums (row by row, vector by vector) + x[:, i] * weights[i]."""
  fused, vectors = _fused(builder), len(sums) // len(starts)
  first = builder.mul(i, _index(vectors * LANES))
  loaded = [
    builder.load(_at(builder, weights, first, _index(v * LANES)), align=4)
    for v in range(vectors)
  ]
  result = []
  for row, start in enumerate(starts):
    number = builder.load(builder.gep(x, [builder.add(start, i)]))
    number = _repeat(builder, number)
    for v in range(vectors):
      terms = number, loaded[v], sums[row * vectors + v]
      result.append(builder.call(fused, terms))
  return result


def _emit_tile(function, rows, vectors):
  """Write the body of a tile: sums are loaded, added to, and stored."""
  out, out_stride, x, x_stride, weights, count = function.args
  builder = ir.IRBuilder(function.append_basic_block('begin'))
  loop = function.append_basic_block('inputs')
  end = function.append_basic_block('end')
  places = [
    _at(builder, out, builder.mul(out_stride, _index(r)), _index(v * LANES))
    for r in range(rows)
    for v in range(vectors)
  ]
  before = [builder.load(place, align=4) for place in places]
  starts = [builder.mul(x_stride, _index(r)) for r in range(rows)]
  begin = builder.block
  builder.branch(loop)
  builder.position_at_end(loop)
  i = builder.phi(ir.IntType(64))
  sums = [builder.phi(_VECTOR) for _ in places]
  after = _emit_input(builder, sums, x, starts, weights, i)
  following = builder.add(i, _index(1))
  firsts, nexts = [_index(0), *before], [following, *after]
  for phi, first, value in zip([i, *sums], firsts, nexts):
    phi.add_incoming(first, begin)
    phi.add_incoming(value, loop)
  builder.cbranch(builder.icmp_signed('<', following, count), loop, end)
  builder.position_at_end(end)
  for place, value in zip(places, after):
    builder.store(value, place, align=4)
  builder.ret_void()


def _tile_function(module, rows, vectors):
  """Return the LLVM function of a tile; it stays one, which compiles fast."""
  pointer, integer = _FLOAT.as_pointer(), ir.IntType(64)
  signature = ir.FunctionType(
    ir.VoidType(), [pointer, integer, pointer, integer, pointer, integer]
  )
  name = f'dance2wave_tile_{rows}_{vectors}'
  function = cgutils.get_or_insert_function(module, signature, name)
  if not function.blocks:
    function.linkage = 'linkonce_odr'
    function.attributes.add('noinline')
    _emit_tile(function, rows, vectors)
  return function


def _make_tile(rows, vectors):
  """Return a function that adds x @ w to rows of one panel of `out`."""

  @intrinsic
  def tile(_, out, out_stride, x, x_stride, weights, count):
    def emit(context, builder, signature, values):
      builder.call(_tile_function(builder.module, rows, vectors), values)
      return context.get_dummy_value()

    integer = types.int64
    arguments = out, integer, x, integer, weights, integer
    return types.void(*arguments), emit

  return tile


@intrinsic
def _move(_, pointer, count):
  """Return the pointer moved by so many floats."""

  def emit(context, builder, signature, values):
    return builder.gep(values[0], [values[1]])

  return pointer(pointer, types.int64), emit


def _make_panel(vectors):
  """Return a function that runs tiles over the rows of one panel."""
  four, two, one = (_make_tile(r, vectors) for r in (4, 2, 1))
  largest = _ROWS

  @numba.njit
  def panel(out, out_stride, x, x_stride, rows, weights, inputs):
    while rows >= 4 and largest == 4:
      four(out, out_stride, x, x_stride, weights, inputs)
      out, x = _move(out, 4 * out_stride), _move(x, 4 * x_stride)
      rows -= 4
    while rows >= 2:
      two(out, out_stride, x, x_stride, weights, inputs)
      out, x = _move(out, 2 * out_stride), _move(x, 2 * x_stride)
      rows -= 2
    if rows:
      one(out, out_stride, x, x_stride, weights, inputs)

  return panel


_panel4, _panel2, _panel1 = (_make_panel(v) for v in (4, 2, 1))


@functools.cache
def compile_multiply():
  """Compile and return a C function that adds x @ w to rows of `out`.

  Its arguments, in which arrays are addresses of float32:

    out: first row; the next is out_stride floats further.
    out_stride, x: first row, x_stride.
    rows: of out and x.
    weights: what `pack` returned.
    inputs: of the matrix.
    outputs: of the matrix, in whole vectors.
  """
  pointer, integer = types.CPointer(types.float32), types.int64

  @numba.cfunc(
    types.void(
      pointer, integer, pointer, integer, integer, pointer, integer, integer
    )
  )
  def multiply(out, out_stride, x, x_stride, rows, weights, inputs, outputs):
    while outputs >= 4 * LANES:
      _panel4(out, out_stride, x, x_stride, rows, weights, inputs)
      out, weights = _move(out, 4 * LANES), _move(weights, 4 * LANES * inputs)
      outputs -= 4 * LANES
    while outputs >= 2 * LANES:
      _panel2(out, out_stride, x, x_stride, rows, weights, inputs)
      out, weights = _move(out, 2 * LANES), _move(weights, 2 * LANES * inputs)
      outputs -= 2 * LANES
    if outputs:
      _panel1(out, out_stride, x, x_stride, rows, weights, inputs)

  function = multiply.ctypes
  function.owner = multiply  # Without it the code might be freed.
  return function
