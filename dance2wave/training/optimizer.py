"""AdamW with warm-up, cosine decay and clipping; what is decayed, by name."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from dance2wave.errors import InputError
from dance2wave.training.state import first_match, leaf_name

# Kernels are decayed; biases, norms' scales and the style table are not.
DECAY_RULES = (
  (r'(^|/)(bias|taps_bias|scale|style)$', False),
  (r'(^|/)(kernel|taps|residual)$', True),
)


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


def make_optimizer(
  schedule: Callable,
  *,
  weight_decay: float,
  clip_norm: float,
  b1: float = 0.9,
  b2: float = 0.99,
  decay_mask_rules=DECAY_RULES,
) -> optax.GradientTransformation:
  """Return AdamW (Loshchilov and Hutter 2019) after clipping by global norm.

  Args:
    schedule: the learning rate as a function of the updates made so far.
    weight_decay: times the rate, taken off decayed parameters each update.
    clip_norm: largest norm that all gradients together may have.
    b1: decay of the mean of gradients.
    b2: decay of the mean of squared gradients.
    decay_mask_rules: ordered (regex, bool) pairs over parameter names.

  Raises:
    InputError: from `init`, a parameter that no rule covers.
  """
  adamw = optax.adamw(
    schedule,
    b1=b1,
    b2=b2,
    weight_decay=weight_decay,
    mask=lambda params: decay_mask(params, decay_mask_rules),
  )
  return optax.chain(optax.clip_by_global_norm(clip_norm), adamw)


def join_schedules(first: Callable, second: Callable, boundary: int):
  """Return `first` until `boundary` updates, then `second` from its start."""
  return lambda step: jnp.where(
    step < boundary, first(step), second(step - boundary)
  )
