import csv
import json
import pathlib
import subprocess
import sys

import magnatagatune_fixture as fixture
import numpy as np
import pytest
import tensorflow_datasets as tfds
from command_line import ROOT, run

import dance2wave.datasets  # noqa: F401  (makes the builder known)
from configs import audio_pretrain
from dance2wave.datasets.magnatagatune import (
  magnatagatune_dataset_builder as module,
)
from dance2wave.datasets.magnatagatune import tags
from dance2wave.errors import InputError

pytest.importorskip('av')
tfds.disable_progress_bar()

# Folders 0-b, c, d-f; two clips in each.
ALL_SIZES = {'train': 24, 'validation': 2, 'test': 6}
TINY_SIZES = {'train': 23, 'validation': 2, 'test': 5}


def tiny(**changes):
  """The default config for sounds of less than a second."""
  return module.MagnatagatuneConfig(name='tiny', min_duration_s=0.5, **changes)


def build(folder, data_dir, config, num_workers=1):
  builder = tfds.builder(
    'magnatagatune',
    config=config,
    data_dir=str(data_dir),
    num_workers=num_workers,
  )
  download = tfds.download.DownloadConfig(manual_dir=str(folder))
  builder.download_and_prepare(download_config=download)
  return builder


def sizes(builder):
  return {
    name: split.num_examples for name, split in builder.info.splits.items()
  }


def files_of(folder):
  return {p.name: p.read_bytes() for p in pathlib.Path(folder).iterdir()}


@pytest.fixture(scope='module')
def tree(tmp_path_factory):
  return fixture.write_tree(tmp_path_factory.mktemp('mtat'))


@pytest.fixture(scope='module')
def built(tree, tmp_path_factory):
  return build(tree, tmp_path_factory.mktemp('data'), tiny())


@pytest.fixture(scope='module')
def clips(built):
  """clip_id -> (split, clip)."""
  return {
    clip['clip_id'].decode(): (split, clip)
    for split, source in built.as_data_source().items()
    for clip in source
  }


def test_the_order_of_the_tags_is_the_standard_one():
  assert tags.TOP_50 == audio_pretrain.TAGS
  assert len(set(tags.TOP_50)) == 50
  assert len(set(fixture.TAG_NAMES)) == 188
  assert set(tags.TOP_50) <= set(fixture.TAG_NAMES)


def test_clips_are_split_by_folder_and_bad_files_are_counted(built, clips):
  assert sizes(built) == TINY_SIZES
  folders = {split: set() for split in TINY_SIZES}
  for split, clip in clips.values():
    folders[split].add(clip['aux']['mp3_path'].decode()[0])
  assert folders == {
    'train': set('0123456789ab'),
    'validation': {'c'},
    'test': set('def'),
  }
  counts = {'audio/empty': 3, 'audio/corrupt': 1, 'audio/missing': 1}
  assert built.info.metadata['num_failed'] == counts
  text = (pathlib.Path(built.data_dir) / 'failures.jsonl').read_text()
  lines = [json.loads(line) for line in text.splitlines()]
  assert [line['path'] for line in lines if line['reason'] == 'empty'] == list(
    fixture.EMPTY
  )
  assert all(line['message'] and '\n' not in line['message'] for line in lines)


def test_no_song_is_in_two_splits(clips):
  groups = {}
  for split, clip in clips.values():
    groups.setdefault(clip['group'].decode(), []).append(split)
  assert set(map(len, groups.values())) == {1, 2}
  assert all(len(set(splits)) == 1 for splits in groups.values())
  assert 'f/artist_f-the_album-03' in groups


def test_clips_hold_the_sound_and_nothing_of_a_dance(clips):
  for index, (clip_id, _, words) in enumerate(fixture.good_clips()):
    if words == {'bongos'}:
      assert clip_id not in clips
      continue
    clip = clips[clip_id][1]
    assert clip['audio'].dtype == np.int16 and len(clip['audio']) == 9600
    assert float(clip['duration_s']) == 0.6 and clip['sample_rate_hz'] == 16000
    spectrum = np.abs(np.fft.rfft(clip['audio']))
    assert np.argmax(spectrum) * 16000 / 9600 == pytest.approx(
      fixture.tone_hz(index), abs=2
    )
    assert 10000 < clip['audio'].max() < 16000
    assert clip['pose'].shape == (0, 14, 3) and clip['pose_time_s'].shape == (
      0,
    )
    assert len(clip['beats_s']) == 0 and clip['style'] == b''
    assert clip['skeleton'] == b'core14' and clip['source'] == b'magnatagatune'
    floats = [v for v in clip.values() if np.asarray(v).dtype.kind == 'f']
    assert len(floats) == 4 and all(np.isfinite(v).all() for v in floats)


def test_clips_know_their_tags_and_their_song(built, clips):
  names = built.info.metadata['all_tags']
  assert names == list(fixture.TAG_NAMES)
  assert built.info.metadata['tags'] == list(tags.TOP_50)
  for clip_id, path, words in fixture.good_clips():
    if clip_id not in clips:
      continue
    aux = clips[clip_id][1]['aux']
    assert aux['tags_K'].shape == (50,) and aux['all_tags'].shape == (188,)
    assert {tags.TOP_50[k] for k in np.flatnonzero(aux['tags_K'])} == (
      words - {'bongos'}
    )
    assert {names[k] for k in np.flatnonzero(aux['all_tags'])} == words
    assert set(aux['labels'].decode().split(',')) == words
    assert aux['mp3_path'].decode() == path
    assert aux['title'].decode() == f'A "Song" of {path[0]}'
    assert aux['artist'].decode() == 'Artist É'
    assert aux['track'] == int(path.split('-')[2])
    assert (aux['segment_start_s'], aux['segment_end_s']) in ((0, 29), (29, 58))


_BUILD_AGAIN = """
import sys
import tensorflow_datasets as tfds
import dance2wave.datasets
from dance2wave.datasets.magnatagatune import magnatagatune_dataset_builder as m
tree, data_dir = sys.argv[1:]
config = m.MagnatagatuneConfig(name='tiny', min_duration_s=0.5)
builder = tfds.builder(
  'magnatagatune', config=config, data_dir=data_dir, num_workers=2)
builder.download_and_prepare(
  download_config=tfds.download.DownloadConfig(manual_dir=tree))
bad = {'tensorflow', 'jax', 'av', 'mediapipe'} & set(sys.modules)
sys.exit(str(bad) if bad else 0)
"""


def test_two_processes_give_the_same_bytes_without_tensorflow(
  tree, built, tmp_path
):
  command = [sys.executable, '-c', _BUILD_AGAIN, str(tree), str(tmp_path)]
  done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
  assert done.returncode == 0, done.stderr
  files = files_of(built.data_dir)
  again = files_of(tmp_path / 'magnatagatune' / 'tiny' / '1.0.0')
  assert sum('array_record' in name for name in files) == 3
  assert again == files


@pytest.fixture(scope='module')
def by_command(tmp_path_factory):
  """What the command builds of sounds in mp3/ without clip_info_final.csv."""
  tree = fixture.write_tree(tmp_path_factory.mktemp('mtat'), 'mp3')
  (tree / 'clip_info_final.csv').unlink()
  data_dir = tmp_path_factory.mktemp('data')
  done = run(
    'dance2wave.datasets.build',
    'magnatagatune',
    '--config=all',
    f'--manual_dir={tree}',
    f'--data_dir={data_dir}',
  )
  assert done.returncode == 0, done.stderr
  return tfds.builder('magnatagatune/all', data_dir=str(data_dir))


def test_the_command_builds_every_clip_of_the_config_all(by_command):
  assert sizes(by_command) == ALL_SIZES
  clip = by_command.as_data_source('validation')[0]
  assert clip['aux']['title'] == b'' and clip['aux']['track'] == 4
  assert 'law2009evaluation' in by_command.info.citation


def task_of(path, **changes):
  row = tags.Row('2', '0/a-b-01-c-0-29.mp3', bytes(188), 'a-b-01', 1, 0, 29)
  values = {
    'path': path,
    'name': path.name,
    'row': row,
    'names': fixture.TAG_NAMES,
    'about': {'title': '', 'artist': '', 'album': ''},
    'min_duration_s': module.MagnatagatuneConfig(name='x').min_duration_s,
    'with_beats': False,
  }
  return module.Task(**{**values, **changes})


@pytest.mark.parametrize(
  'duration_s, states_padding, found_s',
  [(29.0, True, 29.0), (29.0, False, 29.088), (28.9, True, None)],
)
def test_whole_clips_pass_with_and_without_the_codecs_padding(
  tmp_path, duration_s, states_padding, found_s
):
  path = tmp_path / 'a.mp3'
  fixture.write_mp3(path, duration_s, states_padding=states_padding)
  result = module.read_clip(task_of(path))
  if found_s is None:
    assert (result.stage, result.reason) == ('audio', 'short')
  else:
    (clip,) = result
    assert clip['duration_s'] == found_s == len(clip['audio']) / 16000


def test_a_file_that_is_cut_off_is_corrupt(tmp_path):
  path = tmp_path / 'a.mp3'
  fixture.write_mp3(path, 3.0)
  path.write_bytes(path.read_bytes()[:6000])
  failure = module.read_clip(task_of(path, min_duration_s=0.5))
  assert (
    failure.reason == 'corrupt' and 'its header declares' in failure.message
  )


def test_whatever_a_decoder_does_is_a_failure(tree, monkeypatch):
  def crash(*_):
    raise MemoryError('too\nlarge')

  path = tree / fixture.good_clips()[0][1]
  monkeypatch.setattr(module, 'detect_beats', crash)
  task = task_of(path, min_duration_s=0.5, with_beats=True)
  failure = module.read_clip(task)
  assert (failure.stage, failure.reason) == ('beats', 'MemoryError')
  assert failure.message == 'too large'


def test_beats_are_found_when_asked_for(tmp_path, monkeypatch):
  clicks_T = np.zeros(10 * 16000)
  for start in range(4000, len(clicks_T) - 400, 8000):
    clicks_T[start : start + 400] = np.sin(np.arange(400) * 0.9)
  waveform = type('Waveform', (), {'samples_T': clicks_T})
  monkeypatch.setattr(module, 'read_audio', lambda *_: waveform)
  path = tmp_path / 'a.mp3'
  path.write_bytes(b'sound')
  task = task_of(path, min_duration_s=1.0, with_beats=True)
  (clip,) = module.read_clip(task)
  np.testing.assert_allclose(np.diff(clip['beats_s']), 0.5, atol=0.02)
  configs = {c.name: c for c in module.Builder.BUILDER_CONFIGS}
  assert list(configs) == ['top50', 'all', 'with_beats']
  assert configs['with_beats'].with_beats and configs['with_beats'].is_filtered


def change(line, column, value):
  """Return a function that changes a cell of the table."""

  def apply(table):
    table[line][column] = value

  return apply


@pytest.mark.parametrize(
  'break_it, message',
  [
    (change(0, 0, 'id'), 'expected clip_id, 188 different tags'),
    (change(0, 5, 'singer'), 'expected clip_id, 188 different tags'),
    (change(0, fixture.TAG_NAMES.index('choral') + 1, 'x'), "no tag 'choral'"),
    (change(0, fixture.TAG_NAMES.index('lol') + 1, 'x,y'), 'a comma'),
    (change(3, 7, '2'), "line 4 has the value '2'"),
    (change(3, 7, ''), "line 4 has the value ''"),
    (change(3, 0, 'x'), "line 4 has the value 'x'"),
    (change(3, -1, '../0/a-b-01-c-0-29.mp3'), 'line 4 has the mp3_path'),
    (change(3, -1, '/0/a-b-01-c-0-29.mp3'), 'line 4 has the mp3_path'),
    (change(3, -1, '0/../a-b-01-c-0-29.mp3'), 'line 4 has the mp3_path'),
    (change(3, -1, 'g/a-b-01-c-0-29.mp3'), 'line 4 has the mp3_path'),
    (change(3, -1, '0/a.mp3'), 'line 4 has the mp3_path'),
    (lambda t: t[3].pop(), 'line 4 has 189 columns; expected 190'),
    (
      lambda t: t.append([*t[3][:-1], t[4][-1]]),
      'clip 8 in the lines 4 and 39',
    ),
    (lambda t: t.append(['9', *t[3][1:]]), 'song-0-29.mp3 in the lines'),
    (lambda t: t.__delitem__(slice(1, None)), 'lists no clips'),
    (lambda t: t.clear(), 'expected clip_id'),
  ],
)
def test_a_bad_table_is_one_line(tmp_path, break_it, message):
  table, path = fixture.rows(), tmp_path / 'annotations_final.csv'
  break_it(table)
  fixture.write_table(path, table)
  with pytest.raises(InputError, match=message) as error:
    tags.read_annotations(path)
  assert '\n' not in str(error.value) and len(str(error.value)) < 300


def test_a_table_with_commas_or_of_another_encoding_is_one_line(tmp_path):
  path = tmp_path / 'annotations_final.csv'
  with path.open('w', newline='') as file:
    csv.writer(file).writerows(fixture.rows())
  with pytest.raises(InputError, match='1 columns; expected clip_id'):
    tags.read_annotations(path)
  path.write_bytes('clip_id\té'.encode('utf-16'))
  with pytest.raises(InputError, match='expected UTF-8'):
    tags.read_annotations(path)
  path.write_text('clip_id\ttitle\n')
  with pytest.raises(InputError, match='no column album'):
    tags.read_clip_info(path)


@pytest.mark.parametrize(
  ('cell', 'title'),
  [
    ('"Heroes', '"Heroes'),
    ('"Heroes" (live)', '"Heroes" (live)'),
    ('7" mix', '7" mix'),
    ('"A ""Song"""', 'A "Song"'),
    ('""', ''),
  ],
)
def test_a_quote_in_a_title_costs_no_other_row(tmp_path, cell, title):
  path = tmp_path / 'clip_info_final.csv'
  lines = ['clip_id\ttitle\tartist\talbum\turl']
  # More text than the csv module takes for one cell.
  for number in range(5000):
    text = cell if number == 10 else f'song {number}'
    lines.append(f'{number}\t{text}\tArtist\tAlbum\thttp://magnatune.com/')
  path.write_text('\n'.join(lines) + '\n')
  info = tags.read_clip_info(path)
  assert len(info) == 5000 and info['4999']['title'] == 'song 4999'
  assert (info['10']['title'], info['10']['artist']) == (title, 'Artist')


@pytest.mark.parametrize('row', ['1\tA song\tArtist', '1\tA\tB\tC\tD', '1\t"A'])
def test_a_row_of_clip_info_of_another_length_is_one_line(tmp_path, row):
  path = tmp_path / 'clip_info_final.csv'
  path.write_text(f'clip_id\ttitle\tartist\talbum\n\n{row}\n')
  with pytest.raises(InputError, match=r'line 3 has \d columns; expected 4'):
    tags.read_clip_info(path)


def test_a_wrong_folder_is_one_line(tmp_path):
  (tmp_path / 'notes.txt').touch()
  for folder, message in (
    (tmp_path / 'absent', 'is not a folder'),
    (tmp_path, 'annotations_final.csv is not there'),
  ):
    with pytest.raises(InputError, match=message):
      build(folder, tmp_path / 'data', 'all')
  fixture.write_table(tmp_path / 'annotations_final.csv', fixture.rows())
  done = run(
    'dance2wave.datasets.build',
    'magnatagatune',
    f'--manual_dir={tmp_path}',
    f'--data_dir={tmp_path / "other"}',
  )
  (line,) = done.stderr.splitlines()
  assert done.returncode == 2 and 'Traceback' not in done.stderr
  assert line.startswith('dance2wave: magnatagatune: no sounds in')
  assert 'or in mp3/' in line and 'cat mp3.zip.*' in line


def test_a_song_in_two_splits_and_other_sizes_are_reported(
  tree, built, monkeypatch
):
  said = []
  monkeypatch.setattr(
    module.logging, 'warning', lambda text, *args: said.append(text % args)
  )
  row = tags.Row('1', '0/a-b-01-c-0-29.mp3', b'', 'a-b-01', 1, 0, 29)
  other = tags.Row('2', 'd/a-b-01-c-0-29.mp3', b'', 'a-b-01', 1, 0, 29)
  module._warn_of_shared_songs([row, row])
  assert not said
  module._warn_of_shared_songs([row, other])
  assert 'a-b-01' in said.pop()
  built.download_and_prepare()
  assert not [text for text in said if 'literature' in text]
  monkeypatch.setattr(module, 'NUM_ROWS', len(fixture.rows()) - 1)
  built.download_and_prepare()
  assert "'train': 15244" in said[-1] and "'train': 23" in said[-1]
