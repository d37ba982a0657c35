"""Several dances of a user: read each by itself, drawn together, written.

    jobs ──> rounds ──> read ──> of like length ──draw──> write, in order

A step of drawing reads all weights, whatever the number of clips: together
they cost less. What is bad about one dance ends that dance alone.
"""

import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures

import numpy as np

from dance2wave import cores
from dance2wave.errors import InputError, error_line
from dance2wave.sampling.files import Job
from dance2wave.sampling.offline import Dance, Generator

SIZE = 8
# Clips that are drawn together are as long as the longest of them.
_MIN_SHARE_OF_LONGEST = 0.7
_MAX_SAMPLES = 16_000 * 60 * 10


def plan_rounds(
  jobs: Sequence[Job], num_devices: int, is_accelerator: bool
) -> list[list[Job]]:
  """Split jobs, in order, into those that are drawn together.

  On processors a video has a round of its own: to find its poses takes longer
  than to draw it, and the user would wait long for the first of several.
  """
  rounds = []
  for has_poses, some in itertools.groupby(jobs, lambda job: bool(job.poses)):
    some = list(some)
    size = SIZE * num_devices if has_poses or is_accelerator else 1
    rounds += [some[i : i + size] for i in range(0, len(some), size)]
  return rounds


def alike(lengths: Sequence[int], num_devices: int = 1) -> list[list[int]]:
  """Group clips so that little is drawn after the end of any.

  Args:
    lengths: in samples.
    num_devices: over which a group is spread; what they hold is bounded.

  Returns:
    Indices of the clips of each group.
  """
  groups = []
  for clip in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
    longest = lengths[groups[-1][0]] if groups else 0
    is_alike = lengths[clip] >= _MIN_SHARE_OF_LONGEST * longest
    if (
      groups
      and is_alike
      and longest * (len(groups[-1]) + 1) <= _MAX_SAMPLES * num_devices
    ):
      groups[-1].append(clip)
    else:
      groups.append([clip])
  return groups


def sample(
  jobs: Sequence[Job],
  generator: Generator,
  read: Callable[[Job], tuple[Dance, object]],
  write: Callable[[Job, np.ndarray, object], str],
  seed: int = 0,
) -> Iterator[str]:
  """Yield what is written of each job, in order.

  A dance sounds as it does alone, whatever the others are: on processors to the
  bit.

  Args:
    jobs: of this process.
    generator: draws them.
    read: returns the dance of a job and what else `write` needs of it.
    write: writes the result of a job and returns a line about it.
    seed: of the draws.

  Raises:
    InputError: at the end, how many were bad; at once, if there is one job.
      Any other error is raised after those beside it have ended.
  """
  bad = 0
  for some in plan_rounds(
    jobs, generator.num_devices, generator.is_on_accelerator
  ):
    for said in _one_round(some, generator, read, write, seed):
      if not isinstance(said, InputError):
        yield said
      elif len(jobs) == 1:
        raise said
      else:
        print(error_line(said), file=sys.stderr, flush=True)
        bad += 1
  if bad:
    raise InputError(
      f'{bad} of {len(jobs)} inputs were not sampled; expected dances that can '
      'be read; correct those named above and sample them again'
    )


def _one_round(jobs, generator, read, write, seed):
  """Return, in order, the line of each job or what is wrong with it."""
  results = _each(_tried(read), jobs, generator.num_devices)
  good = [i for i, result in enumerate(results) if _is_good(result)]
  sounds = {}
  lengths = [results[i][0].num_samples for i in good]
  for group in alike(lengths, generator.num_devices):
    rows = [good[i] for i in group]
    dances = [results[row][0] for row in rows]
    drawn = generator.generate(dances, seed=seed, as_if_alone=True)
    sounds |= zip(rows, drawn)

  def finish(row):
    if _is_good(results[row]):
      return _tried(write)(jobs[row], sounds.pop(row), results[row][1])
    return results[row]

  return _each(finish, range(len(jobs)), cores.usable())


def _is_good(result):
  return not isinstance(result, InputError)


def _tried(call):
  def tried(*args):
    try:
      return call(*args)
    except InputError as error:
      return error

  return tried


def _each(call, items, count):
  if count == 1 or len(items) == 1:  # In this thread, which hears Ctrl-C.
    return [call(item) for item in items]
  with futures.ThreadPoolExecutor(count) as threads:
    return list(threads.map(call, items))
