"""The files of a split, and what is in them."""

import collections
import pathlib
from typing import Any

import tensorflow_datasets as tfds
from array_record.python import array_record_module
from tensorflow_datasets.proto import tf_example_pb2


class ShardedFile:
  """Writes records one by one into files of a bounded size."""

  def __init__(self, template: Any, max_bytes: int):
    self.template, self._max_bytes = template, max_bytes
    self._writer = None
    self._paths: list[pathlib.Path] = []
    self.lengths: list[int] = []
    self.num_bytes = 0
    self._room = 0

  def write(self, record: bytes) -> None:
    """Append a record, in a new file where this one is full."""
    if self._writer is None or len(record) > self._room:
      self._open()
    self._writer.write(record)
    self._room -= len(record)
    self.num_bytes += len(record)
    self.lengths[-1] += 1

  def _open(self) -> None:
    self._close()
    prefix = self.template.filepath_prefix()
    path = pathlib.Path(f'{prefix}.part{len(self._paths):05d}')
    self._writer = array_record_module.ArrayRecordWriter(
      str(path), 'group_size:1'
    )
    self._paths.append(path)
    self.lengths.append(0)
    self._room = self._max_bytes

  def _close(self) -> None:
    if self._writer is not None:
      self._writer.close()
      self._writer = None

  def finish(self) -> None:
    """Close, and give the files the names by which TFDS finds them."""
    self._close()
    for index, path in enumerate(self._paths):
      name = self.template.sharded_filepath(
        shard_index=index, num_shards=len(self._paths)
      )
      path.rename(name)


class Contents:
  """What the examples of a dataset hold, as far as users choose by it.

  Attributes:
    styles: how many examples have each style that is known.
    silent: of each split, the places of the examples without sound.
  """

  def __init__(self):
    self.styles = collections.Counter()
    self.silent: dict[str, list[int]] = collections.defaultdict(list)

  def add(self, split: str, place: int, example: bytes) -> None:
    """Note the example at a place of a split."""
    fields = tf_example_pb2.Example.FromString(example).features.feature
    style = b''.join(fields['style'].bytes_list.value).decode()
    if style:
      self.styles[style] += 1
    if not any(fields['audio'].bytes_list.value):
      self.silent[split].append(place)


def split_info(split: str, file: ShardedFile) -> tfds.core.SplitInfo:
  """Return what TFDS keeps of a written split."""
  return tfds.core.SplitInfo(
    name=split,
    shard_lengths=file.lengths,
    num_bytes=file.num_bytes,
    filename_template=file.template,
  )
