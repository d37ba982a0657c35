"""Metrics of a run: lines of JSON, and TensorBoard."""

import json
import math
import os
import pathlib
import socket
import time
from collections.abc import Mapping

import numpy as np

_FLUSH_S = 60.0  # what TensorBoard may be behind


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
        self._board().add(step, _summary().scalar(name, value))

  def write_audio(self, step: int, tag: str, samples_T, rate: int) -> None:
    """Write a mono waveform (T,) in [-1, 1] at `rate` Hz to TensorBoard."""
    if self._active:
      samples = np.clip(np.asarray(samples_T, np.float32), -1.0, 1.0)
      self._board().add(step, _summary().audio(tag, samples, rate))

  def write_image(self, step: int, tag: str, rgb_HWC) -> None:
    """Write a picture (H, W, 3), uint8 or in [0, 1], to TensorBoard."""
    if self._active:
      image = np.asarray(rgb_HWC)
      picture = _summary().image(tag, image, dataformats='HWC')
      self._board().add(step, picture)

  def close(self) -> None:
    """Write what is still held back; writing again opens new files."""
    files = self._lines, self._tensorboard
    self._lines = self._tensorboard = None
    for file in files:
      if file is not None:
        file.close()

  def _board(self):
    """Return the TensorBoard writer, made at the first use."""
    if self._tensorboard is None:
      folder = self.path.parent / 'tensorboard'
      self._tensorboard = _Board(folder, self._purge_step)
    return self._tensorboard


def _summary():
  from tensorboardX import summary

  return summary


class _Board:
  """A file of TensorBoard's events.

  `SummaryWriter` leaves writing to a thread, and waits without end for one that
  a full disk has killed. Here the caller gets the error.

  Args:
    folder: where the file is to be.
    purge_step: what older files say of it and of later steps is forgotten.
  """

  def __init__(self, folder: pathlib.Path, purge_step: int | None):
    from tensorboardX.proto.event_pb2 import Event, SessionLog
    from tensorboardX.record_writer import RecordWriter

    folder.mkdir(parents=True, exist_ok=True)
    name = f'events.out.tfevents.{int(time.time())}.{socket.gethostname()}'
    self._make_event = Event
    self._file = RecordWriter(str(folder / name))
    self._flushed_s = time.monotonic()
    self._write(0, file_version='brain.Event:2')
    if purge_step is not None:
      begin = SessionLog(status=SessionLog.START)
      self._write(purge_step, session_log=begin)

  def add(self, step, summary):
    """Write scalars, sounds or pictures of a step."""
    self._write(step, summary=summary)
    if time.monotonic() - self._flushed_s > _FLUSH_S:
      self._file.flush()
      self._flushed_s = time.monotonic()

  def close(self):
    self._file.close()

  def _write(self, step, **what):
    event = self._make_event(step=int(step), wall_time=time.time(), **what)
    self._file.write(event.SerializeToString())


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
