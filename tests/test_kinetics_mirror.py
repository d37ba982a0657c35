import dataclasses
import os
import random
import signal
import tarfile
import threading
import time

import pytest
from fake_yt_dlp import bytes_of_clips
from faulty_server import Answer, FaultyServer
from kinetics_files import (
  HEADER,
  TOOL,
  ask,
  check_output,
  tar_of,
  wait_for,
)
from warm_tool import WarmTool

from dance2wave.errors import InputError
from data_prep.kinetics_mirror import (
  MAX_CLIP_BYTES,
  MIRROR_URL,
  Archive,
  read_part_list,
  unpack_clips,
)
from data_prep.kinetics_run import run
from data_prep.ledger import read_ledger


@pytest.fixture(scope='module')
def media(tmp_path_factory):
  return bytes_of_clips(tmp_path_factory.mktemp('media'), 5)


def serve_annotations(server, rows, root='/700_2020/annotations', ending='csv'):
  """Put one file for each split; `rows` as for csv_of."""
  for name, split in (('train', 'train'), ('val', 'val'), ('test', 'test')):
    lines = [
      f'{label},{youtube_id},{start_s},{start_s + 1},{split}'
      for row_split, label, youtube_id, start_s in rows
      if row_split == split
    ] or [f'archery,otherother{name[0]},1,2,{split}']
    end = 'csv' if name == 'test' else ending
    body = (HEADER + '\n'.join(lines) + '\n').encode()
    server.put(f'{root}/{name}.{end}', body)


@pytest.fixture
def server():
  with FaultyServer() as server:
    yield server


TAP = '/700_2020/train/k700_train_611.tar.gz'
TAP_VAL = '/700_2020/val/k700_val_611.tar.gz'
ROWS = [
  ('train', 'tap dancing', '-taptrain0a', 5),
  ('train', 'tap dancing', '_taptrain1a', 5),
  ('train', 'tap dancing', 'silent____a', 5),
  ('train', 'tap dancing', 'damaged___a', 5),
  ('train', 'tap dancing', 'absent____a', 5),
  ('train', 'tap dancing', 'evil______a', 5),
  ('train', 'tap dancing', 'leaking___a', 5),
  ('val', 'tap dancing', 'leaking___a', 9),
]


def tap_archive(media):
  name = lambda youtube_id: f'{youtube_id}_000005_000006.mp4'  # noqa: E731
  return tar_of(
    [
      ('._' + name('-taptrain0a'), b'junk of macOS'),
      ('tap dancing/._' + name('_taptrain1a'), b'junk of macOS'),
      ('tap dancing/deeper/' + name('-taptrain0a'), media[0]),
      (name('_taptrain1a'), media[1]),
      (name('silent____a'), media[4]),
      (name('damaged___a'), media[2][: len(media[2]) // 2]),
      ('../' + name('evil______a'), media[3]),
      ('/tmp/' + name('evil______a'), media[3]),
      ('x/' + name('evil______a'), None),
      (name('leaking___a'), media[3]),
      (name('notwanted_a'), media[3]),
      ('readme.txt', b'hello'),
    ]
  )


def test_archives_of_classes(server, tmp_path, media, capfd, caplog):
  serve_annotations(server, ROWS)
  archive = tap_archive(media)
  server.put(TAP, archive, Answer(status=503), Answer())
  body = tar_of([('val/leaking___a_000009_000010.mp4', media[3])])
  server.put(TAP_VAL, body)
  request = ask(tmp_path, 'tap dancing', mirror_url=server.root)
  assert run(request) == 0
  assert 'about 1.2 GB' in capfd.readouterr().out
  assert '../evil______a' in caplog.text
  entries = check_output(
    tmp_path / 'out',
    [
      'train/tap dancing/-taptrain0a_000005_000006.mp4',
      'train/tap dancing/_taptrain1a_000005_000006.mp4',
      'validation/tap dancing/leaking___a_000009_000010.mp4',
    ],
  )
  reasons = {key[:11]: entry['reason'] for key, entry in entries.items()}
  assert reasons == {
    '-taptrain0a': '',
    '_taptrain1a': '',
    'leaking___a': '',
    'silent____a': 'no_audio',
    'damaged___a': 'damaged',
    'absent____a': 'not_in_archive',
    'evil______a': 'not_in_archive',
  }
  assert not list(tmp_path.rglob('*evil*'))
  assert list((tmp_path / 'out' / 'archives').iterdir()) == []
  # Nothing is asked for again, not even the annotations.
  num_seen = len(server.seen())
  assert run(request) == 0
  assert len(server.seen()) == num_seen
  # A lost file brings its archive, and no other, once more.
  lost = tmp_path / 'out/train/tap dancing/-taptrain0a_000005_000006.mp4'
  lost.unlink()
  assert run(dataclasses.replace(request, keep_archives=True)) == 0
  assert lost.is_file()
  assert [seen.path for seen in server.seen()[num_seen:]] == [TAP]
  kept = tmp_path / 'out/archives/train_k700_train_611.tar.gz'
  assert kept.read_bytes() == archive


def test_an_archive_that_cannot_be_had_is_told_for_every_clip(
  server, tmp_path, media
):
  serve_annotations(server, ROWS)
  server.put(TAP_VAL, tap_archive(media)[:-40])
  request = ask(tmp_path, 'tap dancing', mirror_url=server.root)
  assert run(request) == 1
  entries = read_ledger(tmp_path / 'out' / 'ledger.jsonl')
  reasons = {key[:11]: entry['reason'] for key, entry in entries.items()}
  assert reasons.pop('leaking___a') == 'archive_damaged'
  assert set(reasons.values()) == {'not_found'} and len(reasons) == 6
  assert not list((tmp_path / 'out').rglob('*.mp4'))
  # What may have passed is tried again by itself, the rest when asked.
  body = tar_of([('leaking___a_000009_000010.mp4', media[3])])
  server.put(TAP_VAL, body)
  server.put(TAP, tap_archive(media))
  assert run(request) == 0
  assert len(list((tmp_path / 'out').rglob('*.mp4'))) == 1
  assert run(dataclasses.replace(request, retry=['not_found'])) == 0
  assert len(list((tmp_path / 'out').rglob('*.mp4'))) == 3


@pytest.mark.parametrize(
  'answer',
  [
    Answer(bytes_per_s=20_000, chunk_bytes=1000),
    Answer(status=503, headers={'Retry-After': '60'}),
  ],
)
def test_a_run_that_fails_leaves_no_download_behind(
  server, tmp_path, media, answer
):
  rows = [ROWS[0], ('train', 'zumba', '_zumbatrain', 5)]
  serve_annotations(server, rows)
  body = tar_of([(f'{rows[0][2]}_000005_000006.mp4', media[0])])
  server.put(TAP, body)
  ballast = tar_of([('x.bin', random.Random(0).randbytes(1 << 20))])
  other = '/700_2020/train/k700_train_700.tar.gz'
  server.put(other, ballast, answer)
  (tmp_path / 'out/train').mkdir(parents=True)
  (tmp_path / 'out/train/tap dancing').write_text('where clips should go')
  start_s = time.monotonic()
  with pytest.raises(FileExistsError):
    run(ask(tmp_path, 'tap dancing', 'zumba', mirror_url=server.root))
  assert time.monotonic() - start_s < 10
  assert len(server.seen(other)) == 1
  assert [t for t in threading.enumerate() if 'Pool' in t.name] == []


def test_an_archive_is_fetched_on_from_where_a_killed_run_was(
  server, tmp_path, media
):
  serve_annotations(server, ROWS[:1])
  body = tar_of(
    [
      ('-taptrain0a_000005_000006.mp4', media[0]),
      ('ballast.bin', random.Random(0).randbytes(1 << 20)),
    ]
  )
  server.put(TAP, body, Answer(stall_after=600_000), Answer())
  words = ['--output', tmp_path / 'out', '--mirror_url', server.root]
  words += ['--classes', 'tap dancing', '--splits=train']
  part = tmp_path / 'out/archives/train_k700_train_611.tar.gz.part'
  with WarmTool(*TOOL) as tool:
    pid = tool.start(*words)
    wait_for(lambda: part.is_file() and part.stat().st_size >= 500_000)
    os.kill(pid, signal.SIGKILL)
    tool.wait(pid)
    result = tool(*words)
  assert result.returncode == 0, result.stderr
  check_output(
    tmp_path / 'out', ['train/tap dancing/-taptrain0a_000005_000006.mp4']
  )
  first, second = server.seen(TAP)
  assert second.status == 206
  assert second.num_sent < len(body) - 500_000 < first.num_sent


def test_k600_has_spaces_in_its_urls(server, tmp_path, media):
  serve_annotations(server, ROWS[:1], '/600/annotations', 'txt')
  body = tar_of([('a/-taptrain0a_000005_000006.mp4', media[0])])
  server.put('/600/train/tap%20dancing.tar.gz', body)
  more = {'release': 'k600', 'mirror_url': server.root}
  assert run(ask(tmp_path, 'tap dancing', **more)) == 0
  check_output(
    tmp_path / 'out', ['train/tap dancing/-taptrain0a_000005_000006.mp4']
  )


def test_k400_needs_all_its_parts(server, tmp_path, media, capfd):
  rows = [*ROWS[:3], ('train', 'zumba', 'replaced__a', 5)]
  clip = [f'{row[2]}_000005_000006' for row in rows]
  serve_annotations(server, rows, '/400/annotations')
  parts = [f'/400/train/part_{number}.tar.gz' for number in range(3)]
  listed = ''.join(f'{MIRROR_URL}{part}\r\n' for part in parts)
  server.put('/400/train/k400_train_path.txt', listed.encode())
  replacement = tar_of([(f'{clip[3]}.mp4', media[3])])
  server.put('/400/replacement_for_corrupted_k400.tgz', replacement)
  server.put(parts[0], tar_of([(f'{clip[0]}.mp4', media[0])]))
  server.put(parts[1], tar_of([(f'f/{clip[3]}.mp4', media[3][:900])]))
  request = ask(
    *(tmp_path, 'tap dancing', 'zumba'),
    release='k400',
    splits=['train'],
    mirror_url=server.root,
    num_workers=1,
  )
  assert run(request) == 1  # the third part is missing
  out = capfd.readouterr().out
  assert '351.0 GB' in out and 'every part' in out
  expected = [f'train/zumba/{clip[3]}.mp4', f'train/tap dancing/{clip[0]}.mp4']
  entries = check_output(tmp_path / 'out', expected)
  assert entries[clip[1]]['reason'] == 'archive_missing'
  # The parts that were searched are not fetched again.
  num_seen = len(server.seen())
  server.put(parts[2], tar_of([(f'{clip[1]}.mp4', media[1])]))
  assert run(request) == 0
  asked = {seen.path for seen in server.seen()[num_seen:]}
  assert asked == {'/400/train/k400_train_path.txt', parts[2]}
  expected += [f'train/tap dancing/{clip[1]}.mp4']
  entries = check_output(tmp_path / 'out', expected)
  assert entries[clip[2]]['reason'] == 'not_in_archive'


def test_lists_of_parts_name_the_mirror_only(tmp_path):
  path = tmp_path / 'k600_test_path.txt'
  path.write_text(f'{MIRROR_URL}/600/train/tap dancing.tar.gz\n\n')
  [archive] = read_part_list(path, 'http://here')
  assert archive == Archive('http://here/600/train/tap%20dancing.tar.gz')
  assert archive.name == 'train_tap dancing.tar.gz'
  for line in (
    'https://evil.example/part_0.tar.gz',
    f'{MIRROR_URL}/../x',
    f'{MIRROR_URL}.evil/x',
    '-rf',
    '',
  ):
    path.write_text(line)
    with pytest.raises(InputError, match=r'path\.txt'):
      read_part_list(path)
  for hostile in ('/%2e%2e/x', '/..%2fx', '/a%00b', '/' + 'é;|'):
    name = Archive(MIRROR_URL + hostile).name
    assert '/' not in name and '\0' not in name and name not in ('.', '..')


def test_a_flipped_byte_in_an_archive_is_found(tmp_path, media):
  clip = 'abcdefghijk_000005_000006'
  good = tar_of([(f'{clip}.mp4', media[0]), ('x.bin', os.urandom(3000))])
  path = tmp_path / 'a.tar.gz'
  for at in range(20, len(good), len(good) // 25):
    path.write_bytes(good[:at] + bytes([good[at] ^ 64]) + good[at + 1 :])
    folder = tmp_path / str(at)
    folder.mkdir()
    with pytest.raises(InputError, match=r'a\.tar\.gz cannot be read'):
      unpack_clips(path, {clip}, folder)
  for cut in (0, 10, len(good) // 2, len(good) - 4):
    path.write_bytes(good[:cut])
    folder = tmp_path / f'cut{cut}'
    folder.mkdir()
    with pytest.raises(InputError, match=r'a\.tar\.gz cannot be read'):
      unpack_clips(path, {clip}, folder)


def test_what_is_no_plain_clip_is_not_unpacked(tmp_path, caplog):
  clip = 'abcdefghijk_000005_000006'
  path, folder = tmp_path / 'a.tar', tmp_path / 'out'
  folder.mkdir()
  with tarfile.open(path, 'w') as tar:
    for number, kind in enumerate(
      (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE)
    ):
      info = tarfile.TarInfo(f'{number}/{clip}.mp4')
      info.type, info.linkname = kind, '/etc/passwd'
      tar.addfile(info)
    for name in (f'../{clip}.mp4', f'a/../../{clip}.mp4', f'/{clip}.mp4'):
      info = tarfile.TarInfo(name)
      tar.addfile(info)
    info = tarfile.TarInfo(f'{clip}.mp4')
    info.size = MAX_CLIP_BYTES + 1
    tar.fileobj.write(info.tobuf())
  # The last member lacks its bytes: a bomb must be refused before it is read.
  with pytest.raises(InputError):
    unpack_clips(path, {clip}, folder)
  assert list(folder.iterdir()) == []
