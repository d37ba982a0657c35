"""The matrices that a sample reads, in fewer bytes.

One clip is drawn as fast as its WaveNet's weights are read, sample by sample.
As whole numbers of one byte they are a quarter of the size and lie nearer to
the processor; each output has a scale of its own,

    weight = scale x n,   n in -127 .. 127,   scale = max |weight| / 127

(the "per-channel" and symmetric scheme of Krishnamoorthi 2018, arXiv
1806.08342, section 2.3). Activations stay as exact as float32 has them (as
whole numbers of 24 bits where bytes are multiplied as bytes, see `dots.py`).
Engines draw the same samples of them, because those that do not read bytes
read `rounded`.
"""

import jax
import numpy as np

_MOST = 127


def to_bytes(weights_IO):
  """Return whole numbers and scales of matrices of (..., inputs, outputs).

  Args:
    weights_IO: float32; a column with a NaN or infinity has such a scale.

  Returns:
    int8 (..., I, O), and float32 (..., 1, O).
  """
  weights_IO = np.asarray(weights_IO, np.float32)
  scale_O = np.abs(weights_IO).max(axis=-2, keepdims=True) / np.float32(_MOST)
  is_usable = np.isfinite(scale_O) & (scale_O > 0)
  numbers = np.round(weights_IO / np.where(is_usable, scale_O, 1))
  return np.where(is_usable, numbers, 0).astype(np.int8), scale_O


def rounded(params, weights):
  """Return a model's parameters as engines that read float32 need them.

  Args:
    params: nested dict of arrays, of a `Dance2Wave`.
    weights: 'float32' or 'int8'.
  """
  if weights == 'float32':
    return params
  wave = dict(params['wave'])
  layers = wave['residual'].shape[0]
  for name in ('taps', 'residual'):
    wave[name] = _round(wave[name])
  for name, count in (('skip', layers), ('hidden', 1), ('logits', 1)):
    wave[name] = wave[name] | {'kernel': _round(wave[name]['kernel'], count)}
  return params | {'wave': wave}


def _round(weights_IO, count=1):
  """Round matrices, or each of so many that lie one above the other."""
  shape = weights_IO.shape
  matrices = np.asarray(weights_IO)
  if count > 1:
    matrices = matrices.reshape(count, -1, shape[-1])
  numbers, scale_O = to_bytes(matrices)
  result = (numbers * scale_O).reshape(shape)
  return jax.device_put(result, getattr(weights_IO, 'sharding', None))
