"""What the compiler says of a step, before there is a device."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from command_line import assert_one_line
from command_line import run as run_command
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from small_config import options_with

from dance2wave.training import collectives, cost, sharding
from dance2wave.training.accelerators import ACCELERATORS


def measure(**changes):
  options = options_with(**changes)
  mesh = sharding.make_mesh(*dataclasses.astuple(options.mesh))
  return cost.measure(options, mesh)


# Matrices that are large beside what is around them.
SIZES = {
  'wave__residual': 32,
  'wave__gate': 32,
  'wave__skip': 64,
  'train__batch_size': 8,
  'train__is_audio_only': True,
  'train__pose_steps': 0,
}


@pytest.fixture(scope='module')
def of_data():
  """Costs by devices along data."""
  return {n: measure(**SIZES, mesh__data=n) for n in (2, 8)}


@pytest.fixture(scope='module')
def of_fsdp():
  """Costs by devices along fsdp; eight devices in all."""
  return {n: measure(**SIZES, mesh__fsdp=n, mesh__data=8 // n) for n in (4, 8)}


def by_hand(options):
  """FLOPs of WaveNet's matrices forward, and twice that backward."""
  wave, layers = options.wave, len(options.wave.dilations)
  frames = options.window_frames
  samples = frames * options.samples_per_frame
  context = options.pose.width + 7
  of_a_sample = (
    wave.residual
    + layers * wave.kernel * wave.residual * 2 * wave.gate
    + layers * wave.gate * (wave.residual + wave.skip)
    + wave.skip * (wave.skip + wave.levels)
  )
  of_a_frame = context * layers * 2 * wave.gate
  clips = options.train.batch_size
  products = samples * of_a_sample + (frames + 1) * of_a_frame
  return 3 * 2 * clips * products


def test_flops_are_those_counted_by_hand(of_data):
  wanted = by_hand(options_with(**SIZES))
  assert of_data[2].matrix_flops == pytest.approx(wanted, rel=0.1)
  # The rest of the compiled program is no matrix product.
  assert of_data[2].flops * 2 > 0.9 * wanted


def test_the_flops_of_a_step_do_not_depend_on_the_mesh(of_data):
  """Time split over devices is traced with the shapes of one of them."""
  for sizes in ({'mesh__sequence': 2}, {'mesh__sequence': 2, 'mesh__data': 2}):
    options = options_with(**SIZES, **sizes)
    mesh = sharding.make_mesh(*dataclasses.astuple(options.mesh))
    traced, _ = cost.trace_step(options, mesh, is_joint=True)
    found = cost._matrix_flops(traced.jaxpr.jaxpr)
    assert found == pytest.approx(of_data[2].matrix_flops, rel=0.03)


def test_devices_share_the_work_and_send_no_more_for_it(of_data):
  two, eight = of_data[2], of_data[8]
  assert eight.flops < 0.4 * two.flops
  assert eight.activation_bytes < 0.4 * two.activation_bytes
  # Gradients and figures alone, however large the batch.
  assert two.read.keys() == eight.read.keys() == {'all-reduce'}
  sizes = [sum(size for _, size in c.read.values()) for c in (two, eight)]
  assert sizes[1] <= 1.02 * sizes[0]
  # In a ring, 2 (n - 1) / n of what is summed.
  sent = [sum(c.by_rule.values()) for c in (two, eight)]
  assert sent[1] <= 2 * sent[0]
  assert sent[1] < 2 * 4 * two.parameters


def test_fsdp_splits_what_is_held(of_data, of_fsdp):
  held = [of_data[8], of_fsdp[4], of_fsdp[8]]
  for part in ('parameter_bytes', 'optimizer_bytes', 'memory_bytes'):
    sizes = [getattr(c, part) for c in held]
    assert sizes[0] > sizes[1] > sizes[2], part
  assert held[1].parameter_bytes < 0.5 * held[0].parameter_bytes
  assert held[1].by_rule['reduce-scatter'] > 0


@pytest.fixture(scope='module')
def whole():
  """Cost of a step that takes its batch at once."""
  return measure(**SIZES)


@pytest.mark.parametrize(
  'parts, share', [pytest.param(2, 0.7, marks=pytest.mark.slow), (4, 0.4)]
)
def test_parts_and_layers_that_are_made_again_save_activations(
  whole, parts, share
):
  cost_of_parts = measure(**SIZES, train__accumulate=parts, train__remat=True)
  assert cost_of_parts.activation_bytes < share * whole.activation_bytes
  # A layer is computed once more on the way back: 4 for 3.
  assert 1.0 < cost_of_parts.matrix_flops / whole.matrix_flops < 4 / 3


def test_collectives_in_a_loop_count_as_often_as_it_goes_round():
  mesh = sharding.make_mesh(1, 8)
  place = NamedSharding(mesh, P(None, 'fsdp'))

  def rounds(x):
    def one(total, _):
      y = jax.lax.with_sharding_constraint(x + total, place)
      return jnp.sum(y * y), None

    return jax.lax.scan(one, jnp.float32(0), length=5)[0]

  x = jax.ShapeDtypeStruct((4, 16), np.float32, sharding=place)
  program = jax.jit(rounds).lower(x).compile().as_text()
  assert collectives.read(program) == {'all-reduce': (5, 20)}


def test_sizes_are_read_from_results():
  program = '\n'.join(
    [
      'ENTRY %main (x: f32[2]) -> f32[2] {',
      '  %a = (f32[2,3]{1,0}, bf16[4]{0}) all-reduce(%x, %y), to_apply=%add',
      '  %b = (f32[8], f32[64]) all-gather-start(%x), dimensions={0}',
      '  %c = f32[64] all-gather-done(%b)',
      '}',
    ]
  )
  assert collectives.read(program) == {
    'all-gather': (1, 256),
    'all-reduce': (1, 32),
  }


def test_the_rule_on_a_matrix_and_a_bias():
  mesh = sharding.make_mesh(2, 4)
  shapes = {'kernel': (8, 16), 'bias': (16,)}
  tree = {k: jax.ShapeDtypeStruct(s, np.float32) for k, s in shapes.items()}
  sent = collectives.by_rule(sharding.with_shardings(tree, mesh), mesh)
  quarter = 4 * 8 * 16 / 4
  assert sent['all-gather'] == 3 * 3 * quarter
  assert sent['reduce-scatter'] == 3 * quarter
  assert sent['all-reduce'] == 2 * 1 / 2 * quarter + 2 * 7 / 8 * 4 * 16


def test_the_rule_on_layers_whose_time_is_split():
  mesh = sharding.make_mesh(2, 1, 1, 4)
  wave = {'logits': {'bias': (16,)}, 'style': (4, 8)}
  tree = jax.tree.map(
    lambda shape: jax.ShapeDtypeStruct(shape, np.float32),
    {'wave': wave},
    is_leaf=lambda x: isinstance(x, tuple),
  )
  sent = collectives.by_rule(sharding.with_shardings(tree, mesh), mesh)
  assert sent['all-reduce'] == 2 * 7 / 8 * 4 * 16 + 2 * 1 / 2 * 4 * 32


def test_the_bound_is_the_longest_time(of_data):
  h100 = next(a for a in ACCELERATORS if a.name == 'H100')
  cost_of_8 = of_data[8]
  seconds = cost_of_8.seconds(h100)
  assert seconds['compute'] == cost_of_8.matrix_flops / 8 / 989e12
  assert seconds['memory'] == cost_of_8.accessed_bytes / 3.35e12
  assert h100.rate(8) == 450e9 and h100.rate(9) == 50e9


@pytest.mark.slow
def test_the_command_prints_every_figure():
  result = run_command(
    'dance2wave.cost', '--config=configs/debug.py', '--config.mesh.data=2'
  )
  assert result.returncode == 0, result.stderr
  for word in ('parameters', 'all-reduce', 'activations', 'H200', 'TPU v6e'):
    assert word in result.stdout


@pytest.mark.parametrize('tool', ['main', 'cost', 'compile', 'ablate'])
def test_a_command_without_a_config_file_is_one_line(tool):
  tool = f'dance2wave.{tool}'
  assert_one_line(run_command(tool), '--config is missing')
  nowhere = run_command(tool, '--config=configs/nowhere.py:debug')
  assert_one_line(nowhere, '--config=configs/nowhere.py does not exist')
