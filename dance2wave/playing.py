"""Poses in, sounds of a trained model out."""

from collections.abc import Sequence

import numpy as np

from dance2wave.options import Options
from dance2wave.pose.features import motion_features
from dance2wave.sampling import together
from dance2wave.sampling.offline import Dance, Generator


def play_poses(
  options: Options,
  generator: Generator,
  poses: Sequence[np.ndarray],
  styles: Sequence[int] = (-1,),
  seed: int | None = None,
  **wanted: Sequence[float],
) -> list[np.ndarray]:
  """Return a sound for each dance, whatever the number of processes.

  Args:
    options: of the model.
    generator: of sounds.
    poses: (F, J, D) each, at the model's pose rate.
    styles: indices that are asked for in turn; -1 asks for none.
    seed: of the draws; that of the options if not given.
    **wanted: further fields of `Dance`, one for each dance.
  """
  hop, rate_hz = options.samples_per_frame, options.pose_rate_hz
  dances = [
    Dance(
      np.asarray(motion_features(pose_FJD, rate_hz), np.float32),
      len(pose_FJD) * hop,
      styles[index % len(styles)],
      **{name: values[index] for name, values in wanted.items()},
    )
    for index, pose_FJD in enumerate(poses)
  ]
  seed = options.sample.seed if seed is None else seed
  return together.generate(generator, dances, seed=seed)
