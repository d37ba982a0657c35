"""Metrics of a run: lines of JSON, and TensorBoard."""

import json
import math
import os
import pathlib
from collections.abc import Mapping

import numpy as np


def _plain(name, value):
  """Return a Python number; None where it is not finite, as JSON has none."""
  scalar = np.asarray(value)
  if scalar.shape:
    raise ValueError(f'{name} has shape {scalar.shape}; expected a scalar')
  if scalar.dtype.kind in 'iu':
    return int(scalar)
  number = float(scalar)
  return number if math.isfinite(number) else None


class MetricWriter:
  """Writes metrics under workdir; a context manager, closed at its end.

      workdir/metrics.jsonl      {"step": 20, "loss": 1.25}
      workdir/tensorboard/       scalars, sounds and pictures

  A line is on its way to the disk before `write_scalars` returns.

  Args:
    workdir: of the run.
    active: False on all processes but the first; nothing is written then.
  """

  def __init__(self, workdir, *, active: bool = True):
    self.path = pathlib.Path(workdir) / 'metrics.jsonl'
    self._active = active
    self._lines = None
    self._tensorboard = None
    self._purge_step = None

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self.close()

  def rewind(self, step: int) -> None:
    """Forget what was written after `step`, or half written by a killed run.

    Call it once, after restoring and before writing; -1 forgets all.
    """
    self.close()
    self._purge_step = step + 1
    if not self._active:
      return
    rewind_lines(self.path, step)

  def write_scalars(self, step: int, scalars: Mapping) -> None:
    """Write one line; values are numbers, or numpy or jax scalars.

    A value that is not finite becomes null, and TensorBoard leaves it out.
    """
    if not self._active:
      return
    plain = {name: _plain(name, value) for name, value in scalars.items()}
    if self._lines is None:
      self.path.parent.mkdir(parents=True, exist_ok=True)
      self._lines = self.path.open('a')
    line = json.dumps({'step': int(step), **plain}, allow_nan=False)
    self._lines.write(line + '\n')
    self._lines.flush()
    for name, value in plain.items():
      if value is not None:
        self._board().add_scalar(name, value, step)

  def write_audio(self, step: int, tag: str, samples_T, rate: int) -> None:
    """Write a mono waveform (T,) in [-1, 1] at `rate` Hz to TensorBoard."""
    if self._active:
      samples = np.clip(np.asarray(samples_T, np.float32), -1.0, 1.0)
      self._board().add_audio(tag, samples, step, sample_rate=rate)

  def write_image(self, step: int, tag: str, rgb_HWC) -> None:
    """Write a picture (H, W, 3), uint8 or in [0, 1], to TensorBoard."""
    if self._active:
      image = np.asarray(rgb_HWC)
      self._board().add_image(tag, image, step, dataformats='HWC')

  def close(self) -> None:
    """Write what is still held back; writing again opens new files."""
    if self._lines is not None:
      self._lines.close()
    if self._tensorboard is not None:
      self._tensorboard.close()
    self._lines = self._tensorboard = None

  def _board(self):
    """Return the TensorBoard writer, made at the first use."""
    if self._tensorboard is None:
      from tensorboardX import SummaryWriter

      folder = str(self.path.parent / 'tensorboard')
      self._tensorboard = SummaryWriter(folder, purge_step=self._purge_step)
    return self._tensorboard


def rewind_lines(path: pathlib.Path, step: int) -> None:
  """Forget lines after `step`, and a half written one, if there is a file."""
  if not path.exists():
    return
  kept = [line for line in _whole_lines(path) if line['step'] <= step]
  rewritten = path.with_suffix('.jsonl.tmp')
  rewritten.write_text(''.join(json.dumps(line) + '\n' for line in kept))
  os.replace(rewritten, path)


def _whole_lines(path):
  """Yield the objects of a file of JSON lines but for a torn last one."""
  for line in path.read_text().splitlines(keepends=True):
    if line.endswith('\n'):
      yield json.loads(line)
