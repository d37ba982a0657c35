"""How the clips of a split are made: a function, and a task for each file."""

import dataclasses
import json
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tensorflow_datasets as tfds
from tensorflow_datasets.proto import tf_example_pb2

from dance2wave.datasets import schema, workers
from dance2wave.errors import InputError

# (clip_id, bytes of the example), as they go into the files of a dataset.
Record = tuple[str, bytes]


@dataclasses.dataclass(frozen=True)
class Failure:
  """Why a file gave no clips: one line of failures.jsonl.

  Attributes:
    path: of the file, inside its folder.
    stage: what was being done with it, such as 'audio' or 'pose'.
    reason: one word to count by, such as 'InputError' or 'empty'.
    message: one line for the user.
  """

  path: str
  stage: str
  reason: str
  message: str

  @classmethod
  def of(cls, path: str, stage: str, error: Exception) -> 'Failure':
    """Return the failure that an exception stands for."""
    reason, text = type(error).__name__, ' '.join(str(error).split())
    return cls(path, stage, reason, text or reason)


@dataclasses.dataclass(frozen=True)
class Work:
  """All clips of a split: `read(task)` for every task, in order.

  Attributes:
    read: returns the clips of one task (possibly none), or a `Failure`. It is
      importable by name, because it runs in other processes or on other
      machines; an exception that it raises ends the build.
    tasks: what to read; each can be pickled, and has a `name` to report.
    unit: what a task is, for the progress bar.
  """

  read: Callable[[Any], list[schema.Clip] | Failure]
  tasks: Sequence[Any]
  unit: str = 'file'


@dataclasses.dataclass(frozen=True)
class Recorder:
  """Turns a task into records; it can be sent to other processes.

  Attributes:
    read: of the `Work`.
    features: of the examples.
    num_joints: J of the builder.
  """

  read: Callable[[Any], list[schema.Clip] | Failure]
  features: tfds.features.FeaturesDict
  num_joints: int

  def __call__(self, task: Any) -> list[Record] | Failure:
    """Return the checked and serialised clips of a task."""
    clips = self.read(task)
    if isinstance(clips, Failure):
      return clips
    checked = [schema.check_clip(clip, self.num_joints) for clip in clips]
    if not all(is_unicode(c['clip_id'] + c['group']) for c in checked):
      wrong = 'its name is not UTF-8; rename the file'
      return Failure(task.name, 'name', 'unicode', wrong)
    return [(clip['clip_id'], self._serialize(clip)) for clip in checked]

  def _serialize(self, clip: schema.Clip) -> bytes:
    """Return the bytes of an example, equal in every process.

    A map of protobuf has another order in each process unless it is sorted.
    """
    example = self.features.serialize_example(clip)
    message = tf_example_pb2.Example.FromString(example)
    return message.SerializeToString(deterministic=True)


def is_unicode(text: str) -> bool:
  """Return whether a name that came from a disk can be stored."""
  return not any('\ud800' <= letter <= '\udfff' for letter in text)


def run_here(
  recorder: Recorder, tasks: Sequence[Any], num_workers: int | None
) -> Iterator[list[Record] | Failure]:
  """Yield what each task gives, in order, from processes of this machine."""
  results = workers.ordered_map(recorder, tasks, num_workers=num_workers)
  for task, result in zip(tasks, results):
    if isinstance(result, workers.WorkerDied):
      result = Failure(task.name, 'worker', result.reason, result.message)
    yield result


class FailureLog:
  """Failures of a build: a line for each in a file, and their counts."""

  def __init__(self, path: pathlib.Path):
    self._path = path
    self.counts: dict[str, int] = {}
    self.first: Failure | None = None

  def add(self, failure: Failure) -> None:
    """Append one line at once: a build may take days."""
    self.first = self.first or failure
    key = f'{failure.stage}/{failure.reason}'
    self.counts[key] = self.counts.get(key, 0) + 1
    line = json.dumps(dataclasses.asdict(failure), ensure_ascii=False)
    # A name that is no Unicode becomes an escape of JSON.
    with self._path.open('a', -1, 'utf-8', 'backslashreplace') as file:
      file.write(line + '\n')

  def _first(self) -> str:
    """Return the first message, with the path unless it names that itself."""
    path, message = self.first.path, self.first.message
    words = [word.rstrip(':;,') for word in message.split()]
    is_named = any(word.endswith(path) for word in words)
    return message if is_named else f'{path}: {message}'

  def refuse_if_empty(self, name: str, split: str, num_clips: int) -> None:
    """Raise InputError if training would have no clip."""
    if split == 'train' and not num_clips and self.first:
      raise InputError(
        f'{name}: no file for training could be used '
        f'({sum(self.counts.values())} failed; first: {self._first()}); '
        'expected at least one good one; correct or remove them'
      )
