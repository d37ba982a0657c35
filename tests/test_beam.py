import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import time

import psutil
import pytest
import tensorflow_datasets as tfds
import toy_dataset
from test_clip_folder import pose_track, write_video
from toy_dataset import Task, Toy, build, content, ids

from dance2wave.datasets import beam_work, parts, schema
from dance2wave.datasets import build as build_lib
from dance2wave.datasets.work import Failure, Recorder
from dance2wave.errors import InputError
from dance2wave.pose.track import write_pose_file

tfds.disable_progress_bar()
HERE = pathlib.Path(__file__).parent
HAS_BEAM = importlib.util.find_spec('apache_beam') is not None
needs_beam = pytest.mark.skipif(
  not HAS_BEAM,
  reason='Apache Beam is not installed; it has an environment of its own: '
  'docs/constraints/beam_py311.txt',
)
# Beam's protobuf, as TFDS uses it.
pytestmark = pytest.mark.filterwarnings(
  r'ignore:label\(\) is deprecated:DeprecationWarning'
)
LOCAL = ('in_memory', 1)
RECORDER = Recorder(toy_dataset.read, schema.clip_features(14), 14)


@pytest.fixture(autouse=True)
def workers_find_the_toy(monkeypatch):
  path = os.environ.get('PYTHONPATH', '')
  monkeypatch.setenv('PYTHONPATH', f'{HERE}{os.pathsep}{path}')


def flags(mode, num_workers):
  return [
    '--runner=DirectRunner',
    f'--direct_running_mode={mode}',
    f'--direct_num_workers={num_workers}',
  ]


def options(mode, num_workers):
  from apache_beam.options.pipeline_options import PipelineOptions

  return PipelineOptions(flags(mode, num_workers))


def config(mode=LOCAL, **kwargs):
  return tfds.download.DownloadConfig(beam_options=options(*mode), **kwargs)


def beam_build(data_dir, tasks=None, mode=LOCAL, **kwargs):
  return build(data_dir, tasks, beam_options=options(*mode), **kwargs)


def command(*args):
  """Run the command; return its status."""
  try:
    build_lib.main(build_lib.parse_flags(['build', *map(str, args)]))
  except SystemExit as error:
    return error.code
  return 0


@pytest.fixture
def marks(tmp_path):
  folder = tmp_path / 'marks'
  folder.mkdir()
  return folder


def read_names(marks):
  return sorted(path.name.rpartition('-')[0] for path in marks.iterdir())


@pytest.fixture(scope='module')
def plain(tmp_path_factory):
  return build(tmp_path_factory.mktemp('plain'))


# --- without Beam -----------------------------------------------------------


def test_without_beam_it_is_one_line(tmp_path, monkeypatch, capsys):
  real = importlib.util.find_spec
  monkeypatch.setattr(
    importlib.util,
    'find_spec',
    lambda name: None if name == 'apache_beam' else real(name),
  )
  with pytest.raises(InputError, match=r'is not installed; expected the extra'):
    build(tmp_path, beam_runner='DirectRunner')
  wanted = '--beam_pipeline_options=runner=DirectRunner'
  args = 'synthetic_dance/debug', f'--data_dir={tmp_path}', wanted
  assert command(*args) == 2
  line = capsys.readouterr().err.strip()
  assert line.startswith('dance2wave: Apache Beam was asked for')
  assert "'.[beam]' -c docs/constraints/beam_py311.txt" in line
  assert '\n' not in line and not list(tmp_path.iterdir())


def test_the_constraints_of_the_extra_exist():
  text = (HERE.parent / 'docs/constraints/beam_py311.txt').read_text()
  assert 'apache-beam==2.' in text
  assert "'beam': ['apache-beam" in (HERE.parent / 'setup.py').read_text()


@pytest.mark.parametrize(
  'result',
  [
    [],
    [('a', b'')],
    [('a', b'\n\x00'), ('é\udce9', b'x' * 1000)],
    Failure('a\udce9', 'pose', 'ValueError', 'no\ndancer'),
  ],
)
def test_a_part_is_what_was_packed_or_an_error(result):
  part = parts.pack(result)
  assert parts.unpack(part) == result
  for damaged in (part[:-1], part + b'x', b'', part[:20] + b'!' + part[21:]):
    with pytest.raises(ValueError, match='damaged'):
      parts.unpack(damaged)


def test_only_a_whole_part_with_clips_is_done(tmp_path):
  path = tmp_path / 'part'
  assert not parts.is_done(path)
  parts.write(path, parts.pack([('a', b'abc')]))
  assert parts.is_done(path)
  for content_ in (
    parts.pack([('a', b'abc')])[:-1],
    parts.pack(Failure('a', 'b', 'c', 'd')),
  ):
    parts.write(path, content_)
    assert not parts.is_done(path) and not path.exists()
  assert not list(tmp_path.iterdir())


def test_a_part_belongs_to_its_task_and_its_files(tmp_path):
  video, pose, other = (tmp_path / n for n in ('v.1.mp4', 'v.1.npz', 'v.npz'))
  video.write_bytes(b'abc')

  def name(**fields):
    return parts.task_digests(RECORDER)(Task('a', path=video, **fields))

  first = name()
  assert name() == first != name(num_clips=2)
  other.write_bytes(b'of another video')
  assert name() == first
  pose.write_bytes(b'poses')
  with_pose = name()
  assert with_pose != first
  os.utime(video, ns=(5, 5))
  assert name() not in (first, with_pose)
  folder = tmp_path / 'folder' / 'sub'
  folder.mkdir(parents=True)
  task = Task('a', path=folder.parent)
  empty = parts.task_digests(RECORDER)(task)
  (folder / 'x').touch()
  assert parts.task_digests(RECORDER)(task) != empty


def test_parts_are_those_of_the_code(monkeypatch):
  digest = parts.code_digest(toy_dataset.read)
  assert digest == parts.code_digest(toy_dataset.read)
  assert digest != parts.code_digest(command)
  monkeypatch.setattr(parts.importlib.metadata, 'distributions', list)
  assert digest != parts.code_digest(toy_dataset.read)


def test_parts_are_held_by_one_and_kept_until_success(tmp_path):
  folder = tmp_path / '.parts' / 'toy'
  with pytest.raises(ZeroDivisionError), parts.hold(folder):
    (folder / 'x').touch()
    with (
      pytest.raises(InputError, match='another build on Beam holds'),
      parts.hold(folder),
    ):
      pass
    raise ZeroDivisionError
  assert (folder / 'x').exists()
  with parts.hold(folder):
    pass
  assert not list(tmp_path.iterdir())


# --- with Beam --------------------------------------------------------------


@needs_beam
@pytest.mark.parametrize(
  'mode',
  [
    ('in_memory', 1),
    ('multi_threading', 1),
    ('multi_threading', 2),
    ('multi_processing', 1),
    ('multi_processing', 2),
  ],
)
def test_bytes_are_those_of_a_build_without_beam(mode, plain, tmp_path):
  built = beam_build(tmp_path, mode=mode)
  assert content(built) == content(plain)
  assert built.info.metadata['num_failed'] == {'toy/ValueError': 3}
  assert {p.name for p in tmp_path.iterdir()} == {'downloads', 'toy'}
  assert 'tensorflow' not in sys.modules


@needs_beam
def test_a_runner_is_enough(plain, tmp_path):
  built = build(tmp_path, beam_runner='DirectRunner')
  assert content(built) == content(plain)


@needs_beam
def test_the_command_gives_the_same_bytes(tmp_path):
  sizes = {'name': 't', 'num_train': 2, 'num_validation': 1, 'num_test': 1}
  files = []
  beam_flags = ','.join(f[2:] for f in flags('multi_processing', 2))
  for extra in ([], [f'--beam_pipeline_options={beam_flags}']):
    data_dir = tmp_path / str(len(extra))
    args = ('synthetic_dance', f'--config={json.dumps(sizes)}')
    assert command(*args, f'--data_dir={data_dir}', *extra) == 0
    folder = data_dir / 'synthetic_dance' / 't' / '1.2.0'
    files.append({p.name: p.read_bytes() for p in folder.iterdir()})
  assert len(files[0]) == 6 and files[0] == files[1]


@needs_beam
def test_videos_and_a_broken_one_are_the_same(tmp_path):
  videos = tmp_path / 'videos'
  videos.mkdir()
  for name in 'abc':
    write_video(videos / f'{name}.mp4', 1.5)
    write_pose_file(videos / f'{name}.npz', pose_track(1.5))
  (videos / 'broken.mp4').write_bytes(b'no video at all')
  write_pose_file(videos / 'broken.npz', pose_track(1.5))
  songs = 'file,style,song\n' + 'a.mp4,pop,X\nbroken.mp4,pop,X\nb.mp4,pop,X\n'
  (videos / 'styles.csv').write_text(songs)
  contents = []
  for kwargs in ({}, {'beam_options': options('multi_threading', 2)}):
    builder = tfds.builder(
      'clip_folder', data_dir=str(tmp_path / str(len(kwargs))), num_workers=1
    )
    builder.download_and_prepare(
      download_config=tfds.download.DownloadConfig(manual_dir=videos, **kwargs)
    )
    contents.append(content(builder))
  assert b'broken.mp4' in contents[0]['failures.jsonl']
  assert contents[0] == contents[1]


@needs_beam
@pytest.mark.parametrize('mode', [LOCAL, ('multi_processing', 2)])
def test_a_task_that_kills_its_process_is_a_failure(mode, tmp_path):
  tasks = {'train': [Task('a'), Task('b', 'die'), Task('c')]}
  built = beam_build(tmp_path, tasks, mode)
  assert ids(built) == ['a#0', 'c#0']
  assert built.info.metadata['num_failed'] == {'worker/died': 1}


@needs_beam
@pytest.mark.parametrize('mode', [LOCAL, ('multi_processing', 1)])
def test_what_read_raises_comes_out_as_such(mode, tmp_path):
  tasks = [Task('a'), Task('b', 'input')]
  with pytest.raises(InputError) as error:
    beam_build(tmp_path, {'train': tasks}, mode)
  assert str(error.value) == 'b is wrong; expected better; mend it'
  assert not Toy(tasks={}, data_dir=str(tmp_path)).is_prepared()


@needs_beam
def test_a_defect_comes_out_with_its_own_traceback(tmp_path):
  with pytest.raises(
    beam_work.TaskError, match='not in my arithmetic'
  ) as error:
    beam_build(tmp_path, {'train': [Task('b', 'defect')]})
  text = str(error.value)
  assert 'b: ' in text and 'in read' in text and 'apache_beam' not in text


@needs_beam
def test_a_defect_does_not_wait_for_the_other_tasks(tmp_path, marks):
  tasks = [Task(f'a{k}', 'defect', marks=str(marks)) for k in range(64)]
  with pytest.raises(beam_work.TaskError):
    beam_build(tmp_path, {'train': tasks})
  assert len(read_names(marks)) <= 4


@needs_beam
def test_a_limit_of_examples_reads_little_more(plain, tmp_path, marks):
  tasks = {'train': [Task(f'a{k}', marks=str(marks)) for k in range(50)]}
  tasks['train'][0] = Task('bad', 'bad', marks=str(marks))
  limited = beam_build(tmp_path / 'beam', tasks, max_examples_per_split=3)
  assert len(read_names(marks)) == 6
  without = build(tmp_path / 'plain', tasks, max_examples_per_split=3)
  assert content(limited) == content(without)


@needs_beam
def test_an_empty_split_and_a_failed_training(tmp_path):
  tasks = {'train': [Task('a')], 'test': [], 'validation': [Task('b', 'bad')]}
  assert set(beam_build(tmp_path / 'a', tasks).info.splits) == {'train'}
  with pytest.raises(InputError, match='1 failed; first: b: it is a bad one'):
    beam_build(tmp_path / 'b', {'train': [Task('b', 'bad')]})


def run(folder, marks, **fields):
  """Run three tasks on Beam; return the names of those that were read."""
  for path in marks.iterdir():
    path.unlink()
  tasks = [
    Task('a', marks=str(marks)),
    Task('b', marks=str(marks), **fields),
    Task('c', marks=str(marks), num_clips=2),
  ]
  results = beam_work.run_on_beam({'s': (RECORDER, tasks)}, config(), folder)
  assert len(list(results['s'])) == 3
  return read_names(marks)


@needs_beam
def test_finished_tasks_are_not_done_again(tmp_path, marks):
  folder = tmp_path / 'parts'
  assert run(folder, marks) == ['a', 'b', 'c']
  assert run(folder, marks) == []
  largest = max(folder.rglob('*'), key=lambda path: path.stat().st_size)
  largest.write_bytes(largest.read_bytes()[:-9])
  assert run(folder, marks) == ['c']
  assert run(folder, marks, kind='bad') == ['b']
  assert run(folder, marks, kind='bad') == ['b'], 'failures are tried again'
  path = tmp_path / 'input'
  path.touch()
  assert run(folder, marks, path=path) == ['b']
  path.write_bytes(b'other')
  assert run(folder, marks, path=path) == ['b']
  assert run(folder, marks, path=path) == []


@needs_beam
def test_a_worker_that_does_not_reach_the_parts_is_one_line(
  tmp_path, monkeypatch
):
  monkeypatch.setattr(parts, 'write', lambda path, part: None)
  with pytest.raises(InputError, match='1 of 1 parts are missing in') as error:
    beam_build(tmp_path, {'train': [Task('a')]})
  assert 'put --data_dir on a disk that all workers reach' in str(error.value)


@needs_beam
@pytest.mark.parametrize(
  'text, message',
  [
    ('runner=Nope', 'Unexpected pipeline runner: Nope'),
    ('runner=no.such.Runner', "No module named 'no'"),
    ('runner=DataflowRunner', 'Missing'),
    ('direct_running_mode=foo', "invalid choice: 'foo'"),
    ('direct_num_workers=x', "invalid int value: 'x'"),
    ('direct_num_worker=2', 'no option direct_num_worker'),
  ],
)
def test_bad_options_are_one_line(text, message, tmp_path, capsys):
  args = 'synthetic_dance/debug', f'--data_dir={tmp_path}'
  assert command(*args, f'--beam_pipeline_options={text}') == 2
  lines = capsys.readouterr().err.strip().splitlines()
  line = lines[-1]
  assert line.startswith('dance2wave: Beam refuses its options')
  assert message in line and 'Traceback' not in ''.join(lines)
  assert 'usage:' not in ''.join(lines)


def kill_tree(process, children):
  process.kill()
  process.wait()
  _, alive = psutil.wait_procs(children, timeout=30)
  return [p for p in alive if p.status() != psutil.STATUS_ZOMBIE]


@needs_beam
@pytest.mark.parametrize('mode', [LOCAL, ('multi_processing', 2)])
def test_a_killed_build_goes_on_where_it_was(mode, tmp_path, marks):
  fields = [(f'a{k}', 'slow', 1, None, str(marks)) for k in range(24)]
  data_dir = tmp_path / 'data'
  code = (
    'import json, sys, toy_dataset\n'
    'from apache_beam.options.pipeline_options import PipelineOptions\n'
    'tasks = [toy_dataset.Task(*f) for f in json.loads(sys.argv[2])]\n'
    'toy_dataset.build(sys.argv[1], {"train": tasks}, '
    'beam_options=PipelineOptions(json.loads(sys.argv[3])))\n'
  )
  args = map(str, (data_dir, json.dumps(fields), json.dumps(flags(*mode))))
  done = []
  with subprocess.Popen(
    [sys.executable, '-c', code, *args],
    cwd=HERE.parent,
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
  ) as process:
    deadline = time.monotonic() + 120
    while len(done) < 4:
      assert time.monotonic() < deadline and process.poll() is None
      time.sleep(0.02)
      done = [p for p in data_dir.rglob('.parts/*/*/*') if not p.suffix]
    children = psutil.Process(process.pid).children(recursive=True)
    assert not kill_tree(process, children)
  tasks = {'train': [Task(*f) for f in fields]}
  assert not Toy(tasks=tasks, data_dir=str(data_dir)).is_prepared()
  done = {p.name for p in data_dir.rglob('.parts/*/*/*') if not p.suffix}
  assert 4 <= len(done) < 24
  num_read = len(read_names(marks))
  built = beam_build(data_dir, tasks)
  assert len(read_names(marks)) == num_read + 24 - len(done)
  assert content(built) == content(build(tmp_path / 'plain', tasks))
  assert not (data_dir / '.parts').exists()


@needs_beam
def test_a_second_build_on_beam_at_once_is_refused(tmp_path):
  tasks = {'train': [Task('a')]}
  toy = Toy(tasks=tasks, data_dir=str(tmp_path))
  with (
    parts.hold(toy._parts_folder),
    pytest.raises(InputError, match='another build on Beam holds'),
  ):
    beam_build(tmp_path, tasks)
  assert ids(beam_build(tmp_path, tasks)) == ['a#0']
