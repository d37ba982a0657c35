"""A clip ready for training: one pose grid, one sample rate, one clock.

pose frame    k         k + 1     k + 2
time          k / rate  ...
samples       [k * hop, (k + 1) * hop)      hop = sample_rate / pose_rate
"""

import dataclasses
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import soxr

from dance2wave.datasets import targets
from dance2wave.datasets.schema import to_int16
from dance2wave.errors import InputError
from dance2wave.media.audio import resample
from dance2wave.media.audio_features import (
  AUDIO_FEATURES_RATE_HZ,
  NUM_AUDIO_FEATURES,
  audio_features,
)
from dance2wave.media.clip import fit_samples, samples_per_frame
from dance2wave.pose.clean import clean_pose, num_pose_frames
from dance2wave.pose.track import PoseTrack

NUM_JOINTS = 14


@dataclasses.dataclass(frozen=True)
class ReadyClip:
  """One clip on the grid k / pose_rate_hz from t = 0.

  Attributes:
    clip_id: of the dataset.
    group: its performance, song or video.
    labels: its style, if known, and its tags, if the source has any.
    duration_s: of the whole clip; the grid ends before it.
    pose_FJD: (F, 14, 3) float32 core14, cleaned.
    audio_T: (F * hop,) int16.
    onset_F: (F,) float32 onset strength, 0 to 1.
    onset_scale: the spectral flux that is onset strength 1 in this clip.
    level_F: (F,) float32 loudness, 0 to 1.
    loudness_F: (F,) float32 the same of 1.5 s around each frame.
    features_FA: (F, 28) float32 audio features, each of mean 0 and deviation
      1 over the clip; F = 0 where they are unknown or not asked for.
    beats_s: (K,) float64.
    has_audio: False for a source without sound; audio_T is then all zero.
  """

  clip_id: str
  group: str
  labels: tuple[str, ...]
  duration_s: float
  pose_FJD: np.ndarray
  audio_T: np.ndarray
  onset_F: np.ndarray
  onset_scale: float
  level_F: np.ndarray
  loudness_F: np.ndarray
  features_FA: np.ndarray
  beats_s: np.ndarray
  has_audio: bool

  @property
  def nbytes(self) -> int:
    """Bytes of the arrays."""
    values = vars(self).values()
    return sum(v.nbytes for v in values if isinstance(v, np.ndarray))


def _text(value: bytes | str) -> str:
  return value.decode('utf-8') if isinstance(value, bytes) else str(value)


def _labels(example: Mapping[str, Any]) -> tuple[str, ...]:
  """Return the style and what `aux/labels` lists with commas between."""
  words = [_text(example['style'])]
  words += _text(example.get('aux', {}).get('labels', '')).split(',')
  return tuple(word for word in words if word)


def _ready_features(
  example: Mapping[str, Any], num_frames: int, pose_rate_hz: int
) -> np.ndarray:
  """Return a source's own audio features, or those of its sound.

  They are put on the grid of poses and standardised over the clip, because no
  dance can tell how a recording was made: always to say the mean costs 1.
  """
  features_FA = example.get('aux', {}).get('audio_features_FA', ())
  if not len(features_FA):
    floats_T = np.asarray(example['audio'], np.float32) / 32768.0
    features_FA = audio_features(floats_T, int(example['sample_rate_hz']))
  if len(features_FA) < 2:
    return np.zeros((0, NUM_AUDIO_FEATURES), np.float32)
  deviation_A = np.maximum(features_FA.std(axis=0), 1e-3)
  standard_FA = (features_FA - features_FA.mean(axis=0)) / deviation_A
  ratio = AUDIO_FEATURES_RATE_HZ / pose_rate_hz
  position_F = np.minimum(np.arange(num_frames) * ratio, len(standard_FA) - 1)
  return _at(standard_FA.astype(np.float32), position_F)


def _ready_pose(example: Mapping[str, Any], pose_rate_hz: int) -> np.ndarray:
  """Return the clean pose; confidence 0 everywhere where there is none."""
  duration_s = float(example['duration_s'])
  if not len(example['pose']):
    num_frames = num_pose_frames(duration_s, pose_rate_hz)
    return np.zeros((num_frames, NUM_JOINTS, 3), np.float32)
  track = PoseTrack(
    example['pose'],
    example['pose_time_s'],
    _text(example['skeleton']),
    duration_s,
  )
  return np.asarray(clean_pose(track, pose_rate_hz), np.float32)


def _ready_audio(
  audio_T: np.ndarray, from_hz: int, to_hz: int, num_samples: int
) -> np.ndarray:
  """Resample int16 audio and fit it to num_samples, zero after its end."""
  if from_hz != to_hz and len(audio_T):
    floats_T = resample(audio_T.astype(np.float32) / 32768.0, from_hz, to_hz)
    audio_T = to_int16(floats_T)
  return fit_samples(np.asarray(audio_T, np.int16), num_samples)


def ready_clip(
  example: Mapping[str, Any],
  *,
  sample_rate_hz: int,
  pose_rate_hz: int,
  with_features: bool = False,
) -> ReadyClip:
  """Put an example of the schema on the grid of the model.

  Args:
    example: of a data source.
    sample_rate_hz: of the audio, a multiple of pose_rate_hz.
    pose_rate_hz: of the frames.
    with_features: whether audio features are asked for.

  Raises:
    InputError: names the clip and what is wrong with it.
  """
  clip_id = _text(example['clip_id'])
  hop = samples_per_frame(sample_rate_hz, pose_rate_hz)
  try:
    pose_FJD = _ready_pose(example, pose_rate_hz)
  except InputError as error:
    raise InputError(f'clip {clip_id}: {error}') from None
  audio_T = _ready_audio(
    example['audio'],
    int(example['sample_rate_hz']),
    sample_rate_hz,
    len(pose_FJD) * hop,
  )
  floats_T = audio_T.astype(np.float32) / 32768.0
  flux_F = targets.onset_flux(floats_T, sample_rate_hz, hop)
  onset_scale = targets.onset_scale(flux_F)
  return ReadyClip(
    clip_id=clip_id,
    group=_text(example['group']),
    labels=_labels(example),
    duration_s=float(example['duration_s']),
    pose_FJD=pose_FJD,
    audio_T=audio_T,
    onset_F=np.clip(flux_F / onset_scale, 0, 1),
    onset_scale=onset_scale,
    level_F=targets.level(floats_T, hop),
    loudness_F=targets.loudness(floats_T, hop, pose_rate_hz),
    features_FA=_ready_features(example, len(pose_FJD), pose_rate_hz)
    if with_features
    else np.zeros((0, NUM_AUDIO_FEATURES), np.float32),
    beats_s=np.asarray(example['beats_s'], np.float64),
    has_audio=len(example['audio']) > 0,
  )


class ClipCache(Sequence):
  """The clips of a source on the model's grid; made once, while memory lasts.

  Clips are kept in the order in which they are first asked for until
  `max_bytes` are full; the others are made again each time. What comes out
  does not depend on what is kept.
  """

  def __init__(
    self,
    source: Sequence[Mapping[str, Any]],
    *,
    sample_rate_hz: int,
    pose_rate_hz: int,
    max_bytes: float = 2e9,
    with_features: bool = False,
  ):
    samples_per_frame(sample_rate_hz, pose_rate_hz)
    self._source = source
    self._wanted = {
      'sample_rate_hz': sample_rate_hz,
      'pose_rate_hz': pose_rate_hz,
      'with_features': with_features,
    }
    self._kept: dict[int, ReadyClip] = {}
    self._room = max_bytes
    self._lock = threading.Lock()

  def __len__(self) -> int:
    return len(self._source)

  def __getitem__(self, index: int) -> ReadyClip:
    index = range(len(self))[index]
    clip = self._kept.get(index)
    if clip is None:
      clip = ready_clip(self._source[index], **self._wanted)
      with self._lock:
        if index not in self._kept and clip.nbytes <= self._room:
          self._kept[index] = clip
          self._room -= clip.nbytes
    return clip


@dataclasses.dataclass(frozen=True)
class Crop:
  """Part of a clip, cut by the same times from all its streams.

  Attributes:
    pose_FJD: (F, 14, 3); frames after the end of the clip hold the last
      position with confidence 0.
    audio_T: (F * hop,) float32 in [-1, 1); zero after the end.
    onset_F, level_F: (F,) zero after the end.
    loudness_F: (F,) holds its last value after the end.
    features_FA: (F, 28), or (0, 28) where the clip has none.
    beats_s: all beats of the clip, relative to the crop's start.
    num_valid: frames before the end of the clip.
  """

  pose_FJD: np.ndarray
  audio_T: np.ndarray
  onset_F: np.ndarray
  level_F: np.ndarray
  loudness_F: np.ndarray
  features_FA: np.ndarray
  beats_s: np.ndarray
  num_valid: int


def _samples(audio_T: np.ndarray, start: int, stop: int) -> np.ndarray:
  """Return float32 samples start to stop, zero outside of the clip."""
  inside_T = audio_T[max(start, 0) : max(stop, 0)]
  before = min(max(-start, 0), stop - start)
  after = stop - start - before - len(inside_T)
  return np.pad(inside_T.astype(np.float32) / 32768.0, (before, after))


def _audio_at_speed(
  audio_T: np.ndarray, start: int, num_samples: int, percent: int
) -> np.ndarray:
  """Return num_samples from `start` on, played at percent / 100 of the speed.

  Two hundred samples more on either side keep the filter's edges outside.
  """
  stop = start + -(-num_samples * percent // 100)
  wide_T = _samples(audio_T, start - 2 * percent, stop + 2 * percent)
  played_T = soxr.resample(wide_T, percent, 100)[200 : 200 + num_samples]
  return np.clip(fit_samples(played_T, num_samples), -1.0, 1.0)


def _at(curve_F: np.ndarray, position_F: np.ndarray) -> np.ndarray:
  """Interpolate along the first axis at fractional frame positions."""
  low = np.minimum(position_F.astype(int), len(curve_F) - 1)
  high = np.minimum(low + 1, len(curve_F) - 1)
  weight = (position_F - low).astype(np.float32)
  weight = weight.reshape(-1, *[1] * (curve_F.ndim - 1))
  return curve_F[low] * (1 - weight) + curve_F[high] * weight


def span_frames(num_frames: int, percent: int) -> int:
  """Return how many frames of the clip a crop at that speed covers."""
  return -(-(num_frames - 1) * percent // 100) + 1


def crop(
  clip: ReadyClip,
  start: int,
  num_frames: int,
  *,
  pose_rate_hz: int,
  percent: int = 100,
) -> Crop:
  """Cut num_frames from frame `start` on, played at percent / 100 of the speed.

  Frame k of the crop shows time start / pose_rate + k * percent / 100 /
  pose_rate of the clip, and its samples and beats follow the same line.
  """
  hop = len(clip.audio_T) // len(clip.pose_FJD)
  position_F = start + np.arange(num_frames) * (percent / 100)
  num_valid = int(np.sum(position_F <= len(clip.pose_FJD) - 1 + 1e-9))
  inside_F = np.minimum(position_F, len(clip.pose_FJD) - 1)
  pose_FJD = _at(clip.pose_FJD, inside_F)
  pose_FJD[num_valid:, :, 2] = 0.0
  if percent == 100:
    audio_T = _samples(clip.audio_T, start * hop, (start + num_frames) * hop)
    frames = inside_F.astype(int)
    onset_F, level_F = clip.onset_F[frames], clip.level_F[frames]
  else:
    # Between two frames an onset would fade: it is measured again.
    audio_T = _audio_at_speed(
      clip.audio_T, start * hop, num_frames * hop, percent
    )
    flux_F = targets.onset_flux(audio_T, pose_rate_hz * hop, hop)
    onset_F = np.clip(flux_F / clip.onset_scale, 0, 1)
    level_F = targets.level(audio_T, hop)
  onset_F[num_valid:] = level_F[num_valid:] = 0.0
  features_FA = clip.features_FA
  if len(features_FA):
    features_FA = _at(features_FA, inside_F)
  beats_s = (clip.beats_s - start / pose_rate_hz) * (100 / percent)
  return Crop(
    pose_FJD,
    audio_T,
    onset_F,
    level_F,
    _at(clip.loudness_F, inside_F),
    features_FA,
    beats_s,
    num_valid,
  )


def label_vector(
  labels: Sequence[str], vocabulary: Sequence[str]
) -> np.ndarray:
  """Return (S,) float32: 1 at each label of the vocabulary; others are left."""
  return np.array([word in labels for word in vocabulary], np.float32)
