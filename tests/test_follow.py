"""Figures of changed dances know what a sound gets that does not notice."""

import numpy as np
import pytest

from dance2wave.metrics import follow, groups

SHIFTS_S = (-0.3, -0.16, 0.16, 0.3)
NUM = 12


def trains(seed=0):
  """Beats of dances of all tempi, 10 s each."""
  rng = np.random.default_rng(seed)
  periods_s = 60 / np.linspace(72, 168, NUM)
  return [np.arange(rng.uniform(0, p), 10, p) for p in periods_s]


def shifted_by(seen):
  """What is heard of sounds that see a share of every shift."""
  return [[b + seen * s for b in trains()] for s in SHIFTS_S]


def beside_chance(compare, after_SC):
  others = groups.next_of_others([str(n) for n in range(NUM)])
  return follow.beside_chance(compare, trains(), after_SC, others)


def test_a_shift_that_is_followed_leaves_nothing_and_chance_much():
  compare = follow.shifts_of_beats(SHIFTS_S, is_residual=True)
  found = beside_chance(compare, shifted_by(1))
  assert np.max(found['']) < 1e-6
  assert np.mean(found['unchanged']) > 100
  assert np.mean(found['shuffled']) > 20


def test_a_sound_that_does_not_notice_is_its_own_control():
  for is_residual in (False, True):
    compare = follow.shifts_of_beats(SHIFTS_S, is_residual)
    found = beside_chance(compare, shifted_by(0))
    assert found[''] == found['unchanged']
  # Why the slope alone says little: beats are looked for around the shift.
  slopes = beside_chance(follow.shifts_of_beats(SHIFTS_S, False), shifted_by(0))
  assert np.mean(slopes['unchanged']) > 0.4


def test_beats_that_do_not_move_have_slope_zero():
  beats_s = np.arange(0.3, 8, 0.5)
  for shift_s, moved_s in ((0.2, beats_s + 0.2), (-0.16, beats_s - 0.16)):
    later = follow.later_s(beats_s, moved_s, shift_s)
    assert later == pytest.approx(shift_s, abs=1e-6)
    stayed = follow.later_s(beats_s, beats_s, shift_s)
    assert stayed == pytest.approx(0.0, abs=1e-6)


def test_intervals_stretch_where_dancers_have_such_tempi():
  beats_s = np.arange(0.3, 8, 0.5)
  ratio = follow.log_ratio(beats_s, beats_s * 1.15, 1.15)
  assert ratio == pytest.approx(np.log(1.15))
  assert np.isnan(follow.log_ratio(beats_s / 2, beats_s, 0.85))
  factors = (0.85, 1.15)
  after_SC = [[b * f for b in trains()] for f in factors]
  found = beside_chance(follow.stretches_of_beats(factors), after_SC)
  assert np.nanmean(found['']) == pytest.approx(1)
  assert np.nanmax(np.abs(found['unchanged'])) < 1e-9


def test_the_same_beats_are_the_same_for_who_does_not_notice():
  found = beside_chance(follow.same_beats, [trains()])
  assert found[''] == found['unchanged'] == [1.0] * NUM
  assert np.mean(found['shuffled']) < 0.6


def test_the_other_octave_is_asked_for_where_it_can_be_heard():
  slow_s, fast_s = np.arange(0, 9, 60 / 80), np.arange(0, 9, 60 / 140)
  asked = [follow.other_octave_bpm(b) for b in (slow_s, fast_s)]
  assert asked == pytest.approx([160, 70])
  for bpm in (100, 110, 118):  # 200, 55, 59 are not heard
    assert np.isnan(follow.other_octave_bpm(np.arange(0, 9, 60 / bpm)))
  unheard_s = np.arange(0, 9, 0.6)
  kept = follow.is_other_octave(
    [slow_s, slow_s, unheard_s], [[slow_s, slow_s * 0.51, unheard_s]]
  )
  assert kept[:2] == [0, 1] and np.isnan(kept[2])


def test_clips_of_one_song_make_no_interval_narrower():
  songs = np.random.default_rng(0).normal(0.5, 0.2, 8)
  names = [str(song) for song in range(8)]

  def figure(copies):
    values = list(songs) * copies
    found = {'': values, 'shuffled': [0.3 - v for v in values]}
    given = 'x', 'x', found, 'higher', '', 'x', names * copies
    return follow.make_figure(*given)

  alone, cut = figure(1), figure(8)
  assert cut == alone
  assert alone.high - alone.low > 0.1


def test_the_next_of_another_group_is_taken():
  assert groups.next_of_others(['a', 'a', 'b', 'b', 'c']) == [2, 2, 4, 4, 0]
  assert groups.next_of_others(['a', 'a']) == [None, None]
  assert groups.next_of_others([]) == []
