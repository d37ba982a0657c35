"""The pure step of held-out figures, each beside its control."""

import functools

import jax
import jax.numpy as jnp
from flax import nnx

from dance2wave.models.pose_transformer import PHASE
from dance2wave.options import Options
from dance2wave.training import sequence
from dance2wave.training.losses import head_losses, masked_mean
from dance2wave.training.step import described, silent_context
from dance2wave.training.window import last_start, window_nll


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
    **described(options, model, context, batch),
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
      mesh,
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
    mesh,
    wave,
    silent_context(options, batch),
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
  and its control is the neighbour's labels. `mesh` is that of the batch.
  """
  is_audio = options.train.is_audio_only
  evaluate = _evaluate_audio if is_audio else _evaluate_dance
  return jax.jit(functools.partial(evaluate, options, graphdef, mesh))
