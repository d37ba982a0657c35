"""Benchmarks: baselines are right, figures are written and compared."""

import dataclasses
import json
import os
import types

import jax
import numpy as np
import pytest
from command_line import assert_one_line, run
from small_config import config_with

from dance2wave import cores
from dance2wave.benchmarks import (
  plain,
  rounds,
  suite,
  surroundings,
  table,
  wave,
)
from dance2wave.errors import InputError
from dance2wave.sampling.engines import make_engine
from dance2wave.sampling.xla import Draw

TINY = suite.Plan(
  model='debug',
  batches=(1, 2),
  frames=2,
  lengths_s=(0.005, 0.01, 0.02),
  training=(1,),
  training_frames=3,
  side=64,
  crops=1,
  dance_s=1.5,
  memory_s=(0.2,),
  rounds=1,
)


# What --json wrote before it told the plan.
OLD = '{"machine": {}, "clock": "wall_s", "rounds": 1, "rows": []}'


@pytest.fixture(scope='module')
def result():
  return suite.run(TINY, config_with())


def test_the_plain_loop_draws_what_engines_draw():
  bench = wave.Bench('debug')
  expected = plain.draw(bench, 2, 8 * bench.hop)
  assert expected.shape == (2, 8 * bench.hop) and np.std(expected) > 0
  for name in ('cpu', 'xla'):
    engine = make_engine(name, bench.graphdef, bench.params, Draw())
    np.testing.assert_allclose(
      wave.draw(bench, engine, 2, 8), expected, atol=1e-6
    )


def test_plain_convolutions_are_the_model():
  bench = wave.Bench('debug')
  past = 2 * bench.uniform(2, 3)[..., 0].reshape(2, -1) - 1
  context = bench.context(2, 3)
  model = wave.merged(bench.graphdef, bench.params)
  np.testing.assert_allclose(
    plain.outputs(model, past, context),
    wave.outputs(model, past, context),
    atol=1e-5,
  )


def test_all_that_is_measured_has_figures(result):
  groups = {row['name'].partition(':')[0] for row in result['rows']}
  assert groups == {
    'ceiling',
    'sampling',
    'length',
    'training',
    'dance',
    'input',
    'poses',
    'start',
    'memory',
  }
  for row in result['rows']:
    assert np.isfinite(row['value']) and row['value'] > -1, row
  named = {row['name']: row for row in result['rows']}
  assert named['sampling: cpu, batch 2']['ratio'] > 1
  assert 0 < named['sampling: cpu, batch 1']['share'] < 1
  assert named['memory: sampling 0.2 s, above imports']['value'] > 10
  assert 'ratio' not in named['sampling: plain loop, batch 1']
  assert result['machine']['cores'] == os.cpu_count()


def test_beside_a_gpu_no_share_is_of_another_device(monkeypatch):
  def engine(name, *_):
    return types.SimpleNamespace(name=name)

  monkeypatch.setattr(wave, 'make_engine', engine)
  bench, bounds = wave.Bench('debug'), {}
  for backend in ('cpu', 'gpu'):
    monkeypatch.setattr(jax, 'default_backend', lambda b=backend: b)
    bounds[backend] = {
      case.name.partition(': ')[2]: (case.ceiling, case.needs)
      for case in wave.sampling(bench, (1, 8), 1)
      if 'plain loop' not in case.name
    }
  read, matmul = (wave.READ, bench.read_bytes), (wave.MATMUL, bench.products)
  assert bounds['cpu'] == {
    'cpu, batch 1': read,
    'cpu int8, batch 1': matmul,
    'xla, batch 1': read,
    'cpu, batch 8': matmul,
    'cpu int8, batch 8': matmul,
    'xla, batch 8': matmul,
  }
  assert bounds['gpu'] == {
    'cpu, batch 1': read,
    'cpu int8, batch 1': ('', 0.0),
    'xla, batch 1': ('', 0.0),
    'gpu, batch 1': ('', 0.0),
    'cpu, batch 8': ('', 0.0),
    'cpu int8, batch 8': ('', 0.0),
    'xla, batch 8': matmul,
    'gpu, batch 8': matmul,
  }


def test_a_file_holds_all_and_is_compared(result, tmp_path):
  path = tmp_path / 'one.json'
  table.write(str(path), result)
  other = table.read(str(path))
  assert other == json.loads(json.dumps(result))
  for row in other['rows']:
    row['value'] *= 2.0
  other['rows'].pop()
  lines = table.render(result, other).splitlines()
  found = {line[:24].strip(): line.split()[-2:] for line in lines if line}
  assert found['sampling: cpu, batch 1'] == ['0.50', '1.00']
  assert found['start: import'] == ['2.00', '1.00']
  assert lines[-1].split()[-2:] == ['new', 'new']
  assert 'x other' not in table.render(result)


def test_what_was_measured_otherwise_is_not_compared(result, tmp_path):
  path = tmp_path / 'one.json'
  table.write(str(path), result)
  described = suite.describe(dataclasses.replace(TINY, rounds=3), config_with())
  table.check_comparable(described, table.read(str(path)), str(path))
  changes = {'model': 'wn30', 'frames': 1, 'lengths_s': (0.1,)}
  for key, value in changes.items():
    plan = dataclasses.replace(TINY, **{key: value})
    other = suite.describe(plan, config_with()) | {'rows': []}
    table.write(str(path), other)
    with pytest.raises(InputError, match=f'was measured with {key}='):
      table.check_comparable(described, table.read(str(path)), str(path))
  other = result | {'clock': 'wall_s'}
  with pytest.raises(InputError, match='with clock=wall_s; expected clock=pro'):
    table.check_comparable(described, other, str(path))


def test_what_cannot_be_compared_is_refused_before_it_is_measured(tmp_path):
  path = tmp_path / 'other.json'
  table.write(str(path), suite.describe(TINY, {}) | {'rows': []})
  refused = run('dance2wave.benchmark', f'--compare={path}')
  assert_one_line(refused, 'was measured with model=debug', 'model=wn30')


def test_another_machine_and_config_are_told(result):
  lines = table.render(result, result).splitlines()
  assert lines[0] in lines[1] and not lines[2]
  machine = result['machine'] | {'usable_cores': 96, 'jax': '0.1'}
  other = result | {'machine': machine, 'config': 'another'}
  lines = table.render(result, other).splitlines()
  assert 'usable_cores 96' in lines[1]
  assert lines[2] == 'NOT THE SAME MACHINE: usable_cores differ'
  assert 'NOT THE SAME --config' in lines[3]


def test_a_figure_of_nothing_has_no_ratio(result):
  zero = result | {'rows': [row | {'value': 0.0} for row in result['rows']]}
  for mine, other in ((result, zero), (zero, result), (zero, zero)):
    (line,) = (
      line
      for line in table.render(mine, other).splitlines()
      if line.startswith('memory: sampling')
    )
    assert line.split()[-2] in ('-', '0.00') and line.split()[-1] == '1.00'


def test_a_process_keeps_to_so_many_cores():
  code = (
    'from dance2wave import cores; cores.keep_to(1); '
    'import jax, os; from dance2wave.sampling import offline, xla; '
    'print(cores.usable(), len(offline.groups_of(8, 1, xla.XlaEngine)[0]))'
  )
  assert surroundings.start(['-c', code]).split() == ['1', '1']
  here = cores.usable()
  cores.keep_to(here)
  assert cores.usable() == here
  for count in (0, here + 1):
    with pytest.raises(InputError, match=f'--cores={count}, but {here} can'):
      cores.keep_to(count)


def test_rounds_are_interleaved_and_medians_are_taken(monkeypatch):
  order, clock = [], iter(range(10**6))
  monkeypatch.setattr(rounds, 'processor_s', lambda: float(next(clock)))

  def case(name, ticks, **keys):
    def work():
      order.append(name)
      for _ in range(ticks):
        next(clock)

    return rounds.Case(name, 'steps', 10, work, **keys)

  slow = case('slow', 9)
  fast = case('fast', 1, baseline='slow', ceiling='slow', needs=0.1)
  rows = rounds.measure([slow, fast], rounds=3, clock='processor_s')
  assert order == ['slow', 'slow', 'fast', 'fast', *['slow', 'fast'] * 3]
  assert [row['value'] for row in rows] == [1.0, 5.0]
  assert rows[1]['ratio'] == pytest.approx(5.0)
  assert rows[1]['share'] == pytest.approx(0.5)


@pytest.mark.parametrize('text', [None, 'no json', '[]', '{"rows": 1}', OLD])
def test_a_file_of_something_else_is_refused(tmp_path, text):
  path = tmp_path / 'other.json'
  if text is not None:
    path.write_text(text)
  with pytest.raises(InputError, match='expected a file that --json wrote'):
    table.read(str(path))


def test_bad_flags_are_one_line():
  bad = '--json=none/there.json', '--video=none.mp4', '--rounds=0', '--cores=0'
  for flag in bad:
    assert_one_line(run('dance2wave.benchmark', flag), flag[2:7])


@pytest.mark.parametrize('entry', ['main', 'sample', 'evaluate', 'benchmark'])
def test_help_loads_nothing_heavy(entry):
  """Which is what keeps it under two seconds on any machine."""
  before = rounds.processor_s()
  code = run(f'dance2wave.{entry}', '--help')
  assert 'flags:' in code.stdout
  assert rounds.processor_s() - before < 1.0


def test_the_package_is_imported_in_no_time():
  before = rounds.processor_s()
  code = 'import sys, dance2wave; assert "jax" not in sys.modules'
  suite.surroundings.start(['-c', code])
  assert rounds.processor_s() - before < 0.3


@pytest.mark.slow
def test_a_quick_run_of_the_command(tmp_path):
  path = tmp_path / 'figures.json'
  flags = ('--quick', '--cores=1', '--model=debug', '--rounds=1')
  done = run('dance2wave.benchmark', *flags, f'--json={path}', check=True)
  assert 'sampling: cpu, batch 64' in done.stdout
  again = run('dance2wave.benchmark', *flags, f'--compare={path}')
  assert 'x other' in again.stdout and jax.__version__ in again.stdout
