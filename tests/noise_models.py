"""Modules and parameters of noise, and how to call them for little."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dance2wave.training.state import leaf_name


def fill(abstract, seed=0):
  """Return a tree of noise as large as initial weights of these shapes are.

  Nothing has to be compiled for it.
  """
  rng = np.random.default_rng(seed)

  def leaf(path, shaped):
    if len(shaped.shape) < 2:
      fixed = np.ones if leaf_name(path).endswith('scale') else np.zeros
      return jnp.asarray(fixed(shaped.shape, shaped.dtype))
    noise = rng.normal(size=shaped.shape) / shaped.shape[-2] ** 0.5
    return jnp.asarray(noise.astype(shaped.dtype))

  return jax.tree_util.tree_map_with_path(leaf, abstract)


def params_of(init, seed=0):
  """Return noise for what `init(key)` would return."""
  return fill(jax.eval_shape(init, jax.random.key(0)), seed)


def make(cls, *args, **sizes):
  """Return `cls(*args, **sizes)` with weights of noise."""
  abstract = nnx.eval_shape(lambda: cls(*args, **sizes, rngs=nnx.Rngs(0)))
  graphdef, state = nnx.split(abstract)
  return nnx.merge(graphdef, fill(nnx.to_pure_dict(state)))


def at_once(layer, *arguments):
  """Return `layer(*arguments)`, one program instead of one for each step."""
  return jax.jit(layer.__call__)(*arguments)
