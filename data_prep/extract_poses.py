"""Extract the dancer's poses from many videos, once.

    python -m data_prep.extract_poses --input=VIDEOS --output=POSES
    python -m data_prep.extract_poses --input=a.mp4 --input=b.mov --output=POSES

Every video becomes OUTPUT/<its path inside the input folder>.npz. Finished
ones are skipped, so an interrupted run is continued by the same command; a
video that lasts longer or shorter than its poses is another one under the same
name and done anew. What failed, and why, is in OUTPUT/failures.jsonl.
"""

import dataclasses
import json
import pathlib
import sys
import time
from collections.abc import Iterable, Iterator, Sequence

import tqdm
from absl import flags

from dance2wave import cores
from dance2wave.datasets.listing import visible_files
from dance2wave.datasets.video_clips import SUFFIXES
from dance2wave.datasets.work import Failure
from dance2wave.datasets.workers import WorkerDied, ordered_map
from dance2wave.errors import InputError, one_line_errors, run_tool
from dance2wave.pose.model_file import find_model, import_mediapipe
from data_prep.output import make_output
from data_prep.pose_job import PoseJob, extract_one, is_finished

FAILURES_NAME = 'failures.jsonl'

_INPUT = flags.DEFINE_multi_string(
  'input', [], 'Folder of videos, or a video; may be given more than once.'
)
_OUTPUT = flags.DEFINE_string('output', None, 'Folder for the pose files.')
_NUM_WORKERS = flags.DEFINE_integer(
  'num_workers',
  None,
  'Videos at once; half the cores if not given, 0 = in this process.',
  lower_bound=0,
)
_POSE_MODEL = flags.DEFINE_string(
  'pose_model', None, 'Pose landmarker .task file; a default if not given.'
)


def _videos_in(folder: pathlib.Path) -> Iterator[pathlib.Path]:
  """Yield the videos of a folder and its sub-folders, relative to it."""
  for path in visible_files(folder):
    if path.suffix.lower() in SUFFIXES and path.is_file():
      yield path.relative_to(folder)


def find_jobs(inputs: Iterable[str], output: pathlib.Path) -> list[PoseJob]:
  """List what there is to do.

  Raises:
    InputError: an input does not exist, there is no video, or two videos
      would share one pose file.
  """
  jobs: dict[pathlib.Path, PoseJob] = {}
  for path in map(pathlib.Path, inputs):
    if not path.exists():
      raise InputError(
        f'input is {path}, which does not exist; expected a video or a folder '
        'of videos; correct --input'
      )
    folder = path if path.is_dir() else path.parent
    for inside in _videos_in(path) if path.is_dir() else [path.name]:
      target = (output / inside).with_suffix('.npz')
      job = PoseJob(folder / inside, target)
      other = jobs.setdefault(target, job)
      if other.video.resolve() != job.video.resolve():
        raise InputError(
          f'{other.video} and {job.video} would both become {target}; expected '
          'names that differ before the suffix; rename one'
        )
  if not jobs:
    raise InputError(
      f'input holds no video; expected files ending in {", ".join(SUFFIXES)}; '
      'correct --input'
    )
  return list(jobs.values())


def _finished(jobs: Iterable[PoseJob], num_workers: int) -> set[pathlib.Path]:
  """Return the pose files that need not be made again."""
  there = [job for job in jobs if job.target.exists()]
  results = ordered_map(is_finished, there, num_workers=num_workers)
  # A video that killed the process is tried as one without poses.
  return {job.target for job, is_done in zip(there, results) if is_done is True}


def _run(jobs: Sequence[PoseJob], num_workers: int) -> Iterator[int | Failure]:
  for result in ordered_map(extract_one, jobs, num_workers=num_workers):
    if isinstance(result, WorkerDied):
      yield Failure(
        str(result.task.video),
        'process',
        'WorkerDied',
        f'{result.message}; expected a video that fits in memory; check the '
        'file, or use fewer --num_workers',
      )
    else:
      yield result


def extract_all(
  jobs: Sequence[PoseJob], output: pathlib.Path, num_workers: int
) -> tuple[int, int]:
  """Run the jobs; return the number of frames and of failures.

  Each failure is appended to failures.jsonl as it happens; the file of an
  earlier run is dropped first, as its videos are tried again.
  """
  failures = output / FAILURES_NAME
  failures.unlink(missing_ok=True)
  num_frames = num_failed = 0
  results = _run(jobs, num_workers)
  for result in tqdm.tqdm(results, total=len(jobs), unit='video'):
    if isinstance(result, Failure):
      num_failed += 1
      with failures.open('a', encoding='utf-8') as file:
        file.write(json.dumps(dataclasses.asdict(result)) + '\n')
    else:
      num_frames += result
  return num_frames, num_failed


def run(
  inputs: Sequence[str],
  output: pathlib.Path,
  *,
  num_workers: int | None = None,
  pose_model: str | None = None,
) -> int:
  """Extract all poses and print a summary; return the number of failures.

  Raises:
    InputError: bad inputs, or no model: found before any work is done.
  """
  jobs = find_jobs(inputs, output)
  if pose_model is not None:
    find_model(pose_model)  # Refused also where nothing is left to do.
  workers = max(1, cores.usable() // 2) if num_workers is None else num_workers
  finished = _finished(jobs, workers)
  todo = [job for job in jobs if job.target not in finished]
  if todo:
    import_mediapipe()
    model = find_model(pose_model)
    todo = [dataclasses.replace(job, model=model) for job in todo]
  make_output(output)
  start_s = time.monotonic()
  num_frames, num_failed = extract_all(todo, output, workers)
  took_s = max(time.monotonic() - start_s, 1e-3)
  print(
    f'{len(todo) - num_failed} videos, {num_frames} frames in {took_s:.1f} s '
    f'({num_frames / took_s:.1f} frames/s); {len(jobs) - len(todo)} were '
    f'finished before; {num_failed} failed'
    + (f', see {output / FAILURES_NAME}' if num_failed else '')
  )
  return num_failed


def main(argv: Sequence[str]) -> None:
  """Run from the command line; exit status 1 if any video failed."""
  with one_line_errors():
    inputs = [*_INPUT.value, *argv[1:]]
    if not inputs or not _OUTPUT.value:
      raise InputError(
        'input or output is missing; expected --input=VIDEOS --output=POSES; '
        'give both'
      )
    num_failed = run(
      inputs,
      pathlib.Path(_OUTPUT.value),
      num_workers=_NUM_WORKERS.value,
      pose_model=_POSE_MODEL.value,
    )
  sys.exit(1 if num_failed else 0)


if __name__ == '__main__':
  run_tool(main)
