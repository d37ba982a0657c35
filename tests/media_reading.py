"""Media files to clips, beside what each file declares about itself."""

import contextlib
import logging
import pathlib
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds

from dance2wave.datasets import base, video_clips
from dance2wave.datasets.work import Failure, Work
from dance2wave.media import audio, video
from dance2wave.pose.track import PoseTrack

# A frame of the slowest seed more than what the product forgives.
SLACK_S = 0.101
VIDEOS = (*video_clips.SUFFIXES, '.ts')
_LENGTHS = ('picture_s', 'sound_s')


def read(task):
  """Return the clip of a file, as `read_video` does, or a `Failure`.

  The pose is made of the brightness of each picture, so that every picture
  counts; of a sound without pictures, of nothing.
  """
  stage, warnings = 'pose', []
  try:
    with _warnings_in(warnings):
      track = _track(task.path)
      stage = 'audio'
      audio_T = audio.read_audio(task.path, 16000).samples_T
      lengths = {'picture_s': track.duration_s, 'sound_s': _sound_s(task.path)}
    stage = 'cut'
    short = short_reads(task.path, lengths)
    aux = {'short': '; '.join(short), 'warnings': '; '.join(warnings)}
    named = video_clips.Video(task.path, task.name, 'sweep', aux=aux)
    return video_clips.cut(named, track, audio_T, np.zeros(0))
  except Exception as error:
    return Failure.of(task.name, stage, error)


@contextlib.contextmanager
def _warnings_in(found):
  handler = logging.Handler(logging.WARNING)
  handler.emit = lambda record: found.append(record.getMessage())
  logger = logging.getLogger('absl')
  logger.addHandler(handler)
  try:
    yield
  finally:
    logger.removeHandler(handler)


def _track(path):
  if path.suffix not in VIDEOS:
    duration_s = audio.read_audio(path).duration_s
    time_s = np.arange(max(2, int(duration_s * 10))) / 10
    pose_FJD = np.full((len(time_s), 14, 3), 0.5)
    return PoseTrack(pose_FJD, time_s, 'core14', max(duration_s, 0.1))
  info, times_s, poses = video.probe(path), [], []
  for time_s, rgb_HWC in video.read_frames(path):
    times_s.append(time_s)
    poses.append(np.full((14, 3), rgb_HWC.mean() / 255))
  last_s = info.duration_s - float(info.frame_time_s[-1])
  return PoseTrack(poses, times_s, 'core14', times_s[-1] + last_s)


def _sound_s(path):
  """Return how much sound there is, before it is fitted to a picture."""
  import av

  with av.open(f'file:{path}', metadata_errors='replace') as container:
    stream = container.streams.audio[0]
    rate_hz = stream.codec_context.sample_rate
    return sum(f.samples for f in container.decode(stream)) / rate_hz


def declarations(path):
  """Return {'picture_s', 'sound_s': {who says so: seconds}}, undecoded.

  They are libav's own readings of the container, the streams and the packets,
  and not what `media` makes of them.
  """
  import av

  said = {name: {} for name in _LENGTHS}
  with av.open(f'file:{path}', metadata_errors='replace') as container:
    streams, packets = {}, {name: [] for name in _LENGTHS}
    for kind, name in zip(('video', 'audio'), _LENGTHS):
      for stream in getattr(container.streams, kind)[:1]:
        streams[stream.index] = name
        if stream.duration:
          said[name]['stream'] = float(stream.duration * stream.time_base)
        if len(container.streams) == 1 and container.duration:
          said[name]['container'] = container.duration / 1e6
    for packet in container.demux():
      name = streams.get(packet.stream_index)
      if name and packet.dts is not None and packet.size:
        packets[name].append(packet)
  for name, some in packets.items():
    if some:
      said[name]['packets'] = _span_s(name, some)
  return said


def _span_s(name, packets):
  """Return what packets cover: less than their blocks may be padded by."""
  tick_s = float(packets[0].time_base)
  lasts = [packet.duration or 0 for packet in packets]
  if name == 'sound_s':
    return (sum(lasts) - 3 * max(lasts)) * tick_s
  times = [p.dts if p.pts is None else p.pts for p in packets]
  last = lasts[times.index(max(times))]
  return (max(times) - min(times) + last) * tick_s


def short_reads(path, lengths):
  """Return what was read shorter than declared, as texts."""
  found = []
  for name, said in declarations(path).items():
    if name == 'picture_s' and path.suffix not in VIDEOS:
      continue
    for who, declared_s in said.items():
      if lengths[name] < declared_s - SLACK_S:
        found.append(f'{name} {lengths[name]:.3f} of {declared_s:.3f} ({who})')
  return found


class Sweep(base.ClipBuilder, skip_registration=True):
  """Media files as a dataset, whatever is in them."""

  VERSION = tfds.core.Version('1.0.0')
  RELEASE_NOTES: ClassVar[dict[str, str]] = {'1.0.0': 'First release.'}
  NUM_JOINTS = 14
  pkg_dir_path = pathlib.Path(__file__).parent

  def __init__(self, *, paths, **kwargs):
    self._paths = paths
    super().__init__(**kwargs)

  def aux_features(self):
    return {'short': tfds.features.Text(), 'warnings': tfds.features.Text()}

  def _split_generators(self, dl_manager):
    videos = [video_clips.Video(p, p.name, 'sweep') for p in self._paths]
    return {'train': Work(read, videos, 'file')}
