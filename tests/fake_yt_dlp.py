"""A yt-dlp for the PATH that does as it is told, and keeps what it was asked.

fake = FakeYtDlp(tmp_path, segment_s=1.0)
fake.will('-rfAAAAAAAA', 'network', 'ok')   # one word per call, last stays
environ = fake.environ()
…
assert len(fake.calls('-rfAAAAAAAA')) == 2
"""

import functools
import json
import os
import pathlib
import stat
import sys
import tempfile

import numpy as np

from dance2wave.media.clip import Waveform
from dance2wave.media.mux import write_video

_MEDIA = tempfile.TemporaryDirectory(prefix='dance2wave-fake-')
# What yt-dlp writes, as in its issues and its source.
STDERR = {
  'private': 'Private video. Sign in if you have been granted access',
  'removed': 'Video unavailable. This video has been removed by the uploader',
  'terminated': 'Video unavailable. This video is no longer available because '
  'the YouTube account associated with this video has been terminated.',
  'unavailable': 'Video unavailable',
  'bot_check': 'Sign in to confirm you\u2019re not a bot. Use --cookies-from-'
  'browser or --cookies for the authentication.',
  'geo_blocked': 'Video unavailable. The uploader has not made this video '
  'available in your country',
  'age_restricted': 'Sign in to confirm your age. This video may be '
  'inappropriate for some users.',
  'rate_limited': 'Unable to download webpage: HTTP Error 429: Too Many '
  'Requests',
  'session_limited': "Video unavailable. This content isn't available, try "
  'again later. Your account has been rate-limited by YouTube for an hour.',
  'overused': "Video unavailable. This content isn't available, try again "
  'later.',
  'client_refused': 'The following content is not available on this app.. '
  'Watch on the latest version of YouTube.',
  'copyright': 'Video unavailable. This video contains content from SME, who '
  'has blocked it in your country on copyright grounds',
  'network': 'Unable to download API page: <urllib3 object>: Failed to '
  'resolve host (getaddrinfo failed)',
  'forbidden': 'unable to download video data: HTTP Error 403: Forbidden',
  'no_format': 'Requested format is not available. Use --list-formats',
  'disk_full': 'unable to write data: [Errno 28] No space left on device',
  'unknown': 'Nobody has seen this before',
}

_SCRIPT = """#!{python} -S
import json, os, shutil, sys, time
home = {home!r}
argv = sys.argv[1:]
name = argv[argv.index('--output') + 1].replace('.%(ext)s', '')
clip = name.removeprefix('./')
calls = os.path.join(home, 'calls', clip)
try:
  count = sum(1 for _ in open(calls))
except FileNotFoundError:
  count = 0
cookies = None
if '--cookies' in argv:
  cookies = open(argv[argv.index('--cookies') + 1]).read()
output = os.environ.get('FAKE_OUTPUT')
was_there = any(
  clip + '.mp4' in files and '.partial' not in folder
  for folder, _, files in os.walk(output or '/nonexistent')
)
call = dict(argv=argv, was_there=was_there, cookies=cookies, cwd=os.getcwd())
with open(calls, 'a') as file:
  file.write(json.dumps(call) + '\\n')
plans = json.load(open(os.path.join(home, 'plans.json')))
plan = plans.get(clip[:11], ['ok'])
word = plan[min(count, len(plan) - 1)]
media = {media!r}
time.sleep(float(os.environ.get('FAKE_SLEEP_S', '0')))
if word in ('ok', 'no_audio', 'short', 'long'):
  shutil.copy(os.path.join(media, word + '.mp4'), name + '.mp4')
elif word == 'half':
  data = open(os.path.join(media, 'ok.mp4'), 'rb').read()
  open(name + '.mp4', 'wb').write(data[: len(data) // 2])
elif word == 'hang':
  open(name + '.mp4.part', 'wb').write(b'x')
  if os.fork() == 0:
    time.sleep(30)
  os.wait()
elif word != 'nothing':
  messages = json.load(open(os.path.join(home, 'stderr.json')))
  print('WARNING: [youtube] no SSL here, timed out', file=sys.stderr)
  print('ERROR: [youtube] ' + clip[:11] + ': ' + messages[word],
        file=sys.stderr)
  sys.exit(1)
"""


def write_clip(path, duration_s=1.0, rate_hz=10, has_sound=True, level=0):
  """Write a tiny real mp4, with a tone if wanted."""
  count = round(duration_s * rate_hz)
  frames = [
    np.full((32, 32, 3), (level * 7 + 40 * i) % 250, np.uint8)
    for i in range(count)
  ]
  samples = 0.3 * np.sin(np.arange(round(duration_s * 16000)) * 0.1)
  sound = Waveform(samples.astype(np.float32), 16000) if has_sound else None
  write_video(path, frames, np.arange(count) / rate_hz, sound)
  return path


def bytes_of_clips(folder, count):
  """Return the bytes of clips that differ, the last without sound."""
  clips = [
    write_clip(folder / f'{n}.mp4', level=n, has_sound=n < count - 1)
    for n in range(count)
  ]
  return [path.read_bytes() for path in clips]


@functools.cache
def _media(segment_s):
  """Write the files that the program can deliver, once."""
  folder = pathlib.Path(_MEDIA.name) / str(segment_s)
  folder.mkdir()
  write_clip(folder / 'ok.mp4', segment_s)
  write_clip(folder / 'short.mp4', segment_s - 0.4)
  write_clip(folder / 'long.mp4', segment_s + 0.4)
  write_clip(folder / 'no_audio.mp4', segment_s, has_sound=False)
  return folder


class FakeYtDlp:
  """The program, in a folder of its own, with a fake ffmpeg beside it."""

  def __init__(self, folder, segment_s=1.0):
    self.home = folder / 'fake'
    self.bin = self.home / 'bin'
    self._plans = {}
    for name in ('bin', 'calls'):
      (self.home / name).mkdir(parents=True)
    media = _media(segment_s)
    self.good = media / 'ok.mp4'
    (self.home / 'stderr.json').write_text(json.dumps(STDERR))
    names = {'home': str(self.home), 'media': str(media)}
    script = _SCRIPT.format(python=sys.executable, **names)
    for name, text in (('yt-dlp', script), ('ffmpeg', '#!/bin/sh\n')):
      path = self.bin / name
      path.write_text(text)
      path.chmod(path.stat().st_mode | stat.S_IXUSR)
    self.will('nobody', 'ok')

  def will(self, youtube_id, *words):
    """Set what happens for a video: a word for each call, the last stays."""
    self._plans[youtube_id] = words
    (self.home / 'plans.json').write_text(json.dumps(self._plans))

  def environ(self, **more):
    """Return variables with which the fake is found first."""
    path = f'{self.bin}:{os.environ["PATH"]}'
    return {**os.environ, 'PATH': path, 'JAX_PLATFORMS': 'cpu', **more}

  def calls(self, start=''):
    """Return the calls for the clips whose names begin so."""
    paths = sorted((self.home / 'calls').glob(f'{start}*'))
    return [
      json.loads(line)
      for path in paths
      for line in path.read_text().splitlines()
    ]
