"""Cycles of dilations that are one program: the same sound, less to compile."""

import functools
import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from engine_cases import make_model
from flax import nnx

from dance2wave.models.layers import num_cycles
from dance2wave.training import sequence, sharding

HOP, FRAMES = 10, 16
CYCLE = (1, 2, 4, 8)


def loss_of(cycles, mesh=None, **changes):
  """Return a function from a WaveNet's parameters to a loss, and parameters."""
  sizes = {'samples_per_frame': HOP, 'dilations': CYCLE * cycles} | changes
  wave = nnx.merge(*make_model('mixture', sizes=tuple(sizes.items()))).wave
  graphdef, state = nnx.split(wave)
  rng = np.random.default_rng(0)
  shape = 2, FRAMES + 1, len(wave.dilations), 2 * wave.gate
  condition = rng.normal(size=shape).astype(np.float32)
  past = rng.uniform(-1, 1, (2, FRAMES * HOP)).astype(np.float32)

  def alone(params, past, condition):
    return nnx.merge(graphdef, params)(past, condition)

  call = alone
  if mesh is not None:
    call = sequence.over_time(graphdef, wave, mesh, 'data')

  def loss(params):
    return jnp.mean(call(params, past, condition) ** 2)

  return loss, nnx.to_pure_dict(state)


@pytest.mark.parametrize(
  'remat, devices',
  [
    (True, 1),
    (False, 2),
    *(
      pytest.param(*x, marks=pytest.mark.slow) for x in ((True, 2), (False, 1))
    ),
  ],
)
def test_loss_and_gradients_are_those_of_all_layers(remat, devices):
  mesh = sharding.make_mesh(devices, 1) if devices > 1 else None
  found = []
  for changes in ({}, {'scan': True, 'remat': remat}):
    loss, params = loss_of(3, mesh, **changes)
    found.append(jax.jit(jax.value_and_grad(loss))(params))
  for a, b in zip(*map(jax.tree.leaves, found), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-7)
  assert any(np.any(g) for g in jax.tree.leaves(found[0][1]))


@functools.cache
def lowered(cycles, **changes):
  loss, params = loss_of(cycles, **changes)
  return jax.jit(jax.grad(loss)).lower(params)


def test_the_program_is_as_long_however_many_cycles_there_are():
  lines = {
    (scan, cycles): len(
      lowered(cycles, scan=scan).compile().as_text().splitlines()
    )
    for scan in (False, True)
    for cycles in (2, 6)
  }
  assert lines[True, 6] == lines[True, 2]
  assert lines[False, 6] > 2.5 * lines[False, 2]


def kept(**changes):
  """Return the bytes that a step of six cycles needs beside its arguments."""
  compiled = lowered(6, **changes).compile()
  return compiled.memory_analysis().temp_size_in_bytes


def test_of_a_cycle_that_is_made_again_only_what_it_begins_with_is_kept():
  assert kept(scan=True, remat=True) < 0.5 * kept()


@pytest.mark.slow
def test_that_holds_without_a_loop():
  """With the scheduler that is used outside of tests."""
  code = 'import test_cycles as t; print(t.kept(remat=True) / t.kept())'
  paths = [str(pathlib.Path(__file__).parent), *sys.path]
  flags = os.environ['XLA_FLAGS'].split()
  flags = [flag for flag in flags if 'scheduler' not in flag]
  environ = os.environ | {
    'PYTHONPATH': os.pathsep.join(paths),
    'XLA_FLAGS': ' '.join(flags),
  }
  done = subprocess.run(
    [sys.executable, '-c', code],
    env=environ,
    capture_output=True,
    text=True,
    check=True,
  )
  assert float(done.stdout) < 0.5


def test_cycles_are_counted():
  assert num_cycles(CYCLE * 3) == 3
  assert num_cycles((1, 2, 4, 1, 2)) == 1
  assert num_cycles((2, 2, 2)) == 3
