import collections
import dataclasses
import json
import pathlib
import shutil
import sys

import dancing2music_fixture as fixture
import numpy as np
import pytest
import tensorflow_datasets as tfds
from command_line import run

import dance2wave.datasets  # noqa: F401  (makes the builder known)
from dance2wave.datasets import schema
from dance2wave.datasets.dancing2music import (
  clips,
  normalisation,
  pairing,
  tree,
  units,
)
from dance2wave.datasets.dancing2music.dancing2music_dataset_builder import (
  Dancing2MusicConfig,
  _splits,
)
from dance2wave.datasets.work import Failure
from dance2wave.errors import InputError
from dance2wave.media.audio import read_audio
from dance2wave.media.audio_features import audio_features

tfds.disable_progress_bar()

STYLE_OF = {'ballet': 'ballet', 'hiphop': 'hip_hop', 'zumba': 'zumba'}
CHUNK_3 = 'ballet/aBcDeFgHiJ0/3'


def build(manual_dir, data_dir, *, num_workers=1, config='features_only'):
  builder = tfds.builder(
    'dancing2music',
    config=config,
    data_dir=str(data_dir),
    num_workers=num_workers,
  )
  builder.download_and_prepare(
    download_config=tfds.download.DownloadConfig(manual_dir=str(manual_dir))
  )
  return builder


@pytest.fixture(scope='module')
def manual(tmp_path_factory):
  """Return the folder and what is in it."""
  root = tmp_path_factory.mktemp('d2m')
  return root, fixture.write_tree(root)


@pytest.fixture(scope='module')
def built(manual, tmp_path_factory):
  return build(manual[0], tmp_path_factory.mktemp('data'))


def all_clips(builder):
  return {
    clip['clip_id'].decode(): (split, clip)
    for split, source in builder.as_data_source().items()
    for clip in source
  }


def failures_of(builder):
  path = pathlib.Path(builder.data_dir) / 'failures.jsonl'
  return [json.loads(line) for line in path.read_text().splitlines()]


def listed_at(root, name, num_units=0):
  parts = name.split('/')
  return tree.Listed(name, root / 'data' / name, *parts[:3], num_units)


def test_every_movement_is_one_clip(built, manual):
  made = manual[1]
  found = all_clips(built)
  sequences = {n for n in made.sequences if not n.endswith('unitseq3/2.npy')}
  alone = {n for n in made.units if n.endswith('/7.npy')}
  expected = {n.removesuffix('.npy') for n in sequences}
  expected |= {n.removesuffix('.npy') + '#0' for n in alone}
  expected |= {
    f'{fixture.TOLERANCE.removesuffix(".npy")}#{k}' for k in range(4)
  }
  assert set(found) == expected
  assert len(found) == 16 + 16 + 4
  # Units of sequences, sequences of three in those of four, a row of the file.
  repeated = 8 * (4 + 3) + 8 + 1
  assert built.info.metadata['num_repeated'] == repeated
  assert built.info.metadata['num_unlisted'] == 1
  assert 'tensorflow' not in sys.modules


def test_what_is_in_a_clip(built, manual):
  found = all_clips(built)
  _, clip = found[f'{CHUNK_3}/unitseq4/1']
  pixels = manual[1].sequences[f'{CHUNK_3}/unitseq4/1.npy'].reshape(-1, 14, 2)
  np.testing.assert_array_equal(clip['pose'][..., :2], pixels / 256)
  assert (clip['pose'][..., 2] == 1).all()
  np.testing.assert_array_equal(clip['pose_time_s'], np.arange(128) / 15)
  frames = [32 * u + b for u in range(4) for b in fixture.BEAT_FRAMES]
  np.testing.assert_array_equal(clip['aux']['beat_frames'], frames)
  np.testing.assert_array_equal(clip['beats_s'], np.array(frames) / 15)
  assert float(clip['duration_s']) == 128 / 15
  assert clip['audio'].shape == (0,)
  assert clip['skeleton'] == b'openpose14'
  assert clip['source'] == b'dancing2music'
  assert clip['group'] == clip['aux']['youtube_id'] == b'aBcDeFgHiJ0'
  assert clip['aux']['chunk_id'] == b'3'
  assert clip['aux']['kind'] == b'sequence'
  _, unit = found[f'{CHUNK_3}/unit/7#0']
  assert unit['aux']['kind'] == b'unit'
  assert unit['pose'].shape == (32, 14, 3)
  np.testing.assert_array_equal(unit['beats_s'] * 15, [3, 11, 19, 27])


def test_the_beats_are_where_the_dancer_stops(built):
  for _, clip in all_clips(built).values():
    if 'aBcDeFgHiJ0/3/unit/' in clip['clip_id'].decode():
      continue  # A joint is missing there.
    speed = np.abs(np.diff(clip['pose'][..., :2], axis=0)).sum(axis=(1, 2))
    around = speed[:-1] + speed[1:]  # of the frame between two steps
    stops = 1 + np.flatnonzero(
      (around[1:-1] < around[:-2]) & (around[1:-1] < around[2:])
    )
    np.testing.assert_array_equal(stops + 1, clip['aux']['beat_frames'])


def test_a_missing_joint_has_no_confidence(built):
  _, clip = all_clips(built)[f'{CHUNK_3}/unit/7#0']
  missing = np.zeros((32, 14), bool)
  missing[5:9, 4] = True
  np.testing.assert_array_equal(clip['pose'][missing], 0)
  np.testing.assert_array_equal(clip['pose'][~missing][:, 2], 1)
  assert clip['pose'][~missing][:, :2].min() > 0.1


@pytest.mark.parametrize(
  'mark', [(-1, 30), (30, -1), (np.nan, 30), (30, np.inf)]
)
def test_half_a_joint_is_missing(mark):
  pixels = np.full((1, 32, 14, 2), 30, np.float32)
  pixels[0, 3, 2] = mark
  assert np.argwhere(units.is_missing(pixels)).tolist() == [[0, 3, 2]]
  pose = units.to_pose(pixels)
  assert np.isfinite(pose).all() and pose[3, 2].tolist() == [0, 0, 0]


def test_features_of_a_chunk_are_not_those_of_a_clip(built, manual):
  for name, (_, clip) in all_clips(built).items():
    aux, folder = clip['aux'], name.rsplit('/', 2)[0]
    assert aux['audio_features_FA'].shape == (0, 28)
    wanted = np.zeros((0, 28))
    if aux['kind'] == b'sequence':
      chunk = folder.rsplit('/', 1)[1]
      features = manual[1].features
      wanted = features.get(f'{folder}/aud/c{chunk}_fps15.npy', wanted)
    np.testing.assert_array_equal(aux['chunk_audio_features_FA'], wanted)
    assert aux['num_placements'] == 0


def test_all_styles_are_drawn_and_no_video_is_in_two_splits(built):
  splits, styles = {}, collections.defaultdict(collections.Counter)
  for split, clip in all_clips(built).values():
    splits.setdefault(clip['group'], set()).add(split)
    styles[split][clip['style'].decode()] += 1
  assert all(len(found) == 1 for found in splits.values())
  assert set(styles['train']) == set(STYLE_OF.values())
  assert set(styles) == {'train', 'validation', 'test'}
  assert len(splits) == 8
  for split, clip in all_clips(built).values():
    word = clip['clip_id'].decode().split('/')[0]
    assert clip['style'].decode() == STYLE_OF[word], split
  # Files: two sequences and two units a video, and the one of five units.
  assert built.info.metadata['num_files'] == {
    'ballet': 12,
    'hiphop': 8,
    'zumba': 13,
  }


def test_every_style_has_a_video_to_train_on_however_few():
  def task(word, video):
    listed = tree.Listed('', pathlib.Path(), word, video, '1', 0)
    return clips.Task(listed, (0,))

  for number in range(30):
    few = [task(word, f'{word}{number}') for word in tree.STYLES]
    assert set(_splits(few).values()) == {'train'}
    shared = [task('ballet', f'{number}{c}') for c in 'abcdef']
    shared += [task('zumba', f'{number}{c}') for c in 'f']
    shared += [task('hiphop', f'{number}{c}') for c in 'e']
    chosen = _splits(shared)
    assert chosen[f'{number}f'] == chosen[f'{number}e'] == 'train'
    assert chosen == _splits(shared[::-1])


def test_bad_files_are_lines(built):
  lines = {line['path']: line for line in failures_of(built)}
  assert set(lines) == set(fixture.BAD)
  for path, text in fixture.BAD.items():
    assert text in lines[path]['message'], lines[path]
    assert path in lines[path]['message']
  assert built.info.metadata['num_failed'] == {
    'units/InputError': 5,
    'features/InputError': 1,
  }


def test_the_same_bytes_again_with_two_workers_from_the_inner_folder(
  built, manual, tmp_path
):
  again = build(manual[0] / 'data', tmp_path, num_workers=2)

  def records(builder):
    files = sorted(pathlib.Path(builder.data_dir).glob('*.array_record*'))
    return [path.read_bytes() for path in files]

  assert len(records(built)) == 3
  assert records(again) == records(built)
  assert again.info.metadata['statistics'] == built.info.metadata['statistics']


def test_statistics_are_the_shipped_ones(built, manual):
  report = tfds.builder(
    'dancing2music', data_dir=built._data_dir_root
  ).info.metadata['statistics']
  stats = manual[0] / 'data' / 'stats'
  for what, stem in (('pose', 'all_onbeat'), ('audio', 'all_aud')):
    assert report[what]['difference'] < 1e-6
    for name in ('mean', 'std'):
      shipped = np.load(stats / f'{stem}_{name}.npy')
      np.testing.assert_allclose(report[what][name], shipped, rtol=1e-6)
  # Units: 7 of a sequence, 2 alone for each of 8 videos; the file of five.
  assert report['pose']['num_frames'] == 32 * (8 * 9 + 5)
  assert report['pose']['reading'] == 'as_positions'
  assert report['audio']['num_frames'] == 8 * (120 + 90) - 90


def moments_of(made):
  pose, audio = normalisation.PoseMoments(), normalisation.Moments()
  for unit in made.units.values():
    pose.add(unit.reshape(-1, 32, 14, 2))
  for rows in made.features.values():
    audio.add(rows)
  return pose, audio


def test_other_statistics_are_told_apart(manual, tmp_path, caplog):
  root, made = manual
  shutil.copytree(root / 'data' / 'stats', tmp_path / 'stats')
  rows = [u.reshape(-1, 14, 2) for u in made.units.values()]
  rows = np.concatenate(rows).astype(np.float64)
  rows[(rows == -1).any(axis=-1)] = np.nan
  flat = rows.reshape(-1, 28)
  np.save(tmp_path / 'stats/all_onbeat_mean.npy', np.nanmean(flat, axis=0))
  np.save(tmp_path / 'stats/all_onbeat_std.npy', np.nanstd(flat, axis=0))
  mean = np.load(tmp_path / 'stats/all_aud_mean.npy')
  np.save(tmp_path / 'stats/all_aud_mean.npy', mean + 0.6)  # of deviation 3
  report = normalisation.compare_statistics(
    tmp_path / 'stats', *moments_of(made)
  )
  assert report['pose']['reading'] == 'left_out'
  assert report['pose']['difference'] < 1e-6
  assert 0.19 < report['audio']['difference'] < 0.22
  assert caplog.text.count('deviations from') == 1
  assert 'all_aud_*.npy' in caplog.text


def test_statistics_that_cannot_be_read_are_said(manual, tmp_path, caplog):
  stats = tmp_path / 'stats'
  shutil.copytree(manual[0] / 'data' / 'stats', stats)
  (stats / 'all_aud_std.npy').unlink()
  np.save(stats / 'all_onbeat_mean.npy', np.ones(3))
  report = normalisation.compare_statistics(stats, *moments_of(manual[1]))
  assert 'does not exist' in report['audio']['problem']
  assert 'shape (3,)' in report['pose']['problem']
  assert report['pose']['difference'] is None
  assert len(report['pose']['mean']) == 28
  assert caplog.text.count('no statistics to compare with') == 2


def test_repeated_movement_can_be_kept(manual, tmp_path):
  config = Dancing2MusicConfig(name='all', keep_repeated=True)
  found = all_clips(build(manual[0], tmp_path, config=config))
  assert len(found) == 16 + 8 + 8 * 9 + 5
  whole = found['zumba/zfwOSEZ8CkQ/3/unitseq4/1'][1]['pose']
  part = found['zumba/zfwOSEZ8CkQ/3/unit/2#0'][1]['pose']
  np.testing.assert_array_equal(part, whole[64:96])


@pytest.mark.parametrize('bpm', [50, 63, 90, 112.5, 150, 200])
def test_beats_land_on_beats_at_any_tempo(bpm):
  rng = np.random.default_rng(round(bpm))
  beats_s = 1 + np.cumsum(60 / bpm * rng.uniform(0.95, 1.05, 12))
  time_s = pairing.frame_times(beats_s)
  assert time_s.shape == (97,)
  np.testing.assert_allclose(time_s[units.beat_frames(3)], beats_s)
  assert (np.diff(time_s) > 0).all()
  first, last = beats_s[1] - beats_s[0], beats_s[-1] - beats_s[-2]
  assert time_s[0] == pytest.approx(beats_s[0] - first * 3 / 8)
  assert time_s[-1] == pytest.approx(beats_s[-1] + last * 5 / 8)
  # Half-way between two beats lies half-way between their frames.
  assert time_s[15] == pytest.approx(beats_s[1:3].mean())


def sound_of(beats_s, duration_s):
  num_samples = round(duration_s * pairing.SAMPLE_RATE_HZ)
  return pairing.Sound(np.zeros(num_samples, np.float32), beats_s)


def test_a_sequence_is_placed_only_where_that_is_certain():
  beats_s = 0.1875 + 0.5 * np.arange(16)
  time_s, number = pairing.place(4, sound_of(beats_s, 8.0), 1)
  assert number == 1 and time_s[0] == pytest.approx(0)
  assert time_s[-1] == pytest.approx(8)
  with pytest.raises(InputError, match='in 5 places; expected at most'):
    pairing.place(3, sound_of(beats_s, 8.0), 4)
  time_s, number = pairing.place(3, sound_of(beats_s, 8.0), 5)
  assert number == 5 and time_s[3] == beats_s[0]
  for sound in (sound_of(beats_s[:15], 8.0), sound_of(beats_s, 7.6)):
    with pytest.raises(InputError, match='room for the 16 of the sequence'):
      pairing.place(4, sound, 1)


def test_silence_fills_what_leaves_the_sound():
  sound = pairing.Sound(np.ones(1600, np.float32), np.zeros(0))
  before = pairing.cut(sound, -0.05, 0.1)
  assert (before[:800] == 0).all() and (before[800:] == 1).all()
  after = pairing.cut(sound, 0.05, 0.1)
  assert (after[:800] == 1).all() and (after[800:] == 0).all()


@pytest.fixture(scope='module')
def with_sound(manual, tmp_path_factory):
  """The tree with the sound of some chunks, and what the config makes of it."""
  root = tmp_path_factory.mktemp('paired')
  shutil.copytree(manual[0] / 'data', root / 'data')
  audio = root / 'audio'
  beats_s = 0.1875 + 0.5 * np.arange(16)
  fixture.write_clicks(audio / 'aBcDeFgHiJ0' / '3.wav', beats_s, 8.0)
  fixture.write_clicks(audio / '-startsDash' / '3.flac', beats_s, 8.0)
  fixture.write_clicks(audio / 'hipHOPhip01' / '3.wav', beats_s, 11.0)
  more_s = 0.1 + 0.4 * np.arange(15)  # 12 beats of 10.txt's sequence fit often
  fixture.write_clicks(audio / 'hipHOPhip02' / '10.wav', more_s, 6.0)
  (audio / 'zfwOSEZ8CkQ').mkdir()
  (audio / 'zfwOSEZ8CkQ' / '3.wav').write_bytes(b'no sound at all')
  return root


@pytest.fixture(scope='module')
def paired(with_sound, tmp_path_factory):
  data_dir = tmp_path_factory.mktemp('data')
  return build(with_sound, data_dir, config='paired')


def test_a_sequence_goes_back_on_the_time_of_its_sound(paired, with_sound):
  found = all_clips(paired)
  assert set(found) == {
    f'{CHUNK_3}/unitseq4/1',
    'ballet/-startsDash/3/unitseq4/1',
  }
  path = with_sound / 'audio' / 'aBcDeFgHiJ0' / '3.wav'
  sound_T = read_audio(path, 16000).samples_T
  for _, clip in found.values():
    time_s, aux = clip['pose_time_s'], clip['aux']
    true_s = 0.1875 + 0.5 * np.arange(16)
    start = np.argmax(
      np.correlate(sound_T, clip['audio'][:8000] / 32768.0, 'valid')[:2000]
    )
    # The beats of the sound, the clip and the frames are the same, within the
    # precision of the detector.
    np.testing.assert_allclose(
      clip['beats_s'] + start / 16000, true_s, atol=0.025
    )
    np.testing.assert_allclose(time_s[aux['beat_frames']], clip['beats_s'])
    assert len(clip['audio']) == round(float(clip['duration_s']) * 16000)
    assert aux['num_placements'] == 1
    floats_T = clip['audio'] / np.float32(32768)
    assert len(aux['audio_features_FA']) == len(audio_features(floats_T, 16000))
    np.testing.assert_allclose(
      aux['audio_features_FA'][:, 13],
      audio_features(floats_T, 16000)[:, 13],
      atol=0.01,
    )
    assert len(aux['chunk_audio_features_FA']) == 120


def test_sounds_that_do_not_do_are_lines(paired):
  lines = [f for f in failures_of(paired) if f['stage'] == 'sound']
  missing = [line for line in lines if line['reason'] == 'missing']
  assert len(missing) == 16 - 5
  assert 'audio/zumbaZUMBA1/10.wav' in {line['path'] for line in missing}
  bad = {f['path']: f['message'] for f in lines if f['reason'] != 'missing'}
  assert set(bad) == {
    'hiphop/hipHOPhip01/3/unitseq4/1.npy',
    'hiphop/hipHOPhip02/10/unitseq3/1.npy',
    'zumba/zfwOSEZ8CkQ/3/unitseq4/1.npy',
  }
  words = ('lasts 11.00 s; expected 8.00 s', 'in 4 places', '3.wav')
  assert all(word in bad[path] for path, word in zip(sorted(bad), words)), bad


def test_more_places_can_be_allowed(with_sound):
  name = 'hiphop/hipHOPhip02/10/unitseq3/1.npy'
  task = clips.Task(
    listed_at(with_sound, name, 3),
    None,
    sound_path=with_sound / 'audio' / 'hipHOPhip02' / '10.wav',
    max_placements=4,
  )
  (clip,) = clips.read_task(task)
  assert clip['aux']['num_placements'] == 4
  np.testing.assert_allclose(np.diff(clip['beats_s']), 0.4, atol=0.03)
  failure = clips.read_task(dataclasses.replace(task, max_placements=3))
  assert isinstance(failure, Failure) and failure.stage == 'sound'


def test_paired_without_any_sound_is_one_line(manual, tmp_path):
  with pytest.raises(InputError, match=r'first: .*audio/aBcDeFgHiJ0/3'):
    build(manual[0], tmp_path, config='paired')


def test_a_silent_sound_is_refused(tmp_path):
  fixture.write_clicks(tmp_path / '3.wav', [], 2.0)
  with pytest.raises(InputError, match='is silent'):
    pairing.read_sound(tmp_path / '3.wav')


@pytest.mark.parametrize(
  'content, message',
  [
    (b'', 'cannot be read'),
    (b'\x80\x04K\x01.', 'cannot be read'),
    (b'PK\x03\x04 an npz', 'cannot be read'),
  ],
)
def test_files_that_are_no_arrays(tmp_path, content, message):
  (tmp_path / '1.npy').write_bytes(content)
  with pytest.raises(InputError, match=message):
    units.read_array(tmp_path / '1.npy')


def test_a_file_cut_short_and_one_of_text(tmp_path):
  path = tmp_path / '1.npy'
  np.save(path, np.ones((32, 14, 2)))
  path.write_bytes(path.read_bytes()[:-100])
  with pytest.raises(InputError, match='cannot be read'):
    units.read_units(path, 0)
  np.save(path, np.array(['a', 'b']))
  with pytest.raises(InputError, match='holds <U1; expected real numbers'):
    units.read_units(path, 0)


def test_coordinates_beyond_reason_are_a_failure(tmp_path):
  path = tmp_path / 'data' / 'zumba' / 'a' / '1' / 'unit' / '1.npy'
  path.parent.mkdir(parents=True)
  np.save(path, np.full((32, 14, 2), 1e6))
  failure = clips.read_task(
    clips.Task(listed_at(tmp_path, 'zumba/a/1/unit/1.npy'), (0,))
  )
  assert isinstance(failure, Failure) and failure.stage == 'schema'
  assert 'divide pixel coordinates' in failure.message


def test_lines_of_lists(tmp_path, caplog):
  folder = tmp_path / 'unitList'
  folder.mkdir()
  good = 'data/zumba/-aaaaaaaaaa/1/unit/1.npy'
  (folder / 'zumba_unit.txt').write_text(
    f'{good} 3 4\r\n\n{good}\ndata/zumba/../../etc/x.npy\n/etc/passwd\n'
    'data/ballet/aaaaaaaaaaa/1/unit/1.npy\ndata\\zumba\\b\\2\\unit\\1.npy\n'
  )
  listed, failures = tree.Tree(tmp_path).read_lists()
  assert [one.name for one in listed] == [
    'zumba/-aaaaaaaaaa/1/unit/1.npy',
    'zumba/b/2/unit/1.npy',
  ]
  assert listed[0].youtube_id == '-aaaaaaaaaa' and listed[0].chunk_id == '1'
  assert [failure.path for failure in failures] == [
    f'unitList/zumba_unit.txt:{line}' for line in (4, 5, 6)
  ]
  assert 'ballet_unit.txt' in caplog.text


def test_a_wrong_folder_is_one_line(manual, tmp_path):
  (tmp_path / 'notes.txt').touch()
  with pytest.raises(InputError, match='no unitList/ballet_unitseq4'):
    build(tmp_path, tmp_path / 'data')
  folder = tmp_path / 'unitList'
  folder.mkdir()
  (folder / 'zumba_unit.txt').touch()
  with pytest.raises(InputError, match='are empty; expected a path a line'):
    build(tmp_path, tmp_path / 'data')
  (folder / 'zumba_unit.txt').write_text('data/zumba/aaaaaaaaaaa/1/unit/1.npy')
  with pytest.raises(InputError, match='no file for training could be used'):
    build(tmp_path, tmp_path / 'data')
  builder = tfds.builder('dancing2music', data_dir=str(tmp_path / 'data'))
  with pytest.raises(InputError, match='expected the folder into which'):
    builder.download_and_prepare()
  assert not builder.is_prepared()


def test_a_config_that_places_nothing_is_refused():
  with pytest.raises(InputError, match='max_placements is 0'):
    Dancing2MusicConfig(name='none', max_placements=0)


def test_styles_are_those_of_the_vocabulary():
  assert set(tree.STYLES) == set(STYLE_OF)
  clip = clips._clip(
    clips.Task(
      listed_at(pathlib.Path(), 'hiphop/aaaaaaaaaaa/1/unit/1.npy'), (0,)
    ),
    np.ones((1, 32, 14, 2), np.float32),
    0,
  )
  assert schema.check_clip(clip, 14)['style'] == 'hip_hop'


def test_the_command(manual, tmp_path):
  result = run(
    'dance2wave.datasets.build',
    'dancing2music',
    f'--manual_dir={manual[0]}',
    f'--data_dir={tmp_path}',
  )
  assert result.returncode == 0, result.stderr
  builder = tfds.builder('dancing2music/features_only', data_dir=str(tmp_path))
  assert sum(len(s) for s in builder.as_data_source().values()) == 36
