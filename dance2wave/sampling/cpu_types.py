"""What the kernel of the `cpu` engine is given."""

from typing import NamedTuple

import numpy as np


class Net(NamedTuple):
  """A member's parameters of a WaveNet as the kernel reads them.

  Attributes:
    packed_taps: the matrices of each layer's past taps, oldest first, as
      `pack` of their form in `products.py` returns them.
    packed: all others in the order of use: for each layer the residual of the
      layer before, its newest tap, and the layer before's part of the skip
      matrix; then the last such part, hidden and logits.
    embed_2R: what the signal is multiplied by, and what is added.
    skip_S: bias of the skip path.
    hidden_S: bias.
    logits_O: bias.
    dilations_L: in samples.
    ahead_L: for how many samples, aligned to their number, past taps may be
      multiplied at once; divides the dilation.
    bent_V: the signal of each class, in the order of their logits, which are
      those of `classes_in_order`.
    kernel: taps of a layer.
    spare: slots of a layer's ring beyond those that its past inputs take; a
      multiple of what they are multiplied for at once.
    num_outputs: without padding.
  """

  packed_taps: np.ndarray
  packed: np.ndarray
  embed_2R: np.ndarray
  skip_S: np.ndarray
  hidden_S: np.ndarray
  logits_O: np.ndarray
  dilations_L: np.ndarray
  ahead_L: np.ndarray
  bent_V: np.ndarray
  kernel: int
  spare: int
  num_outputs: int


class Choice(NamedTuple):
  """How samples are drawn, see `Draw`, and how many columns of classes."""

  temperature: np.float32
  top_p: np.float32
  guidance: np.float32
  is_mixture: bool
  columns: int


class Call(NamedTuple):
  """Which samples of a block are drawn.

  Attributes:
    condition_FLRG: (F + 1, L, rows, 2 G), biases of the taps included.
    first: of the block's rows.
    rows: of the block.
    sample: number of the call's first sample since silence.
    hop: samples of a frame.
    begin: of the call's samples, the first to be drawn; what was prepared
      before it does not count.
    end: after the last.
  """

  condition_FLRG: np.ndarray
  first: int
  rows: int
  sample: int
  hop: int
  begin: int
  end: int


class Scratch(NamedTuple):
  """What one sample of a block is computed in; a row for each of its rows.

  Attributes:
    stream: (rows, R + S) [residual path | sum of skip path]; every member has
      the whole residual path, and its own outputs of the skip path.
    gates: (layers, A, rows, 2 G), of the member's own units, of A samples;
      layers take turns if there are fewer here.
    digits: (A x rows, D) where a product's inputs are written in digits, if
      they are; see `dots.py`.
    unit_digits: (rows, D) where a layer's units are.
    units: (3, rows, G) of a layer and the two before; shared, as is all below.
    skip: (rows, S).
    hidden: (rows, S).
    outputs: (rows, O).
  """

  stream: np.ndarray
  gates: np.ndarray
  digits: np.ndarray
  unit_digits: np.ndarray
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
