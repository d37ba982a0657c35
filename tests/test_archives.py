"""Archives from strangers."""

import contextlib
import gzip
import io
import itertools
import os
import random
import stat
import tarfile
import zipfile

import pytest
from packing import FILES, files_in, make_tar, make_zip

from data_prep import archives
from data_prep.archives import ArchiveError, test_archive, unpack
from data_prep.volumes import JoinedFile


def test_unpack_zip(tmp_path):
  make_zip(FILES, tmp_path / 'a.zip')
  result = unpack(tmp_path / 'a.zip', tmp_path / 'out')
  assert files_in(tmp_path / 'out') == FILES
  assert (result.num_files, result.num_bytes, result.num_skipped) == (
    3,
    3000,
    0,
  )
  assert result.roots == ('a', 'c.txt')


@pytest.mark.parametrize('mode', ['w', 'w:gz', 'w:bz2', 'w:xz'])
def test_unpack_tar(tmp_path, mode):
  path = make_tar(FILES, tmp_path / 'a.tar', mode)
  assert unpack(path, tmp_path / 'out').num_files == 3
  assert files_in(tmp_path / 'out') == FILES


def test_tar_that_ends_with_a_zip_is_a_tar(tmp_path):
  path = make_tar({'inner.zip': make_zip(FILES)}, tmp_path / 'a.tar', 'w')
  unpack(path, tmp_path / 'out')
  assert list(files_in(tmp_path / 'out')) == ['inner.zip']


def test_unpack_goes_on_and_mends(tmp_path):
  make_zip(FILES, tmp_path / 'a.zip')
  out = tmp_path / 'out'
  unpack(tmp_path / 'a.zip', out)
  kept = (out / 'a/1.npy').stat().st_ino
  (out / 'a/b/2.npy').write_bytes(b'owt' * 500)
  (out / 'c.txt').unlink()
  unpack(tmp_path / 'a.zip', out)
  assert files_in(out) == FILES
  assert (out / 'a/1.npy').stat().st_ino == kept


def test_zip_with_a_comment_and_bytes_behind_it(tmp_path):
  path = tmp_path / 'a.zip'
  make_zip(FILES, path)
  with zipfile.ZipFile(path, 'a') as archive:
    archive.comment = b'made by hand ' * 9
  path.write_bytes(path.read_bytes() + b'\r\n')
  assert unpack(path, tmp_path / 'out').num_files == 3


def test_damaged_directory_that_swallows_a_name(tmp_path):
  data = make_zip({'a': b'1', 'b': b'2'})
  at = data.index(b'PK\x01\x02') + 32  # the length of the first one's comment
  swallowed = data[:at] + (47).to_bytes(2, 'little') + data[at + 2 :]
  (tmp_path / 'a.zip').write_bytes(swallowed)
  assert zipfile.ZipFile(tmp_path / 'a.zip').namelist() == ['a']
  with pytest.raises(ArchiveError, match='lists 1 of 2 names'):
    unpack(tmp_path / 'a.zip', tmp_path / 'out')


def test_junk_of_macos_is_counted(tmp_path):
  junk = {'__MACOSX/a/._1.npy': b'x', 'a/._1.npy': b'x', 'a/.DS_Store': b'x'}
  make_zip(FILES | junk, tmp_path / 'a.zip')
  result = unpack(tmp_path / 'a.zip', tmp_path / 'out')
  assert (result.num_files, result.num_skipped) == (3, 3)
  assert files_in(tmp_path / 'out') == FILES
  assert result.roots == ('a', 'c.txt')


@pytest.mark.parametrize(
  'name',
  [
    '../evil',
    'a/../../evil',
    'a/..',
    '/tmp/evil',
    'C:/evil',
    'a\\..\\evil',
    'a\x01b',
    'a' * 300,
    '..',
  ],
)
@pytest.mark.parametrize('kind', ['zip', 'tar'])
def test_names_that_are_refused(tmp_path, name, kind):
  path = tmp_path / 'a.archive'
  files = {'good': b'good', name: b'evil'}
  make_zip(files, path) if kind == 'zip' else make_tar(files, path)
  before = files_in(tmp_path)
  with pytest.raises(ArchiveError) as caught:
    unpack(path, tmp_path / 'out')
  assert caught.value.reason == 'unsafe'
  assert repr(name)[1:-1] in str(caught.value)
  assert str(path) in str(caught.value)
  assert files_in(tmp_path) == before


def test_name_with_a_nul_in_a_zip(tmp_path):
  data = make_zip({'aaXbb': b'evil'}).replace(b'aaXbb', b'aa\0bb')
  (tmp_path / 'a.zip').write_bytes(data)
  with pytest.raises(ArchiveError, match='control character'):
    unpack(tmp_path / 'a.zip', tmp_path / 'out')


@pytest.mark.parametrize(
  'kind', [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE]
)
def test_links_and_devices_in_a_tar(tmp_path, kind):
  member = tarfile.TarInfo()
  member.type, member.linkname = kind, '/etc'
  files = {'good': b'', 'evil': member, 'evil/passwd': b'root'}
  path = make_tar(files, tmp_path / 'a.tar.gz')
  with pytest.raises(ArchiveError, match="'evil', which is a link or a device"):
    unpack(path, tmp_path / 'out')
  assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('kind', [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_links_and_devices_in_a_zip(tmp_path, kind):
  info = zipfile.ZipInfo('evil')
  info.external_attr = (kind | 0o777) << 16
  with zipfile.ZipFile(tmp_path / 'a.zip', 'w') as archive:
    archive.writestr(info, '/etc')
  with pytest.raises(ArchiveError, match="'evil', which is a link or a device"):
    unpack(tmp_path / 'a.zip', tmp_path / 'out')


@pytest.mark.parametrize('kind', ['zip', 'tar'])
def test_bombs(tmp_path, monkeypatch, kind):
  monkeypatch.setattr(archives, 'SMALL_BYTES', 1 << 20)
  path = tmp_path / 'bomb'
  files = {'bomb': bytes(8 << 20)}
  make_zip(files, path) if kind == 'zip' else make_tar(files, path)
  with pytest.raises(ArchiveError, match='brings 8388608 bytes') as caught:
    unpack(path, tmp_path / 'out')
  assert caught.value.reason == 'unsafe'
  assert not (tmp_path / 'out').exists()


def test_bomb_behind_the_end_of_a_tar(tmp_path, monkeypatch):
  monkeypatch.setattr(archives, 'SMALL_BYTES', 1 << 20)
  make_tar(FILES, tmp_path / 'a.tar', 'w')
  data = gzip.compress((tmp_path / 'a.tar').read_bytes() + bytes(8 << 20))
  (tmp_path / 'a.tar.gz').write_bytes(data)
  with pytest.raises(ArchiveError, match='follow its end'):
    unpack(tmp_path / 'a.tar.gz', tmp_path / 'out')


def test_zip_that_says_less_than_it_holds(tmp_path):
  data = make_zip({'a': os.urandom(5000)})
  small = (5000).to_bytes(4, 'little')
  (tmp_path / 'a.zip').write_bytes(data.replace(small, b'\x0a\0\0\0'))
  with pytest.raises(ArchiveError) as caught:
    unpack(tmp_path / 'a.zip', tmp_path / 'out')
  assert caught.value.reason == 'damaged'
  assert 'a' not in files_in(tmp_path / 'out')


def test_file_that_is_also_a_folder(tmp_path):
  make_zip({'a': b'1', 'a/b': b'2'}, tmp_path / 'a.zip')
  with pytest.raises(ArchiveError, match='a file and a folder'):
    unpack(tmp_path / 'a.zip', tmp_path / 'out')


def test_archive_that_does_not_fit(tmp_path, monkeypatch):
  make_zip(FILES, tmp_path / 'a.zip')
  usage = type('Usage', (), {'free': 2999})
  monkeypatch.setattr(archives.shutil, 'disk_usage', lambda folder: usage)
  with pytest.raises(ArchiveError, match='3000 bytes') as caught:
    unpack(tmp_path / 'a.zip', tmp_path / 'out')
  assert caught.value.reason == 'disk_full'


@pytest.mark.parametrize('kind', ['zip', 'tar', 'tar.gz', 'tar.bz2', 'tar.xz'])
def test_mutated_archives_are_read_whole_or_refused(tmp_path, kind):
  rng = random.Random(0)
  path = tmp_path / f'a.{kind}'
  files = {name: rng.randbytes(900) for name in ('a/1', 'a/2', 'b')}
  if kind == 'zip':
    make_zip(files, path)
  else:
    make_tar(files, path, 'w:' + kind.removeprefix('tar').lstrip('.'))
  good = path.read_bytes()
  num_good = 0
  for trial in range(60):
    data = bytearray(good)
    if rng.random() < 0.3:
      del data[rng.randrange(1, len(data)) :]
    for _ in range(rng.randrange(1, 4)):
      data[rng.randrange(len(data))] = rng.randrange(256)
    path.write_bytes(data)
    out = tmp_path / 'out' / str(trial)
    with contextlib.suppress(ArchiveError):
      unpack(path, out)
      num_good += 1
      if kind != 'tar':  # which has no checksums of the contents
        assert sorted(files_in(out).values()) == sorted(files.values())
  assert num_good < (60 if kind == 'tar' else 15)
  assert {file.name for file in tmp_path.iterdir()} <= {path.name, 'out'}


def test_joined_volumes_are_one_file(tmp_path):
  data = os.urandom(10000)
  cuts = [0, 1, 1, 4096, 9999, 10000]
  paths = []
  for index, (start, end) in enumerate(itertools.pairwise(cuts)):
    paths.append(tmp_path / f'{index:03d}')
    paths[-1].write_bytes(data[start:end])
  rng = random.Random(0)
  with io.BufferedReader(JoinedFile(paths)) as joined:
    assert joined.read() == data
    for _ in range(200):
      start, size = rng.randrange(10500), rng.randrange(5000)
      joined.seek(start)
      assert joined.read(size) == data[start : start + size]
    joined.seek(-10, os.SEEK_END)
    assert joined.read() == data[-10:]


def test_archive_with_a_wrong_checksum(tmp_path):
  data = bytearray(make_zip({'a': os.urandom(5000)}))
  data[2000] ^= 1
  (tmp_path / 'a.zip').write_bytes(data)
  with pytest.raises(ArchiveError, match='CRC'):
    test_archive(tmp_path / 'a.zip')
  with pytest.raises(ArchiveError, match='CRC'):
    unpack(tmp_path / 'a.zip', tmp_path / 'out')
  assert 'a' not in files_in(tmp_path / 'out')
