"""Where the clips of a sequence begin and end.

    sequence   0 ------------------------------------------ 16.0 s
    whole      [----------- #0 -----------[----------- #1 ---------]
    6 s        [---- seg1 ----[---- seg2 ----]
                                          [---- seg3 ----]   moved back

Segments are numbered from 1 and begin at (number - 1) * window_s, as long as
at least 2 s of the sequence are left; one that would stick out is moved back
until it ends with the sequence. So a sequence of 16 beats has as many segments
as the published lists of D2M-GAN (2 s, 86 in test) and CDCD (6 s, 36 in test)
give it.
"""

import dataclasses
import itertools
import math

import numpy as np

from dance2wave.datasets.video_clips import MIN_CLIP_S, cut_times
from dance2wave.errors import InputError
from dance2wave.pose.track import PoseTrack

_LEAST_REST_S = 2.0
_SLACK_S = 0.1  # What a sequence of 16 beats may be shorter by its last frames.
_SAME_S = 1e-3  # Far less than a frame, far more than rounding.


@dataclasses.dataclass(frozen=True)
class Window:
  """A part of a sequence.

  Attributes:
    label: what its clip adds to the name of the sequence.
    start_s: the time of a pose frame.
    end_s: where it ends.
  """

  label: str
  start_s: float
  end_s: float


def whole_windows(track: PoseTrack, total_s: float) -> list[Window]:
  """Cut [0, total_s] as video clips are cut, into parts of about 10 s at most.

  Raises:
    InputError: there is less than MIN_CLIP_S.
  """
  if total_s < MIN_CLIP_S:
    raise InputError(
      f'{total_s:.2f} s of poses and sound; expected at least {MIN_CLIP_S:g} '
      's; fetch them again'
    )
  pairs = itertools.pairwise(cut_times(track, total_s).tolist())
  return [Window(f'#{k}', start, end) for k, (start, end) in enumerate(pairs)]


def num_segments(total_s: float, window_s: float) -> int:
  """Return how many segments a sequence has; 0 if it is shorter than one."""
  if total_s < window_s - _SLACK_S:
    return 0
  least_s = min(window_s, _LEAST_REST_S)
  return math.floor((total_s - least_s + _SLACK_S) / window_s) + 1


def segment_windows(
  track: PoseTrack,
  total_s: float,
  window_s: float,
  numbers: tuple[int, ...] | None,
) -> list[Window]:
  """Return segments of equal length that begin at pose frames.

  Args:
    track: poses of the sequence.
    total_s: where it ends.
    window_s: of each segment.
    numbers: which, from 1; None for all.

  Raises:
    InputError: the sequence is too short for one, or for a listed one.
  """
  count = num_segments(total_s, window_s)
  numbers = range(1, count + 1) if numbers is None else numbers
  if not count or max(numbers) > count:
    raise InputError(
      f'{total_s:.2f} s have {count} segments of {window_s:g} s; expected '
      f'{f"a segment {max(numbers)}" if count else "at least one"}; fetch it '
      'again, or correct the list'
    )
  windows = []
  for number in numbers:
    wanted_s = max(0.0, min((number - 1) * window_s, total_s - window_s))
    time_s = track.pose_time_s
    frame = np.searchsorted(time_s, wanted_s + _SAME_S, side='right') - 1
    start_s = float(time_s[frame])
    windows.append(Window(f'_seg{number}', start_s, start_s + window_s))
  return windows


def frames_inside(time_s: np.ndarray, window: Window) -> slice:
  """Return the frames of a window: its start belongs to it, its end does not.

  Times that differ by rounding are the same.
  """
  edges_s = np.array([window.start_s, window.end_s]) - _SAME_S
  return slice(*np.searchsorted(time_s, edges_s).tolist())
