"""The work of a split on Apache Beam: any runner, the same bytes.

    driver   tasks --> Beam --> one part for each task --> in order --> dataset
    workers            read, check and serialise, in a child process

Parts lie in <data_dir>/.parts (see parts.py), on a disk that the driver and all
workers reach. Putting them together is one sequential copy; so shards, their
order and every byte are those of a build without Beam, whatever the number of
workers. A build that was killed is gone on with from its parts.
"""

import contextlib
import dataclasses
import importlib.util
import io
import itertools
import json
import os
import pathlib
import threading
import traceback
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tensorflow_datasets as tfds
from absl import logging

from dance2wave.datasets import parts
from dance2wave.datasets.work import Failure, Record, Recorder, run_here
from dance2wave.errors import InputError

# Tasks that go to a worker together: they share the start of a child process.
_MAX_JOB_TASKS = 16
_ERROR_NAME = 'error'
_LOOK_EVERY_S = 5.0

Split = tuple[Recorder, Sequence[Any]]
Results = Iterator[list[Record] | Failure]
_Named = tuple[str, Any]  # path of a part, and its task


class TaskError(Exception):
  """A defect in `read` on some worker; the message holds its traceback."""


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


def run_on_beam(
  splits: Mapping[str, Split],
  config: tfds.download.DownloadConfig,
  folder: pathlib.Path,
) -> dict[str, Results]:
  """Do all tasks on Beam; return what they give, in order, by split.

  With `max_examples_per_split` each split does that many tasks at a time, and
  only while it is asked for more.

  Args:
    splits: what to do with which tasks.
    config: its beam_runner and beam_options choose the runner.
    folder: of `parts.hold`.

  Raises:
    InputError: raised by a task, or no such runner, or a worker that does not
      reach the folder.
    TaskError: a task raised anything else.
  """
  wave = config.max_examples_per_split
  if wave is None:
    return _run_together(splits, config, folder)
  return {
    name: itertools.chain.from_iterable(
      _run_together({name: (recorder, piece)}, config, folder)[name]
      for piece in _pieces(tasks, wave)
    )
    for name, (recorder, tasks) in splits.items()
  }


def _pieces(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
  return (items[i : i + size] for i in range(0, len(items), max(1, size)))


def _run_together(
  splits: Mapping[str, Split],
  config: tfds.download.DownloadConfig,
  folder: pathlib.Path,
) -> dict[str, Results]:
  """Do all tasks that have no part yet in one pipeline."""
  paths, todo = {}, {}
  for split, (recorder, tasks) in splits.items():
    place = folder / parts.code_digest(recorder.read)
    place.mkdir(parents=True, exist_ok=True)
    digest = parts.task_digests(recorder)
    paths[split] = [place / digest(task) for task in tasks]
    left = [
      (str(path), task)
      for path, task in zip(paths[split], tasks)
      if not parts.is_done(path)
    ]
    todo[split] = _WriteParts(recorder, str(folder)), left
    if len(left) < len(tasks):
      logging.warning(
        '%s: %d of %d tasks are done already; going on',
        *(split, len(tasks) - len(left), len(tasks)),
      )
  if any(left for _, left in todo.values()):
    _run_pipeline(todo, config, folder)
  return {split: map(_read, paths[split]) for split in splits}


def _read(path: pathlib.Path) -> list[Record] | Failure:
  return parts.unpack(path.read_bytes())


def _run_pipeline(
  todo: Mapping[str, tuple['_WriteParts', Sequence[_Named]]],
  config: tfds.download.DownloadConfig,
  folder: pathlib.Path,
) -> None:
  import apache_beam as beam

  (folder / _ERROR_NAME).unlink(missing_ok=True)
  pipeline = _pipeline(config)
  for split, (write, left) in todo.items():
    size = min(_MAX_JOB_TASKS, max(1, len(left) // _MAX_JOB_TASKS))
    jobs = [tuple(job) for job in _pieces(left, size)]
    _ = (
      pipeline
      | f'{split}: tasks' >> beam.Create(jobs, reshuffle=True)
      | f'{split}: parts' >> beam.Map(write)
    )
  wanted = [pathlib.Path(path) for _, left in todo.values() for path, _ in left]
  with _progress(wanted):
    state = pipeline.run().wait_until_finish()
  _raise_error(folder)
  missing = sum(not path.exists() for path in wanted)
  if missing:
    raise InputError(
      f'{missing} of {len(wanted)} parts are missing in {folder}, but Beam has '
      f'ended ({state}); expected every worker to write there; put --data_dir '
      'on a disk that all workers reach by the same path, and run again: it '
      'will go on'
    )


@contextlib.contextmanager
def _progress(wanted: Sequence[pathlib.Path]) -> Iterator[None]:
  """Show how many parts there are while Beam runs, wherever it runs."""
  names = {path.name for path in wanted}
  folders = {path.parent for path in wanted}
  is_over = threading.Event()

  def watch(bar):
    shown, was_over = 0, False
    while not was_over:
      was_over = is_over.wait(_LOOK_EVERY_S)
      there = sum(len(names.intersection(os.listdir(f))) for f in folders)
      bar.update(there - shown)
      shown = there

  with tfds.core.utils.tqdm(
    total=len(names), desc='tasks on Beam', unit=' tasks'
  ) as bar:
    watcher = threading.Thread(target=watch, args=[bar], daemon=True)
    watcher.start()
    try:
      yield
    finally:
      is_over.set()
      watcher.join()


def _pipeline(config: tfds.download.DownloadConfig) -> Any:
  """Return an empty pipeline.

  Beam's DirectRunner would first try to download a runner written in Go, which
  knows none of the direct_* options; here it is always Python's own.

  Raises:
    InputError: no such runner, or a bad or missing option.
  """
  import apache_beam as beam
  from apache_beam.runners.portability import fn_api_runner

  wrong = io.StringIO()  # Beam's parser prints its whole usage, and exits.
  try:
    with contextlib.redirect_stderr(wrong):
      pipeline = beam.Pipeline(config.beam_runner, config.beam_options)
      known = pipeline.options.get_all_options()
      given = pipeline.options.get_all_options(retain_unknown_options=True)
  except SystemExit:
    _refuse_options(wrong.getvalue().rpartition('error: ')[2])
  except (ValueError, TypeError, ImportError, AttributeError) as error:
    _refuse_options(str(error))
  if isinstance(pipeline.runner, beam.runners.DirectRunner):
    if unknown := sorted(given.keys() - known.keys()):
      _refuse_options(f'no option {", ".join(unknown)}')
    pipeline.runner = fn_api_runner.FnApiRunner()
  return pipeline


def _refuse_options(wrong: str) -> None:
  raise InputError(
    f'Beam refuses its options ({" ".join(wrong.split())}); expected a runner '
    'and options that it knows; correct --beam_pipeline_options, such as '
    'runner=DirectRunner,direct_num_workers=2,'
    'direct_running_mode=multi_processing'
  ) from None


@dataclasses.dataclass(frozen=True)
class _WriteParts:
  """Does tasks on a worker; leaves a part of each, whole or not at all."""

  recorder: Recorder
  folder: str

  def __call__(self, job: Sequence[_Named]) -> None:
    """Do the tasks whose parts are not there; Beam may do a job twice."""
    error_path = pathlib.Path(self.folder, _ERROR_NAME)
    job = [(pathlib.Path(p), task) for p, task in job if not os.path.exists(p)]
    # In a child, so that a crash of a decoder ends no worker of Beam.
    tasks = [task for _, task in job]
    results = run_here(self.recorder, tasks, num_workers=1)
    for path, task in job:
      if not path.parent.is_dir() or error_path.exists():
        return  # The driver says why.
      try:
        result = next(results)
      except Exception as error:
        parts.write(error_path, _describe(task.name, error))
        return
      parts.write(path, parts.pack(result))


def _describe(name: str, error: Exception) -> bytes:
  is_input, text = isinstance(error, InputError), str(error)
  if not is_input:
    text = f'{name}: {"".join(traceback.format_exception(error))}'
  return json.dumps([is_input, text]).encode()


def _raise_error(folder: pathlib.Path) -> None:
  """Raise what a task raised, if one did."""
  with contextlib.suppress(FileNotFoundError):
    is_input, text = json.loads((folder / _ERROR_NAME).read_bytes())
    raise InputError(text) if is_input else TaskError(text)
