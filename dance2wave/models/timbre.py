"""What the WaveNet is told of the sound to come: its spectrum, roughly.

    context, label ──> Timbre ──> levels of a few mel bands, frame by frame
                                        │
                            the gates of every layer of the WaveNet

Frames are a hundred times cheaper than samples: which bands sound when, and
what a style does to it, is learned long before samples could teach it.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dance2wave.models.layers import Dense

_WIDTH = 64
_LOW_HZ = 40.0
_FLOOR_DB, _MIDDLE_DB, UNIT_DB = -70.0, -40.0, 20.0
_LOWEST_DB, _HIGHEST_DB = -90.0, 6.0


def said_or_not(label_BS):
  """Put before labels (B, S) whether nothing is said: (B, S + 1)."""
  silent_B1 = 1.0 - jnp.max(label_BS, axis=1, keepdims=True)
  return jnp.concatenate([silent_B1, label_BS], axis=1)


class Timbre(nnx.Module):
  """Map context and labels to the levels of mel bands; see `band_levels`."""

  def __init__(self, *, context_dim, num_styles, num_bands, rngs):
    self.hidden = Dense(context_dim, 2 * _WIDTH, rngs=rngs)
    # Row 0 is for clips of which nothing is said; label s is row s + 1.
    self.style = nnx.Param(jnp.zeros((num_styles + 1, 2 * _WIDTH)))
    self.levels = Dense(_WIDTH, num_bands, rngs=rngs, scale=0.1)

  def __call__(self, context_BFC, label_BS):
    """Return (B, F, K) for context (B, F, C) and labels (B, S)."""
    dtype = context_BFC.dtype
    told = said_or_not(label_BS).astype(dtype) @ self.style[...].astype(dtype)
    value, gate = jnp.split(self.hidden(context_BFC) + told[:, None], 2, -1)
    return self.levels(jnp.tanh(value) * jax.nn.sigmoid(gate))


def in_full(rows, matrix):
  """Return the product of arrays, numpy's or JAX's, in full float32.

  Accelerators round what they multiply to 10 bits (GPU) or 7 (TPU) if nothing
  is said: too little for spectra of 90 dB.
  """
  if isinstance(rows, np.ndarray):
    return rows @ matrix
  return jnp.matmul(rows, matrix, precision='highest')


def _edges_hz(num_bands, sample_rate_hz):
  """Return (K + 2,): band k reaches from edge k to k + 2, equally in mel."""
  limits_hz = (_LOW_HZ, sample_rate_hz / 2)
  low, high = (2595 * math.log10(1 + hz / 700) for hz in limits_hz)
  return 700 * (10 ** (np.linspace(low, high, num_bands + 2) / 2595) - 1)


@functools.lru_cache(maxsize=8)
def _triangles(num_bands, num_bins, sample_rate_hz):
  """Return (bins, K) triangles, equally wide in mel, each of sum 1."""
  edge_hz = _edges_hz(num_bands, sample_rate_hz)
  bin_hz = np.linspace(0, sample_rate_hz / 2, num_bins)[:, None]
  left, peak, right = edge_hz[:-2], edge_hz[1:-1], edge_hz[2:]
  rise = (bin_hz - left) / (peak - left)
  fall = (right - bin_hz) / (right - peak)
  filters = np.maximum(1e-9, np.minimum(rise, fall))
  return (filters / filters.sum(axis=0)).astype(np.float32)


def band_levels(audio_BT, *, hop, sample_rate_hz, num_bands):
  """Return (B, F, K) how loud mel bands from 40 Hz up are around each frame.

          frame k
             v
      |-----------|      a Hann window of two hops, centred on the frame
      |<hop>|<hop>|

  In units of 20 dB above -40 dB of a full-scale sine; what lies below -70 dB
  counts as that. F = T / hop.
  """
  pieces = jnp.pad(audio_BT, ((0, 0), (hop, 0)))
  pieces = pieces.reshape(audio_BT.shape[0], -1, hop)
  frames = jnp.concatenate([pieces[:, :-1], pieces[:, 1:]], axis=-1)
  window = np.hanning(2 * hop + 1)[:-1].astype(np.float32)
  size = max(512, 2 ** math.ceil(math.log2(2 * hop)))
  window *= 2 / window.sum()
  spectrum = jnp.fft.rfft(frames * window[None, None], size)
  power = jnp.real(spectrum) ** 2 + jnp.imag(spectrum) ** 2
  level = in_full(power, _triangles(num_bands, size // 2 + 1, sample_rate_hz))
  level_db = 10 * jnp.log10(level + 10 ** (_FLOOR_DB / 10))
  return (level_db - _MIDDLE_DB) / UNIT_DB


def bins_of_levels(levels_BFK, num_bins, sample_rate_hz):
  """Return the power (..., bins) from 0 to half the rate of levels (..., K).

  Between the middles of two bands it is interpolated in dB; beyond the last
  ones it is theirs. Levels that no sound has are taken as the nearest that one
  might have.
  """
  shares = _between_bands(levels_BFK.shape[-1], num_bins, sample_rate_hz)
  units = in_full(levels_BFK[..., None, :], shares)[..., 0, :]  # row by row
  level_db = (_MIDDLE_DB + UNIT_DB * units).clip(_LOWEST_DB, _HIGHEST_DB)
  return 10 ** (level_db / 10)


@functools.lru_cache(maxsize=8)
def _between_bands(num_bands, num_bins, sample_rate_hz):
  """Return (K, bins): how much of a band's level each bin takes."""
  middle_hz = _edges_hz(num_bands, sample_rate_hz)[1:-1]
  bin_hz = np.linspace(0, sample_rate_hz / 2, num_bins)
  shares = [np.interp(bin_hz, middle_hz, band) for band in np.eye(num_bands)]
  return np.stack(shares).astype(np.float32)
