"""Where the time of steps goes, and a trace of some of them.

workdir/timing.jsonl   {"step": 300, "step_s": 0.081, "input": 0.004,
                        "logging": 0.001, "saving": 0.02, "compute": 0.975}
workdir/profile/       for TensorBoard's profile page, and Perfetto
"""

import contextlib
import json
import pathlib
import time
from collections.abc import Iterator

import jax
from absl import logging

from dance2wave.errors import InputError
from dance2wave.training.writer import rewind_lines

_KINDS = ('input', 'logging', 'saving')


def parse_profile(text: str | None) -> tuple[int, int] | None:
  """Return the first and the last step of '10:15'.

  Raises:
    InputError: it is not two whole numbers, the first of them 1 or more.
  """
  if text is None:
    return None
  first, _, last = text.partition(':')
  is_right = first.isdecimal() and last.isdecimal()
  if not (is_right and 1 <= int(first) <= int(last)):
    raise InputError(
      f'--profile={text}; expected the first and the last step that are '
      'traced, such as 10:15; change it'
    )
  return int(first), int(last)


class Pace:
  """Times the steps of a run; a context manager, closed at its end.

  `compute` is all that is no input (waiting for a batch that is on its
  devices), no logging (writing figures) and no saving (checkpoints, waiting for
  them, and held-out figures).

  Args:
    workdir: of the run.
    every: steps between lines.
    profile: first and last step that are traced, or None.
    active: False on all processes but the first; nothing is written then.
  """

  def __init__(
    self,
    workdir: pathlib.Path,
    every: int,
    profile: tuple[int, int] | None = None,
    active: bool = True,
  ):
    self._workdir, self._every, self._active = workdir, every, active
    self._profile = profile if active else None
    self._is_tracing = False
    self._steps = 0
    self._spent = dict.fromkeys(_KINDS, 0.0)
    self._began = time.perf_counter()

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self._stop()

  @contextlib.contextmanager
  def spend(self, kind: str) -> Iterator[None]:
    """Time what is within as 'input', 'logging' or 'saving'."""
    began = time.perf_counter()
    try:
      yield
    finally:
      self._spent[kind] += time.perf_counter() - began

  def resume(self, step: int, last: int) -> None:
    """Go on from `step` to `last`: forget lines after `step`.

    A warning is logged if none of these steps is to be traced.
    """
    if self._active:
      rewind_lines(self._workdir / 'timing.jsonl', step)
    if self._profile and not (
      self._profile[0] <= last and step < self._profile[1]
    ):
      logging.warning(
        'No trace is written: --profile=%d:%d holds no step from %d to %d',
        *self._profile,
        step + 1,
        last,
      )

  def begin(self, number: int) -> None:
    """Note that a step begins; start the trace where it is due."""
    if self._is_tracing or not self._profile:
      return
    if self._profile[0] <= number <= self._profile[1]:
      jax.profiler.start_trace(self._workdir / 'profile')
      self._is_tracing = True

  def end(self, number: int, results) -> None:
    """Note that a step has been dispatched; `results` are its arrays."""
    self._steps += 1
    if self._is_tracing and number == self._profile[1]:
      jax.block_until_ready(results)
      self._stop()
    if self._active and number % self._every == 0:
      self._write(number)

  def _write(self, number):
    """Write the shares of the steps since the last line."""
    now = time.perf_counter()
    whole = now - self._began
    shares = {kind: spent / whole for kind, spent in self._spent.items()}
    shares['compute'] = 1.0 - sum(shares.values())
    line = {'step': number, 'step_s': whole / self._steps, **shares}
    self._workdir.mkdir(parents=True, exist_ok=True)
    with (self._workdir / 'timing.jsonl').open('a') as file:
      file.write(json.dumps(line) + '\n')
    self._spent = dict.fromkeys(_KINDS, 0.0)
    self._began, self._steps = now, 0

  def _stop(self):
    if self._is_tracing:
      jax.profiler.stop_trace()
      self._is_tracing = False
