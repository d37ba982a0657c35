"""Chords that a user asks for: strings that the dance strikes.

    sound ──┬──────────────────────────────────────(+)──> sound
            └─ notes of the chord ── their partials ─┘
                       ^
    phase of the beat ─┴─ every four beats the next chord

What is drawn are strokes, coloured, in time and without a pitch. They drive
resonators at the partials of the chord's notes, as a burst of noise does a
string (Karplus and Strong 1983), each a damped sine (Smith 2007, Introduction
to Digital Filters, 'Two-Pole'). A note that the next chord has not rings on
by itself.
"""

import re

import numpy as np
from scipy.linalg import toeplitz

from dance2wave.errors import InputError

# Semitones above the root.
_QUALITIES = {
  '': (0, 4, 7),
  'm': (0, 3, 7),
  '5': (0, 7),
  '6': (0, 4, 7, 9),
  'm6': (0, 3, 7, 9),
  '7': (0, 4, 7, 10),
  'm7': (0, 3, 7, 10),
  'maj7': (0, 4, 7, 11),
  'dim': (0, 3, 6),
  'aug': (0, 4, 8),
  'sus2': (0, 2, 7),
  'sus4': (0, 5, 7),
}
_BEATS = 4  # of a chord
_ROOTS = {'C': 0, 'D': 2, 'E': 4, 'F': 5, 'G': 7, 'A': 9, 'B': 11}
_SIGNS = {'': 0, '#': 1, 'b': -1}
_CHORD = re.compile(r'([A-G])([#b]?)(.*)')
# Notes as in MIDI, 69 is 440 Hz: the root from C2 on, the others from G3 on.
_LOWEST_ROOT, _LOWEST_NOTE = 36, 55
_PARTIALS = 10
_HIGHEST = 0.45  # of the sample rate
_RING_S = 0.3  # of the first partial, to 1 / e; others are damped sooner
_DAMPING = 0.15
# Strokes come a little before and after the beat: the chord is there for all.
_EARLY = 0.1  # of a beat
# Notes are as loud as the sound was for about so long, and both together too.
_SPAN_S = 0.75


def parse_chords(
  text: str, name: str = 'chords'
) -> tuple[tuple[int, ...], ...]:
  """Return the notes of chords such as 'Am, F, C, G7', as in MIDI.

  The first note of each is its root, in the bass.

  Args:
    text: names with commas or spaces between.
    name: of what the text is the value, to tell what is wrong.

  Raises:
    InputError: one is no chord, or there is none.
  """
  chords = [_notes(chord) for chord in text.replace(',', ' ').split()]
  if not chords or None in chords:
    kinds = ', '.join(quality for quality in _QUALITIES if quality)
    raise InputError(
      f'{name}={text!r}; expected chords: each a root A to G, with # or b, and '
      f'nothing or {kinds} after it; write for example Am,F,C,G'
    )
  return tuple(chords)


def _notes(chord):
  match = _CHORD.fullmatch(chord)
  if not match or match[3] not in _QUALITIES:
    return None
  root = _ROOTS[match[1]] + _SIGNS[match[2]]
  notes = [
    _LOWEST_NOTE + (root + interval - _LOWEST_NOTE) % 12
    for interval in _QUALITIES[match[3]]
  ]
  return _LOWEST_ROOT + root % 12, *sorted(notes)


class Harmony:
  """Play chords with the sound of one clip, frame by frame.

  What comes out does not depend on how many frames are played at once. A
  shallow copy goes on by itself.

  Args:
    chords: as `parse_chords` reads them; after the last comes the first.
    sample_rate_hz: of the sound.
    hop: samples of a frame.

  Raises:
    InputError: see `parse_chords`.
  """

  def __init__(self, chords: str, *, sample_rate_hz: int, hop: int):
    self._chords = parse_chords(chords)
    note_N, pole_N, weight_N = _partials(
      sorted({note for chord in self._chords for note in chord}),
      sample_rate_hz,
    )
    power_SN = pole_N ** np.arange(hop + 1)[:, None]
    self._onward_N = power_SN[-1]
    self._ringing_SN = weight_N * power_SN[1:]
    self._driven_NS = power_SN[-2::-1].T
    self._has_CN = np.array([np.isin(note_N, c) for c in self._chords])
    # What a frame of sound makes of itself.
    impulse_SC = (weight_N * power_SN[:-1]).imag @ self._has_CN.T
    self._within_CSS = np.stack(
      [toeplitz(x, np.zeros(hop)) for x in impulse_SC.T]
    )
    self._state_N = np.zeros(len(note_N), complex)
    self._turns = 0.0  # of the phase, since the dance began
    self._beats = 0
    self._kept = np.exp(-hop / sample_rate_hz / _SPAN_S)
    self._power_DD = np.zeros((2, 2))  # of sound and notes, and in common
    self._scale_D = np.array([0.5**0.5, 0.0])

  def play(self, sound_T: np.ndarray, phase_FD: np.ndarray) -> np.ndarray:
    """Return the sound (T,) float32 of F frames with the chords.

    Args:
      sound_T: T = F x hop samples.
      phase_FD: cosine and sine of the phase of the beat at each frame.
    """
    drive_FS = sound_T.astype(np.float64).reshape(len(phase_FD), -1)
    played = [
      self._frame(drive_S, self._chord_at(*phase_D))
      for drive_S, phase_D in zip(drive_FS, phase_FD)
    ]
    return np.concatenate(played).astype(np.float32)

  def _frame(self, drive_S, chord):
    ringing_S = (self._ringing_SN @ self._state_N).imag
    tones_S = ringing_S + self._within_CSS[chord] @ drive_S
    driven_N = self._has_CN[chord] * (self._driven_NS @ drive_S)
    self._state_N = self._onward_N * self._state_N + driven_N
    both_DS = np.stack([drive_S, tones_S])
    return np.sum(self._scales(both_DS) * both_DS, axis=0)

  def _scales(self, both_DS):
    """Return by what sound and notes are multiplied, sample by sample.

    Two of equal power whose correlation is r add up to 2 (1 + r) times that.
    """
    before_D, level, correlation = self._scale_D, 0.0, 0.0
    self._power_DD = self._kept * self._power_DD + both_DS @ both_DS.T
    (sound, common), (_, notes) = self._power_DD
    if sound * notes > 0:
      level = (sound / notes) ** 0.5
      correlation = max(common / (sound * notes) ** 0.5, -0.5)
    self._scale_D = np.array([1.0, level]) / (2 * (1 + correlation)) ** 0.5
    return np.linspace(before_D, self._scale_D, both_DS.shape[1], axis=-1)

  def _chord_at(self, cosine, sine):
    """Count beats up to a frame, never back; return which chord is on."""
    phase = float(np.arctan2(sine, cosine)) / (2 * np.pi)
    self._turns += (phase - self._turns + 0.5) % 1 - 0.5
    self._beats = max(self._beats, int(np.floor(self._turns + _EARLY)))
    return self._beats // _BEATS % len(self._chords)


def _partials(notes, sample_rate_hz):
  """Return the note, the pole and the weight of each partial of some notes.

  White noise drives all notes to the same power, whatever their partials.
  """
  rows = []
  for note in notes:
    first_hz = 440.0 * 2 ** ((note - 69) / 12)
    for number in range(1, _PARTIALS + 1):
      turn = number * first_hz / sample_rate_hz
      if turn < _HIGHEST:
        ring = _RING_S / (1 + _DAMPING * (number - 1)) * sample_rate_hz
        rows.append((note, np.exp(2j * np.pi * turn - 1 / ring), number))
  note_N, pole_N, number_N = (np.array(column) for column in zip(*rows))
  power_N = 1 / (2 * (1 - np.abs(pole_N) ** 2))
  share_N = number_N**-0.5
  of_note = note_N[:, None] == note_N
  return note_N, pole_N, share_N / (power_N * (of_note @ share_N**2)) ** 0.5
