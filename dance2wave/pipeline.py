"""From a built dataset to batches: `batch(step)` is a pure function.

    data source ──> shuffle, repeat ──> crop, augment, features ──> slice by
    process ──> batch

Example i of the endless stream depends on (seed, i) alone, and global batch
`step` is examples step * batch_size and following. So a run resumes at any
step with the same batches, and any number of processes shares the same ones.
"""

import collections
import dataclasses
import functools
import itertools
from collections.abc import Iterator, Sequence
from concurrent import futures

import numpy as np

from dance2wave.datasets import augment, clips, targets
from dance2wave.datasets.mixture import as_mixture
from dance2wave.datasets.opening import Source
from dance2wave.errors import InputError
from dance2wave.pose.features import motion_features

Batch = dict[str, np.ndarray]

_MAX_BEATS_PER_S = 8


def _check_audio(clip: clips.ReadyClip) -> None:
  if not clip.has_audio:
    raise InputError(
      f'clip {clip.clip_id} has no audio; expected a dataset with audio for '
      'this config; choose another dataset, or a config that needs beats only'
    )


@functools.lru_cache(maxsize=16)
def _permutation(seed: int, epoch: int, part: int, length: int) -> np.ndarray:
  # An example's key has two numbers, so that no stream is used twice.
  key = (seed, epoch, length, part) if part else (seed, epoch, length)
  return np.random.default_rng(key).permutation(length)


def _frames(crop_s: float, pose_rate_hz: int) -> int:
  num_frames = round(crop_s * pose_rate_hz)
  if num_frames < 2 or abs(num_frames - crop_s * pose_rate_hz) > 1e-6:
    raise InputError(
      f'crop_s is {crop_s}; expected a whole number of at least 2 pose frames '
      f'at {pose_rate_hz} Hz; choose a multiple of {1 / pose_rate_hz:g} s'
    )
  return num_frames


def _frame_targets(crop: clips.Crop, pose_rate_hz: int) -> Batch:
  """Return what is asked of each frame; nothing is asked after the end."""
  num_frames = len(crop.pose_FJD)
  args = (crop.beats_s, num_frames, pose_rate_hz)
  valid_F = np.arange(num_frames) < crop.num_valid
  return {
    'beat': targets.beat_activation(*args) * valid_F,
    'half_beat': targets.half_beat_activation(*args) * valid_F,
    'beat_phase': np.where(valid_F, targets.beat_phase(*args), np.float32(-1)),
    'onset': crop.onset_F,
    'level': crop.level_F,
    'loudness': crop.loudness_F,
    'valid': valid_F,
  }


def _padded_beats(beats_s: np.ndarray, crop_s: float, valid_s: float) -> Batch:
  """Return the beats inside the crop, padded with -1, and their number."""
  inside = beats_s[(beats_s >= 0) & (beats_s < min(crop_s, valid_s))]
  room = int(np.ceil(crop_s * _MAX_BEATS_PER_S))
  inside = inside[:room]
  padded_K = np.full(room, -1.0, np.float32)
  padded_K[: len(inside)] = inside
  return {'beats': padded_K, 'num_beats': np.int32(len(inside))}


# Axes of the values of an example, after the batch axis.
_AXES = {
  'motion': 'FM',
  'audio': 'T',
  'beats': 'K',
  'label': 'S',
  'features': 'FA',
  **dict.fromkeys(
    (
      'beat',
      'half_beat',
      'beat_phase',
      'onset',
      'level',
      'loudness',
      'valid',
    ),
    'F',
  ),
}


@dataclasses.dataclass(frozen=True)
class Pipeline:
  """Endless batches of crops of one split.

  Attributes:
    source: clips of the schema by index: `open_source(...)`, a list, or a
      `Mixture` of such, from which clips are drawn by its weights.
    batch_size: over all processes.
    crop_s: length of a crop, a whole number of pose frames; a clip that is
      shorter is padded with silence and poses of confidence 0.
    sample_rate_hz: of audio_BT, a multiple of pose_rate_hz.
    pose_rate_hz: of the frames.
    styles: the vocabulary of label_BS.
    seed: with the step it decides everything.
    process_index: which part of the global batch is ours.
    process_count: how many parts there are.
    rows: of the global batch that are ours, if not every process_count-th.
    augmentation: of the training examples.
    cache_bytes: memory for clips on the model's grid.
    need_audio: refuse clips without audio.
    with_motion: whether the dance is read at all; motion_BFM has M = 0
      without it.
    with_features: whether features_BFA is asked for; A = 28 with it, else 0.
  """

  source: Source
  batch_size: int
  crop_s: float
  sample_rate_hz: int
  pose_rate_hz: int
  styles: Sequence[str] = ()
  seed: int = 0
  process_index: int = 0
  process_count: int = 1
  rows: Sequence[int] | None = None
  augmentation: augment.Augmentation = augment.NONE
  cache_bytes: float = 2e9
  need_audio: bool = True
  with_motion: bool = True
  with_features: bool = False

  def __post_init__(self):
    _check_batching(self.batch_size, self.process_index, self.process_count)
    mixed = as_mixture(self.source)
    if not all(len(part) for part in mixed.parts):
      raise InputError(
        'the split has no clips; expected at least one; choose another split'
      )
    cache = clips.ClipCache(
      self.source,
      sample_rate_hz=self.sample_rate_hz,
      pose_rate_hz=self.pose_rate_hz,
      max_bytes=self.cache_bytes,
      with_features=self.with_features,
    )
    num_frames = _frames(self.crop_s, self.pose_rate_hz)
    object.__setattr__(self, '_mixture', mixed)
    object.__setattr__(self, '_cache', cache)
    object.__setattr__(self, '_num_frames', num_frames)
    object.__setattr__(self, '_examples', self._make_examples())
    for offset in mixed.offsets:
      self._clip(offset)

  def __reduce__(self):
    """Travel to another process without the cache, which is made anew there."""
    fields = dataclasses.fields(self)
    return type(self), tuple(getattr(self, field.name) for field in fields)

  def _make_examples(self):
    # grain brings jax, and nothing else on the numpy side does.
    import grain

    parts = [
      grain.MapDataset.range(len(part))
      .repeat()
      .map_with_index(functools.partial(self._shuffled, which))
      for which, part in enumerate(self._mixture.parts)
    ]
    mixed = parts[0]
    if len(parts) > 1:
      mixed = grain.MapDataset.mix(parts, self._mixture.weights)
    return mixed.map_with_index(self._example)

  def _shuffled(self, which: int, position: int, index: int) -> int:
    """Return the clip at a position; every epoch has an order of its own."""
    length = len(self._mixture.parts[which])
    epoch = position // length
    order = _permutation(self.seed, epoch, which, length)
    return self._mixture.offsets[which] + int(order[index])

  def _clip(self, index: int) -> clips.ReadyClip:
    clip = self._cache[index]
    if self.need_audio:
      _check_audio(clip)
    return clip

  def _crop(
    self, clip: clips.ReadyClip, rng: np.random.Generator
  ) -> clips.Crop:
    percent = augment.draw_percent(rng, self.augmentation.rate_change)
    span = clips.span_frames(self._num_frames, percent)
    start = int(rng.integers(max(len(clip.pose_FJD) - span, 0) + 1))
    return clips.crop(
      clip,
      start,
      self._num_frames,
      pose_rate_hz=self.pose_rate_hz,
      percent=percent,
    )

  def _example(self, position: int, clip_index: int) -> Batch:
    """Return example `position` of the endless stream."""
    rng = np.random.default_rng((self.seed, position))
    clip = self._clip(clip_index)
    crop = self._crop(clip, rng)
    valid_s = crop.num_valid / self.pose_rate_hz
    values = {
      'motion': self._motion(crop.pose_FJD, rng),
      'audio': crop.audio_T,
      **_frame_targets(crop, self.pose_rate_hz),
      **_padded_beats(crop.beats_s, self.crop_s, valid_s),
      **self._features(crop),
      'label': clips.label_vector(clip.labels, self.styles),
      'has_audio': np.bool_(clip.has_audio),
      'clip_index': np.int32(clip_index),
    }
    return {f'{k}_B{_AXES.get(k, "")}': v for k, v in values.items()}

  def _motion(
    self, pose_FJD: np.ndarray, rng: np.random.Generator
  ) -> np.ndarray:
    if not self.with_motion:
      return np.zeros((len(pose_FJD), 0), np.float32)
    rate_hz = self.pose_rate_hz
    pose_FJD = augment.augment_pose(
      pose_FJD, rng, self.augmentation, pose_rate_hz=rate_hz
    )
    return np.asarray(motion_features(pose_FJD, rate_hz), np.float32)

  def _features(self, crop: clips.Crop) -> Batch:
    features_FA = crop.features_FA
    if not self.with_features:
      features_FA = features_FA[:, :0]
    has_features = np.bool_(len(features_FA) > 0)
    shape = (len(crop.pose_FJD), features_FA.shape[1])
    filled = features_FA if has_features else np.zeros(shape, np.float32)
    return {'features': filled, 'has_features': has_features}

  def batch(self, step: int) -> Batch:
    """Return this process's part of global batch `step`, a dict of arrays.

    motion_BFM: float32 features.
    audio_BT: float32 in [-1, 1), T = F * sample_rate_hz / pose_rate_hz.
    beat_BF, half_beat_BF: 1 at the nearest frame, 0.5 beside it.
    beat_phase_BF: in [0, 1); -1 where fewer than two beats are known.
    onset_BF, level_BF: 0 to 1. loudness_BF: the level of 1.5 s, 0 to 1.
    valid_BF: bool; False after the end of a short clip.
    beats_BK: seconds from the crop's start, padded with -1; num_beats_B.
    features_BFA: audio features, zero where has_features_B is not.
    label_BS: 1 for the style and the tags of a clip, else 0; all 0: unknown.
    has_audio_B: bool. clip_index_B: int32.
    """
    rows = self.rows
    if rows is None:
      rows = range(self.process_index, self.batch_size, self.process_count)
    first = step * self.batch_size
    ours = [self._examples[first + int(row)] for row in rows]
    return {name: np.stack([e[name] for e in ours]) for name in ours[0]}

  def iterate(self, start_step: int = 0, *, ahead: int = 2, then=lambda b: b):
    """Yield `then(batch)` of all batches from start_step on without end.

    A thread makes `ahead` of them in advance; closing the iterator ends it.
    """

    def make(step):
      return then(self.batch(step))

    with futures.ThreadPoolExecutor(1, 'dance2wave-batches') as thread:
      waiting = collections.deque(
        thread.submit(make, start_step + i) for i in range(ahead)
      )
      step = start_step + ahead
      try:
        while True:
          waiting.append(thread.submit(make, step))
          step += 1
          yield waiting.popleft().result()
      finally:
        thread.shutdown(wait=True, cancel_futures=True)


def _check_batching(batch_size: int, index: int, count: int) -> None:
  if batch_size < 1 or batch_size % count:
    raise InputError(
      f'batch_size is {batch_size}; expected a positive multiple of the '
      f'{count} process(es); change it'
    )
  if not 0 <= index < count:
    raise InputError(
      f'process_index is {index}; expected 0 to {count - 1}; correct it'
    )


@dataclasses.dataclass(frozen=True)
class EvalClip:
  """A whole clip with its features.

  Attributes:
    clip: pose, audio, beats and style on the model's grid.
    motion_FM: float32 features of clip.pose_FJD.
    audio_T: (F * hop,) float32.
  """

  clip: clips.ReadyClip
  motion_FM: np.ndarray
  audio_T: np.ndarray


def eval_clips(
  source: Source,
  *,
  sample_rate_hz: int,
  pose_rate_hz: int,
  num_clips: int | None = None,
  need_audio: bool = True,
) -> Iterator[EvalClip]:
  """Yield the first clips of a split in order, whole and unchanged.

  Args:
    source: clips of the schema by index; those of a `Mixture` in turns.
    sample_rate_hz: of the audio, a multiple of pose_rate_hz.
    pose_rate_hz: of the features.
    num_clips: how many; None for all.
    need_audio: refuse clips without audio.
  """
  for index in itertools.islice(as_mixture(source).in_turns(), num_clips):
    clip = clips.ready_clip(
      source[index], sample_rate_hz=sample_rate_hz, pose_rate_hz=pose_rate_hz
    )
    if need_audio:
      _check_audio(clip)
    yield EvalClip(
      clip,
      np.asarray(motion_features(clip.pose_FJD, pose_rate_hz), np.float32),
      clip.audio_T.astype(np.float32) / 32768.0,
    )
