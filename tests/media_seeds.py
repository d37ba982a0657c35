"""Good media files of many kinds, and damage done to them by a seed."""

import fractions
import random
import shutil

import numpy as np
import soundfile

from dance2wave.media import clip, mux

RATE_HZ = 16000
FRAMES = 40
TICK = fractions.Fraction(1, 20)
# Real ones of ../shared/data, small enough to be decoded many times.
REAL = (
  'decord/video_90.mov',
  'mirdata-guitarset/03_BN3-119-G_solo_mic.wav',
  'tfjs-pose/pose_1.mp4',
  'torchcodec/nasa_13013.mp4.audio.mp3',
)


def tone(rate_hz=RATE_HZ, duration_s=2.0):
  """A wavering tone (T,) float32."""
  time_s = np.arange(round(rate_hz * duration_s)) / rate_hz
  wave = np.sin(2 * np.pi * 300 * time_s) * np.sin(2 * np.pi * 2 * time_s)
  return (0.5 * wave).astype(np.float32)


def pictures(height=48, width=64):
  """Frames in which a square moves, so that packets are not empty."""
  for k in range(FRAMES):
    rgb_HWC = np.full((height, width, 3), 40, np.uint8)
    rgb_HWC[8 : 8 + 16, k : k + 16] = (k * 6, 200, 90)
    yield rgb_HWC


def _coded(path, picture, sound, container=None):
  """Write picture and sound with codecs of one's choice."""
  import av

  with av.open(str(path), 'w', format=container) as sink:
    video = sink.add_stream(picture, rate=20, options={'g': '10'})
    video.width, video.height, video.pix_fmt = 64, 48, 'yuv420p'
    audio = sink.add_stream(sound, rate=48000 if 'opus' in sound else RATE_HZ)
    audio.codec_context.layout = 'mono'
    samples_T = tone(audio.codec_context.sample_rate)
    packets = []
    for rgb_HWC in pictures():
      frame = av.VideoFrame.from_ndarray(rgb_HWC, 'rgb24')
      packets += video.encode(frame)
    packets += video.encode(None)
    for start in range(0, len(samples_T), 960):
      part_T = samples_T[None, start : start + 960]
      frame = av.AudioFrame.from_ndarray(part_T, 'fltp', 'mono')
      frame.sample_rate, frame.pts = audio.codec_context.sample_rate, start
      packets += audio.encode(frame)
    packets += audio.encode(None)
    for packet in sorted(packets, key=lambda p: p.dts * p.time_base):
      sink.mux(packet)
  return path


def make_seeds(folder, shared=None):
  """Fill a folder with good files; return their paths, sorted.

  Args:
    folder: empty.
    shared: folder of real media, or None.
  """
  waveform = clip.Waveform(tone(), RATE_HZ)
  times_s = np.arange(FRAMES) / 20
  mux.write_video(folder / 'h264.mp4', pictures(), times_s, waveform)
  mux.mux_audio(folder / 'h264.mp4', waveform, folder / 'h264.mkv')
  _coded(folder / 'mpeg4.avi', 'mpeg4', 'pcm_s16le')
  _coded(folder / 'mjpeg.avi', 'mpeg4', 'libmp3lame')
  _coded(folder / 'vp8.webm', 'libvpx', 'libopus')
  _coded(folder / 'h264.mov', 'libx264', 'aac')
  _coded(folder / 'h264.ts', 'libx264', 'aac', 'mpegts')
  for name in ('a.wav', 'a.flac', 'a.ogg', 'a.aiff'):
    soundfile.write(folder / name, tone(), RATE_HZ)
  if shared is not None:
    for name in REAL:
      shutil.copy(shared / name, folder / name.rpartition('/')[2])
  return sorted(folder.iterdir())


def cut(data, rng):
  """Cut the end off."""
  return data[: rng.randrange(len(data))]


def flip(data, rng):
  """Change a few bytes anywhere."""
  damaged = bytearray(data)
  for _ in range(rng.choice((1, 4, 40))):
    damaged[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
  return bytes(damaged)


def zero(data, rng):
  """Zero a stretch, as a lost block of a disk reads."""
  start = rng.randrange(len(data))
  size = min(rng.choice((16, 512, 4096)), len(data) - start)
  return data[:start] + bytes(size) + data[start + size :]


def splice(data, rng):
  """Leave a stretch out, or put it in twice."""
  start = rng.randrange(len(data))
  size = rng.randrange(1, max(2, len(data) // 8))
  again = rng.choice((0, 2))
  return (
    data[:start] + data[start : start + size] * again + data[start + size :]
  )


def header(data, rng):
  """Change bytes of the head, or of the tail, where mp4 keeps its tables."""
  damaged = bytearray(data)
  size = min(2048, len(data))
  offset = rng.choice((0, len(data) - size))
  for _ in range(rng.choice((1, 3))):
    damaged[offset + rng.randrange(size)] = rng.randrange(256)
  return bytes(damaged)


def sizes(data, rng):
  """Enlarge or shrink a 32-bit number of the head or of the tail."""
  damaged = bytearray(data)
  reach = min(2048, len(data)) - 4
  offset = rng.choice((0, len(data) - reach - 4)) + rng.randrange(reach)
  order = rng.choice(('big', 'little'))
  value = int.from_bytes(damaged[offset : offset + 4], order)
  value = rng.choice((value // 2, value * 2, value + 1, 2**31, 2**32 - 1))
  damaged[offset : offset + 4] = (value % 2**32).to_bytes(4, order)
  return bytes(damaged)


DAMAGES = (cut, flip, zero, splice, header, sizes)


def write_damaged(seed, number, folder):
  """Write damage `number` of a good file into a folder; return its path."""
  rng = random.Random(f'{seed.name} {number}')
  damage = DAMAGES[number % len(DAMAGES)]
  name = f'{seed.stem}_{number:04}_{damage.__name__}{seed.suffix}'
  path = folder / name
  path.write_bytes(damage(seed.read_bytes(), rng))
  return path
