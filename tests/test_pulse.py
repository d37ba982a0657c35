"""The pulse keeps the tempo of a dance where its heads lose it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from small_config import options_with

from dance2wave.models import pulse
from dance2wave.models.pose_transformer import NUM_HEADS, PHASE
from dance2wave.sampling.listen import Listener
from dance2wave.training.step import split_model

RATE_HZ = 50
BEAT, HALF, COS, SIN = range(pulse.NUM_PULSE)


def heads_of(beat_F, length=0.9):
  """Activations (1, F, H) that say where in the beat (F,) a dance is."""
  angle_F = 2 * np.pi * np.asarray(beat_F)
  heads_BFH = np.zeros((1, len(angle_F), NUM_HEADS), np.float32)
  heads_BFH[0, :, PHASE] = length * np.cos(angle_F)
  heads_BFH[0, :, PHASE + 1] = length * np.sin(angle_F)
  return heads_BFH


def steady(seconds, bpm=113.0, rate_hz=RATE_HZ):
  return np.arange(round(seconds * rate_hz)) / rate_hz * bpm / 60


_follow = jax.jit(pulse.follow, static_argnums=2)


def follow(heads_BFH, rate_hz=RATE_HZ):
  valid_BF = np.ones(heads_BFH.shape[:2], bool)
  return np.asarray(_follow(heads_BFH, valid_BF, rate_hz))[0]


def off_beat(pulse_FK, beat_F):
  """How far the pulse is from the beat, (F,) in beats."""
  told_F = np.arctan2(pulse_FK[:, SIN], pulse_FK[:, COS]) / (2 * np.pi)
  return np.abs((told_F - beat_F + 0.5) % 1 - 0.5)


@pytest.mark.parametrize('bpm', [61.0, 113.0, 178.3])
@pytest.mark.parametrize('rate_hz', [25, 50, 120])
def test_it_finds_a_steady_beat(bpm, rate_hz):
  beat_F = steady(12, bpm, rate_hz)
  found_FK = follow(heads_of(beat_F), rate_hz)[6 * rate_hz :]
  beat_F = beat_F[6 * rate_hz :]
  assert off_beat(found_FK, beat_F).max() < 0.01
  assert np.hypot(found_FK[:, COS], found_FK[:, SIN]).min() > 0.85
  for channel, place in ((BEAT, 0.0), (HALF, 0.5)):
    away_F = np.abs((beat_F - place + 0.5) % 1 - 0.5) / (bpm / 60 / rate_hz)
    told_F = found_FK[:, channel]
    assert told_F[away_F < 0.5].min() > told_F[away_F > 4].max()


def test_it_goes_on_where_nothing_is_said():
  beat_F = steady(30)
  heads_BFH = heads_of(beat_F)
  quiet = slice(20 * RATE_HZ, 24 * RATE_HZ)
  heads_BFH[:, quiet] = 0.0
  found_FK = follow(heads_BFH)
  assert off_beat(found_FK, beat_F)[quiet].max() < 0.06
  sure_F = np.hypot(found_FK[:, COS], found_FK[:, SIN])
  assert sure_F[quiet][-1] < sure_F[quiet][0]  # and grows less sure
  assert off_beat(found_FK, beat_F)[-RATE_HZ:].max() < 0.01


@pytest.mark.parametrize('of_a_beat, most', [(0.5, 0.02), (0.25, 0.16)])
def test_a_moment_of_error_hardly_moves_it(of_a_beat, most):
  beat_F = steady(30)
  said_F = beat_F.copy()
  wrong = slice(20 * RATE_HZ, 21 * RATE_HZ)
  said_F[wrong] += of_a_beat
  heads_BFH = heads_of(said_F, 0.7)
  off_F = off_beat(follow(heads_BFH), beat_F)
  assert off_F[15 * RATE_HZ :].max() < most
  assert off_F[24 * RATE_HZ :].max() < 0.02


def test_another_octave_for_a_moment_does_not_move_it():
  beat_F = steady(30, 90.0)
  said_F = beat_F.copy()
  twice = slice(20 * RATE_HZ, 24 * RATE_HZ)
  said_F[twice] *= 2
  found_FK = follow(heads_of(said_F, 0.6))
  assert off_beat(found_FK, beat_F)[24 * RATE_HZ :].max() < 0.05


def test_it_follows_a_dance_that_grows_faster():
  bpm_F = np.linspace(100, 112, 30 * RATE_HZ)
  beat_F = np.cumsum(bpm_F / 60 / RATE_HZ)
  found_FK = follow(heads_of(beat_F, 0.8))
  assert off_beat(found_FK, beat_F)[10 * RATE_HZ :].max() < 0.05


def test_a_new_tempo_is_found():
  beat_F = np.concatenate([steady(15, 90.0), 22.5 + steady(15, 140.0)])
  found_FK = follow(heads_of(beat_F))
  assert off_beat(found_FK, beat_F)[-5 * RATE_HZ :].max() < 0.03


def test_of_noise_it_is_not_sure_and_stays_a_belief():
  rng = np.random.default_rng(0)
  beat_F = rng.uniform(size=30 * RATE_HZ)
  found_FK = follow(heads_of(beat_F, 0.3))
  assert np.isfinite(found_FK).all()
  assert found_FK[:, :2].min() >= 0 and found_FK[:, :2].max() <= 1
  assert np.hypot(found_FK[:, COS], found_FK[:, SIN]).mean() < 0.5


def test_the_slowest_tempo_drifts_to_the_next_and_no_belief_is_negative():
  shape = 1, pulse.NUM_TEMPI, pulse.NUM_PHASES
  belief = jnp.zeros(shape).at[0, 0, 5].set(1.0)
  nothing, valid = np.zeros((1, NUM_HEADS), np.float32), np.ones(1, bool)
  step = jax.jit(pulse.step, static_argnums=3)
  _, belief = step(nothing, valid, belief, RATE_HZ)
  share_N = np.asarray(belief).sum(axis=(0, 2))
  assert float(belief.min()) >= 0
  assert share_N[0] > 0.9 and share_N[1] > 1e-3 and share_N[-1] < 1e-4


def test_step_by_step_is_the_same_and_a_missing_frame_changes_nothing():
  heads_BFH = np.concatenate([heads_of(steady(2)), heads_of(steady(2, 71.0))])
  valid_BF = np.ones(heads_BFH.shape[:2], bool)
  valid_BF[1, 60:] = False
  whole_BFK = _follow(heads_BFH, valid_BF, RATE_HZ)
  step = jax.jit(pulse.step, static_argnums=3)
  belief, kept = pulse.start(2), None
  for frame in range(heads_BFH.shape[1]):
    found_BK, belief = step(
      heads_BFH[:, frame], valid_BF[:, frame], belief, RATE_HZ
    )
    np.testing.assert_allclose(found_BK, whole_BFK[:, frame], atol=1e-5)
    if frame == 60:
      kept = belief[1]
  np.testing.assert_array_equal(belief[1], kept)
  np.testing.assert_allclose(jnp.sum(belief, (1, 2)), 1.0, rtol=1e-5)


def test_no_gradient_flows_through_it():
  heads_BFH, valid_BF = heads_of(steady(0.2)), np.ones((1, 10), bool)

  def call(heads_BFH):
    return jnp.sum(pulse.follow(heads_BFH, valid_BF, RATE_HZ))

  assert not jax.grad(call)(jnp.asarray(heads_BFH)).any()


def test_a_dance_is_heard_in_training_as_when_sound_is_drawn():
  options = options_with(wave__context_stack=1, pose__look_ahead_s=0.9)
  graphdef, init = split_model(options, 5)
  params = jax.jit(init)(jax.random.key(0))
  # Heads that say something from the start.
  params['pose']['heads']['kernel'] *= 30.0
  motion_BFM = np.random.default_rng(0).normal(size=(2, 90, 5)).astype('f4')
  valid_BF = np.arange(90) < np.array([[90], [70]])

  listener = Listener(graphdef, params)
  ahead = listener.look_ahead
  late = [(0, 0), (0, ahead), (0, 0)]
  heard, _ = listener.run(
    np.moveaxis(np.pad(motion_BFM, late), 1, 0),
    np.pad(valid_BF, late[:2]).T,
    listener.start(2),
  )
  context_BFC = np.moveaxis(heard.context_FBC[ahead:], 1, 0)
  listen = jax.jit(nnx.merge(graphdef, params).listen)
  expected_BFC = np.asarray(listen(motion_BFM, valid_BF)[0])
  np.testing.assert_allclose(
    context_BFC[valid_BF], expected_BFC[valid_BF], atol=2e-4
  )
