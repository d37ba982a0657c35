"""Measure a built dataset, and what a video costs to prepare.

    python -m data_prep.measure_dataset synthetic_dance/debug --write
    python -m data_prep.measure_dataset clip_folder --video=one_of_them.mp4

Prints bytes per example and how fast one process reads the examples; with
--write also how fast it writes them, into a temporary folder; with --video
how fast a video becomes clips. A core-second is a second of one core; many
videos at once cost that, and one alone takes as long as the wall says.
"""

import contextlib
import dataclasses
import itertools
import os
import pathlib
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from absl import flags
from array_record.python import array_record_module

from dance2wave import cores
from dance2wave.datasets import video_clips
from dance2wave.datasets.opening import make_builder, open_source, split_names
from dance2wave.datasets.schema import Clip, clip_features
from dance2wave.datasets.video_clips import SAMPLE_RATE_HZ, Video
from dance2wave.datasets.work import Recorder
from dance2wave.errors import InputError, one_line_errors, run_tool
from dance2wave.media.audio import read_audio
from dance2wave.media.video import VideoInfo, probe, read_frames
from dance2wave.metrics.beat_detector import detect_beats
from dance2wave.pose.landmarker import extract_poses
from dance2wave.pose.model_file import import_mediapipe
from dance2wave.pose.track import PoseTrack

_NUM_HELD = 64  # examples in memory to write from
_USUAL_S = 10.0


@dataclasses.dataclass(frozen=True)
class Cost:
  """Seconds on the wall and of all cores together."""

  wall_s: float
  core_s: float


def timed(work: Callable[[], Any]) -> tuple[Any, Cost]:
  """Return what `work` returns, and what it cost."""
  wall_s, core_s = time.perf_counter(), time.process_time()
  result = work()
  wall_s, core_s = time.perf_counter() - wall_s, time.process_time() - core_s
  return result, Cost(max(wall_s, 1e-9), max(core_s, 1e-9))


def _per_s(
  function: Callable[[Any], Any], items: Sequence, seconds: float
) -> float:
  """Return how often a second `function` of the items runs, one by one."""
  function(items[0])  # Opening the files is not reading.
  start_s = time.perf_counter()
  for count in itertools.count(1):
    function(items[count % len(items)])
    wall_s = time.perf_counter() - start_s
    if wall_s >= seconds:
      return count / wall_s


def measure_dataset(
  name: str, data_dir: str | None, *, seconds: float, with_write: bool = False
) -> Iterator[str]:
  """Yield lines on the size of a dataset and the speed of reading it.

  Raises:
    InputError: unknown dataset, or it has not been built.
  """
  splits = split_names(name, data_dir)
  sources = [open_source(name, data_dir, split=split) for split in splits]
  source, info = max(sources, key=len), make_builder(name, data_dir).info
  num_examples = sum(map(len, sources))
  kilobytes = sum(info.splits[s].num_bytes for s in splits) / num_examples / 1e3
  files = [path for split in splits for path in info.splits[split].filepaths]
  on_disk = sum(os.path.getsize(path) for path in files) / num_examples / 1e3
  step = -(-len(source) // _NUM_HELD)
  held = [source[i] for i in range(0, len(source), step)]
  mean_s = float(np.mean([clip['duration_s'] for clip in held]))
  usual = kilobytes * _USUAL_S / mean_s
  yield (
    f'{info.full_name}: {num_examples} examples of {kilobytes:.1f} kB '
    f'({on_disk:.1f} on disk) and {mean_s:.2f} s; {usual:.1f} kB for 10 s'
  )
  speed = _per_s(lambda clip: clip, source, seconds)
  yield f'read and decode: {_speed(speed, kilobytes)}, files cached in memory'
  if with_write:
    recorder = Recorder(_clips, info.features, held[0]['pose'].shape[1])
    speed = _write_per_s(recorder, held, seconds)
    yield f'check, encode and write: {_speed(speed, kilobytes)}'


def _speed(per_s: float, kilobytes: float) -> str:
  return f'{per_s:.0f} examples/s, {per_s * kilobytes / 1e3:.1f} MB/s'


def _clips(example: Clip) -> list[Clip]:
  """Return what a builder's `read` returns for an example as it is read."""
  texts = {k: v.decode() for k, v in example.items() if isinstance(v, bytes)}
  return [example | texts]


def _write_per_s(recorder: Recorder, examples: list, seconds: float) -> float:
  with tempfile.TemporaryDirectory() as folder:
    path = str(pathlib.Path(folder) / 'examples.array_record')
    writer = array_record_module.ArrayRecordWriter(path, 'group_size:1')
    with contextlib.closing(writer):
      return _per_s(
        lambda example: writer.write(recorder(example)[0][1]), examples, seconds
      )


def measure_video(path: pathlib.Path) -> Iterator[str]:
  """Yield lines on the cost of each stage of `video_clips.read_video`.

  A silent video has noise for its music.

  Raises:
    InputError: it cannot be read, or nobody is seen in it.
  """
  import_mediapipe()  # What a process imports once is no cost of a video.
  detect_beats(np.zeros(SAMPLE_RATE_HZ), SAMPLE_RATE_HZ)
  info = probe(path)
  num_frames, size = len(info.frame_time_s), f'{info.width}x{info.height}'
  yield f'{path.name}: {num_frames} frames of {size} in {info.duration_s:.2f} s'
  _, decode = timed(lambda: sum(1 for _ in read_frames(path)))
  yield _frames('decode', decode, info)
  track, poses = timed(lambda: extract_poses(path))
  yield _frames('decode and find poses', poses, info)
  clips, rest = timed(lambda: _cut(info, track))
  whole = Cost(poses.wall_s + rest.wall_s, poses.core_s + rest.core_s)
  yield _frames('all (and sound, beats, cut)', whole, info)
  recorder = Recorder(lambda clip: [clip], clip_features(14), 14)
  yield f'check and encode: {_per_s(recorder, clips, 0.5):.0f} clips/s'


def _cut(info: VideoInfo, track: PoseTrack) -> list[Clip]:
  if info.audio_stream_index is None:
    size = round(info.duration_s * SAMPLE_RATE_HZ)
    audio_T = np.random.default_rng(0).normal(0, 0.1, size)
  else:
    audio_T = read_audio(info.path, SAMPLE_RATE_HZ).samples_T
  beats_s = np.asarray(detect_beats(audio_T, SAMPLE_RATE_HZ))
  video = Video(info.path, info.path.name, 'measured')
  return video_clips.cut(video, track, audio_T, beats_s)


def _frames(what: str, cost: Cost, info: VideoInfo) -> str:
  num_frames = len(info.frame_time_s)
  usual_s = cost.core_s * _USUAL_S / info.duration_s
  return (
    f'{what}: {num_frames / cost.wall_s:.1f} frames/s, '
    f'{num_frames / cost.core_s:.1f} per core-second; {usual_s:.2f} '
    'core-seconds for 10 s'
  )


def _define_flags() -> None:
  """Define the flags; not at import, as `tfds build` has some of them too."""
  flags.DEFINE_string('data_dir', None, 'Where it was built.')
  flags.DEFINE_bool('write', False, 'Measure writing, too.')
  flags.DEFINE_string('video', None, 'Video to prepare, and be timed.')
  flags.DEFINE_float(
    'seconds', 3.0, 'How long to read, and to write.', lower_bound=0.01
  )


def main(argv: Sequence[str]) -> None:
  """Run from the command line."""
  with one_line_errors():
    if len(argv) != 2:
      raise InputError(
        f'{len(argv) - 1} datasets named; expected one; name it in the command'
      )
    values = flags.FLAGS
    print(
      f'{cores.usable()} cores, load average {os.getloadavg()[0]:.1f} before'
    )
    lines = measure_dataset(
      argv[1],
      values.data_dir,
      seconds=values.seconds,
      with_write=values.write,
    )
    if values.video:
      lines = itertools.chain(lines, measure_video(pathlib.Path(values.video)))
    for line in lines:
      print(line, flush=True)


if __name__ == '__main__':
  _define_flags()
  run_tool(main)
