"""Time cases side by side: in each round every case runs once."""

import dataclasses
import resource
import statistics
import time
from collections.abc import Callable, Sequence


@dataclasses.dataclass(frozen=True)
class Case:
  """Something that is timed.

  Attributes:
    name: 'group: what'.
    unit: what is counted, such as 'samples'; 's' for a time itself.
    work: how many of them a run does.
    run: does it, and returns when it is done.
    baseline: name of the case that it is compared with.
    ceiling: name of the case that bounds it.
    needs: how many of the ceiling's units one of its own costs.
  """

  name: str
  unit: str
  work: float
  run: Callable[[], object]
  baseline: str = ''
  ceiling: str = ''
  needs: float = 0.0


def processor_s() -> float:
  """Return processor time of all threads and finished children, in seconds."""
  children = resource.getrusage(resource.RUSAGE_CHILDREN)
  return time.process_time() + children.ru_utime + children.ru_stime


def _timed(case: Case) -> dict[str, float]:
  processor, wall = processor_s(), time.perf_counter()
  case.run()
  return {
    'wall_s': time.perf_counter() - wall,
    'processor_s': processor_s() - processor,
  }


def measure(
  cases: Sequence[Case],
  *,
  rounds: int,
  clock: str,
  progress: Callable[[str], None] = lambda name: None,
) -> list[dict]:
  """Return a row for each case.

  Args:
    cases: to be timed; each is run twice before that.
    rounds: at least one.
    clock: 'processor_s', which other programs disturb little, or 'wall_s'
      where something other than this processor works.
    progress: called with the name of what comes next.
  """
  times = {case.name: [] for case in cases}
  for case in cases:
    progress(case.name)
    case.run()
    case.run()
  for number in range(rounds):
    progress(f'round {number + 1} of {rounds}')
    for case in cases:
      times[case.name].append(_timed(case))
  return [_row(case, cases, times, clock) for case in cases]


def _cost(case: Case, times, clock: str) -> list[float]:
  """Return the seconds that a unit of work took in every round."""
  return [max(t[clock], 1e-9) / case.work for t in times[case.name]]


def _row(case, cases, times, clock) -> dict:
  """Return the figures of a case: rates, ratio and share as medians."""
  known = {other.name: other for other in cases}
  cost = _cost(case, times, clock)
  wall = [t['wall_s'] / case.work for t in times[case.name]]
  is_time = case.unit == 's'
  row = {
    'name': case.name,
    'unit': case.unit,
    'value': statistics.median(c if is_time else 1 / c for c in cost),
    'wall_value': statistics.median(w if is_time else 1 / w for w in wall),
    'rounds': [c if is_time else 1 / c for c in cost],
    'is_less_better': is_time,
  }
  if case.baseline:
    plain = _cost(known[case.baseline], times, clock)
    row['ratio'] = statistics.median(p / c for p, c in zip(plain, cost))
  if case.ceiling:
    bound = _cost(known[case.ceiling], times, clock)
    shares = (case.needs * b / c for b, c in zip(bound, cost))
    row['share'] = statistics.median(shares)
  return row


def single_row(name: str, unit: str, value: float) -> dict:
  """Return the row of a figure that is taken once; less is better."""
  return {
    'name': name,
    'unit': unit,
    'value': value,
    'wall_value': value,
    'rounds': [value],
    'is_less_better': True,
  }
