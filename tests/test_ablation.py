"""One change at a time, at equal cost; an ablation can be gone on with."""

import functools
import json
import os

import pytest
from command_line import assert_one_line
from command_line import run as run_command
from small_config import options_with

from configs import debug, wavenet, wavenet_large
from dance2wave import ablation, ablation_table, options
from dance2wave.errors import InputError
from dance2wave.levers import LEVERS
from dance2wave.training import cost

COUNTED = functools.cache(cost.matrix_flops)


@pytest.fixture(autouse=True)
def counted_once(monkeypatch):
  monkeypatch.setattr(cost, 'matrix_flops', COUNTED)


def plan(folder, *levers, seeds=(0,), share=1.0, num_clips=2, **changes):
  given = folder, levers, seeds, share, num_clips
  return ablation.plan(options_with(**changes), *given)


def flops(of):
  stages = {'pose': of.train.pose_steps, 'joint': of.train.joint_steps}
  return sum(
    steps * cost.matrix_flops(of, is_joint=stage == 'joint')
    for stage, steps in stages.items()
  )


@pytest.mark.parametrize('name', LEVERS)
def test_every_lever_changes_the_default_config(name):
  values = options.to_dict(options.parse(wavenet.get_config()))
  lever = ablation.changed(values, LEVERS[name].changes)
  assert (options.to_dict(lever) == values) == (not LEVERS[name].changes)


# What levers that are relative to the config do to configs/wavenet.py.
ON_THE_DEFAULT = {
  'a fifth of the noise': {'train.past_noise': 0.02},
  'half the bands': {'wave.num_bands': 12},
  'half the receptive field': {'wave.layers_per_cycle': 9},
  'twice the receptive field': {'wave.layers_per_cycle': 11},
  'kernel 3': {'wave.kernel': 3, 'wave.layers_per_cycle': 9},
  'twice the sound': {'train.audio_crop_s': 0.48},
}


@pytest.mark.parametrize('name', ON_THE_DEFAULT)
def test_relative_levers_of_the_default_are_what_was_measured(name):
  values = options.to_dict(options.parse(wavenet.get_config()))
  lever = ablation.changed(values, LEVERS[name].changes)
  same = ablation.changed(values, ON_THE_DEFAULT[name])
  # As JSON: of this the digest is made.
  assert json.dumps(options.to_dict(lever)) == json.dumps(options.to_dict(same))


@pytest.mark.parametrize('config', [debug, wavenet_large])
def test_relative_levers_do_what_they_say_to_other_configs(config):
  base = options.parse(config.get_config())
  values = options.to_dict(base)

  def lever(name):
    return ablation.changed(values, LEVERS[name].changes)

  def share(name):
    fields = (sum(o.wave.dilations) + 1 for o in (lever(name), base))
    return next(fields) / next(fields)

  assert lever('twice the sound').train.audio_crop_s == (
    2 * base.train.audio_crop_s
  )
  assert 2 * lever('half the bands').wave.num_bands == base.wave.num_bands
  assert share('half the receptive field') == pytest.approx(0.5, rel=1e-3)
  assert share('twice the receptive field') == pytest.approx(2, rel=1e-3)
  assert share('kernel 3') == pytest.approx(0.5, rel=1e-3)  # twice as wide


def test_levers_that_change_nothing_are_left_out_with_a_line(tmp_path, caplog):
  tasks = plan(tmp_path, 'one block', 'style as learned')
  assert [task.lever for task in tasks] == ['as it is', 'style as learned']
  (line,) = caplog.messages
  assert "'one block'" in line


def test_stages_that_a_config_does_without_stay_out(tmp_path):
  tasks = plan(tmp_path, 'channels 32', share=0.1, train__pose_steps=0)
  steps = [task.options.train for task in tasks]
  assert [train.pose_steps for train in steps] == [0, 0]
  assert steps[0].joint_steps == 1


def test_a_lever_that_costs_more_trains_a_step_of_each_stage(tmp_path):
  _, lever = plan(tmp_path, 'channels 64', share=0.1)
  assert lever.options.train.pose_steps == 1
  assert lever.options.train.joint_steps == 1


@pytest.mark.parametrize(
  'change',
  [
    {'train__joint_steps': 0},
    {'train__is_audio_only': True, 'train__pose_steps': 0},
  ],
)
def test_a_config_that_plays_no_dances_is_refused(tmp_path, change):
  with pytest.raises(InputError, match=r'no WaveNet on dances.*joint_steps'):
    plan(tmp_path, **change)


def test_no_seeds_are_refused():
  with pytest.raises(InputError, match=r'no tasks.*--seeds'):
    ablation.run([], jobs=1)


@pytest.mark.parametrize(
  'name',
  [
    'channels 32',
    pytest.param('no heads', marks=pytest.mark.slow),
    pytest.param('one block', marks=pytest.mark.slow),
  ],
)
def test_a_lever_trains_for_what_the_config_costs(tmp_path, name):
  many = {'train__pose_steps': 300, 'train__joint_steps': 300}
  base, lever = plan(tmp_path, name, pose__num_blocks=2, **many)
  assert lever.options.train.num_steps != base.options.train.num_steps
  assert flops(lever.options) == pytest.approx(flops(base.options), rel=0.01)


def test_levers_of_sampling_share_a_run_and_seeds_do_not(tmp_path):
  tasks = plan(tmp_path, 'style as learned', 'clean past', seeds=(0, 1))
  workdirs = {(task.lever, task.seed): task.workdir for task in tasks}
  assert workdirs['style as learned', 0] == workdirs['as it is', 0]
  assert len({*workdirs.values()}) == 4
  assert len({task.result for task in tasks}) == 6
  assert [task.options.sample.seed for task in tasks] == [0, 1] * 3


@pytest.mark.parametrize(
  'change',
  [
    {'share': 0.5},
    pytest.param({'num_clips': 3}, marks=pytest.mark.slow),
    pytest.param({'pose__num_blocks': 2}, marks=pytest.mark.slow),
  ],
)
def test_results_of_other_options_are_not_taken(tmp_path, change):
  mine, others = (
    plan(tmp_path, 'no heads'),
    plan(tmp_path, 'no heads', **change),
  )
  assert not {t.result for t in mine} & {t.result for t in others}


def test_an_unknown_lever_is_refused_by_name(tmp_path):
  with pytest.raises(InputError, match=r"'clean pasta' is unknown.*clean past"):
    plan(tmp_path, 'clean pasta')


@pytest.mark.slow
def test_an_ablation_is_run_and_gone_on_with(tmp_path):
  done = run_command(
    'dance2wave.ablate',
    '--config=configs/debug.py',
    f'--output={tmp_path}',
    '--levers=style as learned',
    '--num_clips=2',
    '--share=0.1',
  )
  assert done.returncode == 0, done.stderr
  tasks = plan(tmp_path, 'style as learned', share=0.1)
  found = json.loads(tasks[1].result.read_text())
  assert found['num_steps'] == 2 and 0 <= found['beat_f70'] <= 1
  assert 'style_obeyed' in found
  spent = json.loads((tasks[1].workdir / 'processor.json').read_text())
  assert found['seconds_train'] == spent['seconds_train'] > 0
  table = (tmp_path / 'table.md').read_text()
  assert [line.split('|')[2].strip() for line in table.splitlines()] == [
    'what',
    '---',
    'as it is',
    'style as learned',
  ]
  assert [task.result.exists() for task in tasks] == [True, True]
  tasks[1].result.write_text(json.dumps(found | {'beat_f70': 0.123}))
  assert not ablation.run(tasks, jobs=1)
  assert '| 0.123 |' in ablation_table.format_table(tasks)


def test_runs_that_fail_are_named(tmp_path, monkeypatch):
  for name in ('sched_getaffinity', 'sched_setaffinity'):
    monkeypatch.delattr(os, name, raising=False)  # macOS has neither
  of_nothing = {'train__init_from': (str(tmp_path / 'nothing'),)}
  tasks = plan(tmp_path, 'clean past', share=0.1, **of_nothing)
  spent = tasks[1].workdir / 'processor.json'
  spent.parent.mkdir(parents=True)
  spent.write_text('{"seconds_train": 1000.0}')
  failed = ablation.run(tasks[1:], jobs=1)
  assert list(failed) == ['clean past, seed 0']
  problem = failed['clean past, seed 0']
  assert 'InputError' in problem and 'nothing holds no' in problem
  log = (spent.parent / 'log.txt').read_text()
  assert problem.endswith('log.txt') and log.startswith('clean past, seed 0\n')
  assert 'Traceback (most recent call last)' in log
  # What the session cost is added to those before it, though it failed.
  assert 1000 < json.loads(spent.read_text())['seconds_train'] < 1100
  assert not tasks[1].result.exists()


def test_sessions_that_were_not_counted_leave_no_count(tmp_path):
  (tmp_path / 'checkpoints' / '5').mkdir(parents=True)
  with ablation._counting(tmp_path):
    pass
  assert not (tmp_path / 'processor.json').exists()


def test_a_finished_run_costs_no_more(tmp_path):
  spent = tmp_path / 'processor.json'
  spent.write_text('{"seconds_train": 7.0}')
  (tmp_path / 'result.json').write_text('{}')
  with ablation._counting(tmp_path):
    pass
  assert json.loads(spent.read_text()) == {'seconds_train': 7.0}


def test_a_missing_config_is_one_line():
  done = run_command('dance2wave.ablate')
  assert_one_line(done, '--config is missing')
