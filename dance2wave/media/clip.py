"""Sound as a value, and the arithmetic between seconds, frames and samples.

    0          start_s            start_s + duration_s
    |-------------|=======================|------------>  seconds
    0      start_s * rate      + round(duration_s * rate)  samples

Every sound of a clip begins at t = 0, when the first video frame is shown.
"""

import dataclasses

import numpy as np

from dance2wave.errors import InputError

# How far, in samples, a time may lie beside the sample that it means: the
# rounding of seconds kept as floats, far below what could move a sample.
_EXACT_SAMPLES = 1e-3


@dataclasses.dataclass(frozen=True, eq=False)
class Waveform:
  """Mono sound, immutable.

  Attributes:
    samples_T: (T,) float32 in [-1, 1]; kept as a read-only view.
    sample_rate_hz: samples per second, a positive integer.

  Raises:
    InputError: another shape or type, NaN, infinity or a value beyond 1.
  """

  samples_T: np.ndarray
  sample_rate_hz: int

  def __post_init__(self):
    check_sample_rate(self.sample_rate_hz)
    samples_T = np.asarray(self.samples_T)
    if samples_T.ndim != 1 or samples_T.dtype.kind != 'f':
      raise InputError(
        f'a waveform has shape {samples_T.shape} and type {samples_T.dtype}; '
        'expected one axis of floats; mix to mono and scale to [-1, 1]'
      )
    samples_T = samples_T.astype(np.float32, copy=False).view()
    peak = float(np.max(np.abs(samples_T), initial=0.0))
    if not peak <= 1.0:  # also true for NaN
      raise InputError(
        f'a waveform reaches {peak}; expected finite samples in [-1, 1]; '
        'scale or clip it'
      )
    samples_T.flags.writeable = False
    object.__setattr__(self, 'samples_T', samples_T)
    object.__setattr__(self, 'sample_rate_hz', int(self.sample_rate_hz))

  @property
  def duration_s(self) -> float:
    """Length in seconds."""
    return len(self.samples_T) / self.sample_rate_hz


def check_sample_rate(sample_rate_hz: int) -> None:
  """Raise InputError unless the rate is a positive whole number."""
  whole = isinstance(sample_rate_hz, int | np.integer)
  if not whole or isinstance(sample_rate_hz, bool) or sample_rate_hz <= 0:
    raise InputError(
      f'sample_rate_hz is {sample_rate_hz!r}; expected a positive whole '
      'number of samples per second, such as 16000; change sample_rate_hz'
    )


def num_samples(duration_s: float, sample_rate_hz: int) -> int:
  """Return the number of samples of a sound that lasts `duration_s`."""
  return round(duration_s * sample_rate_hz)


def fit_samples(samples_T: np.ndarray, n: int) -> np.ndarray:
  """Return exactly `n` samples: the end is cut off or filled with zeros."""
  samples_T = samples_T[:n]
  return np.pad(samples_T, (0, n - len(samples_T)))


def samples_per_frame(sample_rate_hz: int, pose_rate_hz: int) -> int:
  """Return how many samples a pose frame owns; InputError if not whole."""
  if pose_rate_hz <= 0 or sample_rate_hz <= 0 or sample_rate_hz % pose_rate_hz:
    raise InputError(
      f'sample_rate_hz = {sample_rate_hz} is not a positive multiple of '
      f'pose_rate_hz = {pose_rate_hz}; expected a whole number of samples for '
      'each pose frame, such as 16000 and 50; change one of the two'
    )
  return sample_rate_hz // pose_rate_hz


def crop(waveform: Waveform, start_s: float, duration_s: float) -> Waveform:
  """Cut out [start_s, start_s + duration_s).

  Raises:
    InputError: `start_s` lies between two samples, so that sound and pose
      would round to different times, or the crop leaves the waveform.
  """
  rate = waveform.sample_rate_hz
  start = round(start_s * rate)
  if abs(start_s * rate - start) > _EXACT_SAMPLES:
    raise InputError(
      f'a crop starts at {start_s} s, which is sample {start_s * rate:.3f} at '
      f'sample_rate_hz = {rate}; expected a start on a sample, so that sound '
      'and pose are cropped alike; start on a pose frame'
    )
  stop = start + num_samples(duration_s, rate)
  if start < 0 or stop < start or stop > len(waveform.samples_T):
    raise InputError(
      f'a crop of {duration_s} s from {start_s} s leaves the sound of '
      f'{waveform.duration_s:.3f} s; expected a crop inside it; choose an '
      'earlier start or a shorter crop'
    )
  return Waveform(waveform.samples_T[start:stop], rate)
