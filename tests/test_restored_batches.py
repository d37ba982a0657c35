"""Training data: the same stream from any position, with any helpers."""

import collections

import numpy as np
import pytest
from absl import flags
from flashing import flashing_clip

from dance2wave import pipeline
from dance2wave.datasets import augment

NUM_STEPS = 7  # Of two clips each: two rounds of five clips, and a bit.


def make_pipeline():
  source = [flashing_clip(2.0 + 0.2 * k, 25.0, index=k) for k in range(5)]
  return pipeline.Pipeline(
    source,
    batch_size=2,
    crop_s=1.0,
    sample_rate_hz=8000,
    pose_rate_hz=25,
    styles=('house', 'pop'),
    augmentation=augment.Augmentation(),
  )


@pytest.fixture(scope='module')
def pipe():
  return make_pipeline()


@pytest.fixture(scope='module')
def stream(pipe):
  return [pipe.batch(step) for step in range(NUM_STEPS)]


def assert_same(found, expected):
  assert len(found) == len(expected)
  for one, other in zip(found, expected):
    assert one.keys() == other.keys()
    for name, value in one.items():
      np.testing.assert_array_equal(value, other[name], err_msg=name)


def test_no_clip_is_lost_or_doubled(stream):
  clips = np.concatenate([batch['clip_index_B'] for batch in stream])
  assert collections.Counter(clips[:10].tolist()) == {k: 2 for k in range(5)}
  assert sorted(clips[:5]) == sorted(clips[5:10]) == list(range(5))


@pytest.mark.parametrize('ahead', [1, 2, 5])
def test_the_rest_is_the_same_from_every_position(pipe, stream, ahead):
  for start in range(NUM_STEPS):
    batches = pipe.iterate(start, ahead=ahead)
    found = [next(batches) for _ in range(NUM_STEPS - start)]
    batches.close()
    assert_same(found, stream[start:])


@pytest.mark.parametrize('num_threads', [0, 1, 4])
def test_threads_change_nothing_and_positions_are_restored(
  pipe, stream, num_threads
):
  check_restoring(pipe, stream, num_threads, 0)


@pytest.mark.slow
@pytest.mark.parametrize('num_workers', [1, 2])
def test_processes_change_nothing_and_positions_are_restored(
  pipe, stream, num_workers
):
  flags.FLAGS.mark_as_parsed()  # grain reads a flag before it starts one
  check_restoring(pipe, stream, 2, num_workers)


def check_restoring(pipe, stream, num_threads, num_workers):
  """Read with grain, whose state is restored at every position."""
  import grain

  reading = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=4)
  data = pipe._examples.batch(pipe.batch_size).slice(slice(0, NUM_STEPS))
  data = data.to_iter_dataset(reading if num_threads else None)
  if num_workers:
    options = grain.multiprocessing.MultiprocessingOptions(num_workers)
    data = data.mp_prefetch(options)
  batches, states, found = iter(data), [], []
  for _ in range(NUM_STEPS):
    states.append(batches.get_state())
    found.append(next(batches))
  assert_same(found, stream)
  for position, state in enumerate(states):
    again = iter(data)
    again.set_state(state)
    assert_same(list(again), found[position:])
