"""Where the decoded pieces of a sound lie on the picture's clock.

    stamps   |0.000  |0.023  |0.046        |0.139  |0.163   packets were lost
    pieces   |-------|-------|-------|      -------|-------|

Time stamps are rounded, samples are not: pieces are joined as long as their
stamps agree with that, and placed anew from where they no longer do.
"""

import numpy as np
from absl import logging

from dance2wave.media import clip, video
from dance2wave.media.container import SLACK_S

# Stamps differ from joined pieces by a millisecond where a container rounds
# them, and by 10 ms for one block of vorbis wherever the size of its blocks
# changes. What lasts is no such error.
_JOIN_S = 0.005
_LASTING_S = 0.25


def place(pieces: list, rate_hz: int, info: video.VideoInfo) -> np.ndarray:
  """Lay the pieces on the picture's clock; log gaps, and if the ends differ.

  Args:
    pieces: [(time_s or None, mono_T)], one at least, in the file's order.
    rate_hz: their sample rate.
    info: of the picture.

  Returns:
    (round(duration_s * rate_hz),) samples, zeros where there is no sound.
  """
  n = clip.num_samples(info.duration_s, rate_hz)
  samples_T = np.zeros(n, np.float32)
  end, num_jumps = None, 0
  starts = _starts(pieces, rate_hz, info.start_s)
  for start, (_, mono_T) in zip(starts, pieces):
    num_jumps += end not in (None, start)
    end = start + len(mono_T)
    inside_T = mono_T[max(0, -start) :][: max(0, n - max(0, start))]
    samples_T[max(0, start) :][: len(inside_T)] = inside_T
  if num_jumps:
    logging.warning('%s: its sound has %d gaps', info.path, num_jumps)
  report_mismatch(info.path, end / rate_hz, info.duration_s)
  return samples_T


def _starts(pieces: list, rate_hz: int, zero_s: float) -> list[int]:
  """Return the sample, counted from zero_s, at which each piece begins.

  A piece follows the one before, unless the stamps of all pieces of the next
  _LASTING_S are early, or all late, by more than _JOIN_S.
  """
  sizes = [len(mono_T) for _, mono_T in pieces]
  joined_P = np.cumsum([0, *sizes[:-1]])
  # By how much a piece is later than it would be if all were joined. In
  # float64: damaged stamps do not fit into integers.
  offset_P = np.zeros(len(pieces))
  for k, (time_s, _) in enumerate(pieces):
    if time_s is not None:
      offset_P[k] = np.rint((time_s - zero_s) * rate_hz) - joined_P[k]
    elif k:
      offset_P[k] = offset_P[k - 1]
  last_P = np.searchsorted(joined_P, joined_P + _LASTING_S * rate_hz)
  starts, offset = [], offset_P[0]
  for k, last in enumerate(last_P):
    late = offset_P[k:last] - offset
    if max(late.min(), -late.max()) > _JOIN_S * rate_hz:
      offset = offset_P[k]
    starts.append(int(joined_P[k] + offset))
  return starts


def report_mismatch(path, sound_s: float, picture_s: float) -> None:
  """Log a sound that is clearly longer or shorter than its picture."""
  if abs(sound_s - picture_s) > SLACK_S:
    logging.warning(
      '%s: the sound ends at %.3f s and the picture at %.3f s; the sound is %s',
      path,
      sound_s,
      picture_s,
      'cut' if sound_s > picture_s else 'filled with silence',
    )
