"""Put a sequence back on the time of its music.

    frame     0  3          11         19         27  ...  of the grid of units
                 |          |          |          |
    seconds      b[j]       b[j+1]     b[j+2]     b[j+3]   beats that are heard

Units were stretched beat by beat. Nothing needs to be stretched again to undo
that: each frame gets the time at which its fraction of the beat was danced,
and the sound stays as it is. Which beat of the chunk was the sequence's first
is not in the data. A chunk in which the sequence fits at one beat only settles
it; `max_placements` says how many are allowed.
"""

import dataclasses
import functools
import pathlib

import numpy as np

from dance2wave.datasets.dancing2music import units
from dance2wave.errors import InputError
from dance2wave.media.audio import read_audio
from dance2wave.metrics.beat_detector import detect_beats

SAMPLE_RATE_HZ = 16_000
_SLACK_S = 0.1  # by which a sequence may leave its chunk; silence fills it
_LENGTH_SLACK_S = 0.5  # between a chunk's sound and its features


@dataclasses.dataclass(frozen=True, eq=False)
class Sound:
  """The sound of a chunk.

  Attributes:
    audio_T: (T,) float32 at SAMPLE_RATE_HZ.
    beats_s: as they are heard.
  """

  audio_T: np.ndarray
  beats_s: np.ndarray

  @property
  def duration_s(self) -> float:
    """Length in seconds."""
    return len(self.audio_T) / SAMPLE_RATE_HZ


@functools.lru_cache(maxsize=4)  # The sequences of a chunk are neighbours.
def read_sound(path: pathlib.Path) -> Sound:
  """Read a sound of any format and find its beats.

  Raises:
    InputError: it cannot be read, or is silent.
  """
  audio_T = read_audio(path, SAMPLE_RATE_HZ).samples_T
  if not np.any(audio_T):
    raise InputError(
      f'{path} is silent; expected the music of its chunk; replace the file'
    )
  return Sound(audio_T, np.asarray(detect_beats(audio_T, SAMPLE_RATE_HZ)))


def frame_times(beats_s: np.ndarray) -> np.ndarray:
  """Return the times of the frames of a sequence with these beats, and its end.

  Linear between beats, which are eight frames apart; before the first and
  after the last the nearest interval goes on.

  Args:
    beats_s: (4 * K,) one for every beat of the sequence.

  Returns:
    (K * 32 + 1,) seconds.
  """
  step = units.FRAMES_PER_BEAT
  frames = units.FIRST_BEAT + step * np.arange(-1, len(beats_s) + 1)
  before_s, after_s = 2 * beats_s[0] - beats_s[1], 2 * beats_s[-1] - beats_s[-2]
  known_s = np.concatenate([[before_s], beats_s, [after_s]])
  return np.interp(np.arange(len(beats_s) * step + 1), frames, known_s)


def placements(num_beats: int, sound: Sound) -> list[np.ndarray]:
  """Return the times of the frames for every beat that can be the first."""
  starts = range(len(sound.beats_s) - num_beats + 1)
  all_s = (frame_times(sound.beats_s[i : i + num_beats]) for i in starts)
  end_s = sound.duration_s + _SLACK_S
  return [t for t in all_s if t[0] >= -_SLACK_S and t[-1] <= end_s]


def place(
  num_units: int, sound: Sound, max_placements: int
) -> tuple[np.ndarray, int]:
  """Return the times of a sequence's frames and how many places there were.

  The earliest of several is taken.

  Raises:
    InputError: it fits nowhere, or in more places than are allowed.
  """
  num_beats = len(units.beat_frames(num_units))
  found = placements(num_beats, sound)
  if not found:
    raise InputError(
      f'{len(sound.beats_s)} beats are heard in {sound.duration_s:.2f} s of '
      f'sound; expected room for the {num_beats} of the sequence; check that '
      'it is the sound of the whole chunk'
    )
  if len(found) > max_placements:
    raise InputError(
      f'the sequence fits the beats of its sound in {len(found)} places; '
      f'expected at most {max_placements}, because nothing says which is '
      'right; to take the earliest, give a config with a larger max_placements'
    )
  return found[0], len(found)


def check_length(sound: Sound, num_rows: int) -> None:
  """Raise InputError unless a sound lasts as long as its chunk's features."""
  expected_s = num_rows / units.POSE_RATE_HZ
  if abs(sound.duration_s - expected_s) > _LENGTH_SLACK_S:
    raise InputError(
      f'the sound lasts {sound.duration_s:.2f} s; expected {expected_s:.2f} s, '
      'the length of its features; cut the chunk out of the video'
    )


def cut(sound: Sound, start_s: float, duration_s: float) -> np.ndarray:
  """Return the samples from `start_s` on, silence outside of the sound."""
  start = round(start_s * SAMPLE_RATE_HZ)
  num_samples = round(duration_s * SAMPLE_RATE_HZ)
  wide_T = np.pad(sound.audio_T, (max(-start, 0), num_samples))
  return wide_T[max(start, 0) :][:num_samples]
