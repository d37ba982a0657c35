"""Make the sounds that every metric must put in their place.

    original               what was played to the dance
    delayed                the same 0.4 s later, after silence
    shuffled               another clip's original
    metronome_random_phase the true tempo at a random phase
    metronome_true_phase   a click on every true beat
    always_on              a click every 93 ms
    silence                nothing
    noise                  white noise as strong as the original

A metric for which a control beats the original does not hear the dance.
"""

import math

import numpy as np

from dance2wave.errors import InputError
from dance2wave.metrics.statistics import median_period_s

CONTROLS = (
  'original',
  'delayed',
  'shuffled',
  'metronome_random_phase',
  'metronome_true_phase',
  'always_on',
  'silence',
  'noise',
)
DELAY_S = 0.4
ALWAYS_ON_S = 0.093

# The click: a gammatone of order 4 around 1.2 kHz. Nothing sounds before its
# time; its spectrum is 100 dB down at 4 kHz, so that it is the same click at
# any rate from 8 kHz on.
_CLICK_HZ, _CLICK_DECAY_S, _CLICK_LENGTH_S = 1200.0, 0.0012, 0.025
_CLICK_PEAK = 0.5
_MIN_RATE_HZ = 8000


def _click(time_s: np.ndarray) -> np.ndarray:
  """Return the click at times after its start, at most 0.5; 0 before."""
  steps = np.maximum(time_s, 0) / _CLICK_DECAY_S
  envelope = (steps / 3) ** 3 * np.exp(3 - steps)  # 1 at three decays
  return _CLICK_PEAK * envelope * np.sin(2 * np.pi * _CLICK_HZ * time_s)


def click_track(
  clicks_s: np.ndarray, num_samples: int, sample_rate_hz: int
) -> np.ndarray:
  """Return (num_samples,) float32 with a click at each time, in [-1, 1].

  Times count to a fraction of a sample; those outside the sound are left out.
  """
  track_T = np.zeros(num_samples)
  length = math.ceil(_CLICK_LENGTH_S * sample_rate_hz)
  for click_s in clicks_s:
    first = math.ceil(click_s * sample_rate_hz)
    if click_s >= 0 and first < num_samples:
      index = np.arange(first, min(first + length, num_samples))
      track_T[index] += _click(index / sample_rate_hz - click_s)
  return np.clip(track_T, -1, 1).astype(np.float32)


def _delay(original_T: np.ndarray, sample_rate_hz: int) -> np.ndarray:
  """Return the sound 0.4 s later: silence before, the end cut off."""
  gap = min(round(DELAY_S * sample_rate_hz), len(original_T))
  return np.pad(original_T, (gap, 0))[: len(original_T)]


def _other(other_T: np.ndarray | None, num_samples: int) -> np.ndarray:
  """Return another sound, cut or played again and again to the length."""
  if other_T is None or not len(other_T):
    raise InputError(
      'the control shuffled has no other sound; expected the original of '
      'another clip; pass it as other_T'
    )
  return np.resize(np.asarray(other_T, np.float32), num_samples)


def _random_phase_s(
  beats_s: np.ndarray, duration_s: float, rng: np.random.Generator
) -> np.ndarray:
  """Return even clicks of the median tempo, from a uniformly random phase."""
  period_s = median_period_s(beats_s)
  if math.isnan(period_s):
    raise InputError(
      f'the control metronome_random_phase has {len(beats_s)} beats; expected '
      'at least 2 for a tempo; leave it out for this clip'
    )
  return np.arange(rng.uniform(0, period_s), duration_s, period_s)


def _noise(original_T: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  """Return uniform white noise of the original's rms, up to 0.57."""
  power = np.sum(np.square(original_T, dtype=float)) / max(len(original_T), 1)
  noise_T = rng.uniform(-1, 1, len(original_T)) * math.sqrt(3 * power)
  return np.clip(noise_T, -1, 1).astype(np.float32)


def _check(kind: str, original_T: np.ndarray, sample_rate_hz: int) -> None:
  if kind not in CONTROLS:
    raise InputError(
      f'control {kind!r} is unknown; expected one of {", ".join(CONTROLS)}; '
      'correct the name'
    )
  if original_T.ndim != 1 or sample_rate_hz < _MIN_RATE_HZ:
    raise InputError(
      f'cannot make controls of shape {original_T.shape} at {sample_rate_hz} '
      f'Hz; expected (T,) samples of one channel at {_MIN_RATE_HZ} Hz or more; '
      'mix the channels or resample first'
    )


def make_control(
  kind: str,
  *,
  original_T: np.ndarray,
  beats_s: np.ndarray,
  sample_rate_hz: int,
  rng: np.random.Generator,
  other_T: np.ndarray | None = None,
) -> np.ndarray:
  """Return a control sound of the original's length.

  Beat F at 70 ms of what `detect_beats` hears is near 1 for the original and
  the metronome of true phase, 0 for silence, and about chance for the rest
  (`statistics.chance_f`), on average: one metronome of random phase scores
  either about 1 or 0. From 128 to 182 bpm, 0.4 s lie within 70 ms of a whole
  beat, and the delayed sound passes: there only 35 ms tell it from the
  original.

  Args:
    kind: one of CONTROLS.
    original_T: (T,) in [-1, 1], what was played to the dance.
    beats_s: its true beats; the metronome of random phase needs two.
    sample_rate_hz: of both sounds, at least 8000.
    rng: draws the random phase and the noise; other kinds leave it alone.
    other_T: the original of another clip, for the shuffled control alone.

  Returns:
    (T,) float32 in [-1, 1]; a new array.

  Raises:
    InputError: unknown kind, several channels, a rate that is too low, no
      other sound to shuffle with, or no tempo.
  """
  original_T = np.array(original_T, np.float32)
  _check(kind, original_T, sample_rate_hz)
  num_samples = len(original_T)
  duration_s = num_samples / sample_rate_hz
  match kind:
    case 'original':
      return original_T
    case 'delayed':
      return _delay(original_T, sample_rate_hz)
    case 'shuffled':
      return _other(other_T, num_samples)
    case 'silence':
      return np.zeros(num_samples, np.float32)
    case 'noise':
      return _noise(original_T, rng)
    case 'metronome_random_phase':
      clicks_s = _random_phase_s(beats_s, duration_s, rng)
    case 'metronome_true_phase':
      clicks_s = beats_s
    case 'always_on':
      clicks_s = np.arange(0, duration_s, ALWAYS_ON_S)
  return click_track(clicks_s, num_samples, sample_rate_hz)
