"""The ledger of a long preparation."""

import errno
import hashlib
import json
import os
import subprocess
import sys
import threading

import pytest
from command_line import ROOT

from dance2wave.errors import InputError
from data_prep.ledger import Ledger, is_done, read_ledger


@pytest.fixture
def path(tmp_path):
  return tmp_path / 'made' / 'ledger.jsonl'


def lines_of(path):
  return [json.loads(line) for line in path.read_text().splitlines()]


def test_newest_line_of_a_key_counts(path):
  with Ledger(path) as ledger:
    ledger.append('a', 'failed', reason='stalled', url='http://x')
    ledger.append('b', 'skipped', reason='short')
    ledger.append('a', 'done', num_bytes=3)
    assert ledger.counts() == {('done', ''): 1, ('skipped', 'short'): 1}
    in_memory = ledger.latest()
  assert [line['state'] for line in lines_of(path)] == [
    'failed',
    'skipped',
    'done',
  ]
  with Ledger(path) as ledger:
    assert ledger.latest() == in_memory == read_ledger(path)
  assert in_memory['a']['num_bytes'] == 3
  assert lines_of(path)[0]['url'] == 'http://x'


def test_keys_of_all_kinds(path):
  keys = ['-rf', '../x', 'a\nb', 'é\u2028"', '', '\ud800', 'a' * 5000]
  with Ledger(path) as ledger:
    for key in keys:
      ledger.append(key, 'done')
  with Ledger(path) as ledger:
    assert list(ledger.latest()) == keys


@pytest.mark.parametrize('num_left', [1, 20, -1])
def test_torn_last_line(path, num_left):
  with Ledger(path) as ledger:
    ledger.append('a', 'done', num_bytes=1)
    ledger.append('b', 'done', num_bytes=2)
  first, second = path.read_bytes().splitlines(keepends=True)
  path.write_bytes(first + second[:num_left])
  with Ledger(path) as ledger:
    # All but the line's end is a whole line; less is none.
    assert set(ledger.latest()) == ({'a', 'b'} if num_left == -1 else {'a'})
    ledger.append('c', 'done', num_bytes=3)
  assert {'a', 'c'} <= set(read_ledger(path))
  assert path.read_bytes().endswith(b'}\n')


def test_lines_that_are_no_entries(path):
  path.parent.mkdir()
  path.write_bytes(
    b'\xff\xfe\n[]\n1\n{"key": 1}\n\n{"key": "a", "state": "done"}\n'
  )
  assert list(read_ledger(path)) == ['a']


def test_disk_that_is_full_for_a_while(path, monkeypatch):
  def write_half(file, data):
    os.write(file.fileno(), data[: len(data) // 2])
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

  class Full:
    def __init__(self, file):
      self.write = lambda data: write_half(file, data)

  with Ledger(path) as ledger:
    ledger.append('a', 'done')
    file = ledger._file
    monkeypatch.setattr(ledger, '_file', Full(file))
    with pytest.raises(OSError, match='space'):
      ledger.append('b', 'done')
    monkeypatch.setattr(ledger, '_file', file)
    assert list(ledger.latest()) == ['a']
    ledger.append('c', 'done')
  assert list(read_ledger(path)) == ['a', 'c']


def test_a_line_is_flushed_to_the_disk_before_the_work_goes_on(
  path, monkeypatch
):
  flushed = []
  monkeypatch.setattr(
    os, 'fsync', lambda file: flushed.append(os.fstat(file).st_size)
  )
  with Ledger(path) as ledger:
    for number in range(2):
      ledger.append(f'{number}', 'done')
      assert len(flushed) == number + 1
      assert flushed[-1] == path.stat().st_size


def test_many_threads(path):
  def work(name):
    for index in range(25):
      ledger.append(f'{name}/{index}', 'done', num_bytes=index)

  with Ledger(path) as ledger:
    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
      thread.start()
    for thread in threads:
      thread.join()
    assert ledger.counts() == {('done', ''): 200}
  assert len(lines_of(path)) == 200


def test_one_run_at_a_time(path):
  code = f'from data_prep.ledger import Ledger; Ledger({str(path)!r})'
  command = [sys.executable, '-c', code]
  with Ledger(path):
    second = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    with pytest.raises(InputError, match='in use by another run'):
      Ledger(path)
  assert 'in use by another run' in second.stderr
  assert subprocess.run(command, cwd=ROOT).returncode == 0


def test_a_killed_run_leaves_the_ledger_free(path):
  code = (
    'import os, signal; from data_prep.ledger import Ledger; '
    f'ledger = Ledger({str(path)!r}); ledger.append("a", "done"); '
    'os.kill(os.getpid(), signal.SIGKILL)'
  )
  killed = subprocess.run([sys.executable, '-c', code], cwd=ROOT)
  assert killed.returncode == -9
  with Ledger(path) as ledger:
    assert list(ledger.latest()) == ['a']


def test_children_do_not_keep_it(path):
  with Ledger(path):
    child = subprocess.Popen(['sleep', '5'])
  try:
    with Ledger(path):
      pass
  finally:
    child.kill()
    child.wait()


def test_a_place_that_cannot_be_written(tmp_path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(InputError, match='cannot be written'):
    Ledger(tmp_path / 'file' / 'ledger.jsonl')


def test_is_done(tmp_path):
  target = tmp_path / 'a.bin'
  digest = hashlib.sha256(b'abc').hexdigest()
  entry = {'key': 'a', 'state': 'done', 'num_bytes': 3, 'sha256': digest}
  assert not is_done(entry, target)
  target.write_bytes(b'abc')
  assert is_done(entry, target)
  assert is_done(entry, target, check_sha256=True)
  assert not is_done(None, target)
  assert not is_done(entry | {'state': 'failed'}, target)
  assert not is_done({'key': 'a', 'state': 'done'}, target)
  target.write_bytes(b'abd')
  assert is_done(entry, target)
  assert not is_done(entry, target, check_sha256=True)
  target.write_bytes(b'ab')
  assert not is_done(entry, target)
