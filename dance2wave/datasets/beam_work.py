"""The work of a split on Apache Beam: any runner, the same bytes.

    driver   tasks ──> Beam ──> one part file a task ──> in order ──> dataset
    workers            read, check, serialise

Parts lie in the dataset's folder, which all workers must reach. Putting them
together is one sequential copy; so shards, their order and every byte are those
of a build on one machine, whatever the number of workers.
"""

import dataclasses
import importlib.util
import json
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow_datasets as tfds
from array_record.python import array_record_module

from dance2wave.datasets.work import Failure, Record, Recorder
from dance2wave.errors import InputError


def check_installed() -> None:
  """Raise InputError unless Beam can be imported."""
  if importlib.util.find_spec('apache_beam') is None:
    raise InputError(
      'Apache Beam was asked for and is not installed; expected the extra '
      "[beam]; pip install -e '.[beam]' -c docs/constraints/beam_py311.txt in "
      'an environment of its own'
    )


def is_wanted(config: tfds.download.DownloadConfig) -> bool:
  """Return whether the build was asked to run on Beam."""
  return config.beam_runner is not None or config.beam_options is not None


def _part_path(folder: str, index: int) -> pathlib.Path:
  return pathlib.Path(folder) / f'part_{index:07d}'


@dataclasses.dataclass(frozen=True)
class _WritePart:
  """Does one task on a worker and leaves its part file, whole or not at all."""

  recorder: Recorder
  folder: str

  def __call__(self, indexed_task: tuple[int, Any]) -> int:
    index, task = indexed_task
    result = self.recorder(task)
    path = _part_path(self.folder, index)
    # Beam may run a task twice at once: each attempt has a file of its own.
    draft = path.with_name(f'{path.name}.{os.getpid()}.{id(result):x}.draft')
    if isinstance(result, Failure):
      draft.write_text(json.dumps(dataclasses.asdict(result)), 'utf-8')
      draft.rename(path.with_suffix('.failure'))
      return index
    writer = array_record_module.ArrayRecordWriter(str(draft), 'group_size:1')
    for key, example in result:
      writer.write(key.encode())
      writer.write(example)
    writer.close()
    draft.rename(path.with_suffix('.records'))
    return index


def _read_part(folder: str, index: int) -> list[Record] | Failure:
  path = _part_path(folder, index)
  failure = path.with_suffix('.failure')
  if failure.exists():
    return Failure(**json.loads(failure.read_text('utf-8')))
  records = path.with_suffix('.records')
  reader = array_record_module.ArrayRecordReader(str(records))
  values = reader.read_all() if reader.num_records() else []
  reader.close()
  records.unlink()
  return [(k.decode(), v) for k, v in zip(values[::2], values[1::2])]


def run_on_beam(
  recorder: Recorder,
  tasks: Sequence[Any],
  config: tfds.download.DownloadConfig,
  folder: pathlib.Path,
) -> Iterator[list[Record] | Failure]:
  """Yield what each task gives, in order, after Beam has done them all.

  Args:
    recorder: what to do with a task.
    tasks: of one split.
    config: its beam_runner and beam_options choose the runner.
    folder: for the parts; on a disk that every worker reaches.
  """
  check_installed()
  import apache_beam as beam

  folder.mkdir(parents=True)
  pipeline = beam.Pipeline(
    runner=config.beam_runner, options=config.beam_options
  )
  _ = (
    pipeline
    | beam.Create(list(enumerate(tasks)), reshuffle=True)
    | beam.Map(_WritePart(recorder, str(folder)))
  )
  pipeline.run().wait_until_finish()
  for index in range(len(tasks)):
    yield _read_part(str(folder), index)
  for left in folder.iterdir():
    left.unlink()
  folder.rmdir()
