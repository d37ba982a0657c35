"""One long clip over several devices: the WaveNet in parallel over time.

    device        0            1            2
    samples   0 ... T-1    T ... 2T-1   2T ... 3T-1
                    └── halo ──>  └── halo ──>

Each layer fetches what its taps reach back to, (kernel - 1) x dilation
samples, from the device before; nothing is computed twice. In all that is one
receptive field. The first device is given zeros, as a clip's start is.
"""

import functools

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import PartitionSpec as P

from dance2wave.errors import InputError


def _shift(axis, x_BTC, offset):
  """Do what `shift_frames` does, for offsets of 0 or less, across devices."""
  reach, length = -offset, x_BTC.shape[1]
  if reach == 0:
    return x_BTC
  neighbours = [(i, i + 1) for i in range(jax.lax.axis_size(axis) - 1)]
  halo = jax.lax.ppermute(x_BTC[:, length - reach :], axis, neighbours)
  return jnp.concatenate([halo, x_BTC[:, : length - reach]], axis=1)


def _close(axis, frames, closing):
  """Put beside a device's frames the first of the next one's."""
  last = jax.lax.axis_size(axis) - 1
  neighbours = [(i + 1, i) for i in range(last)]
  following = jax.lax.ppermute(frames[:, :1], axis, neighbours)
  is_last = jax.lax.axis_index(axis) == last
  return jnp.concatenate(
    [frames, jnp.where(is_last, closing, following)], axis=1
  )


def over_time(graphdef, wave, mesh, axis: str):
  """Return a WaveNet's call with time split over an axis of the mesh.

  Args:
    graphdef: of a `WaveNet`, whose parameters the call is given.
    wave: the same `WaveNet`, for its sizes.
    mesh: of the devices.
    axis: that time is split over, such as 'sequence'; the others are left to
      the compiler.

  Returns:
    call(params, past_BT, condition_BFLG) -> outputs (B, T, O), as
    `WaveNet.__call__` on one device. It raises an `InputError` where frames
    do not divide by the devices, or one of them has fewer samples than the
    widest layer reaches back.
  """

  def local(params, past_BT, frames, closing):
    shift = functools.partial(_shift, axis)
    # In float32: a sum over devices of bfloat16 gradients in a part of the mesh
    # is more than XLA's compiler for processors can do (jaxlib 0.10.2).
    closing = jax.lax.pcast(
      closing.astype(jnp.float32), axis, to='varying'
    ).astype(frames.dtype)
    condition = _close(axis, frames, closing)
    # Of the same parameters each device has gradients of its own, to be summed.
    params = jax.tree.map(
      lambda p: jax.lax.pcast(p, axis, to='varying'), params
    )
    return nnx.merge(graphdef, params)(past_BT, condition, shift)

  in_time = P(None, axis)
  mapped = jax.shard_map(
    local,
    mesh=mesh,
    in_specs=(P(), in_time, in_time, P()),
    out_specs=in_time,
    axis_names={axis, *(name for name, n in mesh.shape.items() if n == 1)},
  )
  reach = (wave.kernel - 1) * max(wave.dilations)

  def call(params, past_BT, condition_BFLG):
    frames, devices = condition_BFLG.shape[1] - 1, mesh.shape[axis]
    samples = frames // devices * wave.samples_per_frame
    if frames % devices or samples < reach:
      raise InputError(
        f'{frames} frames over mesh.{axis}={devices} devices; expected a '
        f'multiple of them, and {reach} samples or more on each; cut the clip '
        f'to another length or set --config.mesh.{axis}'
      )
    return mapped(
      params, past_BT, condition_BFLG[:, :-1], condition_BFLG[:, -1:]
    )

  return call


class OverTime:
  """A WaveNet that is called with time split over `mesh.sequence`.

  Context, style and bands are of frames, not of samples: what they give the
  gates is made as by the WaveNet itself.

  Attributes:
    condition: of the WaveNet.
    timbre: of the WaveNet, None where it has none.
  """

  def __init__(self, wave, mesh):
    graphdef, state = nnx.split(wave)
    self._params = nnx.to_pure_dict(state)
    self._call = over_time(graphdef, wave, mesh, 'sequence')
    self.condition = wave.condition
    self.timbre = getattr(wave, 'timbre', None)

  def __call__(self, past_BT, condition_BFLG):
    """Do what `WaveNet.__call__` does."""
    return self._call(self._params, past_BT, condition_BFLG)


def spread(wave, mesh):
  """Return the WaveNet, over time where the mesh has a sequence."""
  return OverTime(wave, mesh) if mesh.shape['sequence'] > 1 else wave
