"""Cases beside the WaveNet: input, poses, live sound, start-up, memory."""

import functools
import itertools
import json
import os
import pathlib
import subprocess
import sys

import jax
import numpy as np

from dance2wave import options as options_lib
from dance2wave.benchmarks.rounds import Case, single_row
from dance2wave.datasets import augment
from dance2wave.pipeline import Pipeline
from dance2wave.pose.clean import NEUTRAL_POSE_J2, clean_pose
from dance2wave.pose.features import MOTION_DIM, motion_features
from dance2wave.pose.landmarker import extract_poses
from dance2wave.pose.track import PoseTrack
from dance2wave.sampling import offline
from dance2wave.sampling.stream import Stream
from dance2wave.training import step

_RATE_HZ, _POSE_RATE_HZ = 8000, 50
_ENTRIES = ('main', 'sample', 'evaluate', 'benchmark')


def make_track(duration_s: float, rate_hz: float = 30.0) -> PoseTrack:
  """Return a dancer who sways twice a second, in core14."""
  time_s = np.arange(0.0, duration_s, 1 / rate_hz)
  sway = np.sin(4 * np.pi * time_s)[:, None]
  pose = np.ones((len(time_s), 14, 3), np.float32)
  pose[..., :2] = 0.2 * NEUTRAL_POSE_J2 + 0.5
  pose[..., 0] += 0.02 * sway
  noise = np.random.default_rng(0).normal(size=(len(time_s), 14, 2))
  pose[..., :2] += 0.003 * noise
  return PoseTrack(pose, time_s, 'core14', duration_s)


def _example(index: int, duration_s: float) -> dict:
  track = make_track(duration_s)
  rng = np.random.default_rng(index)
  samples = round(duration_s * _RATE_HZ)
  return {
    'clip_id': f'benchmark_{index}',
    'source': 'benchmark',
    'group': str(index),
    'audio': rng.integers(-3000, 3000, samples).astype(np.int16),
    'sample_rate_hz': _RATE_HZ,
    'pose': track.pose_FJD,
    'pose_time_s': track.pose_time_s,
    'skeleton': track.skeleton,
    'beats_s': np.arange(0.25, duration_s, 0.5),
    'style': 'house',
    'duration_s': duration_s,
  }


def reading(num_batches: int) -> list[Case]:
  """Return the case of training batches: crops, changes, features."""
  batches = Pipeline(
    [_example(i, 8.0) for i in range(4)],
    batch_size=4,
    crop_s=6.0,
    sample_rate_hz=_RATE_HZ,
    pose_rate_hz=_POSE_RATE_HZ,
    styles=('house',),
    augmentation=augment.Augmentation(),
  )
  steps = itertools.count(0, num_batches)

  def run():
    first = next(steps)
    for number in range(first, first + num_batches):
      batches.batch(number)

  return [Case('input: crops of 6 s', 'crops', 4 * num_batches, run)]


def poses(video: str | None) -> list[Case]:
  """Return cases of cleaning, and of finding poses in a video if given."""
  track = make_track(20.0)

  def clean():
    motion_features(clean_pose(track, _POSE_RATE_HZ), _POSE_RATE_HZ)

  frames = len(track.pose_time_s)
  cases = [Case('poses: cleaned, with features', 'frames', frames, clean)]
  if video is not None:
    frames = len(extract_poses(video).pose_time_s)
    find = functools.partial(extract_poses, video)
    cases.append(Case('poses: found in a video', 'frames', frames, find))
  return cases


def make_generator(config) -> offline.Generator:
  """Return a generator of a config, with random weights."""
  options = options_lib.parse(config)
  graphdef, init = step.split_model(options, MOTION_DIM)
  params = jax.jit(init)(jax.random.key(0))
  draw = offline.make_draw(options)
  return offline.Generator(options, graphdef, params, draw)


def live(config, duration_s: float) -> list[Case]:
  """Return cases of seconds of dance, sampled whole and as a stream."""
  generator, track = make_generator(config), make_track(duration_s)
  options = generator.options
  motion = motion_features(
    clean_pose(track, options.pose_rate_hz), options.pose_rate_hz
  )
  samples = round(duration_s * options.sample_rate_hz)
  dances = [offline.Dance(np.asarray(motion, np.float32), samples)]

  def stream():
    one = Stream(generator, skeleton=track.skeleton)
    for pose, time_s in zip(track.pose_FJD, track.pose_time_s):
      one.push(pose[None], time_s[None])
    one.finish(duration_s)

  whole = functools.partial(generator.generate, dances)
  base = 'dance: sampled whole'
  return [
    Case(base, 'seconds', duration_s, whole),
    Case(
      'dance: as a stream, pose by pose', 'seconds', duration_s, stream, base
    ),
  ]


def start_up() -> list[Case]:
  """Return cases of starting Python, the package and the entry points."""
  commands = {'python alone': ['-c', ''], 'import': ['-c', 'import dance2wave']}
  for entry in _ENTRIES:
    commands[f'{entry} --help'] = ['-m', f'dance2wave.{entry}', '--help']
  return [
    Case(f'start: {name}', 's', 1, functools.partial(start, arguments))
    for name, arguments in commands.items()
  ]


def start(arguments: list[str]) -> str:
  """Run Python in a process of its own; return what it prints."""
  root = str(pathlib.Path(__file__).parents[2])
  paths = [root, *filter(None, [os.environ.get('PYTHONPATH')])]
  result = subprocess.run(
    [sys.executable, *arguments],
    env=os.environ | {'PYTHONPATH': os.pathsep.join(paths)},
    capture_output=True,
    text=True,
  )
  # absl's --help ends with status 1.
  if result.returncode not in (0, 1) or 'Traceback' in result.stderr:
    raise RuntimeError(f'{arguments} failed: {result.stderr[-500:]}')
  return result.stdout


def memory(config: dict, seconds) -> list[dict]:
  """Return rows of the memory that sampling needs beyond its imports.

  Each length is measured in a process of its own.
  """
  rows = []
  for length_s in seconds:
    code = (
      'from dance2wave.benchmarks import memory_of_sampling; '
      f'memory_of_sampling.report({json.dumps(config)!r}, {length_s})'
    )
    value = float(start(['-c', code]).split()[-1])
    name = f'memory: sampling {length_s:g} s, above imports'
    rows.append(single_row(name, 'MB', value))
  return rows
