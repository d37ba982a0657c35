"""Odd media and poses, each with a stated outcome: a clip, or one line."""

import dataclasses
import fractions
import struct

import media_seeds
import numpy as np
import pytest

from dance2wave.datasets import video_clips, workers
from dance2wave.datasets.work import Failure
from dance2wave.errors import InputError
from dance2wave.media import clip, mux, video
from dance2wave.pose.track import PoseTrack

RATE_HZ = 16000
FRAMES = 40  # 2 s
TICK = fractions.Fraction(1, 1000)


def times(count=FRAMES):
  return np.arange(count) / 20


def sound(duration_s=2.0, rate_hz=RATE_HZ):
  return clip.Waveform(media_seeds.tone(rate_hz, duration_s), rate_hz)


def write(path, frame_time_s=None, waveform=None):
  frame_time_s = times() if frame_time_s is None else frame_time_s
  return mux.write_video(
    path, media_seeds.pictures(), frame_time_s, waveform or sound()
  )


def write_streams(
  path, sounds, *, pictures=1, shift=0, frames=FRAMES, group=250
):
  """Write pictures, and sounds [(codec, layout, rate, duration)], with av."""
  import av

  with av.open(str(path), 'w') as sink:
    videos, audios = [], []
    for _ in range(pictures):
      options = {'g': str(group), 'bf': '0', 'sc_threshold': '0'}
      stream = sink.add_stream('libx264', 20, options, time_base=TICK)
      stream.width, stream.height, stream.pix_fmt = 64, 48, 'yuv420p'
      videos.append(stream)
    for codec, layout, rate_hz, _ in sounds:
      stream = sink.add_stream(codec, rate=rate_hz)
      stream.codec_context.layout = layout
      audios.append(stream)
    for stream in videos:
      for k, rgb_HWC in zip(range(frames), media_seeds.pictures()):
        frame = av.VideoFrame.from_ndarray(rgb_HWC, 'rgb24')
        frame.pts, frame.time_base = 50 * k + shift, TICK
        sink.mux(stream.encode(frame))
      sink.mux(stream.encode(None))
    for stream, (_, layout, rate_hz, duration_s) in zip(audios, sounds):
      samples_T = media_seeds.tone(rate_hz, duration_s)
      channels = stream.codec_context.channels
      wide_CT = np.ascontiguousarray(np.tile(samples_T, (channels, 1)))
      frame = av.AudioFrame.from_ndarray(wide_CT, 'fltp', layout)
      frame.sample_rate, frame.pts = rate_hz, 0
      resampler = av.AudioResampler(
        stream.codec_context.format, layout, rate_hz
      )
      for part in resampler.resample(frame):
        sink.mux(stream.encode(part))
      sink.mux(stream.encode(None))
  return path


def write_pcm(codec, rate_hz=RATE_HZ, layout='mono'):
  return lambda path: write_streams(
    path.with_suffix('.mkv'), [(codec, layout, rate_hz, 2.0)]
  )


def empty(path):
  path.touch()
  return path


def without_moov(path):
  content = write(path).read_bytes()
  start = content.index(b'moov') - 4
  size = int.from_bytes(content[start : start + 4], 'big')
  path.write_bytes(content[:start] + content[start + size :])
  return path


def rotated(path):
  content = bytearray(write(path).read_bytes())
  matrix = content.index(b'tkhd') + 4 + 40
  turned = (0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
  content[matrix : matrix + 36] = struct.pack('>9i', *turned)
  path.write_bytes(content)
  assert video.probe(path).rotation_deg == 270
  assert video.probe(path).width == 48
  return path


def cover_art(path):
  """A song with a picture of its album, which is no video of a dancer."""
  import av

  with av.open(str(path), 'w') as sink:
    audio = sink.add_stream('aac', rate=RATE_HZ)
    audio.codec_context.layout = 'mono'
    cover = sink.add_stream('mjpeg', rate=1)
    cover.width, cover.height, cover.pix_fmt = 64, 48, 'yuvj420p'
    cover.disposition = av.stream.Disposition.attached_pic
    picture = next(media_seeds.pictures())
    sink.mux(cover.encode(av.VideoFrame.from_ndarray(picture, 'rgb24')))
    sink.mux(cover.encode(None))
    samples_T = media_seeds.tone()[None]
    frame = av.AudioFrame.from_ndarray(samples_T, 'fltp', 'mono')
    frame.sample_rate, frame.pts = RATE_HZ, 0
    sink.mux(audio.encode(frame))
    sink.mux(audio.encode(None))
  with pytest.raises(InputError, match='has no video stream'):
    video.probe(path)
  return path


def variable(path):
  gaps_s = np.random.default_rng(0).uniform(0.02, 0.08, FRAMES - 1)
  times_s = np.append(0.0, np.cumsum(gaps_s))
  return write(path, times_s * 1.95 / times_s[-1])


SILENCE = clip.Waveform(np.zeros(2 * RATE_HZ, np.float32), RATE_HZ)
SILENT = (('aac', 'mono', RATE_HZ, 2.0),)
# name -> (how to make it, None for a clip or a word of its line)
FILES = {
  'zero length': (empty, 'is empty'),
  'one frame': (
    lambda p: write_streams(p, SILENT, frames=1),
    'at least two frames',
  ),
  'no moov': (without_moov, 'cannot be decoded'),
  'variable rate': (variable, None),
  'negative times': (lambda p: write_streams(p, SILENT, shift=-200), None),
  'late times': (lambda p: write_streams(p, SILENT, shift=400), None),
  'rotation': (rotated, None),
  'two videos and two sounds': (
    lambda p: write_streams(p, SILENT * 2, pictures=2),
    None,
  ),
  'cover art': (cover_art, None),
  'silent': (lambda p: write(p, waveform=SILENCE), 'is silent'),
  'no sound': (lambda p: write_streams(p, ()), 'has no sound track'),
  'stereo': (lambda p: write_streams(p, [('aac', 'stereo', 44100, 2)]), None),
  '5.1': (lambda p: write_streams(p, [('aac', '5.1', 48000, 2.0)]), None),
  '8 kHz': (write_pcm('pcm_s16le', 8000), None),
  '192 kHz': (write_pcm('pcm_s16le', 192000), None),
  'u8': (write_pcm('pcm_u8'), None),
  's24': (write_pcm('pcm_s24le'), None),
  's32': (write_pcm('pcm_s32le'), None),
  'f32': (write_pcm('pcm_f32le'), None),
  'longer sound': (lambda p: write(p, waveform=sound(3.0)), None),
  'shorter sound': (lambda p: write_streams(p, [(*SILENT[0][:3], 1.2)]), None),
}


def pose(fps=20, duration_s=2.0, joints=14):
  time_s = np.arange(round(duration_s * fps)) / fps
  pose_FJD = np.full((len(time_s), joints, 3), 0.5, np.float32)
  pose_FJD[..., 0] += np.linspace(-0.2, 0.2, joints)
  pose_FJD[..., 1] += 0.05 * np.sin(7 * time_s)[:, None]
  return {'pose': pose_FJD, 'pose_time_s': time_s, 'skeleton': 'core14'}


def posed(change, **sizes):
  fields = pose(**sizes)
  change(fields['pose'])
  return fields


def put(where, value):
  def change(pose_FJD):
    pose_FJD[where] = value

  return change


def leave(pose_FJD):
  pose_FJD[20:, :, 0] += 3.0


POSES = {
  'nobody': (posed(put((..., 2), 0.0)), 'a person was seen in 0 of 40 frames'),
  'leaving the frame': (posed(leave), None),
  'gone for a second': (posed(put((slice(20, None), ..., 2), 0.0)), None),
  'NaN': (posed(put((3, 4, 0), np.nan)), 'not finite at frame 3, joint 4'),
  'infinite': (posed(put((3, 4, 1), np.inf)), 'not finite at frame 3'),
  'NaN where nothing was seen': (posed(put((3, 4), (np.nan, 0, 0))), None),
  'pixels': (posed(put((3, 4, 0), 1920.0)), '1920 frame heights'),
  'missing joints': (pose(joints=9), '(frames, 14, 3)'),
  'one frame': (pose(fps=20, duration_s=0.05), 'at least 2'),
  '5 fps': (pose(fps=5), None),
  'times in disorder': (
    pose() | {'pose_time_s': np.arange(40)[::-1] / 20},
    'does not increase',
  ),
}


def check(path, message):
  """The outcome of one file is that which was stated."""
  named = video_clips.Video(path, path.name, 'hand')
  found = video_clips.read_video(named)
  if message is not None:
    assert isinstance(found, Failure), found
    assert message in found.message, found
    assert '\n' not in found.message and path.stem in found.message
    return
  assert not isinstance(found, Failure), found
  (made,) = found
  assert len(made['audio']) == round(made['duration_s'] * 16000)
  assert made['duration_s'] == pytest.approx(2.0, abs=0.25)
  assert np.abs(made['audio']).max() > 3000
  assert np.isfinite(made['pose']).all()


@pytest.mark.parametrize('name', FILES)
def test_files(name, tmp_path):
  make, message = FILES[name]
  path = make(tmp_path / 'odd.mp4')
  track = pose()
  np.savez(path.with_suffix('.npz'), **track)
  check(path, message)


@pytest.fixture(scope='module')
def good(tmp_path_factory):
  return write(tmp_path_factory.mktemp('good') / 'good.mp4')


@pytest.mark.parametrize('name', POSES)
def test_poses(name, good, tmp_path):
  fields, message = POSES[name]
  path = tmp_path / 'good.mp4'
  path.symlink_to(good)
  np.savez(path.with_suffix('.npz'), **fields)
  check(path, message)


def count_frames(path):
  try:
    return sum(1 for _ in video.read_frames(path))
  except MemoryError:
    return 'no memory'


def test_frames_of_4k_need_little_memory(tmp_path):
  shape = (2160, 3840, 3)
  frames = (np.full(shape, 40 * k, np.uint8) for k in range(6))
  path = mux.write_video(tmp_path / '4k.mp4', frames, times(6))
  limits = workers.Limits(num_bytes=3 << 29)
  assert list(
    workers.ordered_map(count_frames, [path], num_workers=1, limits=limits)
  ) == [6]


def test_a_lost_last_frame_may_not_shorten_a_video(good, monkeypatch):
  info = video.probe(good)
  longer_F = np.append(info.frame_time_s, 2.25)
  damaged = dataclasses.replace(info, frame_time_s=longer_F)
  monkeypatch.setattr(video, 'probe', lambda _: damaged)
  with pytest.raises(InputError, match='1 of its 41 frames are unreadable'):
    list(video.read_frames(good))


def test_what_comes_before_the_first_key_frame_is_told(tmp_path, caplog):
  import av

  path = write_streams(tmp_path / 'a.mkv', (), group=10)
  late = tmp_path / 'late.ts'
  with av.open(str(path)) as source, av.open(str(late), 'w') as sink:
    stream = source.streams.video[0]
    copy = sink.add_stream_from_template(stream)
    for k, packet in enumerate(source.demux(stream)):
      if packet.dts is not None and k >= 4:
        packet.stream = copy
        sink.mux(packet)
  assert len(video.probe(late).frame_time_s) == 30
  assert 'its first 6 frames come before the first key frame' in caplog.text


def test_a_file_whose_clips_have_no_pose_is_a_line(good, tmp_path):
  path = tmp_path / 'good.mp4'
  path.symlink_to(good)
  named = video_clips.Video(path, path.name, 'hand')
  pose_FJD = pose()['pose'][:2]
  track = PoseTrack(pose_FJD, [0.0, 20.9], 'core14', 21.0)
  with pytest.raises(InputError, match=r'2 frames of poses in 21\.00 s'):
    video_clips.cut(named, track, np.ones(21 * 16000, 'f') / 2, np.zeros(0))
