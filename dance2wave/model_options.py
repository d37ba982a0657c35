"""Options that are the sizes of a model."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class PoseOptions:
  """Sizes of the pose transformer; see `PoseTransformer`.

  Attributes:
    describes: what it is asked for of a clip beside its rhythm: 'style',
      'audio_features', both or neither.
    encoder: how a frame's motion is embedded: as one list of numbers
      ('transformer'), or joint by joint over the skeleton's graph ('st_gcn').
  """

  width: int
  num_heads: int
  num_blocks: int
  stem_dilations: tuple[int, ...]
  top_dilations: tuple[int, ...]
  kernel: int
  window_s: float
  look_ahead_s: float | None
  dropout: float
  describes: tuple[str, ...]
  encoder: str = 'transformer'


@dataclasses.dataclass(frozen=True)
class WaveOptions:
  """Sizes of the WaveNet; see `WaveNet`.

  Attributes:
    num_cycles: how often the dilations 1, 2, 4 ... are repeated.
    layers_per_cycle: dilations in a cycle.
    output: 'softmax' over mu-law levels or a 'mixture' of logistics.
    levels: of the mu-law scale.
    mixtures: components where the output is a mixture.
    is_levelled: whether it draws levelled sound, whose loudness the pose
      transformer sets.
    is_whitened: whether it draws whitened sound, which the levels of bands
      colour; see `models/envelope.py`.
    hears_heads: whether it is given the activations of the rhythm heads
      beside the context.
    hears_pulse: whether it is given the pulse that these agree on from the
      start of the dance on; see `models/pulse.py`.
    num_bands: mel bands whose levels a `Timbre` tells it; 0 for none.
    context_stack: layers of a `ContextStack` over frames before it, which
      reaches back 2^layers - 1 frames; 0 for none.
  """

  num_cycles: int
  layers_per_cycle: int
  kernel: int
  residual: int
  gate: int
  skip: int
  output: str
  levels: int
  mixtures: int
  is_levelled: bool
  hears_heads: bool
  num_bands: int = 0
  context_stack: int = 0
  is_whitened: bool = False
  hears_pulse: bool = False

  @property
  def dilations(self) -> tuple[int, ...]:
    """The dilation of every layer, in samples."""
    return tuple(2**i for i in range(self.layers_per_cycle)) * self.num_cycles

  @property
  def num_outputs(self) -> int:
    """Channels of the WaveNet's output."""
    return self.levels if self.output == 'softmax' else 3 * self.mixtures
