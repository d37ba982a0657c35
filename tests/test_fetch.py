"""Downloads from a server that misbehaves."""

import datetime
import email.utils
import errno
import gzip
import hashlib
import io
import os
import pathlib
import pickle
import tarfile
import time
import zipfile

import pytest
from faulty_server import Answer, FaultyServer

from dance2wave.errors import InputError
from data_prep import part
from data_prep.fetch import FetchError, fetch

BODY = bytes(range(256)) * 400
DIGEST = hashlib.sha256(BODY).hexdigest()
PAGE = b'<!DOCTYPE html><html><body>Please log in</body></html>' * 20


@pytest.fixture
def server():
  with FaultyServer() as running:
    yield running


@pytest.fixture
def target(tmp_path):
  return tmp_path / 'in' / 'file.bin'


class Waits(list):
  """A clock that does not wait and remembers how long it should have."""

  def __call__(self, wait_s):
    self.append(wait_s)


def get(url, target, waits=None, **options):
  waits = Waits() if waits is None else waits
  return fetch(url, target, timeout_s=0.3, wait=waits, **options)


def refused(url, target, **options):
  waits = Waits()
  with pytest.raises(FetchError) as caught:
    get(url, target, waits, **options)
  error = caught.value
  assert not target.exists()
  assert url in error.message
  assert len(error.message.splitlines()) == 1
  return error, waits


def assert_whole(target, body=BODY):
  assert target.read_bytes() == body
  assert sorted(path.name for path in target.parent.iterdir()) == [target.name]


def statuses(server):
  return [seen.status for seen in server.seen()]


def make_zip(size=5000):
  file = io.BytesIO()
  with zipfile.ZipFile(file, 'w') as archive:
    archive.writestr('a.bin', os.urandom(size))
  return file.getvalue()


def make_tar(size=5000, mode='w'):
  file = io.BytesIO()
  with tarfile.open(fileobj=file, mode=mode) as archive:
    member = tarfile.TarInfo('a.bin')
    member.size = size
    archive.addfile(member, io.BytesIO(os.urandom(size)))
  return file.getvalue()


def test_good_file(server, target):
  fetched = get(server.put('/f', BODY), target)
  assert_whole(target)
  assert (fetched.num_bytes, fetched.sha256) == (len(BODY), DIGEST)
  assert fetched.is_verified


def test_cut_body_goes_on_where_it_stopped(server, target):
  url = server.put('/f', BODY, Answer(cut_after=30000), Answer())
  assert get(url, target).sha256 == DIGEST
  assert_whole(target)
  first, second = server.seen()
  assert second.headers['Range'] == 'bytes=30000-'
  assert second.headers['If-Range'] == '"one"'
  assert first.num_sent + second.num_sent == len(BODY)


def test_cut_body_goes_on_in_the_next_run(server, target):
  url = server.put('/f', BODY, Answer(cut_after=30000), Answer())
  error, _ = refused(url, target, max_attempts=1)
  assert (error.reason, error.is_permanent) == ('truncated', False)
  get(url, target)
  assert_whole(target)
  assert server.seen()[1].num_sent == len(BODY) - 30000


def test_reset_connection(server, target):
  url = server.put('/f', BODY, Answer(cut_after=30000, is_reset=True), Answer())
  get(url, target)
  assert_whole(target)


def test_always_cut_ends(server, target):
  url = server.put('/f', BODY, Answer(cut_after=30000, has_ranges=False))
  error, waits = refused(url, target)
  assert error.reason == 'truncated'
  assert len(server.seen()) == 5 and len(waits) == 4
  for wait_s, longest_s in zip(waits, (1.5, 3, 6, 12)):
    assert longest_s / 3 <= wait_s <= longest_s


def test_progress_starts_the_count_anew(server, target):
  body = bytes(12 << 20)
  url = server.put('/f', body, Answer(cut_after=1200000))
  fetched = get(url, target, sha256=hashlib.sha256(body).hexdigest())
  assert fetched.num_bytes == len(body)
  assert len(server.seen()) == 11


def test_cut_without_length_is_found_by_size(server, target):
  url = server.put(
    '/f', BODY, Answer(cut_after=30000, has_length=False), Answer()
  )
  get(url, target, num_bytes=len(BODY))
  assert_whole(target)
  assert server.seen()[1].status == 206


def test_cut_without_length_is_found_by_digest(server, target):
  url = server.put(
    '/f', BODY, Answer(cut_after=30000, has_length=False), Answer()
  )
  get(url, target, sha256=DIGEST)
  assert_whole(target)


@pytest.mark.parametrize(
  ('make', 'cut_after'),
  [(make_zip, 4800), (make_tar, 3000), (make_tar, 512 + 5120)],
)
def test_cut_without_length_is_found_in_archives(
  server, target, make, cut_after
):
  body = make()
  cut = Answer(cut_after=cut_after, has_length=False)
  url = server.put('/f', body, cut, Answer(has_length=False))
  assert get(url, target, kind='archive').is_verified
  assert_whole(target, body)


def test_cut_without_length_is_found_in_compressed_tars(server, target):
  body = make_tar(mode='w:gz')
  cut = Answer(cut_after=len(body) - 4, has_length=False)
  url = server.put('/f', body, cut, Answer(has_length=False))
  assert get(url, target, kind='archive').is_verified
  assert_whole(target, body)


def test_no_length_and_nothing_known_is_unverified(server, target):
  url = server.put('/f', BODY, Answer(has_length=False))
  assert not get(url, target).is_verified
  assert_whole(target)


def test_chunked_body(server, target):
  url = server.put(
    '/f',
    BODY,
    Answer(is_chunked=True, cut_after=30000),
    Answer(is_chunked=True),
  )
  assert get(url, target).is_verified
  assert_whole(target)
  assert len(server.seen()) == 2


@pytest.mark.parametrize(
  ('status', 'reason'),
  [
    (404, 'not_found'),
    (410, 'not_found'),
    (403, 'forbidden'),
    (401, 'forbidden'),
  ],
)
def test_refusals_are_not_tried_again(server, target, status, reason):
  error, waits = refused(server.put('/f', BODY, Answer(status=status)), target)
  assert (error.reason, error.is_permanent) == (reason, True)
  assert str(status) in error.message
  assert not waits and len(server.seen()) == 1


def test_too_many_requests_waits_as_told(server, target):
  later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=40)
  limited = [
    Answer(status=429, headers={'Retry-After': '7'}),
    Answer(
      status=429,
      headers={'Retry-After': email.utils.format_datetime(later, usegmt=True)},
    ),
    Answer(status=503, headers={'Retry-After': '999999'}),
    Answer(status=503, headers={'Retry-After': 'soon'}),
  ]
  waits = Waits()
  get(server.put('/f', BODY, *limited, Answer()), target, waits)
  assert_whole(target)
  assert waits[0] == 7
  assert 35 < waits[1] <= 40
  assert waits[2] == 300
  assert 4 <= waits[3] <= 12


def test_unavailable_three_times(server, target):
  busy = [Answer(status=503)] * 3
  waits = Waits()
  get(server.put('/f', BODY, *busy, Answer()), target, waits)
  assert_whole(target)
  assert statuses(server) == [503, 503, 503, 200]
  assert len(waits) == 3


def test_always_limited(server, target):
  error, waits = refused(server.put('/f', BODY, Answer(status=429)), target)
  assert (error.reason, error.is_permanent) == ('rate_limited', False)
  assert len(waits) == 4


@pytest.mark.parametrize('kind', ['archive', 'media', 'table', 'binary'])
def test_web_page_instead_of_the_file(server, target, kind):
  url = server.put('/f', BODY, Answer(body=PAGE))
  error, waits = refused(url, target, kind=kind)
  assert (error.reason, error.is_permanent) == ('not_the_file', True)
  assert not waits
  assert list(target.parent.iterdir()) == []


def test_web_page_does_not_cost_the_half_file(server, target):
  body = make_zip(50000)
  page = Answer(body=PAGE, has_ranges=False)
  url = server.put('/f', body, Answer(cut_after=30000), page, Answer())
  with pytest.raises(FetchError, match='web page'):
    get(url, target, kind='archive')
  get(url, target, kind='archive')
  assert_whole(target, body)
  assert server.seen()[2].status == 206


@pytest.mark.parametrize(
  ('kind', 'body', 'is_good'),
  [
    ('archive', make_zip(), True),
    ('archive', make_tar(), True),
    ('archive', make_tar(mode='w:gz'), True),
    ('archive', make_tar(mode='w:xz'), True),
    ('archive', b'label,youtube_id\n' * 99, False),
    ('media', b'\0\0\0\x18ftypmp42' + bytes(600), True),
    ('media', b'\x1aE\xdf\xa3' + bytes(600), True),
    ('media', b'ID3\x04' + bytes(600), True),
    ('media', b'{"error": "private"}' * 50, False),
    ('table', b'label,youtube_id\n' * 99, True),
    ('table', '\ufefflabel,caf\xe9\n'.encode() * 99, True),
    ('table', b'a', True),
    ('table', gzip.compress(b'label' * 999, mtime=0), False),
    ('table', b'<?xml version="1.0"?><Error>NoSuchKey</Error>', False),
    ('table', b'', False),
    ('binary', b'\0' * 700, True),
    ('binary', b'', False),
  ],
)
def test_first_bytes_must_fit_the_kind(server, target, kind, body, is_good):
  url = server.put('/f', body)
  if is_good:
    get(url, target, kind=kind)
    assert_whole(target, body)
  else:
    assert refused(url, target, kind=kind)[0].reason == 'not_the_file'


def test_compression_that_was_not_asked_for(server, target):
  packed = gzip.compress(b'label,id\n' * 99, mtime=0)
  answer = Answer(body=packed, headers={'Content-Encoding': 'gzip'})
  url = server.put('/f', b'', answer)
  assert refused(url, target)[0].reason == 'not_the_file'
  assert server.seen()[0].headers['Accept-Encoding'] == 'identity'


def test_compressed_tar_with_the_encoding_in_its_header(server, target):
  body = make_tar(mode='w:gz')
  url = server.put('/f', body, Answer(headers={'Content-Encoding': 'x-gzip'}))
  get(url, target, kind='archive')
  assert_whole(target, body)


def test_stall(server, target):
  url = server.put('/f', BODY, Answer(stall_after=30000), Answer())
  start_s = time.monotonic()
  get(url, target)
  assert time.monotonic() - start_s < 3
  assert_whole(target)


def test_stall_for_ever(server, target):
  url = server.put('/f', BODY, Answer(stall_after=0))
  error, _ = refused(url, target, max_attempts=2)
  assert (error.reason, error.is_permanent) == ('stalled', False)


def test_slow_drip_is_a_stall(server, target):
  slow = Answer(bytes_per_s=200, chunk_bytes=10)
  url = server.put('/f', BODY, slow)
  start_s = time.monotonic()
  error, _ = refused(url, target, max_attempts=1)
  assert error.reason == 'stalled'
  assert time.monotonic() - start_s < 3


def test_wrong_checksum_is_tried_once_more(server, target):
  other = BODY[:-1] + b'!'
  url = server.put('/f', BODY, Answer(body=other), Answer())
  get(url, target, sha256=DIGEST.upper())
  assert_whole(target)


def test_wrong_checksum_for_ever(server, target):
  url = server.put('/f', BODY[:-1] + b'!')
  error, _ = refused(url, target, sha256=DIGEST)
  assert (error.reason, error.is_permanent) == ('checksum', True)
  assert len(server.seen()) == 2
  assert list(target.parent.iterdir()) == []


def test_wrong_size(server, target):
  url = server.put('/f', BODY)
  error, _ = refused(url, target, num_bytes=len(BODY) + 1)
  assert (error.reason, error.is_permanent) == ('checksum', True)


def test_server_that_ignores_ranges(server, target):
  plain = Answer(has_ranges=False)
  url = server.put('/f', BODY, Answer(cut_after=30000), plain)
  get(url, target)
  assert_whole(target)
  assert statuses(server) == [200, 200]


@pytest.mark.parametrize('shift', [-1000, 1000])
def test_server_that_sends_another_range(server, target, shift):
  shifted = Answer(range_shift=shift)
  url = server.put('/f', BODY, Answer(cut_after=30000), shifted, Answer())
  get(url, target)
  assert_whole(target)
  assert statuses(server) == [200, 206, 200]


def test_partial_answer_that_does_not_say_which_part(server, target):
  silent = Answer(headers={'Content-Range': None})
  url = server.put('/f', BODY, Answer(cut_after=30000), silent, Answer())
  get(url, target)
  assert_whole(target)


def test_server_that_sends_short_ranges(server, target):
  short = Answer(max_range=50000)
  url = server.put('/f', BODY, Answer(cut_after=30000), short)
  get(url, target)
  assert_whole(target)
  assert statuses(server) == [200, 206, 206]


@pytest.mark.parametrize('checks_if_range', [True, False])
def test_file_that_changes_between_attempts(server, target, checks_if_range):
  new = BODY[::-1]
  changed = Answer(body=new, etag='"two"', checks_if_range=checks_if_range)
  url = server.put('/f', BODY, Answer(cut_after=30000), changed)
  get(url, target)
  assert_whole(target, new)


def test_file_that_shrinks_between_attempts(server, target):
  small = Answer(body=BODY[:1000], etag='"two"', checks_if_range=False)
  url = server.put('/f', BODY, Answer(cut_after=30000), small)
  get(url, target)
  assert_whole(target, BODY[:1000])
  assert statuses(server) == [200, 416, 200]


def test_without_validator_it_starts_again(server, target):
  url = server.put('/f', BODY, Answer(cut_after=30000, etag=None), Answer())
  get(url, target)
  assert_whole(target)
  assert 'Range' not in server.seen()[1].headers


def test_weak_validator_is_none(server, target):
  url = server.put('/f', BODY, Answer(cut_after=30000, etag='W/"1"'), Answer())
  get(url, target)
  assert 'Range' not in server.seen()[1].headers


def test_date_is_a_validator(server, target):
  date = {'Last-Modified': 'Tue, 01 Sep 2026 00:00:00 GMT'}
  answer = Answer(cut_after=30000, etag=None, headers=date)
  url = server.put('/f', BODY, answer, Answer(checks_if_range=False, etag=None))
  get(url, target)
  assert server.seen()[1].headers['If-Range'] == date['Last-Modified']
  assert_whole(target)


def test_digest_stands_in_for_a_validator(server, target):
  cut = Answer(cut_after=30000, etag=None)
  url = server.put('/f', BODY, cut, Answer(etag=None))
  get(url, target, sha256=DIGEST)
  assert statuses(server) == [200, 206]


def test_parts_of_other_addresses_are_not_mixed(server, target):
  one = server.put('/one', BODY, Answer(cut_after=30000))
  refused(one, target, max_attempts=1)
  get(server.put('/two', BODY[::-1]), target)
  assert_whole(target, BODY[::-1])
  assert statuses(server) == [200, 200]


def test_torn_note_about_the_part(server, target):
  url = server.put('/f', BODY, Answer(cut_after=30000), Answer())
  refused(url, target, max_attempts=1)
  note = target.with_name('file.bin.part.json')
  note.write_text(note.read_text()[:20])
  get(url, target)
  assert_whole(target)


def test_whole_part_is_not_asked_for_again(server, target, monkeypatch):
  url = server.put('/f', BODY)
  with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
    patch.setattr('data_prep.part.os.replace', interrupt)
    get(url, target)
  assert not target.exists()
  get(url, target)
  assert_whole(target)
  assert len(server.seen()) == 1


def interrupt(*_):
  raise KeyboardInterrupt


def test_a_whole_part_is_flushed_before_and_its_name_after(target, monkeypatch):
  target.parent.mkdir()
  whole = part.Part(target)
  whole.begin(part.Version('http://x/f'))
  whole.append([BODY])
  done, replace = [], os.replace
  monkeypatch.setattr(os, 'fsync', lambda f: done.append(os.fstat(f).st_ino))
  monkeypatch.setattr(
    os, 'replace', lambda *names: done.append('named') or replace(*names)
  )
  whole.finish()
  assert_whole(target)
  inodes = [path.stat().st_ino for path in (target, target.parent)]
  assert done == [inodes[0], 'named', inodes[1]]


def test_inherited_archive_is_read_through(server, target):
  body = make_zip(50000)
  url = server.put('/f', body, Answer(cut_after=30000), Answer())
  refused(url, target, kind='archive', max_attempts=1)
  part = target.with_name('file.bin.part')
  part.write_bytes(part.read_bytes()[:20000] + bytes(10000))  # power was lost
  get(url, target, kind='archive')
  assert_whole(target, body)


def test_target_that_is_there_is_kept(server, target):
  url = server.put('/f', BODY)
  get(url, target)
  before = target.stat().st_mtime_ns
  assert get(url, target).sha256 == DIGEST
  get(url, target, sha256=DIGEST)
  assert target.stat().st_mtime_ns == before
  assert len(server.seen()) == 2


def test_damaged_target_is_replaced(server, target):
  url = server.put('/f', BODY)
  get(url, target)
  target.write_bytes(BODY[:100])
  get(url, target)
  assert_whole(target)
  target.write_bytes(BODY[:-1] + b'!')
  get(url, target, sha256=DIGEST)
  assert_whole(target)


def test_redirect(server, target):
  there = server.put('/there', BODY)
  url = server.put('/f', b'', Answer(status=302, headers={'Location': there}))
  get(url, target)
  assert_whole(target)


@pytest.mark.parametrize('location', ['/f', 'file:///etc/passwd', 'ftp://a/b'])
def test_redirects_that_lead_nowhere(server, target, location):
  answer = Answer(status=302, headers={'Location': location})
  error, waits = refused(server.put('/f', b'', answer), target)
  assert (error.reason, error.is_permanent) == ('redirect_loop', True)
  assert not waits


def test_nobody_there(server, target):
  url = server.put('/f', BODY).replace('127.0.0.1', '127.0.0.2')
  error, waits = refused(url, target, max_attempts=3)
  assert (error.reason, error.is_permanent) == ('connection', False)
  assert 'refused' in error.message
  assert len(waits) == 2


@pytest.mark.parametrize(
  'url', ['file:///etc/passwd', 'ftp://a/b', 'a.zip', '']
)
def test_only_http(target, url):
  with pytest.raises(InputError, match='http'):
    fetch(url, target)


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='no /dev/full')
def test_full_disk(server, target):
  target.parent.mkdir()
  target.with_name('file.bin.part').symlink_to('/dev/full')
  error, waits = refused(server.put('/f', BODY), target)
  assert (error.reason, error.is_permanent) == ('disk_full', True)
  assert not waits


def test_disk_that_fills_in_the_middle(server, target, monkeypatch):
  def write_some(self, chunks):
    with self.path.open('ab') as file:
      file.write(next(iter(chunks)))
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

  url = server.put('/f', BODY)
  with monkeypatch.context() as patch:
    patch.setattr(part.Part, 'append', write_some)
    assert refused(url, target)[0].reason == 'disk_full'
  get(url, target)
  assert_whole(target)
  assert server.seen()[1].status == 206


def test_error_survives_the_way_between_processes():
  error = FetchError('stalled', 'http://a/b', 'sent\nnothing', retry_after_s=3)
  again = pickle.loads(pickle.dumps(error))
  assert (again.reason, again.url) == ('stalled', 'http://a/b')
  assert again.message == error.message == str(again)
  assert again.retry_after_s == 3


def test_odd_names(server, tmp_path):
  target = pathlib.Path(tmp_path) / '-rf é' / "a b;'.bin"
  get(server.put('/a%20b', BODY).replace('%20', ' '), target)
  assert_whole(target)
