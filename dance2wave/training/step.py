"""The pure steps: pose alone, everything together, and held-out figures."""

import functools

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from dance2wave.errors import InputError
from dance2wave.models.dance2wave import Dance2Wave
from dance2wave.models.quantise import bend
from dance2wave.options import Options
from dance2wave.pose.clean import CLEAN_DELAY_S
from dance2wave.pose.features import FEATURE_LOOK_AHEAD_FRAMES
from dance2wave.training.losses import (
  head_losses,
  masked_mean,
  sum_head_losses,
  wave_nll,
)
from dance2wave.training.state import TrainState


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
  }
  return Dance2Wave(pose=pose, wave=wave, rngs=nnx.Rngs(key))


def split_model(options: Options, motion_dim: int):
  """Return the graph of the model and a function from a key to parameters."""
  make = functools.partial(make_model, options, motion_dim)
  abstract = nnx.eval_shape(lambda: make(jax.random.key(0)))
  graphdef = nnx.split(abstract)[0]

  def init(key):
    return nnx.to_pure_dict(nnx.state(make(key), nnx.Param))

  return graphdef, init


def cut_window(options: Options, context_BFC, batch, start_B):
  """Cut the same window of time from context and sound.

        context   f0 .. f0 + n      n + 1 frames, the last closes
        audio     f0 .. f0 + n      n x samples_per_frame samples
        past      the same, one sample earlier
        mask      the receptive field at the window's start is not scored,
                  except at the start of the crop, where nothing came before

  Returns a dict of context, audio, past and mask.
  """
  hop, lead = options.samples_per_frame, options.receptive_frames
  frames = options.window_frames
  audio_BT = batch['audio_BT']
  delayed = jnp.pad(audio_BT, ((0, 0), (1, 0)))[:, :-1]

  def cut(x, start, length):
    return jax.lax.dynamic_slice_in_dim(x, start, length)

  cut_all = jax.vmap(cut, in_axes=(0, 0, None))
  valid = cut_all(batch['valid_BF'], start_B, frames)
  scored = (jnp.arange(frames)[None] >= lead) | (start_B[:, None] == 0)
  mask = valid & scored & batch['has_audio_B'][:, None]
  return {
    'context': cut_all(context_BFC, start_B, frames + 1),
    'audio': cut_all(audio_BT, start_B * hop, frames * hop),
    'past': cut_all(delayed, start_B * hop, frames * hop),
    'mask': jnp.repeat(mask, hop, axis=1),
  }


def _last_start(options, batch):
  """Return the last window start (B,) that keeps within each clip."""
  valid = jnp.sum(batch['valid_BF'], axis=1)
  return jnp.maximum(valid - options.window_frames - 1, 0)


def _draw_start(options, key, batch):
  """Draw window starts; the crop's own start as often as a lead of frames."""
  last = _last_start(options, batch)
  start = jax.random.randint(
    key, last.shape, -options.receptive_frames, last + 1
  )
  return jnp.maximum(start, 0)


def _nll(options, wave, context_BFC, style_B, batch, start_B):
  window = cut_window(options, context_BFC, batch, start_B)
  condition = wave.condition(window['context'], style_B)
  past = bend(window['past'], options.wave.levels).astype(condition.dtype)
  return wave_nll(
    wave(past, condition),
    window['audio'],
    window['mask'],
    levels=options.wave.levels,
    is_mixture=options.wave.output == 'mixture',
  )


def _joint_loss(options, graphdef, params, batch, key):
  model = nnx.merge(graphdef, params)
  start_key, context_key, style_key, dropout_key = jax.random.split(key, 4)
  motion = batch['motion_BFM'].astype(options.train.compute_dtype)
  rngs = nnx.Rngs(dropout=dropout_key)
  context, heads = model.listen(motion, batch['valid_BF'], rngs)
  losses = head_losses(heads, batch)
  clips = (motion.shape[0],)
  kept = jax.random.uniform(context_key, clips) >= options.train.context_dropout
  context = context * kept[:, None, None].astype(context.dtype)
  said = jax.random.uniform(style_key, clips) >= options.train.style_dropout
  style = jnp.where(said, batch['style_B'], -1)
  start = _draw_start(options, start_key, batch)
  nll = _nll(options, model.wave, context, style, batch, start)
  total = nll + options.train.heads_weight * sum_head_losses(losses)
  return total, {'nll': nll, **losses}


def _pose_loss(options, graphdef, params, batch, key):
  model = nnx.merge(graphdef, params)
  motion = batch['motion_BFM'].astype(options.train.compute_dtype)
  _, heads = model.pose(motion, batch['valid_BF'], nnx.Rngs(dropout=key))
  losses = head_losses(heads, batch)
  return sum_head_losses(losses), losses


def _update(loss_fn, optimizer, ema_decay, state, batch, key):
  key = jax.random.fold_in(key, state.step)
  grad_fn = jax.value_and_grad(loss_fn, has_aux=True)
  (loss, figures), grads = grad_fn(state.params, batch, key)
  updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
  params = optax.apply_updates(state.params, updates)
  # The average forgets the first, bad weights sooner than ema_decay alone.
  decay = jnp.minimum(ema_decay, (1.0 + state.step) / (10.0 + state.step))
  ema = optax.incremental_update(params, state.ema, 1.0 - decay)
  state = TrainState(
    step=state.step + 1, params=params, ema=ema, opt_state=opt_state
  )
  figures = {'loss': loss, 'grad_norm': optax.tree.norm(grads), **figures}
  return state, figures


def make_train_step(options: Options, graphdef, optimizer, *, is_joint: bool):
  """Return `step(state, batch, key) -> (state, figures)`, compiled."""
  loss = _joint_loss if is_joint else _pose_loss
  loss_fn = functools.partial(loss, options, graphdef)
  update = functools.partial(
    _update, loss_fn, optimizer, options.train.ema_decay
  )
  return jax.jit(update, donate_argnums=0)


def _evaluate(options, graphdef, params, batch):
  model = nnx.merge(graphdef, params)
  motion = batch['motion_BFM'].astype(options.train.compute_dtype)
  context, heads = model.listen(motion, batch['valid_BF'])
  nll = functools.partial(
    _nll,
    options,
    model.wave,
    style_B=jnp.full(motion.shape[:1], -1),
    start_B=_last_start(options, batch) // 2,
  )
  clip = batch['clip_index_B']
  is_other = clip != jnp.roll(clip, 1)
  others = batch | {'has_audio_B': batch['has_audio_B'] & is_other}
  shuffled = nll(context_BFC=jnp.roll(context, 1, axis=0), batch=others)
  angle = 2 * jnp.pi * batch['beat_phase_BF']
  phase = heads[..., 4:].astype(jnp.float32)
  turned = phase[..., 0] * jnp.cos(angle) + phase[..., 1] * jnp.sin(angle)
  length = jnp.sqrt(jnp.sum(phase**2, -1) + 1e-6)
  known = batch['valid_BF'] & (batch['beat_phase_BF'] >= 0)
  return {
    'nll': nll(context_BFC=context, batch=batch),
    'nll_shuffled_pose': jnp.where(jnp.any(is_other), shuffled, jnp.nan),
    'phase_cosine': masked_mean(turned / length, known),
    **head_losses(heads, batch),
  }


def make_eval_step(options: Options, graphdef):
  """Return `step(params, batch) -> figures`: held-out, style not said.

  `nll_shuffled_pose` gives every clip its neighbour's dance: a model that
  does not listen to the dance has both figures equal. It is not a number
  where all neighbours are the same clip.
  """
  return jax.jit(functools.partial(_evaluate, options, graphdef))
