import dataclasses
import time

import mir_eval
import numpy as np
import pytest
from scipy.interpolate import CubicSpline

from dance2wave.datasets.synthetic_dance import (
  body,
  camera,
  choreography,
  curves,
  movement,
  oracle,
)
from dance2wave.datasets.synthetic_dance.plan import (
  FRAME_RATES_HZ,
  SPLITS,
  STYLES,
  draw_plan,
)
from dance2wave.pose.skeleton import CORE14_EDGES, SKELETONS

ANKLES = [SKELETONS['core14'].index(f'{s}_ankle') for s in ('right', 'left')]


@pytest.fixture(scope='module')
def plans():
  return [draw_plan(index, 'train') for index in range(24)]


@pytest.fixture(scope='module')
def dances(plans):
  return [movement.dance(plan) for plan in plans]


def _length_m(dance, edge):
  a, b = edge
  bone = dance.pose3d_NJ3[:, a] - dance.pose3d_NJ3[:, b]
  return np.linalg.norm(bone, axis=-1)


def _scores(indices, split, is_ambiguous=False):
  """F at 70 ms and the relative error of the tempo, clip by clip."""
  f_measures, errors = [], []
  for index in indices:
    plan = draw_plan(index, split, is_ambiguous=is_ambiguous)
    pose_FJD, time_s = camera.film(plan, movement.dance(plan))
    beats_s = oracle.find_beats(pose_FJD, time_s)
    true_s = plan.beats_in_clip_s
    f_measures.append(mir_eval.beat.f_measure(true_s, beats_s))
    ratio = np.diff(true_s).mean() / np.diff(beats_s).mean()
    errors.append(abs(ratio - 1.0))
  return np.array(f_measures), np.array(errors)


def test_time_covers_the_clip(plans, dances):
  for plan, dance in zip(plans, dances):
    assert dance.time_s[0] == 0.0 and dance.time_s[-1] == plan.duration_s
    assert np.ptp(np.diff(dance.time_s)) < 1e-9
    assert dance.pose3d_NJ3.shape == (len(dance.time_s), 14, 3)
    assert np.isfinite(dance.pose3d_NJ3).all()


def test_bones_keep_their_lengths_and_bodies_differ(dances):
  for dance in dances:
    for edge in CORE14_EDGES:
      assert np.ptp(_length_m(dance, edge)) < 1e-6
  thighs_m = [_length_m(dance, (8, 9))[0] for dance in dances]
  assert np.ptp(thighs_m) > 0.05
  assert all(0.3 < thigh_m < 0.55 for thigh_m in thighs_m)


def test_body_refuses_to_overstretch_a_leg():
  dancer = body.draw_body(np.random.default_rng(0))
  ankle_N23 = np.array([[[-0.5, dancer.ankle_m, 0], [0.5, dancer.ankle_m, 0]]])
  angles = np.zeros((1, len(body.CHANNELS)))
  joints = body.articulate(dancer, angles, np.zeros((1, 2)), ankle_N23)
  np.testing.assert_allclose(joints[0, ANKLES], ankle_N23[0], atol=1e-12)
  thigh, shin = (
    np.linalg.norm(joints[0, a] - joints[0, b]) for a, b in ((8, 9), (9, 10))
  )
  assert thigh == pytest.approx(dancer.thigh_m)
  assert shin == pytest.approx(dancer.shin_m)


def test_one_foot_stands_and_does_not_slide(dances):
  for dance in dances:
    ankle_N23 = dance.pose3d_NJ3[:, ANKLES]
    ground_m = ankle_N23[..., 1].min()
    assert 0.05 < ground_m < 0.12
    low_m = ankle_N23[..., 1].min(axis=1) - ground_m
    assert (low_m < 0.03).mean() > 0.98
    speed = np.linalg.norm(np.diff(ankle_N23[..., ::2], axis=0), axis=-1)
    speed *= movement.RATE_HZ
    stands = ankle_N23[:-1, :, 1] < ground_m + 1e-6
    assert speed[stands].max() < 0.05
    assert dance.pose3d_NJ3[..., 1].min() >= ground_m - 1e-9


def test_dancers_step_and_move_their_arms(dances):
  travels = [np.ptp(d.pose3d_NJ3[:, ANKLES, 0], axis=0).max() for d in dances]
  wrists = [np.ptp(d.pose3d_NJ3[:, [4, 7], 1], axis=0).max() for d in dances]
  assert np.median(travels) > 0.1 and np.median(wrists) > 0.3


def test_joints_bend_like_human_ones(dances):
  for dance in dances:
    joints = dance.pose3d_NJ3
    assert (joints[:, 0, 1] > joints[:, 8, 1] + 0.3).all()
    speed = np.linalg.norm(np.diff(joints, axis=0), axis=-1) * movement.RATE_HZ
    assert speed.max() < 15.0  # m/s: no joint jumps


def test_same_plan_same_film_and_other_seed_another(plans, dances):
  again = movement.dance(draw_plan(3, 'train'))
  np.testing.assert_array_equal(again.pose3d_NJ3, dances[3].pose3d_NJ3)
  for a, b in zip(
    camera.film(plans[3], again), camera.film(plans[3], dances[3])
  ):
    np.testing.assert_array_equal(a, b)
  other = dataclasses.replace(plans[3], seed=(9, 0, 3, 0))
  assert not np.array_equal(movement.dance(other).pose3d_NJ3, again.pose3d_NJ3)


def test_poses_come_from_the_choreography_alone(plans):
  plan = plans[0]
  drawn = choreography.draw_phrases(plan.choreography, plan.style)
  again = choreography.draw_phrases(plan.choreography, plan.style)
  np.testing.assert_array_equal(drawn[0].angle_PC, again[0].angle_PC)
  other = choreography.draw_phrases(plan.choreography + 1, plan.style)
  assert not np.isin(other[0].angle_PC, drawn[0].angle_PC).all()


def test_splits_share_no_choreography():
  seen = [
    {draw_plan(index, split).choreography for index in range(200)}
    for split in SPLITS
  ]
  assert not seen[0] & seen[1] and not seen[0] & seen[2]
  assert not seen[1] & seen[2]


def test_styles_look_different():
  lean = []
  for style in STYLES:
    drawn = [choreography.draw_phrases(seed, style)[0] for seed in range(30)]
    poses = np.concatenate([phrase.angle_PC for phrase in drawn])
    lean.append(poses[:, body.CHANNEL['lean']].mean())
  assert np.ptp(lean) > 0.1


def test_mirror_is_its_own_inverse():
  pose = np.random.default_rng(0).normal(size=(5, len(body.CHANNELS)))
  mirrored = choreography.mirror(pose)
  np.testing.assert_array_equal(choreography.mirror(mirrored), pose)
  assert not np.array_equal(mirrored, pose)


def test_dancers_are_lowest_on_the_beat():
  late_s = {True: [], False: []}
  for index in range(100):
    plan = draw_plan(index, 'train')
    manner = movement.draw_manner(plan)
    if manner.cues[0][0] != 'hips':
      continue
    dance = movement.dance(plan)
    height_N = dance.pose3d_NJ3[:, [8, 11], 1].mean(axis=1)
    time_s = np.arange(0.0, plan.duration_s, 1e-3)
    height_N = CubicSpline(dance.time_s, height_N)(time_s)
    for beat_s in plan.beats_in_clip_s:
      near = np.flatnonzero(np.abs(time_s - beat_s) < 0.1)
      if 0.1 < beat_s < plan.duration_s - 0.1:
        low_s = time_s[near[height_N[near].argmin()]]
        late_s[bool(manner.half_depth)].append(low_s - beat_s)
  for late in late_s.values():
    assert len(late) > 50
    assert abs(np.median(late)) < 0.002 and abs(np.mean(late)) < 0.002
    assert np.percentile(np.abs(late), 90) < 0.012


def test_curves_are_in_range_and_follow_the_planned_size(plans, dances):
  within = []
  for plan, dance in zip(plans, dances):
    time_s, size_N, hands_N = curves.motion_curves(dance)
    assert len(time_s) == len(size_N) == len(hands_N)
    for curve in (size_N, hands_N):
      assert curve.min() >= 0.0 and curve.max() <= 1.0
    planned = np.interp(time_s, plan.beats_s, plan.size_K)
    within.append(np.corrcoef(planned, size_N)[0, 1])
  assert np.median(within) > 0.5


def test_bigger_plans_give_bigger_dances(plans):
  for plan in plans[:6]:
    sizes = []
    for value in (0.1, 0.5, 1.0):
      size_K = np.full(len(plan.size_K), value)
      dance = movement.dance(dataclasses.replace(plan, size_K=size_K))
      sizes.append(curves.motion_curves(dance)[1].mean())
    assert 0 < sizes[0] < sizes[1] < sizes[2]


def test_hands_curve_knows_hanging_from_raised():
  dancer = body.draw_body(np.random.default_rng(1))
  ankle_N23 = np.tile([[-0.1, 0.07, 0.0], [0.1, 0.07, 0.0]], (200, 1, 1))
  heights = []
  for lift in (0.0, np.pi):
    angles = np.zeros((200, len(body.CHANNELS)))
    for side in ('right', 'left'):
      angles[:, body.CHANNEL[f'{side}_raise']] = lift
    joints = body.articulate(dancer, angles, np.zeros((200, 2)), ankle_N23)
    still = movement.Dance(np.arange(200) / 100, joints)
    _, size_N, hands_N = curves.motion_curves(still)
    assert size_N.max() == 0.0
    heights.append(hands_N.mean())
  assert heights == pytest.approx([0.0, 1.0], abs=1e-6)


@pytest.mark.parametrize('rate_hz', [*FRAME_RATES_HZ, None])
def test_films_of_every_frame_rate(plans, dances, rate_hz):
  plan = dataclasses.replace(plans[1], frame_rate_hz=rate_hz)
  pose_FJD, time_s = camera.film(plan, dances[1])
  assert pose_FJD.shape == (len(time_s), 14, 3)
  assert pose_FJD.dtype == np.float32 and time_s.dtype == np.float64
  assert np.isfinite(pose_FJD).all()
  assert pose_FJD[..., 2].min() >= 0.0 and pose_FJD[..., 2].max() <= 1.0
  gap_s = np.diff(time_s)
  assert time_s[0] == 0.0 and time_s[-1] < plan.duration_s
  assert plan.duration_s - time_s[-1] <= camera.MAX_GAP_S + 1e-9
  if rate_hz is None:
    assert gap_s.min() >= camera.MIN_GAP_S - 1e-9
    assert gap_s.max() <= camera.MAX_GAP_S + 1e-9
    assert gap_s.std() > 1e-3
  else:
    np.testing.assert_allclose(gap_s, 1.0 / rate_hz, atol=1e-9)


def test_noise_is_that_of_real_estimators(plans, dances):
  levels, lost = [], []
  for plan, dance in zip(plans, dances):
    pose_FJD, time_s = camera.film(plan, dance)
    true_FJ2, _ = camera.picture(plan, dance, time_s)
    seen = pose_FJD[..., 2] > 0.2
    height = 1.08 * np.median(np.ptp(true_FJ2[..., 1], axis=1))
    error = np.abs(pose_FJD[..., :2] - true_FJ2)[seen]
    levels.append(1.4826 * np.median(error) / height)
    lost.append(1.0 - seen.mean())
  assert min(levels) > 0.003 and max(levels) < 0.012
  assert 0.005 < np.mean(lost) < 0.1


def test_pictures_show_an_upright_dancer(plans, dances):
  for plan, dance in zip(plans, dances):
    time_s = camera.frame_times_s(plan)
    true_FJ2, depth_FJ = camera.picture(plan, dance, time_s)
    assert depth_FJ.min() > 1.0
    assert (true_FJ2[:, 0, 1] < true_FJ2[:, ANKLES, 1].min(axis=1)).all()
    assert true_FJ2[..., 1].min() > -0.2 and true_FJ2[..., 1].max() < 1.2


def test_one_clip_takes_little_time(plans):
  start_s = time.process_time()
  for plan in plans:
    camera.film(plan, movement.dance(plan))
  assert (time.process_time() - start_s) / len(plans) < 0.04


def test_oracle_sees_the_beat():
  f_measure, error = _scores(range(24), 'train')
  assert f_measure.mean() >= 0.95
  assert (error < 0.04).mean() >= 0.9


def test_oracle_is_lost_with_ambiguous_dancers():
  f_measure, _ = _scores(range(10), 'train', is_ambiguous=True)
  assert f_measure.mean() < 0.7


@pytest.mark.slow
def test_oracle_settles_phase_and_octave():
  f_measure, error = _scores(range(200), 'test')
  assert f_measure.mean() >= 0.97
  assert (error < 0.04).mean() >= 0.99
