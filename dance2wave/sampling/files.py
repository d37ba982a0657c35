"""A user's own dances: files in, files with sound out."""

import contextlib
import dataclasses
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np

from dance2wave import locks
from dance2wave.errors import InputError, check_folder
from dance2wave.media import endings, mux, video
from dance2wave.media.audio import write_wav
from dance2wave.media.clip import Waveform, num_samples
from dance2wave.metrics.beat_detector import detect_beats
from dance2wave.metrics.showcase import write_dance_video
from dance2wave.options import Options
from dance2wave.pose.clean import clean_pose
from dance2wave.pose.features import motion_features
from dance2wave.pose.source import POSE_SUFFIXES, holds_poses
from dance2wave.pose.track import PoseTrack
from dance2wave.sampling.offline import Dance

VIDEO_SUFFIXES = ('.mp4', '.m4v', '.mov', '.mkv', '.webm', '.avi')
_DRAWN = ('.mp4', '.m4v', '.mov', '.mkv')


@dataclasses.dataclass(frozen=True)
class Job:
  """One dance to sample.

  Attributes:
    input: a video, a pose file or a motion capture.
    output: where the result goes.
    poses: the file that holds its poses; None if they are yet to be found.
  """

  input: pathlib.Path
  output: pathlib.Path
  poses: pathlib.Path | None = None


def _is_pose(path: pathlib.Path) -> bool:
  return path.suffix.lower() in POSE_SUFFIXES


def _is_dance(path: pathlib.Path) -> bool:
  # macOS leaves ._dance.mp4 on other disks.
  if path.name.startswith('.') or path.stem.endswith('_dance2wave'):
    return False
  return path.suffix.lower() in VIDEO_SUFFIXES or holds_poses(path)


def find_inputs(
  paths: Sequence[str], flag: str = '--input'
) -> list[pathlib.Path]:
  """Return the files that `flag` names, and those in folders that it names.

  Each comes once. In folders, hidden files and results of sampling are passed
  over.
  """
  known, found = (*VIDEO_SUFFIXES, *POSE_SUFFIXES), []
  for name in paths:
    path = pathlib.Path(name)
    if path.is_dir():
      inside = sorted(p for p in path.iterdir() if _is_dance(p))
      if not inside:
        raise InputError(
          f'{flag}={path} holds no dance; expected files that end in '
          f'{", ".join(known)}; name another folder'
        )
      found += inside
    elif not path.exists():
      raise InputError(
        f'{flag}={path} does not exist; expected a video, a pose file (.npz), '
        'a motion capture (.bvh, .txt) or a folder of them; correct the path'
      )
    else:
      found.append(path)
  if not found:
    raise InputError(
      f'{flag} is missing; expected a video, .npz, .bvh, .txt or a folder; '
      f'give {flag}=dance.mp4'
    )
  return list({path.resolve(): path for path in found}.values())


def plan_jobs(inputs: list[pathlib.Path], output: str | None) -> list[Job]:
  """Decide where each result goes.

  One dance may name a file or a folder; several need a folder, or no output,
  which puts every result beside its input. A new name without an ending is a
  folder. A pose file that has the name of a video among the inputs, up to the
  ending, holds the poses of that video.

  Raises:
    InputError: one file for several; two results, or a result and an input,
      would be the same file.
  """
  poses = {p.with_suffix(''): p for p in inputs if _is_pose(p)}
  videos = {p.with_suffix('') for p in inputs if not _is_pose(p)}
  dances = [
    p for p in inputs if not _is_pose(p) or p.with_suffix('') not in videos
  ]
  target = None if output is None else pathlib.Path(output)
  if target is not None and not _is_folder(target, len(dances)):
    outputs = [target]
  else:
    outputs = [_result(path, target or path.parent) for path in dances]
  _check_distinct(inputs, outputs)
  return [
    Job(path, result, poses.get(path.with_suffix('')))
    for path, result in zip(dances, outputs)
  ]


def _is_folder(target: pathlib.Path, num_dances: int) -> bool:
  if target.is_dir():
    return True
  if num_dances > 1 and target.suffix:
    raise InputError(
      f'--output={target} is one file for {num_dances} inputs; expected a '
      'folder; give --output=FOLDER'
    )
  return not target.suffix


def _result(path: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
  """Return where the result of a dance goes in a folder."""
  info = None if _is_pose(path) else _probed(path)
  if info is not None:
    return folder / endings.default_output(info).name
  return folder / f'{path.stem}_dance2wave.mp4'


def _probed(path: pathlib.Path) -> video.VideoInfo | None:
  """Return what a video holds; None if it is damaged, which its turn tells."""
  try:
    return video.probe(path)
  except InputError:
    return None


def _check_distinct(
  inputs: list[pathlib.Path], outputs: list[pathlib.Path]
) -> None:
  """Refuse results that would replace an input or each other."""
  taken = {path.resolve(): f'the input {path}' for path in inputs}
  for path in outputs:
    place = path.resolve()
    if place in taken:
      raise InputError(
        f'--output: {path} would replace {taken[place]}; expected a file of '
        'its own for each result; rename an input, sample them one by one, or '
        'choose another --output'
      )
    taken[place] = 'the result of another input'


@contextlib.contextmanager
def held_outputs(
  jobs: Sequence[Job], mine: Sequence[Job] | None = None
) -> Iterator[None]:
  """Check the outputs of all jobs, and keep other runs from writing them.

  Args:
    jobs: of all processes; each is to find what is wrong with any.
    mine: those that this process does; None for all.

  Raises:
    InputError: one cannot be written, or another run is writing it.
  """
  for job in jobs:
    check_output(job)
  with contextlib.ExitStack() as stack:
    for job in jobs if mine is None else mine:
      stack.enter_context(_held(job.output))
    yield


def _held(place: pathlib.Path) -> contextlib.AbstractContextManager:
  busy = (
    f'--output={place}: another run is writing it; expected one at a time; '
    'wait for it, or choose another --output'
  )
  return locks.held(place.with_name(f'.{place.name}.lock'), busy)


def check_output(job: Job) -> None:
  """Refuse an output that cannot be written, before hours are spent."""
  output = job.output
  wanted = ('.wav', *VIDEO_SUFFIXES)
  if output.suffix.lower() not in wanted:
    raise InputError(
      f'--output={output} ends in {output.suffix!r}; expected one of '
      f'{", ".join(wanted)}; change the ending'
    )
  if output.exists() and output.samefile(job.input):
    raise InputError(
      f'--output={output} is the input; expected another name; choose one'
    )
  if _is_pose(job.input) and output.suffix.lower() not in ('.wav', *_DRAWN):
    raise InputError(
      f'--output={output} for a stick figure; expected .wav or one of '
      f'{", ".join(_DRAWN)}; change the ending'
    )
  if not _is_pose(job.input) and output.suffix.lower() != '.wav':
    info = _probed(job.input)
    if info is not None:
      endings.check_output(output, info)
  check_folder(output.absolute().parent, output)


def to_dance(
  track: PoseTrack, options: Options, **wanted
) -> tuple[Dance, np.ndarray]:
  """Return what sampling needs of a pose track, and its clean pose.

  `wanted` are style, tempo_bpm, energy_db and chords of `Dance`.
  """
  pose_FJD = clean_pose(track, options.pose_rate_hz)
  motion_FM = motion_features(pose_FJD, options.pose_rate_hz)
  samples = num_samples(track.duration_s, options.sample_rate_hz)
  motion_FM = np.asarray(motion_FM, np.float32)
  return Dance(motion_FM, samples, **wanted), pose_FJD


def write_result(
  job: Job, options: Options, audio_T: np.ndarray, pose_FJD: np.ndarray
) -> pathlib.Path:
  """Write the sound, or the picture with the sound; return where.

  A video keeps its picture as it is. A pose file or motion capture becomes a
  stick figure, lit on the beats that are heard in the generated sound.
  """
  waveform = Waveform(audio_T, options.sample_rate_hz)
  output = job.output
  if output.suffix.lower() == '.wav':
    write_wav(output, waveform)
    return output
  if not _is_pose(job.input):
    return mux.mux_audio(job.input, waveform, output)
  beats_s = detect_beats(audio_T, options.sample_rate_hz)
  write_dance_video(output, pose_FJD, options.pose_rate_hz, waveform, beats_s)
  return output
