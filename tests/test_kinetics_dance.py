import dataclasses
import json
import os
import pathlib
import pickle
import shutil
import subprocess
import sys
import tarfile
import types

import kinetics_fixture as fixture
import numpy as np
import pytest
import tensorflow_datasets as tfds
from kinetics_fixture import COUNTS, OTHER, ROWS

import dance2wave.datasets
from dance2wave.datasets import base, opening, styles
from dance2wave.datasets.kinetics_dance import (
  kinetics_dance_dataset_builder as builder_lib,
)
from dance2wave.datasets.kinetics_dance import layouts
from dance2wave.datasets.kinetics_dance.annotations import (
  SPLITS,
  read_annotations,
)
from dance2wave.errors import InputError
from dance2wave.pose.skeleton import to_core14
from dance2wave.pose.track import read_pose_file
from data_prep import curate

tfds.disable_progress_bar()

# Layout, and the annotations it is built with.
LAYOUTS = {
  fixture.downloader_folders: 'k400',
  fixture.class_folders: None,
  fixture.folders_without_splits: 'k700',
  fixture.class_archives: None,
  fixture.numbered_archives: None,
  fixture.flat_archives: 'txt',
  fixture.flat_folder: 'json',
  fixture.mixed: 'k400',
}


@pytest.fixture(scope='module')
def source(tmp_path_factory):
  """The folder of the pose files, and {annotation: bytes of a video}."""
  folder = tmp_path_factory.mktemp('clips')
  return folder, fixture.make_clips(folder)


@pytest.fixture
def here(monkeypatch):
  """Make clips in this process: starting others takes seconds."""
  one_by_one = lambda recorder, tasks, _: map(recorder, tasks)  # noqa: E731
  monkeypatch.setattr(base, 'run_here', one_by_one)


def lay_out(folder, layout, source, kind=None, rows=None):
  poses, contents = source
  rows = contents if rows is None else rows
  layout(folder, {row: contents[row] for row in rows})
  fixture.add_poses(folder, poses)
  if kind:
    fixture.write_annotations(folder / 'annotations', kind)
  return folder


def build(manual_dir, data_dir, config='k400', **kwargs):
  builder = tfds.builder(
    f'kinetics_dance/{config}', data_dir=str(data_dir), **kwargs
  )
  builder.download_and_prepare(
    download_config=tfds.download.DownloadConfig(manual_dir=str(manual_dir))
  )
  return builder


def records(builder):
  files = pathlib.Path(builder.data_dir).glob('*.array_record*')
  return {path.name: path.read_bytes() for path in files}


def failures(builder):
  path = pathlib.Path(builder.data_dir) / 'failures.jsonl'
  lines = path.read_text().splitlines() if path.exists() else []
  return {line['path']: line for line in map(json.loads, lines)}


def plan(manual_dir, tmp_path, config='k400'):
  """Return {split: tasks} and how many files were ignored, without reading."""
  builder = tfds.builder(f'kinetics_dance/{config}', data_dir=str(tmp_path))
  builder._spool = tmp_path / 'spool'
  manager = types.SimpleNamespace(manual_dir=str(manual_dir))
  works = builder._split_generators(manager)
  tasks = {split: list(work.tasks) for split, work in works.items()}
  return tasks, builder.info.metadata['num_ignored']


def names(tasks):
  return {
    split: [task.video.name for task in tasks[split] if hasattr(task, 'video')]
    for split in tasks
  }


@pytest.fixture(scope='module')
def expected(source, tmp_path_factory):
  """The dataset of the plainest layout."""
  folder = tmp_path_factory.mktemp('expected')
  with pytest.MonkeyPatch.context() as patch:
    one_by_one = lambda recorder, tasks, _: map(recorder, tasks)  # noqa: E731
    patch.setattr(base, 'run_here', one_by_one)
    lay_out(folder / 'in', fixture.class_folders, source)
    return build(folder / 'in', folder / 'out')


def test_examples_are_the_clips_sorted_by_id(expected, source):
  assert {s: i.num_examples for s, i in expected.info.splits.items()} == COUNTS
  assert expected.info.metadata['num_ignored'] == {'another class': 1}
  assert failures(expected) == {}
  clips = {s: list(expected.as_data_source(s)) for s in SPLITS}
  for split in SPLITS:
    rows = [row for row in ROWS if row.split == split]
    rows.sort(key=lambda row: row.clip_id)
    for row, clip in zip(rows, clips[split], strict=True):
      assert clip['clip_id'].decode() == f'{row.clip_id}#0'
      assert clip['source'] == b'kinetics_dance'
      assert clip['group'].decode() == row.youtube_id
      style = styles.to_style('kinetics_dance', row.label)
      assert clip['style'].decode() == style != ''
      assert clip['aux']['label'].decode() == row.label
      assert clip['aux']['youtube_id'].decode() == row.youtube_id
      assert clip['aux']['start_s'] == row.start_s
  assert 'tensorflow' not in sys.modules


def test_sound_and_pose_are_those_of_the_clip(expected, source):
  for split in SPLITS:
    for clip in expected.as_data_source(split):
      clip_id = clip['clip_id'].decode().removesuffix('#0')
      number = [row.clip_id for row in ROWS].index(clip_id)
      track = read_pose_file(source[0] / f'{clip_id}.npz')
      wanted = to_core14(track.pose_FJD, track.skeleton)
      np.testing.assert_array_equal(clip['pose'], wanted)
      assert float(clip['duration_s']) == pytest.approx(fixture.DURATION_S)
      tone = clip['audio'][800:1600] - np.mean(clip['audio'][800:1600])
      strongest_hz = 20 * np.argmax(np.abs(np.fft.rfft(tone)))
      assert abs(strongest_hz - (220 + 55 * number)) <= 20


@pytest.mark.parametrize('layout', LAYOUTS, ids=lambda each: each.__name__)
def test_layouts_give_identical_bytes(layout, source, expected, tmp_path, here):
  lay_out(tmp_path / 'in', layout, source, LAYOUTS[layout])
  built = build(tmp_path / 'in', tmp_path / 'out')
  assert records(built) == records(expected)
  assert len(records(built)) == 3 and failures(built) == {}
  left = [p.name for p in pathlib.Path(built.data_dir).iterdir() if p.is_dir()]
  assert left == []


def test_command_and_workers_give_identical_bytes(source, expected, tmp_path):
  train = [row for row in ROWS if row.split == 'train']
  lay_out(tmp_path / 'in', fixture.class_archives, source, rows=train)
  done = subprocess.run(
    [
      *(sys.executable, '-m', 'dance2wave.datasets.build'),
      'kinetics_dance/k400_strict',
      f'--manual_dir={tmp_path / "in"}',
      f'--data_dir={tmp_path / "two"}',
    ],
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  two = tfds.builder('kinetics_dance/k400', data_dir=str(tmp_path / 'two'))
  one = build(tmp_path / 'in', tmp_path / 'one', num_workers=1)
  name = 'kinetics_dance-train.array_record-00000-of-00001'
  wanted = {name: records(expected)[name]}
  assert records(one) == records(two) == wanted


def test_configs_are_releases_and_class_sets_and_strict_is_the_default():
  configs = tfds.builder_cls('kinetics_dance').builder_configs
  assert next(iter(configs)) == 'k700_2020'
  for release in ('k400', 'k600', 'k700_2020'):
    assert configs[release] is configs[f'{release}_strict']
    assert len(configs[f'{release}_dancing'].labels) == 17
    strict = set(configs[release].labels)
    assert strict < set(configs[f'{release}_loose'].labels)
  assert len({id(config) for config in configs.values()}) == 9
  for config in configs.values():
    for label in config.labels:
      word = styles.to_style('kinetics_dance', label)
      assert word in (*styles.STYLES, '')


def test_both_names_of_a_config_are_one_dataset(tmp_path):
  for name in ('kinetics_dance/k600', 'kinetics_dance/k600_strict'):
    builder = opening.make_builder(name, str(tmp_path))
    assert builder.data_dir == str(tmp_path / 'kinetics_dance/k600/1.0.0')
  default = tfds.builder('kinetics_dance', data_dir=str(tmp_path))
  assert default.builder_config.name == 'k700_2020'
  assert 'kinetics_dance' in dance2wave.datasets.dataset_names()


@pytest.mark.parametrize(
  'origin, label, split, times_s',
  [
    ('train/tap_dancing/-aaaaaaaaa_.mp4', 'tap dancing', 'train', None),
    ('valid/Tap Dancing/-aaaaaaaaa_.mkv', 'tap dancing', 'validation', None),
    ('d/validate/zumba/x/-_345678901.mp4', 'zumba', 'validation', None),
    ('zumba/-_345678901_000002_000012.mp4', 'zumba', None, (2, 12)),
    ('test/zumba.tgz/zumba/-_345678901.mp4', 'zumba', 'test', None),
    (
      'k700_val_032.tar.gz/-_345678901.mp4',
      'belly dancing',
      'validation',
      None,
    ),
    ('val/part_12.tar.gz/-_345678901.mp4', '', 'validation', None),
    ('train/abseiling/-_345678901.mp4', 'abseiling', 'train', None),
    ('123456_0000_000002_000012.mp4', '', None, (2, 12)),
  ],
)
def test_a_place_tells_label_split_and_times(origin, label, split, times_s):
  found = layouts.describe(origin)
  assert (found.label, found.split, found.times_s) == (label, split, times_s)
  assert origin.split('/')[-1].startswith(found.youtube_id)
  assert len(found.youtube_id) == 11


@pytest.mark.parametrize(
  'name', ['abc.mp4', 'abcdefghijk_raw.mp4', 'abcdefghijk_1_11.mp4', '.mp4']
)
def test_other_names_are_no_clips(name):
  assert layouts.describe(f'train/zumba/{name}') is None


@pytest.mark.parametrize(
  'layout, missing',
  [
    (fixture.flat_folder, 'has no label'),
    (fixture.flat_archives, 'has no label'),
    (fixture.folders_without_splits, 'has no split'),
  ],
)
def test_without_annotations_the_layout_must_tell(
  layout, missing, source, tmp_path, here
):
  lay_out(tmp_path / 'in', layout, source)
  with pytest.raises(InputError, match=missing) as error:
    build(tmp_path / 'in', tmp_path / 'out')
  assert 'annotations' in str(error.value) and '\n' not in str(error.value)
  assert not list(tmp_path.rglob('out/**/*.array_record*'))


def test_without_times_and_annotations_the_id_is_the_name(source, tmp_path):
  folder = lay_out(tmp_path, fixture.downloader_folders, source)
  tasks, _ = plan(folder, tmp_path)
  assert names(tasks)['train'] == ['--Zr8_Jq2mE', '-05qSkAhM6x', '_bZx3Q9-k1w']
  assert {t.video.aux['start_s'] for t in tasks['train']} == {-1}


def test_of_several_segments_the_first_of_the_class_counts(tmp_path):
  first = dataclasses.replace(ROWS[0], start_s=1, end_s=11, label='zumba')
  second = dataclasses.replace(ROWS[0], start_s=20, end_s=30)
  third = dataclasses.replace(ROWS[0], start_s=40, end_s=50)
  rows = (first, second, third)
  fixture.write_annotations(tmp_path / 'in', 'k400', rows)
  fixture.downloader_folders(tmp_path / 'in', {ROWS[0]: b''})
  fixture.downloader_folders(tmp_path / 'in', {first: b''})
  tasks, _ = plan(tmp_path / 'in', tmp_path)
  assert names(tasks) == {'train': [first.clip_id, second.clip_id]}
  assert [t.video.style for t in tasks['train']] == ['zumba', 'belly']


def test_a_video_is_in_one_split_across_layouts(tmp_path):
  train = ROWS[0]
  other_time = dataclasses.replace(
    train, start_s=60, end_s=70, split='validation'
  )
  rows = {train: b'', other_time: b'', ROWS[1]: b''}
  fixture.class_folders(tmp_path / 'in', rows)
  again = dataclasses.replace(ROWS[1], split='test')
  fixture.class_archives(tmp_path / 'in', {again: b''})
  tasks, ignored = plan(tmp_path / 'in', tmp_path)
  assert names(tasks) == {
    'validation': [other_time.clip_id],
    'test': [again.clip_id],
  }
  assert ignored == {'video of another split': 1, 'second copy': 1}


def test_a_name_without_times_moves_a_video_as_well(tmp_path):
  fixture.class_folders(tmp_path / 'in', {ROWS[0]: b'', ROWS[1]: b''})
  valid = dataclasses.replace(ROWS[0], split='validation')
  fixture.downloader_folders(tmp_path / 'in', {valid: b''})
  tasks, ignored = plan(tmp_path / 'in', tmp_path)
  assert names(tasks) == {
    'train': [ROWS[1].clip_id],
    'validation': [ROWS[0].clip_id],
  }
  assert ignored == {'another name': 1, 'second copy': 1}


def test_a_video_is_in_one_split_across_releases(source, tmp_path):
  """What validates Kinetics-400 is in the training of Kinetics-700."""
  folder = lay_out(tmp_path / 'in', fixture.class_folders, source)
  k400 = [dataclasses.replace(ROWS[0], split='validation'), *ROWS[1:]]
  fixture.write_annotations(folder / 'a/k400', 'k400', k400)
  fixture.write_annotations(folder / 'a/kinetics700', 'k700', (*ROWS, OTHER))
  for config in ('k400', 'k700_2020'):
    tasks, _ = plan(folder, tmp_path, config)
    assert ROWS[0].clip_id in names(tasks)['validation']
    assert ROWS[0].clip_id not in names(tasks)['train']


def test_annotations_of_another_release_are_refused(source, tmp_path):
  folder = lay_out(tmp_path / 'in', fixture.class_folders, source)
  fixture.write_annotations(folder / 'annotations', 'k700')
  path = folder / 'annotations/rows.csv'
  path.rename(path.with_name('k700_2020_train.csv'))
  with pytest.raises(InputError, match=r'are of k700_2020 .* those of k400'):
    plan(folder, tmp_path, 'k400')
  assert plan(folder, tmp_path, 'k700_2020')[0]


def test_other_tables_are_not_taken_for_annotations(source, tmp_path):
  folder = lay_out(tmp_path / 'in', fixture.class_folders, source)
  (folder / 'scores.csv').write_text(','.join(curate.COLUMNS) + '\na,1,2\n')
  (folder / 'notes.csv').write_text('description,a,b\nx,1,2\n')
  assert plan(folder, tmp_path)[0]


def test_annotations_win_over_folders_and_labels_over_none(tmp_path):
  rows = [
    dataclasses.replace(ROWS[0], label='zumba', split='test'),
    dataclasses.replace(ROWS[1], label=''),
  ]
  fixture.write_annotations(tmp_path / 'in', 'k700', rows)
  fixture.class_folders(tmp_path / 'in', dict.fromkeys(ROWS[:3], b''))
  tasks, _ = plan(tmp_path / 'in', tmp_path)
  found = {
    task.video.name: (split, task.video.aux['label'])
    for split in tasks
    for task in tasks[split]
  }
  assert found == {
    ROWS[0].clip_id: ('test', 'zumba'),
    ROWS[1].clip_id: ('train', 'salsa dancing'),
    ROWS[2].clip_id: ('train', 'tap dancing'),
  }


def test_a_release_that_gives_a_label_wins_over_one_that_does_not(tmp_path):
  bare = dataclasses.replace(ROWS[5], label='')
  fixture.write_annotations(tmp_path / 'in/a', 'k400', [bare])
  fixture.write_annotations(tmp_path / 'in/b', 'k700', [ROWS[5]])
  fixture.flat_folder(tmp_path / 'in', {ROWS[5]: b''})
  tasks, _ = plan(tmp_path / 'in', tmp_path)
  assert names(tasks) == {'test': [ROWS[5].clip_id]}


def test_files_without_annotation_are_counted(tmp_path):
  fixture.write_annotations(tmp_path / 'in', 'k400', ROWS[:2])
  fixture.flat_folder(tmp_path / 'in', dict.fromkeys(ROWS[:3], b''))
  (tmp_path / 'in' / 'readme.mp4').touch()
  (tmp_path / 'in' / 'classes.json').write_text('["zumba"]')
  tasks, ignored = plan(tmp_path / 'in', tmp_path)
  assert len(names(tasks)['train']) == 2
  assert ignored == {'another name': 1, 'no annotation': 1}


def test_a_replacement_wins_over_what_is_corrupted(tmp_path):
  fixture.write_annotations(tmp_path / 'in', 'k400')
  name = f'{ROWS[0].clip_id}.mp4'
  fixture.make_tar(tmp_path / 'in/part_0.tar', {name: b'bad'})
  better = tmp_path / 'in/replacement_for_corrupted_k400.tgz'
  fixture.make_tar(better, {f'replacement/{name}': b'good'})
  tasks, ignored = plan(tmp_path / 'in', tmp_path)
  (task,) = tasks['train']
  piece = task.piece
  content = piece.path.read_bytes()[piece.start :][: piece.num_bytes]
  assert content == b'good' and ignored == {'second copy': 1}


def test_unpacking_again_changes_nothing_that_a_part_depends_on(
  source, tmp_path
):
  folder = lay_out(tmp_path / 'in', fixture.class_archives, source)
  seen = []
  for _ in range(2):
    tasks, _ = plan(folder, tmp_path)
    times_ns = [t.piece.path.stat().st_mtime_ns for t in tasks['train']]
    seen.append((pickle.loads(pickle.dumps(tasks)), times_ns))
    shutil.rmtree(tmp_path / 'spool')
  assert seen[0] == seen[1] and len(seen[0][1]) == 3


def hostile_tar(path, content):
  row = ROWS[0]
  good, name = f'{row.clip_id}.mp4', f'{ROWS[1].clip_id}.mp4'
  with tarfile.open(path, 'w:gz' if path.suffix == '.gz' else 'w') as tar:
    for bad in (f'../../{name}', f'/tmp/{name}', f'x/../../{name}'):
      fixture.add_member(tar, bad, b'evil')
    link = {'type': tarfile.SYMTYPE, 'linkname': '/etc/passwd'}
    fixture.add_member(tar, name, **link)
    hard = {'type': tarfile.LNKTYPE, 'linkname': good}
    fixture.add_member(tar, f'h/{name}', **hard)
    fixture.add_member(tar, f'f/{name}', type=tarfile.FIFOTYPE)
    fixture.add_member(tar, good, content)


@pytest.mark.parametrize('suffix', ['.tar', '.tar.gz'])
def test_hostile_members_are_lines_and_never_read(
  suffix, source, tmp_path, here
):
  folder = tmp_path / 'deep/in/train'
  folder.mkdir(parents=True)
  hostile_tar(folder / f'belly dancing{suffix}', source[1][ROWS[0]])
  fixture.add_poses(folder.parent, source[0])
  before = sorted(tmp_path.rglob('*'))
  built = build(folder.parent, tmp_path / 'out')
  lines = failures(built)
  assert len(lines) == 6
  assert {line['reason'] for line in lines.values()} == {'unsafe'}
  texts = ' '.join(line['message'] for line in lines.values())
  for what in ('absolute path', 'leaves the folder', 'link', 'no plain file'):
    assert what in texts
  assert f'../../{ROWS[1].clip_id}.mp4' in texts
  (clip,) = built.as_data_source('train')
  assert clip['clip_id'].decode() == f'{ROWS[0].clip_id}#0'
  new = set(tmp_path.rglob('*')) - set(before)
  assert all(path.is_relative_to(tmp_path / 'out') for path in new)
  assert not pathlib.Path('/tmp', f'{ROWS[1].clip_id}.mp4').exists()


@pytest.mark.parametrize('suffix', ['.tar', '.tar.gz'])
@pytest.mark.parametrize('share', [0.4, 0.75])
def test_a_cut_archive_is_a_line_and_what_is_whole_is_used(
  suffix, share, source, tmp_path, here
):
  _, contents = source
  folder = lay_out(
    tmp_path / 'in', fixture.class_folders, source, rows=ROWS[4:]
  )
  path = folder / f'train/salsa dancing{suffix}'
  rows = [dataclasses.replace(r, label='salsa dancing') for r in ROWS[:3]]
  noise = np.random.default_rng(0).bytes(300_000)
  members = {
    f'{rows[0].clip_id}.mp4': contents[ROWS[0]],
    f'{rows[1].clip_id}.mp4': noise,
    f'{rows[2].clip_id}.mp4': noise[::-1],
  }
  fixture.make_tar(path, members)
  path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
  built = build(folder, tmp_path / 'out')
  lines = failures(built)
  assert lines[f'train/salsa dancing{suffix}']['reason'] == 'damaged'
  assert all(len(line['message']) > 20 for line in lines.values())
  (clip,) = built.as_data_source('train')
  assert clip['clip_id'].decode() == f'{ROWS[0].clip_id}#0'


def test_a_tar_that_ends_early_or_is_none_is_damaged(source, tmp_path):
  folder = lay_out(tmp_path / 'in', fixture.class_folders, source)
  (folder / 'zumba.tar.gz').write_bytes(b'<html>not found</html>')
  (folder / 'empty.tar').touch()
  fixture.make_tar(folder / 'train/zumba.tar', {'abcdefghijk.mp4': b'x' * 512})
  path = folder / 'train/zumba.tar'
  path.write_bytes(path.read_bytes()[:1024])  # at the end of a member
  tasks, _ = plan(folder, tmp_path)
  refused = [t.name for t in tasks['train'] if not hasattr(t, 'video')]
  assert refused == ['empty.tar', 'train/zumba.tar', 'zumba.tar.gz']
  assert sum(len(each) for each in names(tasks).values()) == 7


def test_broken_and_silent_clips_are_lines(source, tmp_path, here):
  _, contents = source
  folder = lay_out(tmp_path / 'in', fixture.class_folders, source, rows=[])
  mute, broken, cut = tmp_path / 'mute.mp4', b'no video', contents[ROWS[2]]
  fixture.make_video(mute, 1, sound=None)
  silent = tmp_path / 'silent.mp4'
  fixture.make_video(silent, 1, sound='silence')
  bad = {
    ROWS[0]: broken,
    ROWS[1]: mute.read_bytes(),
    ROWS[2]: cut[: len(cut) // 2],
    ROWS[3]: silent.read_bytes(),
  }
  fixture.class_folders(folder, bad)
  fixture.class_archives(folder / 'more', {ROWS[4]: broken})
  good = dataclasses.replace(ROWS[5], split='train')
  fixture.class_folders(folder, {good: contents[ROWS[5]]})
  built = build(folder, tmp_path / 'out')
  assert {s: i.num_examples for s, i in built.info.splits.items()} == {
    'train': 1
  }
  lines = failures(built)
  assert (
    len(lines) == 5 and sum(built.info.metadata['num_failed'].values()) == 5
  )
  packed = f'more/val/salsa dancing.tar.gz/./more/{ROWS[4].clip_id}.mp4'
  assert lines[packed]['stage'] == 'audio'
  assert packed in lines[packed]['message']
  for row in ROWS[:3]:
    name = f'train/{row.label}/{row.clip_id}.mp4'
    assert lines[name]['stage'] == 'audio' and name in lines[name]['message']
  name = f'val/{ROWS[3].label}/{ROWS[3].clip_id}.mp4'
  assert 'is silent' in lines[name]['message']


def test_a_clip_that_is_cut_off_in_its_archive_is_a_line(tmp_path):
  path = tmp_path / 'part_0.tar'
  path.write_bytes(b'12345')
  video = builder_lib.Video(pathlib.Path('a.mp4'), 'a', 'kinetics_dance')
  piece = layouts.Piece(path, 2, 100)
  failure = builder_lib.read_task(builder_lib.Task(video, piece, 'p/a.mp4'))
  assert failure.reason == 'damaged' and 'p/a.mp4' in failure.message
  gone = dataclasses.replace(piece, path=tmp_path / 'gone.tar')
  failure = builder_lib.read_task(builder_lib.Task(video, gone, 'p/a.mp4'))
  assert failure.reason == 'FileNotFoundError'


@pytest.mark.parametrize(
  'layout, kind', [(fixture.class_archives, None), (fixture.mixed, 'k400')]
)
def test_a_clip_in_an_archive_is_as_old_as_the_archive(
  layout, kind, source, tmp_path, caplog
):
  folder = lay_out(tmp_path / 'in', layout, source, kind, ROWS)
  for path in folder.rglob('*'):
    if path.suffix != '.npz' and path.is_file():
      os.utime(path, (0, 0))
  tasks, _ = plan(folder, tmp_path)
  for task in tasks['train']:
    assert len(builder_lib.read_task(task)) == 1
  assert 'is newer than its poses' not in caplog.text


def test_no_folder_and_no_clip_name_the_tool(tmp_path):
  (tmp_path / 'empty').mkdir()
  with pytest.raises(InputError, match='no folder given') as error:
    tfds.builder(
      'kinetics_dance/k600', data_dir=str(tmp_path)
    ).download_and_prepare()
  assert 'data_prep.download_kinetics' in str(error.value)
  fixture.class_folders(tmp_path / 'other', {OTHER: b''})
  with pytest.raises(InputError, match='empty is empty'):
    build(tmp_path / 'empty', tmp_path / 'out', 'k600')
  with pytest.raises(InputError, match='1 another class') as error:
    build(tmp_path / 'other', tmp_path / 'out', 'k600')
  assert 'data_prep.download_kinetics --release=k600' in str(error.value)
  assert '\n' not in str(error.value)


def test_a_bad_row_of_annotations_is_named(source, tmp_path):
  folder = lay_out(tmp_path / 'in', fixture.flat_folder, source, 'k400')
  path = folder / 'annotations/with_cc.csv'
  path.write_text(path.read_text().replace(',215,', ',x,'))
  with pytest.raises(InputError, match=r'with_cc\.csv, line 2: time_end'):
    build(folder, tmp_path / 'out')


def test_real_rows_resolve_in_a_flat_folder(shared_data, tmp_path):
  path = shared_data / 'kinetics/kinetics-400_val_dance.csv'
  rows = read_annotations(path)
  folder = tmp_path / 'in'
  folder.mkdir()
  (folder / path.name).write_bytes(path.read_bytes())
  for row in rows:
    (folder / f'{row.clip_id}.mp4').touch()
  tasks, ignored = plan(folder, tmp_path, 'k400_dancing')
  assert list(tasks) == ['validation'] and ignored == {}
  assert names(tasks)['validation'] == sorted(row.clip_id for row in rows)
  labels = {
    task.video.name: task.video.aux['label'] for task in tasks['validation']
  }
  assert labels == {row.clip_id: row.label for row in rows}
