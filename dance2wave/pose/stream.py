"""Local functions over a stream: how the input is cut can never be seen."""

from collections.abc import Callable

import numpy as np

MIN_STEP_S = 2e-6
_SLACK_S = 1e-6

LocalFunction = Callable[[np.ndarray, np.ndarray], np.ndarray]


class LocalStream:
  """Run a function of a bounded neighbourhood in time, chunk by chunk.

      ...... past_s ......|  pushed, not final  |
      [ context, kept     | t <= newest-future_s | t > newest-future_s ]
                            emitted by this push   waits for the next

  Times are at least `MIN_STEP_S` apart, so that what has not come yet lies
  beyond the reach of what is emitted.

  Args:
    function: maps (value_F..., time_F) to one value per frame. Its value at a
      frame may depend on frames from `past_s` before to `future_s` after it
      only, and elementwise, so that a frame's bits do not depend on how many
      others are computed with it.
    past_s: context kept, in units of the times.
    future_s: look-ahead, in units of the times.
  """

  def __init__(
    self, function: LocalFunction, past_s: float, future_s: float
  ) -> None:
    self._function = function
    self._past_s = past_s + _SLACK_S
    self._future_s = future_s - _SLACK_S
    self._value: np.ndarray | None = None
    self._time = np.zeros(0)
    self._num_emitted = 0  # Frames at the front of the buffer.

  def push(
    self, value: np.ndarray, time: np.ndarray, *, is_last: bool = False
  ) -> tuple[np.ndarray, np.ndarray]:
    """Take (F, ...) values at (F,) times; return those now final."""
    if self._value is None:
      self._value = value
    elif len(value):
      self._value = np.concatenate([self._value, value])
    self._time = np.concatenate([self._time, time])
    begin, end = self._num_emitted, len(self._time)
    if end and not is_last:
      final_s = self._time[-1] - self._future_s
      end = int(np.searchsorted(self._time, final_s, 'right'))
    end = max(begin, end)
    if begin == end:
      return self._value[:0], self._time[:0]
    result = self._function(self._value, self._time)[begin:end]
    result_time = self._time[begin:end]
    self._forget(end)
    return result, result_time

  def _forget(self, end: int) -> None:
    next_time = self._time[min(end, len(self._time) - 1)]
    start = int(np.searchsorted(self._time, next_time - self._past_s))
    self._value, self._time = self._value[start:], self._time[start:]
    self._num_emitted = end - start
