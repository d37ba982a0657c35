"""Dances that several processes share: each plays some, all hear all."""

from collections.abc import Callable, Sequence

import numpy as np

from dance2wave.sampling.offline import Dance, Generator
from dance2wave.training import hosts


def generate(
  generator: Generator,
  dances: Sequence[Dance],
  *,
  seed: int,
  progress: Callable[[float], None] | None = None,
) -> list[np.ndarray]:
  """Return a waveform for every dance, whatever the number of processes.

  Every process calls it with the same dances. A clip's sound depends on the
  seed and on its place among them, as in `Generator.generate`.

  Args:
    generator: of this process.
    dances: all of them.
    seed: of the draws.
    progress: called with the share of its own dances that is done.
  """
  rows = hosts.share(len(dances))
  mine = generator.generate(dances, seed=seed, progress=progress, rows=rows)
  return hosts.gather(mine, [dance.num_samples for dance in dances])
