import hashlib
import json
import os
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow_datasets as tfds

import dance2wave.datasets  # noqa: F401  (makes the builder known)
from dance2wave.datasets import base, opening, splits, video_clips
from dance2wave.datasets.clip_folder import folder as folder_lib
from dance2wave.datasets.work import Failure
from dance2wave.errors import InputError
from dance2wave.pose.track import PoseTrack, write_pose_file

av = pytest.importorskip('av')
tfds.disable_progress_bar()

CLICKS_S = np.arange(0.4, 60.0, 0.5)
FPS = 10


def pose_track(duration_s, fps=FPS):
  time_s = np.arange(round(duration_s * fps)) / fps
  pose = np.full((len(time_s), 17, 3), 0.5, np.float32)
  pose[:, :, 0] += np.linspace(-0.2, 0.2, 17)
  pose[:, 5, 1] = time_s / 100  # the left shoulder tells the time
  return PoseTrack(pose, time_s, 'coco17', duration_s)


def click_track(duration_s, rate_hz=16000):
  audio = np.zeros(round(duration_s * rate_hz), np.float32)
  for click_s in CLICKS_S[: int(2 * duration_s) - 1]:
    start = round(click_s * rate_hz)
    audio[start : start + 400] = 0.6 * np.sin(np.arange(400) * 0.9)
  return audio


def write_video(path, duration_s, *, with_sound=True):
  rate_hz = 16000
  with av.open(str(path), 'w') as file:
    video = file.add_stream('libx264', rate=FPS)
    video.width = video.height = 32
    video.pix_fmt = 'yuv420p'
    sound = file.add_stream('aac', rate=rate_hz) if with_sound else None
    for k in range(round(duration_s * FPS)):
      picture = np.full((32, 32, 3), k % 256, np.uint8)
      frame = av.VideoFrame.from_ndarray(picture, format='rgb24')
      frame.pts = k
      file.mux(video.encode(frame))
    file.mux(video.encode(None))
    if sound:
      audio = click_track(duration_s)
      for start in range(0, len(audio), 1024):
        part = audio[None, start : start + 1024]
        frame = av.AudioFrame.from_ndarray(part, format='fltp', layout='mono')
        frame.sample_rate, frame.pts = rate_hz, start
        file.mux(sound.encode(frame))
      file.mux(sound.encode(None))


@pytest.fixture(scope='module')
def videos(tmp_path_factory):
  """Three good videos with their poses, one mute, one broken, no song."""
  folder = tmp_path_factory.mktemp('videos')
  (folder / 'sub').mkdir()
  for name, duration_s in (('a', 2.0), ('b', 23.0), ('sub/c', 2.0)):
    write_video(folder / f'{name}.mp4', duration_s)
    write_pose_file(folder / f'{name}.npz', pose_track(duration_s))
  write_video(folder / 'mute.mp4', 2.0, with_sound=False)
  write_pose_file(folder / 'mute.npz', pose_track(2.0))
  (folder / 'broken.mp4').write_bytes(b'no video at all')
  write_pose_file(folder / 'broken.npz', pose_track(2.0))
  (folder / '.hidden.mp4').touch()
  (folder / 'notes.txt').touch()
  return folder


def video_of(videos, name):
  return next(v for v in folder_lib.find_videos(videos) if v.name == name)


def builder_of(folder, data_dir, **kwargs):
  return tfds.builder(
    'clip_folder', folder=folder, data_dir=str(data_dir), **kwargs
  )


@pytest.fixture(scope='module')
def built(videos, tmp_path_factory):
  builder = builder_of(videos, tmp_path_factory.mktemp('data'))
  builder.download_and_prepare()
  return builder


def all_clips(builder):
  return {
    clip['clip_id'].decode(): (split, clip)
    for split, source in builder.as_data_source().items()
    for clip in source
  }


def test_good_files_become_clips_and_bad_ones_lines(built):
  clips = all_clips(built)
  assert sorted(clips) == [
    'a.mp4#0',
    'b.mp4#0',
    'b.mp4#1',
    'b.mp4#2',
    'sub/c.mp4#0',
  ]
  path = pathlib.Path(built.data_dir) / 'failures.jsonl'
  lines = [json.loads(line) for line in path.read_text().splitlines()]
  assert {(line['path'], line['stage']) for line in lines} == {
    ('broken.mp4', 'audio'),
    ('mute.mp4', 'audio'),
  }
  assert all(line['message'] for line in lines)


def test_a_broken_link_is_a_line_and_not_the_end(videos, tmp_path):
  folder = tmp_path / 'f'
  folder.mkdir()
  for name in ('a.mp4', 'a.npz'):
    shutil.copy(videos / name, folder)
  (folder / 'gone.mp4').symlink_to(tmp_path / 'nowhere.mp4')
  (folder / 'loop.mp4').symlink_to(folder / 'loop.mp4')
  one_split = 'file,style,song\na.mp4,,X\ngone.mp4,,X\nloop.mp4,,X\n'
  (folder / 'styles.csv').write_text(one_split)
  builder = builder_of(folder, tmp_path / 'data', num_workers=1)
  builder.download_and_prepare()
  assert set(all_clips(builder)) == {'a.mp4#0'}
  path = pathlib.Path(builder.data_dir) / 'failures.jsonl'
  lines = [json.loads(line) for line in path.read_text().splitlines()]
  found = {line['path']: line['reason'] for line in lines}
  assert found == dict.fromkeys(('gone.mp4', 'loop.mp4'), 'InputError')
  # Nor does it hinder the use of what has been built.
  builder_of(folder, tmp_path / 'data').download_and_prepare()


def test_pieces_of_a_file_share_group_and_split(built):
  pieces = [v for k, v in all_clips(built).items() if k.startswith('b.mp4')]
  assert len({split for split, _ in pieces}) == 1
  assert {clip['group'] for _, clip in pieces} == {b'file:b.mp4'}
  durations = [float(clip['duration_s']) for _, clip in pieces]
  assert max(durations) <= video_clips.MAX_CLIP_S + 1 / FPS
  assert sum(durations) == pytest.approx(23.0)
  assert built.as_data_source('train')


def test_audio_pose_and_beats_are_cut_by_the_same_times(videos):
  clips = video_clips.read_video(video_of(videos, 'b.mp4'))
  start_s = 0.0
  for clip in clips:
    # The shoulder of core14 that tells the time is number 5.
    told_s = clip['pose'][:, 5, 1] * 100
    np.testing.assert_allclose(told_s, clip['pose_time_s'] + start_s, atol=1e-4)
    end_s = start_s + clip['duration_s']
    inside = np.searchsorted(CLICKS_S, [start_s, end_s - 0.2])
    clicks_s = CLICKS_S[slice(*inside)] - start_s
    for click in np.round(clicks_s * 16000).astype(int):
      before = clip['audio'][max(click - 400, 0) : max(click - 80, 0)]
      after = clip['audio'][click : click + 400]
      assert after.max() > 10000 and before.max(initial=0) < 2000, click
    assert np.all(np.diff(clip['beats_s']) > 0.2)
    start_s = end_s
  assert start_s == pytest.approx(23.0)


def test_clips_without_a_dancer_are_left_out_and_said(videos, caplog):
  track = pose_track(32.0)  # Four clips of 8 s.
  pose_FJD = track.pose_FJD.copy()
  pose_FJD[: 8 * FPS, :, 2] = 0
  pose_FJD[17 * FPS : 24 * FPS, :, 2] = 0  # Seen for 1 s of 8.
  pose_FJD[26 * FPS :, :, 2] = 0  # Seen for 2 s of 8: enough.
  track = PoseTrack(pose_FJD, track.pose_time_s, 'coco17', 32.0)
  video = video_of(videos, 'a.mp4')
  audio_T = click_track(32.0)
  caplog.set_level('INFO', logger='absl')
  clips = video_clips.cut(video, track, audio_T, CLICKS_S)
  assert [clip['clip_id'] for clip in clips] == ['a.mp4#1', 'a.mp4#3']
  np.testing.assert_allclose(
    clips[1]['pose'][:, 5, 1] * 100, clips[1]['pose_time_s'] + 24, atol=1e-4
  )
  assert 'a.mp4: 2 of 4 clips' in caplog.text and '20 %' in caplog.text
  nobody = PoseTrack(0 * pose_FJD, track.pose_time_s, 'coco17', 32.0)
  with pytest.raises(InputError, match=r'a\.mp4 .* 0 of them with a dancer'):
    video_clips.cut(video, nobody, audio_T, CLICKS_S)


def test_styles_and_songs(videos, tmp_path):
  folder = tmp_path / 'f'
  shutil.copytree(videos, folder)
  table = 'file,style,song\na.mp4,salsa,X\nsub/c.mp4, pop ,X\nb.mp4,rock,\n'
  (folder / 'styles.csv').write_text(table, encoding='utf-8-sig')
  found = {v.name: (v.style, v.group) for v in folder_lib.find_videos(folder)}
  assert found['a.mp4'] == ('salsa', 'song:X')
  assert found['sub/c.mp4'] == ('pop', 'song:X')
  assert found['b.mp4'] == ('rock', 'file:b.mp4')
  assert found['mute.mp4'] == ('', 'file:mute.mp4')


@pytest.mark.parametrize(
  'table, message',
  [
    ('file;style\na.mp4;pop\n', 'expected file,style'),
    ('file,style\nzz.mp4,pop\n', "names 'zz.mp4'"),
    ('', 'expected file,style'),
  ],
)
def test_a_bad_table_is_named(videos, table, message, tmp_path):
  folder = tmp_path / 'f'
  shutil.copytree(videos, folder)
  (folder / 'styles.csv').write_text(table)
  with pytest.raises(InputError, match=message):
    folder_lib.find_videos(folder)


def test_splits_are_stable_and_train_is_never_empty():
  many = [f'file:{i}' for i in range(1000)]
  chosen = splits.assign_splits(many)
  shares = [list(chosen.values()).count(s) for s in ('train', 'test')]
  assert 740 < shares[0] < 860 and 60 < shares[1] < 140
  fewer = splits.assign_splits(many[:300])
  assert all(chosen[group] == split for group, split in fewer.items())
  for i in range(50):
    assert set(splits.assign_splits([f'file:{i}']).values()) == {'train'}
    two = splits.assign_splits([f'file:{i}', f'file:x{i}'])
    assert 'train' in two.values()
    three = splits.assign_splits([f'file:{i}{c}' for c in 'abc'])
    assert set(three.values()) == {'train', 'validation', 'test'}


def test_of_few_groups_those_with_the_last_places_move_over():
  """Whatever the order of a set in this process."""

  def place(group):
    return hashlib.sha256(group.encode()).hexdigest()

  for i in range(20):
    groups = [g for g in map(f'{i}.{{}}'.format, range(30)) if place(g) < 'cc']
    first, second, third = groups = sorted(groups[:3], key=place)
    chosen = splits.assign_splits(reversed(groups))
    wanted = {first: 'train', second: 'test', third: 'validation'}
    assert chosen == wanted


def test_a_silent_video_says_so(videos, monkeypatch):
  monkeypatch.setattr(
    video_clips,
    'read_audio',
    lambda *_: type('Waveform', (), {'samples_T': np.zeros(32000)}),
  )
  failure = video_clips.read_video(video_of(videos, 'a.mp4'))
  assert failure.stage == 'audio' and 'is silent' in failure.message


@pytest.mark.parametrize('difference_s', [-0.4, 0.4, -1.0, 1.0, 21.0])
def test_poses_of_another_video_are_refused(videos, difference_s, tmp_path):
  shutil.copy(videos / 'a.mp4', tmp_path)
  write_pose_file(tmp_path / 'a.npz', pose_track(2.0 + difference_s))
  found = video_clips.read_video(video_of(tmp_path, 'a.mp4'))
  if abs(difference_s) < 0.5:
    assert not isinstance(found, Failure)
    return
  assert found.stage == 'pose' and found.reason == 'InputError'
  assert f'a.npz lasts {2.0 + difference_s:.2f} s and ' in found.message
  assert 'a.mp4 2.00 s; expected poses of this video; remove' in found.message


@pytest.mark.parametrize('age_s', [60, -60])
def test_a_video_newer_than_its_poses_is_a_warning(
  videos, age_s, tmp_path, caplog
):
  for name in ('a.mp4', 'a.npz'):
    shutil.copy(videos / name, tmp_path)
  time_s = (tmp_path / 'a.npz').stat().st_mtime - age_s
  os.utime(tmp_path / 'a.mp4', (time_s, time_s))
  assert len(video_clips.read_video(video_of(tmp_path, 'a.mp4'))) == 1
  assert ('is newer than its poses' in caplog.text) == (age_s < 0)


def test_a_crash_in_a_decoder_is_a_failure_line(videos, monkeypatch):
  def crash(*_):
    raise MemoryError('too\nlarge')

  monkeypatch.setattr(video_clips, 'detect_beats', crash)
  failure = video_clips.read_video(video_of(videos, 'a.mp4'))
  assert failure == Failure('a.mp4', 'beats', 'MemoryError', 'too large')


def test_no_folder_or_no_video_is_one_line(tmp_path):
  (tmp_path / 'empty').mkdir()
  (tmp_path / 'other').mkdir()
  (tmp_path / 'other' / 'notes.txt').touch()
  for folder, message in (
    (None, 'no folder given'),
    (tmp_path / 'absent', 'is not a folder'),
    (tmp_path / 'empty', 'empty is empty'),
    (tmp_path / 'other', 'no video in'),
  ):
    with pytest.raises(InputError, match=message):
      builder_of(folder, tmp_path / 'data').download_and_prepare()
  assert not list(tmp_path.glob('data/clip_folder/*'))


def test_a_folder_without_a_good_video_is_refused(videos, tmp_path):
  folder = tmp_path / 'bad'
  folder.mkdir()
  for name in ('broken.mp4', 'broken.npz'):
    shutil.copy(videos / name, folder)
  builder = builder_of(folder, tmp_path / 'data')
  with pytest.raises(InputError, match=r'1 failed; first: .*/broken\.mp4'):
    builder.download_and_prepare()
  assert not builder.is_prepared()


def change_styles(folder, _):
  (folder / 'styles.csv').write_text('file,style\na.mp4,salsa\n')


def change_song(folder, _):
  (folder / 'styles.csv').write_text('file,style,song\na.mp4,,X\n')


def change_poses(folder, _):
  write_pose_file(folder / 'a.npz', pose_track(2.0, fps=FPS - 1))


def drop_poses(folder, _):
  (folder / 'a.npz').unlink()


def replace_video(folder, _):
  os.utime(folder / 'a.mp4', (0, 0))


def forget(_, data_dir):
  """Put the fingerprint of an earlier version into the dataset."""
  (path,) = data_dir.glob('clip_folder/*/metadata.json')
  metadata = json.loads(path.read_text())
  path.write_text(json.dumps(metadata | {'fingerprint': '0123456789abcdef'}))


@pytest.mark.parametrize(
  'change, model',
  [
    *((lambda *_: None, model) for model in (None, 'other.task')),
    *((change_styles, None), (change_song, None), (change_poses, None)),
    *((drop_poses, None), (replace_video, None), (forget, None)),
  ],
)
def test_what_has_changed_since_is_a_warning(
  videos, change, model, tmp_path, monkeypatch, caplog
):
  one_by_one = lambda recorder, tasks, _: map(recorder, tasks)  # noqa: E731
  monkeypatch.setattr(base, 'run_here', one_by_one)
  folder, data_dir = tmp_path / 'in', tmp_path / 'out'
  folder.mkdir()
  for name in ('a.mp4', 'a.npz'):
    shutil.copy(videos / name, folder)
  builder_of(folder, data_dir).download_and_prepare()
  caplog.clear()
  change(folder, data_dir)
  builder = builder_of(folder, data_dir, model_path=model)
  builder.download_and_prepare()
  is_same = model is None and change.__name__ == '<lambda>'
  assert ('have changed since' in caplog.text) == (not is_same)
  assert len(builder.as_data_source('train')) == 1


def test_another_folder_is_not_mistaken_for_this_one(built, tmp_path):
  (tmp_path / 'a.mp4').touch()
  again = builder_of(tmp_path, built._data_dir_root)
  with pytest.raises(InputError, match='was built from'):
    again.download_and_prepare()


def test_a_list_of_videos_is_as_good_as_a_folder(videos, tmp_path):
  listed = tmp_path / 'keep.txt'
  listed.write_text(f'{videos / "a.mp4"}\n\nhere.mp4\r\n')
  shutil.copy(videos / 'b.mp4', tmp_path / 'here.mp4')
  shutil.copy(videos / 'b.npz', tmp_path / 'here.npz')
  (tmp_path / 'styles.csv').write_text('file,style\nhere.mp4,Hip-Hop\n')
  builder = builder_of(listed, tmp_path / 'data')
  builder.download_and_prepare()
  clips = all_clips(builder)
  assert len(clips) == 4
  assert clips['here.mp4#0'][1]['style'] == b'hip_hop'
  assert builder.info.metadata['styles'] == {'hip_hop': 3}
  for line, message in (
    ('gone.mp4\n', "names 'gone.mp4'"),
    ('styles.csv\n', "names 'styles.csv'"),
    ('\n', 'names no video'),
  ):
    listed.write_text(line)
    with pytest.raises(InputError, match=message):
      builder_of(listed, tmp_path / 'other').download_and_prepare()


def test_a_folder_of_another_file_format_is_one_line(built, videos, tmp_path):
  shutil.copytree(built._data_dir_root, tmp_path / 'data')
  (info,) = (tmp_path / 'data').glob('clip_folder/*/dataset_info.json')
  text = info.read_text()
  info.write_text(text.replace('array_record', 'tfrecord'))
  data_dir = str(tmp_path / 'data')
  for open_it in (
    lambda: opening.make_builder('clip_folder', data_dir),
    lambda: opening.open_source('clip_folder', data_dir),
    lambda: builder_of(videos, data_dir).download_and_prepare(),
    lambda: tfds.data_source('clip_folder', data_dir=data_dir),
  ):
    with pytest.raises(InputError, match=r'of tfrecord; .* delete the') as e:
      open_it()
    assert str(info.parent) in str(e.value) and '\n' not in str(e.value).strip()
