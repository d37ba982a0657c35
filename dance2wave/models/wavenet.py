"""WaveNet: raw audio, sample by sample, given context (van den Oord 2016)."""

import functools

import jax
import jax.numpy as jnp
from flax import nnx

from dance2wave.models.layers import Dense, num_cycles, remade, shift_frames
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


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _add_between_frames(h_BTG, frames_BFG, hop):
  """Add to samples (B, T, G) what frames (B, F + 1, G) are between them."""
  batch, _, width = h_BTG.shape
  weight = _weights(hop, h_BTG.dtype)[1][None, None, :, None]
  now, then = frames_BFG[:, :-1, None], frames_BFG[:, 1:, None]
  h = h_BTG.reshape(batch, -1, hop, width)
  return (h + now + (then - now) * weight).reshape(h_BTG.shape)


def _weights(hop, dtype):
  """Return (2, S) how much a frame, and the next, are in the samples after."""
  then = (jnp.arange(hop) / hop).astype(dtype)
  return jnp.stack([1 - then, then])


def _keep_nothing(h_BTG, frames_BFG, hop):
  return _add_between_frames(h_BTG, frames_BFG, hop), None


def _gather_from_samples(hop, _, slope_BTG):
  """Return the gradients: as a matrix product, which sums far faster."""
  batch, _, width = slope_BTG.shape
  slope = slope_BTG.reshape(batch, -1, hop, width)
  weights = _weights(hop, slope.dtype)
  both = jnp.einsum('ks,bfsg->kbfg', weights, slope)
  now = jnp.pad(both[0], ((0, 0), (0, 1), (0, 0)))
  then = jnp.pad(both[1], ((0, 0), (1, 0), (0, 0)))
  return slope_BTG, now + then


_add_between_frames.defvjp(_keep_nothing, _gather_from_samples)


@jax.custom_vjp
def _gated(h):
  """Return tanh(value) sigmoid(gate) of (..., [value | gate])."""
  value, gate = jnp.split(h, 2, axis=-1)
  return jnp.tanh(value) * jax.nn.sigmoid(gate)


def _keep_input(h):
  return _gated(h), h


def _ungated(h, slope):
  value, gate = jnp.split(h, 2, axis=-1)
  value, gate = jnp.tanh(value), jax.nn.sigmoid(gate)
  of_value = slope * gate * (1 - value * value)
  of_gate = slope * value * gate * (1 - gate)
  return (jnp.concatenate([of_value, of_gate], axis=-1),)


_gated.defvjp(_keep_input, _ungated)


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
    remat: whether a layer's activations, or with `scan` a cycle's, are
      computed again for gradients rather than kept.
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
    layers = self.taps[...], self.taps_bias[...], self.residual[...]
    if self.scan and num_cycles(self.dilations) > 1:
      return self._head(self._scan(x, layers, condition_BFLG, shift))
    _, units = self._layers(x, layers, condition_BFLG, shift, self.remat)
    return self._head(self.skip(units))

  def _layers(self, x, layers, condition_BFLG, shift, remat=False):
    """Return the residual path after some layers and their gated units."""
    units = []
    for index, dilation in enumerate(self.dilations[: len(layers[0])]):
      call = functools.partial(self._layer, dilation=dilation, shift=shift)
      weights = [array[index] for array in layers]
      x, unit = remade(call, remat)(x, weights, condition_BFLG[:, :, index])
      units.append(unit)
    return x, jnp.concatenate(units, axis=-1)

  def _scan(self, x, layers, condition_BFLG, shift):
    """Return the skip path of all layers, cycle by cycle."""
    count = num_cycles(self.dilations)

    def by_cycle(array, axis=0):
      shape = array.shape
      split = count, shape[axis] // count
      array = array.reshape(*shape[:axis], *split, *shape[axis + 1 :])
      return jnp.moveaxis(array, axis, 0)

    def one_cycle(carry, given):
      x, total = carry
      layers, condition_BFLG, skip = given
      x, units = self._layers(x, layers, condition_BFLG, shift)
      skipped = units.reshape(-1, units.shape[-1]) @ skip.astype(x.dtype)
      return (x, total + skipped.reshape(total.shape)), None

    bias = self.skip.bias[...].astype(x.dtype)
    total = jnp.zeros_like(x[..., :1]) + bias[None, None]
    given = (
      jax.tree.map(by_cycle, layers),
      by_cycle(condition_BFLG, 2),
      by_cycle(self.skip.kernel[...]),
    )
    one_cycle = remade(one_cycle, self.remat, in_loop=True)
    return jax.lax.scan(one_cycle, (x, total), given)[0][1]

  def _layer(self, x, weights, condition_BFG, dilation, shift):
    """Return the residual path after a layer and its gated unit."""
    taps, bias, residual = weights
    h = self._dilated(x, taps, bias, dilation, shift)
    h = _add_between_frames(h, condition_BFG, self.samples_per_frame)
    z = _gated(h)
    flat = z.reshape(-1, self.gate) @ residual.astype(z.dtype)
    return x + flat.reshape(x.shape), z

  def _dilated(self, x, taps, bias, dilation, shift):
    """Multiply by all taps at once, then shift the outputs."""
    residual = x.shape[-1]
    taps = taps.reshape(self.kernel, residual, 2 * self.gate)
    taps = jnp.moveaxis(taps, 0, 1).reshape(residual, -1).astype(x.dtype)
    parts = x.reshape(-1, residual) @ taps
    parts = jnp.split(parts.reshape(*x.shape[:2], -1), self.kernel, axis=-1)
    last = self.kernel - 1
    h = sum(shift(p, (j - last) * dilation) for j, p in enumerate(parts))
    return h + bias.astype(h.dtype)[None, None]

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
