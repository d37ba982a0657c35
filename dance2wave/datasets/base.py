"""The builder from which all datasets of clips derive."""

import contextlib
import dataclasses
import itertools
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import tensorflow_datasets as tfds
from absl import logging

from dance2wave.datasets import beam_work, disk, parts, schema, unfinished
from dance2wave.datasets.shards import Contents, ShardedFile, split_info
from dance2wave.datasets.work import (
  Failure,
  FailureLog,
  Record,
  Recorder,
  Work,
  run_here,
)
from dance2wave.errors import InputError

FAILURES_NAME = 'failures.jsonl'


@contextlib.contextmanager
def quiet() -> Iterator[None]:
  """Spare the user TFDS's warnings that a dataset is still to be built."""
  verbosity = logging.get_verbosity()
  logging.set_verbosity(logging.ERROR)
  try:
    yield
  finally:
    logging.set_verbosity(verbosity)


def _check_format(file_format: Any) -> None:
  """Raise InputError for a format of files other than array_record."""
  name = getattr(file_format, 'value', file_format)
  if name not in (None, 'array_record'):
    raise InputError(
      f'file_format is {name}; expected array_record, which is read without '
      'TensorFlow; drop the option'
    )


def _own_fields(config: tfds.core.BuilderConfig | None) -> dict[str, Any]:
  """Return what decides the clips of a config: fields that not all have."""
  if config is None:
    return {}
  common = {f.name for f in dataclasses.fields(tfds.core.BuilderConfig)}
  return {k: v for k, v in vars(config).items() if k not in common}


class _Info(tfds.core.DatasetInfo):
  """What is known of a dataset that TFDS's own store does not have."""

  def initialize_from_bucket(self) -> None:
    """Ask nobody; TFDS would leave a folder in the temporary one each time."""


class ClipBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """Builds one dataset of clips in array_record files.

  A subclass gives NUM_JOINTS, VERSION and `_split_generators`, which returns
  {split: Work}; it may declare `aux_features`. A task that gives a `Failure`
  is one line of `failures.jsonl` in the folder of the dataset and counts in
  its metadata; the others go on.

  The examples keep the order of the tasks and go straight to disk. TFDS's own
  writer holds a whole split in memory and, above 1 GB, needs TensorFlow. Until
  the last file is complete everything lies in a folder `incomplete.*`, so that
  a killed build is never taken for a dataset; the next build removes it.

  Args:
    file_format: array_record; no other is read without TensorFlow.
    num_workers: processes that make clips; by default one for every core. The
      dataset's bytes do not depend on it.
    **kwargs: those of every TFDS builder: config, data_dir, version.

  Raises:
    InputError: another file_format, or a dataset of another is there.
  """

  NUM_JOINTS: ClassVar[int]

  def __init__(
    self,
    *,
    file_format: Any = None,
    num_workers: int | None = None,
    **kwargs: Any,
  ):
    _check_format(file_format)
    self._num_workers = num_workers
    try:
      super().__init__(file_format='array_record', **kwargs)
    except ValueError as error:
      if 'File format is already set' not in str(error):
        raise
      raise InputError(
        f'{self.data_dir} holds files of {self.info.file_format.value}; '
        'expected array_record, which is read without TensorFlow; delete the '
        'folder and build again'
      ) from None

  def aux_features(self) -> Mapping[str, Any] | None:
    """Return the features of `aux`; None if there are none."""
    return None

  def _info(self) -> tfds.core.DatasetInfo:
    features = schema.clip_features(self.NUM_JOINTS, self.aux_features())
    texts = self.get_metadata()
    return _Info(
      builder=self,
      description=texts.description,
      citation=texts.citation,
      features=features,
      disable_shuffling=True,
      metadata=tfds.core.MetadataDict(),
    )

  def is_prepared(self) -> bool:
    """Return whether the dataset has been built."""
    with quiet():
      return super().is_prepared()

  def download_and_prepare(self, **kwargs: Any) -> None:
    """Build the dataset unless it exists, as TFDS does.

    One that another process is building is waited for, and taken.

    Raises:
      InputError: bad input, a disk that is full or cannot be written, or a
        dataset of the same name was built of a config with other fields.
    """
    _check_format(kwargs.get('file_format'))
    config = kwargs.get('download_config') or tfds.download.DownloadConfig()
    if beam_work.is_wanted(config):
      beam_work.check_installed()
    was_there = self.is_prepared()
    if was_there and not config.download_mode.overwrite_dataset:
      self._check_built()
    if self.MANUAL_DOWNLOAD_INSTRUCTIONS and not was_there:
      self.manual_folder(config)
    with (
      disk.errors(self._data_dir_root),
      unfinished.begun(pathlib.Path(self.data_dir)) as self._own,
      self._held_parts(config),
    ):
      if was_there or not self._take_built():
        try:
          super().download_and_prepare(**kwargs)
        except OSError:  # Where nothing can be locked nobody has waited.
          if was_there or not self._take_built():
            raise
    self._report_failures()

  def _take_built(self) -> bool:
    """Take what another process has built meanwhile; return whether it has."""
    if not self.is_prepared():
      return False
    self.info.read_from_directory(self.data_dir)
    self._check_built()
    return True

  def _check_built(self) -> None:
    """Raise InputError if the dataset was built of a config of other fields.

    A field that is younger than the dataset had its default. Datasets that do
    not know their config are taken as they are.
    """
    built = self.info.metadata.get('config')
    if built is None:
      return
    for name, value in _own_fields(self.builder_config).items():
      before = built.get(name, getattr(type(self.builder_config), name, None))
      if before != value:
        raise InputError(
          f'{self.name}: {self.data_dir} was built with {name}={before!r}, not '
          f'{value!r}; expected a name of its own for each config; give the '
          'config another name, or --overwrite'
        )

  @property
  def _parts_folder(self) -> pathlib.Path:
    root = pathlib.Path(self._data_dir_root).absolute()
    return root / '.parts' / self.info.full_name.replace('/', '-')

  def _held_parts(
    self, config: tfds.download.DownloadConfig
  ) -> contextlib.AbstractContextManager:
    if not beam_work.is_wanted(config) or self.is_prepared():
      return contextlib.nullcontext()
    return parts.hold(self._parts_folder)

  def _report_failures(self) -> None:
    path = pathlib.Path(self.data_dir) / FAILURES_NAME
    if path.exists():
      num_failed = len(path.read_text('utf-8').splitlines())
      logging.warning(
        '%s: %d file(s) could not be used, see %s', self.name, num_failed, path
      )

  def manual_folder(self, config: tfds.download.DownloadConfig) -> pathlib.Path:
    """Return the folder of the user's own files.

    Raises:
      InputError: none was given, it does not exist, or it is empty.
    """
    folder = config.manual_dir and pathlib.Path(config.manual_dir).expanduser()
    if not folder:
      wrong = 'no folder given'
    elif not folder.is_dir():
      wrong = f'{folder} is not a folder'
    elif not any(folder.iterdir()):
      wrong = f'{folder} is empty'
    else:
      return folder.resolve()
    name, root = self.info.full_name.rpartition('/')[0], self._data_dir_root
    is_usual = pathlib.Path(root) == pathlib.Path(tfds.core.constants.DATA_DIR)
    raise InputError(
      f'{self.name}: {wrong}; expected '
      f'{" ".join(self.MANUAL_DOWNLOAD_INSTRUCTIONS.split())}; python -m '
      f'dance2wave.datasets.build {name} --manual_dir=FOLDER'
      + ('' if is_usual else f' --data_dir={root}')
    )

  def _generate_splits(
    self,
    dl_manager: tfds.download.DownloadManager,
    download_config: tfds.download.DownloadConfig,
  ) -> Sequence[tfds.core.SplitInfo]:
    self._own(pathlib.Path(self.data_dir))
    log = FailureLog(pathlib.Path(self.data_dir) / FAILURES_NAME)
    works = self._split_generators(dl_manager)
    results = self._generate_examples(works, download_config)
    contents, infos = Contents(), []
    for split, work in works.items():
      file = ShardedFile(
        self._get_filename_template(split), download_config.max_shard_size
      )
      limit = download_config.max_examples_per_split
      shown = tfds.core.utils.tqdm(
        results[split],
        desc=f'{self.info.full_name} {split}',
        total=len(work.tasks),
        unit=f' {work.unit}s',
        mininterval=1.0,
      )
      records = itertools.islice(self._records(shown, log), limit)
      self._write(file, split, records, contents)
      log.refuse_if_empty(self.name, split, sum(file.lengths))
      if file.lengths:
        infos.append(split_info(split, file))
      else:
        logging.warning('%s: no examples in split %s', self.name, split)
    self.info.metadata['config'] = _own_fields(self.builder_config)
    self.info.metadata['num_failed'] = log.counts
    self.info.metadata['styles'] = dict(contents.styles)
    self.info.metadata['silent'] = dict(contents.silent)
    return infos

  def _generate_examples(
    self, works: Mapping[str, Work], config: tfds.download.DownloadConfig
  ) -> dict[str, Iterator[list[Record] | Failure]]:
    """Return what the tasks of each split give, in order."""
    jobs = {
      split: (
        Recorder(work.read, self.info.features, self.NUM_JOINTS),
        work.tasks,
      )
      for split, work in works.items()
    }
    if beam_work.is_wanted(config):
      return beam_work.run_on_beam(jobs, config, self._parts_folder)
    return {
      split: run_here(*job, self._num_workers) for split, job in jobs.items()
    }

  def _records(
    self, results: Iterable[list[Record] | Failure], log: FailureLog
  ) -> Iterator[Record]:
    for result in results:
      if isinstance(result, Failure):
        log.add(result)
      else:
        yield from result

  def _write(
    self,
    file: ShardedFile,
    split: str,
    records: Iterable[Record],
    contents: Contents,
  ) -> None:
    seen = set()
    for key, example in records:
      assert key not in seen, f'two examples have the key {key!r}'
      contents.add(split, len(seen), example)
      seen.add(key)
      file.write(example)
    file.finish()
