"""Which runs share what is compiled."""

import pytest
from small_config import options_with

from dance2wave.training import sharding
from dance2wave.training.programs import make_programs


@pytest.fixture(scope='module')
def programs():
  """A function from changes of the options to their programs."""
  return lambda **changes: make_programs(
    options_with(**changes), sharding.make_mesh(1, 1)
  )


def test_another_seed_or_folder_needs_no_other_programs(programs):
  others = {
    'seed': 3,
    'dataset__data_dir': 'elsewhere',
    'dataset__cache_bytes': 1,
    'dataset__is_augmented': False,
    'sample__num_clips': 9,
    'train__init_from': ('a',),
    'train__save_every': 7,
    'train__eval_batches': 3,
  }
  assert programs(**others) is programs()


@pytest.mark.parametrize(
  'changes',
  [
    {'train__learning_rate': 1.0},
    {'train__joint_steps': 11},
    {'train__past_noise': 0.2},
    {'wave__residual': 12},
    {'styles': ('house',)},
  ],
)
def test_what_a_step_computes_needs_others(programs, changes):
  assert programs(**changes) is not programs()


def test_those_of_another_mesh_are_others():
  options = options_with()
  one, two = (
    make_programs(options, sharding.make_mesh(n, 1)).abstract for n in (1, 2)
  )
  assert one.step.sharding != two.step.sharding
