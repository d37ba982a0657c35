import numpy as np
import pytest
from flashing import JOINT, flash_errors, flashing_clip

from dance2wave.datasets import augment, clips, targets
from dance2wave.errors import InputError


@pytest.mark.parametrize('frame_rate_hz', [15.0, 23.976, 30.0, 60.0, None])
@pytest.mark.parametrize('pose_rate_hz, rate_hz', [(25, 16000), (50, 8000)])
def test_every_camera_keeps_the_clock(frame_rate_hz, pose_rate_hz, rate_hz):
  clip = clips.ready_clip(
    flashing_clip(5.0, frame_rate_hz),
    sample_rate_hz=rate_hz,
    pose_rate_hz=pose_rate_hz,
  )
  errors = []
  for start, percent in ((0, 100), (13, 100), (7, 85), (7, 115)):
    crop = clips.crop(
      clip, start, 3 * pose_rate_hz, pose_rate_hz=pose_rate_hz, percent=percent
    )
    batch = {
      'motion_BFM': crop.pose_FJD.reshape(1, 3 * pose_rate_hz, -1),
      'audio_BT': crop.audio_T[None],
      'beat_BF': np.zeros((1, 3 * pose_rate_hz)),
    }
    errors.extend(flash_errors(batch, 0, pose_rate_hz, rate_hz)[0])
  assert len(errors) >= 8
  assert np.abs(errors).max() <= 1 / pose_rate_hz


def test_crop_is_an_exact_slice():
  clip = clips.ready_clip(flashing_clip(), sample_rate_hz=8000, pose_rate_hz=50)
  crop = clips.crop(clip, 17, 100, pose_rate_hz=50)
  np.testing.assert_array_equal(crop.pose_FJD, clip.pose_FJD[17:117])
  np.testing.assert_array_equal(
    crop.audio_T * 32768, clip.audio_T[17 * 160 : 117 * 160]
  )
  np.testing.assert_allclose(crop.beats_s, clip.beats_s - 17 / 50)
  assert crop.num_valid == 100


def test_bad_augmentations_are_named():
  with pytest.raises(InputError, match=r'rate_change is 0\.6'):
    augment.Augmentation(rate_change=0.6)


def test_beat_targets_by_hand():
  beats = np.array([0.1, 0.5, 1.1])
  beat = targets.beat_activation(beats, 14, 10)
  np.testing.assert_array_equal(
    beat, [0.5, 1, 0.5, 0, 0.5, 1, 0.5, 0, 0, 0, 0.5, 1, 0.5, 0]
  )
  half = targets.half_beat_activation(beats, 10, 10)
  np.testing.assert_array_equal(half, [0, 0, 0.5, 1, 0.5, 0, 0, 0.5, 1, 0.5])
  phase = targets.beat_phase(beats, 14, 10)
  np.testing.assert_allclose(
    phase[[0, 2, 3, 6, 8, 12, 13]],
    [0.75, 0.25, 0.5, 1 / 6, 0.5, 1 / 6, 1 / 3],
    atol=1e-6,
  )
  assert (targets.beat_phase(beats[:1], 5, 10) == -1).all()
  edges = targets.beat_activation(np.array([-0.1, 0.5]), 5, 10)
  np.testing.assert_array_equal(edges, [0.5, 0, 0, 0, 0.5])


def test_mirror_twice_is_nothing_and_keeps_the_body():
  pose = clips.ready_clip(
    flashing_clip(), sample_rate_hz=8000, pose_rate_hz=50
  ).pose_FJD
  rng = np.random.default_rng(0)
  once = augment.mirror(pose, rng, 1.0)
  np.testing.assert_array_equal(augment.mirror(once, rng, 1.0), pose)
  left, right = JOINT['left_wrist'], JOINT['right_wrist']
  np.testing.assert_array_equal(once[:, left, 0], -pose[:, right, 0])
  np.testing.assert_array_equal(once[:, left, 1], pose[:, right, 1])


def test_lost_joints_hold_their_place():
  pose = np.random.default_rng(0).uniform(size=(200, 14, 3)).astype(np.float32)
  lost = augment.drop_joints(
    pose, np.random.default_rng(3), 0.2, pose_rate_hz=50
  )
  gone = lost[..., 2] == 0
  assert 0 < gone.mean() < 0.8
  np.testing.assert_array_equal(lost[~gone], pose[~gone])
  for frame, joint in np.argwhere(gone[1:]):
    assert (lost[frame + 1, joint, :2] == lost[frame, joint, :2]).all()


def test_sizes_and_turns_are_drawn_as_far_as_is_asked_to_either_side():
  strength = augment.Augmentation(0, 20.0, 0.3, 0, 0, 0)
  pose = np.ones((1, 14, 3), np.float32)
  moved = [
    augment.augment_pose(
      pose, np.random.default_rng(seed), strength, pose_rate_hz=50
    )[0, 0]
    for seed in range(200)
  ]
  x, y, confidence = np.transpose(moved)
  size = np.hypot(x, y) / np.hypot(1, 1)
  turn_deg = np.rad2deg(np.arctan2(y, x)) - 45
  for change, most in ((size - 1, 0.3), (turn_deg, 20.0)):
    assert np.abs(change).max() <= most + 1e-4
    assert change.min() < -0.9 * most and change.max() > 0.9 * most
    assert abs(change.mean()) < 0.15 * most
  assert (confidence == 1).all()


def test_joints_are_lost_for_up_to_six_tenths_of_a_second():
  """Of so many joints that hardly two bursts hit the same one."""
  pose = np.ones((40, 200, 3), np.float32)
  longest = 0
  for seed in range(300):
    rng = np.random.default_rng(seed)
    lost = augment.drop_joints(pose, rng, 1e-9, pose_rate_hz=50)
    longest = max(longest, (lost[..., 2] == 0).sum(axis=0).max())
  assert 27 <= longest <= 30


def test_every_playback_rate_within_the_limit_is_drawn():
  rng = np.random.default_rng(0)
  drawn = {augment.draw_percent(rng, 0.15) for _ in range(1000)}
  assert drawn == set(range(85, 116))


def test_a_soft_part_is_as_soft_beside_its_clip_at_any_speed():
  example = flashing_clip()
  example['audio'][: len(example['audio']) // 2] //= 100
  clip = clips.ready_clip(example, sample_rate_hz=8000, pose_rate_hz=25)
  assert clip.onset_F.max() == 1
  for percent in (100, 90):
    crop = clips.crop(clip, 0, 75, pose_rate_hz=25, percent=percent)
    assert 0.02 < crop.onset_F.max() < 0.3


def _noisy_clip():
  """Three seconds of noise that grows louder until the end."""
  rng = np.random.default_rng(0)
  example = flashing_clip(3.0)
  noise_T = rng.normal(0, 0.2, len(example['audio']))
  noise_T *= np.linspace(0.01, 1, len(noise_T))
  example['audio'] = np.clip(noise_T * 32768, -32768, 32767).astype(np.int16)
  features = rng.normal(size=(46, 28)).astype(np.float32)
  example['aux'] = {'audio_features_FA': features}
  return clips.ready_clip(
    example, sample_rate_hz=8000, pose_rate_hz=25, with_features=True
  )


@pytest.mark.parametrize('percent', [100, 90, 115])
def test_all_that_is_asked_of_a_crop_is_of_its_own_times(percent):
  clip = _noisy_clip()
  crop = clips.crop(clip, 13, 40, pose_rate_hz=25, percent=percent)
  frame_F = np.arange(len(clip.pose_FJD))
  position_F = 13 + np.arange(40) * percent / 100
  for cut_F, whole_F in (
    (crop.loudness_F, clip.loudness_F),
    (crop.features_FA[:, 5], clip.features_FA[:, 5]),
    (
      crop.pose_FJD[:, JOINT['left_wrist'], 1],
      clip.pose_FJD[:, JOINT['left_wrist'], 1],
    ),
  ):
    expected_F = np.interp(position_F, frame_F, whole_F)
    np.testing.assert_allclose(cut_F, expected_F, atol=1e-5)
  if percent == 100:
    onset_F, level_F = clip.onset_F[13:53], clip.level_F[13:53]
  else:
    flux_F = targets.onset_flux(crop.audio_T, 8000, 320)
    onset_F = np.clip(flux_F / clip.onset_scale, 0, 1)
    level_F = targets.level(crop.audio_T, 320)
  np.testing.assert_array_equal(crop.onset_F, onset_F)
  np.testing.assert_array_equal(crop.level_F, level_F)


def test_after_the_end_of_a_loud_clip_there_is_nothing_to_hear():
  clip = _noisy_clip()
  assert clip.level_F[-1] > 0 and clip.onset_F[-1] > 0
  for percent in (100, 90):
    crop = clips.crop(clip, 60, 40, pose_rate_hz=25, percent=percent)
    assert crop.num_valid == 15 + (percent == 90)
    assert crop.onset_F[crop.num_valid - 1] > 0
    for values_F in (crop.onset_F, crop.level_F):
      assert not values_F[crop.num_valid :].any()
    np.testing.assert_allclose(
      crop.loudness_F[crop.num_valid :], clip.loudness_F[-1]
    )


@pytest.mark.parametrize('percent', [85, 90, 99, 100, 101, 115])
def test_a_crop_ends_where_its_clip_ends_and_not_after_it(percent):
  clip = _noisy_clip()
  start = len(clip.pose_FJD) - clips.span_frames(50, percent)
  crop = clips.crop(clip, start, 50, pose_rate_hz=25, percent=percent)
  assert crop.num_valid == 50
  crop = clips.crop(clip, start + 1, 50, pose_rate_hz=25, percent=percent)
  assert crop.num_valid < 50


def test_an_onset_is_at_the_frame_whose_samples_begin_it():
  sound_T = np.zeros(50 * 160, np.float32)
  sound_T[20 * 160 :] = np.random.default_rng(0).uniform(-0.5, 0.5, 30 * 160)
  flux_F = targets.onset_flux(sound_T, 8000, 160)
  assert np.argmax(flux_F) == 20 and not flux_F[:20].any()


def test_loudness_is_the_level_of_as_much_before_as_after_a_frame():
  sound_T = np.zeros(101 * 10)
  sound_T[500:510] = 1.0  # frame 50
  loudness_F = targets.loudness(sound_T, 10, 10)
  heard = np.flatnonzero(loudness_F)
  assert (heard[0], heard[-1]) == (50 - 8, 50 + 8)
  # One frame of seventeen is 12.3 dB below it.
  expected = 1 - 10 * np.log10(17) / 60
  np.testing.assert_allclose(loudness_F[heard], expected, atol=1e-6)


def test_the_onsets_of_hardly_any_sound_are_weak():
  example = flashing_clip(3.0)
  example['audio'] //= 10000
  clip = clips.ready_clip(example, sample_rate_hz=8000, pose_rate_hz=25)
  assert example['audio'].any() and clip.onset_F.max() < 0.3


def test_a_beat_is_at_the_frame_nearest_to_it():
  beat_F = targets.beat_activation(np.array([0.16, 0.54]), 8, 10)
  np.testing.assert_array_equal(beat_F, [0, 0.5, 1, 0.5, 0.5, 1, 0.5, 0])
