"""What the band follows of a dance."""

import numpy as np

from dance2wave.datasets.synthetic_dance.movement import Dance, smooth

_SIZE_SIGMA_S, _HANDS_SIGMA_S = 0.45, 0.12


def motion_curves(dance: Dance) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Measure what the band follows.

  Returns:
    time_s (N,), that of the dance.
    size_N: how far the joints stray from where they are on average over about
      a second, relative to the trunk; 0 for standing still, 1 for as big as
      these dancers get.
    hands_N: mean height of both wrists; 0 hanging, 0.5 at the shoulders, 1
      fully raised.
  """
  time_s, joints = dance.time_s, dance.pose3d_NJ3
  hips = 0.5 * (joints[:, 8] + joints[:, 11])
  trunk_m = np.linalg.norm(joints[:, 1] - hips, axis=-1).mean()
  flat = joints.reshape(len(joints), -1) / trunk_m
  mean = smooth(flat, time_s, _SIZE_SIGMA_S)
  spread = smooth(((flat - mean) ** 2).sum(axis=-1), time_s, _SIZE_SIGMA_S)
  size_N = np.clip((np.sqrt(spread / 14.0) - 0.04) / 0.25, 0.0, 1.0)
  heights = []
  for shoulder, elbow, wrist in ((2, 3, 4), (5, 6, 7)):
    arm_m = sum(
      np.linalg.norm(joints[0, a] - joints[0, b])
      for a, b in ((shoulder, elbow), (elbow, wrist))
    )
    heights.append((joints[:, wrist, 1] - joints[:, shoulder, 1]) / arm_m)
  hands_N = np.clip(0.5 + 0.5 * np.mean(heights, axis=0), 0.0, 1.0)
  return time_s, size_N, smooth(hands_N, time_s, _HANDS_SIGMA_S)
