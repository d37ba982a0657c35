"""Options: frozen dataclasses made from a `ConfigDict`, checked once.

A config file only assigns; `parse` turns it into `Options` at the door and
raises one `InputError` with the key, the value, what was expected and what to
change. Units are in the names.
"""

import dataclasses
import difflib
import math
import types
import typing

from dance2wave.errors import InputError
from dance2wave.model_options import PoseOptions, WaveOptions
from dance2wave.option_checks import CHECKS
from dance2wave.train_options import TrainOptions


@dataclasses.dataclass(frozen=True)
class DatasetOptions:
  """Which TFDS dataset, and how clips are cropped.

  Attributes:
    name: of the TFDS dataset, such as 'clip_folder' or
      'synthetic_dance/debug'; several with commas between them are mixed.
    weights: share of the training examples that each of several gets; () is
      the same for all.
    data_dir: where TFDS keeps datasets; '' is its default.
    manual_dir: a user's own files, for builders that read them.
    crop_s: length of a training crop.
    cache_bytes: how much decoded data is kept in memory.
    is_augmented: whether training crops are mirrored, turned, scaled,
      made noisy, robbed of joints and played faster or slower.
  """

  name: str
  weights: tuple[float, ...]
  data_dir: str
  manual_dir: str
  crop_s: float
  cache_bytes: int
  is_augmented: bool

  @property
  def names(self) -> tuple[str, ...]:
    """The name of each dataset."""
    return tuple(name.strip() for name in self.name.split(','))


@dataclasses.dataclass(frozen=True)
class MeshOptions:
  """Devices along each axis of the mesh; see `training/sharding.py`.

  Attributes:
    data: clips are split over these.
    fsdp: clips are, and parameters with all that belongs to them.
    tensor: the channels of matrices are, within a clip.
    sequence: a clip's samples are, within the WaveNet.
  """

  data: int
  fsdp: int
  tensor: int = 1
  sequence: int = 1

  @property
  def devices(self) -> int:
    """How many there are."""
    return self.data * self.fsdp * self.tensor * self.sequence

  @property
  def batch_ways(self) -> int:
    """Into how many parts a batch is split."""
    return self.data * self.fsdp


@dataclasses.dataclass(frozen=True)
class SampleOptions:
  """How test dances are sampled and scored at the end of a run.

  Attributes:
    num_clips: clips of the test split that are scored.
    num_videos: of them, how many become videos.
    temperature: of the draws.
    top_p: mass of the most probable classes that are kept.
    guidance: weight of the conditional against the unconditional outputs.
    style_strength: of a style that is asked for; 1 is what was learned. Of
      the colour alone where sound is whitened.
    loudness_range: how many times as far from its middle the loudness goes as
      the pose transformer says.
    loudness_middle: that middle, from 0, -60 dB of full scale, to 1, 0 dB.
    best_of: candidates of which the one that follows the dance best is kept,
      block by block; see `sampling/search.py`. 1 is no search.
    weights: what the WaveNet's matrices are rounded to, 'float32' or 'int8';
      see `sampling/weights.py`.
    lead_s: the sound is played so much earlier than it was drawn, because the
      WaveNet's strokes come late by as much.
    seed: of the draws.
  """

  num_clips: int
  num_videos: int
  temperature: float
  top_p: float
  guidance: float
  lead_s: float
  seed: int
  style_strength: float = 1.0
  loudness_range: float = 1.0
  loudness_middle: float = 0.5
  best_of: int = 1
  weights: str = 'float32'


@dataclasses.dataclass(frozen=True)
class Options:
  """Everything that a run depends on."""

  seed: int
  sample_rate_hz: int
  pose_rate_hz: int
  styles: tuple[str, ...]
  dataset: DatasetOptions
  pose: PoseOptions
  wave: WaveOptions
  train: TrainOptions
  mesh: MeshOptions
  sample: SampleOptions

  @property
  def samples_dances(self) -> bool:
    """Whether a run of these options ends in a model that can be sampled."""
    return self.train.joint_steps > 0 and not self.train.is_audio_only

  @property
  def samples_per_frame(self) -> int:
    """Audio samples that one pose frame owns."""
    return self.sample_rate_hz // self.pose_rate_hz

  @property
  def window_frames(self) -> int:
    """Pose frames of a joint step's sound: what is scored and its past."""
    scored = round(self.train.audio_crop_s * self.pose_rate_hz)
    return self.receptive_frames + scored

  @property
  def receptive_frames(self) -> int:
    """Pose frames that cover the WaveNet's receptive field."""
    samples = (self.wave.kernel - 1) * sum(self.wave.dilations) + 1
    return -(-samples // self.samples_per_frame)


def parse(config) -> Options:
  """Make checked options from a `ConfigDict` or a plain nested dict."""
  values = config.to_dict() if hasattr(config, 'to_dict') else dict(config)
  options = _build(Options, values, '')
  for check in CHECKS:
    check(options)
  return options


def to_dict(options: Options) -> dict:
  """Return options as nested plain values that JSON can hold."""
  return dataclasses.asdict(options)


def _build(cls, values, prefix):
  """Make one dataclass; unknown, missing and ill-typed keys are errors."""
  hints = typing.get_type_hints(cls)
  for key in values:
    if key not in hints:
      near = difflib.get_close_matches(key, hints, n=1, cutoff=0.0)[0]
      raise InputError(
        f'unknown config key {prefix}{key}={values[key]!r}; the nearest is '
        f'{prefix}{near}; use --config.{prefix}{near}=...'
      )
  added = {
    field.name: field.default
    for field in dataclasses.fields(cls)
    if field.default is not dataclasses.MISSING
  }
  values = added | values  # older configs do not have them
  missing = [key for key in hints if key not in values]
  if missing:
    raise InputError(
      f'config key {prefix}{missing[0]} is missing; expected all of '
      f'{", ".join(hints)} under {prefix or "the top level"!r}; start from '
      'configs/wavenet.py'
    )
  made = {k: _convert(hints[k], values[k], prefix + k) for k in hints}
  return cls(**made)


def _convert(hint, value, key):
  """Check one value against its type; lists become tuples, ints floats."""
  if dataclasses.is_dataclass(hint):
    if not isinstance(value, dict):
      raise InputError(f'{key}={value!r}; expected a group of keys')
    return _build(hint, value, key + '.')
  if typing.get_origin(hint) is types.UnionType:
    if value is None:
      return None
    hint = next(t for t in typing.get_args(hint) if t is not type(None))
  if typing.get_origin(hint) is tuple:
    item = typing.get_args(hint)[0]
    if not isinstance(value, (list, tuple)):
      raise InputError(f'{key}={value!r}; expected a tuple of {item.__name__}')
    return tuple(_convert(item, v, key) for v in value)
  if hint is float and type(value) is int:
    value = float(value)
  if type(value) is not hint:
    raise InputError(
      f'{key}={value!r} is a {type(value).__name__}; expected {hint.__name__}; '
      f'set --config.{key}'
    )
  if hint is float and not math.isfinite(value):
    raise InputError(
      f'{key}={value!r}; expected a finite number; set --config.{key}'
    )
  return value
