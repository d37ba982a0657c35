"""Products of the `cpu` engine: floats, bytes as floats, bytes in digits."""

import os
import subprocess
import sys

import numba
import numpy as np
import pytest
from command_line import ROOT

from dance2wave.sampling import dots, products
from dance2wave.sampling.vectors import LANES, has

_ROWS = 23  # With AVX-512 more than four tiles of floats.
_FORMS = [products.FLOATS, products.BYTES_AS_FLOATS]
if dots.IS_THERE:
  _FORMS += [products.BYTES_IN_DIGITS, products.BYTES_IN_TWO_DIGITS]
_needs_dots = pytest.mark.skipif(
  not dots.IS_THERE, reason='this processor has no VNNI'
)


@numba.njit
def _split_rows(split, digits, x, rows):
  stride, inputs = digits.shape[1], x.shape[1]
  split(digits.ctypes, stride, x.ctypes, inputs, rows, inputs)


@numba.njit
def _multiply(multiply, out, x, rows, packed, inputs):
  to, given, outputs = out.ctypes, x.ctypes, out.shape[1]
  stride = x.shape[1]
  multiply(to, outputs, given, stride, rows, packed.ctypes, inputs, outputs)


def _digits(x_RI):
  """Return rows in digits, between others that are not written to."""
  rows, inputs = x_RI.shape
  wide = np.full((rows + 1, dots.HEAD + inputs + 1), 7, np.float32)
  _split_rows(dots.compile_split(), wide, x_RI, rows)
  np.testing.assert_array_equal(wide[rows], 7)
  np.testing.assert_array_equal(wide[:, -1], 7)
  return wide[:rows]


class _Matrix:
  """A random matrix in a form, and its product with rows."""

  def __init__(self, form, inputs, outputs):
    weights_IO = np.random.default_rng(0).normal(size=(inputs, outputs))
    numbers, scale = form.split(weights_IO.astype(np.float32))
    self.form, self.packed = form, form.pack(numbers, scale[0])
    self.weights_IO = numbers.astype(np.float64) * scale
    self.multiply = products.compile_multiply(form)

  def add(self, start_RO, x_RI, rows):
    """Return the first rows of start + x @ weights; others must stay."""
    out, x = start_RO.copy(), x_RI.copy()
    given = _digits(x) if self.form.in_digits else x
    inputs = len(self.weights_IO)
    _multiply(self.multiply, out, given, rows, self.packed, inputs)
    np.testing.assert_array_equal(out[rows:], start_RO[rows:])
    return out[:rows]


@pytest.mark.parametrize('form', _FORMS)
@pytest.mark.parametrize(
  'inputs, outputs', [(16, 16), (7, 112), (48, 112), (64, 320)]
)
def test_products_are_right_and_a_row_does_not_depend_on_the_others(
  inputs, outputs, form
):
  if form.in_digits and inputs % LANES:
    pytest.skip('digits are of whole vectors')
  rng = np.random.default_rng(1)
  x_RI = rng.normal(size=(_ROWS, inputs)).astype(np.float32)
  start_RO = rng.normal(size=(_ROWS, outputs)).astype(np.float32)
  matrix = _Matrix(form, inputs, outputs)
  whole = matrix.add(start_RO, x_RI, _ROWS)
  right = start_RO + x_RI.astype(np.float64) @ matrix.weights_IO
  # Of 16 bits a row is off by up to 2^-15 of its largest; of 24 by 2^-23.
  atol = 2e-3 if form == products.BYTES_IN_TWO_DIGITS else 3e-5
  np.testing.assert_allclose(whole, right, atol=atol)
  for first in range(_ROWS):
    for rows in (1, 2, 3, 5, 8, 9, 20):
      rows = min(rows, _ROWS - first)
      some = matrix.add(start_RO[first:], x_RI[first:], rows)
      np.testing.assert_array_equal(some, whole[first : first + rows])


@_needs_dots
def test_digits_are_of_24_bits_whatever_the_size_of_a_row():
  rng = np.random.default_rng(2)
  x_RI = rng.normal(size=(90, LANES)).astype(np.float32)
  x_RI *= np.logspace(-30, 30, len(x_RI), dtype=np.float32)[:, None]
  below_two = np.nextafter(np.float32(2), np.float32(0))
  x_RI[40] = np.linspace(-below_two, below_two, LANES)
  x_RI[41] = np.linspace(-1.992, 1.9922, LANES)
  x_RI[42] = np.linspace(-1, 1, LANES)
  digits = _digits(x_RI)
  power_R, numbers = digits[:, 0], digits[:, dots.HEAD : dots.HEAD + LANES]
  np.testing.assert_array_equal(digits[:, : dots.HEAD].T, [power_R] * LANES)
  numbers = np.ascontiguousarray(numbers).view(np.uint8)
  numbers = numbers.reshape(len(x_RI), -1, 4, 4)[:, :, :3].astype(int) - 128
  q_RI = (numbers * 256 ** np.arange(3)[:, None]).sum(axis=2)
  q_RI = q_RI.reshape(len(x_RI), LANES)
  largest = np.abs(x_RI).max(axis=1, keepdims=True).astype(np.float64)
  made = q_RI * power_R[:, None].astype(np.float64)
  # Half a step, if what is largest is 2^22 of them or very nearly.
  assert np.all(np.abs(made - x_RI) <= 1.005 * 2.0**-23 * largest)
  assert np.all(np.log2(power_R) % 1 == 0)


@_needs_dots
def test_a_row_of_nothing_is_nothing_and_of_no_number_is_none():
  matrix = _Matrix(products.BYTES_IN_DIGITS, 16, 16)
  x = np.ones((6, 16), np.float32)
  x[0], x[1], x[2] = 0, 1e-38, 1e-45
  large = np.finfo(np.float32).max
  x[3, 5], x[4, 7] = np.nan, np.inf
  x[5], x[5, 3] = 0, large
  product = matrix.add(np.ones((6, 16), np.float32), x, 6)
  np.testing.assert_array_equal(product[:3], 1)
  assert np.all(np.isnan(product[3:5]))
  right = large * matrix.weights_IO[3]
  right = np.where(np.abs(right) > large, np.copysign(np.inf, right), right)
  np.testing.assert_allclose(product[5], right, rtol=1e-6, atol=1)


_DRAW = """
import sys
import numpy as np
sys.path.insert(0, 'tests')
from engine_cases import make_case, tokens
from dance2wave.sampling import cpu, products, vectors
from dance2wave.sampling.cpu import CpuEngine

cpu._LEAST_S = np.inf  # A slow processor does not draft what is not asked for.
sizes = ('residual', 40), ('gate', 24), ('skip', 72)
for weights in sys.argv[1:]:
  case = make_case(5, 2, sizes=sizes, weights=weights)
  audio = case.run(CpuEngine)
  np.testing.assert_array_equal(tokens(audio), tokens(case.audio))
  np.testing.assert_array_equal(case.run(CpuEngine, slice(4, 5)), audio[4:])
print(vectors.LANES, products.BYTES.in_digits)
"""


@pytest.mark.skipif(not has('avx2'), reason='not of the x86 family')
@pytest.mark.parametrize(
  'name, features, expected, weights',
  [
    pytest.param(
      *('haswell', '+avx2,+fma,+bmi2', '8 False', ('float32', 'int8')),
      marks=pytest.mark.slow,
    ),
    ('alderlake', '+avx2,+fma,+bmi2,+avxvnni', '8 True', ('int8',)),
  ],
)
def test_processors_with_less_draw_the_same(name, features, expected, weights):
  if 'vnni' in features and not has('avxvnni'):
    pytest.skip('this processor has no AVX-VNNI')
  environment = {'NUMBA_CPU_NAME': name, 'NUMBA_CPU_FEATURES': features}
  done = subprocess.run(
    [sys.executable, '-c', _DRAW, *weights],
    cwd=ROOT,
    env=os.environ | environment,
    capture_output=True,
    text=True,
  )
  assert done.stdout.strip() == expected, done.stderr[-2000:]
