"""What is checked of options beyond their types, once, at the door."""

from dance2wave.errors import InputError


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
  context_s = o.receptive_frames / o.pose_rate_hz
  longest = o.dataset.crop_s - context_s - 1 / o.pose_rate_hz
  _require(
    o.train.audio_crop_s <= longest + 1e-9,
    'train.audio_crop_s',
    o.train.audio_crop_s,
    f'at most {longest:.3f}: dataset.crop_s less the receptive field and a '
    'frame',
  )


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
    'train.max_skipped': o.train.max_skipped,
    'train.learning_rate': o.train.learning_rate,
    'train.joint_learning_rate': o.train.joint_learning_rate,
    'train.clip_norm': o.train.clip_norm,
    'mesh.data': o.mesh.data,
    'mesh.fsdp': o.mesh.fsdp,
    'mesh.tensor': o.mesh.tensor,
    'mesh.sequence': o.mesh.sequence,
    'train.accumulate': o.train.accumulate,
    'sample.num_clips': o.sample.num_clips,
    'sample.temperature': o.sample.temperature,
    'sample.guidance': o.sample.guidance,
    'sample.style_strength': o.sample.style_strength,
    'sample.loudness_range': o.sample.loudness_range,
  }
  for key, value in positive.items():
    _require(value > 0, key, value, '> 0')
  not_negative = {
    'seed': o.seed,
    'sample.seed': o.sample.seed,
    'dataset.cache_bytes': o.dataset.cache_bytes,
    'sample.num_videos': o.sample.num_videos,
    'train.pose_steps': o.train.pose_steps,
    'train.joint_steps': o.train.joint_steps,
    'train.warmup_steps': o.train.warmup_steps,
    'train.weight_decay': o.train.weight_decay,
    'train.heads_weight': o.train.heads_weight,
    'train.infonce_weight': o.train.infonce_weight,
    'train.beat_contrast_weight': o.train.beat_contrast_weight,
    'train.past_noise': o.train.past_noise,
    'train.past_gain_db': o.train.past_gain_db,
    'pose.num_blocks': o.pose.num_blocks,
    'wave.num_bands': o.wave.num_bands,
  }
  for key, value in not_negative.items():
    _require(value >= 0, key, value, '>= 0')
  for key in ('stem_dilations', 'top_dilations'):
    value = getattr(o.pose, key)
    _require(all(d > 0 for d in value), f'pose.{key}', value, 'all > 0')
  _require(
    o.pose.width % (2 * o.pose.num_heads) == 0,
    'pose.width',
    o.pose.width,
    f'a multiple of 2 x pose.num_heads={o.pose.num_heads}',
  )
  _require(
    o.wave.num_bands > 0 or not o.wave.is_whitened,
    'wave.is_whitened',
    o.wave.is_whitened,
    'False where wave.num_bands=0 tells no bands that could colour',
  )
  stack = o.wave.context_stack
  _require(0 <= stack <= 12, 'wave.context_stack', stack, '0..12 layers')
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
    'pose.encoder': (o.pose.encoder, ('transformer', 'st_gcn')),
    'train.optimizer': (o.train.optimizer, ('muon', 'adam')),
    'sample.weights': (o.sample.weights, ('float32', 'int8')),
    'train.compute_dtype': (o.train.compute_dtype, ('float32', 'bfloat16')),
  }
  for key, (value, allowed) in choices.items():
    _require(value in allowed, key, value, ' or '.join(allowed))
  for word in o.pose.describes:
    allowed = ('style', 'audio_features')
    _require(word in allowed, 'pose.describes', o.pose.describes, str(allowed))
  parts = o.mesh.batch_ways * o.train.accumulate
  _require(
    o.train.batch_size % parts == 0,
    'train.batch_size',
    o.train.batch_size,
    f'a multiple of mesh.data x mesh.fsdp x train.accumulate = {parts}',
  )


def _check_sequence(o):
  """Time is cut between frames, and a layer reaches one device back at most."""
  devices, frames = o.mesh.sequence, o.window_frames
  reach = (o.wave.kernel - 1) * max(o.wave.dilations)
  _require(
    devices == 1
    or (
      frames % devices == 0 and frames // devices * o.samples_per_frame >= reach
    ),
    'mesh.sequence',
    devices,
    f'a divisor of {frames}, the pose frames of train.audio_crop_s and of the '
    f'receptive field, that leaves each device {reach} samples or more '
    '(change train.audio_crop_s for others)',
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
  for key in (
    'true_bands',
    'control_dropout',
    'past_dropout',
    'time_jitter',
    'self_fed',
  ):
    value = getattr(o.train, key)
    _require(0 <= value <= 1, f'train.{key}', value, 'from 0 to 1')
  _require(0 < o.sample.top_p <= 1, 'sample.top_p', o.sample.top_p, 'in (0, 1]')
  guidance = o.sample.guidance
  _require(
    guidance == 1 or o.train.context_dropout > 0,
    'sample.guidance',
    guidance,
    '1 where train.context_dropout=0 teaches nothing to be guided from',
  )
  best_of = o.sample.best_of
  _require(1 <= best_of <= 64, 'sample.best_of', best_of, '1..64 candidates')
  middle = o.sample.loudness_middle
  _require(0 <= middle <= 1, 'sample.loudness_middle', middle, '0 to 1')
  lead_s = o.sample.lead_s
  _require(0 <= lead_s <= 0.1, 'sample.lead_s', lead_s, '0 to 0.1 s')
  steps = (o.train.pose_steps, o.train.joint_steps)
  _require(
    sum(steps) > 0, 'train.joint_steps', steps[1], '> 0 where pose_steps=0'
  )
  _require(bool(o.styles), 'styles', o.styles, 'at least one style')


def _check_datasets(o):
  names, weights = o.dataset.names, o.dataset.weights
  _require(all(names), 'dataset.name', o.dataset.name, 'names between commas')
  _require(
    len(set(names)) == len(names), 'dataset.name', o.dataset.name, 'each once'
  )
  _require(
    len(weights) in (0, len(names)) and all(w > 0 for w in weights),
    'dataset.weights',
    weights,
    f'() or {len(names)} number(s) above 0, one for each dataset',
  )
  is_alone = o.train.is_audio_only
  _require(
    not is_alone or not o.train.pose_steps,
    'train.pose_steps',
    o.train.pose_steps,
    '0 where train.is_audio_only leaves the dance out',
  )
  for key in ('infonce_weight', 'beat_contrast_weight'):
    value = getattr(o.train, key)
    _require(
      not is_alone or not value,
      f'train.{key}',
      value,
      '0 where train.is_audio_only leaves the dance out',
    )


CHECKS = (
  _check_rates,
  _check_sizes,
  _check_crops,
  _check_choices,
  _check_sequence,
  _check_shares,
  _check_datasets,
)
