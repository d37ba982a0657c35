"""Make of what is drawn what is heard: coloured, and as loud as it is to be.

    drawn ── colour: levels of bands ── loudness ──> sound

The arithmetic is numpy's, clip by clip and product by product, whose bits do
not depend on how many frames or clips are played at once.
"""

import numpy as np
from scipy import signal

from dance2wave.models.envelope import ORDER, predictors
from dance2wave.options import Options


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
    clips: B.
  """

  def __init__(self, options: Options, clips: int):
    self._options = options
    self._last_BP = np.zeros((clips, ORDER))  # coloured samples, newest first

  def play(self, drawn_BT, gain_FB, levels_FBK) -> np.ndarray:
    """Return the sound (B, T) of the next F frames.

    Args:
      drawn_BT: what the WaveNet draws.
      gain_FB: of levelled sound, of F + 1 frames.
      levels_FBK: of bands, of F + 1 frames; read where the model's sound is
        whitened.
    """
    sound_BT, wave = drawn_BT, self._options.wave
    if wave.is_whitened:
      sound_BT = np.stack(
        [
          self._colour(clip, drawn_T, levels_FBK[:, clip])
          for clip, drawn_T in enumerate(drawn_BT)
        ]
      )
    if wave.is_levelled:
      hop = self._options.samples_per_frame
      sound_BT = sound_BT * gain_of_samples(gain_FB, hop)
    return np.clip(sound_BT, -1.0, 1.0)

  def fork(self, row_B):
    """Go on from other clips' states."""
    self._last_BP = self._last_BP[row_B]

  def _colour(self, clip, drawn_T, levels_FK):
    """Undo `envelope.whiten`, frame by frame."""
    coefficients_NP, gain_N = self._predictors(levels_FK)
    driven_NS = drawn_T.reshape(len(gain_N), -1) * gain_N[:, None]
    past, parts = self._last_BP[clip], []
    for coefficients_P, driven_S in zip(coefficients_NP, driven_NS):
      # The state of the filter: what the past adds to the samples to come.
      padded = np.concatenate([-coefficients_P, np.zeros(ORDER - 1)])
      state = -np.correlate(padded, past, 'valid')
      sound_S, _ = signal.lfilter(
        (1.0,), np.concatenate([[1.0], -coefficients_P]), driven_S, zi=state
      )
      past = np.concatenate([sound_S[::-1], past])[:ORDER]
      parts.append(sound_S)
    self._last_BP[clip] = past
    return np.concatenate(parts).astype(np.float32)

  def _predictors(self, levels_FK):
    """Return predictors (N, P) and gains (N,) of the parts of F frames."""
    coefficients_1NP, gain_1N = predictors(
      np.float64(levels_FK[None]),
      hop=self._options.samples_per_frame,
      sample_rate_hz=self._options.sample_rate_hz,
    )
    return coefficients_1NP[0], gain_1N[0]
