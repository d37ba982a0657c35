"""Means and deviations, recomputed and compared with those in data/stats.

The original code takes (x - mean) / std with one mean and one deviation for
each of the 28 numbers of a frame: of a pose the 14 x 2 pixels, row by row; of a
sound the 28 features. It does so before it looks at -1, the mark of a missing
joint, so its own statistics may have counted -1 as a position or not: both are
recomputed, and the nearer one is reported.
"""

import pathlib
from typing import Any

import numpy as np
from absl import logging

from dance2wave.datasets.dancing2music import units
from dance2wave.errors import InputError

TOLERANCE = 0.05  # deviations
_SHIPPED = {'pose': 'all_onbeat', 'audio': 'all_aud'}


class Moments:
  """Count, sum and sum of squares of each of D numbers."""

  def __init__(self, num_dims: int = 28):
    self.count_D = np.zeros(num_dims)
    self._sum_D = np.zeros(num_dims)
    self._square_D = np.zeros(num_dims)

  def add(self, values_FD: np.ndarray, known_FD: np.ndarray | None = None):
    """Count rows; where `known_FD` is given, only what is true there."""
    values_FD = values_FD.astype(np.float64)
    if known_FD is None:
      known_FD = np.isfinite(values_FD)
    values_FD = np.where(known_FD, values_FD, 0.0)
    self.count_D += known_FD.sum(axis=0)
    self._sum_D += values_FD.sum(axis=0)
    self._square_D += np.square(values_FD).sum(axis=0)

  @property
  def mean_D(self) -> np.ndarray:
    """The means; 0 where nothing was counted."""
    return self._sum_D / np.maximum(self.count_D, 1)

  @property
  def std_D(self) -> np.ndarray:
    """The deviations of the population, as numpy.std."""
    square_D = self._square_D / np.maximum(self.count_D, 1)
    return np.sqrt(np.maximum(square_D - self.mean_D**2, 0.0))

  def difference(self, mean_D: np.ndarray, std_D: np.ndarray) -> float:
    """Return the largest distance from a mean or deviation, in deviations."""
    distance = np.abs([self.mean_D - mean_D, self.std_D - std_D])
    return float((distance / np.maximum(std_D, 1e-6)).max())


class PoseMoments:
  """Moments of poses, with and without what is missing."""

  def __init__(self):
    self.as_positions, self.left_out = Moments(), Moments()

  def add(self, units_KFJD: np.ndarray) -> None:
    """Count every frame of some units, in pixels."""
    flat_FD = units_KFJD.reshape(-1, units.NUM_JOINTS * 2)
    known_KFJ = ~units.is_missing(units_KFJD)
    self.as_positions.add(flat_FD)
    self.left_out.add(flat_FD, np.repeat(known_KFJ, 2).reshape(flat_FD.shape))


def _read_shipped(folder: pathlib.Path, stem: str) -> list[np.ndarray]:
  """Read a mean and a deviation, (28,) each; InputError if that fails."""
  pair = [units.read_array(folder / f'{stem}_{n}.npy') for n in ('mean', 'std')]
  for name, array in zip(('mean', 'std'), pair):
    if array.shape != (28,):
      raise InputError(
        f'{folder / stem}_{name}.npy has shape {array.shape}; expected (28,); '
        'unpack data.zip again'
      )
  return pair


def _compare(
  what: str, readings: dict[str, Moments], folder: pathlib.Path
) -> dict[str, Any]:
  """Compare readings of one kind of data with its files, as JSON values."""
  report: dict[str, Any] = {}
  try:
    shipped = _read_shipped(folder, _SHIPPED[what])
    found = {k: m.difference(*shipped) for k, m in readings.items()}
    reading = min(found, key=found.get)
    report.update(difference=found[reading], reading=reading)
    if not found[reading] <= TOLERANCE:
      logging.warning(
        'dancing2music: mean and deviation of %s differ by %.3g deviations '
        'from %s_*.npy; expected at most %g: the data may be incomplete',
        *(what, found[reading], _SHIPPED[what], TOLERANCE),
      )
  except InputError as error:
    reading = next(iter(readings))
    report.update(difference=None, reading=reading, problem=str(error))
    logging.warning('dancing2music: no statistics to compare with: %s', error)
  moments = readings[reading]
  return report | {
    'num_frames': int(moments.count_D.max()),
    'mean': moments.mean_D.tolist(),
    'std': moments.std_D.tolist(),
  }


def compare_statistics(
  folder: pathlib.Path, pose: PoseMoments, audio: Moments
) -> dict[str, Any]:
  """Compare the statistics of the data with the shipped ones.

  A difference above TOLERANCE, or a file that cannot be read, is a warning.

  Args:
    folder: `stats`, with all_onbeat_{mean,std}.npy and all_aud_{mean,std}.npy.
    pose: of all frames of all listed units, in pixels.
    audio: of all rows of all chunks' features.

  Returns:
    For 'pose' and 'audio': the recomputed mean and std (28 numbers each), over
    how many frames, how -1 was read ('as_positions' or 'left_out'), and the
    largest difference in shipped deviations, None with the 'problem'.
  """
  readings = {'as_positions': pose.as_positions, 'left_out': pose.left_out}
  return {
    'pose': _compare('pose', readings, folder),
    'audio': _compare('audio', {'all': audio}, folder),
    'tolerance': TOLERANCE,
  }
