"""How ears weigh frequencies: the filters of ITU-R BS.1770-5, tables 1, 2."""

import numpy as np

RATE_HZ = 48_000  # of the filters
_SHELF = (1.53512485958697, -2.69169618940638, 1.19839281085285)
_SHELF += (1.0, -1.69065929318241, 0.73248077421585)
_HIGH_PASS = (1.0, -2.0, 1.0, 1.0, -1.99004745483398, 0.99007225036621)
_FILTERS = (_SHELF, _HIGH_PASS)  # of the head, then of low tones


def weigh(audio_T: np.ndarray) -> np.ndarray:
  """Return the K-weighted samples of a sound at `RATE_HZ`."""
  import scipy.signal

  return scipy.signal.sosfilt(_FILTERS, audio_T)


def weight_of_power(frequency_hz: np.ndarray) -> np.ndarray:
  """Return by how much K-weighting multiplies the power at frequencies."""
  delay = np.exp(-2j * np.pi * np.asarray(frequency_hz) / RATE_HZ)
  gain = 1.0
  for section in _FILTERS:
    ahead, back = (
      np.polynomial.polynomial.polyval(delay, part)
      for part in (section[:3], section[3:])
    )
    gain = gain * ahead / back
  return np.abs(gain) ** 2
