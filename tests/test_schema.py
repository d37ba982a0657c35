import errno
import subprocess
import sys

import numpy as np
import pytest
from array_record.python import array_record_module

from dance2wave.datasets import dataset_names, disk, schema, workers
from dance2wave.errors import InputError

RATE_HZ = 1000


def clip(**changes):
  pose = np.full((4, 14, 3), 0.5, np.float32)
  values = {
    'clip_id': 'c0',
    'source': 'test',
    'group': 'g',
    'audio': np.arange(-500, 500, dtype=np.int16),
    'sample_rate_hz': RATE_HZ,
    'pose': pose,
    'pose_time_s': np.array([0.0, 0.21, 0.5, 0.9]),
    'skeleton': 'core14',
    'beats_s': np.array([0.1, 0.6]),
    'style': 'pop',
    'duration_s': 1.0,
  }
  return {**values, **changes}


def round_trip(example, aux=None):
  features = schema.clip_features(14, aux)
  checked = schema.check_clip(example, 14)
  return features.deserialize_example_np(features.serialize_example(checked))


@pytest.mark.parametrize(
  'changes',
  [
    {},
    {'audio': np.zeros(0, np.int16)},
    {'pose': np.zeros((0, 14, 3), np.float32), 'pose_time_s': np.zeros(0)},
    {'beats_s': np.zeros(0), 'style': ''},
    {'duration_s': 0.9999999999, 'sample_rate_hz': RATE_HZ},
  ],
)
def test_every_value_comes_back_exactly(changes):
  example = clip(**changes)
  back = round_trip(example)
  assert set(back) == set(example)
  for name, value in example.items():
    if isinstance(value, str):
      assert back[name].decode() == value
    else:
      np.testing.assert_array_equal(back[name], value)


def test_aux_comes_back():
  pose3d = np.random.default_rng(0).normal(size=(4, 14, 3)).astype(np.float32)
  back = round_trip(
    clip(aux={'pose3d': pose3d}), {'pose3d': schema.pose_feature(14)}
  )
  np.testing.assert_array_equal(back['aux']['pose3d'], pose3d)


@pytest.mark.parametrize(
  'changes, message',
  [
    ({'audio': np.zeros(1000)}, 'audio has dtype float64'),
    ({'audio': np.zeros(999, np.int16)}, r'expected \(1000,\)'),
    ({'pose': np.zeros((4, 17, 3))}, r'expected \(frames, 14, 3\)'),
    ({'pose': np.full((4, 14, 3), np.nan)}, 'not finite'),
    ({'pose_time_s': np.array([0, 0.2, 0.2, 0.4])}, 'increas'),
    ({'pose_time_s': np.array([0, 0.2, 0.4, 1.4])}, 'duration_s'),
    ({'skeleton': 'coco17'}, r'\(frames, 17, 3\)'),
    ({'beats_s': np.array([0.5, 0.5])}, 'increasing seconds'),
    ({'beats_s': np.array([0.5, 1.5])}, 'the beats inside'),
    ({'beats_s': np.array(['a'])}, 'beats_s has dtype'),
    ({'duration_s': 0.0}, 'above 0'),
  ],
)
def test_what_breaks_the_schema_is_named(changes, message):
  with pytest.raises(InputError, match=message) as error:
    schema.check_clip(clip(**changes), 14)
  assert str(error.value).startswith('clip c0: ')


def test_a_missing_field_is_named():
  example = clip()
  del example['group'], example['beats_s']
  with pytest.raises(InputError, match='beats_s, group missing'):
    schema.check_clip(example, 14)


def test_int16_keeps_full_scale():
  levels = schema.to_int16(np.array([-1.0, 0.0, 0.5, 1.0, 1.5]))
  np.testing.assert_array_equal(levels, [-32768, 0, 16384, 32767, 32767])


def test_a_full_disk_is_one_line():
  with (
    pytest.raises(InputError, match=r'No space left.*free some space'),
    disk.errors('/data'),
  ):
    writer = array_record_module.ArrayRecordWriter('/dev/full', 'group_size:1')
    for _ in range(100):
      writer.write(b'x' * 100_000)
    writer.close()


def test_other_errors_of_the_system_stay_what_they_are():
  with pytest.raises(OSError, match='bad'), disk.errors('/data'):
    raise OSError(errno.EIO, 'bad')


def test_importing_datasets_stays_light():
  code = (
    'import sys, dance2wave.datasets, dance2wave.datasets.schema, '
    'dance2wave.datasets.base, dance2wave.datasets.clips, '
    'dance2wave.datasets.augment, dance2wave.pipeline\n'
    'import tensorflow_datasets as tfds\n'
    'for n in dance2wave.datasets.dataset_names(): tfds.builder_cls(n)\n'
    'heavy = {"jax", "tensorflow", "av", "mediapipe"}\n'
    'print(sorted(heavy & set(sys.modules)))'
  )
  done = subprocess.run(
    [sys.executable, '-c', code], capture_output=True, text=True, check=True
  )
  assert done.stdout.strip() == '[]'


def test_builders_are_found_by_name():
  assert {'synthetic_dance', 'clip_folder'} <= set(dataset_names())


def kill_on_three(task):
  import os
  import signal

  if task == 3:
    os.kill(os.getpid(), signal.SIGKILL)
  if task == 5:
    return 'jax' in sys.modules
  return task * 10


def test_a_killed_worker_costs_one_task_and_order_is_kept():
  results = list(workers.ordered_map(kill_on_three, range(6), num_workers=2))
  assert results == [0, 10, 20, workers.WorkerDied(3), 40, False]
