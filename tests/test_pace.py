"""Times, traces, kept programs, and nothing traced after the first step."""

import gzip
import json
import pathlib
import time
import types

import jax
import numpy as np
import pytest
from command_line import assert_one_line
from command_line import run as run_command
from small_config import options_with

from dance2wave import compiled, pipeline
from dance2wave.errors import InputError
from dance2wave.training import checkpoint, loop
from dance2wave.training import pace as pace_lib
from dance2wave.training.pace import Pace, parse_profile


@pytest.mark.parametrize('text', ['', '10', '15:10', '0:3', 'a:b', '1:2:3'])
def test_a_bad_profile_is_named(text):
  with pytest.raises(InputError, match=f'--profile={text}; expected'):
    parse_profile(text)


def test_a_profile_is_two_steps():
  assert parse_profile('10:15') == (10, 15)
  assert parse_profile('1:1') == (1, 1)
  assert parse_profile(None) is None


def test_shares_of_time_are_what_was_spent(tmp_path):
  with Pace(tmp_path, every=2) as pace:
    for number in (1, 2, 3):
      pace.begin(number)
      with pace.spend('input'):
        time.sleep(0.06)
      time.sleep(0.02)
      pace.end(number, None)
  (line,) = (tmp_path / 'timing.jsonl').read_text().splitlines()
  row = json.loads(line)
  assert row['step'] == 2 and row['logging'] == row['saving'] == 0.0
  assert row['step_s'] >= 0.08
  assert row['input'] > row['compute'] > 0
  assert row['input'] + row['compute'] == pytest.approx(1.0)


def test_every_line_is_of_the_steps_since_the_last(tmp_path, monkeypatch):
  """One step of a second, then two of two seconds, a half of them saving."""
  now_s = [0.0]
  clock = types.SimpleNamespace(perf_counter=lambda: now_s[0])
  monkeypatch.setattr(pace_lib, 'time', clock)
  with Pace(tmp_path, every=2) as pace:
    for number, step_s in ((4, 1.0), (5, 2.0), (6, 2.0)):
      with pace.spend('saving'):
        now_s[0] += step_s / 2 * (number > 4)
      now_s[0] += step_s / 2 * (1 + (number == 4))
      pace.end(number, None)
  lines = (tmp_path / 'timing.jsonl').read_text().splitlines()
  rows = [json.loads(line) for line in lines]
  found = [(row['step'], row['step_s'], row['saving']) for row in rows]
  assert found == [(4, 1.0, 0.0), (6, 2.0, 0.5)]


def test_only_the_first_process_writes(tmp_path):
  with Pace(tmp_path, 1, (1, 1), active=False) as pace:
    pace.begin(1)
    pace.end(1, None)
  assert not list(tmp_path.iterdir())


def test_nothing_is_traced_after_the_first_step_and_a_profile_is_written(
  data_dir, tmp_path, monkeypatch
):
  events, at_batch = [], []
  real = pipeline.Pipeline.iterate

  def counting(self, start_step=0, **kwargs):
    for batch in real(self, start_step, **kwargs):
      at_batch.append(len(events))
      yield batch

  def listen(name, _, **__):
    if 'jaxpr_trace' in name or 'backend_compile' in name:
      events.append(name)

  monkeypatch.setattr(pipeline.Pipeline, 'iterate', counting)
  options = options_with(
    dataset__data_dir=str(data_dir),
    train__pose_steps=12,
    train__joint_steps=0,
  )
  jax.monitoring.register_event_duration_secs_listener(listen)
  try:
    loop.train(options, tmp_path / 'run', profile=(4, 6))
  finally:
    jax.monitoring.clear_event_listeners()
  assert at_batch[1] > at_batch[0]
  # From the second batch on; step 10 scores and saves for the first time.
  assert len(set(at_batch[2:10])) == len(set(at_batch[10:])) == 1
  profile = tmp_path / 'run' / 'profile'
  (for_tensorboard,) = profile.rglob('*.xplane.pb')
  planes = jax.profiler.ProfileData.from_file(str(for_tensorboard)).planes
  assert any(list(line.events) for plane in planes for line in plane.lines)
  (for_perfetto,) = profile.rglob('*.trace.json.gz')
  trace = json.loads(gzip.decompress(for_perfetto.read_bytes()))
  assert any(event.get('ph') == 'X' for event in trace['traceEvents'])
  lines = (tmp_path / 'run' / 'timing.jsonl').read_text().splitlines()
  assert [json.loads(line)['step'] for line in lines] == list(range(1, 13))


def test_a_slow_disk_is_no_slow_compute(data_dir, tmp_path, monkeypatch):
  def slow(self):
    time.sleep(0.2)
    wait(self)

  wait = checkpoint.Checkpoints.wait
  monkeypatch.setattr(checkpoint.Checkpoints, 'wait', slow)
  options = options_with(
    dataset__data_dir=str(data_dir), train__pose_steps=2, train__joint_steps=0
  )
  # Left by a run that was killed before its first checkpoint.
  (tmp_path / 'timing.jsonl').write_text('{"step": 1, "saving": 0.0}\n')
  loop.train(options, tmp_path)
  lines = (tmp_path / 'timing.jsonl').read_text().splitlines()
  assert len(lines) == 2
  for row in map(json.loads, lines):
    assert row['saving'] * row['step_s'] >= 0.2


def test_a_resumed_run_goes_on_where_its_checkpoint_was(
  tmp_path, caplog, monkeypatch
):
  traces = []
  monkeypatch.setattr(jax.profiler, 'start_trace', traces.append)
  monkeypatch.setattr(jax.profiler, 'stop_trace', lambda: traces.append(None))

  def go_on(start, last, profile):
    with Pace(tmp_path, 2, profile) as pace:
      pace.resume(start, last)
      for number in range(start + 1, last + 1):
        traces.append(number)
        pace.begin(number)
        pace.end(number, None)

  go_on(0, 7, None)
  with (tmp_path / 'timing.jsonl').open('a') as torn:
    torn.write('{"step": 8, "st')
  traces.clear()
  go_on(4, 9, (3, 6))
  assert traces == [5, tmp_path / 'profile', 6, None, 7, 8, 9]
  assert not caplog.records
  go_on(9, 10, (3, 9))
  go_on(10, 10, (11, 12))
  assert traces[-1] == 10
  assert '--profile=3:9 holds no step from 10 to 10' in caplog.text
  assert '--profile=11:12 holds no step' in caplog.text
  lines = (tmp_path / 'timing.jsonl').read_text().splitlines()
  assert [json.loads(line)['step'] for line in lines] == [2, 4, 6, 8, 10]


@pytest.fixture
def no_cache():
  """JAX without a cache, and after the test with the one before."""
  names = (
    'jax_compilation_cache_dir',
    'jax_persistent_cache_min_compile_time_secs',
    'jax_persistent_cache_min_entry_size_bytes',
  )
  before = {name: getattr(jax.config, name) for name in names}
  jax.config.update(names[0], None)
  yield
  for name, value in before.items():
    jax.config.update(name, value)


def test_small_programs_are_kept_in_the_users_cache(
  no_cache, tmp_path, monkeypatch
):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
  compiled.keep_compiled_programs()
  from jax.experimental.compilation_cache import compilation_cache

  compilation_cache.reset_cache()
  jax.jit(lambda x: x * 3.25 + 1)(np.float32(2))
  compilation_cache.reset_cache()
  assert list((tmp_path / 'dance2wave' / 'compiled').iterdir())


def test_a_folder_that_the_user_names_is_left(tmp_path):
  before = jax.config.jax_compilation_cache_dir
  assert before is not None  # conftest names one
  compiled.keep_compiled_programs()
  assert jax.config.jax_compilation_cache_dir == before
  assert pathlib.Path(before).is_dir()


def test_a_bad_profile_is_one_line_of_the_command():
  result = run_command(
    'dance2wave.main', '--config=configs/debug.py', '--profile=5'
  )
  assert_one_line(result, '--profile=5', '10:15')
