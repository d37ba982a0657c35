"""Which runs share what is compiled, and what their optimizer is."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_config import options_with

from dance2wave.training import sharding
from dance2wave.training.programs import (
  _make_optimizer,
  make_programs,
  make_schedule,
)


@pytest.fixture(scope='module')
def programs():
  """A function from changes of the options to their programs."""
  return lambda **changes: make_programs(
    options_with(**changes), sharding.make_mesh(1, 1)
  )


def test_another_seed_or_folder_needs_no_other_programs(programs):
  others = {
    'seed': 3,
    'dataset__data_dir': 'elsewhere',
    'dataset__cache_bytes': 1,
    'dataset__is_augmented': False,
    'sample__num_clips': 9,
    'train__init_from': ('a',),
    'train__save_every': 7,
    'train__eval_batches': 3,
  }
  assert programs(**others) is programs()


@pytest.mark.parametrize(
  'changes',
  [
    {'train__learning_rate': 1.0},
    {'train__joint_steps': 11},
    {'train__past_noise': 0.2},
    {'wave__residual': 12},
    {'styles': ('house',)},
  ],
)
def test_what_a_step_computes_needs_others(programs, changes):
  assert programs(**changes) is not programs()


def test_those_of_another_mesh_are_others():
  options = options_with()
  one, two = (
    make_programs(options, sharding.make_mesh(n, 1)).abstract for n in (1, 2)
  )
  assert one.step.sharding != two.step.sharding


def test_each_stage_has_a_rate_of_its_own():
  options = options_with(
    train__learning_rate=3e-3, train__joint_learning_rate=7e-3
  )
  schedule, train = make_schedule(options), options.train
  for first, peak in ((0, 3e-3), (train.pose_steps, 7e-3)):
    assert float(schedule(first + train.warmup_steps)) == pytest.approx(peak)


KERNEL = {'wave': {'hidden': {'kernel': jnp.full((2, 2), 2.0)}}}


@pytest.mark.parametrize('optimizer', ['muon', 'adam'])
def test_a_matrix_is_moved_by_the_optimizer_that_is_asked_for(optimizer):
  made = _make_optimizer(options_with(train__optimizer=optimizer))
  _, parts, *_ = jax.eval_shape(made.init, KERNEL)
  remembers = {
    name
    for name, part in parts.inner_states.items()
    if any(leaf.shape == (2, 2) for leaf in jax.tree.leaves(part))
  }
  assert remembers == {optimizer}


def test_weights_decay_and_gradients_are_clipped_as_is_asked_for():
  options = options_with(
    train__optimizer='adam', train__weight_decay=0.5, train__clip_norm=2.0
  )
  optimizer = _make_optimizer(options)
  start = optimizer.init(KERNEL)

  @jax.jit
  def update(value):
    grads = jax.tree.map(lambda x: jnp.full_like(x, value), KERNEL)
    return optimizer.update(grads, start, KERNEL)

  (moved,) = jax.tree.leaves(update(0.0)[0])
  rate = float(make_schedule(options)(0))
  np.testing.assert_allclose(moved, -rate * 0.5 * 2.0, rtol=1e-5)
  close = functools.partial(np.testing.assert_allclose, rtol=1e-5)
  # Four values of 1 have the norm 2; the moments tell lengths apart.
  jax.tree.map(close, update(1e3), update(1.0))
