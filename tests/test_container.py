"""Media of odd names, odd text and odd sizes, and where their sound begins."""

import struct
import subprocess
import sys
import time
import types

import numpy as np
import pytest
from test_audio import CLICKS_S, RATE_HZ, _clicks, _encode, _tone, _write_avi

from dance2wave.media import audio, placing, watchdog
from dance2wave.media.container import guarded, num_skipped, open_media


def test_a_colon_in_a_name_is_no_protocol(tmp_path, monkeypatch):
  _encode(tmp_path / 'a.mp3', 'libmp3lame', _tone(), RATE_HZ)
  (tmp_path / 'a.mp3').rename(tmp_path / 'take:2.mp3')
  monkeypatch.chdir(tmp_path)
  assert len(audio.read_audio('take:2.mp3').samples_T) == RATE_HZ


def test_text_in_another_encoding_is_no_damage(tmp_path):
  path = tmp_path / 'a.avi'
  _write_avi(path, _tone(2.0), 0.0)
  whole = audio.read_audio(path).samples_T
  content = path.read_bytes()
  assert b'Lavf' in content
  path.write_bytes(content.replace(b'Lavf', b'\xe9t\xe9!', 1))
  np.testing.assert_array_equal(audio.read_audio(path).samples_T, whole)


@pytest.mark.parametrize('junk', [b'', b'abc'])
def test_an_avi_may_hold_empty_and_odd_pieces_before_its_index(tmp_path, junk):
  path = _write_avi(tmp_path / 'a.avi', _tone(2.0), 0.6)
  with open_media(path) as container:
    empty = num_skipped(container, container.streams.audio[0])
  content = path.read_bytes()
  at = content.index(b'idx1')
  piece = struct.pack('<4sI', b'JUNK', len(junk)) + junk + bytes(len(junk) % 2)
  content = content[:at] + piece + content[at:]
  path.write_bytes(
    content[:4] + struct.pack('<I', len(content) - 8) + content[8:]
  )
  with open_media(path) as container:
    assert num_skipped(container, container.streams.audio[0]) == empty > 0


def test_late_sound_that_ends_after_the_picture_of_an_avi_is_whole(tmp_path):
  path = _write_avi(tmp_path / 'a.avi', _clicks(CLICKS_S, 3.0), 0.6)
  assert len(audio.read_audio(path).samples_T) == 3 * RATE_HZ


def test_of_a_piece_that_begins_before_the_picture_the_rest_is_in_its_place():
  info = types.SimpleNamespace(path='a.mp4', start_s=0.0, duration_s=1.0)
  ramp_T = np.arange(1, 11, dtype=np.float32)
  placed_T = placing.place([(-0.3, ramp_T)], 10, info)
  np.testing.assert_array_equal(placed_T, [*range(4, 11), 0, 0, 0])


def test_who_reads_on_is_not_taken_for_stalled(tmp_path, monkeypatch):
  monkeypatch.setattr(watchdog, '_AGAIN_S', 0.0)

  def slow():
    for k in range(6):
      time.sleep(0.1)
      yield k

  with watchdog.watching(0.4):
    assert list(guarded(slow(), tmp_path)) == [*range(6)]


WATCHED = """
import signal, time
from dance2wave.media import watchdog
watchdog._AGAIN_S = 0.0
watchdog._GRACE_S = 0.1
with watchdog.watching(0.1):
  pass
watchdog.progress()
assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
time.sleep(0.4)
"""


def test_nothing_is_left_of_a_watch_that_has_ended():
  done = subprocess.run([sys.executable, '-c', WATCHED], capture_output=True)
  assert (done.returncode, done.stderr) == (0, b'')


def test_who_waits_for_too_long_is_stalled(tmp_path):
  with (
    pytest.raises(watchdog.Stalled, match=r'no progress for 0\.1 s'),
    watchdog.watching(0.1),
  ):
    list(guarded(iter(lambda: time.sleep(1), 0), tmp_path))
