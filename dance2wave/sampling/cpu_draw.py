"""What `draw` computes, for one clip at a time, in Numba.

Divisions follow IEEE 754, so that a NaN stays one. Sums of probabilities may
run in another order than `draw`'s.
"""

import math

import numba
import numpy as np

from dance2wave.models.quantise import MIXTURE_MIN_LOG_SCALE
from dance2wave.sampling.draw import BISECTIONS
from dance2wave.sampling.vectors import use_all_lanes

# Products may be fused with sums; nothing else may be changed.
jit = numba.njit(error_model='numpy', fastmath={'contract'})
# For functions that are called in one place: half the time to compile.
once_jit = numba.njit(
  error_model='numpy', fastmath={'contract'}, inline='always'
)
# For kernels that Python calls, and what several of them call. References are
# not counted, which took a quarter of the time where one clip is drawn of
# bytes: no array is made, and the caller keeps all.
kernel_jit = numba.njit(
  nogil=True, error_model='numpy', fastmath={'contract'}, _nrt=False
)
_reordering_jit = numba.njit(
  error_model='numpy', fastmath={'contract', 'reassoc'}
)

# exp(x) = 2^n exp(r), n the integer nearest to x / log 2, |r| < 0.35. Adding
# 1.5 x 2^23 rounds to an integer, whose bits are then the last of the sum's.
_LOG2_E = np.float32(1 / math.log(2))
_ROUND = np.float32(1.5 * 2**23)
# log 2 in two parts, so that n times the first is exact (Cody and Waite).
_LOG_2 = np.float32(0.693359375)
_LOG_2_REST = np.float32(math.log(2) - 0.693359375)
_ONE_BITS = np.int32(0x3F800000)
_SIGN, _NO_SIGN = np.int32(31), np.int32(0x7FFFFFFF)
_ONE, _TWO, _HALF = np.float32(1), np.float32(2), np.float32(0.5)
_C3, _C4, _C5, _C6, _C7 = (
  np.float32(1 / math.factorial(k)) for k in range(3, 8)
)
_MIN_TEMPERATURE = np.float32(1e-4)
_LOWEST = np.float32(-87)  # Of exp, before numbers lose bits.
_UNIFORM_MARGIN = np.float32(1e-5)
_MIN_LOG_SCALE = np.float32(MIXTURE_MIN_LOG_SCALE)


@once_jit
def _split_exp(x):
  """Return 2^n and exp(r) - 1; Taylor's series to r^7, off by 5e-9."""
  rounded = x * _LOG2_E + _ROUND
  n = rounded - _ROUND
  r = x - n * _LOG_2
  r = r - n * _LOG_2_REST
  series = _C4 + r * (_C5 + r * (_C6 + r * _C7))
  series = r + r * r * (_HALF + r * (_C3 + r * series))
  bits = np.int32(np.float32(rounded).view(np.int32) << 23) + _ONE_BITS
  return np.int32(bits).view(np.float32), series


@jit
def exp(x):
  """Return exp(x) for -87 < x < 87, to 1e-7 of its value."""
  power, series = _split_exp(x)
  return power * series + power


@jit
def expm1(x):
  """Return exp(x) - 1 for -87 < x < 87, to 2e-7 of its value."""
  power, series = _split_exp(x)
  return power * series + (power - _ONE)


@jit
def clip(x, low, high):
  """Return x within bounds; NaN stays NaN, which min and max would lose."""
  return low if x < low else (high if x > high else x)


@once_jit
def _in_order(bits):
  """Return a whole number that is larger if a float32 is, from its bits.

  It is its own inverse: of a float's bits and of what it returns for them.
  """
  return np.int32(bits ^ ((bits >> _SIGN) & _NO_SIGN))


@once_jit
def _highest(values_V):
  """Return the highest value; in whole numbers, which vectors may compare."""
  highest = _in_order(np.float32(-np.inf).view(np.int32))
  for i in range(values_V.size):
    value = _in_order(np.float32(values_V[i]).view(np.int32))
    highest = value if value > highest else highest
  return np.int32(_in_order(highest)).view(np.float32)


@once_jit
def _softmax(logits_V, temperature):
  """Turn logits into probabilities, in place."""
  for i in range(logits_V.size):
    logits_V[i] /= temperature
  highest = _highest(logits_V)
  for i in range(logits_V.size):
    logits_V[i] = exp(clip(logits_V[i] - highest, _LOWEST, np.float32(0)))
  total = _sum_from(logits_V, np.float32(0))
  for i in range(logits_V.size):
    logits_V[i] /= total


@_reordering_jit
def _sum_from(values_V, threshold):
  """Return the sum of the values that reach the threshold."""
  total = np.float32(0)
  for i in range(values_V.size):
    total += values_V[i] if values_V[i] >= threshold else np.float32(0)
  return total


@once_jit
def _keep_top_p(probabilities_V, top_p):
  """Zero the least probable classes beyond a mass of top_p, in place."""
  low, high = np.float32(0), probabilities_V[0]
  for i in range(1, probabilities_V.size):
    high = max(high, probabilities_V[i])
  for _ in range(BISECTIONS):
    middle = _HALF * (low + high)
    if _sum_from(probabilities_V, middle) >= top_p:
      low = middle
    else:
      high = middle
  kept = _sum_from(probabilities_V, low)
  for i in range(probabilities_V.size):
    p = probabilities_V[i]
    probabilities_V[i] = p / kept if p >= low else np.float32(0)


@once_jit
def _add_up(weights_N):
  """Turn weights into the sums up to each, in place; return all."""
  total = np.float32(0)
  for i in range(weights_N.size):
    total += weights_N[i]
    weights_N[i] = total
  return total


@once_jit
def _count_below(sums_N, wanted):
  """Return how many sums lie below what is wanted, the last one left out."""
  count = np.int32(0)
  for i in range(sums_N.size - 1):
    count += np.int32(sums_N[i] <= wanted)
  return count


@jit
def _to_probabilities(logits_V, temperature, top_p):
  use_all_lanes()
  _softmax(logits_V, max(temperature, _MIN_TEMPERATURE))
  if top_p < _ONE:
    _keep_top_p(logits_V, top_p)


@jit
def draw_class(logits_V, uniform_2, temperature, top_p, columns):
  """Draw a class; the logits are used up.

  Args:
    logits_V: column by column, as in `classes_in_order`.
    uniform_2: draws.
    temperature: see `Draw`.
    top_p: see there.
    columns: their number.

  Returns:
    The place of the class in the logits.
  """
  _to_probabilities(logits_V, temperature, top_p)
  rows, total = logits_V.size // columns, np.float32(0)
  for column in range(columns):
    total += _add_up(logits_V[column * rows : (column + 1) * rows])
  wanted, before, chosen = uniform_2[0] * total, np.float32(0), 0
  for column in range(columns - 1):
    before += logits_V[(column + 1) * rows - 1]
    chosen += np.int32(before <= wanted)
  sums = logits_V[chosen * rows : (chosen + 1) * rows]
  return chosen * rows + _count_below(sums, uniform_2[1] * sums[rows - 1])


@once_jit
def draw_mixture(outputs_O, uniform_2, temperature, top_p):
  """Draw from a mixture of logistics; its logits are used up."""
  count = outputs_O.size // 3
  sums = outputs_O[:count]
  _to_probabilities(sums, temperature, top_p)
  chosen = _count_below(sums, uniform_2[0] * _add_up(sums))
  mean, log_scale = outputs_O[count + chosen], outputs_O[2 * count + chosen]
  scale = math.exp(max(log_scale, _MIN_LOG_SCALE)) * temperature
  u = clip(uniform_2[1], _UNIFORM_MARGIN, _ONE - _UNIFORM_MARGIN)
  drawn = mean + scale * np.float32(math.log(u / (_ONE - u)))
  return clip(drawn, -_ONE, _ONE)
