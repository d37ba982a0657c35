import json
import pathlib
import re
import shutil
import subprocess
import sys

import aistpp_fixture as fixture
import numpy as np
import pytest
import tensorflow_datasets as tfds
from command_line import run

import dance2wave.datasets  # noqa: F401  (makes the builder known)
from dance2wave.datasets import base, styles
from dance2wave.datasets.aistpp import annotations, lists, sequences, windows
from dance2wave.datasets.aistpp.aistpp_dataset_builder import AistppConfig
from dance2wave.datasets.aistpp.names import GENRES, parse_name, tempo_bpm
from dance2wave.datasets.work import Failure
from dance2wave.errors import InputError
from dance2wave.pose.track import PoseTrack

tfds.disable_progress_bar()


@pytest.fixture(scope='module')
def tree(tmp_path_factory):
  return fixture.write_tree(tmp_path_factory.mktemp('aistpp'))


def copied(tree, tmp_path):
  """The tree again, of links, to change some of it."""
  folder = tmp_path / 'tree'
  shutil.copytree(
    tree, folder, copy_function=lambda a, b: pathlib.Path(b).symlink_to(a)
  )
  return folder


def replaced(path, text):
  path.unlink(missing_ok=True)
  path.parent.mkdir(exist_ok=True)
  path.write_text(text)


def build(folder, data_dir, config=None, num_workers=0):
  """Build; in this process for 0 workers, as starting others takes seconds."""
  builder = tfds.builder(
    'aistpp', config=config, data_dir=str(data_dir), num_workers=num_workers
  )
  with pytest.MonkeyPatch.context() as patch:
    if not num_workers:
      patch.setattr(base, 'run_here', lambda read, tasks, _: map(read, tasks))
    builder.download_and_prepare(
      download_config=tfds.download.DownloadConfig(manual_dir=folder)
    )
  return builder


@pytest.fixture(scope='module')
def built(tree, tmp_path_factory):
  """Config name -> builder, each built once."""
  folder = tmp_path_factory.mktemp('data')
  done = {}

  def get(config):
    if config not in done:
      done[config] = build(tree, folder, config)
    return done[config]

  return get


def clips_of(builder):
  return {
    clip['clip_id'].decode(): (split, clip)
    for split, source in builder.as_data_source().items()
    for clip in source
  }


def failures_of(builder):
  path = pathlib.Path(builder.data_dir) / 'failures.jsonl'
  lines = path.read_text().splitlines() if path.exists() else []
  return [json.loads(line) for line in lines]


def video_name(name):
  return name.replace('cAll', 'c01')


def task_of(folder, name, **changes):
  parts = parse_name(name)
  values = {
    'pose': 'keypoints2d',
    'with_motions': False,
    'window_s': None,
    'numbers': None,
    'sound_path': sequences.find_sound(folder, parts),
  }
  return sequences.Task(parts, folder, **{**values, **changes})


# Names.


def test_a_name_says_what_it_is():
  name = parse_name('gBR_sBM_cAll_d04_mHO3_ch01')
  assert (name.genre, name.situation, name.dancer) == ('BR', 'BM', 'd04')
  assert (name.music, name.choreography) == ('mHO3', 'ch01')
  assert name.sequence == 'gBR_sBM_cAll_d04_mHO3_ch01'
  assert name.video == 'gBR_sBM_c01_d04_mHO3_ch01'
  assert name.performance == 'gBR_sBM_d04_ch01'
  assert name.tempo_bpm == 125
  assert parse_name(name.video) == name


def test_tempo_of_all_60_musics():
  found = {f'm{g}{n}': tempo_bpm(f'm{g}{n}') for g in GENRES for n in range(6)}
  assert len(found) == 60
  for music, tempo in found.items():
    house = [110, 115, 120, 125, 130, 135]
    usual = [80, 90, 100, 110, 120, 130]
    assert tempo == (house if 'HO' in music else usual)[int(music[3])], music
  assert (found['mBR0'], found['mHO5']) == (80, 135)


@pytest.mark.parametrize(
  'text',
  [
    '',
    'gBR_sBM_cAll_d04_mBR0',
    'gXX_sBM_cAll_d04_mBR0_ch01',
    'gBR_sGR_cAll_d04_mBR0_ch01',
    'gBR_sBM_cAll_d04_mBR6_ch01',
    'gBR_sBM_c10_d04_mBR0_ch01',
    'gBR_sBM_cAll_d04_mBR0_ch01.pkl',
    '../gBR_sBM_cAll_d04_mBR0_ch01',
    'gBR_sBM_cAll_d04_mBR0_ch01\n',
  ],
)
def test_a_bad_name_is_refused(text):
  with pytest.raises(InputError, match=r'of the list: .* is no sequence'):
    parse_name(text, 'of the list')


def test_every_genre_has_a_style():
  assert set(styles.WORDS['aistpp']) == set(GENRES)
  for genre in GENRES:
    assert styles.to_style('aistpp', genre) in styles.STYLES


# Lists.


def test_splits_without_what_is_ignored(tree):
  names_of, ignored = lists.read_splits(tree)
  found = {s: [n.sequence for n in names] for s, names in names_of.items()}
  assert found == {
    'train': list(fixture.SPLITS['train'][:3]),
    'validation': list(fixture.SPLITS['val']),
    'test': list(fixture.SPLITS['test']),
  }
  assert {n.sequence for n in ignored} == {fixture.IGNORED}


@pytest.mark.parametrize(
  'split, name, message',
  [
    # A song of the test, danced by another to another choreography.
    ('train', 'gBR_sBM_cAll_d05_mBR0_ch07', 'the song mBR0 is in train'),
    # A choreography of the test to another song.
    ('train', 'gBR_sBM_cAll_d04_mBR5_ch02', 'the performance gBR_sBM_d04_ch02'),
    ('val', 'gBR_sBM_cAll_d04_mBR3_ch02', 'gBR_sBM_d04_ch02 is in validation'),
    ('val', fixture.NAMES[0], 'the performance gBR_sBM_d04_ch03 is in train'),
  ],
)
def test_leaks_are_refused(tree, tmp_path, split, name, message):
  folder = copied(tree, tmp_path)
  path = folder / f'splits/crossmodal_{split}.txt'
  replaced(path, '\n'.join([*fixture.SPLITS[split], name]))
  with pytest.raises(InputError, match=message) as error:
    build(folder, tmp_path / 'data')
  assert name in str(error.value) and '\n' not in str(error.value)


def test_a_leak_that_is_ignored_is_none(tree, tmp_path):
  folder = copied(tree, tmp_path)
  leak = 'gBR_sBM_cAll_d05_mBR0_ch07'
  path = folder / 'splits/crossmodal_train.txt'
  replaced(path, '\n'.join([*fixture.SPLITS['train'], leak]))
  replaced(folder / 'ignore_list.txt', f'{fixture.IGNORED}\r\n{leak}\r\n\r\n')
  names_of, _ = lists.read_splits(folder)
  assert len(names_of['train']) == 3


def published_lists(folder, musics):
  """Lists of the published sizes: 980, 20 and 20 sequences."""
  every = {f'm{genre}{number}' for genre in GENRES for number in range(6)}
  train = [
    f'g{music[1:3]}_sFM_cAll_d{dancer:02}_{music}_ch{number:02}'
    for music in sorted(every - musics)
    for dancer in (1, 2)
    for number in range(10)
  ]
  names = {'train': train[:980]}
  for split, number in (('val', '01'), ('test', '02')):
    names[split] = [
      f'g{music[1:3]}_sBM_cAll_d{dancer:02}_{music}_ch{number}'
      for music in sorted(musics)
      for dancer in (1, 2)
    ]
  (folder / 'splits').mkdir(parents=True)
  for split, some in names.items():
    (folder / f'splits/crossmodal_{split}.txt').write_text('\n'.join(some))
  (folder / 'ignore_list.txt').write_text('')


def test_published_lists_have_the_published_songs(tmp_path):
  published = {'mBR0', 'mHO5', 'mJB5', 'mJS3', 'mKR2', 'mLH4', 'mLO2'}
  published |= {'mMH3', 'mPO1', 'mWA0'}
  assert published == lists.PUBLISHED_MUSICS
  published_lists(tmp_path / 'a', published)
  names_of, _ = lists.read_splits(tmp_path / 'a')
  assert [len(names) for names in names_of.values()] == [980, 20, 20]
  published_lists(tmp_path / 'b', published - {'mBR0'} | {'mLO5'})
  with pytest.raises(InputError, match=r'validation differs .* mBR0, mLO5'):
    lists.read_splits(tmp_path / 'b')


@pytest.mark.parametrize(
  'path, text, message',
  [
    ('splits/crossmodal_val.txt', None, 'crossmodal_val.txt does not exist'),
    ('ignore_list.txt', None, 'data_prep.download_aistpp'),
    ('splits/crossmodal_val.txt', 'hello', "val.txt: 'hello' is no sequence"),
    (
      'splits/crossmodal_val.txt',
      f'{fixture.NAMES[4]}\n{fixture.NAMES[4]}',
      'names gBR_sBM_cAll_d04_mBR0_ch01 2 times',
    ),
    ('keypoints2d', None, 'keypoints2d is not a folder'),
  ],
)
def test_a_wrong_layout_is_one_line(tree, tmp_path, path, text, message):
  folder = copied(tree, tmp_path)
  if (folder / path).is_dir():
    shutil.rmtree(folder / path)
  elif text is None:
    (folder / path).unlink()
  else:
    replaced(folder / path, text)
  with pytest.raises(InputError, match=message) as error:
    build(folder, tmp_path / 'data')
  assert '\n' not in str(error.value)
  assert not list(tmp_path.glob('data/aistpp/[!.]*/*'))


def test_no_folder_is_one_line(tmp_path):
  for folder, message in (
    (None, 'no folder given'),
    (tmp_path / 'none', 'is not a folder'),
  ):
    with pytest.raises(InputError, match=message) as error:
      build(folder, tmp_path / 'data')
    assert 'data_prep.download_aistpp' in str(error.value)


@pytest.mark.parametrize(
  'values, message',
  [
    ({'pose': 'motions'}, "pose is 'motions'"),
    ({'window_s': 0.5}, 'window_s is 0.5'),
    ({'window_s': '2'}, "window_s is '2'"),
    ({'window_s': True}, 'window_s is True'),
    ({'window_s': float('nan')}, 'window_s is nan'),
  ],
)
def test_a_bad_config_is_refused(values, message):
  with pytest.raises(InputError, match=message):
    AistppConfig(name='x', **values)


# Built datasets.


def test_keypoints2d(built):
  builder = built('keypoints2d')
  clips = clips_of(builder)
  assert {k: split for k, (split, _) in clips.items()} == {
    'gBR_sBM_c01_d04_mBR1_ch03#0': 'train',
    'gBR_sBM_c01_d04_mBR1_ch03#1': 'train',
    'gHO_sFM_c01_d19_mHO2_ch07#0': 'train',
    'gHO_sFM_c01_d19_mHO2_ch07#1': 'train',
    'gLH_sBM_c01_d16_mLH0_ch04#0': 'train',
    'gLH_sBM_c01_d16_mLH0_ch04#1': 'train',
    'gBR_sBM_c01_d04_mBR0_ch01#0': 'validation',
    'gBR_sBM_c01_d04_mBR0_ch01#1': 'validation',
    'gMH_sBM_c01_d22_mMH3_ch01#0': 'validation',
    'gBR_sBM_c01_d04_mBR0_ch02#0': 'test',
    'gBR_sBM_c01_d04_mBR0_ch02#1': 'test',
    'gJB_sBM_c01_d08_mJB5_ch02#0': 'test',
  }
  assert failures_of(builder) == []
  assert builder.info.metadata['num_with_sound'] == 3
  assert 'tensorflow' not in sys.modules
  for name in fixture.NAMES:
    parts = [c for k, (_, c) in clips.items() if k.startswith(video_name(name))]
    x = [np.zeros(0)] + [part['pose'][:, 0, 0] for part in parts]
    y = [part['pose'][:, 3, 1] for part in parts]
    if name in (fixture.IGNORED, fixture.WITH_NAN):
      continue
    frames = np.arange(fixture.FRAMES[name])
    pixels = np.concatenate(x) * 1080
    np.testing.assert_allclose(pixels, fixture.nose_x(frames), rtol=1e-5)
    np.testing.assert_allclose(np.concatenate(y) * 1080, 331.25, rtol=1e-5)
    assert sum(float(p['duration_s']) for p in parts) == pytest.approx(
      fixture.FRAMES[name] / 60, abs=1e-4
    )


def test_what_a_clip_says(built):
  _, clip = clips_of(built('keypoints2d'))['gHO_sFM_c01_d19_mHO2_ch07#1']
  texts = {k: v.decode() for k, v in clip['aux'].items() if type(v) is bytes}
  assert texts == {
    'sequence': 'gHO_sFM_cAll_d19_mHO2_ch07',
    'genre': 'HO',
    'situation': 'FM',
    'dancer': 'd19',
    'music': 'mHO2',
    'choreography': 'ch07',
    'camera': 'c01',
    'sound': 'music',
  }
  assert clip['aux']['tempo_bpm'] == 120
  assert clip['source'] == b'aistpp' and clip['style'] == b'house'
  assert clip['group'] == b'gHO_sFM_d19_ch07'
  assert clip['skeleton'] == b'coco17' and clip['pose'].shape == (390, 17, 3)
  assert clip['aux']['start_s'] == pytest.approx(6.5)
  assert clip['pose_time_s'][0] == 0
  np.testing.assert_allclose(np.diff(clip['pose_time_s']), 1 / 60, atol=2e-6)


def test_splits_share_no_group_and_train_no_song(built):
  groups, songs = {}, {}
  for split, clip in clips_of(built('keypoints2d')).values():
    groups.setdefault(split, set()).add(clip['group'])
    songs.setdefault(split, set()).add(clip['aux']['music'])
  assert not groups['train'] & (groups['validation'] | groups['test'])
  assert not groups['validation'] & groups['test']
  assert not songs['train'] & (songs['validation'] | songs['test'])
  assert songs['validation'] & songs['test'] == {b'mBR0'}  # as published


def test_missing_joints_have_no_confidence(built):
  _, clip = clips_of(built('keypoints2d'))['gLH_sBM_c01_d16_mLH0_ch04#0']
  assert not clip['pose'][7].any()
  assert not clip['pose'][9, 4].any() and clip['pose'][9, 3, 2] == 0.75
  assert clip['pose'][11, 5, 2] == 1.0
  assert (clip['pose'][..., 2] > 0).sum() == len(clip['pose']) * 17 - 18


def heard(clips, name):
  """Sound, beats and poses' start of a whole sequence, put together again."""
  parts = [c for k, (_, c) in sorted(clips.items()) if k.startswith(name)]
  audio = np.concatenate([part['audio'] for part in parts])
  beats = [part['beats_s'] + part['aux']['start_s'] for part in parts]
  return audio / 32768, np.concatenate(beats), parts


def test_sound_of_the_music_begins_with_the_poses(built):
  clips = clips_of(built('keypoints2d'))
  audio, beats, parts = heard(clips, video_name(fixture.WITH_MUSIC))
  expected = fixture.clicks(90, 640 / 60)
  assert abs(len(audio) - len(expected)) <= 1
  np.testing.assert_allclose(audio[:-1], expected[: len(audio) - 1], atol=1e-4)
  true_s = fixture.beats(90, 640 / 60)
  assert len(beats) == len(true_s)
  np.testing.assert_allclose(beats, true_s, atol=0.03)
  assert {part['aux']['sound'] for part in parts} == {b'music'}
  assert parts[0]['aux']['detected_bpm'] == pytest.approx(90, rel=0.01)


def test_sound_of_the_video_wins(built, tree, tmp_path):
  clips = clips_of(built('keypoints2d'))
  audio, beats, parts = heard(clips, video_name(fixture.WITH_VIDEO))
  expected = fixture.clicks(80, 12.0)
  assert len(audio) == len(expected)
  assert np.corrcoef(audio, expected)[0, 1] > 0.95
  np.testing.assert_allclose(beats, fixture.beats(80, 12.0), atol=0.03)
  assert {part['aux']['sound'] for part in parts} == {b'video'}
  folder = copied(tree, tmp_path)
  shutil.copy(folder / 'music/mBR1.wav', folder / 'music/mBR0.wav')
  found = sequences.find_sound(folder, parse_name(fixture.WITH_VIDEO))
  assert found.suffix == '.mp4'


def test_beats_of_another_tempo_than_the_name_are_dropped(built):
  clips = clips_of(built('keypoints2d'))
  audio, beats, parts = heard(clips, video_name(fixture.WITH_WRONG_MUSIC))
  assert np.abs(audio).max() > 0.3 and not len(beats)
  assert parts[0]['aux']['detected_bpm'] == pytest.approx(100, rel=0.01)
  assert parts[0]['aux']['tempo_bpm'] == 120


def test_no_sound_is_empty(built):
  _, clip = clips_of(built('keypoints2d'))['gJB_sBM_c01_d08_mJB5_ch02#0']
  assert clip['audio'].shape == clip['beats_s'].shape == (0,)
  assert clip['aux']['sound'] == b'' and clip['aux']['detected_bpm'] == 0
  assert clip['aux']['tempo_bpm'] == 130


def test_keypoints3d_are_projected_by_the_camera(built):
  clips = clips_of(built('keypoints3d'))
  assert set(clips) == set(clips_of(built('keypoints2d')))
  _, clip = clips['gBR_sBM_c01_d04_mBR1_ch03#0']
  num = len(clip['pose'])
  pose3d = clip['aux']['pose3d']
  assert pose3d.shape == (num, 17, 3) and pose3d.dtype == np.float32
  np.testing.assert_allclose(pose3d[:, 0, 1], 1.7, rtol=1e-6)  # metres
  # Half a turn about x: the camera's y points down, its z to the dancer.
  x = 960 + 1500 * pose3d[..., 0] * 100 / 400
  y = 540 + 1500 * (100 - pose3d[..., 1] * 100) / 400
  np.testing.assert_allclose(clip['pose'][..., 0] * 1080, x, rtol=1e-5)
  np.testing.assert_allclose(clip['pose'][..., 1] * 1080, y, rtol=1e-5)
  assert (clip['pose'][..., 2] == 1).all()
  _, torn = clips['gLH_sBM_c01_d16_mLH0_ch04#0']
  assert not torn['pose'][5, 2].any() and not torn['aux']['pose3d'][5, 2].any()
  assert torn['pose'][5, 3, 2] == 1


def test_camera_agrees_with_opencv():
  cv2 = pytest.importorskip('cv2')
  rng = np.random.default_rng(0)
  camera = annotations.Camera(
    1080.0,
    np.array(fixture.CAMERA['matrix']),
    rng.normal(size=3) / 5,
    np.array([3.0, -20.0, 400.0]),
    np.array([0.1, -0.05, 0.01, -0.02, 0.03]),
  )
  points = rng.normal(size=(5, 17, 3)) * 60
  expected, _ = cv2.projectPoints(
    points.reshape(-1, 3),
    camera.rotation,
    camera.translation,
    camera.matrix,
    camera.distortions,
  )
  np.testing.assert_allclose(
    camera.project(points) * 1080, expected.reshape(5, 17, 2), rtol=1e-9
  )
  behind = camera.project(np.full((1, 1, 3), -1e4))
  assert np.isnan(behind).all()


def test_motions_are_cut_with_the_poses(built):
  clips = clips_of(built('motions'))
  for name in ('gBR_sBM_c01_d04_mBR1_ch03', 'gHO_sFM_c01_d19_mHO2_ch07'):
    parts = [clips[f'{name}#{k}'][1] for k in (0, 1)]
    poses = np.concatenate([part['aux']['smpl_poses'] for part in parts])
    sequence = name.replace('c01', 'cAll')
    expected = fixture.motions(sequence)['smpl_poses'].reshape(-1, 24, 3)
    np.testing.assert_allclose(poses, expected, rtol=1e-6)
    assert parts[0]['aux']['smpl_scaling'] == np.float32(93.5)
    assert parts[0]['aux']['smpl_trans'].shape == (len(parts[0]['pose']), 3)


@pytest.mark.parametrize(
  'config, counts',
  [
    ('segments_2s', {'train': 5 + 6 + 6, 'validation': 6 + 4, 'test': 6 + 3}),
    ('segments_6s', {'train': 2 + 2 + 2, 'validation': 2 + 2, 'test': 2 + 1}),
  ],
)
def test_segments_have_one_length(built, config, counts):
  builder, window_s = built(config), int(config[-2])
  clips = clips_of(builder)
  for split, count in counts.items():
    assert builder.info.splits[split].num_examples == count
  for _, clip in clips.values():
    assert clip['duration_s'] == pytest.approx(window_s)
    assert len(clip['pose']) == 60 * window_s
    assert len(clip['audio']) in (0, 16000 * window_s)
  _, second = clips['gHO_sFM_c01_d19_mHO2_ch07_seg2']
  frames = np.arange(60 * window_s) + 60 * window_s
  np.testing.assert_allclose(
    second['pose'][:, 0, 0] * 1080, fixture.nose_x(frames), rtol=1e-5
  )
  # The last of 6 s would stick out; it ends with the sequence of 524 frames.
  number, first = {2: (4, 360), 6: (2, 164)}[window_s]
  _, last = clips[f'gMH_sBM_c01_d22_mMH3_ch01_seg{number}']
  assert last['pose'][0, 0, 0] * 1080 == pytest.approx(
    fixture.nose_x(first), abs=0.3
  )


def test_listed_segments(tree, tmp_path):
  folder = copied(tree, tmp_path)
  segments = folder / 'segments'
  segments.mkdir()
  stem = './aistplus/motion_s2/train/gBR_sBM_c01_d04_mBR1_ch03_seg'
  train = f'{stem}4.npy\n{stem}2.npy\r\n\n'
  (segments / 'aist_motion_train_segment.txt').write_text(train)
  sound = train.replace('.npy', '.wav') + f'{fixture.IGNORED}_seg1\n'
  (segments / 'aist_audio_train_segment.txt').write_text(sound)
  (segments / 'test.txt').write_text('gBR_sBM_cAll_d04_mBR0_ch02 6\n')
  long = 'gHO_sFM_c01_d19_mHO2_ch07_seg1\n'
  (segments / 'aist_motion_train_segment_s6.txt').write_text(long)
  clips = clips_of(build(folder, tmp_path / 'data', 'segments_2s'))
  assert [k for k, (s, _) in clips.items() if s != 'validation'] == [
    'gBR_sBM_c01_d04_mBR1_ch03_seg2',
    'gBR_sBM_c01_d04_mBR1_ch03_seg4',
    'gBR_sBM_c01_d04_mBR0_ch02_seg6',
  ]
  assert len(clips) == 3 + 10  # validation has no list: all of it
  _, clip = clips['gBR_sBM_c01_d04_mBR1_ch03_seg4']
  assert clip['aux']['start_s'] == pytest.approx(6.0)
  clips = clips_of(build(folder, tmp_path / 'data', 'segments_6s'))
  assert [k for k, (s, _) in clips.items() if s == 'train'] == [long.strip()]


@pytest.mark.parametrize(
  'line, message',
  [
    ('gBR_sBM_c01_d04_mBR0_ch02_seg1', 'which is not in the split train'),
    ('gBR_sBM_c01_d04_mBR1_ch03', 'is no segment'),
    ('gBR_sBM_c01_d04_mBR1_ch03_seg0', 'is no segment'),
    ('gXX_sBM_c01_d04_mBR1_ch03_seg1', 'is no sequence'),
  ],
)
def test_a_bad_list_of_segments_is_one_line(tree, tmp_path, line, message):
  folder = copied(tree, tmp_path)
  replaced(folder / 'segments/train.txt', line + '\n')
  with pytest.raises(InputError, match=message):
    build(folder, tmp_path / 'data', 'segments_2s')


def track_of(duration_s):
  num = round(duration_s * 60)
  pose = np.ones((num, 17, 3), np.float32)
  return PoseTrack(pose, np.arange(num) / 60, 'coco17', num / 60)


def test_as_many_segments_as_the_published_lists():
  # Two dancers dance 16 beats to each of the ten songs of the test.
  test_s = [16 * 60 / tempo_bpm(m) for m in sorted(lists.PUBLISHED_MUSICS)] * 2
  assert sum(test_s) == pytest.approx(187.6, abs=0.1)
  for window_s, count in ((2, 86), (6, 36)):
    for change_s in (-0.03, 0.0, 0.03):
      tracks = [track_of(s + change_s) for s in test_s]
      parts = [
        windows.segment_windows(t, t.duration_s, window_s, None) for t in tracks
      ]
      assert sum(map(len, parts)) == count
      for track, some in zip(tracks, parts):
        assert some[0].start_s == 0
        assert some[-1].end_s <= track.duration_s + 1e-9
  # Advanced dance at 80 bpm: the longest sequences of AIST++ have 48 s.
  assert windows.num_segments(48.0, 2) == 24
  assert windows.num_segments(48.0, 6) == 8


# Damaged files.


def changed(function, **changes):
  return lambda name: {**function(name), **changes}


@pytest.mark.parametrize(
  'part, value, message',
  [
    ('keypoints2d', None, 'does not exist'),
    ('keypoints2d', lambda n: [1, 2], 'holds a list'),
    ('keypoints2d', lambda n: {'a': 1}, 'has no array of numbers keypoints2d'),
    (
      'keypoints2d',
      changed(fixture.keypoints2d, keypoints2d=np.zeros((9, 640, 25, 3))),
      r'has shape \(9, 640, 25, 3\); expected \(9, N, 17, 3\)',
    ),
    (
      'keypoints2d',
      changed(fixture.keypoints2d, timestamps=np.arange(639)),
      r'timestamps has shape \(639,\); expected \(640\)',
    ),
    (
      'keypoints2d',
      changed(fixture.keypoints2d, timestamps=np.arange(640) * 40),
      'usual gap of its timestamps is 40',
    ),
    (
      'keypoints2d',
      changed(fixture.keypoints2d, timestamps=np.r_[1, np.arange(639)]),
      'do not increase strictly',
    ),
    (
      'keypoints2d',
      changed(
        fixture.keypoints2d, keypoints2d=np.full((9, 640, 17, 3), np.nan)
      ),
      'no joint is seen',
    ),
    (
      'keypoints2d',
      changed(fixture.keypoints2d, keypoints2d=np.full((9, 640, 17, 3), 1e9)),
      'frame heights from the corner',
    ),
    (
      'motions',
      changed(fixture.motions, smpl_poses=np.zeros((600, 72))),
      r'has shape \(600, 24, 3\); expected \(640, 24, 3\)',
    ),
    (
      'motions',
      changed(fixture.motions, smpl_trans=np.full((640, 3), np.nan)),
      'smpl_trans is not finite',
    ),
    (
      'keypoints3d',
      changed(fixture.keypoints3d, keypoints3d_optim=np.zeros((1, 17, 3))),
      r'1 frame\(s\)',
    ),
  ],
)
def test_a_damaged_file_is_a_failure(tree, tmp_path, part, value, message):
  folder = copied(tree, tmp_path)
  name = fixture.NAMES[0]
  path = folder / part / f'{name}.pkl'
  path.unlink()
  if value is not None:
    fixture.write_pickle(path, value(name))
  pose = 'keypoints3d' if part == 'keypoints3d' else 'keypoints2d'
  task = task_of(folder, name, pose=pose, with_motions=part == 'motions')
  failure = sequences.read_sequence(task)
  assert isinstance(failure, Failure), failure
  assert (failure.path, failure.stage) == (name, part)
  assert re.search(message, failure.message), failure


def test_others_go_on_when_files_fail(tree, tmp_path):
  folder = copied(tree, tmp_path)
  (folder / 'keypoints2d' / f'{fixture.NAMES[0]}.pkl').unlink()
  evil = folder / 'keypoints2d' / f'{fixture.NAMES[5]}.pkl'
  replaced(evil, "cos\nsystem\n(S'touch canary'\ntR.")
  wav = folder / 'music/mHO2.wav'
  replaced(wav, 'no sound')
  builder = build(folder, tmp_path / 'data')
  lines = {line['path']: line for line in failures_of(builder)}
  assert set(lines) == {fixture.NAMES[0], fixture.NAMES[1], fixture.NAMES[5]}
  assert 'asks for os.system' in lines[fixture.NAMES[5]]['message']
  assert lines[fixture.NAMES[1]]['stage'] == 'audio'
  assert builder.info.metadata['num_failed'] == {
    'keypoints2d/InputError': 2,
    'audio/InputError': 1,
  }
  assert builder.info.splits['train'].num_examples == 2
  assert builder.info.splits['test'].num_examples == 3


@pytest.mark.parametrize('unit', ['seconds', 'milliseconds', 'nanoseconds'])
def test_time_stamps_of_any_unit(tree, tmp_path, unit):
  ticks = {'seconds': 1.0, 'milliseconds': 1e3, 'nanoseconds': 1e9}[unit]
  stamps = np.arange(640) / 60 * ticks
  stamps = stamps if unit == 'seconds' else stamps.astype(np.int64)
  value = {**fixture.keypoints2d(fixture.NAMES[0]), 'timestamps': stamps}
  fixture.write_pickle(tmp_path / 'k.pkl', value)
  _, time_s = annotations.read_keypoints2d(tmp_path / 'k.pkl')
  np.testing.assert_allclose(time_s, np.arange(640) / 60, atol=1.1e-3)


def test_poses_that_begin_later_are_heard_later(tree, tmp_path):
  folder = copied(tree, tmp_path)
  name = fixture.WITH_MUSIC
  value = fixture.keypoints2d(name)
  value['timestamps'] = value['timestamps'] + 500_000  # half a second
  path = folder / 'keypoints2d' / f'{name}.pkl'
  path.unlink()
  fixture.write_pickle(path, value)
  clips = sequences.read_sequence(task_of(folder, name))
  expected = fixture.clicks(90, 20.0)[8000:]
  np.testing.assert_allclose(
    clips[0]['audio'][:16000] / 32768, expected[:16000], atol=1e-4
  )
  assert clips[0]['pose_time_s'][0] == 0


def test_a_gap_in_the_poses_is_a_failure(tree, tmp_path):
  folder = copied(tree, tmp_path)
  name = fixture.NAMES[0]
  value = fixture.keypoints2d(name)
  value['timestamps'][121:] += 20_000_000
  path = folder / 'keypoints2d' / f'{name}.pkl'
  path.unlink()
  fixture.write_pickle(path, value)
  task = task_of(folder, name, window_s=2.0, sound_path=None)
  failure = sequences.read_sequence(task)
  assert failure.stage == 'cut' and 'no poses from 2.00' in failure.message


def test_a_sequence_shorter_than_a_segment_is_a_failure(tree):
  task = task_of(tree, fixture.NAMES[7], window_s=20.0)
  failure = sequences.read_sequence(task)
  assert '7.38 s have 0 segments of 20 s' in failure.message
  task = task_of(tree, fixture.NAMES[7], window_s=2.0, numbers=(1, 4))
  failure = sequences.read_sequence(task)
  assert 'have 3 segments of 2 s; expected a segment 4' in failure.message


@pytest.mark.parametrize(
  'text', ['[]', '[1]', '{', '[{"name": "c01", "size": [1920]}]', 'null']
)
def test_a_damaged_camera_is_a_failure(tree, tmp_path, text):
  folder = copied(tree, tmp_path)
  for setting in ('setting1', 'setting2'):
    replaced(folder / f'cameras/{setting}.json', text)
  failure = sequences.read_sequence(
    task_of(folder, fixture.NAMES[0], pose='keypoints3d')
  )
  assert failure.stage == 'keypoints3d'
  assert 'no camera c01 of gBR' in failure.message


def test_a_setting_stays_in_its_folder(tree, tmp_path):
  folder = copied(tree, tmp_path)
  lines = f'{fixture.NAMES[0]} ../../secret\n'
  replaced(folder / 'cameras/mapping.txt', lines)
  with pytest.raises(InputError, match='is no name'):
    annotations.read_camera(folder / 'cameras', fixture.NAMES[0])


# The whole way.


def records(builder):
  files = sorted(pathlib.Path(builder.data_dir).glob('*.array_record*'))
  assert files
  return [path.read_bytes() for path in files]


def test_bytes_do_not_depend_on_workers(tree, built, tmp_path):
  one = build(tree, tmp_path, 'keypoints2d', num_workers=1)
  assert records(one) == records(built('keypoints2d'))


def test_the_command_builds_the_same(tree, built, tmp_path):
  done = run(
    'dance2wave.datasets.build',
    'aistpp',
    f'--manual_dir={tree}',
    f'--data_dir={tmp_path}',
  )
  assert done.returncode == 0, done.stderr
  assert '4 of 7 sequences have no sound' in done.stderr
  found = tfds.builder('aistpp', data_dir=str(tmp_path))
  assert records(found) == records(built('keypoints2d'))
  code = (
    'import sys, tensorflow_datasets as tfds, dance2wave.datasets\n'
    f"b = tfds.builder('aistpp/keypoints2d', data_dir={str(tmp_path)!r})\n"
    "assert len(b.as_data_source('train')) == 6\n"
    "bad = {'tensorflow', 'jax', 'av', 'mediapipe'} & set(sys.modules)\n"
    'assert not bad, bad\n'
  )
  root = pathlib.Path(__file__).parents[1]
  subprocess.run([sys.executable, '-c', code], check=True, cwd=root)


def test_the_command_refuses_in_one_line(tmp_path):
  (tmp_path / 'notes.txt').touch()
  done = run(
    'dance2wave.datasets.build',
    'aistpp/segments_2s',
    f'--manual_dir={tmp_path}',
    f'--data_dir={tmp_path / "data"}',
  )
  (line,) = done.stderr.strip().splitlines()
  assert done.returncode == 2 and 'Traceback' not in done.stderr
  assert line.startswith('dance2wave: ') and 'crossmodal_train.txt' in line
  assert 'data_prep.download_aistpp' in line
