"""Muon for matrices, Adam for the rest; warm-up, cosine decay and clipping.

Which parameter is a matrix and which is decayed is told by its name.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from optax.contrib import MuonDimensionNumbers, scale_by_muon

from dance2wave.errors import InputError
from dance2wave.training.state import first_match, leaf_name

# Kernels are decayed; biases, norms' scales, the style table and the weights of
# a skeleton's edges are not.
DECAY_RULES = (
  (r'(^|/)(bias|taps_bias|scale|style|edges)$', False),
  (r'(^|/)(kernel|taps|residual)$', True),
)

# Axes of input and output of what Muon makes orthogonal; what stands before
# them is a stack of matrices. Biases, scales, tables and the layers at both
# ends get Adam (Jordan 2024), and so do the pose transformer, which learns the
# phase of the beat worse with Muon, and what compares it to the sound.
MATRIX_RULES = (
  (r'(^|/)(pose|match)/', None),
  (r'(^|/)(bias|taps_bias|scale|style)$', None),
  (r'(^|/)(embed|logits)/kernel$', None),
  (r'(^|/)kernel$', MuonDimensionNumbers(0, 1)),
  (r'(^|/)(taps|residual)$', MuonDimensionNumbers(1, 2)),
)
# For `train.optimizer` 'adam': nothing is a matrix.
NO_MATRICES = (('', None),)
# Root mean square of a matrix's update in units of the learning rate. Adam's
# own is near 0.2 (Liu et al. 2025, eq. 4); small models want more.
_MATRIX_RMS = 1.6


def make_schedule(
  *,
  learning_rate: float,
  warmup_steps: int,
  num_steps: int,
  final_fraction: float = 0.05,
) -> Callable:
  """Return the learning rate as a function of the updates made so far.

      peak    ____
             /    `-.
            /        `._____ peak x final_fraction
           0  warmup   num_steps

  Warm-up starts at peak / (warmup_steps + 1), so that no update is empty.

  Raises:
    InputError: warm-up is as long as the run.
  """
  if not 0 <= warmup_steps < num_steps:
    raise InputError(
      f'train.warmup_steps={warmup_steps} in a stage of {num_steps} steps; '
      f'expected 0 to {num_steps - 1}; set --config.train.warmup_steps'
    )

  def schedule(step):
    warmth = jnp.minimum((step + 1) / (warmup_steps + 1), 1.0)
    done = (step - warmup_steps) / (num_steps - warmup_steps)
    cosine = 0.5 + 0.5 * jnp.cos(jnp.pi * jnp.clip(done, 0.0, 1.0))
    fraction = final_fraction + (1.0 - final_fraction) * cosine
    return learning_rate * warmth * fraction

  return schedule


def decay_mask(params, rules=DECAY_RULES):
  """Return the tree of booleans: whether weight decay acts on a parameter.

  Raises:
    InputError: a parameter is covered by no rule.
  """
  return jax.tree_util.tree_map_with_path(
    lambda path, _: first_match(
      rules, leaf_name(path), 'the weight decay rules'
    ),
    params,
  )


def _axes(rules, path):
  """Return the axes of a parameter's matrices, None where it has none."""
  return first_match(rules, leaf_name(path), 'the matrix rules')


def _muon(rules) -> optax.GradientTransformation:
  """Give matrices orthogonal updates of the root mean square that is wanted.

  Newton and Schulz's iterations keep the momentum's directions and make all
  of them equally long; the root mean square of an orthogonal (I, O) matrix is
  1 / sqrt(max(I, O)).
  """
  with_path = jax.tree_util.tree_map_with_path

  def scale(path, update):
    axes = _axes(rules, path)
    longest = max(update.shape[axes[0]], update.shape[axes[1]])
    return _MATRIX_RMS * longest**0.5 * update

  return optax.chain(
    scale_by_muon(
      weight_dimension_numbers=lambda params: with_path(
        lambda path, _: _axes(rules, path), params
      )
    ),
    optax.stateless(lambda updates, _: with_path(scale, updates)),
  )


def _clip(clip_norm) -> optax.GradientTransformationExtraArgs:
  """Scale gradients down to a norm.

  Their own is found unless `update` is given it as `grad_norm`, by a step that
  has asked already whether its gradients are numbers.
  """

  def update(updates, state, params=None, *, grad_norm=None, **others):
    del params, others
    if grad_norm is None:
      grad_norm = optax.tree.norm(updates)
    factor = clip_norm / jnp.maximum(grad_norm, clip_norm)
    return jax.tree.map(lambda x: x * factor, updates), state

  return optax.GradientTransformationExtraArgs(
    lambda _: optax.EmptyState(), update
  )


def _scale_by_schedule(schedule) -> optax.GradientTransformationExtraArgs:
  """Scale updates by minus the rate at a step.

  It counts by itself unless `update` is given the `step`, by a loop in which
  some steps are left out, and no update made of them.
  """

  def update(updates, state, params=None, *, step=None, **others):
    del params, others
    step = state.count if step is None else step
    rate = -schedule(step)
    updates = jax.tree.map(lambda x: jnp.asarray(rate, x.dtype) * x, updates)
    return updates, optax.ScaleByScheduleState(optax.safe_increment(step))

  return optax.GradientTransformationExtraArgs(
    lambda _: optax.ScaleByScheduleState(jnp.zeros((), jnp.int32)), update
  )


def make_optimizer(
  schedule: Callable,
  *,
  weight_decay: float,
  clip_norm: float,
  b1: float = 0.9,
  b2: float = 0.99,
  decay_mask_rules=DECAY_RULES,
  matrix_rules=MATRIX_RULES,
) -> optax.GradientTransformationExtraArgs:
  """Return Muon and Adam with decoupled decay, after clipping by global norm.

  Its `update` takes that norm as `grad_norm` from whoever knows it, and the
  number of the step as `step` where some steps are left out.

  Muon (Jordan 2024) updates matrices by the nearest orthogonal matrix of
  their momentum; docs/ablations.md says what that gains. The rest gets Adam
  (Kingma and Ba 2015); decay is that of AdamW (Loshchilov and Hutter 2019).

  Args:
    schedule: the learning rate as a function of the steps made so far.
    weight_decay: times the rate, taken off decayed parameters each update.
    clip_norm: largest norm that all gradients together may have.
    b1: of Adam, decay of the mean of gradients.
    b2: of Adam, decay of the mean of squared gradients.
    decay_mask_rules: ordered (regex, bool) pairs over parameter names.
    matrix_rules: ordered (regex, axes or None) pairs; `NO_MATRICES` gives
      everything to Adam.

  Raises:
    InputError: from `init`, a parameter that no rule covers.
  """

  def kinds(params):
    return jax.tree_util.tree_map_with_path(
      lambda path, _: 'muon' if _axes(matrix_rules, path) else 'adam', params
    )

  return optax.chain(
    _clip(clip_norm),
    optax.partition(
      {'muon': _muon(matrix_rules), 'adam': optax.scale_by_adam(b1=b1, b2=b2)},
      kinds,
    ),
    optax.add_decayed_weights(
      weight_decay, lambda params: decay_mask(params, decay_mask_rules)
    ),
    _scale_by_schedule(schedule),
  )


def join_schedules(first: Callable, second: Callable, boundary: int):
  """Return `first` until `boundary` updates, then `second` from its start."""
  return lambda step: jnp.where(
    step < boundary, first(step), second(step - boundary)
  )
