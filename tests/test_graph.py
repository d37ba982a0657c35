"""The pose encoder over the skeleton's graph."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from noise_models import at_once
from small_config import options_with
from test_models import FRAMES, MOTION_DIM, make_pose, stream

from dance2wave.models.graph import (
  GraphConv,
  GraphEmbedding,
  JointGraph,
  adjacency,
)
from dance2wave.pose import features
from dance2wave.pose.skeleton import CORE14_EDGES
from dance2wave.training import optimizer, sharding, step
from dance2wave.training.state import first_match, leaf_name

NECK = 1
CORE14 = JointGraph(CORE14_EDGES, NECK, features.joint_columns())
# A bent line of three joints with two features each; the last is of none.
LINE = JointGraph(((0, 1), (2, 1)), 0, ((0, 3), (1, 4), (2, 5)))


def normal(seed, *shape):
  return jax.random.normal(jax.random.key(seed), shape)


def test_a_joint_takes_the_mean_of_itself_and_of_nearer_and_farther_ones():
  same, nearer, farther = adjacency(CORE14)
  np.testing.assert_allclose((same + nearer + farther).sum(1), 1, rtol=1e-6)
  assert (np.diag(same) > 0).all() and np.count_nonzero(same) == 14
  # The elbow (3) has the shoulder (2) towards the neck, the wrist (4) beyond.
  assert np.flatnonzero(nearer[3]).tolist() == [2]
  assert np.flatnonzero(farther[3]).tolist() == [4]
  assert not nearer[NECK].any() and np.count_nonzero(farther[NECK]) == 5
  np.testing.assert_array_equal(nearer > 0, (farther > 0).T)


def test_joints_as_far_from_the_centre_are_one_part():
  triangle = JointGraph(((0, 1), (0, 2), (1, 2)), 0, ((0,), (1,), (2,)))
  same, nearer, farther = adjacency(triangle)
  np.testing.assert_allclose(3 * same, [[1, 0, 0], [0, 1, 1], [0, 1, 1]])
  np.testing.assert_allclose(3 * nearer, [[0, 0, 0], [1, 0, 0], [1, 0, 0]])
  np.testing.assert_allclose(3 * farther, [[0, 1, 1], [0, 0, 0], [0, 0, 0]])


def test_each_joint_has_the_features_that_its_own_movement_changes():
  pose = np.random.default_rng(0).uniform(0.50, 0.51, (9, 14, 3))
  before = features.motion_features(pose, 25)
  shared = slice(6 * 14, 6 * 14 + 2 * features.NUM_DIRECTIONS)
  for joint, columns in enumerate(features.joint_columns()):
    moved = pose.copy()
    moved[4, joint] *= 0.999
    changed = (features.motion_features(moved, 25) != before).any(0)
    changed[shared] = False
    assert set(np.flatnonzero(changed)) == set(columns)


def test_a_graph_convolution_is_the_sum_of_its_definition():
  conv = GraphConv(2, 5, graph=LINE, rngs=nnx.Rngs(0))
  conv.edges[...] = normal(1, 3, 3, 3)
  conv.parts.bias[...] = normal(2, 5)
  x = normal(3, 4, 6, 3, 2)
  taken = adjacency(LINE) * conv.edges[...]
  kernel = conv.parts.kernel[...].reshape(3, 2, 5)
  expected = jnp.einsum('kvu,bfui,kio->bfvo', taken, x, kernel)
  got = conv(x)
  bias = np.asarray(conv.parts.bias[...])
  np.testing.assert_allclose(got, np.asarray(expected) + bias, atol=1e-5)
  np.testing.assert_allclose(conv(x[:, 2]), got[:, 2], atol=1e-6)


def test_a_joint_hears_its_neighbours_alone():
  conv = GraphConv(7, 4, graph=CORE14, rngs=nnx.Rngs(0))
  call, x = jax.jit(conv.__call__), normal(0, 14, 7)
  for joint in range(14):
    changed = call(x) != call(x.at[joint].add(1.0))
    linked = {v for edge in CORE14_EDGES if joint in edge for v in edge}
    assert set(np.flatnonzero(changed.any(-1))) == linked


def test_the_order_of_joints_does_not_matter_to_a_graph_convolution():
  conv = GraphConv(7, 4, graph=CORE14, rngs=nnx.Rngs(0))
  order = np.random.default_rng(0).permutation(14)
  place = np.argsort(order)
  edges = tuple((int(place[v]), int(place[u])) for v, u in CORE14_EDGES)
  renamed = dataclasses.replace(CORE14, edges=edges, centre=int(place[NECK]))
  other = GraphConv(7, 4, graph=renamed, rngs=nnx.Rngs(0))
  x = normal(0, 14, 7)
  np.testing.assert_allclose(conv(x)[order], other(x[order]), atol=1e-5)


def test_what_is_of_no_joint_is_embedded_too():
  embed = GraphEmbedding(7, 8, graph=LINE, rngs=nnx.Rngs(0))
  call, motion = jax.jit(embed.__call__), normal(0, 2, 5, 7)
  for column in range(7):
    changed = call(motion) != call(motion.at[..., column].add(1.0))
    assert changed.any(-1).all()
  bare = GraphEmbedding(6, 8, graph=LINE, rngs=nnx.Rngs(0))
  assert bare(motion[..., :6]).shape == (2, 5, 8)


def test_step_equals_the_whole_sequence():
  model = make_pose(0.4, num_blocks=1, graph=LINE)
  x = normal(0, 2, FRAMES, MOTION_DIM)
  valid = jnp.arange(FRAMES)[None] < jnp.array([FRAMES, 41])[:, None]
  whole, steps = at_once(model, x, valid)[0], stream(model, x, valid)
  np.testing.assert_allclose(
    np.where(valid[..., None], whole, 0),
    np.where(valid[..., None], steps, 0),
    atol=1e-5,
  )


def parameters(**changes):
  _, init = step.split_model(options_with(**changes), features.MOTION_DIM)
  leaves = jax.tree_util.tree_flatten_with_path(jax.eval_shape(init, KEY))[0]
  return {leaf_name(path): leaf for path, leaf in leaves}


KEY = jax.random.key(0)


def test_only_the_embedding_has_other_parameters():
  plain, graph = parameters(), parameters(pose__encoder='st_gcn')
  assert all('/embed/' in name for name in plain.keys() ^ graph.keys())
  assert 'pose/embed/convs/0/edges' in graph
  assert all(
    plain[name].shape == graph[name].shape
    for name in plain.keys() & graph.keys()
  )


def test_its_matrices_are_split_and_decayed_and_its_edges_are_not():
  for name, leaf in parameters(pose__encoder='st_gcn').items():
    spec = first_match(sharding.RULES, name, 'rules')
    assert len(spec) <= leaf.ndim
    if '/embed/' in name:
      is_matrix = name.endswith('kernel')
      assert bool(len(spec)) == is_matrix, name
      assert first_match(optimizer.DECAY_RULES, name, 'rules') == is_matrix
      assert first_match(optimizer.MATRIX_RULES, name, 'rules') is None
