"""Reports of a model, of a folder of videos, and of a dataset's controls."""

import json
import shutil
import types
import weakref

import numpy as np
import pytest
from command_line import assert_one_line, run
from small_config import options_with
from warm_tool import WarmTool

from dance2wave import (
  changes,
  counterfactuals,
  evaluated_folder,
  evaluation,
  evaluation_of_model,
  experiment,
)
from dance2wave.datasets.workers import WorkerDied
from dance2wave.errors import InputError
from dance2wave.media import audio, mux
from dance2wave.media import clip as media_clip
from dance2wave.metrics import ruler
from dance2wave.metrics.controls import CONTROLS
from dance2wave.pose.track import PoseTrack, write_pose_file
from dance2wave.sampling import offline
from dance2wave.training import warm_start


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
  for key in (
    'beat_f70',
    'beat_f70_other_dance',
    'beat_f70_chance',
    'beat_f70_p',
  ):
    assert 0 <= flat[key] <= 1
  assert flat['beat_f35_original'] > 0.9
  assert {'shift_slope', 'still_db', 'style_obeyed'} <= flat.keys()
  assert flat['chord_obeyed'] == 1 > flat['chord_obeyed_unchanged']
  assert f'{flat["beat_f70"]:.3f}' in result.stdout
  page = (workdir / 'evaluation' / 'report.html').read_text()
  assert 'synthetic_dance/debug version' in page


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
  page = (tmp_path / 'report.html').read_text()
  assert 'synthetic_dance/debug version' in page


def grey_frames(count):
  return (np.full((32, 32, 3), 90, np.uint8) for _ in range(count))


def test_a_video_is_its_own_dance_whatever_its_ending_looks_like(tmp_path):
  path = tmp_path / 'IMG_[1].MOV'
  mux.write_video(tmp_path / 'a.mov', grey_frames(9), np.arange(9) / 30)
  (tmp_path / 'a.mov').rename(path)
  assert evaluated_folder._dance_of(path, tmp_path) == path


def test_a_video_of_a_name_that_another_has_is_its_own_dance(tmp_path):
  paths = [tmp_path / f'dup.{suffix}' for suffix in ('mov', 'mp4', 'MOV')]
  for path in paths:
    path.touch()
  for path in paths:
    assert evaluated_folder._dance_of(path, tmp_path) == path
  assert evaluated_folder._dance_of(tmp_path / 'dup.wav', tmp_path) == paths[1]
  (tmp_path / 'dup.npz').touch()
  assert evaluated_folder._dance_of(paths[0], tmp_path).suffix == '.npz'


def test_clips_to_look_at_are_the_worst_and_the_best_of_those_with_beats():
  scores = (0.5, np.nan, 0.9, 0.1, 0.7)
  rows = [{'beat_f70': score} for score in scores]
  assert evaluation._chosen(rows, 3) == [3, 0, 2]
  assert evaluation._chosen([{}, *rows[1:3]], 3) == [2, 0, 1]
  assert evaluation._chosen([{}] * 4, 3) == [0, 1, 2]


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
  mux.write_video(videos / 'silent.mp4', grey_frames(60), np.arange(60) / 30)
  write_pose_file(videos / 'silent.npz', track)
  output = tmp_path / 'out'
  result = evaluate(f'--videos={videos}', f'--output={output}')
  assert result.returncode == 0, result.stderr
  assert 'left out' in result.stderr and 'silent.mp4' in result.stderr
  flat = report_of(output)
  assert flat['num_clips'] == 2
  assert [*flat['left_out']] == ['silent.mp4']
  clips, left_out = evaluated_folder.clips_of_folder(videos, videos, 1)
  assert len(clips) == 1 and not left_out
  assert 'motion_alignment' in flat and 'beat_f70' not in flat


@pytest.mark.parametrize('sound_s', [0.5, 3.0])
def test_a_sound_is_cut_or_filled_to_its_dance(tmp_path, sound_s):
  samples_T = np.full(round(sound_s * 8000), 0.3, np.float32)
  audio.write_wav(tmp_path / 'a.wav', media_clip.Waveform(samples_T, 8000))
  pose = np.random.default_rng(0).uniform(0.3, 0.7, size=(30, 14, 3))
  track = PoseTrack(pose, np.arange(30) / 30, 'core14', 1.0)
  write_pose_file(tmp_path / 'a.npz', track)
  (scored,), _ = evaluated_folder.clips_of_folder(tmp_path, tmp_path)
  assert scored.duration_s == 1.0
  assert len(scored.audio_T) == evaluation.SAMPLE_RATE_HZ
  heard = abs(scored.audio_T) > 0.1
  assert heard.mean() == pytest.approx(min(sound_s, 1.0), abs=0.01)
  assert heard[: len(heard) // 2 - 100].all()


@pytest.mark.parametrize('has_audio', [True, False])
def test_a_clip_without_sound_has_no_original_but_its_group(has_audio):
  ready = types.SimpleNamespace(
    **{'clip_id': 'a', 'group': 'song', 'labels': ('pop', 'loud')},
    **{'pose_FJD': np.zeros((75, 14, 3)), 'beats_s': np.ones(1)},
    has_audio=has_audio,
  )
  played_T = np.ones(12000)
  clip = types.SimpleNamespace(clip=ready, audio_T=played_T)
  scored = evaluation.scored(clip, np.zeros(11000), 8000, 50)
  assert scored.original_T is (played_T if has_audio else None)
  assert (scored.duration_s, scored.group, scored.style) == (1.5, 'song', 'pop')


def scored_clips(*groups):
  what = np.zeros(9), 8000, 1.0, np.zeros((9, 14, 3)), 50
  return [
    ruler.Scored(f'{k}', *what, group=group) for k, group in enumerate(groups)
  ]


def test_a_sound_whose_process_dies_is_not_scored_and_the_others_are(
  monkeypatch, caplog
):
  results = [({'beat_f70': 0.5}, np.ones(2)), WorkerDied(None)]

  def measured(_, tasks):
    return (result for _, result in zip(tasks, results))

  monkeypatch.setattr(evaluation, 'ordered_map', measured)
  rows, heard, controls = evaluation.measure_all(scored_clips('', ''), None)
  assert rows == [{'beat_f70': 0.5}, {}] and controls == {}
  assert [len(beats_s) for beats_s in heard] == [2, 0]
  assert '1: its sound is not scored' in caplog.text


def test_a_report_means_over_groups_and_plays_the_worst_and_the_best(
  tmp_path, monkeypatch
):
  clips = scored_clips('a', 'a', 'b', 'a')
  rows = [{'beat_f70': f} for f in (0.2, 0.1, 1.0, 0.3)]
  measured = rows, [np.zeros(0)] * 4, {}
  monkeypatch.setattr(evaluation, 'measure_all', lambda *_: measured)
  monkeypatch.setattr(evaluation, '_player', lambda clip, *_: clip.clip_id)
  written = {}
  monkeypatch.setattr(
    evaluation.report,
    'write_report',
    lambda path, **parts: written.update(parts),
  )
  flat = evaluation.write(tmp_path, 'title', clips)
  assert flat['beat_f70'] == pytest.approx((0.2 + 1.0) / 2)
  assert json.loads((tmp_path / 'report.json').read_text())['num_clips'] == 4
  assert written['clips'] == ['1', '0', '2']
  assert [row['clip_id'] for row in written['rows']] == list('0123')


def test_one_style_is_none_to_judge_by(monkeypatch, caplog):
  labels = ('pop',), (), ('pop', 'loud')
  clips = [
    types.SimpleNamespace(clip=types.SimpleNamespace(labels=each), audio_T=None)
    for each in labels
  ]
  monkeypatch.setattr(evaluation, 'eval_clips', lambda *_, **__: clips)
  monkeypatch.setattr(evaluation.opening, 'open_with_sound', lambda *_, **__: 0)
  assert evaluation.train_classifier('a/b', None, 8000, 50) is None
  assert 'a/b has fewer than two styles' in caplog.text


def test_the_table_shows_figures_beside_chance_and_what_is_not_known():
  flat = {'beat_f70': 0.5, 'beat_f70_low': 0.4, 'beat_f70_high': 0.6}
  flat |= {'beat_f70_is_fooled': 1.0, 'beat_f70_p': 0.03, 'num_clips': 4.0}
  flat |= {'beat_f70_shuffled': 0.21, 'beat_f70_chance': float('nan')}
  _, line = evaluation.format_table(flat).splitlines()
  _, _, cells = line.partition(']')
  assert cells.split()[:4] == ['0.210', '-', '-', '0.030']
  assert '0.500  [ 0.400,  0.600]' in line and 'a control fools it' in line


@pytest.mark.parametrize(
  'arguments, words',
  [
    ([], ['0 things to score', '--workdir']),
    (['--workdir=a', '--controls=b'], ['2 things to score']),
    (['--audio={tmp}/no', '--output={tmp}/o'], ['is not a folder']),
    (['--audio={tmp}', '--output={tmp}/o'], ['holds no sound']),
    (['--videos={tmp}'], ['--output is missing']),
    (['--workdir={tmp}'], ['config.json']),
    (['--workdir={tmp}', '--num_long=2'], ['config.json']),
    (['--workdir={tmp}', '--num_long=1'], ['num_long=1', '0, or 2 and more']),
    (['--controls=nothing', '--output={tmp}/o'], ["'nothing'"]),
    (
      ['--audio=a', '--poses=a', '--tfds_dir=b'],
      ['--tfds_dir with', '--workdir'],
    ),
    (['--workdir=a', '--poses=b'], ['--poses with', '--audio or --videos']),
    (['--videos=a', '--num_changed=3'], ['--num_changed with --videos']),
    (['--controls=a', '--num_long=3'], ['--num_long with --controls']),
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


def test_a_still_body_is_one_that_is_seen():
  pose_FJD = np.random.default_rng(0).uniform(size=(9, 14, 3))
  pose_FJD[:4, 5, 2] = pose_FJD[2:, 9, 2] = 0  # All are never seen at once.
  pose_FJD[0, 3, 2] = 0
  held_FJD = changes.still(pose_FJD)
  assert held_FJD.shape == pose_FJD.shape
  np.testing.assert_array_equal(held_FJD, pose_FJD[[1] * 9])
  pose_FJD[5, 9, 2] = 0.2
  np.testing.assert_array_equal(changes.still(pose_FJD), pose_FJD[[5] * 9])


def test_a_model_that_knows_no_style_of_the_dataset_is_asked_for_none():
  others = types.SimpleNamespace(styles=('kizomba', 'bachata'))
  given = options_with(), None, [np.zeros((4, 14, 3))], others
  assert counterfactuals.ask_styles(*given) == ([], [])


def test_changed_dances_of_one_song_count_once(monkeypatch):
  rng = np.random.default_rng(0)
  poses = list(rng.uniform(size=(3, 60, 14, 3)).astype(np.float32))

  def play(options, generator, poses, **asked):
    # The less a dance moves, the softer its sound.
    return [np.resize(p[..., 0].std(axis=1), 8000) for p in poses]

  def figures(copies, group):
    clips = [
      types.SimpleNamespace(
        pose_FJD=pose, clip_id=f'{copy}, {song}', group=group and str(song)
      )
      for copy in range(copies)
      for song, pose in enumerate(poses)
    ]
    asked = options_with(), None, [types.SimpleNamespace(clip=c) for c in clips]
    return counterfactuals._loudness_figures(counterfactuals._Dances(*asked))

  monkeypatch.setattr(counterfactuals, 'play_poses', play)
  assert figures(4, 'song') == figures(1, '')
  assert figures(4, '') != figures(1, '')


def test_sounds_of_controls_are_made_when_their_turn_comes(monkeypatch):
  """All at once, those of long clips would fill the memory."""
  rng = np.random.default_rng(0)
  clips = [
    ruler.Scored(
      str(number),
      sound_T,
      8000,
      1.0,
      np.zeros((50, 14, 3), np.float32),
      50,
      sound_T,
      np.array([0.1, 0.6]),
    )
    for number, sound_T in enumerate(rng.normal(size=(6, 8000)))
  ]
  alive = []

  def one_by_one(function, tasks):
    for task in tasks:
      alive.append(weakref.ref(task.audio_T))
      is_own = any(task.audio_T is clip.audio_T for clip in clips)
      num_alive = sum(ref() is not None for ref in alive[len(clips) :])
      assert num_alive <= (0 if is_own else 2)
      yield {'beat_f70': float(task.audio_T[40])}, np.zeros(0)

  monkeypatch.setattr(evaluation, 'ordered_map', one_by_one)
  rows, _, controls = evaluation.measure_all(clips, None)
  assert rows == [{'beat_f70': float(clip.audio_T[40])} for clip in clips]
  for kind in CONTROLS:
    found = [{'beat_f70': t[40]} for t in ruler.control_sounds(clips, kind)]
    assert controls[kind] == found


def test_a_dataset_that_was_moved_is_named(monkeypatch, tmp_path):
  options = options_with(dataset__data_dir='/where/it/was')
  opened = []

  def read_clips(options, split):
    opened.append((options.dataset.data_dir, split))
    raise InputError('enough')

  monkeypatch.setattr(
    warm_start, 'load_player', lambda _: (options, None, None)
  )
  monkeypatch.setattr(offline, 'Generator', lambda *_: None)
  monkeypatch.setattr(experiment, 'read_clips', read_clips)
  for given in (None, '/where/it/is'):
    with pytest.raises(InputError, match='enough'):
      evaluation_of_model.write(tmp_path, tmp_path, 2, 0, data_dir=given)
  assert opened == [('/where/it/was', 'test'), ('/where/it/is', 'test')]


def test_styles_are_told_at_any_rates_of_a_model(data_dir):
  source = 'synthetic_dance/debug', str(data_dir)
  assert evaluation.train_classifier(*source, 11025, 25).styles


def test_an_output_that_cannot_be_written_is_refused_before_it_is_scored(
  evaluate, trained, tmp_path
):
  """Else hours of sampling would be lost, in a traceback."""
  output, data_dir = tmp_path / 'report.html', trained[0].parent / 'tfds'
  output.touch()
  for way in (
    [f'--workdir={trained[0]}'],
    ['--controls=synthetic_dance/debug', f'--tfds_dir={data_dir}'],
    [f'--videos={tmp_path}'],
  ):
    result = evaluate(*way, f'--output={output}')
    assert_one_line(result, f'--output={output}', 'File exists')
    assert 'score' not in result.stderr
