"""Compare sets of sounds by embeddings: how far apart, and how diverse.

    sounds ──embedding──> (N, D) ──> Fréchet distance to another set
                                ──> diversity within the set

An embedding is any function (audio_T, sample_rate_hz) -> (D,): the caller's
own, named 'module:function', or `log_mel_statistics`, which needs no weights.
Whoever has arrays already passes them as they are. Distances of different
embeddings do not compare.
"""

import functools
import importlib
import math
from collections.abc import Callable, Iterable

import numpy as np

from dance2wave.errors import InputError
from dance2wave.media.audio import resample
from dance2wave.media.clip import Waveform

Embedding = Callable[[np.ndarray, int], np.ndarray]
# (N, D) embeddings, or their (D,) mean and (D, D) covariance.
Distribution = np.ndarray | tuple[np.ndarray, np.ndarray]

NUM_BANDS = 24
LOG_MEL_DIM = 3 * NUM_BANDS

_RATE_HZ, _WINDOW, _HOP, _FFT_SIZE = 8000, 400, 80, 512
_LOW_HZ, _HIGH_HZ = 60.0, 3600.0  # resamplers to 8 kHz pass this unharmed
_MIN_FRAMES = 2  # of which one difference can be taken


@functools.cache
def _mel_filters() -> np.ndarray:
  """Return (bands, bins) triangles, equally wide in mel, each of sum 1."""
  low, high = (2595 * math.log10(1 + hz / 700) for hz in (_LOW_HZ, _HIGH_HZ))
  edge_hz = 700 * (10 ** (np.linspace(low, high, NUM_BANDS + 2) / 2595) - 1)
  left, peak, right = (edge_hz[i : i + NUM_BANDS, None] for i in range(3))
  bin_hz = np.arange(_FFT_SIZE // 2 + 1) * (_RATE_HZ / _FFT_SIZE)
  rise, fall = (
    (bin_hz - left) / (peak - left),
    (right - bin_hz) / (right - peak),
  )
  filters = np.maximum(0.0, np.minimum(rise, fall))
  return filters / filters.sum(axis=1, keepdims=True)


def _band_power(audio_T: np.ndarray) -> np.ndarray:
  """Return (F, bands) mean power in each band; 1 is about a full-scale sine."""
  import scipy.fft

  shortest = _WINDOW + (_MIN_FRAMES - 1) * _HOP
  audio_T = np.pad(audio_T, (0, max(0, shortest - len(audio_T))))
  window_W = np.hanning(_WINDOW + 1)[:-1]
  window_W *= 2 / window_W.sum()
  frames_FW = np.lib.stride_tricks.sliding_window_view(audio_T, _WINDOW)
  spectrum_FB = scipy.fft.rfft(frames_FW[::_HOP] * window_W, _FFT_SIZE)
  return np.abs(spectrum_FB) ** 2 @ _mel_filters().T


def log_mel_statistics(
  audio_T: np.ndarray, sample_rate_hz: int, *, floor_db: float = -70.0
) -> np.ndarray:
  """Describe a sound by the statistics of its log-mel bands.

  24 bands from 60 to 3600 Hz, 100 times a second, in dB of a full-scale sine;
  `floor_db` is added as a power, so that what is below it hardly matters. All
  analysis is at 8 kHz: a sound and its 8 kHz version agree, and what lies
  above 3.6 kHz is not heard. Order within 50 ms and beyond 10 ms is lost:
  a delayed or a badly timed sound has the embedding of a good one.

  Returns:
    (LOG_MEL_DIM,) float64: means of the bands, their standard deviations, and
    the mean absolute changes from frame to frame.

  Raises:
    InputError: not (T,) floats in [-1, 1], no samples, or below 8 kHz.
  """
  samples_T = Waveform(audio_T, sample_rate_hz).samples_T
  if not len(samples_T) or sample_rate_hz < _RATE_HZ:
    raise InputError(
      f'a sound of {len(samples_T)} samples at {sample_rate_hz} Hz is to be '
      f'embedded; expected at least one sample, at {_RATE_HZ} Hz or more; '
      'leave the clip out, or take a better recording'
    )
  samples_T = resample(samples_T, int(sample_rate_hz), _RATE_HZ)
  power_FB = _band_power(samples_T.astype(np.float64))
  db_FB = 10 * np.log10(power_FB + 10 ** (floor_db / 10))
  change_FB = np.abs(np.diff(db_FB, axis=0))
  return np.concatenate([db_FB.mean(0), db_FB.std(0), change_FB.mean(0)])


def embedding_named(name: str) -> Embedding:
  """Import an embedding by the name 'package.module:function'.

  Raises:
    InputError: no such module or function.
  """
  module, _, function = name.partition(':')
  try:
    found = getattr(importlib.import_module(module), function)
  except (ImportError, AttributeError, ValueError) as error:
    raise InputError(
      f'embedding {name!r} cannot be imported ({error}); expected '
      "'package.module:function' of an importable module; correct the name"
    ) from error
  if not callable(found):
    raise InputError(
      f'embedding {name!r} is a {type(found).__name__}; expected a function '
      '(audio_T, sample_rate_hz) -> (D,); correct the name'
    )
  return found


def embed(
  audios: Iterable[np.ndarray],
  sample_rate_hz: int,
  embedding: Embedding = log_mel_statistics,
) -> np.ndarray:
  """Return (N, D) embeddings of sounds, D = 0 for no sounds."""
  rows = [np.asarray(embedding(a_T, sample_rate_hz)) for a_T in audios]
  shapes = {row.shape for row in rows}
  if len(shapes) > 1 or any(len(shape) != 1 for shape in shapes):
    raise InputError(
      f'an embedding returned shapes {sorted(shapes)}; expected (D,) of one D '
      'for every sound; correct the embedding'
    )
  return np.array(rows, np.float64) if rows else np.zeros((0, 0))


def _checked(embeddings_ND: np.ndarray, min_rows: int) -> np.ndarray:
  embeddings_ND = np.asarray(embeddings_ND, np.float64)
  shape, finite = embeddings_ND.shape, np.isfinite(embeddings_ND).all()
  if len(shape) != 2 or shape[0] < min_rows or not shape[1] or not finite:
    raise InputError(
      f'embeddings of shape {shape}{"" if finite else " with NaN or infinity"};'
      f' expected (N, D) finite numbers of N >= {min_rows} sounds; embed more '
      'sounds, and leave out what cannot be embedded'
    )
  return embeddings_ND


def _shrinkage(unit_ND: np.ndarray, correlation_DD: np.ndarray) -> float:
  """Return by which share to shrink correlations of standardised columns."""
  num, square_ND = len(unit_ND), unit_ND**2
  mean_DD = correlation_DD * (num - 1) / num
  scatter_DD = square_ND.T @ square_ND - num * mean_DD**2
  variance_DD = scatter_DD * num / (num - 1) ** 3
  off_diagonal = ~np.eye(len(correlation_DD), dtype=bool)
  signal = np.sum(correlation_DD[off_diagonal] ** 2)
  if not signal:
    return 0.0
  return float(np.clip(np.sum(variance_DD[off_diagonal]) / signal, 0, 1))


def mean_and_covariance(
  embeddings_ND: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
  """Estimate mean and covariance; correlations are shrunk as the data ask.

  The covariance is divided by N - 1. Its off-diagonal entries are multiplied
  by 1 - lambda, where lambda, 0 to 1, minimises the expected squared error of
  the correlations (Schäfer and Strimmer 2005, target D; doi
  10.2202/1544-6115.1175): near 0 for many sounds, near 1 for few. Variances
  are left alone, so that the units of the dimensions do not matter.

  Raises:
    InputError: fewer than two sounds, or values that are not finite.
  """
  embeddings_ND = _checked(embeddings_ND, 2)
  mean_D = embeddings_ND.mean(axis=0)
  deviation_D = embeddings_ND.std(axis=0, ddof=1)
  unit_ND = (embeddings_ND - mean_D) / np.where(deviation_D > 0, deviation_D, 1)
  correlation_DD = unit_ND.T @ unit_ND / (len(unit_ND) - 1)
  shrunk_DD = (1 - _shrinkage(unit_ND, correlation_DD)) * correlation_DD
  np.fill_diagonal(shrunk_DD, np.diag(correlation_DD))
  return mean_D, shrunk_DD * np.outer(deviation_D, deviation_D)


def _as_gaussian(distribution: Distribution) -> tuple[np.ndarray, np.ndarray]:
  """Return (D,) mean and symmetric (D, D) covariance of either form."""
  if not isinstance(distribution, tuple):
    return mean_and_covariance(distribution)
  mean_D, covariance_DD = (
    np.asarray(part, np.float64) for part in distribution
  )
  if mean_D.ndim != 1 or covariance_DD.shape != (len(mean_D), len(mean_D)):
    raise InputError(
      f'a mean of shape {mean_D.shape} with a covariance of shape '
      f'{covariance_DD.shape}; expected (D,) and (D, D); pass a pair as '
      'mean_and_covariance returns it'
    )
  _checked(np.vstack([mean_D, covariance_DD]), 1)
  return mean_D, (covariance_DD + covariance_DD.T) / 2


def _root(covariance_DD: np.ndarray) -> np.ndarray:
  """Return the symmetric root; rounding below zero counts as zero."""
  value_D, vector_DD = np.linalg.eigh(covariance_DD)
  return vector_DD * np.sqrt(np.maximum(value_D, 0.0)) @ vector_DD.T


def frechet_distance(a: Distribution, b: Distribution) -> float:
  """Return the (squared) Fréchet distance of two sets of embeddings.

  |mean_a - mean_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2)): of Gaussians
  (Dowson and Landau 1982), as FID (1706.08500, eq. 6) and FAD (1812.08466)
  use it. The trace of the root is the nuclear norm of S_a^(1/2) S_b^(1/2),
  which needs no root of an unsymmetric matrix, and no full rank.

  At least 0, lower is closer, symmetric, in squared units of the embedding.
  Chance is not 0: two sets of one source with N and M sounds are apart by
  tr(S) (1/N + 1/M) in their means, and by more in their covariances. On
  `log_mel_statistics` of synthetic_dance originals, N against N other ones:

      N          16    32    64   128   256
      shrunk    166   104    52    30    15
      as is     215   125    59    32    16

  while noise 30 dB below adds 7 at any N, and silence 5500. So compare sets
  of equal size, and give `frechet_halves` of the originals beside it.

  Args:
    a: (N, D) embeddings, whose covariance is shrunk by
      `mean_and_covariance`, or a tuple (mean_D, covariance_DD), taken as is.
    b: likewise.

  Raises:
    InputError: different D, fewer than two sounds, values not finite.
  """
  (mean_a, cov_a), (mean_b, cov_b) = _as_gaussian(a), _as_gaussian(b)
  if len(mean_a) != len(mean_b):
    raise InputError(
      f'embeddings of {len(mean_a)} and of {len(mean_b)} numbers; expected the '
      'same embedding on both sides; embed both sets alike'
    )
  product = _root(cov_a) @ _root(cov_b)
  overlap = np.linalg.svd(product, compute_uv=False).sum()
  spread = np.trace(cov_a) + np.trace(cov_b) - 2 * overlap
  return float(np.sum((mean_a - mean_b) ** 2) + max(spread, 0.0))


def frechet_halves(
  embeddings_ND: np.ndarray,
  others_ND: np.ndarray | None = None,
  *,
  num_splits: int = 10,
  seed: int = 0,
) -> float:
  """Return the distance of two random halves of one set: what chance gives.

  The mean over `num_splits` splits into halves of N // 2 sounds. It shrinks
  with N: N // 2 sounds of a system that are no farther from N // 2 originals
  of other clips cannot be told from originals.

  Args:
    embeddings_ND: of N clips, originals.
    others_ND: of a system's sounds for the same clips, of which the second
      halves are taken instead.
    num_splits: into halves.
    seed: of the splits.

  Raises:
    InputError: fewer than four sounds, two numbers of them, or values that are
      not finite.
  """
  embeddings_ND = _checked(embeddings_ND, 4)
  others_ND = embeddings_ND if others_ND is None else _checked(others_ND, 4)
  if len(others_ND) != len(embeddings_ND):
    raise InputError(
      f'{len(embeddings_ND)} and {len(others_ND)} sounds; expected two of each '
      'clip; leave out what has one'
    )
  rng, half = np.random.default_rng(seed), len(embeddings_ND) // 2
  distances = []
  for _ in range(num_splits):
    order = rng.permutation(len(embeddings_ND))
    left, right = order[:half], order[half : 2 * half]
    distances.append(frechet_distance(embeddings_ND[left], others_ND[right]))
  return float(np.mean(distances))


def diversity(embeddings_SD: np.ndarray) -> float:
  """Return the mean distance between the sounds of one dance across seeds.

  Euclidean, over all pairs of S seeds; at least 0, NaN for fewer than two. 0
  says that the seed changes nothing. Neither more nor less is better by
  itself: the same figure of originals of different dances is what diversity
  across dances gives, and noise is diverse as well.
  """
  import scipy.spatial

  embeddings_SD = _checked(embeddings_SD, 0)
  if len(embeddings_SD) < 2:
    return math.nan
  return float(scipy.spatial.distance.pdist(embeddings_SD).mean())
