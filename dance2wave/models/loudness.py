"""What the WaveNet does not draw: how loud a passage is.

    sound = gain of the loudness x levelled sound

The WaveNet learns and draws levelled sound; the pose transformer says how loud
it is to be played. A WaveNet of its own accord copies the loudness of its
past, and follows the movement little.
"""

import jax.numpy as jnp

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


def widen(gain_FB, loudness_range, middle):
  """Let the loudness go `loudness_range` times as far from the middle.

  What is said is the mean of what may be; it varies less than loudness does
  (the global variance of Toda and Tokuda 2007).

  Args:
    gain_FB: of levelled sound; numpy's or JAX's.
    loudness_range: 1 changes nothing.
    middle: loudness of 0 to 1 that stays as it is.
  """
  still = 10.0 ** (_RANGE_DB * (middle - _REFERENCE) / 20.0)
  return still * (gain_FB / still) ** loudness_range


def gain_of_samples(loudness_BF, samples_per_frame):
  """Interpolate the gain linearly: (B, F + 1) to (B, F x samples_per_frame)."""
  frames = gain(loudness_BF)
  weight = jnp.arange(samples_per_frame) / samples_per_frame
  now, then = frames[:, :-1, None], frames[:, 1:, None]
  return (now + (then - now) * weight[None, None]).reshape(len(frames), -1)
