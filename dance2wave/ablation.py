"""Train and score one config with one thing changed at a time.

    lever x seed ──> steps for the same cost ──> run ──> validation split
                                                 │
               levers of sampling alone share it ┘

Every run is a process of its own, confined to its share of the cores where the
system can do that.
"""

import concurrent.futures
import contextlib
import copy
import dataclasses
import hashlib
import json
import multiprocessing
import os
import pathlib
import sys
import threading
import time
from collections.abc import Iterator, Sequence

import tqdm
from absl import logging

from dance2wave import options as options_lib
from dance2wave.errors import InputError
from dance2wave.levers import LEVERS
from dance2wave.options import Options

_BASE = 'as it is'
# In the folder of a run.
_LOG, _SPENT = 'log.txt', 'processor.json'
_COUNT_S = 5.0
# Of a finished lever; what is written beside them is for people.
FIGURES = {
  'beat_f70': 'F70',
  'beat_f35': 'F35',
  'beat_f70_other_dance': 'of others',
  'phase_median_abs_ms': 'phase, ms',
  'tempo_acc1': 'tempo',
  'loudness_motion': 'loudness',
  'style_obeyed': 'style',
  'nll': 'nats',
  'nll_shuffled_pose': 'of others',
  'seconds_train': 'training, core s',
  'seconds_sample': 'sampling, core s',
}


@dataclasses.dataclass(frozen=True)
class Task:
  """A lever at a seed.

  Attributes:
    lever: one of `LEVERS`.
    seed: of parameters, batches and draws.
    options: the config with the lever's change, for the same cost.
    output: folder of all tasks.
  """

  lever: str
  seed: int
  options: Options
  output: pathlib.Path

  @property
  def result(self) -> pathlib.Path:
    """Where the figures go; those of other options go elsewhere."""
    digest = _digest(options_lib.to_dict(self.options))
    name = self.lever.replace(' ', '_')
    return self.output / f'{name}-{self.seed}-{digest}.json'

  @property
  def workdir(self) -> pathlib.Path:
    """Of the run; levers of sampling alone have that of their base."""
    values = options_lib.to_dict(self.options)
    del values['sample']
    return self.output / 'runs' / _digest(values)

  @property
  def classifier(self) -> pathlib.Path:
    """Where the classifier of the dataset's styles is, if there is one."""
    dataset, rate_hz = self.options.dataset, self.options.sample_rate_hz
    digest = _digest([dataset.names[0], dataset.data_dir, rate_hz])
    return self.output / f'classifier-{digest}.npz'


def _digest(values) -> str:
  return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]


def changed(values: dict, changes) -> Options:
  """Return the options of a nested config with the changes of a lever."""
  values = copy.deepcopy(values)
  for key, value in changes.items():
    *groups, name = key.split('.')
    at = values
    for group in groups:
      at = at[group]
    at[name] = value(at[name]) if callable(value) else value
  return options_lib.parse(values)


def _cost(options: Options) -> tuple[float, float]:
  """Return the FLOPs of matrix products in a step of each stage."""
  from dance2wave.training import cost

  return tuple(cost.matrix_flops(options, is_joint=j) for j in (False, True))


def _at_least_one(there: int, wanted: float) -> int:
  """Return whole steps of a stage, 0 where there is no such stage."""
  return max(1, round(wanted)) if there else 0


def _at_cost(spent: tuple[float, float], lever: Options) -> Options:
  """Return the lever's options with as many steps as cost so much.

  Each stage costs what is given for it, or one step; a lever without a first
  stage spends all on the second.
  """
  pose, joint = spent
  if not lever.train.pose_steps:
    pose, joint = 0, pose + joint
  of_pose, of_joint = _cost(lever)
  train = dataclasses.replace(
    lever.train,
    pose_steps=_at_least_one(lever.train.pose_steps, pose / of_pose),
    joint_steps=_at_least_one(lever.train.joint_steps, joint / of_joint),
  )
  return dataclasses.replace(lever, train=train)


def plan(
  options: Options,
  output: pathlib.Path,
  levers: Sequence[str],
  seeds: Sequence[int],
  share: float,
  num_clips: int,
) -> list[Task]:
  """Return the tasks of an ablation, whose runs cost the same.

  Args:
    options: the config that is changed.
    output: folder of all tasks.
    levers: names of `LEVERS`; the config as it is comes first in any case,
      and those that change nothing of it are left out.
    seeds: of each.
    share: of the config's steps that are trained.
    num_clips: of the validation split that are scored.

  Raises:
    InputError: an unknown lever, or one that the config does not allow; a
      config whose runs end without a dance that is played.
  """
  unknown = [name for name in levers if name not in LEVERS]
  if unknown:
    raise InputError(
      f'lever {unknown[0]!r} is unknown; expected some of '
      f'{", ".join(LEVERS)}; correct --levers'
    )
  if not options.samples_dances:
    raise InputError(
      'the config trains no WaveNet on dances, and what it learns cannot be '
      'scored; expected train.joint_steps > 0 and no train.is_audio_only; '
      'give --config=configs/wavenet.py'
    )
  pose, joint = options.train.pose_steps, options.train.joint_steps
  train = dataclasses.replace(
    options.train,
    pose_steps=_at_least_one(pose, share * pose),
    joint_steps=_at_least_one(joint, share * joint),
  )
  sample = dataclasses.replace(options.sample, num_clips=num_clips)
  base = dataclasses.replace(options, train=train, sample=sample)
  counts = train.pose_steps, train.joint_steps
  spent = tuple(n * cost for n, cost in zip(counts, _cost(base)))
  values, tasks = options_lib.to_dict(base), []
  for name in dict.fromkeys((_BASE, *levers)):
    changes = LEVERS[name].changes
    lever = changed(values, changes)
    if name != _BASE and lever == base:
      logging.warning('lever %r changes nothing here and is left out', name)
      continue
    if any(not key.startswith('sample.') for key in changes):
      lever = _at_cost(spent, lever)
    for seed in seeds:
      drawn = dataclasses.replace(lever.sample, seed=seed)
      seeded = dataclasses.replace(lever, seed=seed, sample=drawn)
      tasks.append(Task(name, seed, seeded, output))
  return tasks


def _end_with_the_parent() -> None:
  multiprocessing.parent_process().join()
  os._exit(1)


@contextlib.contextmanager
def _counting(folder: pathlib.Path) -> Iterator[None]:
  """Keep the processor seconds of a run, over all its sessions, in a file.

  It is written as the run goes, so that a session that is killed counts but
  for its last `_COUNT_S`. Nothing is counted of a run that is finished, nor of
  one with sessions that were not.
  """
  from dance2wave.training import workdir

  path, before, done = folder / _SPENT, 0.0, threading.Event()
  if path.exists():
    before = json.loads(path.read_text())['seconds_train']
  elif workdir.has_checkpoints(folder):
    done.set()
  if (folder / 'result.json').exists() or done.is_set():
    yield
    return

  def count():
    is_done = False
    while not is_done:
      is_done = done.wait(_COUNT_S)
      seconds = before + time.process_time()
      workdir.write_json(path, {'seconds_train': seconds})

  counter = threading.Thread(target=count, daemon=True)
  counter.start()
  try:
    yield
  finally:
    done.set()
    counter.join()


def _train_and_score(tasks: Sequence[Task]) -> None:
  """Do tasks that share a run; what they print goes to a file."""
  from dance2wave import ablation_score, compiled, experiment
  from dance2wave.training.workdir import write_json

  threading.Thread(target=_end_with_the_parent, daemon=True).start()
  folder = tasks[0].workdir
  folder.mkdir(parents=True, exist_ok=True)
  # Open to the end of the process, which prints what went wrong.
  sys.stdout = sys.stderr = open(folder / _LOG, 'a', buffering=1)  # noqa: SIM115
  print(f'{tasks[0].lever}, seed {tasks[0].seed}')
  compiled.keep_compiled_programs()
  # A run ends with sounds of the test split; validation is what counts here.
  quick = dataclasses.replace(
    tasks[0].options.sample, num_clips=2, num_videos=0
  )
  with _counting(folder):
    figures = experiment.run(
      dataclasses.replace(tasks[0].options, sample=quick), folder
    )
  figures = {
    key: figures[key]
    for key in (*FIGURES, 'num_steps')
    if key in figures and key != 'seconds_train'  # by the wall, of a session
  }
  if (folder / _SPENT).exists():
    figures |= json.loads((folder / _SPENT).read_text())
  for task in tasks:
    scored = ablation_score.score(
      task.workdir, task.options.sample, task.classifier
    )
    write_json(task.result, figures | scored)


def _in_a_process(tasks: Sequence[Task], cores: Sequence[int]) -> str:
  """Do tasks in a process of its own; return what went wrong, or ''."""
  if cores:
    os.sched_setaffinity(0, cores)  # of this thread, which a child inherits
  context = multiprocessing.get_context('spawn')
  process = context.Process(target=_train_and_score, args=(tasks,))
  process.start()
  process.join()
  if process.exitcode == 0:
    return ''
  problem, log = f'exit status {process.exitcode}', tasks[0].workdir / _LOG
  if log.exists():
    lines = log.read_text(errors='replace').split('\n')
    said = [line for line in lines if line.strip()]
    problem = ': '.join([problem, *said[-1:]])
  return f'{problem}; see {log}'


def run(tasks: Sequence[Task], jobs: int) -> dict[str, str]:
  """Do all tasks that have no result yet; return what failed, by lever.

  Args:
    tasks: from `plan`.
    jobs: runs at a time.

  Raises:
    InputError: no tasks.
  """
  if not tasks:
    raise InputError('no tasks; expected a seed or more; give --seeds=0,1,2')
  from dance2wave import evaluation, experiment

  options, output = tasks[0].options, tasks[0].output
  output.mkdir(parents=True, exist_ok=True)
  experiment.prepare_datasets(options)
  classifier = tasks[0].classifier
  if not classifier.exists():
    fitted = evaluation.train_classifier(
      options.dataset.names[0],
      options.dataset.data_dir or None,
      options.sample_rate_hz,
      options.pose_rate_hz,
    )
    if fitted:
      fitted.save(classifier)
  by_run = {}
  for task in tasks:
    if not task.result.exists():
      by_run.setdefault(task.workdir, []).append(task)
  cores = []
  if hasattr(os, 'sched_getaffinity'):  # Not on macOS.
    cores = sorted(os.sched_getaffinity(0))
  free, failed = [cores[n::jobs] or cores for n in range(jobs)], {}

  def do(group):
    mine = free.pop()
    try:
      return group, _in_a_process(group, mine)
    finally:
      free.append(mine)

  with concurrent.futures.ThreadPoolExecutor(jobs) as threads:
    groups = by_run.values()
    done = threads.map(do, groups)
    for group, problem in tqdm.tqdm(done, total=len(groups), unit='run'):
      if problem:
        failed[f'{group[0].lever}, seed {group[0].seed}'] = problem
  return failed
