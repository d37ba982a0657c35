"""Parts of a batch that draw the same random numbers as the whole.

A batch that is taken part by part, to save memory, gives each clip what it
would have been given in the whole batch:

    clips of the batch     0  1  2  3  4  5
    part 0 of 2            0     2     4
    part 1 of 2               1     3     5
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx


@dataclasses.dataclass(frozen=True)
class Part:
  """Every `count`-th clip of a batch, from `index` on.

  Attributes:
    index: 0 to count - 1, an int or () int32.
    count: into how many parts the batch is taken.
  """

  index: int | jax.Array = 0
  count: int = 1

  def of(self, tree):
    """Return the rows (B / count, ...) of all arrays (B, ...) of a tree.

    A batch that is split over devices stays so, as every device gives its
    own clips.
    """
    if self.count == 1:
      return tree
    return jax.tree.map(self._rows, tree)

  def _rows(self, x):
    rows = x.reshape(x.shape[0] // self.count, self.count, *x.shape[1:])
    return jax.lax.dynamic_index_in_dim(rows, self.index, 1, keepdims=False)


WHOLE = Part()


class Draws:
  """Draws of one pass over a part of a batch; each call draws anew.

  What a clip is given depends on the key, the call and the clip's place in
  the whole batch: not on the part, nor on the mesh.

  Args:
    key: of the pass.
    part: which clips pass.
  """

  def __init__(self, key, part=WHOLE):
    self._key, self._part, self._calls = key, part, 0

  def keep(self, share, shape):
    """Draw True with probability `share`, of `shape` (B / count, ...)."""
    key = jax.random.fold_in(self._key, self._calls)
    self._calls += 1
    whole = (shape[0] * self._part.count, *shape[1:])
    return self._part.of(jax.random.bernoulli(key, share, whole))


class Dropout(nnx.Module):
  """Zero a share `rate` of values and scale the rest, while training."""

  def __init__(self, rate):
    self.rate = rate

  def __call__(self, x, draws=None):
    """Map (B, ...) to the same shape; `draws` None drops nothing."""
    if draws is None or self.rate == 0.0:
      return x
    kept = draws.keep(1.0 - self.rate, x.shape)
    return jnp.where(kept, x / (1.0 - self.rate), jnp.zeros_like(x))
