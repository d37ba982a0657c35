"""The builder from which all datasets of clips derive."""

import contextlib
import errno
import itertools
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import tensorflow_datasets as tfds
from absl import logging
from array_record.python import array_record_module

from dance2wave.datasets import schema
from dance2wave.errors import InputError

Examples = Iterable[tuple[str, schema.Clip]]

_ADVICE = {
  errno.ENOSPC: 'free some space',
  errno.EDQUOT: 'free some of your quota',
  errno.EACCES: 'choose a folder in which you may write',
  errno.EPERM: 'choose a folder in which you may write',
  errno.EROFS: 'choose a folder in which you may write',
  errno.ENOTDIR: 'choose a folder, not a file',
  errno.EEXIST: 'another process built it meanwhile: just use it',
  errno.ENOTEMPTY: 'another process built it meanwhile: just use it',
}
# ArrayRecord reports the system's errors as RuntimeError with their text.
_ARRAY_RECORD_ADVICE = {
  'No space left': errno.ENOSPC,
  'quota exceeded': errno.EDQUOT,
  'Permission denied': errno.EACCES,
  'Read-only file system': errno.EROFS,
}


@contextlib.contextmanager
def _disk_errors(data_dir: str) -> Iterator[None]:
  """Turn an error of the disk into an InputError of one line."""
  try:
    yield
  except OSError as error:
    if error.errno not in _ADVICE:
      raise
    _refuse_disk(data_dir, error.strerror, error.errno)
  except RuntimeError as error:
    for text, number in _ARRAY_RECORD_ADVICE.items():
      if text in str(error):
        _refuse_disk(data_dir, text, number)
    raise


def _refuse_disk(data_dir: str, wrong: str, number: int) -> None:
  raise InputError(
    f'cannot write the dataset in {data_dir} ({wrong}); expected a folder '
    f'that can be written; {_ADVICE[number]}, or give another --data_dir'
  ) from None


class _ShardedFile:
  """Writes records one by one into files of a bounded size."""

  def __init__(self, template: Any, max_bytes: int):
    self._template, self._max_bytes = template, max_bytes
    self._writer = None
    self._paths: list[pathlib.Path] = []
    self.lengths: list[int] = []
    self.num_bytes = 0
    self._room = 0

  def write(self, record: bytes) -> None:
    if self._writer is None or len(record) > self._room:
      self._open()
    self._writer.write(record)
    self._room -= len(record)
    self.num_bytes += len(record)
    self.lengths[-1] += 1

  def _open(self) -> None:
    self._close()
    prefix = self._template.filepath_prefix()
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
      name = self._template.sharded_filepath(
        shard_index=index, num_shards=len(self._paths)
      )
      path.rename(name)


class ClipBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """Builds one dataset of clips in array_record files.

  A subclass gives NUM_JOINTS, VERSION and `_split_generators`, which returns
  {split: iterable of (key, clip)}; it may declare `aux_features`.

  The examples keep the order in which they are generated and go straight to
  disk. TFDS's own writer holds a whole split in memory and, above 1 GB, needs
  TensorFlow. Until the last file is complete everything lies in a folder
  `incomplete.*`, so that a killed build is never taken for a dataset.
  """

  NUM_JOINTS: ClassVar[int]

  def __init__(self, *, file_format: Any = 'array_record', **kwargs: Any):
    super().__init__(file_format=file_format, **kwargs)

  def aux_features(self) -> Mapping[str, Any] | None:
    """Return the features of `aux`; None if there are none."""
    return None

  def split_sizes(self) -> Mapping[str, int]:
    """Return how many examples a split will have, where that is known."""
    return {}

  def _info(self) -> tfds.core.DatasetInfo:
    features = schema.clip_features(self.NUM_JOINTS, self.aux_features())
    return self.dataset_info_from_configs(
      features=features,
      disable_shuffling=True,
      metadata=tfds.core.MetadataDict(),
    )

  def download_and_prepare(self, **kwargs: Any) -> None:
    """Build the dataset unless it exists, as TFDS does.

    Raises:
      InputError: bad input, or a disk that is full or cannot be written.
    """
    if self.info.file_format.value != 'array_record':
      raise InputError(
        f'file_format is {self.info.file_format.value}; expected array_record, '
        'which is read without TensorFlow; drop the option'
      )
    with _disk_errors(self.data_dir):
      super().download_and_prepare(**kwargs)

  def _generate_splits(
    self,
    dl_manager: tfds.download.DownloadManager,
    download_config: tfds.download.DownloadConfig,
  ) -> Sequence[tfds.core.SplitInfo]:
    limit = download_config.max_examples_per_split
    infos = []
    for split, examples in self._split_generators(dl_manager).items():
      file = _ShardedFile(
        self._get_filename_template(split), download_config.max_shard_size
      )
      total = self.split_sizes().get(split)
      self._write(file, split, itertools.islice(examples, limit), total)
      if file.lengths:
        infos.append(_split_info(split, file))
      else:
        logging.warning('%s: no examples in split %s', self.name, split)
    return infos

  def _write(
    self, file: _ShardedFile, split: str, examples: Examples, total: int | None
  ) -> None:
    progress = tfds.core.utils.tqdm(
      examples,
      desc=f'{self.info.full_name} {split}',
      total=total,
      unit=' clips',
      mininterval=1.0,
    )
    seen = set()
    for key, clip in progress:
      assert key not in seen, f'two examples have the key {key!r}'
      seen.add(key)
      clip = schema.check_clip(clip, self.NUM_JOINTS)
      file.write(self.info.features.serialize_example(clip))
    file.finish()


def _split_info(split: str, file: _ShardedFile) -> tfds.core.SplitInfo:
  return tfds.core.SplitInfo(
    name=split,
    shard_lengths=file.lengths,
    num_bytes=file.num_bytes,
    filename_template=file._template,
  )
