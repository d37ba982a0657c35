"""Kinematic beats of three kinds of dancers, alignment, chance, retrieval."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dance2wave.errors import InputError
from dance2wave.metrics import kinematic
from dance2wave.metrics.beats import beat_scores
from dance2wave.pose.bvh import read_bvh
from dance2wave.pose.clean import NEUTRAL_POSE_J2, clean_pose
from dance2wave.pose.track import PoseTrack

DURATION_S = 12.0
TORSO = 0.2  # frame heights
PIXEL = 1 / 480
# How far joints go, in torsos: nose, neck, right arm, left arm, legs.
REACH_J = np.array([15, 10, 12, 30, 60, 12, 30, 60, 8, 12, 10, 8, 12, 10]) / 100
PROGRESS = {
  'ease': lambda u: (1 - np.cos(np.pi * u)) / 2,
  'snap': lambda u: u**1.7,
  'turn': lambda u: u,
}
DETECTORS = (
  kinematic.speed_minima,
  kinematic.decelerations,
  kinematic.combined_beats,
)


def film(xy_FJ2, rate_hz, rng, *, missing=0.05, noise_px=1.0):
  """Return a track of joints in torsos: noisy, and with missing joints."""
  xy_FJ2 = xy_FJ2 * TORSO + (0.9, 0.5)
  xy_FJ2 = xy_FJ2 + rng.normal(size=xy_FJ2.shape) * noise_px * PIXEL
  pose_FJD = np.concatenate([xy_FJ2, np.ones((*xy_FJ2.shape[:2], 1))], axis=-1)
  pose_FJD[rng.random(pose_FJD.shape[:2]) < missing] = 0
  time_s = np.arange(len(pose_FJD)) / rate_hz
  return PoseTrack(pose_FJD.astype(np.float32), time_s, 'core14', DURATION_S)


def dancer(kind, bpm, rate_hz, seed=0, **flaws):
  """Return (track, beats_s): a new random pose on every beat."""
  rng = np.random.default_rng(seed)
  period_s = 60 / bpm
  beats_s = np.arange(rng.uniform(0.2, 0.2 + period_s), DURATION_S, period_s)
  keys_KJ2 = rng.normal(size=(len(beats_s) + 2, 14, 2)) * REACH_J[:, None]
  keys_KJ2 += NEUTRAL_POSE_J2
  time_s = np.arange(round(DURATION_S * rate_hz)) / rate_hz
  beat_F = (time_s - beats_s[0]) / period_s + 1
  key_F = np.floor(beat_F).astype(int)
  progress = PROGRESS[kind](beat_F - key_F)[:, None, None]
  xy_FJ2 = keys_KJ2[key_F] * (1 - progress) + keys_KJ2[key_F + 1] * progress
  return film(xy_FJ2, rate_hz, rng, **flaws), beats_s


def f_measure(found_s, beats_s, tolerance_s):
  import mir_eval

  if not len(found_s):
    return 0.0
  inside = (beats_s > 0.1) & (beats_s < DURATION_S - 0.1)
  return mir_eval.beat.f_measure(
    beats_s[inside], found_s, f_measure_threshold=tolerance_s + 1e-9
  )


def mean_f(kind, rate_hz, pose_rate_hz, seeds=(0, 1)):
  """Return F within 1.5 frames for each detector, over three tempi."""
  rows = []
  for bpm in (90, 120, 150):
    for seed in seeds:
      track, beats_s = dancer(kind, bpm, rate_hz, seed)
      pose_FJD = clean_pose(track, pose_rate_hz)
      found = [detect(pose_FJD, pose_rate_hz).beats_s for detect in DETECTORS]
      rows.append([f_measure(f_s, beats_s, 1.5 / rate_hz) for f_s in found])
  return np.mean(rows, axis=0)


@pytest.mark.parametrize('rate_hz', [15, 30])
@pytest.mark.parametrize(
  ('kind', 'best', 'floor'),
  [('ease', 0, 0.9), ('snap', 1, 0.9), ('turn', 0, 0.65)],
)
def test_beats_of_three_kinds_of_dancers(kind, best, floor, rate_hz):
  scores = mean_f(kind, rate_hz, rate_hz)
  assert scores[:2].max() >= floor
  assert scores[best] >= floor
  assert scores[2] >= {'ease': 0.9, 'snap': 0.9, 'turn': 0.8}[kind]


def test_the_definitions_see_different_dancers():
  (eased_dip, eased_fall), (snapped_dip, snapped_fall) = (
    mean_f(kind, 30, 30, seeds=(0,))[:2] for kind in ('ease', 'snap')
  )
  assert eased_dip > eased_fall + 0.5
  assert snapped_fall > snapped_dip + 0.5


@pytest.mark.parametrize('rate_hz', [15, 25, 50, 60])
@pytest.mark.parametrize('kind', PROGRESS)
def test_combined_beats_at_any_rate(kind, rate_hz):
  track, beats_s = dancer(kind, 110, 30, seed=3)
  found_s = kinematic.combined_beats(
    clean_pose(track, rate_hz), rate_hz
  ).beats_s
  assert f_measure(found_s, beats_s, 0.07) >= 0.85


@pytest.mark.slow
@pytest.mark.parametrize('rate_hz', [15, 30])
@pytest.mark.parametrize('kind', PROGRESS)
def test_many_dancers_at_the_default_rate(kind, rate_hz):
  scores = mean_f(kind, rate_hz, 50, seeds=range(8))
  assert scores[2] >= {'ease': 0.9, 'snap': 0.9, 'turn': 0.8}[kind]


@pytest.mark.parametrize('detect', DETECTORS)
def test_beats_lie_on_peaks_of_the_activation(detect):
  track, _ = dancer('ease', 120, 30)
  beats = detect(clean_pose(track, 30), 30)
  assert beats.activation_F.shape == (360,)
  assert beats.activation_F.min() >= -1e-6
  assert (np.diff(beats.beats_s) >= 0.2 - 1 / 30).all()
  frames = np.rint(beats.beats_s * 30).astype(int)
  here = beats.activation_F[frames]
  assert (here >= beats.activation_F[frames - 2]).all()
  assert (here >= beats.activation_F[frames + 2]).all()


@pytest.mark.parametrize('rate_hz', [15, 30, 60])
def test_a_still_body_has_no_beats(rate_hz):
  rng = np.random.default_rng(0)
  still_FJ2 = np.tile(NEUTRAL_POSE_J2, (12 * rate_hz, 1, 1))
  for noise_px in (0.0, 1.0):
    track = film(still_FJ2, rate_hz, rng, noise_px=noise_px)
    pose_FJD = clean_pose(track, rate_hz)
    for detect in DETECTORS:
      assert len(detect(pose_FJD, rate_hz).beats_s) == 0


def test_a_hidden_dancer_has_no_beats_meanwhile():
  pose_FJD = clean_pose(dancer('ease', 120, 30)[0], 30)
  usual = [detect(pose_FJD, 30).beats_s for detect in DETECTORS]
  pose_FJD[150:210] = pose_FJD[150]
  pose_FJD[150:210, :, 2] = 0
  for detect, usual_s in zip(DETECTORS, usual):
    found_s = detect(pose_FJD, 30).beats_s
    assert not ((found_s > 4.95) & (found_s < 7.05)).any()
    far_s = found_s[(found_s < 4.5) | (found_s > 7.5)]
    assert np.abs(far_s[:, None] - usual_s).min(axis=1).max() < 0.05
    assert len(far_s) > 10


def test_a_dancer_who_stops_unseen_is_not_seen_to_stop():
  time_s = np.arange(500) / 50
  turn_FJ1 = (8 * time_s[:, None] + np.arange(14))[..., None]
  circle_FJ2 = np.concatenate([np.cos(turn_FJ1), np.sin(turn_FJ1)], axis=-1)
  pose_FJD = np.ones((500, 14, 3), np.float32)
  pose_FJD[..., :2] = NEUTRAL_POSE_J2 + 0.2 * circle_FJ2
  pose_FJD[250:, :, :2] = pose_FJD[250, :, :2]
  stops_s = kinematic.decelerations(pose_FJD, 50).beats_s
  assert stops_s == pytest.approx([5.0], abs=0.05)
  pose_FJD[240:265, :, 2] = 0
  for detect in DETECTORS:
    assert len(detect(pose_FJD, 50).beats_s) == 0


@pytest.mark.parametrize(('num_frames', 'num_beats'), [(120, 7), (30, 1)])
def test_after_the_dance_there_are_no_beats(num_frames, num_beats):
  rng = np.random.default_rng(0)
  still_FJ2 = np.tile(NEUTRAL_POSE_J2, (360, 1, 1))
  pose_FJD = clean_pose(film(still_FJ2, 30, rng), 30)
  danced_FJD = clean_pose(dancer('ease', 150, 30)[0], 30)
  pose_FJD[:num_frames] = danced_FJD[:num_frames]
  for detect in DETECTORS:
    found_s = detect(pose_FJD, 30).beats_s
    assert (found_s < num_frames / 30 + 0.3).sum() >= num_beats
    assert not (found_s > num_frames / 30 + 0.3).any()


@pytest.mark.parametrize(
  'detect', [kinematic.speed_minima, kinematic.combined_beats]
)
def test_joints_out_of_sight_do_not_matter(detect):
  pose_FJD = clean_pose(dancer('ease', 100, 30, missing=0.0)[0], 30)
  seen_s = detect(pose_FJD, 30).beats_s
  frames = np.flatnonzero(np.arange(360) % 23 < 9)
  for joint in (4, 7, 0, 9, 12):  # both wrists among them
    pose_FJD[frames, joint, 2] = 0
  found_s = detect(pose_FJD, 30).beats_s
  assert f_measure(found_s, seen_s, 0.07) >= 0.9


def test_a_delay_of_the_dance_delays_its_beats():
  pose_FJD = clean_pose(dancer('snap', 120, 30)[0], 30)
  for detect in DETECTORS:
    early_s = detect(pose_FJD[6:], 30).beats_s
    late_s = detect(pose_FJD, 30).beats_s - 6 / 30
    inside_s = early_s[(early_s > 1) & (early_s < 10)]
    error_s = np.abs(inside_s[:, None] - late_s).min(axis=1)
    assert len(inside_s) > 10
    assert (error_s < 0.005).mean() > 0.9


@pytest.mark.parametrize('num_frames', [0, 1, 2, 3, 5])
def test_short_poses_have_no_beats(num_frames):
  pose_FJD = np.ones((num_frames, 14, 3), np.float32)
  for detect in DETECTORS:
    beats = detect(pose_FJD, 50)
    assert len(beats.beats_s) == 0
    assert beats.activation_F.shape == (num_frames,)


@pytest.mark.parametrize('detect', DETECTORS)
@pytest.mark.parametrize(
  ('pose', 'rate_hz', 'message'),
  [
    (np.zeros((9, 13, 3)), 50, 'pose has shape'),
    (np.zeros((9, 14, 3)), 0, 'pose_rate_hz is 0'),
    (np.full((9, 14, 3), np.nan), 50, 'pose is not finite'),
  ],
)
def test_bad_poses_are_refused(detect, pose, rate_hz, message):
  with pytest.raises(InputError, match=message):
    detect(pose, rate_hz)


@pytest.mark.parametrize('name', ['jesse_dance', 'dab'])
def test_real_dancers_have_beats(shared_data, name):
  track = read_bvh(shared_data / 'animateddrawings' / f'{name}.bvh')
  found = [
    kinematic.combined_beats(clean_pose(track, rate_hz), rate_hz).beats_s
    for rate_hz in (25, 50)
  ]
  for found_s in found:
    assert 1 < len(found_s) / track.duration_s < 4
  agreement = beat_scores(
    found[:1], found[1:], [track.duration_s], num_derangements=0
  )
  assert agreement['beat_f70'] > 0.75


def test_alignment_by_hand():
  # Distances of motion beats: 0, 50, 100 ms; of sound beats: 0, 50 ms.
  value = kinematic.alignment([1.0, 2.0, 3.0], [1.0, 2.05, 2.9])
  near, far = np.exp(-0.5), np.exp(-2)
  assert value.motion_to_sound == pytest.approx((1 + near + far) / 3)
  value = kinematic.alignment([1.0, 2.0, 3.0], [2.05, 1.0])
  assert value.motion_to_sound == pytest.approx((1 + near) / 3, abs=1e-9)
  assert value.sound_to_motion == pytest.approx((1 + near) / 2)
  parts = value.motion_to_sound, value.sound_to_motion
  assert value.harmonic == pytest.approx(2 / sum(1 / part for part in parts))


def test_alignment_without_beats():
  assert np.isnan(kinematic.alignment([], [1.0])).all()
  assert np.isnan(kinematic.alignment([], [])).all()
  assert kinematic.alignment([1.0], []) == (0.0, 0.0, 0.0)
  assert np.isnan(kinematic.alignment_chance([], [1.0], 5.0)).all()
  assert kinematic.alignment_chance([1.0], [], 5.0) == (0.0, 0.0, 0.0)
  with pytest.raises(InputError, match='sigma_s is 0'):
    kinematic.alignment([1.0], [1.0], 0)
  with pytest.raises(InputError, match='duration_s is 0'):
    kinematic.alignment_chance([1.0], [1.0], 0)


beats = st.lists(st.floats(0, 30), min_size=1, max_size=12).map(np.array)


@settings(max_examples=50, deadline=None)
@given(beats, beats, st.floats(-5, 5))
def test_alignment_is_bounded_symmetric_and_moves_along(
  motion_s, sound_s, by_s
):
  value = kinematic.alignment(motion_s, sound_s)
  assert all(0 <= part <= 1 for part in value)
  low, high = sorted(value[:2])
  assert low - 1e-12 <= value.harmonic <= high + 1e-12
  swapped = kinematic.alignment(sound_s, motion_s)
  assert swapped[:2] == value[1::-1]
  moved = kinematic.alignment(motion_s + by_s, sound_s + by_s)
  assert moved == pytest.approx(value, abs=1e-9)
  assert kinematic.alignment(motion_s, motion_s) == (1, 1, 1)


def test_density_and_single_beats_fool_one_direction_each():
  dance_s, clicks_s = np.arange(0.25, 60, 0.5), np.arange(0, 60, 0.093)
  always_on = kinematic.alignment(dance_s, clicks_s)
  assert always_on.motion_to_sound == pytest.approx(0.87, abs=0.01)
  assert always_on.sound_to_motion == pytest.approx(0.25, abs=0.01)
  assert always_on.harmonic == pytest.approx(0.39, abs=0.01)
  lone = kinematic.alignment(dance_s, [10.25])
  assert lone.sound_to_motion == 1 and lone.harmonic < 0.02
  chance = kinematic.alignment_chance(dance_s, clicks_s, 60.0)
  assert np.abs(np.subtract(always_on, chance)).max() < 0.01


def test_chance_is_what_theory_says():
  # Mean of exp(-d^2 / 2 sigma^2) over a period, far larger than sigma.
  dance_s, sound_s = np.arange(0.1, 30, 0.5), np.arange(0.3, 30, 0.6)
  chance = kinematic.alignment_chance(dance_s, sound_s, 30.0)
  area_s = np.sqrt(2 * np.pi) * 0.05
  assert chance.motion_to_sound == pytest.approx(area_s / 0.6, abs=0.01)
  assert chance.sound_to_motion == pytest.approx(area_s / 0.5, abs=0.01)
  lone = kinematic.alignment_chance([5.0], [5.0], 10.0)
  assert lone == pytest.approx([area_s / 10] * 3, rel=0.01)


@pytest.mark.parametrize(
  'duration_s, bpm', [(100, 120), (120, 100), (60, 100), (30, 100), (40, 150)]
)
def test_chance_is_the_same_however_long_a_regular_dance_is(duration_s, bpm):
  period_s = 60 / bpm
  beats_s = np.arange(period_s / 2, duration_s, period_s)
  chance = kinematic.alignment_chance(beats_s, beats_s, duration_s)
  area_s = np.sqrt(2 * np.pi) * 0.05
  assert chance.harmonic == pytest.approx(area_s / period_s, abs=0.01)


def test_sound_on_the_dance_is_above_chance():
  gaps = {'own': [], 'other': []}
  for seed, kind in enumerate(PROGRESS):
    track, beats_s = dancer(kind, 100 + 10 * seed, 30, seed)
    motion_s = kinematic.combined_beats(clean_pose(track, 50), 50).beats_s
    other_s = np.arange(0.13, DURATION_S, 0.43)
    for name, sound_s in (('own', beats_s), ('other', other_s)):
      value = kinematic.alignment(motion_s, sound_s)
      chance = kinematic.alignment_chance(motion_s, sound_s, DURATION_S)
      gaps[name].append(value.harmonic - chance.harmonic)
  assert min(gaps['own']) > 0.4
  assert abs(np.mean(gaps['other'])) < 0.1


def test_retrieval_by_hand():
  ranks, first, reciprocal = kinematic.retrieval_rank(
    [[0.9, 0.1, 0.2], [0.8, 0.5, 0.1], [0.3, 0.3, 0.3]]
  )
  assert ranks.tolist() == [1, 2, 2]
  assert first == pytest.approx((1 + 0 + 1 / 3) / 3)
  assert reciprocal == pytest.approx((1 + 1 / 2 + (1 + 1 / 2 + 1 / 3) / 3) / 3)


def test_retrieval_of_constant_scores_is_chance():
  ranks, first, reciprocal = kinematic.retrieval_rank(np.zeros((8, 8)))
  assert (ranks == 4.5).all()
  assert first == pytest.approx(1 / 8)
  assert reciprocal == pytest.approx(np.mean(1 / np.arange(1, 9)))


def test_retrieval_with_unanswered_questions():
  score_NN = np.array([[0.5, np.nan], [0.9, np.nan]])
  ranks, first, reciprocal = kinematic.retrieval_rank(score_NN)
  assert ranks[0] == 1 and np.isnan(ranks[1])
  assert first == reciprocal == 1
  _, first, reciprocal = kinematic.retrieval_rank(np.full((3, 3), np.nan))
  assert np.isnan([first, reciprocal]).all()
  with pytest.raises(InputError, match=r'scores have shape \(2, 3\)'):
    kinematic.retrieval_rank(np.zeros((2, 3)))
