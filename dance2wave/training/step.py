"""The pure steps: pose alone, everything together, and held-out figures."""

import functools

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from dance2wave.datasets.audio_features import NUM_AUDIO_FEATURES
from dance2wave.errors import InputError
from dance2wave.models.dance2wave import Dance2Wave
from dance2wave.models.parts import WHOLE, Draws, Part
from dance2wave.models.pose_transformer import NUM_HEADS, PHASE
from dance2wave.options import Options
from dance2wave.pose.clean import CLEAN_DELAY_S
from dance2wave.pose.features import FEATURE_LOOK_AHEAD_FRAMES
from dance2wave.training import sequence
from dance2wave.training.losses import (
  features_loss,
  head_losses,
  masked_mean,
  style_losses,
  sum_head_losses,
  timbre_loss,
)
from dance2wave.training.prompts import draw_controls, drop_label
from dance2wave.training.state import TrainState, all_finite
from dance2wave.training.window import (
  draw_start,
  last_start,
  said_and_true_bands,
  sound_losses,
  window_nll,
)


def transformer_look_ahead_s(options: Options) -> float | None:
  """Return what cleaning and features leave of `pose.look_ahead_s`.

  The cleaner waits, the derivatives reach ahead, and the WaveNet needs one
  more frame to interpolate its context towards.

  Raises:
    InputError: they leave less than nothing.
  """
  if options.pose.look_ahead_s is None:
    return None
  frames = FEATURE_LOOK_AHEAD_FRAMES + 1
  spent_s = CLEAN_DELAY_S + frames / options.pose_rate_hz
  left_s = options.pose.look_ahead_s - spent_s
  if left_s < 0:
    raise InputError(
      f'pose.look_ahead_s={options.pose.look_ahead_s}; expected at least '
      f'{spent_s:g}, which cleaning and motion features need, or None for all '
      'of a clip; set --config.pose.look_ahead_s'
    )
  return left_s


def make_model(options: Options, motion_dim: int, key) -> Dance2Wave:
  """Return a new model of the sizes in options."""
  pose = {
    'motion_dim': motion_dim,
    'width': options.pose.width,
    'num_heads': options.pose.num_heads,
    'num_blocks': options.pose.num_blocks,
    'stem_dilations': options.pose.stem_dilations,
    'top_dilations': options.pose.top_dilations,
    'kernel': options.pose.kernel,
    'window_s': options.pose.window_s,
    'look_ahead_s': transformer_look_ahead_s(options),
    'pose_rate_hz': options.pose_rate_hz,
    'dropout': options.pose.dropout,
    'num_styles': len(options.styles) * ('style' in options.pose.describes),
    'num_features': NUM_AUDIO_FEATURES
    * ('audio_features' in options.pose.describes),
    'remat': options.train.remat,
  }
  wave = {
    'num_styles': len(options.styles),
    'dilations': options.wave.dilations,
    'kernel': options.wave.kernel,
    'residual': options.wave.residual,
    'gate': options.wave.gate,
    'skip': options.wave.skip,
    'num_outputs': options.wave.num_outputs,
    'samples_per_frame': options.samples_per_frame,
    'is_mixture': options.wave.output == 'mixture',
    'num_bands': options.wave.num_bands,
    'remat': options.train.remat,
  }
  return Dance2Wave(
    pose=pose,
    wave=wave,
    hears_heads=options.wave.hears_heads,
    rngs=nnx.Rngs(key),
  )


def split_model(options: Options, motion_dim: int):
  """Return the graph of the model and a function from a key to parameters."""
  make = functools.partial(make_model, options, motion_dim)
  abstract = nnx.eval_shape(lambda: make(jax.random.key(0)))
  graphdef = nnx.split(abstract)[0]

  def init(key):
    return nnx.to_pure_dict(nnx.state(make(key), nnx.Param))

  return graphdef, init


def _described(options, pose, context_BFC, batch, whole=None):
  """Return the losses of what the pose transformer describes, if anything."""
  losses, whole = {}, batch if whole is None else whole
  context_BFC = context_BFC[..., : options.pose.width]
  if 'style' in options.pose.describes:
    logits_BS = pose.describe_style(context_BFC, batch['valid_BF'])
    losses |= style_losses(logits_BS, batch['label_BS'], whole['label_BS'])
  if 'audio_features' in options.pose.describes:
    features_BFA = pose.describe_features(context_BFC)
    losses |= features_loss(features_BFA, batch, whole)
  return losses


def _silent_context(options, batch):
  """Return a context that says nothing, for a WaveNet without a dance."""
  width = options.pose.width + NUM_HEADS * options.wave.hears_heads
  shape = (*batch['valid_BF'].shape, width)
  return jnp.zeros(shape, options.train.compute_dtype)


def _listen_in_training(options, model, batch, part, controls_key, dropout_key):
  """Return the context (B, F, C) of the clips of a part, and losses of it."""
  mine = part.of(batch)
  context, heads = model.listen(
    mine['motion_BFM'].astype(options.train.compute_dtype),
    mine['valid_BF'],
    part.of(draw_controls(options, controls_key, batch)),
    Draws(dropout_key, part),
  )
  losses = head_losses(heads, mine, batch)
  return context, losses | _described(options, model.pose, context, mine, batch)


def _joint_loss(options, graphdef, mesh, params, batch, key, part=WHOLE):
  """Return what the clips of a part add to the loss and figures of a batch."""
  model = nnx.merge(graphdef, params)
  start_key, context_key, label_key, dropout_key = jax.random.split(key, 4)
  sound_key, controls_key = (jax.random.fold_in(key, n) for n in (1, 2))
  context, losses = _listen_in_training(
    options, model, batch, part, controls_key, dropout_key
  )
  clips = batch['valid_BF'].shape[:1]
  kept = jax.random.uniform(context_key, clips) >= options.train.context_dropout
  context = context * part.of(kept)[:, None, None].astype(context.dtype)
  label = part.of(drop_label(options, label_key, batch['label_BS']))
  start = draw_start(options, start_key, batch)
  wave = sequence.spread(model.wave, mesh)
  losses |= sound_losses(
    options, mesh, wave, context, label, batch, start, sound_key, part
  )
  heads_weight = options.train.heads_weight
  total = losses['nll'] + heads_weight * sum_head_losses(losses)
  return total, losses


def _pose_loss(options, graphdef, mesh, params, batch, key, part=WHOLE):
  """Return the same of a step that trains the pose transformer alone."""
  model, mine = nnx.merge(graphdef, params), part.of(batch)
  dropout_key, label_key, controls_key = jax.random.split(key, 3)
  context, losses = _listen_in_training(
    options, model, batch, part, controls_key, dropout_key
  )
  if options.wave.num_bands:
    label = part.of(drop_label(options, label_key, batch['label_BS']))
    said, true = said_and_true_bands(
      options, mesh, model.wave, context, label, mine
    )
    losses |= timbre_loss(said, true, mine, batch)
  return sum_head_losses(losses), losses


def _audio_loss(options, graphdef, mesh, params, batch, key, part=WHOLE):
  """Return the same of a step that trains the WaveNet alone."""
  wave = sequence.spread(nnx.merge(graphdef, params).wave, mesh)
  start_key, _, label_key, _ = jax.random.split(key, 4)
  sound_key = jax.random.fold_in(key, 1)
  label = part.of(drop_label(options, label_key, batch['label_BS']))
  start = draw_start(options, start_key, batch)
  context = part.of(_silent_context(options, batch))
  losses = sound_losses(
    options, mesh, wave, context, label, batch, start, sound_key, part
  )
  return losses['nll'] + sum_head_losses(losses), losses


def _gradients(loss_fn, accumulate, params, batch, key):
  """Return ((loss, figures), gradients), part by part where asked.

  Only one part's activations are held at a time; loss and figures are sums
  over all parts, so that they are those of the whole batch but for rounding.
  """
  grad_fn = jax.value_and_grad(loss_fn, has_aux=True)
  if accumulate == 1:
    return grad_fn(params, batch, key)

  def one_part(index):
    return grad_fn(params, batch, key, Part(index, accumulate))

  def add(total, index):
    return jax.tree.map(jnp.add, total, one_part(index)), None

  first = one_part(jnp.int32(0))
  return jax.lax.scan(add, first, jnp.arange(1, accumulate))[0]


def _update(loss_fn, optimizer, train, state, batch, key):
  key = jax.random.fold_in(key, state.step)
  (loss, figures), grads = _gradients(
    loss_fn, train.accumulate, state.params, batch, key
  )
  grad_norm = optax.tree.norm(grads)
  # An odd target may become a finite loss, so that the batch counts as well.
  is_good = all_finite((loss, grad_norm, batch))
  updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
  params = optax.apply_updates(state.params, updates)
  # The average forgets the first, bad weights sooner than ema_decay alone.
  decay = jnp.minimum(train.ema_decay, (1.0 + state.step) / (10.0 + state.step))
  ema = optax.incremental_update(params, state.ema, 1.0 - decay)
  params, ema, opt_state = jax.tree.map(
    functools.partial(jnp.where, is_good),
    (params, ema, opt_state),
    (state.params, state.ema, state.opt_state),
  )
  state = TrainState(
    step=state.step + 1, params=params, ema=ema, opt_state=opt_state
  )
  figures = {
    'loss': loss,
    'grad_norm': grad_norm,
    'skipped': ~is_good,
    **figures,
  }
  return state, figures


def make_train_step(
  options: Options, graphdef, optimizer, mesh, *, is_joint: bool
):
  """Return `step(state, batch, key) -> (state, figures)`, compiled.

  A joint step of an audio-only run trains the WaveNet alone. A step whose
  batch, loss or gradients hold a NaN or an infinity changes nothing but the
  number of the step, and its figure `skipped` is set.

  `mesh` is that of the state and of the batch.
  """
  second = _audio_loss if options.train.is_audio_only else _joint_loss
  loss = second if is_joint else _pose_loss
  loss_fn = functools.partial(loss, options, graphdef, mesh)
  update = functools.partial(_update, loss_fn, optimizer, options.train)
  return jax.jit(update, donate_argnums=0)


def _phase_cosine(heads_BFH, batch):
  """Return the mean cosine between the phase head and the true phase."""
  angle = 2 * jnp.pi * batch['beat_phase_BF']
  phase = heads_BFH[..., PHASE:].astype(jnp.float32)
  turned = phase[..., 0] * jnp.cos(angle) + phase[..., 1] * jnp.sin(angle)
  length = jnp.sqrt(jnp.sum(phase**2, -1) + 1e-6)
  known = batch['valid_BF'] & (batch['beat_phase_BF'] >= 0)
  return masked_mean(turned / length, known)


def _heard_in_dance(options, model, context, heads, batch):
  """Return what the heads make of a dance: the losses and the phase."""
  return {
    **head_losses(heads, batch),
    **_described(options, model.pose, context, batch),
    'phase_cosine': _phase_cosine(heads, batch),
  }


def _evaluate_dance(options, graphdef, mesh, params, batch):
  model = nnx.merge(graphdef, params)
  motion = batch['motion_BFM'].astype(options.train.compute_dtype)
  context, heads = model.listen(motion, batch['valid_BF'])
  figures = _heard_in_dance(options, model, context, heads, batch)
  others, is_other = _others(batch)
  context_other, heads_other = (jnp.roll(x, 1, 0) for x in (context, heads))
  if options.train.joint_steps:
    nll = functools.partial(
      window_nll,
      options,
      sequence.spread(model.wave, mesh),
      label_BS=jnp.zeros_like(batch['label_BS']),
      start_B=last_start(options, batch) // 2,
    )
    shuffled = nll(context_BFC=context_other, batch=others)
    figures['nll'] = nll(context_BFC=context, batch=batch)
    figures['nll_shuffled_pose'] = jnp.where(is_other, shuffled, jnp.nan)
    return figures
  shuffled = _heard_in_dance(options, model, context_other, heads_other, others)
  return figures | {f'{k}_shuffled_pose': v for k, v in shuffled.items()}


def _evaluate_audio(options, graphdef, mesh, params, batch):
  wave = sequence.spread(nnx.merge(graphdef, params).wave, mesh)
  nll = functools.partial(
    window_nll,
    options,
    wave,
    _silent_context(options, batch),
    start_B=last_start(options, batch) // 2,
  )
  label_BS = batch['label_BS']
  others, is_other = _others(batch)
  shuffled = nll(label_BS=jnp.roll(label_BS, 1, axis=0), batch=others)
  return {
    'nll': nll(label_BS=label_BS, batch=batch),
    'nll_unlabelled': nll(label_BS=jnp.zeros_like(label_BS), batch=batch),
    'nll_shuffled_label': jnp.where(is_other, shuffled, jnp.nan),
  }


def _others(batch):
  """Return the batch with sound only where the neighbour is another clip."""
  clip = batch['clip_index_B']
  is_other_B = clip != jnp.roll(clip, 1)
  heard = {'has_audio_B': batch['has_audio_B'] & is_other_B}
  return batch | heard, jnp.any(is_other_B)


def make_eval_step(options: Options, graphdef, mesh):
  """Return `step(params, batch) -> figures`, held out; no label is said.

  `nll_shuffled_pose` gives every clip its neighbour's dance: a model that
  does not listen to the dance has both figures equal. It is not a number
  where all neighbours are the same clip. An audio-only run is told labels,
  and its control is the neighbour's labels.
  """
  is_audio = options.train.is_audio_only
  evaluate = _evaluate_audio if is_audio else _evaluate_dance
  return jax.jit(functools.partial(evaluate, options, graphdef, mesh))
