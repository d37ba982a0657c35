"""WaveNet: raw audio, sample by sample, given context (van den Oord 2016)."""

import operator

import jax
import jax.numpy as jnp
from flax import nnx

from dance2wave.models.gated_layers import Weights, gated_layers
from dance2wave.models.layers import Dense, num_cycles, shift_frames
from dance2wave.models.quantise import mixture_bias
from dance2wave.models.timbre import Timbre, said_or_not

_INIT = nnx.initializers.variance_scaling(1.0, 'fan_in', 'normal')

# A label moves the gates of all layers so many times as far as its table says:
# it is seldom in a batch and says little of a sample, so that it would be
# learned last.
_LABEL_SCALE = 30.0


def _stacked(rngs, layers, fan_in, fan_out, scale=1.0):
  """Draw one (fan_in, fan_out) kernel for each of `layers` layers."""
  keys = jax.random.split(rngs.params(), layers)
  draw = jax.vmap(lambda key: _INIT(key, (fan_in, fan_out), jnp.float32))
  return nnx.Param(scale * draw(keys))


def receptive_field(dilations, kernel):
  """Return how many samples, the newest included, an output depends on."""
  return (kernel - 1) * sum(dilations) + 1


class WaveNet(nnx.Module):
  """Dilated causal convolutions with gated units, residual and skip paths.

  Parameters are stacked over layers (L): one table of all past taps, one of
  all context projections. Context is projected at frame rate and then
  interpolated linearly to samples, which is the same as the other way round
  and cheaper by the number of samples in a frame.

  With `num_bands` it is also given the levels of so many mel bands, which a
  `Timbre` says from context and label. If it `is_whitened`, these are also to
  colour what it draws; see `models/envelope.py`.

  Attributes:
    remat: whether the activations of a cycle of dilations are computed again
      for gradients rather than kept.
    scan: whether the cycles of the dilations are one program, gone through for
      each, which is compiled in less time.
    receptive_field: in samples.
  """

  def __init__(
    self,
    *,
    context_dim,
    num_styles,
    dilations,
    kernel,
    residual,
    gate,
    skip,
    num_outputs,
    samples_per_frame,
    rngs,
    is_mixture=False,
    num_bands=0,
    is_whitened=False,
    remat=False,
    scan=False,
  ):
    layers = len(dilations)
    self.num_labels, self.remat, self.scan = num_styles, remat, scan
    self.dilations, self.kernel = tuple(dilations), kernel
    self.gate, self.samples_per_frame = gate, samples_per_frame
    self.receptive_field = receptive_field(dilations, kernel)
    self.embed = Dense(1, residual, rngs=rngs)
    self.taps = _stacked(rngs, layers, kernel * residual, 2 * gate)
    self.taps_bias = nnx.Param(jnp.zeros((layers, 2 * gate)))
    self.residual = _stacked(rngs, layers, gate, residual, scale=0.5)
    self.skip = Dense(layers * gate, skip, rngs=rngs)
    self.context = Dense(
      context_dim, layers * 2 * gate, rngs=rngs, use_bias=False
    )
    self.num_bands, self.is_whitened = num_bands, is_whitened
    if num_bands:
      self.timbre = Timbre(
        context_dim=context_dim,
        num_styles=num_styles,
        num_bands=num_bands,
        rngs=rngs,
      )
      self.bands = Dense(
        num_bands, layers * 2 * gate, rngs=rngs, use_bias=False
      )
    # Row 0 is for clips of which nothing is said; label s is row s + 1.
    self.style = nnx.Param(jnp.zeros((num_styles + 1, layers * 2 * gate)))
    self.hidden = Dense(skip, skip, rngs=rngs)
    self.logits = Dense(skip, num_outputs, rngs=rngs)
    if is_mixture:
      self.logits.bias = nnx.Param(mixture_bias(num_outputs // 3))

  def condition(self, context_BFC, label_BS, bands_BFK=None):
    """Project context and labels to what every layer's gate is given.

    Args:
      context_BFC: (B, F, C) at pose-frame rate.
      label_BS: (B, S) 1 for each label of the clip (its style, or its tags),
        else 0; nothing is said of a clip whose row is zero.
      bands_BFK: (B, F, K) levels of bands; None takes those of `timbre`.

    Returns:
      (B, F, L, 2 G).
    """
    frames = self.context(context_BFC)
    label = said_or_not(label_BS).astype(frames.dtype)
    table = _LABEL_SCALE * self.style[...].astype(frames.dtype)
    frames = frames + (label @ table)[:, None]
    if self.num_bands:
      if bands_BFK is None:
        bands_BFK = self.timbre(context_BFC, label_BS)
      frames = frames + self.bands(bands_BFK.astype(frames.dtype))
    return frames.reshape(*frames.shape[:2], len(self.dilations), 2 * self.gate)

  def colours_on_style(self, context_BFC, style_B, strength=1.0):
    """Return the levels of bands (B, F, K) that whitened sound is to get.

    What a style changes in them is multiplied by `strength`. K is 0 where the
    WaveNet draws sound that is not whitened.
    """
    if not self.is_whitened:
      return jnp.zeros((*context_BFC.shape[:2], 0))
    return self._strengthened(self.timbre, context_BFC, style_B, strength)

  def condition_on_style(self, context_BFC, style_B, strength=1.0):
    """Project context and styles; what a style changes, it may change more.

    Args:
      context_BFC: (B, F, C) at pose-frame rate.
      style_B: (B,) index of a label, -1 where none is wanted.
      strength: by which the difference to no style is multiplied; 1 is what
        was learned (classifier-free guidance, Ho and Salimans 2022, but of
        what the gates are given, which costs no second WaveNet). Of whitened
        sound it is the colour that is strengthened, and the gates are given
        what was learned.

    Returns:
      (B, F, L, 2 G).
    """
    if self.is_whitened:
      strength = 1.0
    return self._strengthened(self.condition, context_BFC, style_B, strength)

  def _strengthened(self, call, context_BFC, style_B, strength):
    label_BS = jax.nn.one_hot(style_B, self.num_labels)  # -1 is all zero
    styled = call(context_BFC, label_BS)
    if strength == 1.0:
      return styled
    plain = call(context_BFC, jnp.zeros_like(label_BS))
    return plain + strength * (styled - plain)

  def __call__(self, past_BT, condition_BFLG, shift=shift_frames):
    """Return the outputs (B, T, O) for T = F x samples_per_frame samples.

    Args:
      past_BT: the signal in [-1, 1] delayed by one sample: past[t] = x[t-1].
      condition_BFLG: (B, F + 1, L, 2 G), one frame more than the samples
        cover, because context is interpolated between frames.
      shift: moves samples in time; another one may fetch them from elsewhere.
    """
    x = self.embed(past_BT[..., None].astype(condition_BFLG.dtype))
    cycles = num_cycles(self.dilations)
    dilations = self.dilations[: len(self.dilations) // cycles]
    given = self._weights(x.dtype), jnp.moveaxis(condition_BFLG, 2, 0)
    given = jax.tree.map(lambda a: a.reshape(cycles, -1, *a.shape[1:]), given)

    def one_cycle(carry, given):
      x, total = carry
      weights, frames_LBFG = given
      frames = jnp.moveaxis(frames_LBFG, 0, 2)
      sizes = dilations, self.samples_per_frame, shift, self.remat
      x, skipped = gated_layers(x, weights, frames, *sizes)
      return (x, total + skipped), None

    bias = self.skip.bias[...].astype(x.dtype)
    carry = x, jnp.zeros_like(x[..., :1]) + bias[None, None]
    if self.scan and cycles > 1:
      carry, _ = jax.lax.scan(one_cycle, carry, given)
    else:  # Unrolled, a scan splits channels where only clips are to be split.
      for cycle in range(cycles):
        carry, _ = one_cycle(
          carry, jax.tree.map(operator.itemgetter(cycle), given)
        )
    return self._head(carry[1])

  def _weights(self, dtype):
    """Return the weights of all layers, to compute with in a dtype."""
    weights = Weights(
      self.taps[...],
      self.taps_bias[...],
      self.residual[...],
      self.skip.kernel[...].reshape(len(self.dilations), self.gate, -1),
    )
    return jax.tree.map(lambda array: array.astype(dtype), weights)

  def _head(self, skipped):
    x = jax.nn.relu(self.hidden(jax.nn.relu(skipped)))
    return self.logits(x)

  def start(self, batch, dtype=jnp.float32):
    """Return the state before the first sample: silence.

    One ring buffer per layer and past tap distance, packed into one array.
    """
    residual = self.residual.shape[-1]
    reach = [(self.kernel - 1) * d for d in self.dilations]
    rings = jnp.zeros((sum(reach), batch, residual), dtype)
    return {'rings': rings, 'sample': jnp.zeros((), jnp.int32)}

  def split_taps(self):
    """Return the matrices of the past taps and of the newest one.

    For `step`, which would otherwise copy them for every sample:
    (L, (k - 1) R, 2 G) and (L, R, 2 G).
    """
    past = (self.kernel - 1) * self.residual.shape[-1]
    return jnp.split(self.taps[...], [past], axis=1)

  def step(self, past_B, condition_BLG, taps, state):
    """Return outputs (B, O) for one sample and the state.

    Args:
      past_B: the previous sample, in [-1, 1].
      condition_BLG: (B, L, 2 G), interpolated to this sample.
      taps: from `split_taps`.
      state: from `start` or an earlier step.
    """
    past_taps, newest_taps = taps
    reach = jnp.array([(self.kernel - 1) * d for d in self.dilations])
    base = jnp.concatenate([jnp.zeros(1, reach.dtype), jnp.cumsum(reach)[:-1]])
    sample = state['sample']
    past = self._read_rings(state['rings'], reach, base, sample)
    h_past = jnp.einsum('lbr,lrg->lbg', past, past_taps)
    h_past = h_past + self.taps_bias[...][:, None]
    h_past = h_past + jnp.moveaxis(condition_BLG, 1, 0)

    def layer(x, weights):
      (value, gate), tap, out = weights
      # Split before they are added to: XLA's code for a slice of a sum with a
      # layer's row of an array takes six times as long on processors.
      more_value, more_gate = jnp.split(x @ tap, 2, axis=-1)
      z = jnp.tanh(value + more_value) * jax.nn.sigmoid(gate + more_gate)
      return x + z @ out, (x, z)

    x = self.embed(past_B[:, None])
    halves = jnp.split(h_past, 2, axis=-1)
    weights = halves, newest_taps, self.residual[...]
    _, (inputs_LBR, units_LBG) = jax.lax.scan(layer, x, weights)
    slot = base + sample % reach
    rings = state['rings'].at[slot].set(inputs_LBR)
    units = jnp.moveaxis(units_LBG, 0, 1).reshape(past_B.shape[0], -1)
    return self._head(self.skip(units)), {'rings': rings, 'sample': sample + 1}

  def _read_rings(self, rings, reach, base, sample):
    """Return the past taps of every layer, oldest first: (L, B, (k-1) R)."""
    distance = reach // (self.kernel - 1)
    taps = [
      rings[base + (sample - j * distance) % reach]
      for j in range(self.kernel - 1, 0, -1)
    ]
    return jnp.concatenate(taps, axis=-1)
