"""Multiply a few rows by a packed matrix, in vectors that stay in registers.

A matrix of (inputs, outputs) is packed in panels of up to four vectors of
outputs, each panel contiguous:

    outputs   |  panel 0: 4 vectors  |  panel 1: 2  | 2: 1 |
    input 0   |  first to be read    |              |      |
    input 1   |  next                |              |      |

so that weights are read once, in the order in which they lie. A tile keeps
the sums of up to `_ROWS` rows of one panel in registers. Every sum runs over
the inputs in order, by fused multiply and add, whatever the number of rows:
a row's result does not depend on its neighbours, to the last bit. While more
than one tile goes through a panel, they fetch the next one into the cache, a
line for each input: else the first of them would wait for its weights, and
the others compute while nothing is fetched.

Weights are float32, or whole numbers of one byte (see `sampling/weights.py`).
Then each panel begins with a float32 scale for each output, by which its sums
are multiplied, and twice as many rows share half a panel's vectors, because
making numbers of bytes costs as much as multiplying two rows.
"""

import functools
from typing import NamedTuple

import llvmlite.binding
import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_LINE = 64  # Bytes that are fetched at once.


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
  """Return a float32 matrix as `multiply` reads it, flat; outputs padded."""
  wide = _padded(matrix_IO, np.float32)
  parts = [wide[:, i:j].ravel() for i, j in _panels(wide.shape[1])]
  return np.concatenate([wide[:, :0].ravel(), *parts])


def pack_bytes(matrix_IO, scale_O):
  """Return scale x whole numbers as `multiply` reads them: flat, in bytes."""
  wide = _padded(matrix_IO, np.int8)
  scale = _padded(scale_O[None], np.float32)[0]
  parts = [wide[:, :0].ravel()]  # There may be no outputs.
  for i, j in _panels(wide.shape[1]):
    parts += [scale[i:j].view(np.int8), wide[:, i:j].ravel()]
  return np.concatenate(parts)


def _padded(matrix_IO, dtype):
  inputs, outputs = matrix_IO.shape
  wide = np.zeros((inputs, pad(outputs)), dtype)
  wide[:, :outputs] = matrix_IO
  return wide


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


def _emit_fetch(builder, place):
  """Fetch a line into the nearest cache, to be read soon."""
  number = ir.IntType(32)
  place = builder.bitcast(place, ir.IntType(8).as_pointer())
  kind = ir.FunctionType(ir.VoidType(), [place.type, number, number, number])
  name = 'llvm.prefetch.p0'
  function = cgutils.get_or_insert_function(builder.module, kind, name)
  to_read, nearest, of_data = number(0), number(3), number(1)
  builder.call(function, [place, to_read, nearest, of_data])


class _Tile(NamedTuple):
  """Which sums a tile keeps.

  Attributes:
    rows: of x.
    vectors: of outputs.
    width: vectors of the panel that they lie in.
    is_bytes: whether its weights are.
    fetches: whether it fetches a line of `ahead` for each input.
  """

  rows: int
  vectors: int
  width: int
  is_bytes: bool
  fetches: bool = False


def _weights_at(builder, tile, panel, first):
  """Return where a tile's weights begin, and its scales if there are any."""
  start = builder.mul(first, _index(LANES))
  if not tile.is_bytes:
    return builder.gep(panel, [start]), None
  scales = builder.gep(builder.bitcast(panel, _FLOAT.as_pointer()), [start])
  start = builder.add(start, _index(4 * tile.width * LANES))
  return builder.gep(panel, [start]), scales


def _load_weights(builder, weights, place):
  """Return a vector of weights as floats."""
  if weights.type.pointee == _FLOAT:
    return builder.load(_at(builder, weights, place), align=4)
  place = builder.bitcast(
    builder.gep(weights, [place]),
    ir.VectorType(ir.IntType(8), LANES).as_pointer(),
  )
  return builder.sitofp(builder.load(place, align=1), _VECTOR)


def _emit_input(builder, tile, sums, x, starts, weights, i):
  """Return the sums (row by row, vector by vector) + x[:, i] * weights[i]."""
  fused = _fused(builder)
  first = builder.mul(i, _index(tile.width * LANES))
  loaded = [
    _load_weights(builder, weights, builder.add(first, _index(v * LANES)))
    for v in range(tile.vectors)
  ]
  result = []
  for row, start in enumerate(starts):
    number = builder.load(builder.gep(x, [builder.add(start, i)]))
    number = _repeat(builder, number)
    for v in range(tile.vectors):
      terms = number, loaded[v], sums[row * tile.vectors + v]
      result.append(builder.call(fused, terms))
  return result


def _emit_tile(function, tile):
  """Write the body of a tile: sums are loaded, added to, and stored."""
  out, out_stride, x, x_stride, panel, first, count, ahead = function.args
  builder = ir.IRBuilder(function.append_basic_block('begin'))
  loop = function.append_basic_block('inputs')
  end = function.append_basic_block('end')
  out = builder.gep(out, [builder.mul(first, _index(LANES))])
  places = [
    _at(builder, out, builder.mul(out_stride, _index(r)), _index(v * LANES))
    for r in range(tile.rows)
    for v in range(tile.vectors)
  ]
  weights, scales = _weights_at(builder, tile, panel, first)
  if tile.is_bytes:
    before = [ir.Constant(_VECTOR, [0.0] * LANES)] * len(places)
  else:
    before = [builder.load(place, align=4) for place in places]
  starts = [builder.mul(x_stride, _index(r)) for r in range(tile.rows)]
  begin = builder.block
  builder.branch(loop)
  builder.position_at_end(loop)
  i = builder.phi(ir.IntType(64))
  sums = [builder.phi(_VECTOR) for _ in places]
  if tile.fetches:
    line = builder.mul(i, _index(_LINE // 4))
    _emit_fetch(builder, builder.gep(ahead, [line]))
  after = _emit_input(builder, tile, sums, x, starts, weights, i)
  following = builder.add(i, _index(1))
  firsts, nexts = [_index(0), *before], [following, *after]
  for phi, value_before, value in zip([i, *sums], firsts, nexts):
    phi.add_incoming(value_before, begin)
    phi.add_incoming(value, loop)
  builder.cbranch(builder.icmp_signed('<', following, count), loop, end)
  builder.position_at_end(end)
  for k, (place, value) in enumerate(zip(places, after)):
    if tile.is_bytes:
      scale = _at(builder, scales, _index(k % tile.vectors * LANES))
      terms = builder.load(scale, align=1), value, builder.load(place, align=4)
      value = builder.call(_fused(builder), terms)
    builder.store(value, place, align=4)
  builder.ret_void()


def _tile_function(module, tile):
  """Return the LLVM function of a tile; it stays one, which compiles fast."""
  floats, integer = _FLOAT.as_pointer(), ir.IntType(64)
  panel = ir.IntType(8).as_pointer() if tile.is_bytes else floats
  signature = ir.FunctionType(
    ir.VoidType(),
    [floats, integer, floats, integer, panel, integer, integer, panel],
  )
  name = 'dance2wave_tile_' + '_'.join(str(int(size)) for size in tile)
  function = cgutils.get_or_insert_function(module, signature, name)
  if not function.blocks:
    function.linkage = 'linkonce_odr'
    function.attributes.add('noinline')
    _emit_tile(function, tile)
  return function


def _make_tile(*sizes):
  """Return a function that adds x @ w to rows of one panel of `out`."""

  @intrinsic
  def tile(_, out, out_stride, x, x_stride, panel, first, count, ahead):
    def emit(context, builder, signature, values):
      builder.call(_tile_function(builder.module, _Tile(*sizes)), values)
      return context.get_dummy_value()

    integer = types.int64
    arguments = out, integer, x, integer, panel, integer, integer, panel
    return types.void(*arguments), emit

  return tile


@intrinsic
def _move(_, pointer, count):
  """Return the pointer moved by so many elements."""

  def emit(context, builder, signature, values):
    return builder.gep(values[0], [values[1]])

  return pointer(pointer, types.int64), emit


def _make_panel(vectors, is_bytes):
  """Return a function that runs tiles over the rows of one panel."""
  largest, most, half = _ROWS, 2 * _ROWS, max(vectors // 2, 1)
  four, two, one = (
    _make_tile(r, vectors, vectors, is_bytes) for r in (4, 2, 1)
  )
  many = _make_tile(most, half, vectors, is_bytes)
  fetching = _make_tile(largest, vectors, vectors, is_bytes, True)
  fetches = vectors == 4 and not is_bytes
  lines = vectors * LANES * 4 // _LINE  # Of an input.
  line = _LINE // 4

  @numba.njit
  def panel(out, out_stride, x, x_stride, rows, weights, inputs):
    while is_bytes and rows >= most:
      many(out, out_stride, x, x_stride, weights, 0, inputs, weights)
      if half < vectors:
        many(out, out_stride, x, x_stride, weights, half, inputs, weights)
      out, x = _move(out, most * out_stride), _move(x, most * x_stride)
      rows -= most
    if fetches:
      fetched = lines if rows < most else 0
      while rows >= largest and fetched < lines:
        ahead = _move(weights, (lines + fetched) * inputs * line)
        fetching(out, out_stride, x, x_stride, weights, 0, inputs, ahead)
        out, x = _move(out, largest * out_stride), _move(x, largest * x_stride)
        rows, fetched = rows - largest, fetched + 1
    while rows >= 4 and largest == 4:
      four(out, out_stride, x, x_stride, weights, 0, inputs, weights)
      out, x = _move(out, 4 * out_stride), _move(x, 4 * x_stride)
      rows -= 4
    while rows >= 2:
      two(out, out_stride, x, x_stride, weights, 0, inputs, weights)
      out, x = _move(out, 2 * out_stride), _move(x, 2 * x_stride)
      rows -= 2
    if rows:
      one(out, out_stride, x, x_stride, weights, 0, inputs, weights)

  return panel


@functools.cache
def compile_multiply(is_bytes=False):
  """Compile and return a C function that adds x @ w to rows of `out`.

  Its arguments, in which arrays are addresses of float32:

    out: first row; the next is out_stride floats further.
    out_stride, x: first row, x_stride.
    rows: of out and x.
    weights: what `pack` returned, or `pack_bytes`, whose address is of bytes.
    inputs: of the matrix.
    outputs: of the matrix, in whole vectors.
  """
  floats, integer = types.CPointer(types.float32), types.int64
  packed = types.CPointer(types.int8) if is_bytes else floats
  panel4, panel2, panel1 = (_make_panel(v, is_bytes) for v in (4, 2, 1))
  scales = 4 if is_bytes else 0

  @numba.cfunc(
    types.void(
      floats, integer, floats, integer, integer, packed, integer, integer
    )
  )
  def multiply(out, out_stride, x, x_stride, rows, weights, inputs, outputs):
    size = LANES * (inputs + scales)
    while outputs >= 4 * LANES:
      panel4(out, out_stride, x, x_stride, rows, weights, inputs)
      out, weights = _move(out, 4 * LANES), _move(weights, 4 * size)
      outputs -= 4 * LANES
    while outputs >= 2 * LANES:
      panel2(out, out_stride, x, x_stride, rows, weights, inputs)
      out, weights = _move(out, 2 * LANES), _move(weights, 2 * size)
      outputs -= 2 * LANES
    if outputs:
      panel1(out, out_stride, x, x_stride, rows, weights, inputs)

  function = multiply.ctypes
  function.owner = multiply  # Without it the code might be freed.
  return function
