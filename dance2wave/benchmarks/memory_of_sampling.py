"""What a process of its own does to find how much memory sampling takes."""

import json
import pathlib
import re
import resource

import numpy as np

from dance2wave.benchmarks.surroundings import make_generator
from dance2wave.pose.features import MOTION_DIM
from dance2wave.sampling.offline import Dance


def _peak_mb() -> float:
  """Return the most memory that was resident since this program began.

  Linux hands `ru_maxrss` on from the process that started this one.
  """
  status = pathlib.Path('/proc/self/status')
  if status.exists():
    found = re.search(r'VmHWM:\s*(\d+) kB', status.read_text())
    return int(found[1]) / 1e3
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def report(config: str, length_s: float) -> None:
  """Sample one clip of random motion; print the MB above the imports.

  Args:
    config: as JSON.
    length_s: of the clip.
  """
  before_mb = _peak_mb()
  generator = make_generator(json.loads(config))
  options = generator.options
  frames = round(length_s * options.pose_rate_hz)
  motion = np.random.default_rng(0).normal(size=(frames, MOTION_DIM))
  samples = round(length_s * options.sample_rate_hz)
  generator.generate([Dance(motion.astype(np.float32), samples)])
  print(_peak_mb() - before_mb)
