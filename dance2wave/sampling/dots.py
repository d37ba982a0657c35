"""Multiply a few rows by a packed matrix of bytes, in whole numbers.

Processors with VNNI multiply four bytes by four others and add all of that to
a sum, in one step for each sum of a vector; to make a float of a byte takes
two steps before it can be multiplied. So a row of x is written as whole
numbers too, with one power of two for all of the row:

    x = 2^k q,   q = 65536 d2 + 256 d1 + d0,   d2, d1, d0 in -128 .. 127

q has 24 bits, as many as a float32 has, and its three digits are multiplied
one by one. Sums of whole numbers are exact in whatever order: a row's result
does not depend on its neighbours, to the last bit, and is rounded only where
the sums of its digits are put together.

VNNI takes bytes from 0 to 255 on one side: digits are stored as d + 128, and
sums begin with -128 times the sum of an output's weights. What is multiplied
in one step lies together, four inputs of a row, and four of each output:

    digits    |  2^k, repeated  |  d0 d0 d0 d0  d1 d1 d1 d1  d2 d2 d2 d2  (4
              |  bytes unused), of inputs 0 to 3  |  of inputs 4 to 7  |  ...
    panel     |  scales, float32  |  beginnings of sums, int32  |
              |  weights of inputs 0 to 3: o0 o0 o0 o0  o1 o1 o1 o1 ...  |  ...

Panels are those of `vectors.py`. Where 16 bits of x are enough, d0 is left out,
which is to round q to a multiple of 256.
"""

import functools
from typing import NamedTuple

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from dance2wave.sampling.vectors import (
  BYTE,
  FLOATS,
  LANES,
  WHOLE,
  WHOLES,
  at,
  call,
  constant,
  fused,
  has,
  in_panels,
  index,
  loop_over_inputs,
  make_function,
  move,
  padded,
  repeat,
  use_all_lanes,
)

IS_THERE = has('avx512vnni' if LANES == 16 else 'avxvnni')
HEAD = LANES  # Floats of a row before its digits.
_TOGETHER, _DIGITS = 4, 3
_BYTES = ir.VectorType(BYTE, 4 * LANES)
_ROWS = 2 if LANES == 16 else 1  # Of a tile: its sums must fit in registers.
_TO_POSITIVE = np.int32(0x808080)  # 128 in each digit.
# A float32's exponent is what its bits are above these.
_FRACTION, _NO_SIGN = np.int64(23), np.int32(0x7FFFFFFF)
# Added to the bits of the largest |x|, so that a fraction too near to 2 for
# three digits (|q| <= 0x7F7F7F) counts as the next exponent.
_CARRY = np.int64(0x10102)
# Exponents lie in a float32 from 1 to 254, 127 for 2^0. Those of x and of the
# factor q / x add up to _BOTH, for 2^22 <= |q| < 2^23; those of the factor and
# of 2^k, its inverse, to 254.
_BOTH, _LEAST = np.int64(2 * 127 + 22), np.int64(23)
_INFINITE = np.int32(0x7F800000)


def pack(numbers_IO, scale_O):
  """Return scale x whole numbers as `multiply` reads them: flat, in bytes."""
  wide = padded(numbers_IO, np.int8)
  scale = padded(scale_O[None], np.float32)[0]
  wide = np.pad(wide, [(0, -len(wide) % _TOGETHER), (0, 0)])
  begin = -128 * wide.sum(axis=0, dtype=np.int32)
  wide = wide.reshape(len(wide) // _TOGETHER, _TOGETHER, wide.shape[1])
  return in_panels(wide.swapaxes(1, 2), scale, begin)


@intrinsic
def _write_digits(_, out, x, factor):
  """Write the digits of a vector of x times the factor, a power of two."""

  def emit(context, builder, signature, values):
    out, x, factor = values
    x = builder.load(at(builder, x, index(0)), align=4)
    q = builder.fmul(x, repeat(builder, factor))
    q = call(builder, f'llvm.rint.v{LANES}f32', FLOATS, [q])
    q = builder.add(
      builder.fptosi(q, WHOLES), constant(WHOLES, int(_TO_POSITIVE))
    )
    q = builder.bitcast(q, _BYTES)
    order = np.arange(4 * LANES).reshape(-1, _TOGETHER, 4).swapaxes(1, 2)
    order = ir.Constant(ir.VectorType(WHOLE, 4 * LANES), order.ravel().tolist())
    q = builder.shuffle_vector(q, q, order)
    builder.store(q, at(builder, out, index(0), kind=_BYTES), align=4)
    return context.get_dummy_value()

  return types.void(out, x, types.float32), emit


@numba.njit(error_model='numpy')
def _split_row(digits, x, inputs):
  """Write a row in digits."""
  use_all_lanes()
  most = np.int32(0)
  for i in range(inputs):
    size = np.int32(np.float32(x[i]).view(np.int32) & _NO_SIGN)
    most = size if size > most else most
  exponent = max((most + _CARRY) >> _FRACTION, _LEAST)
  factor = np.int32((_BOTH - exponent) << _FRACTION).view(np.float32)
  power = np.int32((exponent - (_BOTH - 254)) << _FRACTION).view(np.float32)
  for i in range(HEAD):
    digits[i] = power if most < _INFINITE else np.float32(np.nan)
  for i in range(0, inputs, LANES):
    _write_digits(move(digits, HEAD + i), move(x, i), factor)


@functools.cache
def compile_split():
  """Compile and return a function that writes rows in digits.

  Its arguments, in which arrays are addresses of float32:

    digits: first row; the next is digits_stride floats further.
    digits_stride: at least HEAD + inputs.
    x: first row, x_stride.
    rows: of both.
    inputs: of a row, in whole vectors.
  """
  floats, integer = types.CPointer(types.float32), types.int64

  @numba.njit(
    types.void(floats, integer, floats, integer, integer, integer),
    error_model='numpy',
    _nrt=False,
  )
  def split(digits, digits_stride, x, x_stride, rows, inputs):
    for row in range(rows):
      target = move(digits, row * digits_stride)
      _split_row(target, move(x, row * x_stride), inputs)

  return split


def _emit_inputs(builder, tile, sums, digits, starts, weights, i):
  """Return the sums and what four inputs, from the i-th on, add to them.

  Sums are in order of rows, digits, vectors.
  """
  first = builder.mul(i, index(tile.vectors * LANES))
  loaded = []
  for v in range(tile.vectors):
    place = at(builder, weights, first, index(4 * v * LANES), kind=WHOLES)
    loaded.append(builder.load(place, align=4))
  name, result = f'llvm.x86.avx512.vpdpbusd.{32 * LANES}', []
  for start in starts:
    for d in range(tile.lowest, _DIGITS):
      place = builder.add(builder.add(start, i), index(d))
      number = repeat(
        builder, builder.load(builder.gep(digits, [place])), WHOLES
      )
      for v in range(tile.vectors):
        terms = [sums[len(result)], number, loaded[v]]
        result.append(call(builder, name, WHOLES, terms))
  return result


class _Tile(NamedTuple):
  """Which sums a tile keeps.

  Attributes:
    rows: of x.
    vectors: of outputs.
    lowest: digit of x that is multiplied.
  """

  rows: int
  vectors: int
  lowest: int


def _emit_tile(tile, function):
  """Write the body of a tile: sums of digits, put together and added."""
  rows, vectors, digits_of_x = tile.rows, tile.vectors, _DIGITS - tile.lowest
  out, out_stride, digits, stride, panel, inputs = function.args
  builder = ir.IRBuilder(function.append_basic_block('begin'))

  def head(v, kind, which):
    place = index(4 * LANES * (which * vectors + v))
    return builder.load(at(builder, panel, place, kind=kind), align=4)

  before = [head(v, WHOLES, 1) for v in range(vectors)] * (rows * digits_of_x)
  weights = builder.gep(panel, [index(8 * LANES * vectors)])
  wholes = builder.bitcast(digits, WHOLE.as_pointer())
  offsets = [builder.mul(stride, index(r)) for r in range(rows)]
  starts = [builder.add(offset, index(HEAD)) for offset in offsets]

  def add(i, sums):
    return _emit_inputs(builder, tile, sums, wholes, starts, weights, i)

  step = _TOGETHER
  after = loop_over_inputs(function, builder, before, inputs, step, add)
  for r in range(rows):
    power = builder.load(at(builder, digits, offsets[r]), align=4)
    for v in range(vectors):
      total = constant(FLOATS, 0.0)
      for d in range(tile.lowest, _DIGITS):
        part = after[(r * digits_of_x + d - tile.lowest) * vectors + v]
        part = builder.sitofp(part, FLOATS)
        total = fused(builder, part, constant(FLOATS, 256.0**d), total)
      scale = builder.fmul(head(v, FLOATS, 0), power)
      stride_r = builder.mul(out_stride, index(r))
      place = at(builder, out, stride_r, index(v * LANES))
      old = builder.load(place, align=4)
      builder.store(fused(builder, total, scale, old), place, align=4)
  builder.ret_void()


def _make_tile(*sizes):
  """Return a function that adds x @ w to rows of one panel of `out`."""
  name = 'dance2wave_dots_' + '_'.join(map(str, sizes))
  return make_function(name, functools.partial(_emit_tile, _Tile(*sizes)))


def make_panel(vectors, lowest=0):
  """Return a function that runs tiles over the rows of one panel.

  Args:
    vectors: of the panel.
    lowest: digit of x that is multiplied.
  """
  two, one = (_make_tile(r, vectors, lowest) for r in (2, 1))
  largest = _ROWS

  @numba.njit
  def panel(out, out_stride, digits, stride, rows, weights, inputs):
    while rows >= 2 and largest == 2:
      two(out, out_stride, digits, stride, weights, inputs)
      out, digits = move(out, 2 * out_stride), move(digits, 2 * stride)
      rows -= 2
    while rows:
      one(out, out_stride, digits, stride, weights, inputs)
      out, digits = move(out, out_stride), move(digits, stride)
      rows -= 1

  return panel
