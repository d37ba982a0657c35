"""Name the chord of a sound: are the notes heard that were asked for?

    audio_T ──> librosa's chroma, mean over time ──> the nearest of 24 templates

A template has one for each note of a chord and nothing else (Fujishima 1999).
It knows major and minor chords only: noise gets one of them too.
"""

import numpy as np

from dance2wave.media.clip import check_sample_rate
from dance2wave.metrics.librosa_loading import load_librosa

_ROOTS = ('C', 'C#', 'D', 'Eb', 'E', 'F', 'F#', 'G', 'Ab', 'A', 'Bb', 'B')
_KINDS = {'': (0, 4, 7), 'm': (0, 3, 7)}
CHORDS = tuple(root + kind for kind in _KINDS for root in _ROOTS)
_TEMPLATES_CN = np.array(
  [
    np.roll(np.isin(range(12), notes), root)
    for notes in _KINDS.values()
    for root in range(12)
  ]
)
_WINDOW_S = 0.5  # tells low notes apart


def heard_chord(audio_T: np.ndarray, sample_rate_hz: int) -> str | None:
  """Return the one of `CHORDS` that a whole sound is nearest to.

  Args:
    audio_T: (T,) in [-1, 1].
    sample_rate_hz: its rate.

  Returns:
    None where there is no sound.

  Raises:
    InputError: no such sample rate.
  """
  check_sample_rate(sample_rate_hz)
  if not np.any(audio_T):
    return None
  size = 2 ** round(np.log2(_WINDOW_S * sample_rate_hz))
  missing = max(size - len(audio_T), 0)
  chroma_NF = load_librosa().feature.chroma_stft(
    y=np.pad(np.asarray(audio_T, np.float32), (0, missing)),
    sr=sample_rate_hz,
    n_fft=size,
    hop_length=size // 4,
    tuning=0.0,
  )
  return CHORDS[np.argmax(_TEMPLATES_CN @ chroma_NF.mean(axis=1))]
