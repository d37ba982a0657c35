"""The main job and the sampling script, as a user runs them."""

import json

import numpy as np
import pytest
from command_line import assert_one_line, run
from warm_tool import WarmTool

from dance2wave.media import audio, video
from dance2wave.metrics.beats import TOLERANCES_S
from dance2wave.pose.track import PoseTrack, write_pose_file


@pytest.fixture(scope='module')
def main():
  with WarmTool('dance2wave.main', 'dance2wave.experiment') as tool:
    yield tool


@pytest.fixture(scope='module')
def sample():
  imported = 'sampling.files', 'sampling.offline', 'training.warm_start'
  names = [f'dance2wave.{name}' for name in imported]
  with WarmTool('dance2wave.sample', *names) as tool:
    yield tool


def test_main_prints_a_table_and_leaves_figures_and_videos(trained):
  workdir, printed = trained
  figures = json.loads((workdir / 'result.json').read_text())
  for key in TOLERANCES_S:
    for suffix in ('', '_shuffled', '_original', '_librosa'):
      assert 0 <= figures[key + suffix] <= 1
  for key in ('nll', 'nll_shuffled_pose', 'num_clips', 'seconds_total'):
    assert figures[key] > 0
  assert any(name.endswith(' version') for name in figures['dataset'])
  assert f'{figures["beat_f70"]:.3f}' in printed
  (clip,) = (workdir / 'samples').glob('*.mp4')
  assert clip.with_suffix('.png').stat().st_size > 10_000
  info = video.probe(clip)
  sound = audio.read_audio(clip, 8000)
  assert len(sound.samples_T) == round(info.duration_s * 8000)
  lines = (workdir / 'metrics.jsonl').read_text().splitlines()
  steps = [json.loads(line) for line in lines]
  losses = [row for row in steps if 'loss' in row]
  assert [row['step'] for row in losses] == list(range(1, 21))
  assert steps == losses
  assert 'eval_nll_shuffled_pose' in steps[-1]
  assert list((workdir / 'tensorboard').iterdir())


def test_main_says_that_it_is_finished(main, trained):
  workdir, _ = trained
  data_dir = workdir.parent / 'tfds'
  result = main(
    '--config=configs/debug.py',
    f'--config.dataset.data_dir={data_dir}',
    f'--workdir={workdir}',
  )
  assert result.returncode == 0, result.stderr
  assert 'is finished' in result.stdout


def test_main_refuses_the_workdir_of_another_config(main, trained):
  workdir, _ = trained
  result = main(
    '--config=configs/debug.py',
    '--config.wave.residual=12',
    f'--workdir={workdir}',
  )
  assert_one_line(result, 'wave.residual=8', '12', str(workdir))


@pytest.mark.parametrize(
  'arguments, words',
  [
    (['--config=configs/nothing.py'], ['configs/nothing.py']),
    ([], ['--config', 'configs/wavenet.py']),
    (
      ['--config=configs/debug.py', '--config.train.batch_sise=3'],
      ['batch_sise', 'batch_size'],
    ),
    (
      ['--config=configs/debug.py', '--config.pose_rate_hz=30'],
      ['pose_rate_hz=30', '8000'],
    ),
    (
      ['--config=configs/debug.py:synthetic_dance/ambigous'],
      ['ambigous', 'ambiguous'],
    ),
    (
      ['--config=configs/debug.py', '--config.pose.look_ahead_s=0.1'],
      ['pose.look_ahead_s=0.1', 'at least'],
    ),
    (
      ['--config=configs/debug.py', '--config.train.batch_size=many'],
      ['many'],
    ),
    (['--config=configs/debug.py', 'more'], ['more']),
    (
      ['--config=configs/debug.py', '--workdir=/proc/nowhere'],
      ['/proc/nowhere'],
    ),
    (
      ['--config=configs/debug.py:kinetix', '--workdir=/tmp/d2w_never'],
      ['kinetix', 'synthetic_dance'],
    ),
    (
      ['--config=configs/debug.py:clip_folder', '--workdir={tmp}/run'],
      ['no folder given', 'datasets.build clip_folder --manual_dir='],
    ),
    (
      [
        '--config=configs/debug.py:synthetic_dance/debug,clip_folder',
        '--config.dataset.weights=(3, 1, 1)',
      ],
      ['dataset.weights=(3.0, 1.0, 1.0)', '2 number(s)'],
    ),
  ],
)
def test_main_refuses_bad_input_in_one_line(main, arguments, words, tmp_path):
  filled = [argument.format(tmp=tmp_path) for argument in arguments]
  assert_one_line(main(*filled), *words)


def write_dance(path, duration_s=1.3):
  rng = np.random.default_rng(0)
  frames = round(duration_s * 30)
  base = rng.uniform(0.3, 0.7, size=(1, 14, 3))
  pose = base + 0.02 * rng.normal(size=(frames, 14, 3))
  pose[..., 2] = 1.0
  track = PoseTrack(
    pose.astype(np.float32), np.arange(frames) / 30, 'core14', frames / 30
  )
  write_pose_file(path, track)
  return path


def test_sample_turns_a_pose_file_into_sound_and_video(trained, tmp_path):
  workdir, _ = trained
  dance = write_dance(tmp_path / 'dance.npz')
  for name in ('out.wav', 'out.mp4'):
    result = run(
      'dance2wave.sample',
      f'--workdir={workdir}',
      f'--input={dance}',
      f'--output={tmp_path / name}',
      '--style=house',
      '--temperature=0.8',
    )
    assert result.returncode == 0, result.stderr
    assert name in result.stdout
    assert 'engine: cpu' in result.stdout
  sound = audio.read_audio(tmp_path / 'out.wav')
  assert len(sound.samples_T) == round(1.3 * 8000)
  assert abs(video.probe(tmp_path / 'out.mp4').duration_s - 1.3) < 1e-3


def test_sample_without_an_output_writes_beside_the_input(
  sample, trained, tmp_path
):
  workdir, _ = trained
  write_dance(tmp_path / 'dance.npz')
  result = sample(f'--workdir={workdir}', f'--input={tmp_path}')
  assert result.returncode == 0, result.stderr
  assert (tmp_path / 'dance_dance2wave.mp4').exists()


def test_sample_goes_on_after_a_bad_file(sample, trained, tmp_path):
  (tmp_path / 'bad.npz').write_bytes(b'no poses')
  write_dance(tmp_path / 'dance.npz')
  result = sample(f'--workdir={trained[0]}', f'--input={tmp_path}')
  assert result.returncode == 2
  bad, count = result.stderr.splitlines()
  assert 'bad.npz' in bad
  assert '1 of 2 inputs' in count
  assert (tmp_path / 'dance_dance2wave.mp4').exists()


@pytest.mark.parametrize(
  'arguments, words',
  [
    (['--input={dance}', '--temperature=hot'], ['temperature', 'hot']),
    (['--input={dance}', '--guidance=2'], ['guidance', 'context_dropout']),
    (['--input=nothing.mp4'], ['nothing.mp4', 'does not exist']),
    ([], ['--input']),
    (['--input={dance}', '--style=waltz'], ['waltz', 'house']),
    (['--input={dance}', '--temperature=-1'], ['temperature=-1']),
    (['--input={dance}', '--output={tmp}/a.txt'], ['.txt', '.wav']),
    (['--input={dance}', '--output=/proc/no/a.wav'], ['/proc/no']),
    (['--input={empty}', '--output={tmp}/a.wav'], ['empty.mp4']),
    (['--input={tmp}/folder'], ['folder', 'no dance']),
  ],
)
def test_sample_refuses_bad_input_in_one_line(
  sample, trained, tmp_path, arguments, words
):
  workdir, _ = trained
  dance = write_dance(tmp_path / 'dance.npz')
  empty = tmp_path / 'empty.mp4'
  empty.touch()
  (tmp_path / 'folder').mkdir()
  places = {'dance': dance, 'tmp': tmp_path, 'empty': empty}
  before = sorted(tmp_path.rglob('*'))
  filled = [argument.format(**places) for argument in arguments]
  result = sample(f'--workdir={workdir}', *filled)
  assert_one_line(result, *words)
  assert sorted(tmp_path.rglob('*')) == before


def test_sample_refuses_a_folder_that_is_no_workdir(sample, tmp_path):
  dance = write_dance(tmp_path / 'dance.npz')
  result = sample(f'--workdir={tmp_path}', f'--input={dance}')
  assert_one_line(result, 'config.json', str(tmp_path))
