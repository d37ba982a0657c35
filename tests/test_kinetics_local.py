import hashlib
import os

import pytest
from fake_yt_dlp import bytes_of_clips, write_clip
from kinetics_files import ask, check_output, csv_of, tar_of

from data_prep.kinetics_clips import place
from data_prep.kinetics_run import dry_run, run
from data_prep.ledger import read_ledger

TAP = ('train', 'tap dancing', '-taptrain0a', 5)
TAP_NAME = '-taptrain0a_000005_000006.mp4'
TAP_TAR = 'train/k700_train_611.tar.gz'


@pytest.fixture(scope='module')
def media(tmp_path_factory):
  return bytes_of_clips(tmp_path_factory.mktemp('media'), 3)


def local_request(tmp_path, local, **more):
  return ask(
    *(tmp_path, 'tap dancing', 'zumba'),
    **more,
    source='local',
    local_dir=local,
    annotations=[tmp_path / 'rows.csv'],
    num_workers=1,
  )


def test_a_clip_is_flushed_to_the_disk_before_it_gets_its_name(
  tmp_path, monkeypatch
):
  path, target = tmp_path / 'a.part', tmp_path / 'train' / 'zumba' / 'a.mp4'
  path.write_bytes(b'abc')
  inode, flushed, replace = path.stat().st_ino, [], os.replace
  monkeypatch.setattr(os, 'fsync', lambda f: flushed.append(os.fstat(f).st_ino))

  def rename(*names):
    assert flushed == [inode]
    replace(*names)

  monkeypatch.setattr(os, 'replace', rename)
  digest = hashlib.sha256(b'abc').hexdigest()
  assert place(path, target) == {'num_bytes': 3, 'sha256': digest}
  assert target.read_bytes() == b'abc' and not path.exists()


@pytest.mark.parametrize(
  'layout', ['showmax', 'activitynet', 'class_tar', 'flat']
)
def test_local_files_of_four_layouts(tmp_path, media, layout):
  local = tmp_path / 'local'
  rows = [TAP, ('val', 'zumba', '_zumbaval_a', 5)]
  csv_of(tmp_path / 'rows.csv', rows)
  names = [f'{row[2]}_000005_000006.mp4' for row in rows]
  files = {
    'showmax': {
      'train/tap_dancing/-taptrain0a.mp4': media[0],
      'valid/zumba/_zumbaval_a.mp4': media[1],
    },
    'activitynet': {
      f'tap dancing/{names[0]}': media[0],
      f'zumba/{names[1]}': media[1],
      f'zumba/._{names[1]}': b'junk',
    },
    'class_tar': {
      'train/k700_train_611.tar.gz': tar_of([('a/' + names[0], media[0])]),
      'val/zumba.tar': tar_of([(names[1], media[1])]),
    },
    'flat': {
      'part_0.tar.gz': tar_of([(names[0], media[0]), (names[1], media[1])]),
    },
  }[layout]
  for name, data in files.items():
    (local / name).parent.mkdir(parents=True, exist_ok=True)
    (local / name).write_bytes(data)
  request = local_request(tmp_path, local)
  assert len(list(dry_run(request))) == (1 if layout == 'flat' else 2)
  assert not (tmp_path / 'out').exists()
  assert run(request) == 0
  paths = [f'train/tap dancing/{names[0]}', f'validation/zumba/{names[1]}']
  check_output(tmp_path / 'out', paths)
  assert [(tmp_path / 'out' / path).read_bytes() for path in paths] == media[:2]
  for name, data in files.items():
    assert (local / name).read_bytes() == data


def test_local_files_that_are_no_clip(tmp_path, media):
  local = tmp_path / 'local'
  local.mkdir()
  rows = [
    ('train', 'zumba', youtube_id, start_s)
    for youtube_id, start_s in (
      ('twosegment1', 5),
      ('twosegment1', 50),
      ('damaged___a', 5),
      ('silent____a', 5),
      ('wholevideo_', 5),
      ('absent____a', 5),
    )
  ]
  csv_of(tmp_path / 'rows.csv', rows)
  (local / 'twosegment1.mp4').write_bytes(media[0])
  (local / 'damaged___a.mp4').write_bytes(media[1][:-700])
  (local / 'silent____a.mp4').write_bytes(media[2])
  write_clip(local / 'wholevideo_.mp4', 4.0)
  request = local_request(tmp_path, local)
  assert run(request) == 1
  entries = read_ledger(tmp_path / 'out' / 'ledger.jsonl')
  assert {key: entry['reason'] for key, entry in entries.items()} == {
    'twosegment1_000005_000006': 'ambiguous',
    'twosegment1_000050_000051': 'ambiguous',
    'damaged___a_000005_000006': 'damaged',
    'silent____a_000005_000006': 'no_audio',
    'wholevideo__000005_000006': 'wrong_length',
    'absent____a_000005_000006': 'not_found',
  }
  assert not list((tmp_path / 'out').rglob('*.mp4'))
  # Better files are taken by the next run.
  (local / 'damaged___a.mp4').write_bytes(media[1])
  assert run(request) == 1
  path = tmp_path / 'out/train/zumba/damaged___a_000005_000006.mp4'
  assert path.samefile(local / 'damaged___a.mp4')


def write(local, files):
  for name, data in files.items():
    (local / name).parent.mkdir(parents=True, exist_ok=True)
    (local / name).write_bytes(data)


def reasons_after(request, *, status):
  assert run(request) == status
  entries = read_ledger(request.output / 'ledger.jsonl')
  return {key: entry['reason'] for key, entry in entries.items()}


@pytest.mark.parametrize(
  ('name', 'is_taken'),
  [
    ('train/tap_dancing/-taptrain0a.mp4', True),
    ('tap dancing/-taptrain0a.mp4', True),
    ('train/playing_guitar/-taptrain0a.mp4', False),
    ('valid/tap_dancing/-taptrain0a.mp4', False),
    ('train/-taptrain0a.mp4', False),
    ('-taptrain0a.mp4', False),
    ('train/playing_guitar/' + TAP_NAME, True),
  ],
)
def test_a_video_of_two_classes_is_the_one_of_its_folder(
  tmp_path, media, name, is_taken
):
  local = tmp_path / 'local'
  guitar = ('train', 'playing guitar', TAP[2], 50)
  csv_of(tmp_path / 'rows.csv', [TAP, guitar])
  write(local, {name: media[0]})
  reason = '' if is_taken else 'ambiguous'
  assert reasons_after(
    local_request(tmp_path, local), status=int(not is_taken)
  ) == {TAP_NAME[:-4]: reason}


def test_folders_that_name_no_class_say_nothing(tmp_path, media):
  local = tmp_path / 'local'
  csv_of(tmp_path / 'rows.csv', [TAP])
  write(local, {'my downloads/-taptrain0a.mp4': media[0]})
  assert run(local_request(tmp_path, local)) == 0


@pytest.mark.parametrize('last', ['z/' + TAP_NAME, 'z.tar.gz', TAP_TAR])
def test_the_next_copy_is_tried_where_one_is_damaged(tmp_path, media, last):
  local = tmp_path / 'local'
  csv_of(tmp_path / 'rows.csv', [TAP])
  is_tar = last.endswith('.gz')
  good = tar_of([(TAP_NAME, media[1])]) if is_tar else media[1]
  files = {
    f'a/{TAP_NAME}': media[0][:-700],
    f'tap dancing/{TAP_NAME}': media[2],
    'a.tar.gz': tar_of([(TAP_NAME, media[0][:-700])]),
    last: good,
  }
  write(local, files)
  assert run(local_request(tmp_path, local)) == 0
  path = tmp_path / 'out/train/tap dancing' / TAP_NAME
  assert path.read_bytes() == media[1]
  # What replaces corrupted clips comes first.
  write(local, {f'z/replacement/{TAP_NAME}': media[0]})
  path.unlink()
  assert run(local_request(tmp_path, local)) == 0
  assert path.read_bytes() == media[0]


def test_archives_of_other_classes_and_splits_are_not_read(
  tmp_path, media, capfd
):
  local = tmp_path / 'local'
  csv_of(tmp_path / 'rows.csv', [TAP])
  others = [
    *('k700_train_002.tar.gz', 'train/zumba.tar.gz', 'val/part_0.tgz'),
    *('train/k700_train_700.tar.gz', 'val/tap dancing.tar'),
  ]
  write(local, dict.fromkeys(others, b'not to be read'))
  request = local_request(tmp_path, local)
  assert list(dry_run(request)) == []
  capfd.readouterr()
  name = TAP_NAME[:-4]
  assert reasons_after(request, status=1) == {name: 'not_found'}
  assert 'archive_damaged' not in capfd.readouterr().out
  # Numbers of the test split are of parts, not of classes.
  row = ('test', *TAP[1:])
  csv_of(tmp_path / 'rows.csv', [row])
  body = tar_of([(TAP_NAME, media[0])])
  write(local, {'test/k700_test_032.tar.gz': body})
  request = local_request(tmp_path, local, splits=('test',))
  assert reasons_after(request, status=0) == {name: ''}


def test_an_archive_is_read_once(tmp_path, media, capfd):
  local = tmp_path / 'local'
  silent = 'silent____a_000005_000006.mp4'
  rows = [TAP, ('train', 'tap dancing', silent[:11], 5)]
  rows.append(('train', 'tap dancing', 'absent____a', 5))
  csv_of(tmp_path / 'rows.csv', rows)
  refused = ('../absent____a_000005_000006.mp4', media[0])
  body = tar_of([(TAP_NAME, media[0]), (silent, media[2]), refused])
  write(local, {TAP_TAR: body})
  tar = local / TAP_TAR
  request = local_request(tmp_path, local)
  expected = {
    TAP_NAME[:-4]: '',
    silent[:-4]: 'no_audio',
    'absent____a_000005_000006': 'not_found',
  }
  assert reasons_after(request, status=1) == expected
  status = tar.stat()
  tar.write_bytes(b'x' * len(body))  # would be damaged if it were read
  os.utime(tar, ns=(status.st_atime_ns, status.st_mtime_ns))
  assert list(dry_run(request)) == []
  capfd.readouterr()
  assert reasons_after(request, status=1) == expected
  assert 'archive_damaged' not in capfd.readouterr().out
  # It is read once more for a clip that was lost, and once it has changed.
  (tmp_path / 'out/train/tap dancing' / TAP_NAME).unlink()
  assert list(dry_run(request)) == [str(tar)]
  assert run(request) == 1
  assert 'archive_damaged' in capfd.readouterr().out
  tar.write_bytes(body)
  os.utime(tar, ns=(status.st_atime_ns, status.st_mtime_ns))
  assert reasons_after(request, status=1) == expected
  tar.write_bytes(tar_of([(silent, media[1])]))
  assert reasons_after(request, status=1) == expected | {silent[:-4]: ''}
