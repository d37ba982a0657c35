"""The train state, and choices for its leaves by name."""

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from dance2wave.errors import InputError


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
  """Everything that a resumed run starts from.

  Attributes:
    step: () int32, updates made so far.
    params: nested dict of arrays; lists of layers have int keys.
    ema: moving average of params, the same tree.
    opt_state: of the optax transformation.
  """

  step: jax.Array
  params: dict
  ema: dict
  opt_state: Any


def _finite_by_name(tree) -> dict[str, jax.Array]:
  return {
    leaf_name(path): jnp.all(jnp.isfinite(leaf))
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]
    if jnp.issubdtype(leaf.dtype, jnp.floating)
  }


def all_finite(tree) -> jax.Array:
  """Return () bool: no leaf holds a NaN or an infinity; integers never do."""
  return jnp.all(jnp.stack([*_finite_by_name(tree).values()]))


def not_finite(tree) -> list[str]:
  """Return the names of the leaves that hold a NaN or an infinity."""
  flags = jax.device_get(jax.jit(_finite_by_name)(tree))
  return [name for name, is_finite in flags.items() if not is_finite]


def leaf_name(path) -> str:
  """Return a leaf's name, such as 'params/pose/layers/0/taps/kernel'."""
  return jax.tree_util.keystr(path, simple=True, separator='/')


def first_match(rules: Sequence[tuple[str, Any]], name: str, table: str):
  """Return the value of the first rule whose regex is found in name.

  Args:
    rules: ordered (regex, value) pairs.
    name: of a leaf, from `leaf_name`.
    table: what the rules are called, for the error.

  Raises:
    InputError: no rule covers the name.
  """
  for pattern, value in rules:
    if re.search(pattern, name):
      return value
  raise InputError(
    f'parameter {name} is covered by no rule of {table}; expected one of its '
    'regexes to be found in the name; add a (regex, value) pair for it'
  )
