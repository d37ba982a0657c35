"""A thousand steps and a thousand clips in the memory of the first ones."""

import os
import statistics

import media_seeds
import numpy as np
import psutil
import pytest
import tensorflow_datasets as tfds
from small_config import options_with

from dance2wave import experiment
from dance2wave.datasets import video_clips, workers
from dance2wave.training import loop, workdir, writer

pytestmark = pytest.mark.slow
tfds.disable_progress_bar()


def used():
  """Return megabytes and handles of this process."""
  process = psutil.Process()
  return process.memory_info().rss / 1e6, process.num_fds()


def check(what, rows):
  """Compare the first hundred rows with the last hundred."""
  first, last = rows[:100], rows[-100:]
  before_mb, after_mb = (
    statistics.median(mb for mb, _ in some) for some in (first, last)
  )
  handles = (max(n for _, n in first), max(n for _, n in last))
  print(
    f'{what}: {before_mb:.0f} MB, then {after_mb:.0f} MB '
    f'({after_mb / before_mb - 1:+.1%}); {handles[0]} handles, then '
    f'{handles[1]}'
  )
  assert after_mb < 1.05 * before_mb
  assert handles[1] <= handles[0]


def test_a_thousand_steps(tmp_path, monkeypatch):
  rows, write = {}, writer.MetricWriter.write_scalars

  def watched(self, step, scalars):
    write(self, step, scalars)
    rows[step] = used()

  monkeypatch.setattr(writer.MetricWriter, 'write_scalars', watched)
  options = options_with(
    dataset__data_dir=str(tmp_path / 'data'),
    train__pose_steps=10,
    train__joint_steps=1300,
    train__save_every=100,
    train__eval_every=100,
    train__max_to_keep=2,
  )
  experiment.prepare_datasets(options)
  with workdir.hold_workdir(tmp_path / 'run'):
    workdir.open_workdir(tmp_path / 'run', options)
    loop.train(options, tmp_path / 'run')
  # By step 210 all is compiled, two checkpoints are there and one went.
  check('1,100 steps', [rows[step] for step in range(210, 1311)])


def read_and_tell(task):
  clips = video_clips.read_video(task)
  assert isinstance(clips, list) == ('good' in task.name), clips
  return os.getpid(), used()


def test_a_thousand_clips(tmp_path):
  seeds = {path.name: path for path in media_seeds.make_seeds(tmp_path)}
  broken = media_seeds.write_damaged(seeds['h264.mp4'], 0, tmp_path)
  time_s = np.arange(40) / 20
  poses = tmp_path / 'poses.npz'
  pose_FJD = np.full((40, 14, 3), 0.5, np.float32)
  np.savez(poses, pose=pose_FJD, pose_time_s=time_s, skeleton='core14')
  endings = ('h264.mp4', 'vp8.webm', 'mpeg4.avi', 'a.ogg', 'h264.ts')
  paths = [(seeds[name], 'good') for name in endings] + [(broken, 'bad')]
  tasks = [
    video_clips.Video(path, f'{word} {k}', 'resources', pose_path=poses)
    for k in range(200)
    for path, word in paths
  ]
  mine, theirs, pids = [], [], set()
  for pid, row in workers.ordered_map(read_and_tell, tasks, num_workers=1):
    pids.add(pid)
    theirs.append(row)
    mine.append(used())
  assert len(pids) == 1
  check('1,000 clips and 200 bad files, the worker', theirs)
  check('1,000 clips and 200 bad files, the parent', mine)
