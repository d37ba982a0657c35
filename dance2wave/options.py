"""Options: frozen dataclasses made from a `ConfigDict`, checked once.

A config file only assigns; `parse` turns it into `Options` at the door and
raises one `InputError` with the key, the value, what was expected and what to
change. Units are in the names.
"""

import dataclasses
import difflib
import types
import typing

from dance2wave.errors import InputError


@dataclasses.dataclass(frozen=True)
class DatasetOptions:
  """Which TFDS dataset, and how clips are cropped.

  Attributes:
    name: of the TFDS builder.
    config: builder config; '' is the builder's default.
    data_dir: where TFDS keeps datasets; '' is its default.
    manual_dir: a user's own files, for builders that read them.
    crop_s: length of a training crop.
    cache_bytes: how much decoded data is kept in memory.
    is_augmented: whether training crops are mirrored, turned, scaled,
      made noisy, robbed of joints and played faster or slower.
  """

  name: str
  config: str
  data_dir: str
  manual_dir: str
  crop_s: float
  cache_bytes: int
  is_augmented: bool


@dataclasses.dataclass(frozen=True)
class PoseOptions:
  """Sizes of the pose transformer; see `PoseTransformer`."""

  width: int
  num_heads: int
  num_blocks: int
  stem_dilations: tuple[int, ...]
  top_dilations: tuple[int, ...]
  kernel: int
  window_s: float
  look_ahead_s: float | None
  dropout: float


@dataclasses.dataclass(frozen=True)
class WaveOptions:
  """Sizes of the WaveNet; see `WaveNet`.

  Attributes:
    num_cycles: how often the dilations 1, 2, 4 ... are repeated.
    layers_per_cycle: dilations in a cycle.
    output: 'softmax' over mu-law levels or a 'mixture' of logistics.
    levels: of the mu-law scale.
    mixtures: components where the output is a mixture.
  """

  num_cycles: int
  layers_per_cycle: int
  kernel: int
  residual: int
  gate: int
  skip: int
  output: str
  levels: int
  mixtures: int

  @property
  def dilations(self) -> tuple[int, ...]:
    """The dilation of every layer, in samples."""
    return tuple(2**i for i in range(self.layers_per_cycle)) * self.num_cycles

  @property
  def num_outputs(self) -> int:
    """Channels of the WaveNet's output."""
    return self.levels if self.output == 'softmax' else 3 * self.mixtures


@dataclasses.dataclass(frozen=True)
class TrainOptions:
  """How training goes.

  Attributes:
    pose_steps: steps of the pose transformer alone on its heads, first.
    joint_steps: steps of everything together, after them.
    batch_size: clips in a step, over all processes.
    audio_crop_s: length of the waveform in a joint step, within the crop.
    learning_rate: peak of the first stage.
    joint_learning_rate: peak of the second.
    warmup_steps: of each stage.
    weight_decay: on kernels.
    clip_norm: of the gradients.
    ema_decay: of the averaged weights, which are what is sampled.
    context_dropout: share of clips whose WaveNet is given no context.
    style_dropout: share of clips whose WaveNet is not told the style.
    heads_weight: of the heads' loss in joint steps.
    compute_dtype: 'float32' or 'bfloat16'; parameters stay float32.
    log_every: steps between lines of metrics.
    eval_every: steps between held-out likelihoods.
    eval_batches: batches of each.
    save_every: steps between checkpoints.
    max_to_keep: checkpoints.
  """

  pose_steps: int
  joint_steps: int
  batch_size: int
  audio_crop_s: float
  learning_rate: float
  joint_learning_rate: float
  warmup_steps: int
  weight_decay: float
  clip_norm: float
  ema_decay: float
  context_dropout: float
  style_dropout: float
  heads_weight: float
  compute_dtype: str
  log_every: int
  eval_every: int
  eval_batches: int
  save_every: int
  max_to_keep: int

  @property
  def num_steps(self) -> int:
    """Steps of both stages."""
    return self.pose_steps + self.joint_steps


@dataclasses.dataclass(frozen=True)
class MeshOptions:
  """Devices along each axis of the mesh."""

  data: int
  fsdp: int


@dataclasses.dataclass(frozen=True)
class SampleOptions:
  """How test dances are sampled and scored at the end of a run.

  Attributes:
    num_clips: clips of the test split that are scored.
    num_videos: of them, how many become videos.
    temperature: of the draws.
    top_p: mass of the most probable classes that are kept.
    guidance: weight of the conditional against the unconditional outputs.
    seed: of the draws.
  """

  num_clips: int
  num_videos: int
  temperature: float
  top_p: float
  guidance: float
  seed: int


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
  def samples_per_frame(self) -> int:
    """Audio samples that one pose frame owns."""
    return self.sample_rate_hz // self.pose_rate_hz


def parse(config) -> Options:
  """Make checked options from a `ConfigDict` or a plain nested dict."""
  values = config.to_dict() if hasattr(config, 'to_dict') else dict(config)
  options = _build(Options, values, '')
  for check in _CHECKS:
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
  return value


def _require(is_right, key, value, expected):
  if not is_right:
    raise InputError(
      f'{key}={value!r}; expected {expected}; set --config.{key}=...'
    )


def _check_rates(o):
  _require(o.sample_rate_hz > 0, 'sample_rate_hz', o.sample_rate_hz, '> 0')
  divides = o.pose_rate_hz > 0 and o.sample_rate_hz % o.pose_rate_hz == 0
  _require(
    divides,
    'pose_rate_hz',
    o.pose_rate_hz,
    f'a divisor of sample_rate_hz={o.sample_rate_hz}, such as 25 or 50, so '
    'that a pose frame owns a whole number of samples',
  )
  for key, length in (
    ('dataset.crop_s', o.dataset.crop_s),
    ('train.audio_crop_s', o.train.audio_crop_s),
  ):
    frames = length * o.pose_rate_hz
    _require(
      frames >= 1 and abs(frames - round(frames)) < 1e-6,
      key,
      length,
      f'a whole number of pose frames of 1/{o.pose_rate_hz} s',
    )


def _check_crops(o):
  context_s = -(-receptive_frames(o) // 1) / o.pose_rate_hz
  longest = o.dataset.crop_s - context_s - 1 / o.pose_rate_hz
  _require(
    o.train.audio_crop_s <= longest + 1e-9,
    'train.audio_crop_s',
    o.train.audio_crop_s,
    f'at most {longest:.3f}: dataset.crop_s less the receptive field and a '
    'frame',
  )


def receptive_frames(o: Options) -> int:
  """Pose frames that cover the WaveNet's receptive field before a sample."""
  samples = (o.wave.kernel - 1) * sum(o.wave.dilations)
  return -(-samples // o.samples_per_frame)


def _check_sizes(o):
  positive = {
    'pose.width': o.pose.width,
    'pose.num_heads': o.pose.num_heads,
    'pose.kernel': o.pose.kernel,
    'pose.window_s': o.pose.window_s,
    'wave.num_cycles': o.wave.num_cycles,
    'wave.layers_per_cycle': o.wave.layers_per_cycle,
    'wave.residual': o.wave.residual,
    'wave.gate': o.wave.gate,
    'wave.skip': o.wave.skip,
    'wave.mixtures': o.wave.mixtures,
    'train.batch_size': o.train.batch_size,
    'train.log_every': o.train.log_every,
    'train.eval_every': o.train.eval_every,
    'train.eval_batches': o.train.eval_batches,
    'train.save_every': o.train.save_every,
    'train.max_to_keep': o.train.max_to_keep,
    'train.learning_rate': o.train.learning_rate,
    'train.joint_learning_rate': o.train.joint_learning_rate,
    'train.clip_norm': o.train.clip_norm,
    'mesh.data': o.mesh.data,
    'mesh.fsdp': o.mesh.fsdp,
    'sample.num_clips': o.sample.num_clips,
    'sample.temperature': o.sample.temperature,
  }
  for key, value in positive.items():
    _require(value > 0, key, value, '> 0')
  _require(
    o.pose.width % (2 * o.pose.num_heads) == 0,
    'pose.width',
    o.pose.width,
    f'a multiple of 2 x pose.num_heads={o.pose.num_heads}',
  )
  _require(o.wave.kernel >= 2, 'wave.kernel', o.wave.kernel, 'at least 2')
  _require(
    2 <= o.wave.levels <= 65536, 'wave.levels', o.wave.levels, '2..65536'
  )
  ahead = o.pose.look_ahead_s
  _require(
    ahead is None or ahead >= 0, 'pose.look_ahead_s', ahead, '>= 0 or None'
  )


def _check_choices(o):
  choices = {
    'wave.output': (o.wave.output, ('softmax', 'mixture')),
    'train.compute_dtype': (o.train.compute_dtype, ('float32', 'bfloat16')),
  }
  for key, (value, allowed) in choices.items():
    _require(value in allowed, key, value, ' or '.join(allowed))
  devices = o.mesh.data * o.mesh.fsdp
  _require(
    o.train.batch_size % devices == 0,
    'train.batch_size',
    o.train.batch_size,
    f'a multiple of mesh.data x mesh.fsdp = {devices}',
  )


def _check_shares(o):
  shares = {
    'train.context_dropout': o.train.context_dropout,
    'train.style_dropout': o.train.style_dropout,
    'train.ema_decay': o.train.ema_decay,
    'pose.dropout': o.pose.dropout,
  }
  for key, value in shares.items():
    _require(0 <= value < 1, key, value, 'at least 0 and below 1')
  _require(0 < o.sample.top_p <= 1, 'sample.top_p', o.sample.top_p, 'in (0, 1]')
  steps = (o.train.pose_steps, o.train.joint_steps)
  _require(
    min(steps) >= 0 and sum(steps) > 0, 'train.joint_steps', steps, '>= 0'
  )
  _require(bool(o.styles), 'styles', o.styles, 'at least one style')


_CHECKS = (
  _check_rates,
  _check_sizes,
  _check_crops,
  _check_choices,
  _check_shares,
)
