"""Baselines that are obviously right: one thing after the other, as written.

Sampling goes sample by sample and layer by layer in numpy; training uses
XLA's own dilated convolutions. A test holds both equal to the models.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dance2wave.models.quantise import bent_of_codes, unbend
from dance2wave.sampling.draw import classes_in_order


def _conditions(wave, context_BFC):
  """Yield what the layers' gates are given, sample by sample: (B, L, 2 G)."""
  label_BS = jnp.zeros((len(context_BFC), wave.num_labels))
  frames_BFLG = np.asarray(wave.condition(jnp.asarray(context_BFC), label_BS))
  for now, then in itertools.pairwise(np.moveaxis(frames_BFLG, 1, 0)):
    for step in range(wave.samples_per_frame):
      weight = np.float32(step / wave.samples_per_frame)
      yield now + (then - now) * weight


def _dense(layer, x):
  return x @ np.asarray(layer.kernel[...]) + np.asarray(layer.bias[...])


def _layer(weights, inputs, t, dilation, condition_BG):
  """Return the units of a layer at sample t, given all of its inputs."""
  taps, bias = weights
  residual = inputs[t].shape[1]
  h = condition_BG + bias
  kernel = len(taps) // residual
  for tap in range(kernel):
    past = t - (kernel - 1 - tap) * dilation
    if past >= 0:
      h = h + inputs[past] @ taps[tap * residual : (tap + 1) * residual]
  value, gate = np.split(h, 2, axis=1)
  return np.tanh(value) / (1 + np.exp(-gate))


def _head(wave, units):
  x = np.maximum(_dense(wave.skip, np.concatenate(units, axis=1)), 0)
  return _dense(wave.logits, np.maximum(_dense(wave.hidden, x), 0))


def _pick(weights_BN, uniform_B):
  """Return which of some weights each draw falls on."""
  sums_BN = np.cumsum(weights_BN, axis=1)
  below = sums_BN <= (uniform_B * sums_BN[:, -1])[:, None]
  return np.minimum(below.sum(axis=1), weights_BN.shape[1] - 1)


def _draw_class(logits_BV, uniform_B2):
  """Draw the column of a class and then its row, as `draw.draw_class` does."""
  order_CR = classes_in_order(logits_BV.shape[1])
  p_BV = np.exp(logits_BV - logits_BV.max(axis=1, keepdims=True))
  p_BCR, clips = p_BV[:, order_CR], np.arange(len(p_BV))
  column_B = _pick(p_BCR.sum(axis=2), uniform_B2[:, 0])
  row_B = _pick(p_BCR[clips, column_B], uniform_B2[:, 1])
  return order_CR[column_B, row_B]


def draw(bench, batch: int, num_samples: int) -> np.ndarray:
  """Draw samples (B, T) of softmax outputs, from silence on."""
  frames = -(-num_samples // bench.hop)
  wave = nnx.merge(bench.graphdef, bench.params).wave
  taps, biases, outs = map(
    np.asarray, (wave.taps, wave.taps_bias, wave.residual)
  )
  given = _conditions(wave, bench.context(batch, frames))
  uniform = bench.uniform(batch, frames).reshape(-1, batch, 2)
  levels = wave.logits.kernel.shape[1]
  scale = np.asarray(bent_of_codes(jnp.arange(levels), levels))
  inputs = [[] for _ in wave.dilations]
  bent_B, drawn = np.zeros(batch, np.float32), []
  for t, condition in enumerate(itertools.islice(given, num_samples)):
    x, units = _dense(wave.embed, bent_B[:, None]), []
    for layer, dilation in enumerate(wave.dilations):
      inputs[layer].append(x)
      weights = taps[layer], biases[layer]
      units.append(
        _layer(weights, inputs[layer], t, dilation, condition[:, layer])
      )
      x = x + units[-1] @ outs[layer]
    bent_B = scale[_draw_class(_head(wave, units), uniform[t])]
    drawn.append(bent_B)
  signal = unbend(jnp.asarray(np.stack(drawn, axis=1)), levels)
  return np.clip(np.asarray(signal), -1.0, 1.0)


def outputs(wave, past_BT, context_BFC):
  """Return what `WaveNet` puts out (B, T, O), by XLA's convolutions."""
  label_BS = jnp.zeros((len(past_BT), wave.num_labels))
  frames_BFLG = wave.condition(context_BFC, label_BS)
  hop = wave.samples_per_frame
  weight = (jnp.arange(hop) / hop)[None, None, :, None, None]
  now, then = frames_BFLG[:, :-1, None], frames_BFLG[:, 1:, None]
  shape = *past_BT.shape, *frames_BFLG.shape[2:]
  given = (now + (then - now) * weight).reshape(shape)
  x, units = wave.embed(past_BT[..., None]), []
  for layer, dilation in enumerate(wave.dilations):
    taps = wave.taps[layer].reshape(wave.kernel, x.shape[-1], -1)
    h = jax.lax.conv_general_dilated(
      x,
      taps,
      window_strides=(1,),
      padding=[((wave.kernel - 1) * dilation, 0)],
      rhs_dilation=(dilation,),
      dimension_numbers=('NWC', 'WIO', 'NWC'),
    )
    h = h + wave.taps_bias[layer][None, None] + given[:, :, layer]
    value, gate = jnp.split(h, 2, axis=-1)
    units.append(jnp.tanh(value) * jax.nn.sigmoid(gate))
    x = x + units[-1] @ wave.residual[layer]
  hidden = jax.nn.relu(wave.skip(jnp.concatenate(units, axis=-1)))
  return wave.logits(jax.nn.relu(wave.hidden(hidden)))
