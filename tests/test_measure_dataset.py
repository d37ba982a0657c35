import pathlib
import re

import pytest
import tensorflow_datasets as tfds
from command_line import assert_one_line, run
from test_clip_folder import write_video

from dance2wave.datasets.opening import open_source
from dance2wave.errors import InputError
from dance2wave.pose.track import PoseTrack
from data_prep import measure_dataset as tool

NAME = 'synthetic_dance/debug'
tfds.disable_progress_bar()


@pytest.fixture(scope='module')
def data_dir(tmp_path_factory):
  """Two clips of each split of the debug set."""
  folder = str(tmp_path_factory.mktemp('data'))
  builder = tfds.builder(NAME, data_dir=folder, num_workers=1)
  config = tfds.download.DownloadConfig(max_examples_per_split=2)
  builder.download_and_prepare(download_config=config)
  return folder


def numbers(line):
  return [float(text) for text in re.findall(r'(?<![\w.])\d+\.?\d*', line)]


def test_size_and_speed_of_the_debug_set(data_dir):
  size, read, write = tool.measure_dataset(
    NAME, data_dir, seconds=0.05, with_write=True
  )
  clips = list(open_source(NAME, data_dir))
  mean_s = sum(float(clip['duration_s']) for clip in clips) / len(clips)
  said = numbers(size.partition(': ')[2])
  num_examples, kilobytes, on_disk, said_s, per_10_s = said[:5]
  assert num_examples == 6 and said_s == pytest.approx(mean_s, abs=0.01)
  files = pathlib.Path(data_dir).rglob('*.array_record*')
  num_bytes = sum(path.stat().st_size for path in files)
  assert on_disk == pytest.approx(num_bytes / 6e3, abs=0.1)
  # 16-bit samples, poses at up to 60 fps, and little else.
  assert 320 < per_10_s < 520
  assert kilobytes == pytest.approx(per_10_s * said_s / 10, rel=0.01)
  for line in (read, write):
    per_s, megabytes = numbers(line.partition(': ')[2])[:2]
    assert per_s > 1
    assert megabytes == pytest.approx(per_s * kilobytes / 1e3, rel=0.1, abs=0.1)


def test_only_reading_is_measured_unless_asked(data_dir):
  assert len(list(tool.measure_dataset(NAME, data_dir, seconds=0.01))) == 2


def test_time_is_that_of_the_work():
  def work():
    tool.time.sleep(0.2)
    return 7

  result, cost = tool.timed(work)
  assert result == 7 and 0.2 <= cost.wall_s < 1 and cost.core_s < 0.1


@pytest.mark.parametrize('with_sound', [True, False])
def test_the_stages_of_a_video_are_timed(tmp_path, monkeypatch, with_sound):
  pytest.importorskip('av')
  path = tmp_path / 'a.mp4'
  write_video(path, 2.0, with_sound=with_sound)
  times_s = tool.probe(path).frame_time_s

  def extract(video):
    tool.time.sleep(0.5)
    pose = tool.np.ones((len(times_s), 14, 3))
    return PoseTrack(pose, times_s, 'core14', 2.0)

  monkeypatch.setattr(tool, 'import_mediapipe', lambda: None)
  monkeypatch.setattr(tool, 'extract_poses', extract)
  about, decode, poses, whole, encode = tool.measure_video(path)
  assert about == 'a.mp4: 20 frames of 32x32 in 2.00 s'
  for line, start in (
    (decode, 'decode:'),
    (poses, 'decode and'),
    (whole, 'all'),
  ):
    assert line.startswith(start) and 'core-seconds for 10 s' in line
  in_a_second = [
    numbers(line.partition(': ')[2])[0] for line in (decode, poses, whole)
  ]
  assert in_a_second[2] <= in_a_second[1] <= 40
  assert in_a_second[0] > 0
  assert numbers(encode)[0] > 1


def test_what_was_not_built_is_one_line(data_dir, tmp_path):
  with pytest.raises(InputError, match=r'datasets\.build synthetic_dance'):
    list(tool.measure_dataset(NAME, str(tmp_path), seconds=0.01))
  assert_one_line(run('data_prep.measure_dataset'), '0 datasets named')


def test_the_command_prints_its_lines(data_dir):
  done = run(
    'data_prep.measure_dataset',
    'synthetic_dance/debug',
    f'--data_dir={data_dir}',
    '--seconds=0.05',
    '--write',
  )
  assert done.returncode == 0, done.stderr
  lines = done.stdout.splitlines()
  assert len(lines) == 4 and 'load average' in lines[0]
  assert lines[1].startswith('synthetic_dance/debug/1.2.0: 6 examples')
  assert lines[3].startswith('check, encode and write:')
