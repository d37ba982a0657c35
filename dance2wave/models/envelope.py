"""What the WaveNet does not draw: how a sound is coloured.

    sound[t] = gain[t] x drawn[t] + sum_k coefficient[k] x sound[t - k]

The WaveNet learns and draws an excitation that is as loud at any time and in
any band; the levels of bands that `Timbre` says make a linear predictor of the
frame, which colours it: an ExcitNet (Song, Byun and Kang 2019) whose predictor
comes from what is told, as in LPCNet (Valin and Skoglund 2019). What a WaveNet
draws is never quite as quiet as told where it is to be quiet; in an excitation
that does no harm, because the predictor colours errors as it does the sound.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from dance2wave.models.timbre import bins_of_levels, in_full

ORDER = 20
_PARTS = 4  # of a frame, at most, each with a predictor of its own
EXCITATION_RMS = 0.1
_BINS = 129
# White noise so far below the sound keeps predictors well-conditioned.
_FLOOR_DB = -60.0


@functools.lru_cache(maxsize=1)
def _cosines():
  """Return (bins, ORDER + 1): autocorrelations from a power spectrum."""
  angle = np.pi * np.arange(_BINS)[:, None] * np.arange(ORDER + 1)
  weight = np.ones((_BINS, 1))
  weight[[0, -1]] = 0.5
  cosines = np.cos(angle / (_BINS - 1)) * weight / weight.sum()
  return cosines.astype(np.float32)


def predictors(levels_BFK, *, hop, sample_rate_hz):
  """Return the predictors of the parts of frames, by the arrays' own library.

  Args:
    levels_BFK: (B, F + 1, K), as `band_levels` returns them; numpy's or JAX's.
    hop: samples of a frame.
    sample_rate_hz: of the sound.

  Returns:
    coefficients (B, F x P, ORDER), that of the sample before first, and gains
    (B, F x P), for P equal parts of each frame.
  """
  parts = math.gcd(hop, _PARTS)
  weight = np.arange(0.5, parts, dtype=np.float32)[None, None, :, None] / parts
  now, then = levels_BFK[:, :-1, None], levels_BFK[:, 1:, None]
  levels = now + (then - now) * weight
  levels = levels.reshape(len(levels_BFK), -1, levels_BFK.shape[-1])
  power = bins_of_levels(levels, _BINS, sample_rate_hz)
  # Row by row, so that numpy's bits do not depend on the number of rows.
  lags = in_full(power[..., None, :], _cosines())[..., 0, :]
  coefficients, error = _solve(lags)
  return coefficients, (error * hop / 3) ** 0.5 / EXCITATION_RMS


def _solve(lags):
  """Solve for predictors (..., P) and their errors, given (..., P + 1) lags.

  Schur's recursion (Schur 1917) finds the reflections of Levinson and Durbin's
  without their sums, whose float32 would leave little of a weak error. The
  predictor is always stable.
  """
  loudest = lags[..., :1] * (1 + 10 ** (_FLOOR_DB / 10))
  xp = lags.__array_namespace__()
  silent = xp.zeros_like(lags[..., 1:])
  state = (
    lags[..., 1:],
    xp.concatenate([loudest, lags[..., 1:-1]], axis=-1),
    silent,
    xp.concatenate([silent[..., :1] - 1, silent[..., 1:]], axis=-1),
  )
  if isinstance(lags, np.ndarray):
    for order in range(ORDER):
      state = _raise_order(order, state)
  else:
    state = jax.lax.fori_loop(0, ORDER, _raise_order, state)
  _, behind, coefficients, _ = state
  return coefficients, behind[..., 0]


def _raise_order(_, state):
  """Let predictors look one sample further back.

  The state is, each (..., P) and by lag: what the errors of predicting ahead
  and behind have in common with the sound that is not yet looked at, the
  predictors ahead, and the negative ones behind.
  """
  ahead, behind, predict, retrodict = state
  reflection = ahead[..., :1] / behind[..., :1]
  ahead, behind = ahead - reflection * behind, behind - reflection * ahead
  predict, retrodict = (
    predict - reflection * retrodict,
    retrodict - reflection * predict,
  )
  xp = ahead.__array_namespace__()
  ahead = xp.concatenate([ahead[..., 1:], xp.zeros_like(reflection)], axis=-1)
  retrodict = xp.concatenate([reflection, retrodict[..., :-1]], axis=-1)
  return ahead, behind, predict, retrodict


def whiten(sound_BT, levels_BFK, *, hop, sample_rate_hz):
  """Return the excitation (B, T) of a sound with these levels, and its gain.

  Args:
    sound_BT: (B, ORDER + T), `ORDER` samples before the first frame as well;
      T = F x hop.
    levels_BFK: (B, F + 1, K).
    hop: samples of a frame.
    sample_rate_hz: of the sound.
  """
  coefficients, gain = predictors(
    levels_BFK.astype(jnp.float32), hop=hop, sample_rate_hz=sample_rate_hz
  )
  length = sound_BT.shape[1] - ORDER
  error, *past = (
    sound_BT[:, begin : begin + length].reshape(*gain.shape, -1)
    for begin in range(ORDER, -1, -1)
  )
  for lag, earlier in enumerate(past):
    error = error - coefficients[..., lag, None] * earlier
  gain = jnp.broadcast_to(gain[..., None], error.shape)
  return tuple(x.reshape(-1, length) for x in (error / gain, gain))
