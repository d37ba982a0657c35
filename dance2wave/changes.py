"""A dance, changed: later, slower, mirrored, still, larger."""

import numpy as np

from dance2wave.datasets import augment

GROWTH = 1.5


def shifted(pose_FJD: np.ndarray, frames: int) -> np.ndarray:
  """Return the dance `frames` later; its first or last pose is held."""
  place_F = np.arange(len(pose_FJD)) - frames
  return pose_FJD[np.clip(place_F, 0, len(pose_FJD) - 1)]


def stretched(pose_FJD: np.ndarray, factor: float) -> np.ndarray:
  """Return the dance `factor` times as long."""
  num_frames = round(len(pose_FJD) * factor)
  place_F = np.minimum(np.arange(num_frames) / factor, len(pose_FJD) - 1)
  low_F = place_F.astype(int)
  high_F = np.minimum(low_F + 1, len(pose_FJD) - 1)
  weight = (place_F - low_F).astype(np.float32)[:, None, None]
  return pose_FJD[low_F] * (1 - weight) + pose_FJD[high_F] * weight


def still(pose_FJD: np.ndarray) -> np.ndarray:
  """Return one pose, held: the first in which the most joints are seen."""
  num_seen_F = (pose_FJD[..., 2] > 0).sum(axis=1)
  return np.repeat(pose_FJD[[num_seen_F.argmax()]], len(pose_FJD), axis=0)


def grown(pose_FJD: np.ndarray, factor: float = GROWTH) -> np.ndarray:
  """Return the dance with every joint `factor` times as far from its mean."""
  mean_JD = pose_FJD[..., :2].mean(axis=0)
  larger = mean_JD + factor * (pose_FJD[..., :2] - mean_JD)
  return np.concatenate([larger, pose_FJD[..., 2:]], axis=-1)


def mirrored(pose_FJD: np.ndarray) -> np.ndarray:
  """Return the dancer in a mirror."""
  return augment.mirror(pose_FJD, np.random.default_rng(0), 1.0)
