"""Damaged media: a line for each file, and the good ones as they were."""

import collections
import itertools
import json
import pathlib
import time

import media_reading
import media_seeds
import pytest
import tensorflow_datasets as tfds
from conftest import SHARED_DATA

from dance2wave.datasets import workers

tfds.disable_progress_bar()


@pytest.fixture(scope='module')
def seeds(tmp_path_factory):
  shared = SHARED_DATA if SHARED_DATA.is_dir() else None
  return media_seeds.make_seeds(tmp_path_factory.mktemp('seeds'), shared)


def build(paths, data_dir):
  builder = media_reading.Sweep(paths=paths, data_dir=str(data_dir))
  builder.download_and_prepare()
  source = builder.as_data_source('train')
  clips = collections.defaultdict(list)
  for example in source:
    name = example['clip_id'].decode().rpartition('#')[0]
    clips[name].append(example)
  path = pathlib.Path(builder.data_dir) / 'failures.jsonl'
  lines = path.read_text('utf-8').splitlines() if path.exists() else []
  return clips, [json.loads(line) for line in lines]


def with_sound(seeds):
  return [p for p in seeds if p.name not in ('pose_1.mp4', 'video_90.mov')]


def is_same(a, b):
  return len(a) == len(b) and all(
    x['audio'].tobytes() == y['audio'].tobytes()
    and x['pose'].tobytes() == y['pose'].tobytes()
    for x, y in zip(a, b)
  )


def sweep(seeds, num_files, tmp_path):
  """Build of damaged files between good ones; return what became of them."""
  good = with_sound(seeds)
  folder = tmp_path / 'damaged'
  folder.mkdir()
  rounds = zip(itertools.cycle(seeds), range(num_files))
  counts = collections.Counter()
  damaged = []
  for seed, _ in rounds:
    number = counts[seed]
    counts[seed] += 1
    damaged.append(media_seeds.write_damaged(seed, number, folder))
  clean, no_lines = build(good, tmp_path / 'clean')
  assert not no_lines and len(clean) == len(good)
  middle = len(damaged) // 2
  paths = [*good[:3], *damaged[:middle], *good[3:], *damaged[middle:]]
  clips, lines = build(paths, tmp_path / 'swept')
  check_lines(lines, clips, paths)
  for path in good:
    assert is_same(clips[path.name], clean[path.name]), path.name
  return damaged, clips, lines


def check_lines(lines, clips, paths):
  """Every file has clips or one line, and nothing was cut in silence."""
  failed = [line['path'] for line in lines]
  assert len(failed) == len(set(failed))
  assert set(failed) | set(clips) == {path.name for path in paths}
  assert not set(failed) & set(clips)
  for line in lines:
    assert set(line) == {'path', 'stage', 'reason', 'message'}
    assert all(line.values()), line
    assert '\n' not in line['message']
  in_silence = {
    name: short
    for name, (short, warnings) in short_reads(clips)
    if not warnings
  }
  assert not in_silence


def short_reads(clips):
  """Yield (name, (what is missing, what was said about it))."""
  for name, found in clips.items():
    aux = found[0]['aux']
    if aux['short']:
      yield name, (aux['short'].decode(), aux['warnings'].decode())


def test_damaged_files_are_lines_and_good_ones_as_they_were(seeds, tmp_path):
  small = [p for p in seeds if p.stat().st_size < 80_000]
  damaged, _, lines = sweep(small, 48, tmp_path)
  assert len(lines) > len(damaged) // 3
  assert {line['reason'] for line in lines} <= {'InputError'}


@pytest.mark.slow
def test_two_thousand_damaged_files(seeds, tmp_path):
  began = time.monotonic()
  damaged, clips, lines = sweep(seeds, 2000, tmp_path)
  reasons = collections.Counter(f'{x["stage"]}/{x["reason"]}' for x in lines)
  read = sum(path.name in clips for path in damaged)
  warned = dict(short_reads(clips))
  print(
    f'{len(damaged)} files of {len(seeds)} seeds: {read} read ({len(warned)} '
    f'of them short, with a warning), {len(lines)} refused {dict(reasons)}, '
    f'{time.monotonic() - began:.0f} s',
    *(f'{name}: {short} <- {said}' for name, (short, said) in warned.items()),
    sep='\n',
  )
  assert not [key for key in reasons if key.startswith('worker/')]


def spin(_):
  while True:
    pass


def spin_in_c(task):
  if task == 1:
    max(itertools.repeat(1))  # holds the interpreter, hears no signal
  return task


def hog(task):
  if task != 1:
    return task
  try:
    return len(bytearray(3 << 30))
  except MemoryError:
    return 'no memory'


def sleep_but_tell(task):
  from dance2wave.media import watchdog

  for _ in range(4):
    time.sleep(1.1)
    watchdog.progress()
  return task


def test_a_task_without_progress_is_given_up():
  limits = workers.Limits(silent_s=0.5)
  began = time.monotonic()
  (result,) = workers.ordered_map(spin, ['a'], num_workers=1, limits=limits)
  assert time.monotonic() - began < 30
  assert (result.task, result.reason) == ('a', 'stalled')
  assert result.message == 'no progress for 0.5 s'


@pytest.mark.slow
def test_a_loop_in_c_costs_its_task():
  limits = workers.Limits(silent_s=0.5)
  results = list(
    workers.ordered_map(spin_in_c, range(4), num_workers=2, limits=limits)
  )
  assert results == [0, workers.WorkerDied(1), 2, 3]


@pytest.mark.slow
def test_a_slow_task_with_progress_is_left_alone():
  limits = workers.Limits(silent_s=3.0)
  tasks = workers.ordered_map(sleep_but_tell, [7], num_workers=1, limits=limits)
  assert list(tasks) == [7]


def test_a_task_that_wants_too_much_memory_costs_itself():
  limits = workers.Limits(num_bytes=2 << 30)
  tasks = workers.ordered_map(hog, range(3), num_workers=1, limits=limits)
  assert list(tasks) == [0, 'no memory', 2]
