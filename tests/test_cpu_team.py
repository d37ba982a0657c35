"""Cores that draw the same clips together draw what one core draws."""

import os
import time
import types

import jax
import numpy as np
import pytest
from engine_cases import make_case, tokens
from noise_models import params_of
from small_config import options_with

from dance2wave import cores
from dance2wave.pose.features import MOTION_DIM
from dance2wave.sampling import cpu, cpu_team, offline, vectors
from dance2wave.sampling.cpu import CpuEngine
from dance2wave.training import step

# With 16 numbers in a vector: 3 of units, 5 of the skip path. Three members
# have one, one and one, and one, two and two.
_SIZES = ('residual', 40), ('gate', 40), ('skip', 72)


@pytest.fixture(autouse=True)
def never_alone(monkeypatch):
  """Other tests run beside; a team must not give up for them.

  Nor may a slow processor form one by itself, or draft, where none is asked
  for.
  """
  monkeypatch.setattr(cpu, '_CALLS_ALONE', 0)
  monkeypatch.setattr(cpu, '_LEAST_S', np.inf)


def draw(case, members, engine=None):
  engine = engine or CpuEngine(*case.model, case.draw)
  start = engine.start(len(case.context), members)
  assert start['cores'] == engine._members(members) == members
  return engine.run(case.context, case.style, case.uniform, start)[0]


@pytest.mark.parametrize(
  'members, output, kernel, skip, choice',
  [
    (2, 'softmax', 2, 72, {}),
    pytest.param(
      *(3, 'softmax', 3, 72, {'guidance': 2.0}), marks=pytest.mark.slow
    ),
    (3, 'mixture', 3, 8, {}),  # One or two vectors to share out.
    (2, 'softmax', 2, 8, {'weights': 'int8'}),
  ],
)
def test_a_team_draws_what_one_does_bit_for_bit(
  members, output, kernel, skip, choice
):
  sizes = *_SIZES, ('skip', skip)
  case = make_case(3, 3, output, kernel, sizes, **choice)
  alone = draw(case, 1)
  np.testing.assert_array_equal(draw(case, members), alone)
  if output == 'softmax':
    np.testing.assert_array_equal(tokens(alone), tokens(case.audio))


def test_more_cores_than_units_are_left_alone():
  case = make_case(3, 3, sizes=_SIZES)
  engine = CpuEngine(*case.model, case.draw)
  alone = draw(case, 1, engine)
  start = engine.start(3, 99)
  audio, _ = engine.run(case.context, case.style, case.uniform, start)
  np.testing.assert_array_equal(audio, alone)
  assert max(engine._teams) == -(-40 // vectors.LANES)


def test_pieces_and_forks_of_a_team_go_on_as_one_does():
  case = make_case(3, 3, sizes=_SIZES)
  engine = CpuEngine(*case.model, case.draw)
  ends = []
  for members in (1, 2):
    _, state = engine.run(
      case.context[:, :2],
      case.style,
      case.uniform[:1],
      engine.start(3, members),
    )
    state = engine.fork(state, np.array([2, 0]))
    assert state['cores'] == members
    clips = slice(0, 2)
    end, _ = engine.run(
      case.context[clips, 1:],
      case.style[clips],
      case.uniform[1:, :, clips],
      state,
    )
    ends.append(end)
  np.testing.assert_array_equal(*ends)


@pytest.mark.skipif(
  not hasattr(os, 'sched_setaffinity'), reason='needs Linux to keep to a core'
)
def test_members_that_share_one_core_give_way_to_one_another():
  case = make_case(3, 3, sizes=_SIZES)
  engine = CpuEngine(*case.model, case.draw)
  alone, usable = draw(case, 1, engine), os.sched_getaffinity(0)
  os.sched_setaffinity(0, {min(usable)})
  try:
    began = time.monotonic()
    together = draw(case, 2, engine)
    assert time.monotonic() - began < 30
  finally:
    os.sched_setaffinity(0, usable)
  np.testing.assert_array_equal(together, alone)


def test_a_team_that_waits_for_cores_leaves_the_next_calls_to_one(
  monkeypatch,
):
  monkeypatch.setattr(cpu, '_CALLS_ALONE', 2)
  case = make_case(3, 3, sizes=_SIZES)
  engine, teams = CpuEngine(*case.model, case.draw), []

  def all_at_once(one_member, members):
    teams.append(members)
    assert cpu_team.all_at_once(one_member, members) in (True, False)
    return members == 1

  monkeypatch.setattr(cpu, 'all_at_once', all_at_once)
  for _ in range(4):
    draw(case, 2, engine)
  assert teams == [2, 1, 1, 2]
  for members in (1, 2, 1, 2, 2):
    draw(case, members, engine)
  # Calls that were for one core anyway are none of the two.
  assert teams[4:] == [1, 1, 1, 1, 2]


def test_a_member_without_a_core_is_noticed():
  assert not cpu_team.all_at_once(lambda member: time.sleep(0.05), 2)
  assert cpu_team.all_at_once(lambda member: time.sleep(0.05), 1)
  with pytest.raises(ZeroDivisionError):
    cpu_team.all_at_once(lambda member: member // (1 - member), 2)


def test_only_slow_models_and_no_more_than_their_units_make_a_team(
  monkeypatch,
):
  case = make_case(3, 3, sizes=_SIZES)
  for least_s, members in ((np.inf, 1), (0, 2)):
    monkeypatch.setattr(cpu, '_LEAST_S', least_s)
    engine = CpuEngine(*case.model, case.draw)
    assert engine.team == members


def test_a_team_pays_where_one_core_draws_fewer_clips_no_faster(monkeypatch):
  case = make_case(3, 3, sizes=_SIZES)
  engine, tried = CpuEngine(*case.model, case.draw), []
  engine.team = 2
  # It reads weights for as long as it computes for 10 clips.
  monkeypatch.setattr(
    engine, '_try', lambda n, draw=None: tried.append(n) or max(n, 10)
  )
  assert engine.team_pays(1) and not tried  # There is nothing to compare.
  assert [n for n in (1, 2, 5, 10, 14, 15, 32) if engine.team_pays(n)] == [
    1,
    2,
    5,
    10,
    14,
  ]
  assert not engine.team_pays(33) and max(tried) == 32
  assert 8 in tried  # Of 15 clips apart one core has eight.
  tried.clear()
  assert engine.team_pays(14) and not tried  # It is known by now.


def test_a_trial_is_of_one_core_and_takes_its_time():
  case = make_case(3, 3, sizes=_SIZES, guidance=2.0)
  engine = CpuEngine(*case.model, case.draw)
  short, long = (
    min(engine._try(3, samples) for _ in range(3)) for samples in (500, 5000)
  )
  assert 5 < long / short < 20


@pytest.mark.parametrize(
  'usable, team, clips, groups, each',
  [
    (1, 2, 3, 1, 1),
    (2, 1, 1, 1, 1),
    (2, 1, 3, 2, 1),
    (2, 2, 1, 1, 2),
    (2, 2, 4, 1, 2),
    (2, 2, 5, 2, 1),
    (8, 2, 3, 3, 2),
    (8, 2, 16, 4, 2),
    (8, 2, 17, 6, 1),
  ],
)
def test_few_clips_share_cores_and_many_are_shared_out(
  monkeypatch, usable, team, clips, groups, each
):
  monkeypatch.setattr(cores, 'usable', lambda: usable)
  engine = types.SimpleNamespace(
    name='cpu', team=team, team_pays=lambda n: n <= 4
  )
  slices, cores_each = offline.groups_of(clips, 1, engine)
  assert (len(slices), cores_each) == (groups, each)
  order = np.concatenate([np.arange(clips)[part] for part in slices])
  np.testing.assert_array_equal(order, np.arange(clips))


@pytest.mark.parametrize(
  'backend, name, groups',
  [('gpu', 'cpu', 4), ('gpu', 'gpu', 1), ('gpu', 'xla', 1), ('cpu', 'xla', 4)],
)
def test_beside_a_gpu_the_cpu_engine_has_all_cores(
  monkeypatch, backend, name, groups
):
  monkeypatch.setattr(cores, 'usable', lambda: 4)
  monkeypatch.setattr(jax, 'default_backend', lambda: backend)
  engine = types.SimpleNamespace(name=name, team=1)
  assert len(offline.groups_of(16, 1, engine)[0]) == groups


@pytest.mark.parametrize('best_of', [1, 2])
def test_dances_sound_the_same_by_a_team(monkeypatch, best_of):
  options, teams = options_with(wave__gate=32), []
  graphdef, init = step.split_model(options, MOTION_DIM)
  params = params_of(init)
  draw = offline.make_draw(options)
  make = offline.Generator(
    options, graphdef, params, draw, 'cpu', best_of=best_of
  )
  rng = np.random.default_rng(0)
  motion_FM = rng.normal(size=(30, MOTION_DIM)).astype(np.float32)
  dances = [offline.Dance(motion_FM, 9600), offline.Dance(motion_FM, 8000)]

  def all_at_once(one_member, members):
    teams.append(members)
    return cpu_team.all_at_once(one_member, members)

  monkeypatch.setattr(cpu, 'all_at_once', all_at_once)
  monkeypatch.setattr(cores, 'usable', lambda: 2)
  apart = make.generate(dances)
  assert set(teams) == {1}
  monkeypatch.setattr(make.engine, 'team', 2)
  monkeypatch.setattr(make.engine, 'team_pays', lambda clips: True)
  teams.clear()
  for one, other in zip(apart, make.generate(dances), strict=True):
    np.testing.assert_array_equal(one, other)
  assert set(teams) == {2}
