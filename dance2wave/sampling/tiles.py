"""Multiply a few rows by a packed matrix, in vectors that stay in registers.

A tile keeps the sums of up to `_ROWS` rows of one panel (see `vectors.py`) in
registers. Every sum runs over the inputs in order, by fused multiply and add,
whatever the number of rows: a row's result does not depend on its neighbours,
to the last bit. While more than one tile goes through a panel, they fetch the
next one into the cache, as many lines for each input as bring all of it: else
the first of them would wait for its weights, and the others compute while
nothing is fetched.

Weights are float32, or whole numbers of one byte (see `sampling/weights.py`).
Then each panel begins with a float32 scale for each output, by which its sums
are multiplied, and twice as many rows share half a panel's vectors, because
making numbers of bytes costs as much as multiplying two rows.
"""

import functools
from typing import NamedTuple

import numba
import numpy as np
from llvmlite import ir

from dance2wave.sampling.vectors import (
  BYTE,
  FLOAT,
  FLOATS,
  LANES,
  LINE,
  at,
  constant,
  emit_fetch,
  fused,
  in_panels,
  index,
  loop_over_inputs,
  make_function,
  move,
  padded,
  repeat,
)

# Rows in the largest tile: four vectors of sums for each row must fit in the
# registers, 32 with AVX-512 and else 16.
_ROWS = 4 if LANES == 16 else 2


def pack(matrix_IO):
  """Return a float32 matrix as `multiply` reads it, flat; outputs padded."""
  return in_panels(padded(matrix_IO, np.float32))


def pack_bytes(matrix_IO, scale_O):
  """Return scale x whole numbers as `multiply` reads them: flat, in bytes."""
  scale = padded(scale_O[None], np.float32)[0]
  return in_panels(padded(matrix_IO, np.int8), scale)


class _Tile(NamedTuple):
  """Which sums a tile keeps.

  Attributes:
    rows: of x.
    vectors: of outputs.
    width: vectors of the panel that they lie in.
    is_bytes: whether its weights are.
    fetches: lines of `ahead` that it fetches for each input.
  """

  rows: int
  vectors: int
  width: int
  is_bytes: bool
  fetches: int = 0


def _weights_at(builder, tile, panel, first):
  """Return where a tile's weights begin, and its scales if there are any."""
  start = builder.mul(first, index(LANES))
  if not tile.is_bytes:
    return builder.gep(panel, [start]), None
  scales = builder.gep(builder.bitcast(panel, FLOAT.as_pointer()), [start])
  start = builder.add(start, index(4 * tile.width * LANES))
  return builder.gep(panel, [start]), scales


def _load_weights(builder, weights, place):
  """Return a vector of weights as floats."""
  if weights.type.pointee == FLOAT:
    return builder.load(at(builder, weights, place), align=4)
  bytes_ = at(builder, weights, place, kind=ir.VectorType(BYTE, LANES))
  return builder.sitofp(builder.load(bytes_, align=1), FLOATS)


def _emit_input(builder, tile, sums, x, starts, weights, i):
  """Return the sums (row by row, vector by vector) + x[:, i] * weights[i]."""
  first = builder.mul(i, index(tile.width * LANES))
  loaded = [
    _load_weights(builder, weights, builder.add(first, index(v * LANES)))
    for v in range(tile.vectors)
  ]
  result = []
  for row, start in enumerate(starts):
    number = builder.load(builder.gep(x, [builder.add(start, i)]))
    number = repeat(builder, number)
    for v in range(tile.vectors):
      before = sums[row * tile.vectors + v]
      result.append(fused(builder, number, loaded[v], before))
  return result


def _emit_tile(tile, function):
  """Write the body of a tile: sums are loaded, added to, and stored."""
  out, out_stride, x, x_stride, panel, first, count, ahead = function.args
  builder = ir.IRBuilder(function.append_basic_block('begin'))
  out = builder.gep(out, [builder.mul(first, index(LANES))])
  places = [
    at(builder, out, builder.mul(out_stride, index(r)), index(v * LANES))
    for r in range(tile.rows)
    for v in range(tile.vectors)
  ]
  weights, scales = _weights_at(builder, tile, panel, first)
  if tile.is_bytes:
    before = [constant(FLOATS, 0.0)] * len(places)
  else:
    before = [builder.load(place, align=4) for place in places]
  starts = [builder.mul(x_stride, index(r)) for r in range(tile.rows)]

  def add(i, sums):
    for k in range(tile.fetches):
      line = builder.add(builder.mul(i, index(tile.fetches)), index(k))
      place = builder.gep(ahead, [builder.mul(line, index(LINE // 4))])
      emit_fetch(builder, place)
    return _emit_input(builder, tile, sums, x, starts, weights, i)

  after = loop_over_inputs(function, builder, before, count, 1, add)
  for k, (place, value) in enumerate(zip(places, after)):
    if tile.is_bytes:
      scale = at(builder, scales, index(k % tile.vectors * LANES))
      scale, old = builder.load(scale, align=1), builder.load(place, align=4)
      value = fused(builder, scale, value, old)
    builder.store(value, place, align=4)
  builder.ret_void()


def _make_tile(*sizes):
  """Return a function that adds x @ w to rows of one panel of `out`."""
  name = 'dance2wave_tile_' + '_'.join(str(int(size)) for size in sizes)
  return make_function(name, functools.partial(_emit_tile, _Tile(*sizes)))


def make_panel(vectors, is_bytes=False):
  """Return a function that runs tiles over the rows of one panel."""
  largest, most, half = _ROWS, 2 * _ROWS, max(vectors // 2, 1)
  four, two, one = (
    _make_tile(r, vectors, vectors, is_bytes) for r in (4, 2, 1)
  )
  many = _make_tile(most, half, vectors, is_bytes)
  fetching, fetching_twice = (
    _make_tile(largest, vectors, vectors, is_bytes, each) for each in (1, 2)
  )
  fetches = vectors == 4 and not is_bytes
  lines = vectors * LANES * 4 // LINE  # Of an input.
  line = LINE // 4

  @numba.njit
  def panel(out, out_stride, x, x_stride, rows, weights, inputs):
    while is_bytes and rows >= most:
      many(out, out_stride, x, x_stride, weights, 0, inputs, weights)
      if half < vectors:
        many(out, out_stride, x, x_stride, weights, half, inputs, weights)
      out, x = move(out, most * out_stride), move(x, most * x_stride)
      rows -= most
    if fetches and rows >= most:
      # Two lines at once where tiles are few; many are a tenth slower so.
      each = 1 if rows >= lines * largest else 2
      for fetched in range(0, lines, each):
        ahead = move(weights, (lines + fetched) * inputs * line)
        if each == 1:
          fetching(out, out_stride, x, x_stride, weights, 0, inputs, ahead)
        else:
          fetching_twice(
            out, out_stride, x, x_stride, weights, 0, inputs, ahead
          )
        out, x = move(out, largest * out_stride), move(x, largest * x_stride)
        rows -= largest
    while rows >= 4 and largest == 4:
      four(out, out_stride, x, x_stride, weights, 0, inputs, weights)
      out, x = move(out, 4 * out_stride), move(x, 4 * x_stride)
      rows -= 4
    while rows >= 2:
      two(out, out_stride, x, x_stride, weights, 0, inputs, weights)
      out, x = move(out, 2 * out_stride), move(x, 2 * x_stride)
      rows -= 2
    if rows:
      one(out, out_stride, x, x_stride, weights, 0, inputs, weights)

  return panel
