"""Make of what is drawn what is heard: coloured, and as loud as it is to be.

    drawn ── colour: levels of bands, levelled ── chords ── loudness ──> sound

Said levels are means in dB, of which sound would be too soft, and more so at
one time than at another: they are moved up or down together, so that the sound
is as loud at any time as levelled sound is, as ears hear it. So is said
loudness a mean, which varies less than loudness: it is widened.

The arithmetic is numpy's, clip by clip and product by product, whose bits do
not depend on how many frames or clips are played at once.
"""

import copy
from collections.abc import Sequence

import numpy as np
from scipy.linalg import lapack

from dance2wave.metrics import k_weighting
from dance2wave.models.envelope import ORDER, predictors
from dance2wave.models.loudness import widen
from dance2wave.models.timbre import UNIT_DB, bins_of_levels
from dance2wave.options import Options
from dance2wave.sampling.chords import Harmony
from dance2wave.sampling.listen import Heard

# A sound is as loud as the frames of so long before it: what comes is not known
# yet, and longer means follow the movement no better.
_SPAN_S = 0.75
_LEVELLED_DB = -22.0  # K-weighted; of the originals, levelled
_MOST_DB = 9.0
_BINS = 129
_SILENCE = 1e-12


def gain_of_samples(gain_FB, samples_per_frame):
  """Interpolate the gain linearly: (F + 1, B) to (B, F x samples_per_frame)."""
  weight = np.arange(samples_per_frame, dtype=np.float32) / np.float32(
    samples_per_frame
  )
  now, then = gain_FB[:-1].T[..., None], gain_FB[1:].T[..., None]
  return (now + (then - now) * weight).reshape(gain_FB.shape[1], -1)


class Player:
  """Play clips from their start, piece by piece.

  Args:
    options: of the model.
    chords: that are wanted of each of B clips, '' where none are.

  Raises:
    InputError: what is wanted are no chords.
  """

  def __init__(self, options: Options, chords: Sequence[str]):
    self._options, clips = options, len(chords)
    self._last_BP = np.zeros((clips, ORDER))  # coloured samples, newest first
    self._power_BF = np.zeros((clips, 0))  # of the frames before
    rate_hz, hop = options.sample_rate_hz, options.samples_per_frame
    self._harmonies = [
      Harmony(names, sample_rate_hz=rate_hz, hop=hop) if names else None
      for names in chords
    ]
    self._span = round(_SPAN_S * options.pose_rate_hz)
    hz = np.linspace(0, options.sample_rate_hz / 2, _BINS)
    weight = k_weighting.weight_of_power(hz)
    self._weight = weight * options.samples_per_frame / (3 * _BINS)

  def play(self, drawn_BT, heard: Heard) -> np.ndarray:
    """Return the sound (B, T) of the next F frames.

    Args:
      drawn_BT: what the WaveNet draws.
      heard: of F + 1 frames.
    """
    sound_BT, wave = drawn_BT, self._options.wave
    if wave.is_whitened:
      levels_FBK = heard.levels_FBK.astype(np.float64)
      if wave.is_levelled:
        levels_FBK = self._level(levels_FBK)
      sound_BT = np.stack(
        [
          self._colour(clip, drawn_T, levels_FBK[:, clip])
          for clip, drawn_T in enumerate(drawn_BT)
        ]
      )
    sound_BT = self._with_chords(sound_BT, heard.phase_FBD[:-1])
    if wave.is_levelled:
      sample, hop = self._options.sample, self._options.samples_per_frame
      gain_FB = widen(
        heard.gain_FB, sample.loudness_range, sample.loudness_middle
      )
      sound_BT = sound_BT * gain_of_samples(gain_FB, hop)
    return np.clip(sound_BT, -1.0, 1.0)

  def _with_chords(self, sound_BT, phase_FBD):
    rows = [
      harmony.play(sound_T, phase_FBD[:, clip]) if harmony else sound_T
      for clip, (harmony, sound_T) in enumerate(zip(self._harmonies, sound_BT))
    ]
    return np.stack(rows)

  def fork(self, row_B):
    """Go on from other clips' states."""
    self._harmonies = [copy.copy(self._harmonies[row]) for row in row_B]
    self._last_BP = self._last_BP[row_B]
    self._power_BF = self._power_BF[row_B]

  def _level(self, levels_FBK):
    """Move all levels of each of F + 1 frames; the last one is yet to come."""
    power_FBN = bins_of_levels(levels_FBK, _BINS, self._options.sample_rate_hz)
    now_BF = np.sum(power_FBN * self._weight, axis=-1).T
    power_BF = np.concatenate([self._power_BF, now_BF], axis=1)
    first, frames = self._power_BF.shape[1], now_BF.shape[1]
    around_FB = np.stack(
      [
        power_BF[:, max(0, end - self._span) : end].mean(axis=1)
        for end in range(first + 1, first + 1 + frames)
      ]
    )
    self._power_BF = power_BF[:, :-1][:, -self._span :]
    moved_dB = _LEVELLED_DB - 10 * np.log10(around_FB + _SILENCE)
    return (
      levels_FBK + np.clip(moved_dB, -_MOST_DB, _MOST_DB)[..., None] / UNIT_DB
    )

  def _colour(self, clip, drawn_T, levels_FK):
    """Undo `envelope.whiten`, frame by frame."""
    coefficients_NP, gain_N = self._predictors(levels_FK)
    driven_NS = drawn_T.reshape(len(gain_N), -1) * gain_N[:, None]
    past, parts = self._last_BP[clip], []
    for coefficients_P, driven_S in zip(coefficients_NP, driven_NS):
      # What the past adds to the samples to come.
      padded = np.concatenate([coefficients_P, np.zeros(ORDER - 1)])
      driven_S[:ORDER] += np.correlate(padded, past, 'valid')[: len(driven_S)]
      # Each sample less what those before it add, in LAPACK's order of bands.
      bands = np.empty((ORDER + 1, len(driven_S)), order='F')
      bands[:] = np.concatenate([[1.0], -coefficients_P])[:, None]
      sound_S, _ = lapack.dtbtrs(bands, driven_S, uplo='L', diag='U')
      past = np.concatenate([sound_S[::-1], past])[:ORDER]
      parts.append(sound_S)
    self._last_BP[clip] = past
    return np.concatenate(parts).astype(np.float32)

  def _predictors(self, levels_FK):
    """Return predictors (N, P) and gains (N,) of the parts of F frames."""
    coefficients_1NP, gain_1N = predictors(
      levels_FK[None],
      hop=self._options.samples_per_frame,
      sample_rate_hz=self._options.sample_rate_hz,
    )
    return coefficients_1NP[0], gain_1N[0]
