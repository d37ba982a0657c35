import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dance2wave.errors import InputError
from dance2wave.training.optimizer import (
  DECAY_RULES,
  decay_mask,
  join_schedules,
  make_optimizer,
  make_schedule,
)


def test_the_rate_warms_up_to_its_peak_and_falls_to_a_fraction():
  schedule = make_schedule(
    learning_rate=0.1, warmup_steps=4, num_steps=104, final_fraction=0.2
  )
  rates = np.array([schedule(step) for step in range(130)])
  np.testing.assert_allclose(rates[:5], [0.02, 0.04, 0.06, 0.08, 0.1], 1e-6)
  assert np.argmax(rates) == 4
  assert np.all(np.diff(rates[4:105]) < 0)
  np.testing.assert_allclose(rates[54], 0.1 * (0.2 + 0.8 / 2), rtol=1e-5)
  np.testing.assert_allclose(rates[104:], 0.02, rtol=1e-5)


def test_a_run_without_warm_up_starts_at_the_peak():
  schedule = make_schedule(learning_rate=0.5, warmup_steps=0, num_steps=1)
  assert float(schedule(0)) == 0.5
  assert np.isfinite(float(jax.jit(schedule)(jnp.int32(-7))))


@pytest.mark.parametrize('boundary', [0, 3])
def test_the_second_stage_warms_up_anew(boundary):
  first = make_schedule(learning_rate=1.0, warmup_steps=1, num_steps=3)
  second = make_schedule(learning_rate=8.0, warmup_steps=3, num_steps=9)
  joined = jax.jit(join_schedules(first, second, boundary))
  rates = [float(joined(count)) for count in range(boundary + 4)]
  assert rates[boundary:] == [2.0, 4.0, 6.0, 8.0]
  alone = [float(first(count)) for count in range(boundary)]
  np.testing.assert_allclose(rates[:boundary], alone, rtol=1e-6)


@pytest.mark.parametrize(('warmup', 'steps'), [(10, 10), (11, 10), (-1, 10)])
def test_warm_up_must_fit_in_the_stage(warmup, steps):
  with pytest.raises(InputError, match=f'train.warmup_steps={warmup}') as error:
    make_schedule(learning_rate=1.0, warmup_steps=warmup, num_steps=steps)
  assert '0 to 9' in str(error.value)


PARAMS = {
  'layers': {0: {'kernel': np.full((2, 3), 2.0), 'bias': np.full(3, 2.0)}},
  'norm': {'scale': np.full(3, 2.0)},
  'wave': {
    'taps': np.full((2, 4, 4), 2.0),
    'taps_bias': np.full((2, 4), 2.0),
    'style': np.full((3, 4), 2.0),
  },
}


def params_f32():
  return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), PARAMS)


def test_only_kernels_are_decayed():
  params = params_f32()
  optimizer = make_optimizer(lambda _: 0.1, weight_decay=0.5, clip_norm=1.0)

  @jax.jit
  def after_no_gradient(params):
    zeros = jax.tree.map(jnp.zeros_like, params)
    updates, _ = optimizer.update(zeros, optimizer.init(params), params)
    return optax.apply_updates(params, updates)

  after = after_no_gradient(params)
  for kernel in (after['layers'][0]['kernel'], after['wave']['taps']):
    np.testing.assert_allclose(kernel, 2.0 - 0.1 * 0.5 * 2.0, rtol=1e-6)
  rest = (
    after['layers'][0]['bias'],
    after['norm']['scale'],
    after['wave']['taps_bias'],
    after['wave']['style'],
  )
  for leaf in rest:
    np.testing.assert_array_equal(leaf, 2.0)


def test_the_first_decay_rule_counts_and_all_parameters_need_one():
  rules = ((r'layers/0/', False), *DECAY_RULES)
  mask = decay_mask(PARAMS, rules)
  assert mask['layers'][0] == {'kernel': False, 'bias': False}
  assert mask['wave'] == {'taps': True, 'taps_bias': False, 'style': False}
  unknown = {'heads': {'new': jnp.ones(2)}}
  with pytest.raises(InputError, match=r'heads/new .* weight decay rules'):
    decay_mask(unknown)
  optimizer = make_optimizer(lambda _: 0.1, weight_decay=0.5, clip_norm=1.0)
  with pytest.raises(InputError, match=r'heads/new .* matrix rules'):
    optimizer.init(unknown)


def test_all_gradients_are_clipped_together():
  params = {'a': {'bias': jnp.zeros(1)}, 'b': {'bias': jnp.zeros(1)}}
  optimizer = make_optimizer(lambda _: 0.1, weight_decay=0.0, clip_norm=1.0)
  grads = {'a': {'bias': jnp.array([30.0])}, 'b': {'bias': jnp.array([40.0])}}
  for norm, clipped in ((None, 1.0), (50.0, 1.0), (100.0, 0.5), (0.5, 50.0)):
    _, (_, parts, *_) = optimizer.update(
      grads, optimizer.init(params), params, grad_norm=norm
    )
    adam = parts.inner_states['adam'].inner_state
    for name, share in (('a', 0.6), ('b', 0.8)):
      np.testing.assert_allclose(
        adam.mu[name]['bias'], 0.1 * share * clipped, rtol=1e-5
      )


def test_a_late_first_gradient_moves_a_parameter_little_too_far():
  """Which is what the default b2 is chosen for."""
  params = {'early': {'bias': jnp.zeros(1)}, 'late': {'bias': jnp.zeros(1)}}
  optimizer = make_optimizer(lambda _: 1.0, weight_decay=0.0, clip_norm=10.0)
  update = jax.jit(optimizer.update)
  state, moved = optimizer.init(params), []
  for count in range(400):
    late = jnp.full(1, float(count >= 300))
    grads = {'early': {'bias': jnp.ones(1)}, 'late': {'bias': late}}
    updates, state = update(grads, state, params)
    moved.append(-float(updates['late']['bias'][0]))
  assert moved[299] == 0
  assert 2.0 < max(moved) < 2.2


def test_it_follows_the_schedule_and_fits_a_line():
  schedule = make_schedule(learning_rate=0.05, warmup_steps=10, num_steps=300)
  optimizer = make_optimizer(schedule, weight_decay=0.0, clip_norm=1.0)
  x = np.random.default_rng(0).uniform(-1, 1, (32, 2))
  y = x @ np.array([[1.5], [-0.5]])

  def loss(params):
    return jnp.mean((x @ params['logits']['kernel'] - y) ** 2)

  @jax.jit
  def step(params, state):
    updates, state = optimizer.update(jax.grad(loss)(params), state, params)
    return optax.apply_updates(params, updates), state, updates

  params = {'logits': {'kernel': jnp.zeros((2, 1))}}
  state = optimizer.init(params)
  params, state, updates = step(params, state)
  first = float(jnp.max(jnp.abs(updates['logits']['kernel'])))
  np.testing.assert_allclose(first, float(schedule(0)), rtol=1e-4)
  for _ in range(299):
    params, state, _ = step(params, state)
  assert float(loss(params)) < 1e-5


def test_matrices_move_alike_in_all_directions():
  """Each of a stack on its own; what is no matrix moves as with Adam."""
  optimizer = make_optimizer(lambda _: 0.1, weight_decay=0.0, clip_norm=1e3)
  draw = np.random.default_rng(0).normal
  params = {
    'wave': {
      'taps': jnp.zeros((3, 24, 16)),
      'style': jnp.zeros((24, 16)),
      'skip': {'kernel': jnp.zeros((48, 16))},
    }
  }
  # Gradients of rank 2, of very different lengths.
  low_rank = draw(size=(24, 2)) @ np.diag([1.0, 30.0]) @ draw(size=(2, 16))
  grads = {
    'wave': {
      'taps': jnp.stack([1e-3 * low_rank, low_rank, draw(size=(24, 16))]),
      'style': jnp.asarray(low_rank),
      'skip': {'kernel': jnp.asarray(draw(size=(48, 16)))},
    }
  }
  updates, _ = jax.jit(optimizer.update)(grads, optimizer.init(params), params)
  moved = updates['wave']
  for matrix in (*moved['taps'], moved['skip']['kernel']):
    wanted = 0.1 * 1.6 * max(matrix.shape) ** 0.5
    lengths = np.linalg.svd(matrix, compute_uv=False)
    rank = 16 if lengths[2] > 0.1 * lengths[0] else 2
    np.testing.assert_allclose(lengths[:rank], wanted, rtol=0.35)
  lengths = np.linalg.svd(moved['taps'][1], compute_uv=False)
  assert np.sum(lengths > 0.5 * lengths[0]) == 2
  np.testing.assert_allclose(np.abs(moved['style']), 0.1, rtol=1e-3)
