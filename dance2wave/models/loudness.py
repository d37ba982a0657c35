"""What the WaveNet does not draw: how loud a passage is.

    sound = gain of the loudness x levelled sound

The WaveNet learns and draws levelled sound; the pose transformer says how loud
it is to be played. A WaveNet of its own accord copies the loudness of its
past, and follows the movement little.
"""

import jax.numpy as jnp
import numpy as np

_RANGE_DB = 60.0  # from loudness 0 to 1
# Levelled sound has -20 dB, so that strokes have room; what is softer than
# -40 dB is not raised to it.
_REFERENCE, _SOFTEST = 2 / 3, 1 / 3


def level_db(loudness):
  """Return the level in dB of full scale of a loudness of 0 to 1."""
  return _RANGE_DB * (loudness - 1.0)


def gain(loudness):
  """Return the gain of levelled sound that is to have a loudness of 0 to 1."""
  above_db = _RANGE_DB * (jnp.maximum(loudness, _SOFTEST) - _REFERENCE)
  return 10.0 ** (above_db / 20.0)


def gain_of_samples(loudness_BF, samples_per_frame):
  """Interpolate the gain linearly: (B, F + 1) to (B, F x samples_per_frame)."""
  frames = gain(loudness_BF)
  weight = jnp.arange(samples_per_frame) / samples_per_frame
  now, then = frames[:, :-1, None], frames[:, 1:, None]
  return (now + (then - now) * weight[None, None]).reshape(len(frames), -1)


def k_weight(frequency_hz):
  """Return by how much loudness counts the power at a frequency.

  The two filters of ITU-R BS.1770-5, annex 1, as their analogue prototypes: a
  shelf of 4 dB above 1.7 kHz, the head's, and a high pass at 38 Hz.
  """
  hz = np.asarray(frequency_hz, np.float64)
  s = 1j * hz / 1681.97
  high = 10 ** (3.99984 / 20)
  shelf = high * s**2 + high**0.49967 / 0.70718 * s + 1
  shelf = shelf / (s**2 + s / 0.70718 + 1)
  s = 1j * hz / 38.1355
  return np.abs(shelf * s**2 / (s**2 + s / 0.50033 + 1)) ** 2
