"""The slower stack over frames between the dance and the WaveNet."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from noise_models import at_once, make
from small_config import options_with

from dance2wave.models.context_stack import ContextStack
from dance2wave.pose.features import MOTION_DIM
from dance2wave.training import optimizer, sharding, step, warm_start
from dance2wave.training.state import first_match, leaf_name

KEY = jax.random.key(0)


def make_stack(num_layers):
  return make(ContextStack, 6, num_layers=num_layers)


def normal(seed, *shape):
  return jax.random.normal(jax.random.key(seed), shape)


def named(tree):
  leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
  return {leaf_name(path): leaf for path, leaf in leaves}


@functools.lru_cache(maxsize=2)
def model_with(num_layers):
  options = options_with(wave__context_stack=num_layers)
  graphdef, init = step.split_model(options, MOTION_DIM)
  return options, graphdef, jax.jit(init)(KEY)


def test_a_frame_is_told_of_those_before_it_and_of_none_after():
  stack, context = make_stack(3), normal(0, 1, 30, 6)
  valid = jnp.ones((1, 30), bool)
  call = jax.jit(stack.__call__)
  changed = call(context.at[:, 10].add(1.0), valid) - call(context, valid)
  touched = np.flatnonzero(np.abs(changed).sum((0, 2)))
  assert (touched[0], touched[-1]) == (10, 10 + 2**3 - 1)


def test_step_equals_the_whole_sequence_and_padding_is_told_nothing():
  stack, context = make_stack(3), normal(0, 2, 20, 6)
  valid = jnp.arange(20)[None] < jnp.array([20, 13])[:, None]
  whole, state, parts = at_once(stack, context, valid), stack.start(2), []
  one_step = jax.jit(stack.step)
  for frame in range(20):
    y, state = one_step(context[:, frame], valid[:, frame], state)
    parts.append(y)
  np.testing.assert_allclose(whole, jnp.stack(parts, 1), atol=1e-5)
  assert not whole[1, 13:].any() and whole[1, 12].any()


def test_no_layers_change_nothing():
  stack, context = make_stack(0), normal(0, 2, 5, 6)
  valid = jnp.zeros((2, 5), bool)
  np.testing.assert_array_equal(stack(context, valid), context)
  y, _ = stack.step(context[:, 0], valid[:, 0], stack.start(2))
  np.testing.assert_array_equal(y, context[:, 0])


def test_a_stack_adds_parameters_and_leaves_the_others_as_they_are():
  without, stacked = (named(model_with(n)[2]) for n in (0, 2))
  more = stacked.keys() - without.keys()
  assert all(name.startswith('context_stack/') for name in more)
  assert {name.split('/')[2] for name in more} == {'0', '1'}
  for name, value in without.items():
    np.testing.assert_array_equal(value, stacked[name])
  for name in more:
    spec = first_match(sharding.RULES, name, 'rules')
    is_matrix = name.endswith('kernel')
    assert bool(len(spec)) == is_matrix, name
    assert first_match(optimizer.DECAY_RULES, name, 'rules') == is_matrix


def test_the_sound_teaches_the_stack():
  options, graphdef, params = model_with(2)
  hop = options.samples_per_frame
  past = normal(1, 2, 5 * hop).clip(-1, 1)
  motion, valid = normal(2, 2, 6, MOTION_DIM), jnp.ones((2, 6), bool)
  label = jnp.zeros((2, len(options.styles)))

  @jax.jit
  def loss(params):
    outputs, _ = nnx.merge(graphdef, params)(motion, valid, past, label)
    return jnp.mean(outputs**2)

  for name, slope in named(jax.grad(loss)(params)['context_stack']).items():
    assert np.abs(slope).max() > 0, name


def test_a_run_without_dances_gives_no_stack_to_others():
  joint = options_with(wave__context_stack=1)
  alone = options_with(
    wave__context_stack=1, train__is_audio_only=True, train__pose_steps=0
  )
  name = 'context_stack/layers/0/taps/kernel'
  assert warm_start.is_trained(joint, name)
  assert not warm_start.is_trained(alone, name)
  assert warm_start.is_trained(alone, 'wave/taps')
