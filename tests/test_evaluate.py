"""Reports of a model, of a folder of videos, and of a dataset's controls."""

import json
import shutil

import numpy as np
import pytest
from command_line import assert_one_line, run
from warm_tool import WarmTool

from dance2wave import changes, counterfactuals
from dance2wave.pose.track import PoseTrack, write_pose_file


@pytest.fixture(scope='module')
def evaluate():
  imported = 'dance2wave.evaluation', 'dance2wave.evaluation_of_model'
  with WarmTool('dance2wave.evaluate', *imported) as tool:
    yield tool


def report_of(output):
  assert (output / 'report.html').stat().st_size > 50_000
  return json.loads((output / 'report.json').read_text())


def test_a_model_is_scored_and_its_dances_are_changed(trained):
  workdir, _ = trained
  result = run(
    'dance2wave.evaluate',
    f'--workdir={workdir}',
    '--num_clips=3',
    '--num_changed=2',
  )
  assert result.returncode == 0, result.stderr
  flat = report_of(workdir / 'evaluation')
  assert flat['num_clips'] == 3
  for key in ('beat_f70', 'beat_f70_shuffled', 'beat_f70_chance', 'beat_f70_p'):
    assert 0 <= flat[key] <= 1
  assert flat['beat_f35_original'] > 0.9
  assert {'shift_slope', 'still_db', 'style_obeyed'} <= flat.keys()
  assert f'{flat["beat_f70"]:.3f}' in result.stdout


def test_originals_are_scored_as_controls(evaluate, trained, tmp_path):
  data_dir = trained[0].parent / 'tfds'
  result = evaluate(
    '--controls=synthetic_dance/debug',
    f'--tfds_dir={data_dir}',
    '--num_clips=3',
    f'--output={tmp_path}',
  )
  assert result.returncode == 0, result.stderr
  flat = report_of(tmp_path)
  assert flat['beat_f35'] > 0.9 > flat['beat_f35_delayed']
  assert flat['legacy_d2mgan_hit_is_fooled'] == 1


def test_a_folder_of_videos_is_enough(evaluate, trained, tmp_path):
  (clip,) = (trained[0] / 'samples').glob('*.mp4')
  videos = tmp_path / 'videos'
  videos.mkdir()
  rng = np.random.default_rng(0)
  for name in ('a', 'b'):
    shutil.copy(clip, videos / f'{name}.mp4')
    pose = rng.uniform(0.3, 0.7, size=(60, 14, 3)).astype(np.float32)
    pose[..., 2] = 1
    track = PoseTrack(pose, np.arange(60) / 30, 'core14', 2.0)
    write_pose_file(videos / f'{name}.npz', track)
  output = tmp_path / 'out'
  result = evaluate(f'--videos={videos}', f'--output={output}')
  assert result.returncode == 0, result.stderr
  flat = report_of(output)
  assert 'motion_alignment' in flat and 'beat_f70' not in flat


@pytest.mark.parametrize(
  'arguments, words',
  [
    ([], ['0 things to score', '--workdir']),
    (['--workdir=a', '--controls=b'], ['2 things to score']),
    (['--audio={tmp}/no', '--output={tmp}/o'], ['is not a folder']),
    (['--audio={tmp}', '--output={tmp}/o'], ['holds no sound']),
    (['--videos={tmp}'], ['--output is missing']),
    (['--workdir={tmp}'], ['config.json']),
    (['--controls=nothing', '--output={tmp}/o'], ["'nothing'"]),
  ],
)
def test_bad_commands_are_one_line(evaluate, arguments, words, tmp_path):
  filled = [argument.format(tmp=tmp_path) for argument in arguments]
  assert_one_line(evaluate(*filled), *words)


def test_changes_of_a_dance():
  pose_FJD = np.random.default_rng(0).normal(size=(10, 14, 3))
  pose_FJD = pose_FJD.astype(np.float32)
  later = changes.shifted(pose_FJD, 3)
  np.testing.assert_array_equal(later[3:], pose_FJD[:-3])
  np.testing.assert_array_equal(later[:3], pose_FJD[[0, 0, 0]])
  earlier = changes.shifted(pose_FJD, -2)
  np.testing.assert_array_equal(earlier[:-2], pose_FJD[2:])
  longer = changes.stretched(pose_FJD, 2.0)
  np.testing.assert_allclose(longer[::2], pose_FJD)
  np.testing.assert_allclose(longer[1], (pose_FJD[0] + pose_FJD[1]) / 2)
  assert np.ptp(changes.still(pose_FJD), axis=0).max() == 0
  grown = changes.grown(pose_FJD, 2.0)
  np.testing.assert_allclose(
    grown[..., :2].std(axis=0), 2 * pose_FJD[..., :2].std(axis=0), rtol=1e-4
  )
  np.testing.assert_array_equal(grown[..., 2], pose_FJD[..., 2])
  twice = changes.mirrored(changes.mirrored(pose_FJD))
  np.testing.assert_allclose(twice, pose_FJD)


def test_beats_that_do_not_move_have_slope_zero():
  beats_s = np.arange(0.3, 8, 0.5)
  for shift_s, moved_s in ((0.2, beats_s + 0.2), (-0.16, beats_s - 0.16)):
    later = counterfactuals._later_s(beats_s, moved_s, shift_s)
    assert later == pytest.approx(shift_s, abs=1e-6)
    assert counterfactuals._later_s(beats_s, beats_s, shift_s) == (
      pytest.approx(0.0, abs=1e-6)
    )
  ratio = counterfactuals._ratio(beats_s, beats_s * 1.15, 1.15)
  assert ratio == pytest.approx(np.log(1.15))
  assert np.isnan(counterfactuals._ratio(beats_s / 2, beats_s, 0.85))


def test_the_other_octave_is_asked_for_and_told_from_the_first():
  slow_s, fast_s = np.arange(0, 9, 60 / 80), np.arange(0, 9, 60 / 140)
  asked = [counterfactuals._other_octave_bpm(b) for b in (slow_s, fast_s)]
  assert asked == pytest.approx([160, 70])
  assert counterfactuals._is_tempo(slow_s, 160) == 0
  assert counterfactuals._is_tempo(slow_s * 0.51, 160) == 1
  assert np.isnan(counterfactuals._is_tempo(slow_s, np.nan))
