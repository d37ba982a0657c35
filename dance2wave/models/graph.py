"""Spatial graph convolutions over a skeleton's joints.

    frame's motion ──> joints (J, P) ── graph convolutions ──> joints (J, C) ─┐
                   └─> what is of no joint ── matrix ────────────────────────┴─> embedding

The spatial half of ST-GCN (Yan et al. 2018, sections 3.3 and 3.6; a pose
encoder in Ferreira et al. 2021, 'Learning to Dance'). It is per frame; what
follows in time is up to the caller.
"""  # noqa: E501

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dance2wave.models.layers import Dense, RMSNorm

# Itself and joints as far from the centre, nearer joints, farther joints.
NUM_PARTS = 3
_CHANNELS = 16
# As many as the bones from the neck to a wrist or an ankle.
_NUM_BLOCKS = 3


@dataclasses.dataclass(frozen=True)
class JointGraph:
  """A skeleton as a graph, and where its joints are in motion features.

  Attributes:
    edges: bones as pairs of joints, in either direction.
    centre: the joint from which distances are counted.
    columns: for each joint, which motion features are its own.
  """

  edges: tuple[tuple[int, int], ...]
  centre: int
  columns: tuple[tuple[int, ...], ...]


def _distances(neighbours, centre):
  """Return how many bones each joint is from the centre."""
  distance, reached = {centre: 0}, [centre]
  for joint in reached:
    new = [n for n in np.flatnonzero(neighbours[joint]) if n not in distance]
    distance |= dict.fromkeys(new, distance[joint] + 1)
    reached += new
  return np.array([distance[j] for j in range(len(neighbours))])


@functools.lru_cache(maxsize=8)
def adjacency(graph: JointGraph) -> np.ndarray:
  """Return (K, J, J) float32: what joint v takes of joint u in part k.

  Each joint takes the mean of itself and its neighbours, in three parts by
  their distance from the centre (Yan et al. 2018, eq. 8 and section 3.3).
  """
  joints = len(graph.columns)
  neighbours = np.eye(joints, dtype=bool)
  for v, u in graph.edges:
    neighbours[v, u] = neighbours[u, v] = True
  distance = _distances(neighbours, graph.centre)
  nearer = np.sign(distance[None, :] - distance[:, None])
  mean = neighbours / neighbours.sum(axis=1, keepdims=True)
  parts = [mean * (nearer == sign) for sign in (0, -1, 1)]
  return np.stack(parts).astype(np.float32)


class GraphConv(nnx.Module):
  """One spatial graph convolution with learned weights of the edges.

      y_v = bias + sum over k, u of  A_kvu edges_kvu x_u W_k

  All of it is folded into one (J I, J O) matrix, which is the fastest form:
  joints and channels are few and frames are many.
  """

  def __init__(self, dim_in, dim_out, *, graph, rngs):
    self.graph, self.dim_out = graph, dim_out
    # A mean over three or so joints has a third of their variance.
    self.parts = Dense(
      NUM_PARTS * dim_in, dim_out, rngs=rngs, scale=NUM_PARTS**0.5
    )
    self.edges = nnx.Param(jnp.ones(adjacency(graph).shape))

  def __call__(self, x):
    """Map (..., J, I) to (..., J, O) in the dtype of x."""
    joints, dim_in = x.shape[-2:]
    taken_KJJ = adjacency(self.graph) * self.edges[...]
    kernel_KIO = self.parts.kernel[...].reshape(NUM_PARTS, dim_in, -1)
    folded = jnp.einsum('kvu,kio->uivo', taken_KJJ, kernel_KIO)
    folded = folded.reshape(joints * dim_in, joints * self.dim_out)
    y = x.reshape(-1, joints * dim_in) @ folded.astype(x.dtype)
    y = y.reshape(*x.shape[:-1], self.dim_out)
    bias = self.parts.bias[...].astype(x.dtype)
    return y + bias.reshape((1,) * (x.ndim - 1) + (-1,))


class GraphEmbedding(nnx.Module):
  """Embed a frame's motion joint by joint, and the rest of it beside that.

  Args:
    motion_dim: motion features of a frame.
    width: of the embedding.
    graph: a `JointGraph`.
    rngs: from which parameters are drawn.
  """

  def __init__(self, motion_dim, width, *, graph, rngs):
    of_joints = {column for columns in graph.columns for column in columns}
    self.columns = graph.columns
    self.rest = tuple(c for c in range(motion_dim) if c not in of_joints)
    make = functools.partial(GraphConv, graph=graph, rngs=rngs)
    self.first = make(len(graph.columns[0]), _CHANNELS)
    self.norms = nnx.List([RMSNorm(_CHANNELS) for _ in range(_NUM_BLOCKS)])
    self.convs = nnx.List(
      [make(_CHANNELS, _CHANNELS) for _ in range(_NUM_BLOCKS)]
    )
    self.joints = Dense(len(graph.columns) * _CHANNELS, width, rngs=rngs)
    if self.rest:
      self.beside = Dense(len(self.rest), width, rngs=rngs)

  def __call__(self, motion):
    """Map motion (..., M) to (..., width)."""
    x = self.first(motion[..., np.array(self.columns)])
    for norm, conv in zip(self.norms, self.convs):
      x = x + conv(jax.nn.silu(norm(x)))
    y = self.joints(x.reshape(*motion.shape[:-1], -1))
    if self.rest:
      y = y + self.beside(motion[..., np.array(self.rest)])
    return y
