r"""What a config costs on a mesh, told by the compiler; no device is needed.

    python -m dance2wave.cost --config=configs/wavenet_large.py \
        --config.mesh.data=8

Compiles one step for as many virtual devices as the mesh has, trains nothing,
and prints parameters, FLOPs, memory, collectives and the least time of a step
on several accelerators. docs/scaling.md says what stands behind each figure.
"""

import dataclasses
import os

from absl import logging

from dance2wave import config_file
from dance2wave.errors import InputError, one_line_errors, run_tool

_CONFIG = config_file.define()


def _compiled(options):
  """Return the cost on as many virtual processors as the mesh has devices."""
  import jax

  jax.config.update('jax_platforms', 'cpu')
  jax.config.update('jax_num_cpu_devices', options.mesh.devices)
  from dance2wave.training import cost, sharding

  mesh = sharding.make_mesh(*dataclasses.astuple(options.mesh))
  return cost.measure(options, mesh)


def _report(options, cost):
  """Yield the lines that are printed."""
  from dance2wave.training.accelerators import ACCELERATORS

  clips = options.train.batch_size
  sizes = dataclasses.asdict(options.mesh)
  yield f'mesh {sizes}, {clips} clips in a step'
  yield f'parameters           {cost.parameters:14,}'
  yield f'matrix FLOPs, step   {cost.matrix_flops:14.3e}'
  yield f'FLOPs, device        {cost.flops:14.3e}  (a loop counts once)'
  yield 'memory of a device, MB'
  yield f'  parameters, average {cost.parameter_bytes / 1e6:13.1f}'
  yield f'  optimizer           {cost.optimizer_bytes / 1e6:13.1f}'
  yield f'  activations         {cost.activation_bytes / 1e6:13.1f}'
  yield "collectives of the CPU's compiler: number, MB of results"
  for kind, (count, size) in cost.read.items():
    yield f'  {kind:20}{count:6}{size / 1e6:10.2f}'
  yield 'collectives by rule for GPU and TPU: MB that a device sends'
  for kind, size in cost.by_rule.items():
    yield f'  {kind:20}{size / 1e6:16.2f}'
  yield 'least time of a step, ms   compute   memory    links  bound'
  for device in ACCELERATORS:
    bounds = {k: 1e3 * s for k, s in cost.seconds(device).items()}
    row = ''.join(f'{ms:9.2f}' for ms in bounds.values())
    most = max(bounds, key=bounds.get)
    fits = cost.memory_bytes <= device.memory_bytes
    yield f'  {device.name:22}{row}  {most}{"" if fits else ", does not fit"}'


def main(argv: list[str]) -> None:
  """Print the cost; bad input is one line and exit status 2."""
  with one_line_errors():
    if len(argv) > 1:
      raise InputError(
        f'unexpected argument {argv[1]!r}; expected flags only; give '
        '--config=configs/wavenet_large.py --config.mesh.data=8'
      )
    config_file.check()
    from dance2wave import options as options_lib

    options = options_lib.parse(_CONFIG.value)
    print(*_report(options, _compiled(options)), sep='\n')


if __name__ == '__main__':
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
  logging.set_verbosity(logging.WARNING)
  run_tool(main)
