"""Ends a task that makes no progress, whatever a decoder does.

|--packet--packet--packet----------- seconds -----------|   Stalled
                                                        |-- _GRACE_S --|
a loop in C that never comes back to Python: the process ends here ----^
"""

import contextlib
import faulthandler
import functools
import os
import signal
import time
from collections.abc import Iterator

_GRACE_S = 10.0
_AGAIN_S = 1.0  # the clock is not set anew more often than this


class Stalled(BaseException):
  """A task made no progress for too long; no `except Exception` hides it."""


_limit_s: float | None = None
_last_s = 0.0


def _ring(*_) -> None:
  raise Stalled(f'no progress for {_limit_s:g} s')


@functools.cache
def _nowhere() -> int:
  return os.open(os.devnull, os.O_WRONLY)


def _wind(seconds: float) -> None:
  global _last_s
  _last_s = time.monotonic()
  signal.setitimer(signal.ITIMER_REAL, seconds)
  # A thread in C, which needs nothing of Python, ends the process.
  faulthandler.dump_traceback_later(
    seconds + _GRACE_S, exit=True, file=_nowhere()
  )


@contextlib.contextmanager
def watching(seconds: float) -> Iterator[None]:
  """Raise `Stalled` after `seconds` in which nobody called `progress`.

  For the main thread of a process of one's own, on a system with signals: if
  Python does not come back within another 10 s, the process ends.
  """
  global _limit_s
  before = signal.signal(signal.SIGALRM, _ring)
  _limit_s = seconds
  _wind(seconds)
  try:
    yield
  finally:
    signal.setitimer(signal.ITIMER_REAL, 0)
    faulthandler.cancel_dump_traceback_later()
    signal.signal(signal.SIGALRM, before)
    _limit_s = None


def progress() -> None:
  """Tell that something has been read; costs nothing where nobody watches."""
  if _limit_s is not None and time.monotonic() - _last_s > _AGAIN_S:
    _wind(_limit_s)
