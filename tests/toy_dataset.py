"""A dataset whose tasks do on demand what files and decoders do."""

import dataclasses
import json
import os
import pathlib
import sys
import time
import uuid
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds

from dance2wave.datasets import base, workers
from dance2wave.datasets.work import Failure, Work
from dance2wave.errors import InputError


@dataclasses.dataclass(frozen=True)
class Task:
  """`kind` is what its reading does; `path` leads to a file that counts.

  Every reading leaves a file in `marks`, if there is such a folder.
  """

  name: str
  kind: str = 'good'
  num_clips: int = 1
  path: pathlib.Path | None = None
  marks: str = ''


def clip(clip_id, duration_s=0.5):
  index = sum(clip_id.encode('utf-8', 'replace'))
  rng = np.random.default_rng(index)
  return {
    'clip_id': clip_id,
    'source': 'toy',
    'group': clip_id,
    'audio': rng.integers(-999, 999, 4000).astype(np.int16),
    'sample_rate_hz': 8000,
    'pose': rng.uniform(size=(5, 14, 3)),
    'pose_time_s': np.arange(5) / 10,
    'skeleton': 'core14',
    'beats_s': [0.125, 0.25],
    'style': '',
    'duration_s': duration_s,
  }


def read(task):
  if task.marks:
    pathlib.Path(task.marks, f'{task.name}-{uuid.uuid4().hex}').touch()
  if task.kind == 'slow':
    time.sleep(0.3)
  elif task.kind == 'bad':
    return Failure(task.name, 'toy', 'ValueError', 'it is a bad one')
  elif task.kind == 'die':
    os._exit(3)
  elif task.kind == 'hog':
    bytearray(workers.Limits().num_bytes)
  elif task.kind == 'input':
    raise InputError(f'{task.name} is wrong; expected better; mend it')
  elif task.kind == 'defect':
    raise ZeroDivisionError('not in my arithmetic')
  elif task.kind == 'together':
    meet(pathlib.Path(task.marks), 2)
  clips = [clip(f'{task.name}#{k}') for k in range(task.num_clips)]
  if task.kind == 'silent':
    return [c | {'audio': np.zeros(0, np.int16), 'style': 'tap'} for c in clips]
  return clips


def meet(folder, num_builds):
  """Wait until that many builds are here at once."""
  deadline = time.monotonic() + 60
  while len(list(folder.iterdir())) < num_builds:
    assert time.monotonic() < deadline
    time.sleep(0.01)


class Toy(base.ClipBuilder, skip_registration=True):
  """{split: tasks} as a dataset."""

  VERSION = tfds.core.Version('1.0.0')
  RELEASE_NOTES: ClassVar[dict[str, str]] = {'1.0.0': 'First release.'}
  NUM_JOINTS = 14
  pkg_dir_path = pathlib.Path(__file__).parent

  def __init__(self, *, tasks, **kwargs):
    self._tasks = tasks
    super().__init__(**kwargs)

  def _split_generators(self, dl_manager):
    return {s: Work(read, tasks, 'toy') for s, tasks in self._tasks.items()}


class ManualToy(Toy, skip_registration=True):
  """A toy that wants a folder."""

  MANUAL_DOWNLOAD_INSTRUCTIONS = 'a folder of toys as manual_dir'


TASKS = {
  'train': [
    *(Task(f'a{k}', num_clips=k % 3) for k in range(5)),
    Task('b', 'bad'),
    *(Task(f'c{k}') for k in range(4)),
    Task('d', 'bad', num_clips=2),
  ],
  'test': [Task('e', 'bad'), Task('f', num_clips=2), Task('g')],
}


def build(data_dir, tasks=None, *, cls=Toy, num_workers=1, **config):
  builder = cls(
    tasks=TASKS if tasks is None else tasks,
    data_dir=str(data_dir),
    num_workers=num_workers,
  )
  builder.download_and_prepare(
    download_config=tfds.download.DownloadConfig(**config)
  )
  return builder


def content(builder):
  """Return every file of a dataset by its name."""
  folder = pathlib.Path(builder.data_dir)
  return {path.name: path.read_bytes() for path in folder.iterdir()}


def ids(builder, split='train'):
  return [e['clip_id'].decode() for e in builder.as_data_source(split)]


def main(data_dir, tasks='null', config='{}'):
  """Build from a process of its own; JSON lists of fields of tasks."""
  from dance2wave.errors import one_line_errors

  tasks = json.loads(tasks)
  if tasks is not None:
    tasks = {s: [Task(*fields) for fields in t] for s, t in tasks.items()}
  with one_line_errors():
    build(data_dir, tasks, **json.loads(config))


if __name__ == '__main__':
  import toy_dataset  # Children know this module by its name.

  tfds.disable_progress_bar()
  toy_dataset.main(*sys.argv[1:])
