"""What the kernel of the `cpu` engine is given."""

from typing import NamedTuple

import numpy as np


class Net(NamedTuple):
  """A member's parameters of a WaveNet as the kernel reads them.

  Attributes:
    packed: all matrices in the order of use, as `tiles.pack` or `pack_bytes`
      returns them: for each layer its past taps, oldest first, then the
      residual of the layer before beside its part of the skip matrix, then
      its newest tap; then the last residual, hidden and logits.
    embed_2R: what the signal is multiplied by, and what is added.
    skip_S: bias of the skip path.
    hidden_S: bias.
    logits_O: bias.
    dilations_L: in samples.
    bent_V: the signal of each class.
    kernel: taps of a layer.
    num_outputs: without padding.
  """

  packed: np.ndarray
  embed_2R: np.ndarray
  skip_S: np.ndarray
  hidden_S: np.ndarray
  logits_O: np.ndarray
  dilations_L: np.ndarray
  bent_V: np.ndarray
  kernel: int
  num_outputs: int


class Choice(NamedTuple):
  """How samples are drawn, as in `Draw`; sums run in blocks of `width`."""

  temperature: np.float32
  top_p: np.float32
  guidance: np.float32
  is_mixture: bool
  width: int


class Scratch(NamedTuple):
  """What one sample of a block is computed in; a row for each of its rows.

  Attributes:
    stream: (rows, R + S) [residual path | sum of skip path]; every member has
      the whole residual path, and its own outputs of the skip path.
    gates: (rows, 2 G), of the member's own units.
    units: (2, rows, G) of a layer and the next; shared, as is all below.
    skip: (rows, S).
    hidden: (rows, S).
    outputs: (rows, O).
  """

  stream: np.ndarray
  gates: np.ndarray
  units: np.ndarray
  skip: np.ndarray
  hidden: np.ndarray
  outputs: np.ndarray


class Member(NamedTuple):
  """One of the cores that draw a block together; see `cpu_team.py`.

  Attributes:
    number: from 0.
    flags: of the team.
    unit: first of its units; a layer's are shared out.
    skip: first of its outputs of the skip path, and of the hidden layer.
    output: first of its outputs.
  """

  number: int
  flags: np.ndarray
  unit: int
  skip: int
  output: int
