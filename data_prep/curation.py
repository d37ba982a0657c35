"""What is measured of one clip: sound, people, scene cuts, alignment.

    video ──frames──> grey pictures ──> scene cuts
               └────> landmarks (or a pose file) ──> people, motion ──┐
    sound ──> silence, loudness, clipping, tempo, onset flux ── alignment

Alignment is the correlation of the onset flux with what dancers do on beats:
speed minima (AIST++) or directional deceleration ('Dancing to Music',
1911.02001), whichever agrees more: each sees dances that the other misses.
Chance is the same figure for the clip's own sound elsewhere in time
(`alignment_z`, `alignment_p`) and at other speeds (`tempo_z`).
"""

import contextlib
import dataclasses
import itertools
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import ndimage

from dance2wave.datasets.targets import level, onset_flux
from dance2wave.errors import InputError
from dance2wave.media.audio import read_audio
from dance2wave.media.video import probe, read_frames
from dance2wave.metrics.beat_detector import detect_beats
from dance2wave.pose import features
from dance2wave.pose.clean import clean_pose
from dance2wave.pose.landmarker import MIN_SEEN_SHARE, SKELETON, open_landmarker
from dance2wave.pose.people import follow_dancer
from dance2wave.pose.skeleton import SKELETONS
from dance2wave.pose.track import PoseTrack, read_poses_of, write_pose_file

RATE_HZ = 50  # of poses and envelopes
SAMPLE_RATE_HZ = 16_000
HOP = SAMPLE_RATE_HZ // RATE_HZ
MIN_TEST_S = 4.0
MIN_SHIFT_S = 1.0

_SILENT_LEVEL = 1 / 6  # of `targets.level`: -50 dB
_FULL_SCALE, _CLEARLY_LARGER = 0.999, 1.5
_SAME_PERSON = 0.1  # mean landmark distance in sizes: detected twice
_NOBODY = contextlib.nullcontext()  # instead of a landmarker
_FAR = 10.0  # frame heights: landmarks are cut to this

_LOCAL_FRAMES = 2 * RATE_HZ
_LAGS = range(-1, 4)  # movement may come 20 ms before to 60 ms after a sound
_SPEEDS = (0.7, 0.75, 0.8, 0.86, 0.92, 1.09, 1.17, 1.25, 1.34, 1.43)

_STILL = 1e-6
UNTESTED = {'alignment': None, 'alignment_z': None, 'alignment_p': None}
UNTESTED |= {'tempo_z': None, 'note': ''}
_GREY_SIDE, _GREY_LEVELS = 24, 16
_FLASH_S = 0.2
_CUT_FLOOR, _CUT_FACTOR = 0.2, 3.0


@dataclasses.dataclass(frozen=True)
class CurationJob:
  """One clip to measure.

  Attributes:
    video: the file.
    name: what it is called in the table.
    pose_path: of a pose file; None: poses are found in the video.
    model: of the pose stage, where there is no pose file.
    pose_target: where poses that were found are written.
  """

  video: pathlib.Path
  name: str
  pose_path: pathlib.Path | None = None
  model: pathlib.Path | None = None
  pose_target: pathlib.Path | None = None


def measure(job: CurationJob) -> dict[str, Any]:
  """Return a row of the table; never raises.

  None where there is nothing to measure; `error` is a line if that failed.
  """
  row: dict[str, Any] = {'path': job.name, 'error': ''}
  try:
    info = probe(job.video)
    row |= {'duration_s': info.duration_s, 'num_frames': len(info.frame_time_s)}
    row['frame_rate_hz'] = row['num_frames'] / info.duration_s
    track, seen = look(job, info.duration_s)
    has_sound = info.audio_stream_index is not None
    audio_T = np.zeros(0, np.float32)
    if has_sound:
      audio_T = read_audio(job.video, SAMPLE_RATE_HZ).samples_T
    row |= seen | {'has_sound': int(has_sound)} | measure_sound(audio_T)
    row |= measure_dance(track, audio_T)
  except Exception as error:  # one bad file must not stop the others
    kind = '' if isinstance(error, InputError) else f'{type(error).__name__}: '
    row['error'] = kind + ' '.join(str(error).split())
  return row


def measure_sound(audio_T: np.ndarray) -> dict[str, Any]:
  """Return silence, loudness, clipping and tempo of 16 kHz sound.

  silent_share: of 20 ms frames below -50 dB; loudness_db: root mean square
  over the clip, 0 dB = full scale; clipped_share: of samples at full scale;
  tempo_bpm: of the beats that `detect_beats` hears, None without sound.
  """
  names = ('silent_share', 'loudness_db', 'clipped_share', 'tempo_bpm')
  if not len(audio_T):
    return dict.fromkeys(names)
  rms = float(np.sqrt(np.mean(np.square(audio_T, dtype=np.float64))))
  is_silent = level(audio_T, HOP) <= _SILENT_LEVEL
  beats_s = detect_beats(audio_T, SAMPLE_RATE_HZ)
  gap_s = float(np.median(np.diff(beats_s))) if len(beats_s) > 1 else 0.0
  values = (
    float(np.mean(is_silent)) if len(is_silent) else 1.0,
    float(20 * np.log10(max(rms, 1e-6))),
    float(np.mean(np.abs(audio_T) >= _FULL_SCALE)),
    60 / gap_s if gap_s else None,
  )
  return dict(zip(names, values))


def measure_dance(track: PoseTrack | None, audio_T: np.ndarray) -> dict:
  """Return motion_size (torsos/s) and what `alignment` returns."""
  if track is None:
    return UNTESTED | {'motion_size': None}
  pose_FJD = clean_pose(track, RATE_HZ)
  is_seen_F = pose_FJD[..., 2].any(axis=1)
  speed_F = features.motion_size(pose_FJD, RATE_HZ)[is_seen_F]
  row = UNTESTED | {'motion_size': float(speed_F.mean()) if len(speed_F) else 0}
  if not len(audio_T):
    return row
  sound_F = onset_flux(audio_T, SAMPLE_RATE_HZ, HOP)[: len(pose_FJD)]
  motions = kinematic_envelopes(pose_FJD[: len(sound_F)])
  return row | alignment(motions, sound_F)


def kinematic_envelopes(pose_FJD: np.ndarray) -> list[np.ndarray]:
  """Return where a dancer stops or turns by both definitions, 2 times (F,).

  Directional deceleration summed over directions, and a pulse on every
  minimum of the mean joint speed, as high as the minimum is deep: below the
  lower of the two peaks within 0.3 s. Poses (F, 14, 3) are cleaned.
  """
  features_FM = features.motion_features(pose_FJD, RATE_HZ)
  first = features.MOTION_DIM - pose_FJD.shape[1] - features.NUM_DIRECTIONS
  deceleration_F = features_FM[:, first : -pose_FJD.shape[1]].sum(axis=1)
  speed_F = features.motion_size(pose_FJD, RATE_HZ)
  speed_F = ndimage.gaussian_filter1d(speed_F, 2.0)
  before_F, after_F = (
    ndimage.maximum_filter1d(speed_F, 16, origin=origin) for origin in (7, -8)
  )
  is_minimum_F = ndimage.minimum_filter1d(speed_F, 3) == speed_F
  depth_F = np.where(is_minimum_F, np.minimum(before_F, after_F) - speed_F, 0)
  return [
    ndimage.gaussian_filter1d(deceleration_F, 1.0),
    ndimage.gaussian_filter1d(depth_F, 2.0),
  ]


def _local(value_F: np.ndarray) -> np.ndarray:
  """Centre and scale by what is around (2 s); outliers count as 3."""
  centred_F = value_F - ndimage.uniform_filter1d(value_F, _LOCAL_FRAMES)
  power_F = ndimage.uniform_filter1d(centred_F**2, _LOCAL_FRAMES)
  scale_F = np.sqrt(np.maximum(power_F, 0)) + 0.1 * centred_F.std() + 1e-9
  value_F = np.clip(centred_F / scale_F, -3, 3)
  return value_F - value_F.mean()


def _agreement(motions: list[np.ndarray], sound_F: np.ndarray) -> np.ndarray:
  """Return (F,) the correlation for each circular shift of the sound.

  The larger of the definitions, and the largest within _LAGS.
  """
  num, spectrum = len(sound_F), np.fft.rfft(sound_F).conj()
  best_F = np.full(num, -np.inf)
  for motion_F in motions:
    size = num * motion_F.std() * sound_F.std()
    r_F = np.fft.irfft(spectrum * np.fft.rfft(motion_F), num) / size
    for lag in _LAGS:
      best_F = np.maximum(best_F, np.roll(r_F, -lag))
  return best_F


def _at_speed(sound_F: np.ndarray, speed: float) -> np.ndarray:
  """Play an envelope at another speed, around its ends, for as long."""
  frame_F, num = np.arange(len(sound_F)), len(sound_F)
  value_F = np.interp(frame_F * speed, frame_F, sound_F, period=num)
  return value_F - value_F.mean()


def alignment(motions: Sequence[np.ndarray], sound_F: np.ndarray) -> dict:
  """Return how strongly movement and sound agree, and what chance does.

  alignment: correlation, -1 to 1, of kinematic envelopes and onset flux, (F,)
  each at RATE_HZ; alignment_z: in standard deviations over circular shifts of
  the sound by at least MIN_SHIFT_S; alignment_p: share of those shifts that
  agree as well; tempo_z: like alignment_z, over all shifts of the sound at
  other speeds (0.7 to 1.43). All None with a `note` for a clip shorter than
  MIN_TEST_S, and without movement or onsets.
  """
  num, shift = len(sound_F), round(MIN_SHIFT_S * RATE_HZ)
  if num < MIN_TEST_S * RATE_HZ:
    length = f'{num / RATE_HZ:.1f} s, {MIN_TEST_S:g} s needed'
    return UNTESTED | {'note': f'too short for the alignment test: {length}'}
  moving = [_local(m) for m in motions if np.ptp(m) > _STILL]
  if not moving or np.ptp(sound_F) < _STILL:
    missing = 'onset in the sound' if moving else 'movement'
    return UNTESTED | {'note': f'no {missing}, so no alignment'}
  heard_F = _local(ndimage.gaussian_filter1d(sound_F, 1.0))
  agreement_F = _agreement(moving, heard_F)
  value, elsewhere = float(agreement_F[0]), agreement_F[shift : 1 - shift]
  others = [_agreement(moving, _at_speed(heard_F, s)) for s in _SPEEDS]
  as_good = int((elsewhere >= value).sum())
  return {
    'alignment': value,
    'alignment_z': (value - float(elsewhere.mean())) / float(elsewhere.std()),
    'alignment_p': (1 + as_good) / (1 + len(elsewhere)),
    'tempo_z': (value - float(np.mean(others))) / float(np.std(others)),
    'note': '',
  }


def look(job: CurationJob, duration_s: float) -> tuple[PoseTrack | None, dict]:
  """Read the pictures once: the dancer, person_share and scene cuts.

  The dancer is None if nobody is seen in two frames. num_people and
  main_dancer_share are None for a pose file, which holds one dancer.

  Raises:
    InputError: a file cannot be read, or the pose file is of another length.
  """
  greys, people_F, times_s = _read_pictures(job)
  cuts_s = [round(times_s[i], 3) for i in find_scene_cuts(greys, times_s)]
  row = {'num_people': None, 'main_dancer_share': None}
  row |= {'num_scene_cuts': len(cuts_s), 'scene_cuts_s': cuts_s}
  if job.pose_path is not None:
    track = read_poses_of(job.video, job.pose_path, duration_s)
    seen_F = track.pose_FJD[..., 2].any(axis=1)
    return track, row | {'person_share': float(seen_F.mean())}
  picks_F, row['num_people'] = follow_dancer(people_F, np.array(times_s))
  row['main_dancer_share'] = main_dancer_share(people_F, picks_F)
  row['person_share'] = float(np.mean([pick is not None for pick in picks_F]))
  return _found_track(job, people_F, picks_F, times_s, duration_s), row


def _read_pictures(job: CurationJob) -> tuple[np.ndarray, list, list[float]]:
  """Return small grey pictures (F, side, side), people and times."""
  greys, people_F, times_s, time_ms = [], [], [], -1
  with open_landmarker(job.model) if job.model else _NOBODY as detect:
    for time_s, rgb_HWC in read_frames(job.video):
      greys.append(small_grey(rgb_HWC))
      times_s.append(time_s)
      if detect is not None:
        time_ms = max(time_ms + 1, round(1000 * time_s))
        scale = (rgb_HWC.shape[1] / rgb_HWC.shape[0], 1.0, 1.0)
        people_F.append([p * scale for p in detect(rgb_HWC, time_ms)])
  return np.stack(greys), people_F, times_s


def main_dancer_share(people_F: list, picks_F: list) -> float | None:
  """Return in which share of the dancer's frames nobody else is as large.

  Nobody else, or the next is clearly smaller: by a third.
  """
  is_main = []
  for people, pick in zip(people_F, picks_F):
    if pick is None:
      continue
    sizes = [float(np.hypot(*np.ptp(p[:, :2], axis=0))) for p in people]
    gaps = [np.hypot(*(p - people[pick])[:, :2].T).mean() for p in people]
    others = [s for s, g in zip(sizes, gaps) if g > _SAME_PERSON * sizes[pick]]
    is_main.append(sizes[pick] >= _CLEARLY_LARGER * max(others, default=0.0))
  return float(np.mean(is_main)) if is_main else None


def _found_track(job, people_F, picks_F, times_s, duration_s):
  """Return the dancer, None if not in two frames; keep what is of use."""
  seen = [frame for frame, pick in enumerate(picks_F) if pick is not None]
  if len(seen) < 2:
    return None
  pose_FJD = np.zeros((len(times_s), len(SKELETONS[SKELETON]), 3), np.float32)
  for frame in seen:
    pose_FJD[frame] = people_F[frame][picks_F[frame]]
  limits = np.array([_FAR, _FAR, 1.0], np.float32)
  pose_FJD = np.clip(np.nan_to_num(pose_FJD), limits * (-1, -1, 0), limits)
  track = PoseTrack(pose_FJD, np.array(times_s), SKELETON, duration_s)
  if job.pose_target and len(seen) >= MIN_SEEN_SHARE * len(times_s):
    job.pose_target.parent.mkdir(parents=True, exist_ok=True)
    write_pose_file(job.pose_target, track)
  return track


def small_grey(rgb_HWC: np.ndarray) -> np.ndarray:
  """Return the mean brightness of 24 x 24 blocks, uint8."""
  from PIL import Image

  grey, side = Image.fromarray(rgb_HWC).convert('L'), (_GREY_SIDE, _GREY_SIDE)
  return np.asarray(grey.resize(side, Image.Resampling.BOX))


def _changes(greys: np.ndarray, reach: int) -> np.ndarray:
  """Return (F,) how much is different from each frame on, 0 to 1.

  Between two frames, the geometric mean of the distance of their histograms
  and of 1 - correlation: movement keeps the histogram, light the structure.
  For a frame, the least of it between what lies up to `reach` on both sides.
  """
  grey_FP = greys.reshape(len(greys), -1)
  level_FP = grey_FP // (256 // _GREY_LEVELS)
  levels = [(level_FP == k).mean(axis=1) for k in range(_GREY_LEVELS)]
  hist_FL = ndimage.gaussian_filter1d(np.stack(levels, axis=1), 1.0, axis=1)
  unit_FP = grey_FP - grey_FP.mean(axis=1, keepdims=True, dtype=np.float32)
  unit_FP /= np.linalg.norm(unit_FP, axis=1, keepdims=True) + 1.0
  middle, change_F = np.arange(reach, len(greys) - reach + 1), []
  steps = np.unique(np.linspace(0, reach - 1, 4).astype(int))
  for before, after in itertools.product(steps, steps):
    a, b = middle - 1 - before, middle + after
    light = np.minimum(0.5 * np.abs(hist_FL[a] - hist_FL[b]).sum(axis=1), 1)
    structure = np.clip(1 - (unit_FP[a] * unit_FP[b]).sum(axis=1), 0, 1)
    change_F.append(np.sqrt(light * structure))
  return np.pad(np.minimum.reduce(change_F), (reach, reach - 1))


def find_scene_cuts(greys: np.ndarray, times_s: Sequence[float]) -> list[int]:
  """Return the frames that begin a new scene.

  A cut is where all within 0.2 s (three frames at least) before it differs
  from all after, in brightness and structure, by more than _CUT_FLOOR and by
  _CUT_FACTOR times the median within a second. So a shorter flash is no cut,
  as the picture before it comes back; a longer one that hides the picture is
  two; fades and dissolves are none. Greys are (F, side, side).
  """
  per_s = (len(greys) - 1) / max(times_s[-1] - times_s[0], 1e-3)
  reach = max(3, round(_FLASH_S * per_s))
  if len(greys) < 2 * reach:
    return []
  change_F = _changes(np.asarray(greys), reach)
  usual_F = ndimage.median_filter(change_F, 2 * max(round(per_s), reach) + 1)
  is_top = ndimage.maximum_filter1d(change_F, 2 * reach - 1) == change_F
  is_cut = change_F > np.maximum(_CUT_FLOOR, _CUT_FACTOR * usual_F)
  return np.flatnonzero(is_cut & is_top).tolist()
