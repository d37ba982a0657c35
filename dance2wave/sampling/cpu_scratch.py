"""What the kernel of the `cpu` engine computes in: how large it is."""

from typing import NamedTuple

from dance2wave.sampling.cpu_kernel import CLIPS
from dance2wave.sampling.cpu_pack import AHEAD, Part, aligned
from dance2wave.sampling.cpu_types import Scratch
from dance2wave.sampling.dots import HEAD
from dance2wave.sampling.vectors import pad


class Sizes(NamedTuple):
  """Of a WaveNet: its layers, and widths in whole vectors."""

  layers: int
  residual: int
  gate: int
  skip: int
  outputs: int


def sizes_of(wave):
  """Return the `Sizes` of a `WaveNet`."""
  residual, (skip, outputs) = wave.residual.shape[-1], wave.logits.kernel.shape
  return Sizes(
    len(wave.dilations), *map(pad, (residual, wave.gate, skip, outputs))
  )


def ahead_of(rows):
  """Return for how many samples past inputs are multiplied at once.

  A power of two. Of many rows the weights serve enough as it is, and what is
  kept of later samples takes the place of weights in the caches.
  """
  most = max(CLIPS // max(rows, 1), 1)
  return min(AHEAD, 2 ** (most.bit_length() - 1))


def make_scratch(sizes, rows, parts, ahead):
  """Return a `Scratch` for each member of a team, with what they share.

  Args:
    sizes: of the WaveNet.
    rows: of a block.
    parts: `Part` of each member.
    ahead: samples for which past inputs are multiplied at once.
  """
  shared = [
    aligned(3, rows, sizes.gate),
    aligned(rows, sizes.skip),
    aligned(rows, sizes.skip),
    aligned(rows, sizes.outputs),
  ]
  return [Scratch(*_make_own(sizes, rows, p, ahead), *shared) for p in parts]


def _make_own(sizes, rows, part: Part, ahead):
  """Return stream, gates and both digits of a member's `Scratch`."""
  skips = part.skips.stop - part.skips.start
  units = part.units.stop - part.units.start
  stream = aligned(rows, sizes.residual + skips)
  gates = aligned(sizes.layers if ahead > 1 else 1, ahead, rows, 2 * units)
  digits = aligned(ahead * rows, HEAD + max(sizes.residual, sizes.skip))
  return stream, gates, digits, aligned(rows, HEAD + sizes.gate)
