import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
import tensorflow_datasets as tfds

from dance2wave.datasets import build as build_lib
from dance2wave.datasets import opening
from dance2wave.datasets.synthetic_dance import generate
from dance2wave.datasets.synthetic_dance.plan import draw_plan
from dance2wave.datasets.synthetic_dance.synthetic_dance_dataset_builder import (  # noqa: E501
  SyntheticDanceConfig,
)
from dance2wave.errors import InputError

tfds.disable_progress_bar()


def build(data_dir, *, num_workers=2, **config):
  sizes = {'num_train': 5, 'num_validation': 1, 'num_test': 1}
  builder = tfds.builder(
    'synthetic_dance',
    data_dir=str(data_dir),
    config=SyntheticDanceConfig(name='tiny', **{**sizes, **config}),
    num_workers=num_workers,
  )
  builder.download_and_prepare()
  return builder


@pytest.fixture(scope='module')
def tiny(tmp_path_factory):
  return build(tmp_path_factory.mktemp('tiny'), with_3d=True)


def records(builder):
  files = sorted(pathlib.Path(builder.data_dir).glob('*.array_record*'))
  return [path.read_bytes() for path in files]


def test_examples_are_those_of_the_tasks_in_order(tiny):
  source = tiny.as_data_source('train')
  assert [e['clip_id'].decode() for e in source] == [
    f'train_{i:05d}' for i in range(5)
  ]
  clip = generate.make_clip(generate.Task(3, 'train', with_3d=True))
  np.testing.assert_array_equal(source[3]['audio'], clip['audio'])
  np.testing.assert_array_equal(source[3]['pose'], clip['pose'])
  np.testing.assert_array_equal(source[3]['beats_s'], clip['beats_s'])
  np.testing.assert_array_equal(
    source[3]['aux']['pose3d'], clip['aux']['pose3d']
  )
  assert len(tiny.as_data_source('validation')) == 1
  assert 'tensorflow' not in sys.modules


def test_examples_keep_the_schema(tiny):
  for example in tiny.as_data_source('train'):
    plan = draw_plan(int(example['clip_id'][-5:]), 'train')
    assert float(example['duration_s']) == plan.duration_s
    assert len(example['audio']) == round(plan.duration_s * 16000)
    assert np.abs(example['audio']).max() > 1000
    assert example['aux']['pose3d'].shape == example['pose'].shape
    assert example['pose_time_s'][-1] < plan.duration_s
    np.testing.assert_array_equal(example['beats_s'], plan.beats_in_clip_s)


def test_bytes_do_not_depend_on_the_number_of_workers(tiny, tmp_path):
  assert records(build(tmp_path, num_workers=1, with_3d=True)) == records(tiny)


def test_seed_and_kind_change_the_clips():
  plain = generate.make_clip(generate.Task(0, 'train'))
  for task in (
    generate.Task(0, 'train', seed=1),
    generate.Task(0, 'train', is_ambiguous=True),
    generate.Task(0, 'train', is_natural=True),
    generate.Task(0, 'test'),
  ):
    other = generate.make_clip(task)
    assert not np.array_equal(plain['audio'][:4000], other['audio'][:4000])
    assert plain['group'] != other['group']


@pytest.mark.parametrize(
  'field, value, message',
  [
    ('num_train', 0, 'is 0; expected a whole number of at least 1'),
    ('num_train', True, 'is True; expected a whole number'),
    ('num_natural', True, 'is True; expected a whole number of at least 0'),
    ('seed', -7, 'is -7; expected a whole number of at least 0'),
    ('seed', 1.5, 'is 1.5; expected a whole number'),
    ('seed', '7', "is '7'; expected a whole number"),
    ('with_3d', 'no', "is 'no'; expected true or false"),
    ('is_natural', 1, 'is 1; expected true or false'),
    ('is_ambiguous', None, 'is None; expected true or false'),
  ],
)
def test_bad_fields_of_a_config_are_refused(field, value, message):
  with pytest.raises(InputError, match=f'{field} {message}'):
    SyntheticDanceConfig(name='bad', **{field: value})


def test_named_configs_exist():
  configs = tfds.builder_cls('synthetic_dance').builder_configs
  names = {'default', 'natural', 'ambiguous', 'with_3d', 'debug'}
  assert set(configs) == names
  assert configs['default'].num_train == 3000
  assert configs['ambiguous'].is_ambiguous
  assert configs['natural'].is_natural


def test_a_config_of_ones_own_is_opened_once_it_is_built(tiny):
  data_dir = str(tiny._data_dir_root)
  name = 'synthetic_dance/tiny'
  assert opening.split_names(name, data_dir) == ('train', 'validation', 'test')
  source = opening.open_source(name, data_dir, split='train[1:]')
  wanted = tiny.as_data_source('train[1:]')
  assert len(source) == len(wanted) == 4
  for part in ('clip_id', 'audio', 'pose', 'beats_s'):
    np.testing.assert_array_equal(source[2][part], wanted[2][part])
  assert len(opening.open_with_sound(name, data_dir, split='test')) == 1
  # What was built is named beside what the package has.
  with pytest.raises(InputError, match=r"no config 'tyni'.*default.*, tiny;"):
    opening.open_source('synthetic_dance/tyni', data_dir)


def test_a_name_stands_for_one_config(tiny):
  data_dir, made = tiny._data_dir_root, records(tiny)
  build(data_dir, with_3d=True)  # The same again is the same dataset.
  with pytest.raises(InputError, match=r'tiny/.* was built with seed=0, not 7'):
    build(data_dir, with_3d=True, seed=7)
  with pytest.raises(InputError, match='with_3d=True, not False; expected'):
    build(data_dir)
  assert records(tiny) == made


def test_a_dataset_knows_its_config_if_it_is_young(tiny, tmp_path):
  shutil.copytree(tiny._data_dir_root, tmp_path, dirs_exist_ok=True)
  path = tmp_path.joinpath(
    'synthetic_dance/tiny', str(tiny.version), 'metadata.json'
  )
  facts = json.loads(path.read_text())
  del facts['config']['seed']  # As if the field were younger.
  path.write_text(json.dumps(facts))
  build(tmp_path, with_3d=True)
  with pytest.raises(InputError, match='seed=0, not 7'):
    build(tmp_path, with_3d=True, seed=7)
  del facts['config']  # As earlier versions left it.
  path.write_text(json.dumps(facts))
  assert len(build(tmp_path, seed=7).as_data_source('train')) == 5


def command(*args):
  name = 'dance2wave.datasets.build'
  return [sys.executable, '-m', name, *map(str, args)]


@pytest.mark.parametrize(
  'args, message',
  [
    (
      ['nonsense'],
      "dataset is 'nonsense'; expected one of aistpp, clip_folder",
    ),
    ([], 'no dataset named'),
    (['synthetic_dance', '--config=defualt'], 'expected one of: default'),
    (['synthetic_dance/defualt'], 'expected one of: default'),
    (['synthetic_dance', '--config={"name": "x", "trian": 3}'], 'trian'),
    (['synthetic_dance', '--config={"name": "x"'], 'JSON'),
    (['synthetic_dance', '--config={"name": "x", "num_test": -1}'], 'is -1'),
    (['synthetic_dance', '--config={"name": "x", "seed": 1.5}'], 'seed is 1.5'),
    (
      ['synthetic_dance', '--config={"name": "default", "seed": 7}'],
      "the name 'default' is taken); expected one of: default",
    ),
    (['synthetic_dance', '--config={"name": "../x"}'], 'cannot name a folder'),
    (['synthetic_dance', '--config={"name": ""}'], 'cannot name a folder'),
    (['synthetic_dance', '--config={"name": 5}'], 'cannot name a folder'),
    (['synthetic_dance/debug'], 'cannot write'),
  ],
)
def test_bad_commands_are_one_line(args, message, capsys):
  # What is not refused must not be built where the user keeps datasets.
  with pytest.raises(SystemExit) as error:
    build_lib.main(
      build_lib.parse_flags(['build', *args, '--data_dir=/dev/null'])
    )
  assert error.value.code == 2
  line = capsys.readouterr().err.strip()
  assert line.startswith('dance2wave: ') and '\n' not in line
  assert message in line


def test_the_command_builds_the_default_config(tmp_path):
  done = subprocess.run(
    command(
      'synthetic_dance', f'--data_dir={tmp_path}', '--max_examples_per_split=1'
    ),
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  built = tfds.builder('synthetic_dance', data_dir=str(tmp_path))
  assert built.builder_config.name == 'default'
  assert len(built.as_data_source('train')) == 1
  assert [p.name for p in (tmp_path / 'synthetic_dance').glob('[!.]*')] == [
    'default'
  ]


def test_a_killed_build_is_no_dataset(tmp_path):
  config = {'name': 'big', 'num_train': 2000}
  args = ('synthetic_dance', f'--config={json.dumps(config)}')
  with subprocess.Popen(
    command(*args, f'--data_dir={tmp_path}'),
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
  ) as process:
    deadline = time.monotonic() + 60
    while not list(tmp_path.rglob('*.part00000')):
      assert time.monotonic() < deadline and process.poll() is None
      time.sleep(0.05)
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
  builder = tfds.builder(
    'synthetic_dance',
    data_dir=str(tmp_path),
    config=SyntheticDanceConfig(name='big', num_train=2000),
  )
  assert not builder.is_prepared()
  assert children
  _, alive = psutil.wait_procs(children, timeout=20)
  assert not alive


def test_a_script_without_guard_can_build(tmp_path):
  script = tmp_path / 'script.py'
  script.write_text(
    'import tensorflow_datasets as tfds, dance2wave.datasets\n'
    'from dance2wave.datasets.synthetic_dance import '
    'synthetic_dance_dataset_builder as b\n'
    "config = b.SyntheticDanceConfig(name='t', num_train=1, num_test=1,"
    ' num_validation=1)\n'
    f"tfds.builder('synthetic_dance', data_dir={str(tmp_path)!r}, "
    'config=config).download_and_prepare()\n'
  )
  root = pathlib.Path(__file__).parents[1]
  done = subprocess.run(
    [sys.executable, str(script)],
    env={**os.environ, 'PYTHONPATH': str(root)},
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  assert (tmp_path / 'synthetic_dance/t/1.2.0/dataset_info.json').exists()
