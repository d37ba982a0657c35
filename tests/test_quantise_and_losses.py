"""The predecessor's loss floor, silence, and what the losses count."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from dance2wave.models import quantise
from dance2wave.models.wavenet import WaveNet
from dance2wave.training import losses

wave_nll = jax.jit(losses.wave_nll, static_argnames=('levels', 'is_mixture'))
head_losses = jax.jit(losses.head_losses)


def test_silence_is_the_middle_code_and_comes_back_as_silence():
  """Bug 6 of the predecessor: silence became a constant of -1."""
  silence = jnp.zeros(100)
  codes = quantise.mu_law_encode(silence)
  assert set(np.asarray(codes)) == {128}
  assert float(jnp.abs(quantise.mu_law_decode(codes)).max()) == 0.0


def test_mu_law_is_within_half_a_level_everywhere():
  signal = jnp.linspace(-1, 1, 4001)
  back = quantise.mu_law_decode(quantise.mu_law_encode(signal))
  bent_error = jnp.abs(quantise.bend(back) - quantise.bend(signal))
  assert float(bent_error.max()) <= 1.01 / 255 + 0.01
  assert float(jnp.abs(back - signal).max()) < 0.025
  np.testing.assert_allclose(
    quantise.unbend(quantise.bend(signal)), signal, atol=1e-5
  )


def test_codes_cover_every_level_and_clip_outside():
  codes = quantise.mu_law_encode(jnp.linspace(-1.5, 1.5, 100_001))
  assert set(np.asarray(codes)) == set(range(256))


@pytest.mark.parametrize(
  'is_mixture, steps',
  [(False, 250), pytest.param(True, 1500, marks=pytest.mark.slow)],
)
def test_one_clip_can_be_learnt_by_heart(is_mixture, steps):
  """Bug 1 of the predecessor: a double softmax kept its loss above 3.865."""
  rate, hop, frames = 2000, 50, 10
  time_s = jnp.arange(frames * hop) / rate
  audio = 0.5 * jnp.sign(jnp.sin(2 * jnp.pi * 125 * time_s))[None]
  model = WaveNet(
    context_dim=2,
    num_styles=1,
    dilations=(1, 2, 4, 8),
    kernel=2,
    residual=16,
    gate=16,
    skip=32,
    num_outputs=30 if is_mixture else 256,
    samples_per_frame=hop,
    is_mixture=is_mixture,
    rngs=nnx.Rngs(0),
  )
  graphdef = nnx.split(model)[0]
  params = nnx.to_pure_dict(nnx.state(model, nnx.Param))
  context = jnp.ones((1, frames + 1, 2))
  past = jnp.pad(quantise.bend(audio), ((0, 0), (1, 0)))[:, :-1]
  # A rare step ruins a mixture where large gradients are not clipped, as in
  # training, or are remembered for longer than the squares of others.
  optimizer = optax.chain(
    optax.clip_by_global_norm(1.0),
    optax.adam(optax.cosine_decay_schedule(1e-2, steps), b2=0.99),
  )

  def loss_fn(params):
    wave = nnx.merge(graphdef, params)
    outputs = wave(past, wave.condition(context, jnp.ones((1, 1))))
    mask = jnp.ones_like(audio)
    return losses.wave_nll(
      outputs, audio, mask, levels=256, is_mixture=is_mixture
    )

  def update(carry, _):
    params, state = carry
    loss, grads = jax.value_and_grad(loss_fn)(params)
    updates, state = optimizer.update(grads, state, params)
    # The table of labels is scaled up, and moves as the rest when scaled down.
    updates = updates | {'style': updates['style'] / 30.0}
    return (optax.apply_updates(params, updates), state), loss

  # As users have it: so many steps take longer than to make them fast.
  fast = {'xla_backend_optimization_level': 3}

  @functools.partial(jax.jit, compiler_options=fast)
  def learn(params):
    start = (params, optimizer.init(params))
    return jax.lax.scan(update, start, length=steps)[1][-1]

  loss = learn(params)
  assert float(loss) < 0.1


def test_uniform_logits_cost_the_log_of_the_levels():
  nll = wave_nll(
    jnp.zeros((1, 50, 256)),
    jnp.zeros((1, 50)),
    jnp.ones((1, 50)),
    levels=256,
    is_mixture=False,
  )
  assert float(nll) == pytest.approx(np.log(256), rel=1e-5)


def test_masked_samples_do_not_count():
  outputs = jax.random.normal(jax.random.key(0), (2, 40, 256))
  audio = jax.random.uniform(jax.random.key(1), (2, 40), minval=-1)
  mask = jnp.arange(40)[None] < jnp.array([40, 25])[:, None]
  options = {'levels': 256, 'is_mixture': False}
  one = wave_nll(outputs, audio, mask, **options)
  two = wave_nll(outputs, audio.at[1, 25:].set(0.9), mask, **options)
  assert float(one) == float(two)
  none = wave_nll(outputs, audio, jnp.zeros_like(mask), **options)
  assert float(none) == 0.0


def test_mixture_log_prob_sums_to_one_over_the_levels():
  outputs = jax.random.normal(jax.random.key(0), (5, 1, 30))
  grid = 2 * jnp.arange(256) / 255 - 1
  log_p = jax.jit(quantise.mixture_log_prob)(
    jnp.broadcast_to(outputs, (5, 256, 30)), jnp.broadcast_to(grid, (5, 256))
  )
  np.testing.assert_allclose(jnp.exp(log_p).sum(-1), 1.0, atol=2e-3)


def test_a_mixture_is_right_where_improbable_and_finite_where_sure():
  log_scale, bent = np.array([-3.0, -4.0, -100.0]), 2 * 192 / 255 - 1
  outputs = np.stack([0 * log_scale, 0 * log_scale - 0.5, log_scale], axis=-1)
  said = jax.jit(quantise.mixture_log_prob)(
    jnp.float32(outputs), jnp.full(3, bent, jnp.float32)
  )
  low, high = (
    1 / (1 + np.exp((bent + 0.5 + side / 255) * np.exp(-log_scale[:2])))
    for side in (-1, 1)
  )
  np.testing.assert_allclose(said[:2], np.log(low - high), atol=0.02)
  assert bool(jnp.isfinite(said).all())


def test_head_losses_are_zero_at_the_truth_and_ignore_what_is_unknown():
  phase = jnp.linspace(0, 3, 30)[None] % 1
  target = jnp.clip(jnp.cos(2 * jnp.pi * phase), 0, 1)
  batch = {
    'valid_BF': jnp.ones((1, 30), bool),
    'has_audio_B': jnp.array([True]),
    'beat_phase_BF': phase,
    'beat_BF': target,
    'half_beat_BF': target,
    'onset_BF': target,
    'level_BF': target,
    'loudness_BF': target,
  }
  safe = jnp.clip(target, 1e-6, 1 - 1e-6)
  sure = jax.scipy.special.logit(safe)
  angle = 2 * jnp.pi * phase
  heads = jnp.stack(
    [sure, sure, sure, sure, sure, 20 * jnp.cos(angle), 20 * jnp.sin(angle)], -1
  )
  right = head_losses(heads, batch)
  assert all(abs(float(v)) < 1e-3 for v in right.values())
  wrong = head_losses(-heads, batch)
  assert all(float(v) > 0.3 for v in wrong.values())
  unknown = batch | {
    'beat_phase_BF': jnp.full((1, 30), -1.0),
    'has_audio_B': jnp.array([False]),
  }
  ignored = head_losses(-heads, unknown)
  assert all(float(v) == 0.0 for v in ignored.values())
  rhythm = {'beat', 'half_beat', 'phase'}
  for key, of_it in (
    ('beat_phase_BF', rhythm),
    ('has_audio_B', {*wrong} - rhythm),
  ):
    one = head_losses(-heads, batch | {key: unknown[key]})
    assert {name for name, v in one.items() if float(v) == 0.0} == of_it


def test_a_clip_of_many_labels_weighs_as_much_as_one_of_a_single_one():
  label = jnp.array([[1.0, 0, 0, 0, 0], [0, 1, 1, 0, 1], [0, 0, 0, 0, 0]])
  for row, wanted in zip(label[:, None], (np.log(5), np.log(5), 0.0)):
    figures = losses.style_losses(jnp.zeros((1, 5)), row, row)
    assert float(figures['style']) == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize(
  'loss, flag',
  [
    (losses.timbre_loss, 'has_audio_B'),
    (
      lambda said, true, batch, whole: losses.features_loss(
        said, batch | {'features_BFA': true}, whole
      ),
      'has_features_B',
    ),
  ],
)
def test_what_a_clip_does_not_have_is_not_asked_for(loss, flag):
  """Of it, nor after the end of another clip."""
  is_counted = jnp.array([[True] * 4, [True] * 3 + [False], [False] * 4])
  batch = {
    'valid_BF': is_counted | (jnp.arange(3) == 2)[:, None],
    flag: jnp.arange(3) < 2,
  }
  true = jnp.zeros((3, 4, 2))
  said = jnp.where(is_counted[..., None], 2.0, 100.0) * jnp.ones(2)[None, None]
  (value,) = loss(said, true, batch, batch).values()
  assert float(value) == pytest.approx(4.0, rel=1e-6)
