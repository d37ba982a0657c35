"""Signals that ask a run to stop, held back until its step is saved."""

import contextlib
import signal
import threading
from collections.abc import Iterator

import jax
from jax._src.distributed import global_state


class Held:
  """What has been asked for.

  Attributes:
    signal: the first that arrived, or None.
  """

  def __init__(self):
    self.signal: signal.Signals | None = None

  def note(self, number: int, _) -> None:
    """Remember a signal; a second one changes nothing."""
    self.signal = self.signal or signal.Signals(number)


@contextlib.contextmanager
def _heard_by_jax() -> Iterator[None]:
  """Leave SIGTERM to JAX, which tells the other processes, and then to us.

  `hosts.start` does without this: outside of the loop nobody would ask JAX
  whether a signal has come.
  """
  before = signal.getsignal(signal.SIGTERM)
  jax.config.update('jax_enable_preemption_service', True)
  global_state.initialize_preemption_sync_manager()
  try:
    yield
  finally:
    signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def hold_signals() -> Iterator[Held]:
  """Note SIGTERM and SIGINT instead of dying of them.

  Only the main thread may do so; in any other they do what they did. Of
  several processes none may stop alone: JAX hears SIGTERM and tells the
  others, see `hosts.preempted`.
  """
  held = Held()
  if jax.process_count() > 1:
    with _heard_by_jax():
      yield held
    return
  if threading.current_thread() is not threading.main_thread():
    yield held
    return
  before = {
    number: signal.signal(number, held.note)
    for number in (signal.SIGTERM, signal.SIGINT)
  }
  try:
    yield held
  finally:
    for number, handler in before.items():
      # One that was not set from Python cannot be read, nor set again.
      signal.signal(number, handler or signal.SIG_DFL)
