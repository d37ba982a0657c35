"""How matrices are given to the kernel of the `cpu` engine, and multiplied."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numba
import numpy as np
from numba import types
from numba.extending import overload

from dance2wave.sampling import dots, tiles
from dance2wave.sampling.dots import compile_split
from dance2wave.sampling.vectors import LANES, move
from dance2wave.sampling.weights import to_bytes


class Form(NamedTuple):
  """A way to store a matrix and to multiply rows by it.

  Attributes:
    kind: of the elements of a packed matrix.
    split: of a matrix, returns numbers and the scales of its outputs.
    pack: of numbers and scales, returns them flat, as they are read.
    head: elements for each output before its weights.
    make_panel: of so many vectors, returns a function that multiplies rows by
      a panel of them.
    in_digits: whether rows are those that `dots.compile_split` writes.
  """

  kind: type
  split: Callable
  pack: Callable
  head: int
  make_panel: Callable
  in_digits: bool


def _split_floats(weights_IO):
  weights_IO = np.asarray(weights_IO, np.float32)
  return weights_IO, np.ones_like(weights_IO[..., :1, :])


def _pack_floats(weights_IO, scale_O):
  return tiles.pack(weights_IO)


FLOATS = Form(
  np.float32, _split_floats, _pack_floats, 0, tiles.make_panel, False
)
BYTES_AS_FLOATS = Form(
  np.int8,
  to_bytes,
  tiles.pack_bytes,
  4,
  functools.partial(tiles.make_panel, is_bytes=True),
  False,
)
BYTES_IN_DIGITS = Form(np.int8, to_bytes, dots.pack, 8, dots.make_panel, True)
# Of the same bytes, by another kind, for rows of which 16 bits are enough.
BYTES_IN_TWO_DIGITS = BYTES_IN_DIGITS._replace(
  kind=np.uint8,
  pack=lambda *matrix: dots.pack(*matrix).view(np.uint8),
  make_panel=functools.partial(dots.make_panel, lowest=1),
)
BYTES, DRAFTS = BYTES_AS_FLOATS, BYTES_AS_FLOATS
if dots.IS_THERE:
  BYTES, DRAFTS = BYTES_IN_DIGITS, BYTES_IN_TWO_DIGITS


@functools.cache
def compile_multiply(form):
  """Compile and return a function that adds x @ w to rows of `out`.

  It is one of its own in what calls it, which compiles faster than copies.

  Its arguments, in which arrays are addresses of float32:

    out: first row; the next is out_stride floats further.
    out_stride, x: first row, or its digits; x_stride.
    rows: of out and x.
    weights: address of what `form.pack` returned, of its kind.
    inputs: of the matrix; with digits, in whole vectors.
    outputs: of the matrix, in whole vectors.
  """
  floats, integer = types.CPointer(types.float32), types.int64
  packed = types.CPointer(numba.from_dtype(np.dtype(form.kind)))
  panel4, panel2, panel1 = map(form.make_panel, (4, 2, 1))
  head = form.head

  @numba.njit(
    types.void(
      floats, integer, floats, integer, integer, packed, integer, integer
    ),
    error_model='numpy',
    _nrt=False,
  )
  def multiply(out, out_stride, x, x_stride, rows, weights, inputs, outputs):
    size = LANES * (inputs + head)
    while outputs >= 4 * LANES:
      panel4(out, out_stride, x, x_stride, rows, weights, inputs)
      out, weights = move(out, 4 * LANES), move(weights, 4 * size)
      outputs -= 4 * LANES
    while outputs >= 2 * LANES:
      panel2(out, out_stride, x, x_stride, rows, weights, inputs)
      out, weights = move(out, 2 * LANES), move(weights, 2 * size)
      outputs -= 2 * LANES
    if outputs:
      panel1(out, out_stride, x, x_stride, rows, weights, inputs)

  return multiply


def _form(packed):
  kinds = {types.int8: BYTES, types.uint8: DRAFTS, types.float32: FLOATS}
  return kinds[packed.dtype]


def as_read(digits, x, inputs, rows, packed):
  """Return rows of x as they are multiplied by what is packed.

  Args:
    digits: where they may be written in digits.
    x: (rows, inputs).
    inputs: of a matrix.
    rows: of x.
    packed: any matrices.
  """
  raise NotImplementedError  # Numba takes what is chosen below.


@overload(as_read)
def _choose_as_read(digits, x, inputs, rows, packed):
  if not _form(packed).in_digits:
    return lambda digits, x, inputs, rows, packed: x
  split = compile_split()

  def chosen(digits, x, inputs, rows, packed):
    stride, pitch = digits.strides[0] // 4, x.strides[0] // 4
    split(digits.ctypes, stride, x.ctypes, pitch, rows, inputs)
    return digits

  return chosen


def multiply(out, width, x, inputs, rows, packed):
  """Add a packed matrix times rows of x to columns of `out`.

  Args:
    out: first column of those that it is added to.
    width: their number.
    x: what `as_read` returned.
    inputs: of the matrix.
    rows: of x and out.
    packed: the matrix and what follows.

  Returns:
    Its size in `packed`.
  """
  raise NotImplementedError  # Numba takes what is chosen below.


@overload(multiply)
def _choose_multiply(out, width, x, inputs, rows, packed):
  form = _form(packed)
  compiled, head = compile_multiply(form), form.head

  def chosen(out, width, x, inputs, rows, packed):
    stride, pitch = out.strides[0] // 4, x.strides[0] // 4
    compiled(
      out.ctypes, stride, x.ctypes, pitch, rows, packed.ctypes, inputs, width
    )
    return (inputs + head) * width

  return chosen
