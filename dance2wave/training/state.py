"""The train state, and choices for its leaves by name."""

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

import jax

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
