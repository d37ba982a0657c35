import dataclasses
import time

import numpy as np
import pytest
from scipy import signal

from dance2wave.datasets.synthetic_dance import (
  generate,
  movement,
  music,
  natural,
  natural_camera,
  natural_manner,
)
from dance2wave.datasets.synthetic_dance import plan as plan_lib
from dance2wave.datasets.synthetic_dance.natural_plan import draw_natural_plan
from dance2wave.datasets.synthetic_dance.plan import SPLITS, draw_plan
from dance2wave.datasets.synthetic_dance.synthetic_dance_dataset_builder import (  # noqa: E501
  SyntheticDanceConfig,
)
from dance2wave.errors import InputError
from dance2wave.pose.clean import clean_pose
from dance2wave.pose.features import motion_size
from dance2wave.pose.skeleton import CORE14_EDGES, SKELETONS
from dance2wave.pose.track import PoseTrack

AT = {name: j for j, name in enumerate(SKELETONS['core14'])}
HIPS = [AT['right_hip'], AT['left_hip']]
ANKLES = [AT['right_ankle'], AT['left_ankle']]
NUM = 100


@pytest.fixture(scope='module')
def plans():
  return [draw_natural_plan(index, 'train') for index in range(NUM)]


@pytest.fixture(scope='module')
def dances(plans):
  return [natural.dance(plan) for plan in plans]


def _turns(time_s, plan):
  """The place of times between two beats, on the unit circle."""
  beat = np.interp(time_s, plan.beats_s, np.arange(len(plan.beats_s)))
  return np.exp(2j * np.pi * beat)


def _low_points(dance, plan):
  height = dance.pose3d_NJ3[:, HIPS, 1].mean(axis=1)
  lows, _ = signal.find_peaks(-height, prominence=0.015)
  return _turns(dance.time_s[lows], plan)


def _landings(dance, plan):
  found = []
  for ankle in ANKLES:
    height = dance.pose3d_NJ3[:, ankle, 1]
    is_up = height > height.min() + 0.01
    found.append(dance.time_s[1:][is_up[:-1] & ~is_up[1:]])
  return _turns(np.concatenate(found), plan)


def _slow_points(dance, plan):
  step = np.diff(dance.pose3d_NJ3, axis=0)
  speed = np.linalg.norm(step, axis=-1).mean(axis=1) * movement.RATE_HZ
  speed = np.convolve(speed, np.hanning(11) / 5, 'same')
  slow, _ = signal.find_peaks(-speed, prominence=0.15)
  return _turns(dance.time_s[slow], plan)


def test_plans_cover_real_music_and_takes(plans):
  tempi = np.array([plan.tempo_bpm for plan in plans])
  assert tempi.min() >= 60 and tempi.max() <= 190
  assert tempi.min() < 75 and tempi.max() > 165
  assert 95 < np.median(tempi) < 130
  durations = np.array([plan.duration_s for plan in plans])
  assert durations.min() >= 8 and durations.max() <= 12
  rates = {plan.frame_rate_hz for plan in plans}
  assert {30.0, 60.0, 100.0, 120.0, None} <= rates


def test_beats_are_the_truth_and_within_the_clip(plans):
  for plan in plans:
    beats_s = plan.beats_in_clip_s
    assert beats_s[0] >= 0 and beats_s[-1] < plan.duration_s
    gap_s = np.diff(beats_s)
    assert np.ptp(gap_s) / gap_s.mean() < 0.06
    assert 60 / gap_s.mean() == pytest.approx(plan.tempo_bpm, rel=0.02)
    assert plan.beats_s[0] < -1 and plan.beats_s[-1] > plan.duration_s + 1


def test_splits_share_neither_choreography_nor_tempo():
  seen = []
  for split in SPLITS:
    plans = [draw_natural_plan(index, split) for index in range(150)]
    cells = {int(plan.tempo_bpm / 0.25) % 10 for plan in plans}
    seen.append(({plan.choreography for plan in plans}, cells))
  for a, b in ((0, 1), (0, 2), (1, 2)):
    assert not seen[a][0] & seen[b][0] and not seen[a][1] & seen[b][1]
  draws = {draw_plan(index, 'train').choreography for index in range(150)}
  assert not draws & seen[1][0] and not draws & seen[2][0]


def test_same_plan_same_film_and_other_seed_another(plans, dances):
  again = natural.dance(draw_natural_plan(3, 'train'))
  np.testing.assert_array_equal(again.pose3d_NJ3, dances[3].pose3d_NJ3)
  for a, b in zip(
    natural_camera.film(plans[3], again),
    natural_camera.film(plans[3], dances[3]),
  ):
    np.testing.assert_array_equal(a, b)
  other = draw_natural_plan(3, 'train', seed=1)
  assert other.choreography != plans[3].choreography
  moved = dataclasses.replace(plans[3], seed=(1, 0, 3, 2))
  assert not np.array_equal(natural.dance(moved).pose3d_NJ3, again.pose3d_NJ3)


def test_bodies_keep_together(dances):
  for dance in dances:
    joints = dance.pose3d_NJ3
    assert np.isfinite(joints).all()
    for a, b in CORE14_EDGES:
      length_m = np.linalg.norm(joints[:, a] - joints[:, b], axis=-1)
      assert np.ptp(length_m) < 1e-3
    ground_m = joints[:, ANKLES, 1].min()
    assert 0.05 < ground_m < 0.12
    speed = np.linalg.norm(np.diff(joints, axis=0), axis=-1) * movement.RATE_HZ
    assert speed.max() < 25  # m/s: no joint jumps
    assert (joints[:, AT['nose'], 1] > joints[:, HIPS[0], 1]).all()


def test_feet_that_stand_do_not_slide(dances):
  slides = []
  for dance in dances:
    ankle_N23 = dance.pose3d_NJ3[:, ANKLES]
    speed = np.linalg.norm(np.diff(ankle_N23[..., ::2], axis=0), axis=-1)
    stands = ankle_N23[:-1, :, 1] < ankle_N23[..., 1].min() + 1e-6
    slides.append(speed[stands].max() * movement.RATE_HZ)
  assert max(slides) < 0.1


@pytest.mark.parametrize(
  'find,least', [(_low_points, 0.35), (_landings, 0.35), (_slow_points, 0.2)]
)
def test_cues_gather_around_the_beat(plans, dances, find, least):
  clips = [find(dance, plan) for dance, plan in zip(dances, plans)]
  mean = np.concatenate(clips).mean()
  assert abs(mean) > least
  assert abs(np.angle(mean)) < 2 * np.pi * 0.15
  alone = np.real([turns.mean() for turns in clips if len(turns) > 3])
  assert (alone > 0.2).mean() > 0.5
  assert (alone < -0.2).mean() < 0.2


def test_no_cue_is_certain(plans, dances):
  """Unlike those of `default`, whose hips are lowest on every beat."""
  pairs = list(zip(dances, plans))
  clips = [_low_points(dance, plan) for dance, plan in pairs]
  sure = np.array([abs(turns.mean()) for turns in clips if len(turns) > 3])
  assert (sure > 0.9).mean() < 0.4 and (sure < 0.5).mean() > 0.1
  missing = [
    len(plan.beats_in_clip_s) - len(t) for t, plan in zip(clips, plans)
  ]
  assert np.mean(np.array(missing) > 4) > 0.2


@pytest.mark.parametrize('is_natural', [False, True])
def test_music_has_random_numbers_of_its_own(monkeypatch, is_natural):
  drawn, rng, render = [], plan_lib.Plan.rng, music.render
  of_music = []

  def noted(plan, purpose):
    drawn.append(purpose)
    return rng(plan, purpose)

  def rendered(*args):
    of_dance = set(drawn)
    drawn.clear()
    audio_T = render(*args)
    of_music.extend(set(drawn))
    assert not of_dance & set(drawn)
    return audio_T

  monkeypatch.setattr(plan_lib.Plan, 'rng', noted)
  monkeypatch.setattr(music, 'render', rendered)
  generate.make_clip(generate.Task(0, 'train', is_natural=is_natural))
  assert len(of_music) == 3


def test_each_dancer_leads_or_lags_by_tens_of_milliseconds(plans):
  leads_s = [natural_manner.draw_manner(plan).lead_s for plan in plans]
  assert 0.015 < np.std(leads_s) < 0.035
  assert abs(np.mean(leads_s)) < 0.01 and np.abs(leads_s).max() <= 0.06


def test_most_dancers_move_with_the_beat_some_at_half_time(plans):
  bounces = [natural_manner.draw_manner(p).layers['bounce'] for p in plans]
  levels = np.array([layer.level for layer in bounces if layer.strength])
  assert 0.55 < (levels == 1).mean() < 0.9
  assert 0.08 < (levels > 1).mean() < 0.4
  fast = [plan.tempo_bpm > 150 for plan, b in zip(plans, bounces) if b.strength]
  assert (levels[fast] > 1).mean() > (levels[~np.array(fast)] > 1).mean()


def test_events_have_accents_jitter_and_gaps(plans):
  plan = plans[0]
  manner = natural_manner.draw_manner(plan)
  accents = np.array([1.5, 0.5, 1.5, 0.5])
  layer = natural_manner.Layer(
    *(1.0, 1.0, 0.0, 0.0, 0.0, 0.0, accents, 'swing', 0.3)
  )
  manner = dataclasses.replace(
    manner, lead_s=0.02, layers={**manner.layers, 'bounce': layer}
  )
  first = -(-plan.first_downbeat % 4)
  whole = natural_manner.Section('groove', first, len(plan.beats_s), 1.0)
  key_s, size_M = natural_manner.draw_events(plan, manner, 'bounce', [whole])
  inner_s = plan.beats_s[1:-1]
  found = np.interp(inner_s + 0.02, key_s, np.arange(len(key_s)))
  np.testing.assert_allclose(found, np.rint(found), atol=1e-6)
  is_strong = (
    np.arange(1, len(plan.beats_s) - 1) - plan.first_downbeat
  ) % 2 == 0
  sizes = size_M[np.rint(found).astype(int)]
  assert sizes[is_strong].mean() > 2 * sizes[~is_strong].mean()
  hold = dataclasses.replace(whole, kind='hold')
  assert len(natural_manner.draw_events(plan, manner, 'bounce', [hold])[0]) == 2
  half = dataclasses.replace(whole, tempo=2.0)
  halved_s, _ = natural_manner.draw_events(plan, manner, 'bounce', [half])
  assert len(halved_s) == pytest.approx(len(key_s) / 2, abs=2)


def test_dancers_also_hold_turn_and_travel(plans, dances):
  travels, behind, still = [], [], []
  for plan, dance in zip(plans, dances):
    pose_FJD, time_s = natural_camera.film(plan, dance)
    hips = dance.pose3d_NJ3[:, HIPS].mean(axis=1)
    travels.append(np.linalg.norm(np.ptp(hips[:, ::2], axis=0)))
    x = dance.pose3d_NJ3[:, [AT['left_shoulder'], AT['right_shoulder']], 0]
    behind.append((x[:, 0] < x[:, 1]).mean())
    pose = PoseTrack(pose_FJD, time_s, 'core14', plan.duration_s)
    size = motion_size(clean_pose(pose, 50), 50)
    still.append((size < 0.25).mean())
  assert np.quantile(travels, 0.9) > 1.0 and np.median(travels) < 1.5
  assert 0.1 < (np.array(behind) > 0.1).mean() < 0.5
  assert (np.array(still) > 0.15).mean() > 0.1


def test_captures_are_quiet_and_films_are_not(plans, dances):
  noise = {True: [], False: []}
  for plan, dance in zip(plans[:40], dances):
    pose_FJD, time_s = natural_camera.film(plan, dance)
    assert pose_FJD.shape == (len(time_s), 14, 3)
    assert pose_FJD.dtype == np.float32 and np.isfinite(pose_FJD).all()
    true_FJ2, depth_FJ = natural_camera.picture(plan, dance, time_s)
    assert depth_FJ.min() > 1.0
    error = np.abs(pose_FJD[..., :2] - true_FJ2)[pose_FJD[..., 2] > 0.2]
    height = np.median(np.ptp(true_FJ2[..., 1], axis=1))
    is_capture = plan.frame_rate_hz in natural_camera.CAPTURE_RATES_HZ
    noise[is_capture].append(np.median(error) / height)
  assert max(noise[True]) < 0.0015 < min(noise[False])
  assert len(noise[True]) > len(noise[False]) > 5


def test_one_clip_takes_little_time(plans):
  start_s = time.process_time()
  for plan in plans[:20]:
    natural_camera.film(plan, natural.dance(plan))
  assert (time.process_time() - start_s) / 20 < 0.06


def test_clips_have_the_schema_of_all():
  task = generate.Task(2, 'validation', is_natural=True, with_3d=True)
  clip = generate.make_clip(task)
  plan = draw_natural_plan(2, 'validation')
  np.testing.assert_array_equal(clip['beats_s'], plan.beats_in_clip_s)
  assert len(clip['audio']) == round(plan.duration_s * 16000)
  assert clip['aux']['pose3d'].shape == clip['pose'].shape
  assert clip['group'] == f'choreography_{plan.choreography}'
  again = generate.make_clip(task)
  np.testing.assert_array_equal(again['audio'], clip['audio'])
  assert np.abs(clip['audio']).max() > 1000


def test_a_dancer_is_natural_or_ambiguous():
  with pytest.raises(InputError, match='both true; expected one'):
    SyntheticDanceConfig(name='x', is_natural=True, is_ambiguous=True)
