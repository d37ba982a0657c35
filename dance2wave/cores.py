"""The processor cores that this process may use."""

import os

from dance2wave.errors import InputError


def usable() -> int:
  """Return how many there are."""
  if hasattr(os, 'sched_getaffinity'):  # Not on macOS.
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1


def keep_to(count: int) -> None:
  """Use so many of them from now on; call it before jax counts them.

  Raises:
    InputError: there are fewer, or the system cannot tell a process.
  """
  there = usable()
  if not 1 <= count <= there:
    raise InputError(
      f'--cores={count}, but {there} can be used; expected 1 to {there}; '
      'choose fewer'
    )
  if count == there:
    return
  if not hasattr(os, 'sched_setaffinity'):
    raise InputError(
      f'--cores={count} on a system that keeps no process to some of its '
      'cores; expected Linux; leave --cores out'
    )
  os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-count:])
