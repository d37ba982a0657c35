import fcntl
import pathlib
import re
import threading

import pytest

from dance2wave.metrics import librosa_loading

TESTS = pathlib.Path(__file__).parent


@pytest.fixture
def lock_path(tmp_path, monkeypatch):
  path = tmp_path / 'lock'
  monkeypatch.setattr(librosa_loading, '_locked', lambda: path)
  path.touch()
  librosa_loading.load_librosa.cache_clear()
  yield path
  librosa_loading.load_librosa.cache_clear()


def test_compiling_waits_for_another_process(lock_path, monkeypatch):
  imported = []
  monkeypatch.setattr(
    librosa_loading.importlib,
    'import_module',
    lambda name: imported.append(name) or name,
  )
  with lock_path.open() as other:
    fcntl.flock(other, fcntl.LOCK_EX)
    thread = threading.Thread(target=librosa_loading.load_librosa)
    thread.start()
    thread.join(0.3)
    assert thread.is_alive() and imported == []
  thread.join(10)
  assert not thread.is_alive()
  assert {'librosa.util.utils', 'librosa.beat'} <= {*imported}


def test_the_lock_is_let_go_and_librosa_returned(lock_path):
  librosa = librosa_loading.load_librosa()
  assert callable(librosa.beat.beat_track)
  with lock_path.open() as other:
    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_tests_too_load_it_behind_the_lock():
  pattern = re.compile(r'^\s*(import|from) librosa\b', re.MULTILINE)
  for path in TESTS.glob('*.py'):
    assert not pattern.search(path.read_text()), path
