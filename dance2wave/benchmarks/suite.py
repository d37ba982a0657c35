"""Which cases there are, quick and in full."""

import dataclasses
import hashlib
import json
from collections.abc import Callable

import jax
import numpy as np

from dance2wave.benchmarks import machine, rounds, surroundings, wave


@dataclasses.dataclass(frozen=True)
class Plan:
  """How much is measured.

  Attributes:
    model: key of `wave.SIZES`.
    batches: clips that are sampled at once.
    frames: of each, 20 ms at 'wn30'.
    lengths_s: of single clips.
    training: batches of training steps.
    training_frames: of each.
    side: of the matrices that show the machine's ceiling.
    crops: batches of input a round.
    dance_s: of the dance that is sampled whole and as a stream.
    memory_s: lengths of which the memory is measured.
    rounds: of everything.
  """

  model: str
  batches: tuple[int, ...]
  frames: int
  lengths_s: tuple[float, ...]
  training: tuple[int, ...]
  training_frames: int
  side: int
  crops: int
  dance_s: float
  memory_s: tuple[float, ...]
  rounds: int = 5


FULL = Plan(
  model='wn30',
  batches=(1, 8, 64),
  frames=10,
  lengths_s=(1, 10, 60),
  training=(1, 8),
  training_frames=13,
  side=2048,
  crops=10,
  dance_s=20.0,
  memory_s=(1, 10, 60),
)
QUICK = dataclasses.replace(
  FULL,
  frames=1,
  lengths_s=(0.1, 0.2, 0.4),
  training=(1,),
  side=1024,
  crops=2,
  dance_s=2.0,
  memory_s=(10,),
)


def describe(plan: Plan, config: dict) -> dict:
  """Return what is known of a result before its rows: of what, on what."""
  is_cpu = jax.default_backend() == 'cpu'
  text = json.dumps(config, sort_keys=True)
  return {
    'machine': machine.describe(),
    'clock': 'processor_s' if is_cpu else 'wall_s',
    'rounds': plan.rounds,
    'plan': dataclasses.asdict(plan),
    'config': hashlib.sha256(text.encode()).hexdigest()[:12],
  }


def run(
  plan: Plan,
  config: dict,
  *,
  video: str | None = None,
  progress: Callable[[str], None] = lambda name: None,
) -> dict:
  """Measure everything; return what `table` prints and writes.

  Args:
    plan: how much.
    config: of the model whose dances, stream and memory are measured.
    video: of a dancer, in which poses are to be found.
    progress: called with the name of what comes next.
  """
  described = describe(plan, config)
  bench = wave.Bench(plan.model)
  lengths = wave.lengths(bench, plan.lengths_s)
  cases = [
    *machine.ceilings(bench.read_bytes, plan.side),
    *wave.sampling(bench, plan.batches, plan.frames),
    *lengths,
    *wave.training(bench, plan.training, plan.training_frames),
    *surroundings.live(config, plan.dance_s),
    *surroundings.reading(plan.crops),
    *surroundings.poses(video),
    *surroundings.start_up(),
  ]
  rows = rounds.measure(
    cases, rounds=plan.rounds, clock=described['clock'], progress=progress
  )
  progress('memory')
  rows += [_linearity(rows, lengths)]
  rows += surroundings.memory(config, plan.memory_s)
  return described | {'rows': rows}


def _linearity(rows, cases) -> dict:
  """Return a row that says how far cost is from linear in a clip's length."""
  by_name = {row['name']: row for row in rows}
  work = np.array([case.work for case in cases], float)
  cost = work / np.array([by_name[case.name]['value'] for case in cases])
  fitted = np.polyval(np.polyfit(work, cost, 1), work)
  share = np.square(cost - fitted).sum() / np.square(cost - cost.mean()).sum()
  return rounds.single_row('length: cost that is not linear', '1 - R²', share)
