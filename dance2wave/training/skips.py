"""Steps that were skipped because something in them was no number."""

from collections.abc import Mapping

import jax
import numpy as np
from absl import logging

from dance2wave.datasets.opening import Source
from dance2wave.errors import InputError


class Skips:
  """Reads of each step whether it was skipped, one step later.

  Args:
    most: skipped steps in a row at which the run stops.
    source: of the batches' clips, by index.
  """

  def __init__(self, most: int, source: Source):
    self._most, self._source = most, source
    self._waiting = None
    self._in_a_row = self._untold = 0

  def push(self, number: int, figures: Mapping, batch: Mapping) -> None:
    """Note a step that has been dispatched; read the one before.

    Args:
      number: of the step.
      figures: of the compiled step, on the device.
      batch: that it was given, on the host.

    Raises:
      InputError: too many in a row were skipped; names the clips.
    """
    self.flush()
    self._waiting = (number, figures, batch)

  def flush(self) -> None:
    """Read what waits; raises what `push` raises."""
    if self._waiting is None:
      return
    number, figures, batch = self._waiting
    self._waiting = None
    if not jax.device_get(figures['skipped']):
      self._in_a_row = 0
      return
    self._untold += 1
    self._in_a_row += 1
    loss, norm = jax.device_get((figures['loss'], figures['grad_norm']))
    self._tell(number, f'loss {loss:g}, grad_norm {norm:g}, {self._of(batch)}')

  def take(self) -> int:
    """Return how many were skipped since this was last asked."""
    untold, self._untold = self._untold, 0
    return untold

  def _tell(self, number, said):
    if self._in_a_row < self._most:
      logging.warning('Step %d is skipped: %s', number, said)
      return
    raise InputError(
      f'step {number} is the last of {self._in_a_row} skipped in a row: '
      f'{said}; expected finite numbers in clips, loss and gradients; the '
      'newest checkpoint is good: repair or remove the clips, or lower '
      'train.learning_rate or train.joint_learning_rate in a new --workdir; '
      'train.max_skipped says how many may be skipped'
    )

  def _of(self, batch) -> str:
    """Name the clips that hold what is no number; else all of the batch."""
    arrays, is_odd_B = _odd(batch)
    rows = batch['clip_index_B'][is_odd_B] if arrays else batch['clip_index_B']
    names = (self._source[int(i)]['clip_id'] for i in np.unique(rows))
    names = [n.decode() if isinstance(n, bytes) else str(n) for n in names]
    where = (
      f'NaN or infinity in {", ".join(arrays)} of' if arrays else 'batch of'
    )
    return f'{where} the clip(s) {", ".join(names)}'


def _odd(batch) -> tuple[list[str], np.ndarray]:
  """Return which arrays hold a NaN or an infinity, and in which rows (B,)."""
  arrays, is_odd_B = [], np.zeros(len(batch['clip_index_B']), bool)
  for name, values in batch.items():
    rows = np.asarray(values).reshape(len(is_odd_B), -1)
    odd_B = ~np.isfinite(rows).all(axis=1)
    is_odd_B |= odd_B
    if odd_B.any():
      arrays.append(name)
  return arrays, is_odd_B
