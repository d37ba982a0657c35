import errno
import json
import os
import pathlib
import subprocess
import sys

import pytest
import tensorflow_datasets as tfds
import toy_dataset
from tensorflow_datasets.core.file_adapters import FileFormat
from toy_dataset import TASKS, Task, Toy, build, content, ids

from dance2wave.datasets import disk, opening, shards
from dance2wave.datasets.work import Failure, FailureLog
from dance2wave.errors import InputError

tfds.disable_progress_bar()
# The protobuf of the environment with Beam, as TFDS uses it.
pytestmark = pytest.mark.filterwarnings(
  r'ignore:label\(\) is deprecated:DeprecationWarning'
)
HERE = pathlib.Path(__file__).parent


def process(*args, program=HERE / 'toy_dataset.py'):
  places = os.pathsep.join(map(str, (HERE.parent, HERE)))
  return subprocess.Popen(
    [sys.executable, str(program), *map(str, args)],
    env={**os.environ, 'PYTHONPATH': places},
    stderr=subprocess.PIPE,
    stdout=subprocess.DEVNULL,
    text=True,
  )


@pytest.fixture(scope='module')
def built(tmp_path_factory):
  return build(tmp_path_factory.mktemp('toy'))


def test_clips_keep_the_order_of_tasks(built):
  good = ['a1#0', 'a2#0', 'a2#1', 'a4#0', 'c0#0', 'c1#0', 'c2#0', 'c3#0']
  assert ids(built) == good
  assert ids(built, 'test') == ['f#0', 'f#1', 'g#0']
  assert built.info.splits['train'].num_examples == 8


def test_clips_without_sound_are_known_and_can_be_left_out(
  tmp_path, monkeypatch, caplog
):
  quiet = Task('b', 'silent', num_clips=2)
  tasks = {'train': [Task('a'), quiet, Task('c')], 'test': [quiet]}
  builder = build(tmp_path, tasks)
  monkeypatch.setattr(opening, '_open_builder', lambda *_: builder)
  metadata = tfds.builder_from_directory(builder.data_dir).info.metadata
  assert metadata['silent'] == {'train': [1, 2], 'test': [0, 1]}
  assert metadata['styles'] == {'tap': 4}
  source = opening.open_with_sound('toy', None, split='train')
  assert [c['clip_id'] for c in source] == [b'a#0', b'c#0'] and len(source) == 2
  assert '2 of 4 clips of split train have no sound' in caplog.text
  with pytest.raises(InputError, match='toy has no audio in split test'):
    opening.open_with_sound('toy', None, split='test')


def test_failures_are_lines_and_counts_and_do_not_end_the_build(built):
  lines = content(built)['failures.jsonl'].decode().splitlines()
  assert [json.loads(line)['path'] for line in lines] == ['b', 'd', 'e']
  assert json.loads(lines[0]) == {
    'path': 'b',
    'stage': 'toy',
    'reason': 'ValueError',
    'message': 'it is a bad one',
  }
  again = tfds.builder_from_directory(built.data_dir)
  assert again.info.metadata['num_failed'] == {'toy/ValueError': 3}


def test_bytes_are_those_of_two_workers_and_of_another_process(built, tmp_path):
  assert content(build(tmp_path / 'two', num_workers=2)) == content(built)
  # Each process has an order of its own for the fields of an example.
  with process(tmp_path / 'other') as other:
    assert other.wait() == 0, other.stderr.read()
  assert content(build(tmp_path / 'other')) == content(built)


def test_shards_are_cut_by_size_and_read_in_order(built, tmp_path):
  cut = build(tmp_path, max_shard_size=20_000)
  assert len(list(pathlib.Path(cut.data_dir).glob('toy-train*'))) > 2
  assert ids(cut) == ids(built)


def test_an_empty_split_is_left_out(tmp_path):
  tasks = {'train': [Task('a')], 'test': [], 'validation': [Task('b', 'bad')]}
  builder = build(tmp_path, tasks)
  assert set(builder.info.splits) == {'train'}


def test_training_without_a_clip_is_refused_in_one_line(tmp_path):
  tasks = {'train': [Task('x', 'bad'), Task('y', 'bad')], 'test': [Task('z')]}
  with pytest.raises(InputError, match=r'2 failed; first: x: it is') as error:
    build(tmp_path, tasks)
  assert '\n' not in str(error.value)
  assert not list(tmp_path.rglob('*.array_record*'))
  assert not Toy(tasks=tasks, data_dir=str(tmp_path)).is_prepared()


def test_a_missing_folder_is_one_line_with_the_command(tmp_path):
  with pytest.raises(InputError, match=r'no folder given; expected a folder of '
                     r'toys as manual_dir; python -m dance2wave\.datasets\.'
                     r'build manual_toy --manual_dir=FOLDER'):  # fmt: skip
    build(tmp_path, cls=toy_dataset.ManualToy)
  with pytest.raises(InputError, match='absent is not a folder'):
    build(tmp_path, cls=toy_dataset.ManualToy, manual_dir=tmp_path / 'absent')
  assert not list(tmp_path.iterdir())
  builder = build(tmp_path, cls=toy_dataset.ManualToy, manual_dir=HERE)
  assert builder.is_prepared()


@pytest.mark.parametrize('limit, num_train', [(1, 1), (3, 3), (99, 8)])
def test_a_limit_of_examples(limit, num_train, built, tmp_path):
  builder = build(tmp_path, max_examples_per_split=limit)
  assert ids(builder) == ids(built)[:num_train]


@pytest.mark.parametrize('name', ['tfrecord', 'parquet', 'nonsense'])
def test_another_file_format_is_refused_and_nothing_written(name, tmp_path):
  builder = Toy(tasks=TASKS, data_dir=str(tmp_path / 'data'))
  message = f'file_format is {name}; expected array_record'
  for file_format in (name, FileFormat.TFRECORD):
    with pytest.raises(InputError, match=r'expected array_record.*drop'):
      builder.download_and_prepare(file_format=file_format)
  with pytest.raises(InputError, match=message):
    Toy(tasks=TASKS, data_dir=str(tmp_path / 'data'), file_format=name)
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('file_format', ['array_record', None])
def test_the_one_file_format_may_be_named(file_format, tmp_path):
  builder = Toy(
    tasks={'train': [Task('a')]},
    data_dir=str(tmp_path),
    file_format=file_format,
  )
  builder.download_and_prepare(file_format=FileFormat.ARRAY_RECORD)
  assert ids(builder) == ['a#0']


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, monkeypatch):
  real = shards.array_record_module.ArrayRecordWriter
  monkeypatch.setattr(
    shards.array_record_module,
    'ArrayRecordWriter',
    lambda path, options: real('/dev/full', options),
  )
  tasks = {'train': [Task(f'a{k}', num_clips=40) for k in range(10)]}
  with pytest.raises(InputError, match=r'No space left.*free some space') as e:
    build(tmp_path, tasks)
  assert '\n' not in str(e.value) and str(tmp_path) in str(e.value)
  assert not list(tmp_path.glob('toy/*'))


def test_a_disk_elsewhere_is_not_taken_for_that_of_the_dataset(tmp_path):
  for name, is_ours in (
    (tmp_path / 'toy' / 'x', True),
    (tmp_path.parent, True),
    ('/videos/a.mp4', False),
    (None, True),
  ):
    with (
      pytest.raises(InputError if is_ours else PermissionError),
      disk.errors(str(tmp_path)),
    ):
      raise PermissionError(errno.EACCES, 'Permission denied', name)


def test_the_progress_bar_knows_how_much_there_is(tmp_path, monkeypatch):
  bars = []

  def bar(results, **kwargs):
    bars.append(kwargs)
    return results

  monkeypatch.setattr(tfds.core.utils, 'tqdm', bar)
  build(tmp_path)
  assert [(b['desc'], b['total'], b['unit']) for b in bars] == [
    ('toy/1.0.0 train', 11, ' toys'),
    ('toy/1.0.0 test', 3, ' toys'),
  ]


@pytest.mark.parametrize('num_workers', [1, 2])
def test_a_task_that_kills_its_process_is_a_failure(num_workers, tmp_path):
  tasks = {'train': [Task('a'), Task('b', 'die'), Task('c'), Task('d')]}
  builder = build(tmp_path, tasks, num_workers=num_workers)
  assert ids(builder) == ['a#0', 'c#0', 'd#0']
  assert builder.info.metadata['num_failed'] == {'worker/died': 1}
  line = json.loads(content(builder)['failures.jsonl'])
  assert (line['path'], line['reason']) == ('b', 'died')


def test_a_task_that_wants_too_much_memory_is_a_failure(tmp_path):
  tasks = {'train': [Task('a'), Task('b', 'hog'), Task('c')]}
  builder = build(tmp_path, tasks)
  assert ids(builder) == ['a#0', 'c#0']
  (line,) = content(builder)['failures.jsonl'].decode().splitlines()
  assert json.loads(line) == {
    'path': 'b',
    'stage': 'worker',
    'reason': 'memory',
    'message': 'it needs too much memory',
  }


def test_what_read_raises_comes_out(tmp_path):
  with pytest.raises(InputError, match='b is wrong; expected better; mend it'):
    build(tmp_path, {'train': [Task('a'), Task('b', 'input')]})
  with pytest.raises(ZeroDivisionError, match='not in my arithmetic'):
    build(tmp_path, {'train': [Task('a'), Task('b', 'defect')]})
  assert not Toy(tasks={}, data_dir=str(tmp_path)).is_prepared()


def test_two_clips_of_one_name_are_a_defect(tmp_path):
  with pytest.raises(AssertionError, match="two examples have the key 'a#0'"):
    build(tmp_path, {'train': [Task('a'), Task('a')]})


def test_a_name_that_is_no_unicode_is_a_failure(tmp_path):
  name = os.fsdecode(b'caf\xe9.mp4')
  tasks = {'train': [Task('a'), Task(name), Task(name, 'bad')]}
  builder = build(tmp_path, tasks)
  assert ids(builder) == ['a#0']
  lines = content(builder)['failures.jsonl'].decode().splitlines()
  assert [json.loads(line)['path'] for line in lines] == [name, name]
  assert json.loads(lines[0])['stage'] == 'name'


_WITHOUT_LOCKS = """
import errno, sys
import toy_dataset
from dance2wave import locks
def refuse(*_, **__):
  raise OSError(errno.ENOLCK, 'No locks available')
locks._lock = refuse
if __name__ == '__main__':
  toy_dataset.main(*sys.argv[1:])
"""


def test_of_two_builds_on_a_disk_without_locks_one_takes_the_others(tmp_path):
  marks, program = tmp_path / 'marks', tmp_path / 'without_locks.py'
  marks.mkdir()
  program.write_text(_WITHOUT_LOCKS)
  data_dir = tmp_path / 'data'
  tasks = {'train': [('a', 'together', 40, None, str(marks))]}
  args = data_dir, json.dumps(tasks)
  with (
    process(*args, program=program) as one,
    process(*args, program=program) as two,
  ):
    codes = [one.wait(), two.wait()]
    errors = one.stderr.read(), two.stderr.read()
  assert codes == [0, 0] and len([*marks.iterdir()]) == 2, errors
  builder = Toy(tasks={}, data_dir=str(data_dir))
  assert ids(builder) == [f'a#{k}' for k in range(40)]
  assert [p.name for p in data_dir.glob('toy/*')] == ['1.0.0']


def test_failures_are_on_disk_at_once(tmp_path):
  log = FailureLog(tmp_path / 'f.jsonl')
  log.add(Failure.of('x', 'pose', ValueError('two\n lines')))
  log.add(Failure.of('y', 'pose', MemoryError()))
  lines = (tmp_path / 'f.jsonl').read_text().splitlines()
  assert [json.loads(line)['message'] for line in lines] == [
    'two lines',
    'MemoryError',
  ]
  assert log.counts == {'pose/ValueError': 1, 'pose/MemoryError': 1}
