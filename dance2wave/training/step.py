"""The pure steps of training: pose alone, and everything together."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from dance2wave.models.dance2wave import num_told
from dance2wave.models.parts import WHOLE, Draws, Part
from dance2wave.options import Options
from dance2wave.training import sequence, sharding
from dance2wave.training.bands import bands_and_loss
from dance2wave.training.contrast import add_contrast, contrast_losses
from dance2wave.training.losses import (
  features_loss,
  head_losses,
  style_losses,
  sum_head_losses,
)
from dance2wave.training.new_model import make_model
from dance2wave.training.prompts import draw_controls, drop_label
from dance2wave.training.self_fed import self_fed_share
from dance2wave.training.state import all_finite
from dance2wave.training.window import draw_start, sound_losses


def split_model(options: Options, motion_dim: int):
  """Return the graph of the model and a function from a key to parameters."""
  make = functools.partial(make_model, options, motion_dim)
  abstract = nnx.eval_shape(lambda: make(jax.random.key(0)))
  graphdef = nnx.split(abstract)[0]

  def init(key):
    return nnx.to_pure_dict(nnx.state(make(key), nnx.Param))

  return graphdef, init


def described(options, model, context_BFC, batch, part=WHOLE):
  """Return the losses of what the context of a part tells beside rhythm."""
  mine, context_BFC = part.of(batch), context_BFC[..., : options.pose.width]
  losses = contrast_losses(options, model, context_BFC, batch, part)
  if 'style' in options.pose.describes:
    logits_BS = model.pose.describe_style(context_BFC, mine['valid_BF'])
    losses |= style_losses(logits_BS, mine['label_BS'], batch['label_BS'])
  if 'audio_features' in options.pose.describes:
    features_BFA = model.pose.describe_features(context_BFC)
    losses |= features_loss(features_BFA, mine, batch)
  return losses


def silent_context(options, batch):
  """Return a context that says nothing, for a WaveNet without a dance."""
  wave = options.wave
  width = options.pose.width + num_told(wave.hears_heads, wave.hears_pulse)
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
  return context, losses | described(options, model, context, batch, part)


def _losses_of_sound(options, mesh, wave, context, batch, keys, part, self_fed):
  """Return the losses of the WaveNet; keys are of labels, starts and sound."""
  label_key, start_key, sound_key = keys
  return sound_losses(
    options,
    mesh,
    sequence.spread(wave, mesh),
    context,
    part.of(drop_label(options, label_key, batch['label_BS'])),
    batch,
    draw_start(options, start_key, batch),
    sound_key,
    part,
    self_fed,
  )


def _joint_loss(
  options, graphdef, mesh, params, batch, key, part=WHOLE, self_fed=None
):
  """Return what the clips of a part add to the loss and figures of a batch.

  `self_fed` is the share of the past that the WaveNet draws itself, if any.
  """
  model = nnx.merge(graphdef, params)
  start_key, context_key, label_key, dropout_key = jax.random.split(key, 4)
  sound_key, controls_key = (jax.random.fold_in(key, n) for n in (1, 2))
  context, losses = _listen_in_training(
    options, model, batch, part, controls_key, dropout_key
  )
  clips = batch['valid_BF'].shape[:1]
  kept = jax.random.uniform(context_key, clips) >= options.train.context_dropout
  context = context * part.of(kept)[:, None, None].astype(context.dtype)
  keys = label_key, start_key, sound_key
  losses |= _losses_of_sound(
    options, mesh, model.wave, context, batch, keys, part, self_fed
  )
  heads_weight = options.train.heads_weight
  total = losses['nll'] + heads_weight * sum_head_losses(losses)
  return add_contrast(options, total, losses), losses


def _pose_loss(options, graphdef, mesh, params, batch, key, part=WHOLE):
  """Return the same of a step that trains the pose transformer alone."""
  model = nnx.merge(graphdef, params)
  dropout_key, label_key, controls_key = jax.random.split(key, 3)
  context, losses = _listen_in_training(
    options, model, batch, part, controls_key, dropout_key
  )
  if options.wave.num_bands:
    label = part.of(drop_label(options, label_key, batch['label_BS']))
    losses |= bands_and_loss(
      options, mesh, model.wave, context, label, batch, part
    )[-1]
  total = add_contrast(options, sum_head_losses(losses), losses)
  return total, losses


def _audio_loss(
  options, graphdef, mesh, params, batch, key, part=WHOLE, self_fed=None
):
  """Return the same of a step that trains the WaveNet alone."""
  wave = nnx.merge(graphdef, params).wave
  start_key, _, label_key, _ = jax.random.split(key, 4)
  keys = label_key, start_key, jax.random.fold_in(key, 1)
  context = part.of(silent_context(options, batch))
  losses = _losses_of_sound(
    options, mesh, wave, context, batch, keys, part, self_fed
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

  # To begin with the first part would be to compile, and to hold, two of them.
  shapes = jax.eval_shape(one_part, jnp.int32(0))
  nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
  return jax.lax.scan(add, nothing, jnp.arange(accumulate))[0]


def _loss_at(options, graphdef, mesh, is_joint, step):
  """Return the loss of a step of a stage, `(params, batch, key, part)`."""
  if not is_joint:
    return functools.partial(_pose_loss, options, graphdef, mesh)
  loss = _audio_loss if options.train.is_audio_only else _joint_loss
  share = self_fed_share(options, step)
  return functools.partial(loss, options, graphdef, mesh, self_fed=share)


def _improved(optimizer, train, state, grads, grad_norm):
  """Return what a step against the gradients makes of it, under its number."""
  updates, opt_state = optimizer.update(
    grads,
    state.opt_state,
    state.params,
    grad_norm=grad_norm,
    step=state.step,
  )
  params = optax.apply_updates(state.params, updates)
  # The average forgets the first, bad weights sooner than ema_decay alone.
  decay = jnp.minimum(train.ema_decay, (1.0 + state.step) / (10.0 + state.step))
  ema = optax.incremental_update(params, state.ema, 1.0 - decay)
  return dataclasses.replace(state, params=params, ema=ema, opt_state=opt_state)


def _update(loss_at, optimizer, train, state, batch, key):
  key, loss_fn = jax.random.fold_in(key, state.step), loss_at(state.step)
  (loss, figures), grads = _gradients(
    loss_fn, train.accumulate, state.params, batch, key
  )
  grad_norm = optax.tree.norm(grads)
  # An odd target may become a finite loss, so that the batch counts as well.
  is_good = all_finite((loss, grad_norm, batch))
  # A choice for each leaf would have XLA test `is_good` in every fused loop.
  improve = functools.partial(_improved, optimizer, train)
  state = jax.lax.cond(
    is_good, improve, lambda kept, *_: kept, state, grads, grad_norm
  )
  state = dataclasses.replace(state, step=state.step + 1)
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
  loss_at = functools.partial(_loss_at, options, graphdef, mesh, is_joint)

  def update(state, batch, key):
    state, figures = _update(
      loss_at, optimizer, options.train, state, batch, key
    )
    # Left to the compiler, some of it would be split otherwise, and the next
    # step another program than the first one, and than that of a resumed run.
    places = sharding.shardings(state, mesh)
    return jax.lax.with_sharding_constraint(state, places), figures

  return jax.jit(update, donate_argnums=0)
