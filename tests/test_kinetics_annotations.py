import itertools
import json

import pytest

from dance2wave.datasets.kinetics_dance.annotations import (
  Annotation,
  is_youtube_id,
  read_annotations,
  unified_split,
  without_leaks,
)
from dance2wave.datasets.kinetics_dance.classes import (
  CLASS_SETS,
  RELEASES,
  classes_of,
  k700_archive_number,
  known_classes,
  plain_label,
)
from dance2wave.datasets.styles import WORDS
from dance2wave.errors import InputError

# The table of the reference, typed anew.
NUMBERS = {
  'belly dancing': 32,
  'breakdancing': 55,
  'capoeira': 74,
  'cheerleading': 97,
  'contorting': 119,
  'country line dancing': 128,
  'cumbia': 137,
  'dancing ballet': 147,
  'dancing charleston': 148,
  'dancing gangnam style': 149,
  'dancing macarena': 150,
  'doing aerobics': 163,
  'gymnastics tumbling': 234,
  'headbanging': 238,
  'hula hooping': 255,
  'jumpstyle dancing': 277,
  'karaoke': 278,
  'krumping': 284,
  'marching': 322,
  'moon walking': 333,
  'mosh pit dancing': 335,
  'pirouetting': 371,
  'robot dancing': 491,
  'salsa dancing': 500,
  'shoot dance': 524,
  'shuffling feet': 535,
  'ski ballet': 544,
  'spinning poi': 571,
  'square dancing': 576,
  'swing dancing': 600,
  'tango dancing': 610,
  'tap dancing': 611,
  'zumba': 700,
}
HEADER = 'label,youtube_id,time_start,time_end,split'


def row(youtube_id='abcdefghijk', start_s=1, label='zumba', split='train'):
  return Annotation(youtube_id, label, start_s, start_s + 10, split)


def read(tmp_path, text, name='rows.csv'):
  path = tmp_path / name
  path.write_bytes(text if isinstance(text, bytes) else text.encode())
  return read_annotations(path)


def test_archive_numbers_are_those_of_the_table():
  loose = classes_of('k700_2020', 'loose')
  assert {label: k700_archive_number(label) for label in loose} == NUMBERS
  assert k700_archive_number('silent disco') == 539
  assert k700_archive_number('Tap_Dancing') == 611
  with pytest.raises(InputError, match='archery'):
    k700_archive_number('archery')


def test_archive_numbers_ascend_with_the_alphabet():
  numbers = [k700_archive_number(label) for label in known_classes('k700_2020')]
  assert numbers == sorted(set(numbers))


@pytest.mark.parametrize(
  ('release', 'sizes'),
  [('k400', (17, 15, 23)), ('k600', (17, 20, 31)), ('k700_2020', (17, 21, 33))],
)
def test_sizes_of_the_class_sets(release, sizes):
  assert tuple(len(classes_of(release, each)) for each in CLASS_SETS) == sizes
  for class_set in CLASS_SETS:
    labels = classes_of(release, class_set)
    assert list(labels) == sorted(labels)
    assert 'silent disco' not in labels
  assert set(classes_of(release, 'strict')) < set(classes_of(release, 'loose'))


def test_releases_only_grow():
  for class_set in CLASS_SETS:
    sets = [set(classes_of(release, class_set)) for release in RELEASES]
    assert sets[0] <= sets[1] <= sets[2]


def test_sets_agree_with_the_real_lists(shared_data):
  folder = shared_data / 'kinetics'
  categories = json.loads((folder / 'categories.json').read_text())
  labels = set(json.loads((folder / 'classes.json').read_text()))
  for release in RELEASES:
    assert classes_of(release, 'dancing') == tuple(categories['dancing'])
  assert set(known_classes('k400')) <= labels
  newer = set(known_classes('k700_2020')) - set(known_classes('k400'))
  assert newer.isdisjoint(labels)


def test_every_class_has_a_style():
  for release in RELEASES:
    assert set(known_classes(release)) <= WORDS['kinetics_dance'].keys()


@pytest.mark.parametrize('call', [('k500', 'strict'), ('k400', 'all')])
def test_unknown_releases_and_sets_are_refused(call):
  with pytest.raises(InputError, match='expected one of'):
    classes_of(*call)


def test_the_real_rows(shared_data):
  path = shared_data / 'kinetics' / 'kinetics-400_val_dance.csv'
  rows = read_annotations(path)
  assert [row.split for row in rows] == ['validation'] * 790
  assert {each.label for each in rows} == set(classes_of('k400', 'dancing')) - {
    'marching'
  }
  assert all(each.end_s - each.start_s == 10 for each in rows)
  assert rows[0].clip_id == '-05qSkAhM6Y_000205_000215'
  assert rows[0].url == 'https://www.youtube.com/watch?v=-05qSkAhM6Y'
  assert without_leaks(rows) == (rows, 0)


def test_all_formats_say_the_same(tmp_path):
  expected = [row('-_abcdefghi', 84), row('zzzzzzzzz-_', 5, 'tap dancing')]
  quoted = (
    '{}\r\n"zumba",-_abcdefghi,84,94,train{}\r\n'
    '"Tap_Dancing",zzzzzzzzz-_,5,15,train{}\r\n'
  )
  entry = {'url': 'x', 'duration': 10.0, 'subset': 'train'}
  as_json = {
    '-_abcdefghi': {
      'annotations': {'label': 'zumba', 'segment': [84.0, 94.0]},
      **entry,
    },
    'zzzzzzzzz-_': {
      'annotations': {'label': 'tap dancing', 'segment': [5.0, 15.0]},
      **entry,
    },
  }
  table = quoted.format(HEADER, '', '')
  bare = '\n'.join(table.replace('\r', '').splitlines()[1:])
  for name, text in {
    'a.csv': table,
    'b.csv': quoted.format(HEADER + ',is_cc', ',0', ',1'),
    'c.csv': b'\xef\xbb\xbf' + table.encode(),
    'train.txt': table,
    'd.txt': bare,
    'e.json': json.dumps(as_json),
    'f.csv': table.replace(',train', ',TRAIN ') + '\r\n\r\n',
    'g.csv': table.replace('84,94', '84.0,94.0'),
  }.items():
    assert read(tmp_path, text, name) == expected, name


def test_columns_may_be_in_any_order(tmp_path):
  text = 'split,time_end,time_start,youtube_id\ntest,20,10,abcdefghijk\n'
  assert read(tmp_path, text) == [Annotation('abcdefghijk', '', 10, 20, 'test')]


def test_a_test_split_may_have_no_labels(tmp_path):
  text = 'youtube_id,time_start,time_end,split\nabcdefghijk,1,11,test\n'
  expected = [row(label='', split='test')]
  assert read(tmp_path, text) == expected
  entry = {'annotations': {'segment': [1.0, 11.0]}, 'subset': 'test'}
  assert read(tmp_path, json.dumps({'abcdefghijk': entry}), 'a.json') == (
    expected
  )


@pytest.mark.parametrize('word', ['val', 'valid', 'validate', 'validation'])
def test_validation_has_one_name(tmp_path, word):
  assert unified_split(word) == 'validation'
  [found] = read(tmp_path, f'{HEADER}\nzumba,abcdefghijk,1,11,{word}\n')
  assert found.split == 'validation'


def test_the_split_may_be_in_the_file_name(tmp_path):
  text = 'label,youtube_id,time_start,time_end\nzumba,abcdefghijk,1,11\n'
  for name, split in {
    'val.txt': 'validation',
    'k700_2020_train.csv': 'train',
    'kinetics600_holdout_test.csv': 'test',
  }.items():
    assert read(tmp_path, text, name)[0].split == split
  for name in ('rows.csv', 'train_test.csv'):
    with pytest.raises(InputError, match='line 2: split is'):
      read(tmp_path, text, name)


BAD_IDS = (
  '-rf',
  '-rf /',
  '../x',
  '../../../etc',
  '/etc/passwd',
  'a;b',
  'a;b;c;d;e;f',
  'abcdefghij\0',
  '\0' * 11,
  'a' * 300,
  '',
  ' ',
  'abc def ghi',
  'abcdefghij\u00e9',
  '\u0661' * 11,
  '\uff41' * 11,
  '$(reboot)xx',
  '`reboot`aaa',
  '%(title)s--',
  'abcdefghij.',
  'abcdefghij\n',
  '=cmd|calc!A',
)


@pytest.mark.parametrize('bad', BAD_IDS)
def test_ids_that_are_none_are_refused(tmp_path, bad):
  assert not is_youtube_id(bad)
  good = f'{HEADER}\nzumba,abcdefghijk,1,11,train\n'
  with pytest.raises(InputError) as error:
    read(tmp_path, f'{good}zumba,"{bad}",1,11,train\n')
  assert 'rows.csv, line' in str(error.value)
  assert 'YouTube id' in str(error.value)
  assert len(str(error.value)) < 400 + len(str(tmp_path))
  entry = {
    'annotations': {'label': 'zumba', 'segment': [1.0, 11.0]},
    'subset': 'train',
  }
  with pytest.raises(InputError, match='entry 1: YouTube id'):
    read(tmp_path, json.dumps({bad: entry}), 'rows.json')


def test_ids_with_every_allowed_letter():
  for youtube_id in (
    '-rfAAAAAAAA',
    '___________',
    '-----------',
    'aZ09_-aZ09_',
  ):
    assert is_youtube_id(youtube_id)
  assert not is_youtube_id(12345678901)


@pytest.mark.parametrize(
  'times',
  ['x,11', '1,', '11,1', '1,1', '-1,9', 'nan,11', '1,inf', '1.5,11', '1,1e9'],
)
def test_times_that_are_none_are_refused(tmp_path, times):
  with pytest.raises(InputError, match=r'line 2: (time_|the segment)'):
    read(tmp_path, f'{HEADER}\nzumba,abcdefghijk,{times},train\n')


@pytest.mark.parametrize(
  ('name', 'text'),
  [
    ('a.csv', ''),
    ('a.csv', HEADER),
    ('a.csv', 'label,id\nzumba,abcdefghijk'),
    ('a.csv', f'{HEADER}\nzumba,abcdefghijk,1,11'),
    ('a.csv', f'{HEADER}\nzumba,abcdefghijk,1,11,train,0,0'),
    ('a.csv', f'{HEADER}\nzumba,abcdefghijk,1,11,holiday'),
    ('a.csv', f'{HEADER}\n"zumba,abcdefghijk,1,11,train'),
    ('a.csv', f'{HEADER}\n{"a" * 200_000},abcdefghijk,1,11,train'),
    ('a.csv', b'\xff\xfe\x00\x01'),
    ('a.csv', '<!doctype html><html>log in</html>'),
    ('a.json', '{'),
    ('a.json', '[]'),
    ('a.json', '{}'),
    ('a.json', '[' * 100_000),
    ('a.json', '{"abcdefghijk": 1}'),
    ('a.json', '{"abcdefghijk": {"annotations": []}}'),
    ('a.json', '{"abcdefghijk": {"annotations": {"segment": [1]}}}'),
    (
      'a.json',
      '{"abcdefghijk": {"subset": 5, "annotations": {"segment": [1, 11]}}}',
    ),
    (
      'a.json',
      '{"abcdefghijk": {"subset": "train", "annotations": '
      f'{{"segment": [1, 1{"0" * 400}]}}}}}}',
    ),
  ],
)
def test_files_that_are_none_are_one_error(tmp_path, name, text):
  with pytest.raises(InputError) as error:
    read(tmp_path, text, name)
  assert str(tmp_path / name) in str(error.value)
  assert '\n' not in str(error.value)


def test_a_missing_file_is_named(tmp_path):
  with pytest.raises(InputError, match=r'none\.csv cannot be read'):
    read_annotations(tmp_path / 'none.csv')


def test_equal_rows_collapse(tmp_path):
  line = 'zumba,abcdefghijk,1,11,train\n'
  other = 'zumba,abcdefghijk,21,31,train\n'
  assert read(tmp_path, f'{HEADER}\n{line}{line}{other}') == [
    row(),
    row(start_s=21),
  ]


def test_no_video_stays_in_two_splits():
  ids = [f'{number:011d}' for number in range(8)]
  splits = ('train', 'validation', 'test')
  rows, expected = [], {}
  for number, youtube_id in enumerate(ids):
    inside = [split for bit, split in enumerate(splits) if number >> bit & 1]
    for start_s, split in enumerate(inside):
      rows += [row(youtube_id, 20 * start_s, split=split)]
      rows += [row(youtube_id, 20 * start_s + 300, split=split)]
      expected[youtube_id] = split
  for ordered in (rows, rows[::-1]):
    kept, num_dropped = without_leaks(ordered)
    found = {each.youtube_id: each.split for each in kept}
    assert found == expected
    assert num_dropped == len(rows) - len(kept) == 10
    assert all(each.split == expected[each.youtube_id] for each in kept)
    assert kept == [each for each in ordered if each in kept]


def test_files_read_twice_do_not_double_clips():
  rows = [row(), row(start_s=30)]
  assert without_leaks(itertools.chain(rows, rows)) == (rows, 0)


def test_labels_are_plain():
  assert plain_label('  Tap_Dancing ') == 'tap dancing'
