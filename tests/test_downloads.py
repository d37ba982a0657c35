"""The download tools, from a local server that misbehaves."""

import functools
import hashlib
import io
import json
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from command_line import ROOT, assert_one_line, run
from faulty_server import Answer, FaultyServer
from packing import FILES, files_in, make_zip

from dance2wave.errors import InputError
from data_prep import (
  download_aistpp,
  download_dancing2music,
  downloads,
)
from data_prep.downloads import Unpacking, Wanted, download_all
from data_prep.fetch import fetch
from data_prep.ledger import read_ledger


@pytest.fixture
def server():
  with FaultyServer() as running:
    yield running


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
  quick = functools.partial(fetch, wait=lambda wait_s: None, timeout_s=0.5)
  monkeypatch.setattr(downloads, 'fetch', quick)


def npy(array):
  file = io.BytesIO()
  np.save(file, array)
  return file.getvalue()


# Folders of downloads


def test_second_run_asks_for_nothing(server, tmp_path, capsys):
  wanted = [
    Wanted(
      'downloads/a.zip', (server.put('/a.zip', make_zip(FILES)),), 'archive'
    ),
    Wanted('t.csv', (server.put('/t.csv', b'a,b\n'),), 'table'),
  ]
  steps = [Unpacking(('downloads/a.zip',), lambda roots: 'tree')]
  assert download_all(tmp_path, wanted, steps) == 0
  assert files_in(tmp_path / 'tree') == FILES
  assert (
    '2 files downloaded, 0 were there, 1 archives' in capsys.readouterr().out
  )
  assert download_all(tmp_path, wanted, steps) == 0
  assert (
    '0 files downloaded, 1 were there, 0 archives' in capsys.readouterr().out
  )
  (tmp_path / 'downloads/a.zip').unlink()
  assert download_all(tmp_path, wanted, steps) == 0
  assert len(server.seen()) == 2
  entry = read_ledger(tmp_path / 'ledger.jsonl')['t.csv']
  assert entry['num_bytes'] == 4 and entry['is_verified']
  assert entry['sha256'] == hashlib.sha256(b'a,b\n').hexdigest()


def test_hosts_are_tried_in_turn(server, tmp_path):
  gone = server.put('/one/f', b'', Answer(status=404))
  wanted = [Wanted('f', (gone, server.put('/two/f', b'data')))]
  assert download_all(tmp_path, wanted) == 0
  assert read_ledger(tmp_path / 'ledger.jsonl')['f']['url'].endswith('/two/f')


def test_host_that_is_down_is_asked_last(server, tmp_path):
  down = server.root.replace('127.0.0.1', '127.0.0.2')
  wanted = []
  for name in ('f', 'g'):
    url = server.put(f'/{name}', b'data')
    wanted.append(Wanted(name, (f'{down}/{name}', url)))
  asked = []

  def count(url, target, **options):
    asked.append(url)
    return fetch(url, target, wait=lambda wait_s: None, **options)

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(downloads, 'fetch', count)
    assert download_all(tmp_path, wanted) == 0
  assert asked == [*wanted[0].urls, wanted[1].urls[1]]


def test_half_file_goes_on_at_its_own_host(server, tmp_path):
  body = os.urandom(50000)
  busy = server.put('/one/f', body, Answer(status=503))
  other = server.put(
    '/two/f', body, *[Answer(cut_after=20000, has_ranges=False)] * 5
  )
  wanted = [Wanted('f', (busy, other))]
  assert download_all(tmp_path, wanted) == 1
  server.put('/one/f', body)
  server.put('/two/f', body)
  assert download_all(tmp_path, wanted) == 0
  assert server.seen()[-1].path == '/two/f'
  assert (tmp_path / 'f').read_bytes() == body


def test_what_is_gone_stays_given_up(server, tmp_path, capsys):
  url = server.put('/f', b'data', Answer(status=404))
  wanted = [Wanted('f', (url,)), Wanted('g', (server.put('/g', b'data'),))]
  assert download_all(tmp_path, wanted) == 1
  assert 'answered 404' in capsys.readouterr().err
  assert download_all(tmp_path, wanted) == 1
  printed = capsys.readouterr()
  assert 'answered 404' in printed.err and '--retry=not_found' in printed.err
  assert '1 were there' in printed.out and '1 failed' in printed.out
  assert len(server.seen('/f')) == 1
  server.put('/f', b'data')
  assert download_all(tmp_path, wanted, retry=['forbidden']) == 1
  assert download_all(tmp_path, wanted, retry=['not_found']) == 0
  assert len(server.seen('/g')) == 1


def test_what_passes_is_tried_again(server, tmp_path):
  wanted = [Wanted('f', (server.put('/f', b'data', Answer(status=503)),))]
  assert download_all(tmp_path, wanted) == 1
  entry = read_ledger(tmp_path / 'ledger.jsonl')['f']
  assert (entry['state'], entry['reason']) == ('failed', 'server_error')
  server.put('/f', b'data')
  assert download_all(tmp_path, wanted) == 0


def test_file_that_is_another_one_later(server, tmp_path, capsys):
  wanted = [Wanted('f', (server.put('/f', b'first'),))]
  assert download_all(tmp_path, wanted) == 0
  (tmp_path / 'f').unlink()
  server.put('/f', b'other')
  assert download_all(tmp_path, wanted) == 1
  assert 'checksums.json' in capsys.readouterr().err
  assert not (tmp_path / 'f').exists()
  sums = tmp_path / 'checksums.json'
  sums.write_text(json.dumps({}))
  assert download_all(tmp_path, wanted, retry=['checksum']) == 0
  assert (
    json.loads(sums.read_text())['f'] == hashlib.sha256(b'other').hexdigest()
  )


def test_unproven_file_is_not_trusted_for_later(server, tmp_path):
  url = server.put('/f', b'data', Answer(has_length=False))
  assert download_all(tmp_path, [Wanted('f', (url,))]) == 0
  assert not read_ledger(tmp_path / 'ledger.jsonl')['f']['is_verified']
  assert not (tmp_path / 'checksums.json').exists()


def test_file_that_was_damaged_on_the_disk(server, tmp_path):
  wanted = [Wanted('f', (server.put('/f', b'data'),))]
  download_all(tmp_path, wanted)
  (tmp_path / 'f').write_bytes(b'da')
  assert download_all(tmp_path, wanted) == 0
  assert (tmp_path / 'f').read_bytes() == b'data'


@pytest.mark.parametrize('is_unpacked', [True, False])
def test_archive_that_is_whole_but_broken(server, tmp_path, is_unpacked):
  good = make_zip({'a': os.urandom(5000)})
  bad = good[:2000] + bytes([good[2000] ^ 1]) + good[2001:]
  wanted = [Wanted('a.zip', (server.put('/a.zip', bad),), 'archive')]
  steps = [Unpacking(('a.zip',))] if is_unpacked else []
  assert download_all(tmp_path, wanted, steps) == 1
  assert download_all(tmp_path, wanted, steps) == 1
  assert len(server.seen()) == 1
  server.put('/a.zip', good)
  assert download_all(tmp_path, wanted, steps, retry=['damaged']) == 0
  assert (tmp_path / 'a').exists() == is_unpacked


def test_archive_that_is_unsafe(server, tmp_path, capsys):
  bad = make_zip({'../evil': b'x'})
  wanted = [Wanted('x/a.zip', (server.put('/a.zip', bad),), 'archive')]
  assert download_all(tmp_path, wanted, [Unpacking(('x/a.zip',))]) == 1
  assert '../evil' in capsys.readouterr().err
  assert not (tmp_path.parent / 'evil').exists()
  counts = read_ledger(tmp_path / 'ledger.jsonl')
  assert counts['unpacked x/a.zip']['reason'] == 'unsafe'


def test_full_disk_stops_everything(server, tmp_path):
  (tmp_path / 'f.part').symlink_to('/dev/full')
  wanted = [
    Wanted(name, (server.put(f'/{name}', b'data' * 9999),)) for name in 'fg'
  ]
  with pytest.raises(InputError, match='does not fit on the disk'):
    download_all(tmp_path, wanted)
  assert not server.seen('/g')
  (tmp_path / 'f.part').unlink()
  assert download_all(tmp_path, wanted, retry=['disk_full']) == 0


def test_torn_checksums(server, tmp_path):
  (tmp_path / 'checksums.json').write_text('{"f": "0')
  with pytest.raises(InputError, match=r'checksums\.json'):
    download_all(tmp_path, [Wanted('f', (server.put('/f', b'data'),))])


# The tools


def test_magnatagatune(server, tmp_path):
  clips = {f'{digit}/song-{digit}.mp3': os.urandom(3000) for digit in '0af'}
  data = make_zip(clips)
  for index, start in enumerate((0, 3000, 6000)):
    end = None if index == 2 else start + 3000
    server.put(f'/mtt/mp3.zip.00{index + 1}', data[start:end])
  server.put('/mtt/annotations_final.csv', b'"clip_id"\t"guitar"\t"mp3_path"\n')
  server.put('/mtt/clip_info_final.csv', b'clip_id\ttitle\n')
  arguments = (f'--output={tmp_path}', f'--root_url={server.root}/mtt/')
  plan = run('data_prep.download_magnatagatune', *arguments, '--dry_run')
  assert plan.stdout.splitlines()[2] == (
    f'{server.root}/mtt/mp3.zip.001 -> {tmp_path}/downloads/mp3.zip.001'
  )
  assert len(plan.stdout.splitlines()) == 5
  assert not server.seen() and not list(tmp_path.iterdir())
  result = run('data_prep.download_magnatagatune', *arguments)
  assert result.returncode == 0, result.stderr
  assert files_in(tmp_path / 'mp3') == clips
  assert sorted(path.name for path in tmp_path.iterdir()) == [
    *('annotations_final.csv', 'checksums.json', 'clip_info_final.csv'),
    *('downloads', 'ledger.jsonl', 'mp3'),
  ]
  assert not list((tmp_path / 'downloads').glob('mp3.zip'))


STYLE_FILES = {'vid/0/c0/1.npy': npy(np.zeros((32, 14, 2)))}
DATA_FILES = {'unitList/zumba_unit.txt': b'data/x\n', 'stats/m.npy': b'0' * 99}


@pytest.mark.parametrize('depth', ['data/{}/', '{}/', ''])
def test_dancing2music(server, tmp_path, depth):
  root = f'{server.root}/d2m'
  expected = {f'data/{name}': data for name, data in DATA_FILES.items()}
  for style in ('ballet', 'zumba', 'hiphop'):
    files = {
      depth.format(style) + name: data for name, data in STYLE_FILES.items()
    }
    server.put(f'/d2m/{style}.zip', make_zip(files))
    for name, data in STYLE_FILES.items():
      expected[f'data/{style}/{name}'] = data
  before = 'data/' if depth.startswith('data') else ''
  files = {before + name: data for name, data in DATA_FILES.items()}
  server.put('/d2m/data.zip', make_zip(files))
  wanted = download_dancing2music.archives_of(['http://127.0.0.2:1/x', root])
  steps = download_dancing2music.steps_of(wanted)
  assert download_all(tmp_path, wanted, steps) == 0
  found = files_in(tmp_path)
  assert {k: v for k, v in found.items() if k.startswith('data/')} == expected
  assert len(json.loads(found['checksums.json'])) == 4


def test_dancing2music_models(server, tmp_path):
  root = server.root
  for style in ('ballet', 'zumba', 'hiphop', 'data'):
    server.put(f'/{style}.zip', make_zip(STYLE_FILES))
  for name in ('Stage1.ckpt', 'Stage2.ckpt'):
    server.put(f'/{name}', b'\x80\x02\x8a\n' + os.urandom(900))
  server.put('/Model_MY.zip', make_zip(STYLE_FILES))
  arguments = (f'--output={tmp_path}', f'--root_url={root}', '--models')
  result = run('data_prep.download_dancing2music', *arguments)
  assert result.returncode == 0, result.stderr
  assert {path.name for path in (tmp_path / 'models').iterdir()} == {
    *('Stage1.ckpt', 'Stage2.ckpt', 'Model_MY.zip')
  }


def test_dancing2music_plan_has_both_hosts(tmp_path):
  result = run(
    'data_prep.download_dancing2music', f'--output={tmp_path}', '--dry_run',
    '--models',
  )  # fmt: skip
  lines = result.stdout.splitlines()
  assert len(lines) == 8 + 4 + 3
  for host in ('vllab.ucmerced.edu/hylee', 'hsinyinglee.com/Project_page'):
    assert f'{host}/Dancing2Music/zumba.zip -> {tmp_path}/downloads' in (
      result.stdout
    )
  assert any('dropbox.com' in line and 'dl=1' in line for line in lines)


NAMES = ['gBR_sBM_c01_d04_mBR0_ch01', 'gWA_sFM_c02_d25_mWA3_ch07']
VIDEO = b'\0\0\0\x18ftypmp42' + bytes(range(256)) * 390


def test_aistpp(server, tmp_path):
  for part in download_aistpp.ARCHIVES:
    files = {f'{part}/x.pkl': os.urandom(99), f'__MACOSX/{part}/._x': b'x'}
    server.put(f'/v1.0/{part}.zip', make_zip(files))
  splits = {'splits/crossmodal_train.txt': '\n'.join(
    name.replace('c01', 'cAll').replace('c02', 'cAll') for name in NAMES
  )}  # fmt: skip
  server.put('/v1.0/splits.zip', make_zip(splits))
  server.put('/v1.0/ignore_list.txt', b'gBR_sBM_cAll_d04_mBR0_ch10\n')
  server.put('/video_list.txt', b'', Answer(status=403))
  for name in NAMES:
    for camera in ('c01', 'c02', 'c09'):
      one = name.replace('c01', camera).replace('c02', camera)
      server.put(f'/10M/{one}.mp4', VIDEO)
  arguments = (
    f'--output={tmp_path}',
    f'--root_url={server.root}/v1.0',
    f'--video_root_url={server.root}/10M',
    f'--video_list={server.root}/video_list.txt',
  )
  result = run('data_prep.download_aistpp', *arguments)
  assert result.returncode == 0, result.stderr
  for part in download_aistpp.ARCHIVES:
    assert (tmp_path / part).is_dir()
  assert not (tmp_path / '__MACOSX').exists()
  assert not (tmp_path / 'videos').exists()
  result = run(
    'data_prep.download_aistpp', *arguments, '--parts=splits,videos',
    '--accept_terms', '--cameras=c01,c09',
  )  # fmt: skip
  assert result.returncode == 0, result.stderr
  assert len(list((tmp_path / 'videos').glob('*_c0[19]_*.mp4'))) == 4
  assert len(list((tmp_path / 'videos').iterdir())) == 4


def test_another_address_is_another_list_of_videos(server, tmp_path):
  for number, name in enumerate(NAMES):
    server.put(f'/{number}.txt', name.encode())
  for number in (0, 1, 1):
    url = f'{server.root}/{number}.txt'
    assert download_aistpp._get_names(tmp_path, url, ()) == [NAMES[number]]
  assert len(server.seen('/1.txt')) == 1


def test_videos_need_the_accepted_terms(tmp_path):
  result = run(
    'data_prep.download_aistpp', f'--output={tmp_path}', '--parts=videos'
  )
  assert_one_line(result, 'terms_of_use', '--accept_terms')
  assert result.returncode == 2


def test_names_of_videos():
  def names(lines, cameras=('c01',)):
    files = download_aistpp.videos_of(lines, cameras, ['http://h/10M/'])
    assert all(
      file.urls == (f'http://h/10M/{file.name[7:]}',) for file in files
    )
    return [file.name[7:] for file in files]

  assert names([*NAMES, '', f' {NAMES[0]}.mp4 ']) == [f'{NAMES[0]}.mp4']
  assert names([NAMES[1]], ('c02', 'c03')) == [f'{NAMES[1]}.mp4']
  every = [NAMES[0].replace('c01', 'cAll')]
  assert len(names(every, download_aistpp.CAMERAS)) == 9
  for bad in (
    '../../etc/passwd',
    'gBR_sBM_c01_d04_mBR0_ch01/x',
    '-rf',
    '<html>',
  ):
    with pytest.raises(InputError, match='no name of AIST'):
      names([bad])
  with pytest.raises(InputError, match='none of camera c05'):
    names(NAMES, ('c05',))


@pytest.mark.parametrize(
  ('arguments', 'word'),
  [
    ([], 'output is missing'),
    (['--output=X', '--retry=never'], "retry is 'never'"),
    (['--output=X', '--parts=splits,motion'], "parts holds 'motion'"),
    (['--output=X', '--root_url=/tmp'], "url is '/tmp/motions.zip'"),
  ],
)
def test_bad_flags_are_one_line(tmp_path, arguments, word):
  given = [text.replace('=X', f'={tmp_path}') for text in arguments]
  result = run('data_prep.download_aistpp', *given)
  assert 'Traceback' not in result.stderr
  assert result.returncode == 2
  assert word in result.stderr.splitlines()[-1]


def test_failures_end_with_status_1(server, tmp_path):
  result = run(
    'data_prep.download_aistpp',
    f'--output={tmp_path}', f'--root_url={server.root}', '--parts=ignore_list',
  )  # fmt: skip
  assert result.returncode == 1
  assert '1 failed, see' in result.stdout
  assert 'answered 404' in result.stderr


# Killed at random moments


def start(server, folder, names):
  command = [
    *(sys.executable, '-m', 'data_prep.download_aistpp'),
    *(f'--output={folder / "out"}', '--parts=videos', '--accept_terms'),
    f'--video_list={names}',
    f'--video_root_url={server.root}/10M',
  ]
  return subprocess.Popen(
    command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
  )


def num_sent(server):
  return sum(seen.num_sent for seen in server.seen())


def kill_at(process, server, num_bytes):
  """Kill once so many bytes more were sent; return whether it was running."""
  goal = num_sent(server) + num_bytes
  while num_sent(server) < goal and process.poll() is None:
    time.sleep(0.002)
  process.send_signal(signal.SIGKILL)
  return process.wait() == -signal.SIGKILL


def done_in(folder):
  entries = read_ledger(folder / 'out' / 'ledger.jsonl')
  return {key for key, entry in entries.items() if entry['state'] == 'done'}


def check_kills(server, folder, num_files, num_kills):
  rng = random.Random(num_kills)
  bodies = {}
  for index in range(num_files):
    name = f'gBR_sBM_c01_d04_mBR0_ch{index:02d}.mp4'
    bodies[name] = VIDEO[:12] + rng.randbytes(rng.randrange(60_000, 140_000))
    slow = Answer(bytes_per_s=2e6, chunk_bytes=4096, etag=f'"{index}"')
    server.put(f'/10M/{name}', bodies[name], slow)
  names = folder / 'names.txt'
  names.write_text('\n'.join(bodies))
  total = sum(map(len, bodies.values()))
  done_at = {}
  for _ in range(num_kills):
    step = rng.randrange(2 * total // (num_kills + 2))
    assert kill_at(start(server, folder, names), server, step), 'too fast'
    for path in (folder / 'out').glob('videos/*.mp4'):
      assert path.read_bytes() == bodies[path.name]
    for key in done_in(folder):
      done_at.setdefault(key, len(server.seen(f'/10M/{key[7:]}')))
  assert start(server, folder, names).wait() == 0
  assert {
    p.name: p.read_bytes() for p in (folder / 'out/videos').iterdir()
  } == (bodies)
  assert done_in(folder) == {f'videos/{name}' for name in bodies}
  assert done_at
  for key, num_requests in done_at.items():
    assert len(server.seen(f'/10M/{key[7:]}')) == num_requests
  # A kill costs no more than what lay in the buffers of its connection.
  largest = max(map(len, bodies.values()))
  assert num_sent(server) <= total + num_kills * largest
  before = len(server.seen())
  assert start(server, folder, names).wait() == 0
  assert len(server.seen()) == before


def test_killed_5_times(server, tmp_path):
  check_kills(server, tmp_path, num_files=20, num_kills=5)


@pytest.mark.slow
def test_killed_20_times(server, tmp_path):
  check_kills(server, tmp_path, num_files=40, num_kills=20)
