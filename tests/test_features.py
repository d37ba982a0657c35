import numpy as np
import pytest

from dance2wave.errors import InputError
from dance2wave.pose.clean import NEUTRAL_POSE_J2
from dance2wave.pose.features import (
  FEATURE_LOOK_AHEAD_FRAMES,
  MOTION_DIM,
  NUM_DIRECTIONS,
  FeatureStream,
  directogram,
  kernel_half_frames,
  motion_features,
  motion_size,
)

RATES_HZ = (15, 25, 40, 60)
WRIST = 4
POSITION, VELOCITY = slice(0, 28), slice(28, 56)
ACCELERATION, MOTION = slice(56, 84), slice(84, 92)
DECELERATION, CONFIDENCE = slice(92, 100), slice(100, 114)


def _pose(num_frames, seed=None):
  pose = np.ones((num_frames, 14, 3), np.float32)
  pose[..., :2] = NEUTRAL_POSE_J2
  if seed is not None:
    rng = np.random.default_rng(seed)
    steps = rng.normal(size=(num_frames, 14, 2)) * 0.05
    pose[..., :2] += np.cumsum(steps, axis=0)
    pose[..., 2] = rng.uniform(size=(num_frames, 14)) > 0.1
  return pose


def _moving(position, joint=WRIST, axis=0):
  pose = _pose(len(position))
  pose[:, joint, axis] += position
  return pose


@pytest.mark.parametrize('rate_hz', RATES_HZ)
@pytest.mark.parametrize('chunk', [1, 3, 64])
def test_stream_equals_whole_bit_for_bit(rate_hz, chunk):
  pose = _pose(100, seed=3)
  stream = FeatureStream(rate_hz)
  parts = [stream.push(pose[i : i + chunk]) for i in range(0, 100, chunk)]
  parts.append(stream.finish())
  whole = motion_features(pose, rate_hz)
  assert whole.shape == (100, MOTION_DIM) and whole.dtype == np.float32
  np.testing.assert_array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize('rate_hz', RATES_HZ)
def test_look_ahead_is_bounded_and_stream_waits_no_longer(rate_hz):
  pose = _pose(60, seed=4)
  other = pose.copy()
  other[30:, :, :2] += 1
  same = motion_features(pose, rate_hz) == motion_features(other, rate_hz)
  reach = 2 * kernel_half_frames(rate_hz)
  assert reach <= FEATURE_LOOK_AHEAD_FRAMES
  assert same[: 30 - reach].all() and not same[30 - reach + 1].all()
  assert len(FeatureStream(rate_hz).push(pose)) == 60 - reach


@pytest.mark.parametrize('rate_hz', RATES_HZ)
def test_derivatives_of_a_parabola_are_exact(rate_hz):
  time_s = np.arange(rate_hz) / rate_hz
  features = motion_features(_moving(time_s**2), rate_hz)
  inner, x = slice(3, -3), 2 * WRIST
  np.testing.assert_allclose(
    features[inner, VELOCITY][:, x] * 3.0, 2 * time_s[inner], atol=2e-3
  )
  np.testing.assert_allclose(
    features[inner, ACCELERATION][:, x] * 30.0, 2.0, atol=0.03
  )
  others = np.delete(features[inner, VELOCITY], x, axis=1)
  assert np.abs(others).max() < 1e-4


def test_positions_and_confidences_pass_unchanged():
  pose = _pose(20, seed=5)
  pose[..., 2] *= 0.7
  features = motion_features(pose, 25)
  np.testing.assert_array_equal(
    features[:, POSITION], pose[..., :2].reshape(20, 28).clip(-5, 5)
  )
  np.testing.assert_array_equal(features[:, CONFIDENCE], pose[..., 2])


def test_directogram_sums_to_the_motion_in_the_right_direction():
  rng = np.random.default_rng(0)
  velocity = rng.normal(size=(50, 14, 2)).astype(np.float32)
  histogram = directogram(velocity)
  assert histogram.min() >= 0
  np.testing.assert_allclose(
    histogram.sum(axis=1),
    np.linalg.norm(velocity, axis=-1).mean(axis=1),
    rtol=1e-5,
  )
  # right, left, down, up, then the diagonals in the documented order.
  signs = [(1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1)]
  one = np.array(signs, np.float32)[:, None]
  np.testing.assert_array_equal(directogram(one) > 0, np.eye(8, dtype=bool))


def test_directogram_changes_smoothly_with_the_direction():
  angle = np.linspace(0, 2 * np.pi, 721)
  circle = np.stack([np.cos(angle), np.sin(angle)], -1)[:, None]
  histogram = directogram(circle.astype(np.float32))
  assert np.abs(np.diff(histogram, axis=0)).max() < 0.02


@pytest.mark.parametrize('rate_hz', RATES_HZ)
def test_sudden_stops_give_peaks_of_deceleration_on_the_stop(rate_hz):
  """A figure that moves, then freezes on every beat (0.6 s)."""
  time_s = np.arange(6 * rate_hz) / rate_hz
  phase = (time_s / 0.6) % 1
  steps = np.floor(time_s / 0.6) + np.clip((phase - 0.6) / 0.4, 0, 1)
  features = motion_features(_moving(steps * 0.5), rate_hz)
  flux = features[:, DECELERATION].sum(axis=1)
  for beat_s in np.arange(1, 9) * 0.6:
    around = np.flatnonzero(np.abs(time_s - beat_s) < 0.25)
    peak_s = time_s[around[flux[around].argmax()]]
    assert abs(peak_s - beat_s) <= 1.5 / rate_hz


def test_reappearing_joint_is_not_a_movement():
  pose = _moving(np.repeat([0.0, 3.0], 30))
  pose[20:30, WRIST, 2] = 0
  features = motion_features(pose, 25)
  assert not features[:, VELOCITY].any() and not features[:, MOTION].any()
  pose[..., 2] = 1
  assert motion_features(pose, 25)[:, VELOCITY].max() > 1


def test_features_are_bounded_for_wild_poses():
  rng = np.random.default_rng(0)
  pose = rng.uniform(-8, 8, size=(200, 14, 3)).astype(np.float32)
  features = motion_features(pose, 60)
  assert np.isfinite(features).all() and np.abs(features).max() <= 5


def test_features_do_not_depend_on_the_pose_rate():
  def at(rate_hz):
    time_s = np.arange(4 * rate_hz) / rate_hz
    pose = _moving(0.5 * np.sin(2 * np.pi * time_s))
    return motion_features(pose, rate_hz)[:: rate_hz // 25][2:-2]

  slow, fast = at(25), at(50)
  np.testing.assert_allclose(slow[:, VELOCITY], fast[:, VELOCITY], atol=0.02)
  np.testing.assert_allclose(slow[:, MOTION], fast[:, MOTION], atol=0.02)


def test_motion_size_is_the_mean_joint_speed():
  time_s = np.arange(100) / 50
  size = motion_size(_moving(2.0 * time_s), 50)
  np.testing.assert_allclose(size[5:-5], 2.0 / 14, rtol=1e-3)
  assert size.shape == (100,) and size.dtype == np.float32


def test_one_frame_and_no_frame():
  assert motion_features(_pose(1), 25).shape == (1, MOTION_DIM)
  assert motion_features(_pose(0), 25).shape == (0, MOTION_DIM)
  assert FeatureStream(25).finish().shape == (0, MOTION_DIM)
  assert motion_size(_pose(0), 25).shape == (0,)
  assert MOTION_DIM == 28 * 3 + 2 * NUM_DIRECTIONS + 14


def test_wrong_shape_is_named():
  with pytest.raises(InputError, match=r'\(5, 17, 3\).*clean_pose'):
    motion_features(np.zeros((5, 17, 3)), 25)
