"""Losses that compare dance and sound, and the dance with itself."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from noise_models import make, params_of
from small_config import options_with
from test_mesh import random_batch

from dance2wave.errors import InputError
from dance2wave.models.match import Match
from dance2wave.models.parts import Part
from dance2wave.pose import features
from dance2wave.pose.features import MOTION_DIM
from dance2wave.training import contrast, sharding, step

WEIGHTS = {'infonce_weight': 0.5, 'beat_contrast_weight': 0.25}
OPTIONS = options_with(**{f'train__{k}': v for k, v in WEIGHTS.items()})
MESH = sharding.make_mesh(1, 1)
FRAMES = 50


def bursts(clips, seed):
  """Sound of noise whose loudness is drawn anew every 0.12 s."""
  rng = np.random.default_rng(seed)
  loud = np.repeat(rng.uniform(size=(clips, FRAMES)), 3, axis=1)[:, :FRAMES]
  sample = np.repeat(loud, OPTIONS.samples_per_frame, axis=1)
  return {
    'audio_BT': jnp.asarray(sample * rng.normal(size=sample.shape) / 4),
    'valid_BF': jnp.ones((clips, FRAMES), bool),
    'has_audio_B': jnp.ones(clips, bool),
  }, jnp.asarray(loud)


def context_of(loud_BF):
  """What knows how loud the sound is, from a second before to one after."""
  padded = jnp.pad(loud_BF, ((0, 0), (8, 8)))
  return jnp.stack([padded[:, i : i + FRAMES] for i in range(17)], axis=-1)


def test_infonce_is_learned_from_right_pairs_and_is_high_for_wrong_ones():
  match = Match(context_dim=17, num_bands=12, reach=5, rngs=nnx.Rngs(0))
  graphdef, params = nnx.split(match)
  optimizer = optax.adam(1e-2)

  @jax.jit
  def loss(params, batch, context):
    return contrast.infonce(
      OPTIONS, nnx.merge(graphdef, params), context, batch
    )

  batch, loud = bursts(8, 0)
  context = context_of(loud)

  def update(carry, _):
    params, state = carry
    value, grads = jax.value_and_grad(loss)(params, batch, context)
    updates, state = optimizer.update(grads, state)
    return (optax.apply_updates(params, updates), state), value

  (params, _), curve = jax.lax.scan(
    update, (params, optimizer.init(params)), length=150
  )
  assert curve[-1] < 0.5 * curve[0]
  held_out, loud = bursts(8, 1)
  right = loss(params, held_out, context_of(loud))
  late = loss(params, held_out, context_of(jnp.roll(loud, 4, axis=1)))
  other = loss(params, held_out, context_of(jnp.roll(loud, 1, axis=0)))
  assert right < 0.7 * jnp.minimum(late, other)


def loss_of(**train):
  """A function from parameters and batch to the figures of a pose step."""
  options = options_with(**{f'train__{k}': v for k, v in train.items()})
  graphdef, init = step.split_model(options, MOTION_DIM)

  def loss(params, batch, part=step.WHOLE):
    return step._pose_loss(
      options, graphdef, MESH, params, batch, jax.random.key(2), part
    )

  return options, jax.jit(init)(jax.random.key(0)), jax.jit(loss)


@pytest.fixture(scope='module')
def with_and_without():
  """(params, figures) of a run with every loss here, and of one without."""
  rows = []
  for weights in (WEIGHTS, {}):
    options, params, loss = loss_of(**weights)
    rows.append((params, *loss(params, random_batch(options))))
  return rows


def test_without_weights_there_are_no_parameters_and_no_losses(
  with_and_without,
):
  (params, total, losses), (plain_params, plain_total, plain) = with_and_without
  assert params.keys() - plain_params.keys() == {'match'}
  for a, b in zip(
    jax.tree.leaves({k: params[k] for k in plain_params}),
    jax.tree.leaves(plain_params),
  ):
    np.testing.assert_array_equal(a, b)
  assert losses.keys() - plain.keys() == {'infonce', 'beat_contrast'}
  for key, value in plain.items():
    np.testing.assert_allclose(losses[key], value, rtol=1e-5, err_msg=key)
  added = 0.5 * losses['infonce'] + 0.25 * losses['beat_contrast']
  np.testing.assert_allclose(total - plain_total, added, rtol=1e-4)


def test_both_losses_reach_the_transformer_in_both_stages():
  for loss in (step._pose_loss, step._joint_loss):
    graphdef, init = step.split_model(OPTIONS, MOTION_DIM)

    def both(params, loss=loss, graphdef=graphdef):
      batch, key = random_batch(OPTIONS), jax.random.key(1)
      figures = loss(OPTIONS, graphdef, MESH, params, batch, key)[1]
      return jnp.stack([figures['infonce'], figures['beat_contrast']])

    grads = jax.jit(jax.jacrev(both))(params_of(init))
    for name in ('embed', 'layers'):
      for row in range(2):
        mine = jax.tree.map(lambda g, row=row: g[row], grads['pose'][name])
        assert float(optax.tree.norm(mine)) > 1e-4
    assert float(optax.tree.norm(grads['match'])) > 1e-4


def test_infonce_of_a_dance_that_says_nothing_counts_what_is_known():
  """Alone in its batch: itself and five shifts on either side, where heard."""
  batch, loud = bursts(3, 0)
  match = make(Match, context_dim=1, num_bands=12, reach=5)
  match.dance.kernel[...] = jnp.zeros_like(match.dance.kernel[...])
  context = loud[..., None]

  @jax.jit
  def infonce(**changes):
    return contrast.infonce(OPTIONS, match, context, batch | changes)

  clip = jnp.arange(3)
  alone = infonce(has_audio_B=clip == 1)
  inside = np.array([min(f, 10) // 2 + min(49 - f, 10) // 2 for f in range(50)])
  assert float(alone) == pytest.approx(np.log(1 + inside).mean(), rel=1e-5)
  together = infonce()
  assert float(together) == pytest.approx(np.log(3 + inside).mean(), rel=1e-5)
  assert float(infonce(has_audio_B=clip < 0)) == 0.0

  @jax.jit
  def of_part(index):
    part = Part(index, 3)
    return contrast.infonce(OPTIONS, match, part.of(context), batch, part)

  parts = [of_part(jnp.int32(i)) for i in range(3)]
  np.testing.assert_allclose(sum(parts), together, rtol=1e-6)


def test_beat_contrast_of_four_frames_by_hand():
  """Distances 1, 4 and 2; the motion turns at frame 2 and is still at 3."""
  context = jnp.array([[[0.0, 0.0], [0.6, 0.8], [0.6, 4.8], [0.6, 2.8]]])
  trend = jnp.array([[1.0, 1.0, -1.0, 0.0]])
  valid = jnp.ones((1, 4), bool)

  @jax.jit
  def loss(context, trend=trend, valid=valid):
    return contrast.beat_contrast(context, trend, valid, valid)

  wanted = 0.5 * (1.0**2 + 0.0 + 2.0**2) / 3
  assert float(loss(context)) == pytest.approx(wanted, rel=1e-5)
  still = jnp.zeros((1, 4))
  wanted = 0.5 * (1.0**2 + 4.0**2 + 2.0**2) / 3
  assert float(loss(context, still)) == pytest.approx(wanted, rel=1e-5)
  turns = jnp.array([[1.0, -1.0, 1.0, -1.0]])
  wanted = 0.5 * (2.0**2 + 0.0 + 1.0**2) / 3
  assert float(loss(context, turns)) == pytest.approx(wanted, rel=1e-4)
  apart = jax.grad(loss)(context, turns)[0]
  np.testing.assert_allclose(apart[0], [2 / 3 * 0.6, 2 / 3 * 0.8], rtol=1e-4)
  short = jnp.arange(4)[None] < 2
  assert float(loss(context, trend, short)) == pytest.approx(0.5, rel=1e-5)
  same = jnp.zeros((1, 4, 2))
  assert bool(jnp.isfinite(jax.grad(loss)(same, turns)).all())


def test_trend_of_motion_is_that_of_how_far_a_pose_spreads():
  """Arms that open for a second and close for one, of who walks away."""
  rate_hz, frames = 25, 75
  opened = 1.0 - np.abs(np.arange(frames) % 50 - 25) / 25
  pose = np.zeros((frames, 14, 3), np.float32)
  pose[:, :, 1], pose[:, :, 2] = np.linspace(-1, 1, 14), 1.0
  pose[:, 4, 0], pose[:, 7, 0] = -opened, opened
  pose[..., :2] += np.linspace(1, 2, frames)[:, None, None]
  motion = features.motion_features(pose, rate_hz)
  trend = contrast.motion_trend(jnp.asarray(motion)[None])[0]
  np.testing.assert_array_equal(trend[3:23], 1.0)
  np.testing.assert_array_equal(trend[28:47], -1.0)
  np.testing.assert_array_equal(trend[53:72], 1.0)


@pytest.mark.parametrize(
  'changes, words',
  [
    ({'train__infonce_weight': -1.0}, ('train.infonce_weight=-1.0', '>= 0')),
    (
      {'train__beat_contrast_weight': -1.0},
      ('train.beat_contrast_weight=-1.0', '>= 0'),
    ),
    (
      {
        'train__beat_contrast_weight': 1.0,
        'train__is_audio_only': True,
        'train__pose_steps': 0,
      },
      ('train.beat_contrast_weight=1.0', 'is_audio_only'),
    ),
    (
      {
        'train__infonce_weight': 1.0,
        'train__is_audio_only': True,
        'train__pose_steps': 0,
      },
      ('train.infonce_weight=1.0', 'is_audio_only'),
    ),
  ],
)
def test_bad_weights_are_named(changes, words):
  with pytest.raises(InputError) as error:
    options_with(**changes)
  for word in words:
    assert word in str(error.value)
