"""With drafts the `cpu` engine draws what it draws without, bit for bit."""

import os
import time

import numpy as np
import pytest
from engine_cases import make_case

from dance2wave.sampling import cpu, cpu_drafted, cpu_team
from dance2wave.sampling.cpu import CpuEngine
from dance2wave.sampling.cpu_pack import AHEAD, frozen
from dance2wave.sampling.weights import rounded
from dance2wave.sampling.xla import Draw

# Drafts begin and end anywhere: a ring has 16 slots more than past inputs take.
_SIZES = ('samples_per_frame', 75), ('dilations', (1, 2, 3, 12, 40, 64))
_ODD = ('residual', 40), ('gate', 24), ('skip', 72)


@pytest.fixture(autouse=True)
def all_models_are_slow(monkeypatch):
  """Toys would not be tried, and other tests run beside what is measured."""
  monkeypatch.setattr(cpu, '_LEAST_S', 0.0)
  monkeypatch.setattr(CpuEngine, '_least_kept', lambda *_: 0.0)
  monkeypatch.setattr(cpu, '_CALLS_ALONE', 0)


def in_step(case):
  """Return an engine without drafts."""
  engine = CpuEngine(*case.model, case.draw)
  engine._drafts = None
  return engine


def draw(case, engine, ends=(4,), cores=1):
  """Return the sound, drawn in pieces, and the state after it."""
  state, parts, begin = engine.start(len(case.context), cores), [], 0
  for end in ends:
    context, uniform = case.context[:, begin : end + 1], case.uniform[begin:end]
    part, state = engine.run(context, case.style, uniform, state)
    parts.append(part)
    begin = end
  return np.concatenate(parts, axis=1), state


def counted(engine):
  """Return a list to which the samples of a round are added at each call."""
  kept, draw_drafted = [], engine._draw_drafted

  def call(*arguments):
    kept.append(draw_drafted(*arguments))
    return kept[-1]

  engine._draw_drafted = call
  return kept


@pytest.mark.parametrize('cores', [1, 2])
@pytest.mark.parametrize(
  'batch, kernel, sizes, choice',
  [
    (1, 2, _SIZES, {}),
    (3, 3, _SIZES + _ODD, {'top_p': 0.8, 'temperature': 0.7}),
    (2, 3, _ODD, {'guidance': 2.0}),
    (1, 2, (('samples_per_frame', 1),), {}),
    (1, 3, (*_SIZES, ('samples_per_frame', 7)), {}),
  ],
)
def test_drafts_change_no_bit(batch, kernel, sizes, choice, cores):
  case = make_case(batch, 4, kernel=kernel, sizes=sizes, **choice)
  plain, state = draw(case, in_step(case))
  engine = CpuEngine(*case.model, case.draw)
  kept = counted(engine)
  for ends in ((4,), (1, 3, 4)):
    drafted, after = draw(case, engine, ends, cores)
    np.testing.assert_array_equal(drafted, plain)
    np.testing.assert_array_equal(after['rings'], state['rings'])
    np.testing.assert_array_equal(after['bent'], state['bent'])
    assert after['sample'] == state['sample']
  assert len(kept) == 4
  is_one_sample = ('samples_per_frame', 1) in sizes
  assert min(kept) > 2 or is_one_sample


@pytest.mark.parametrize('late', [0, 1])
def test_two_cores_draw_the_same_whichever_begins_first(monkeypatch, late):
  case = make_case(2, 3, sizes=_SIZES, guidance=2.0)
  engine, calls = CpuEngine(*case.model, case.draw), []

  def all_at_once(one_member, members):
    def one_is_late(number):
      if number == late:
        time.sleep(0.05)
      one_member(number)

    calls.append(members)
    return cpu_team.all_at_once(one_is_late, members)

  monkeypatch.setattr(cpu_drafted, 'all_at_once', all_at_once)
  states = [draw(case, engine, (1, 3), cores) for cores in (1, 2, 3)]
  assert calls == [2] * 2 * 2 * 2  # Clips, calls, and numbers of cores.
  for audio, state in states[1:]:
    np.testing.assert_array_equal(audio, states[0][0])
    np.testing.assert_array_equal(state['rings'], states[0][1]['rings'])


@pytest.mark.skipif(
  not hasattr(os, 'sched_setaffinity'), reason='needs Linux to keep to a core'
)
def test_two_that_share_one_core_give_way_to_one_another():
  case = make_case(1, 2, sizes=_SIZES)
  engine, usable = CpuEngine(*case.model, case.draw), os.sched_getaffinity(0)
  alone, _ = draw(case, engine, (2,))
  os.sched_setaffinity(0, {min(usable)})
  try:
    began = time.monotonic()
    together, _ = draw(case, engine, (2,), cores=2)
    assert time.monotonic() - began < 30
  finally:
    os.sched_setaffinity(0, usable)
  np.testing.assert_array_equal(together, alone)


@pytest.mark.parametrize('cores', [1, 2])
def test_calls_with_drafts_and_without_take_turns(cores):
  case = make_case(1, 4, sizes=_SIZES)
  plain, _ = draw(case, in_step(case))
  engine = CpuEngine(*case.model, case.draw)
  state, parts, drafted = engine.start(1, cores), [], engine._drafts
  for frame in range(4):
    engine._drafts = drafted if frame % 2 else None
    context, uniform = case.context[:, frame : frame + 2], case.uniform[frame:]
    part, state = engine.run(context, case.style, uniform[:1], state)
    parts.append(part)
  np.testing.assert_array_equal(np.concatenate(parts, axis=1), plain)


@pytest.mark.parametrize('cores', [1, 2])
def test_wrong_drafts_cost_time_only_and_are_given_up_for_some_calls(
  monkeypatch, cores
):
  case = make_case(1, 12, sizes=_SIZES)
  plain, _ = draw(case, in_step(case), (12,))
  engine = CpuEngine(*case.model, case.draw)
  quick = engine._drafts
  bias = quick.logits_O.copy()
  bias[:100] = 50  # Drafts are of the classes that are seldom drawn.
  engine._drafts = quick._replace(logits_O=frozen(bias))
  kept = counted(engine)
  audio, _ = draw(case, engine, (12,), cores)
  np.testing.assert_array_equal(audio, plain)
  assert kept[0] < 2
  monkeypatch.setattr(CpuEngine, '_least_kept', lambda *_: 4.0)
  engine._next_calls_in_step = 1
  audio, _ = draw(case, engine, range(1, 13), cores)
  np.testing.assert_array_equal(audio, plain)
  # Of twelve calls the first, third, sixth and eleventh: after each failure
  # twice as many are drawn without.
  assert len(kept) == 1 + 4
  assert engine._next_calls_in_step == 16
  engine._note_kept(True)
  assert engine._next_calls_in_step == cpu._CALLS_IN_STEP


def test_a_core_that_is_not_there_is_done_without_for_some_calls(monkeypatch):
  case = make_case(1, 12, sizes=_SIZES)
  plain, _ = draw(case, in_step(case), (12,))
  engine, calls = CpuEngine(*case.model, case.draw), []
  monkeypatch.setattr(cpu, '_CALLS_ALONE', 8)

  def two_at_once(one_member, members):
    cpu_team.all_at_once(one_member, members)
    calls.append(members)
    return len(calls) > 1

  monkeypatch.setattr(cpu_drafted, 'all_at_once', two_at_once)
  audio, _ = draw(case, engine, range(1, 13), cores=2)
  np.testing.assert_array_equal(audio, plain)
  # The first call, then eight by one core, then the last three.
  assert calls == [2] * 4


def test_drafts_of_weights_that_are_bytes_already_are_kept():
  case = make_case(1, 4, sizes=_SIZES)
  graphdef, params = case.model
  engine = CpuEngine(graphdef, rounded(params, 'int8'), case.draw)
  kept = counted(engine)
  draw(case, engine)
  assert kept[0] > 0.98 * 300 / -(-300 // AHEAD)


@pytest.mark.parametrize(
  'least, cores, expected', [(15, 1, 1), (17, 1, 0), (9, 2, 1), (10, 2, 0)]
)
def test_drafts_are_for_where_they_pay(monkeypatch, least, cores, expected):
  """Cores that share the weights gain more than those that draft."""
  case = make_case(1, 1, sizes=_ODD)
  engine = CpuEngine(*case.model, case.draw)
  kept = counted(engine)
  monkeypatch.setattr(CpuEngine, '_least_kept', lambda *_: least)
  draw(case, engine, (1,), cores)
  assert len(kept) == expected


def test_what_a_round_must_have_is_tried(monkeypatch):
  """Rounds of four samples take half as long as samples one by one."""
  monkeypatch.undo()
  monkeypatch.setattr(cpu, '_LEAST_S', 0.0)
  engine = CpuEngine(*make_case(1, 1, sizes=_SIZES).model, Draw())
  assert 0 < engine._least[1] < np.inf

  def try_(clips, draw=None):
    if draw is None:
      return 6.0
    draw()
    return 3.0

  monkeypatch.setattr(engine, '_try', try_)
  monkeypatch.setattr(engine, '_draw_drafted', lambda: 4.0)
  assert engine._speculates(2, 1) and engine._least[2] == 2.0
  # The weights serve more clips enough without drafts.
  assert not engine._speculates(5, 1) and 5 not in engine._least


def test_clips_apart_are_tried_with_drafts(monkeypatch):
  engine = CpuEngine(*make_case(1, 1, sizes=_SIZES).model, Draw())
  engine.team = 2
  for apart_s, pays in ((1.7, False), (1.9, True)):  # Of 3 s of one core.
    engine._pays.clear()
    times = {True: apart_s, False: 3.0}
    monkeypatch.setattr(
      engine, '_try', lambda _, draw=None, t=times: t[draw is not None]
    )
    assert engine.team_pays(4) == pays


def test_no_drafts_of_what_is_continuous():
  """Two models never draw the same number."""
  case = make_case(1, 1, 'mixture')
  assert CpuEngine(*case.model, case.draw)._drafts is None
