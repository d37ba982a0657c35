"""The pure step of held-out figures, each beside its control."""

import functools
import math
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dance2wave.models.pose_transformer import PHASE
from dance2wave.options import Options
from dance2wave.training import sequence
from dance2wave.training.losses import head_losses, heard, known, masked_mean
from dance2wave.training.step import described, silent_context
from dance2wave.training.window import last_start, window_mask, window_nll


def _phase_cosine(heads_BFH, batch):
  """Return the mean cosine between the phase head and the true phase."""
  angle = 2 * jnp.pi * batch['beat_phase_BF']
  phase = heads_BFH[..., PHASE:].astype(jnp.float32)
  turned = phase[..., 0] * jnp.cos(angle) + phase[..., 1] * jnp.sin(angle)
  length = jnp.sqrt(jnp.sum(phase**2, -1) + 1e-6)
  return masked_mean(turned / length, known(batch))


def _heard_in_dance(options, model, context, heads, batch):
  """Return what the heads make of a dance: the losses and the phase."""
  return {
    **head_losses(heads, batch),
    **described(options, model, context, batch),
    'phase_cosine': _phase_cosine(heads, batch),
  }


def _counts(options, batch, start_B):
  """Return of how much each figure of a batch is the mean, others of frames."""
  beats, sound = jnp.sum(known(batch)), jnp.sum(heard(batch))
  labelled = jnp.sum(jnp.any(batch['label_BS'] > 0, axis=1))
  has_features = batch['valid_BF'] & batch['has_features_B'][:, None]
  return {
    **dict.fromkeys(('beat', 'half_beat', 'phase', 'phase_cosine'), beats),
    **dict.fromkeys(('onset', 'level', 'loudness', 'timbre', 'infonce'), sound),
    **dict.fromkeys(('style', 'style_accuracy'), labelled),
    'audio_features': jnp.sum(has_features),
    'nll': jnp.sum(window_mask(options, batch, start_B)),
    'frames': jnp.sum(batch['valid_BF']),
  }


def _with_counts(options, figures, control, batch, others):
  """Return {name: (figure, count)} of figures and those of a control.

  Args:
    options: of the run.
    figures: of the batch, by name.
    control: what is put behind the name of a figure of the control's.
    batch: of the figures.
    others: of the control's.
  """
  start_B = last_start(options, batch) // 2
  own, of_others = (_counts(options, b, start_B) for b in (batch, others))
  found = {}
  for name, value in figures.items():
    plain = name.removesuffix(control)
    counts = own if plain == name else of_others
    count = counts.get(plain.removesuffix('_unlabelled'), counts['frames'])
    found[name] = value, count.astype(jnp.float32)
  return found


def _evaluate_dance(options, graphdef, mesh, params, batch):
  model = nnx.merge(graphdef, params)
  motion = batch['motion_BFM'].astype(options.train.compute_dtype)
  context, heads = model.listen(motion, batch['valid_BF'])
  figures = _heard_in_dance(options, model, context, heads, batch)
  others, control = _others(batch), '_shuffled_pose'
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
    figures['nll'] = nll(context_BFC=context, batch=batch)
    shuffled = {'nll': nll(context_BFC=context_other, batch=others)}
  else:
    shuffled = _heard_in_dance(
      options, model, context_other, heads_other, others
    )
  figures |= {k + control: v for k, v in shuffled.items()}
  return _with_counts(options, figures, control, batch, others)


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
  label_BS, others = batch['label_BS'], _others(batch)
  shuffled = nll(label_BS=jnp.roll(label_BS, 1, axis=0), batch=others)
  figures = {
    'nll': nll(label_BS=label_BS, batch=batch),
    'nll_unlabelled': nll(label_BS=jnp.zeros_like(label_BS), batch=batch),
    'nll_shuffled_label': shuffled,
  }
  return _with_counts(options, figures, '_shuffled_label', batch, others)


def _others(batch):
  """Return the batch with frames only where the neighbour is another clip."""
  clip = batch['clip_index_B']
  is_other_B = clip != jnp.roll(clip, 1)
  return batch | {
    'valid_BF': batch['valid_BF'] & is_other_B[:, None],
    'has_audio_B': batch['has_audio_B'] & is_other_B,
    'label_BS': batch['label_BS'] * is_other_B[:, None],
  }


def mean_over_batches(rows: Sequence[Mapping]) -> dict[str, float]:
  """Return the mean of each figure over all that it is asked of.

  Args:
    rows: of each batch, from the step: {name: (figure, count)}.

  Returns:
    A figure that nothing is known for is not a number.
  """
  means = {}
  for name in rows[0]:
    value_N, count_N = np.array([row[name] for row in rows], float).T
    is_asked_N = count_N > 0
    value_N, count_N = value_N[is_asked_N], count_N[is_asked_N]
    total = count_N.sum()
    means[name] = float(value_N @ count_N / total) if total else math.nan
  return means


def make_eval_step(options: Options, graphdef, mesh):
  """Return a step of held-out figures, compiled; no label is said.

  It is `step(params, batch) -> {name: (figure, count)}`: of how much the figure
  is the mean, 0 where nothing is known, as where no clip has a label.
  `nll_shuffled_pose` gives every clip its neighbour's dance: a model that does
  not listen to the dance has both figures equal. It is asked of clips whose
  neighbours are other ones. An audio-only run is told labels, and its
  control is the neighbour's labels. `mesh` is that of the batch.
  """
  is_audio = options.train.is_audio_only
  evaluate = _evaluate_audio if is_audio else _evaluate_dance
  return jax.jit(functools.partial(evaluate, options, graphdef, mesh))
