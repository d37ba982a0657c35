"""Several processes of one machine, joined as several machines would be."""

import json
import signal
import time

import jax
import numpy as np
import pytest
from command_line import assert_one_line
from command_line import run as run_command
from processes import Hosts, finish_well, wait_for
from small_config import options_with

from dance2wave.datasets import opening
from dance2wave.training import hosts, loop, sharding, workdir

FLAGS = (
  '--config=configs/debug.py',
  '--config.sample.num_clips=2',
  '--config.sample.num_videos=0',
)


def losses(folder):
  lines = (folder / 'metrics.jsonl').read_text().splitlines()
  rows = [json.loads(line) for line in lines]
  assert [row['step'] for row in rows] == sorted({r['step'] for r in rows})
  return {row['step']: row['loss'] for row in rows if 'loss' in row}


@pytest.fixture(scope='module')
def run_alone(data_dir, tmp_path_factory):
  """A function from changes to the losses of one process with one device."""

  def train(**changes):
    folder = tmp_path_factory.mktemp('alone')
    loop.train(options_with(dataset__data_dir=str(data_dir), **changes), folder)
    return losses(folder)

  return train


def flags_of(run, data_dir, changes, **more):
  """The command line of a change of options."""
  keys = {k.replace('__', '.'): v for k, v in (changes | more).items()}
  return [
    *FLAGS,
    *(f'--config.{k}={v}' for k, v in keys.items()),
    f'--config.dataset.data_dir={data_dir}',
    f'--workdir={run}',
  ]


def assert_close(found, wanted):
  assert found.keys() == wanted.keys()
  for number, loss in wanted.items():
    assert found[number] == pytest.approx(loss, rel=1e-5), number


def test_two_processes_train_what_one_of_two_devices_does_to_the_last_bit(
  data_dir, run_alone, tmp_path
):
  run, short = tmp_path / 'run', {'train__pose_steps': 3}
  short['train__joint_steps'] = 0
  flags = flags_of(run, data_dir, short, mesh__data=2, train__save_every=2)
  finish_well(Hosts(2, 1, *flags))
  assert losses(run) == run_alone(**short, mesh__data=2)
  assert (run / 'result.json').exists()
  # One process reads what two have saved.
  options = options_with(dataset__data_dir=str(data_dir), **short)
  trained = loop.train(options, run)
  assert trained.num_steps == 3
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(trained.params))


@pytest.mark.parametrize(
  'key, value, words',
  [
    ('seed', 7, 'process 1 has seed=7, but process 0 has 0; expected'),
    ('dataset.data_dir', 'of_its_own', 'process 1: dataset synthetic_dance'),
  ],
)
def test_a_process_with_another_config_or_no_data_ends_all_at_once(
  data_dir, tmp_path, key, value, words
):
  run = tmp_path / 'run'
  flags = flags_of(run, data_dir, {'train__joint_steps': 0}, mesh__data=2)
  began = time.monotonic()
  two = Hosts(2, 1, *flags, own=[f'--config.{key}={value}'])
  for status, _, errors in two.finish():
    assert status == 2, errors
    (line,) = [x for x in errors.splitlines() if x.startswith('dance2wave')]
    assert words in line
  # JAX itself would end them after five minutes, with a dump of the core.
  assert time.monotonic() - began < 240
  assert not (run / 'metrics.jsonl').exists()


def test_what_processes_compare_is_what_they_train_on(data_dir):
  options = options_with(dataset__data_dir=str(data_dir))
  names = options.dataset.names
  found = opening.contents(names, str(data_dir))
  assert found[f'{names[0]}[train]'] == len(loop.open_split(options, 'train'))
  moved = options_with(dataset__data_dir='elsewhere', dataset__cache_bytes=1)
  assert workdir.in_common(moved) == workdir.in_common(options)
  other = options_with(train__save_every=99)
  assert workdir.in_common(other) != workdir.in_common(options)


BOTH_STAGES = {'train__pose_steps': 1, 'train__joint_steps': 3}


@pytest.mark.slow
@pytest.mark.parametrize(
  'data, fsdp, tensor', [(4, 1, 1), (2, 4, 1), (2, 1, 2)]
)
def test_four_processes_go_on_where_two_were_killed(
  data_dir, run_alone, tmp_path, data, fsdp, tensor
):
  """Also with two devices in each, or with two processes for each clip."""
  run = tmp_path / 'run'
  short = BOTH_STAGES | {'train__batch_size': 4 * max(fsdp // 2, 1)}
  flags = flags_of(run, data_dir, short, train__save_every=1)
  two = Hosts(2, 1, *flags, '--config.mesh.data=2')
  wait_for(run / 'checkpoints' / '2')
  for child in two.children:
    child.kill()
  two.finish()
  mesh = {'data': data, 'fsdp': fsdp, 'tensor': tensor}
  mesh_flags = [f'--config.mesh.{k}={v}' for k, v in mesh.items()]
  devices = data * fsdp * tensor // 4
  printed = finish_well(Hosts(4, devices, *flags, *mesh_flags))
  assert_close(losses(run), run_alone(**short))
  assert ['F@70' in out for out in printed] == [True, False, False, False]
  assert json.loads((run / 'result.json').read_text())['num_clips'] == 2


@pytest.mark.slow
def test_one_process_that_is_told_to_stop_stops_all_after_a_save(
  data_dir, tmp_path
):
  run = tmp_path / 'run'
  endless = dict.fromkeys(
    ('train__pose_steps', 'train__eval_every', 'train__save_every'), 100_000
  )
  two = Hosts(2, 1, *flags_of(run, data_dir, endless, mesh__data=2))
  wait_for(run / 'metrics.jsonl')
  time.sleep(1.0)
  two.children[1].send_signal(signal.SIGTERM)
  ended = two.finish()
  for status, _, errors in ended:
    assert status == 128 + signal.SIGTERM, errors
    assert 'is saved; run the same command to go on' in errors
  saved = [p.name for p in (run / 'checkpoints').iterdir()]
  assert saved == [str(max(losses(run)))]


LARGE = ('jit_update', 'jit__evaluate_dance', 'jit_make_state')


def programs(run):
  """Files of compiled programs by the name of the program."""
  found = {name: set() for name in LARGE}
  for path in (run / 'compiled').glob('*-cache'):
    found.setdefault(path.name.split('-')[0], set()).add(path.name)
  return found


@pytest.mark.slow
def test_two_processes_find_all_that_two_have_compiled_ahead(
  data_dir, tmp_path, monkeypatch
):
  # As on a cluster, where they keep programs in the folder of the run.
  monkeypatch.delenv('JAX_COMPILATION_CACHE_DIR')
  monkeypatch.delenv('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS')
  run = tmp_path / 'run'
  flags = flags_of(run, data_dir, BOTH_STAGES, mesh__data=2)
  said, _ = finish_well(Hosts(2, 1, *flags, module='dance2wave.compile'))
  assert 'joint step: ' in said
  ahead = programs(run)
  assert [len(ahead[name]) for name in LARGE] == [2, 1, 1]
  finish_well(Hosts(2, 1, *flags))
  assert max(losses(run)) == 4
  after = programs(run)
  assert len(after) > len(ahead)  # The small ones that nobody makes ahead.
  for name in LARGE:
    assert after[name] == ahead[name]


@pytest.mark.slow
def test_a_process_that_is_late_to_the_first_collective_is_waited_for():
  """On processors the collective itself would wait no more than 30 s."""
  two = Hosts(2, 2, '40', module='tests.late_process')
  # Gloo prints as well.
  lasts = [out.splitlines()[-1] for out in finish_well(two)]
  assert lasts == ['4.0', '4.0']


def test_processes_outside_of_the_loop_hear_sigterm_also_where_they_wait():
  """JAX would take it and tell nobody."""
  two = Hosts(2, 1, '600', module='tests.late_process')
  for child in two.children:
    while child.stdout.readline() not in ('joined\n', ''):
      pass
  time.sleep(1.0)  # The first waits for the other now, which sleeps.
  for child in two.children:
    child.send_signal(signal.SIGTERM)
  for status, _, errors in two.finish():
    assert status == 128 + signal.SIGTERM, errors
    assert errors.splitlines()[-1] == 'dance2wave: stopped by SIGTERM'


def test_processes_split_each_batch_once_and_lose_nothing(data_dir):
  """Whatever the mesh, by the rows that its devices hold."""
  options = options_with(dataset__data_dir=str(data_dir), train__batch_size=8)
  mesh = sharding.make_mesh(2, 2, 2)
  whole = loop.make_pipeline(options, 'train').batch(3)
  rows = sharding.batch_rows(mesh, 8)
  np.testing.assert_array_equal(rows, np.arange(8))
  for count in (1, 2, 4):
    parts = np.split(rows, count)
    pipes = [_with_rows(options, part) for part in parts]
    for name, wanted in whole.items():
      found = np.concatenate([pipe[name] for pipe in pipes])
      np.testing.assert_array_equal(found, wanted)


def _with_rows(options, rows):
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(sharding, 'batch_rows', lambda *_: rows)
    mesh = sharding.make_mesh(1, 1)
    return loop.make_pipeline(options, 'train', mesh).batch(3)


def test_one_process_shares_with_nobody():
  assert list(hosts.share(3)) == [0, 1, 2]
  vectors = [np.ones(2), np.ones(3)]
  assert hosts.gather(vectors, [2, 3]) is vectors
  assert hosts.preempted(5) is None and hosts.is_first()


def test_a_lonely_multihost_is_one_line():
  result = run_command('dance2wave.main', '--multihost', FLAGS[0])
  assert_one_line(result, '--multihost', 'JAX_COORDINATOR_ADDRESS')
