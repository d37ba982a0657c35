"""Real dancers through the whole river. Slow: mediapipe reads every frame."""

import json

import numpy as np
import pytest
from command_line import assert_one_line, run

from dance2wave.media import audio, clip, mux, video
from dance2wave.pose.source import POSE_SUFFIXES, read_pose

pytestmark = pytest.mark.slow

DANCES = (
  'tfjs-pose/pose_1.mp4',
  'sam2/05_default_juggle.mp4',
  'animateddrawings/jesse_dance.bvh',
  'deepmimic/humanoid3d_dance_a.txt',
)


@pytest.mark.parametrize('name', DANCES)
def test_real_dance_gets_sound_of_exactly_its_duration(
  trained,
  shared_data,
  tmp_path,
  name,
):
  workdir, _ = trained
  output = tmp_path / 'out.mp4'
  source = shared_data / name
  result = run(
    'dance2wave.sample',
    f'--workdir={workdir}',
    f'--input={source}',
    f'--output={output}',
  )
  assert result.returncode == 0, result.stderr
  made = video.probe(output)
  if source.suffix in POSE_SUFFIXES:
    assert abs(made.duration_s - read_pose(source).duration_s) < 1e-3
  else:
    wanted = video.probe(source)
    assert abs(made.duration_s - wanted.duration_s) < 1e-3
    np.testing.assert_allclose(
      made.frame_time_s, wanted.frame_time_s, atol=1e-4
    )
  sound = audio.read_audio(output, 8000)
  assert len(sound.samples_T) == round(made.duration_s * 8000)
  assert np.abs(sound.samples_T).max() > 0.01


def test_real_dancers_with_music_become_a_dataset_and_train(
  shared_data, tmp_path
):
  folder = tmp_path / 'videos'
  folder.mkdir()
  music = audio.read_audio(
    shared_data / 'librosa-data' / 'Kevin_MacLeod_-_Vibe_Ace.ogg', 16000
  )
  for index, name in enumerate(DANCES[:2]):
    source = shared_data / name
    duration_s = video.probe(source).duration_s
    first = 16000 * 10 * (index + 1)
    piece = music.samples_T[first : first + round(16000 * duration_s)]
    mux.mux_audio(source, clip.Waveform(piece, 16000), folder / source.name)
  workdir = tmp_path / 'run'
  result = run(
    'dance2wave.main',
    '--config=configs/wavenet.py:clip_folder',
    f'--config.dataset.manual_dir={folder}',
    f'--config.dataset.data_dir={tmp_path / "tfds"}',
    f'--workdir={workdir}',
    '--config.dataset.crop_s=3.0',
    '--config.train.pose_steps=3',
    '--config.train.joint_steps=3',
    '--config.train.warmup_steps=1',
    '--config.train.batch_size=2',
    '--config.train.log_every=1',
    '--config.train.eval_batches=1',
  )
  assert result.returncode == 0, result.stderr
  figures = json.loads((workdir / 'result.json').read_text())
  assert figures['num_steps'] == 6
  assert np.isfinite(figures['nll'])
  lines = (workdir / 'metrics.jsonl').read_text().splitlines()
  assert sum('loss' in json.loads(line) for line in lines) == 6


def test_video_without_a_person_is_one_line(trained, tmp_path):
  workdir, _ = trained
  empty = tmp_path / 'empty_room.mp4'
  frames = (np.full((240, 320, 3), 90 + i, np.uint8) for i in range(30))
  mux.write_video(empty, frames, np.arange(30) / 30)
  result = run(
    'dance2wave.sample',
    f'--workdir={workdir}',
    f'--input={empty}',
    f'--output={tmp_path / "out.mp4"}',
  )
  assert_one_line(result, 'empty_room.mp4', 'person')
  assert not (tmp_path / 'out.mp4').exists()
