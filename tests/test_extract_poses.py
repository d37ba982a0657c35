import json
import os
import pathlib
import subprocess
import sys
import types

import numpy as np
import pytest

from dance2wave.errors import InputError
from dance2wave.media.video import probe
from dance2wave.pose.model_file import find_model
from dance2wave.pose.track import PoseTrack, read_pose_file, write_pose_file
from data_prep import extract_poses as tool
from data_prep import pose_job

ROOT = pathlib.Path(__file__).parents[1]


def _track(duration_s=0.2):
  time_s = np.arange(4) * duration_s / 6
  return PoseTrack(np.ones((4, 14, 3)), time_s, 'core14', duration_s)


def _duration_s(text):
  """Of a video with this text."""
  return 9.0 if text == 'longer' else 0.2


@pytest.fixture
def fake(monkeypatch):
  """Videos whose text says what happens to them; returns those read."""
  read = []

  def extract(video, model):
    read.append(video.name)
    text = video.read_text()
    if text == 'nobody':
      raise InputError(f'{video}: a person was seen in 0 of 9 frames\n(0 %)')
    if text == 'bug':
      raise ZeroDivisionError('division by zero')
    assert model == pathlib.Path('some.task')
    return _track(_duration_s(text))

  def probe(video):
    return types.SimpleNamespace(duration_s=_duration_s(video.read_text()))

  monkeypatch.setattr(pose_job, 'probe', probe)
  monkeypatch.setattr(pose_job, 'extract_poses', extract)
  monkeypatch.setattr(tool, 'find_model', lambda path: pathlib.Path(path))
  monkeypatch.setattr(tool, 'import_mediapipe', lambda: None)
  return read


def _folder(tmp_path, **texts):
  for name, text in texts.items():
    path = tmp_path / 'videos' / (name.replace('__', '/') + '.mp4')
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
  return tmp_path / 'videos', tmp_path / 'poses'


def _run(videos, output):
  return tool.run([str(videos)], output, num_workers=0, pose_model='some.task')


def _failures(output):
  lines = (output / 'failures.jsonl').read_text().splitlines()
  return [json.loads(line) for line in lines]


def test_bad_videos_are_listed_and_the_others_go_on(fake, tmp_path, capsys):
  videos, output = _folder(
    tmp_path, a='good', b='nobody', c='bug', sub__d='good'
  )
  (videos / 'notes.txt').write_text('no video')
  (videos / '.hidden.mp4').write_text('no video')
  assert _run(videos, output) == 2
  assert fake == ['a.mp4', 'b.mp4', 'c.mp4', 'd.mp4']
  for name in ('a.npz', 'sub/d.npz'):
    np.testing.assert_array_equal(
      read_pose_file(output / name).pose_FJD, _track().pose_FJD
    )
  first, second = _failures(output)
  assert first == {
    'path': str(videos / 'b.mp4'),
    'stage': 'landmarks',
    'reason': 'InputError',
    'message': f'{videos}/b.mp4: a person was seen in 0 of 9 frames (0 %)',
  }
  assert second['reason'] == 'ZeroDivisionError'
  out = capsys.readouterr().out
  assert '2 videos, 8 frames' in out and 'frames/s' in out
  assert '2 failed, see' in out and 'failures.jsonl' in out


def test_second_run_does_only_what_is_left(fake, tmp_path, capsys):
  videos, output = _folder(tmp_path, a='good', b='nobody', c='good')
  _run(videos, output)
  (output / 'c.npz').write_bytes((output / 'c.npz').read_bytes()[:300])
  (videos / 'b.mp4').write_text('good')
  fake.clear()
  assert _run(videos, output) == 0
  assert fake == ['b.mp4', 'c.mp4']
  assert not (output / 'failures.jsonl').exists()
  assert '1 were finished before' in capsys.readouterr().out
  fake.clear()
  assert _run(videos, output) == 0 and not fake


def test_another_take_under_the_same_name_is_done_anew(fake, tmp_path, caplog):
  videos, output = _folder(tmp_path, a='good', b='good', c='good')
  _run(videos, output)
  (videos / 'a.mp4').write_text('longer')
  (videos / 'b.mp4').write_text('as long')
  for name, age_s in (('a', 60), ('b', 60), ('c', -60)):
    time_s = (output / f'{name}.npz').stat().st_mtime + age_s
    os.utime(videos / f'{name}.mp4', (time_s, time_s))
  fake.clear()
  assert _run(videos, output) == 0
  assert fake == ['a.mp4']
  assert read_pose_file(output / 'a.npz').duration_s == 9.0
  (anew, newer) = (record.getMessage() for record in caplog.records)
  assert 'a.mp4: extracting its poses anew: ' in anew
  assert 'lasts 0.20 s and' in anew and '9.00 s' in anew
  assert f'{videos / "b.mp4"} is newer than its poses' in newer


def test_a_model_that_is_not_there_is_refused_at_any_time(
  fake, tmp_path, monkeypatch
):
  videos, output = _folder(tmp_path, a='good')
  _run(videos, output)
  monkeypatch.setattr(tool, 'find_model', find_model)
  assert tool.run([str(videos)], output, num_workers=0) == 0
  with pytest.raises(
    InputError, match=r'pose_model is .*no\.task, which is no'
  ):
    tool.run([str(videos)], output, pose_model=str(tmp_path / 'no.task'))


def test_write_failure_is_one_failure(fake, tmp_path, monkeypatch):
  def full(path, track):
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr(pose_job, 'write_pose_file', full)
  videos, output = _folder(tmp_path, a='good')
  assert _run(videos, output) == 1
  (failure,) = _failures(output)
  assert failure['stage'] == 'write' and 'No space' in failure['message']


def test_bad_arguments_are_named_before_any_work(fake, tmp_path):
  videos, output = _folder(tmp_path, a='good')
  with pytest.raises(InputError, match='none, which does not exist'):
    tool.run([str(tmp_path / 'none')], output)
  (tmp_path / 'void').mkdir()
  with pytest.raises(InputError, match=r'no video.*\.mp4'):
    tool.run([str(tmp_path / 'void')], output)
  (videos / 'a.mov').write_text('good')
  with pytest.raises(InputError, match=r'a\.mov and .*a\.mp4 would both'):
    tool.run([str(videos)], output)
  assert not fake and not output.exists()


def test_same_video_given_twice_is_done_once(fake, tmp_path):
  videos, output = _folder(tmp_path, a='good')
  jobs = tool.find_jobs([str(videos), str(videos / 'a.mp4')], output)
  assert [job.video.name for job in jobs] == ['a.mp4']


def test_command_line_with_a_real_worker(tmp_path, shared_data):
  """A broken video is recorded by a child process; a finished one skipped."""
  model, output = tmp_path / 'unused.task', tmp_path / 'poses'
  model.write_bytes(b'')
  output.mkdir()
  duration_s = probe(shared_data / 'decord' / 'video_90.mov').duration_s
  write_pose_file(output / 'video_90.npz', _track(duration_s))
  done = subprocess.run(
    [
      *(sys.executable, '-m', 'data_prep.extract_poses'),
      f'--input={shared_data / "decord"}',
      f'--output={output}',
      f'--pose_model={model}',
      '--num_workers=1',
    ],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 1, done.stderr
  assert '0 videos' in done.stdout and '1 were finished' in done.stdout
  (failure,) = _failures(output)
  assert failure['path'].endswith('corrupted.mp4')


def test_command_line_without_arguments_says_what_is_missing(
  monkeypatch, capsys
):
  monkeypatch.setattr(tool, '_INPUT', types.SimpleNamespace(value=[]))
  monkeypatch.setattr(tool, '_OUTPUT', types.SimpleNamespace(value=None))
  with pytest.raises(SystemExit, match='2'):
    tool.main(['extract_poses'])
  assert 'dance2wave: input or output is missing' in capsys.readouterr().err
