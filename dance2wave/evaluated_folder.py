"""Read anybody's sounds from a folder, each with its dance, to be scored."""

import glob
import pathlib

import tqdm
from absl import logging

from dance2wave import evaluation
from dance2wave.errors import InputError, check_folder
from dance2wave.evaluation import POSE_RATE_HZ, SAMPLE_RATE_HZ
from dance2wave.media.audio import read_audio
from dance2wave.media.clip import fit_samples, num_samples
from dance2wave.metrics import ruler
from dance2wave.pose.clean import clean_pose
from dance2wave.pose.source import POSE_SUFFIXES, holds_poses, read_pose

_AUDIO_SUFFIXES = ('.wav', '.flac', '.ogg', '.mp3', '.m4a')
_VIDEO_SUFFIXES = ('.mp4', '.m4v', '.mov', '.mkv', '.webm', '.avi')


def clips_of_folder(
  sounds: pathlib.Path, dances: pathlib.Path, num_clips: int | None = None
) -> tuple[list[ruler.Scored], dict[str, str]]:
  """Return the first sounds of a folder with the dances of the same stems.

  A video is a sound and a dance; its poses are found, or read from the pose
  file of its stem. What cannot be read, or has no sound or no dance, is left
  out with one line; the reason is returned by its name.

  Raises:
    InputError: no sound, or none that can be scored.
  """
  for folder in (sounds, dances):
    if not folder.is_dir():
      raise InputError(
        f'{folder} is not a folder; expected one of sounds and one of poses or '
        'videos; correct --audio, --poses or --videos'
      )
  known = (*_AUDIO_SUFFIXES, *_VIDEO_SUFFIXES)
  paths = sorted(p for p in sounds.iterdir() if p.suffix.lower() in known)
  if not paths:
    raise InputError(
      f'{sounds} holds no sound; expected files ending in {", ".join(known)}; '
      'give another folder'
    )
  found, left_out = [], {}
  for path in tqdm.tqdm(paths[:num_clips], desc='read', unit='clip'):
    try:
      found.append(_of_file(path, dances))
    except InputError as error:
      left_out[path.name] = str(error)
      logging.warning('left out: %s', error)
  if not found:
    last = [*left_out.values()][-1]
    raise InputError(
      f'none of the first {len(paths[:num_clips])} files of {sounds} can be '
      f'scored; expected sounds with dances; the last one: {last}'
    )
  return found, left_out


def _dance_of(path: pathlib.Path, dances: pathlib.Path) -> pathlib.Path:
  """Return the pose file of a sound; else itself, if a video; else another."""
  own = dances / path.name
  named = sorted(dances.glob(f'{glob.escape(path.stem)}.*'))
  named.sort(key=lambda dance: dance != own)
  for suffix in (*POSE_SUFFIXES, own.suffix.lower(), *_VIDEO_SUFFIXES):
    for dance in named:
      is_such = dance.stem == path.stem and dance.suffix.lower() == suffix
      if is_such and (suffix in _VIDEO_SUFFIXES or holds_poses(dance)):
        return dance
  raise InputError(
    f'{path} has no dance in {dances}; expected {path.stem} as a pose file or '
    'a video there; add it, or remove the sound'
  )


def _of_file(path: pathlib.Path, dances: pathlib.Path) -> ruler.Scored:
  dance = _dance_of(path, dances)
  audio_T = read_audio(path, SAMPLE_RATE_HZ).samples_T  # Poses take longer.
  track = read_pose(dance)
  wanted = num_samples(track.duration_s, SAMPLE_RATE_HZ)
  return ruler.Scored(
    clip_id=path.name,
    audio_T=fit_samples(audio_T, wanted),
    sample_rate_hz=SAMPLE_RATE_HZ,
    duration_s=track.duration_s,
    pose_FJD=clean_pose(track, POSE_RATE_HZ),
    pose_rate_hz=POSE_RATE_HZ,
  )


def write(
  output: pathlib.Path,
  sounds: pathlib.Path,
  dances: pathlib.Path,
  num_clips: int | None,
) -> dict[str, object]:
  """Write the report of the first sounds of a folder, and what was left out."""
  check_folder(output, output)
  clips, left_out = clips_of_folder(sounds, dances, num_clips)
  title = f'Sounds of {sounds}'
  return evaluation.write(output, title, clips, left_out=left_out)
