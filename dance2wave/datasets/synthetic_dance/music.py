"""The music of a plan: drums, bass, chords and a lead, loud and bright as told.

plan ──> score: (time, instrument, gain) ──> one-shots summed at samples
size  ──> loudness, RANGE_DB from the smallest to the biggest movement
hands ──> register of the lead, brightness of the tones, level of the hats
"""

import dataclasses

import numpy as np

from dance2wave.datasets.synthetic_dance import bands, instruments
from dance2wave.datasets.synthetic_dance.plan import Plan
from dance2wave.errors import InputError

SAMPLE_RATE_HZ = instruments.RATE_HZ
RANGE_DB = 13.0
STEPS_PER_BEAT, STEPS_PER_BAR = 4, 16

_MASTER = 0.58
_LINEAR_UP_TO, _CEILING = 0.6, 0.93
_LEAD_LOW, _LEAD_RANGE = 62, 26  # MIDI pitches, from hanging to raised hands
_HAT_RANGE_DB, _LEAD_RANGE_DB = 15.0, 8.0
# Dancers seldom leave this range of heights; it gets the whole brightness.
_HANDS_LOW, _HANDS_SPAN = 0.1, 0.6
_CHORD_RISE = 9  # semitones from hanging to raised hands
_HATS = ('hat', 'hat_open', 'shaker', 'ride')
_TAIL_S = 1.4  # longer than any one-shot
_BASS_TONES = {'r': 0, 'f': 7, 'o': 12}
_BASS_LOW, _CHORD_SPREAD = 31, 12
_MAJOR, _MINOR = (0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10)

Curve = tuple[np.ndarray, np.ndarray]
Notes = list[tuple[int, str, int, float]]  # step, name, pitch or -1, gain


def _velocity(digit: str) -> float:
  return 0.0 if digit == '.' else (int(digit) / 9) ** 1.5


def _bar(text: str) -> str:
  return text.replace(' ', '')


@dataclasses.dataclass(frozen=True)
class _Grid:
  """The steps (sixteenths) of a clip: whole bars, and what rules each step."""

  time_s: np.ndarray
  size: np.ndarray
  hands: np.ndarray

  @property
  def num_bars(self) -> int:
    return len(self.time_s) // STEPS_PER_BAR


def _grid(plan: Plan, size_curve: Curve, hands_curve: Curve) -> _Grid:
  """Lay the steps of all whole bars of the plan on the clock."""
  num_beats = len(plan.beats_s) - plan.first_downbeat
  num_beats -= num_beats % 4
  beat = plan.first_downbeat + np.arange(num_beats * 4) / STEPS_PER_BEAT
  time_s = np.interp(beat, np.arange(len(plan.beats_s)), plan.beats_s)
  return _Grid(
    time_s,
    np.clip(np.interp(time_s, *size_curve), 0.0, 1.0),
    np.clip((np.interp(time_s, *hands_curve) - _HANDS_LOW) / _HANDS_SPAN, 0, 1),
  )


def _drum_notes(drums: dict[str, str], grid: _Grid) -> Notes:
  notes = []
  for name, text in drums.items():
    level = bands.DRUM_LEVELS[name]
    for step, digit in enumerate(_bar(text) * grid.num_bars):
      if digit != '.':
        gain = level * _velocity(digit)
        if name in _HATS:
          gain *= 10 ** (_HAT_RANGE_DB * (grid.hands[step] - 0.6) / 20)
        notes.append((step, name, -1, gain))
  return notes


def _raise_to(pitch: int, low: int) -> int:
  """Return the pitch moved by octaves into [low, low + 12)."""
  return low + (pitch - low) % 12


def _harmony(plan: Plan, band: bands.Band, rng: np.random.Generator):
  """Choose the (root pitch class, chord intervals) of each bar in the loop."""
  loops = band.minor if plan.is_minor else band.major
  loop = loops[rng.integers(len(loops))]
  return [((plan.key + root) % 12, bands.CHORDS[chord]) for root, chord in loop]


def _bass_notes(band, choice, harmony, grid: _Grid) -> Notes:
  velocities, tones = map(_bar, band.bass_bars[choice])
  notes = []
  for step in range(grid.num_bars * STEPS_PER_BAR):
    at = step % STEPS_PER_BAR
    if velocities[at] != '.':
      root, chord = harmony[step // STEPS_PER_BAR % len(harmony)]
      seventh = 10 if 10 in chord else 9
      pitch = _raise_to(root, _BASS_LOW) + _BASS_TONES.get(tones[at], seventh)
      gain = band.mix[0] * _velocity(velocities[at])
      notes.append((step, band.bass, pitch, gain))
  return notes


def _chord_notes(band, choice, harmony, grid: _Grid) -> Notes:
  velocities, tones = map(_bar, band.chord_bars[choice])
  notes = []
  for step in range(grid.num_bars * STEPS_PER_BAR):
    at = step % STEPS_PER_BAR
    if velocities[at] != '.':
      root, chord = harmony[step // STEPS_PER_BAR % len(harmony)]
      low = band.chord_low + round(_CHORD_RISE * grid.hands[step])
      pitches = [
        _raise_to(root + interval, low + interval // _CHORD_SPREAD * 12)
        for interval in chord
      ]
      if tones[at] != 'a':
        pitches = [pitches[int(tones[at])]]
      gain = band.mix[1] * _velocity(velocities[at])
      gain /= len(pitches) ** 0.5
      notes += [(step, band.chords, pitch, gain) for pitch in pitches]
  return notes


def _lead_notes(band, plan: Plan, harmony, grid: _Grid, rng) -> Notes:
  """Sing a motif of two bars around the register that the hands ask for.

  Beats take tones of the chord, other steps any tone of the scale.
  """
  velocities = _bar(band.lead_bars[rng.integers(len(band.lead_bars))])
  motif = np.clip(np.cumsum(rng.integers(-3, 4, size=len(velocities))), -5, 5)
  scale = [(plan.key + i) % 12 for i in (_MINOR if plan.is_minor else _MAJOR)]
  notes = []
  for step in range(grid.num_bars * STEPS_PER_BAR):
    digit = velocities[step % len(velocities)]
    if digit != '.':
      root, chord = harmony[step // STEPS_PER_BAR % len(harmony)]
      on_beat = step % STEPS_PER_BEAT == 0
      allowed = [(root + i) % 12 for i in chord] if on_beat else scale
      target = _LEAD_LOW + _LEAD_RANGE * grid.hands[step]
      target = round(target + motif[step % len(velocities)])
      near = range(target - 6, target + 6)
      pitch = min(
        (p for p in near if p % 12 in allowed), key=lambda p: abs(p - target)
      )
      gain = band.mix[2] * _velocity(digit)
      gain *= 10 ** (_LEAD_RANGE_DB * (grid.hands[step] - 0.6) / 20)
      notes.append((step, band.lead, pitch, gain))
  return notes


def _compose(plan: Plan, grid: _Grid) -> Notes:
  """Choose variants and a progression, and write all parts."""
  band, rng = bands.BANDS[plan.style], plan.rng(300)
  drums = band.drums[rng.integers(len(band.drums))]
  bass, chords = rng.integers(len(band.bass_bars), size=2)
  harmony = _harmony(plan, band, rng)
  return (
    _drum_notes(drums, grid)
    + _bass_notes(band, bass, harmony, grid)
    + _chord_notes(band, chords, harmony, grid)
    + _lead_notes(band, plan, harmony, grid, rng)
  )


def _onsets_s(plan: Plan, grid: _Grid, notes: Notes) -> np.ndarray:
  """Place the notes in time: swing, then a few ms of human inaccuracy.

  Drums on a beat stay within 3 ms; all else has a standard deviation of
  3 ms, at most 8 ms.
  """
  step = np.array([note[0] for note in notes])
  is_drum = np.array([note[2] < 0 for note in notes])
  odd = step % 2 == 1
  sixteenth_s = np.gradient(grid.time_s)[step]
  swing_s = bands.BANDS[plan.style].swing * odd * sixteenth_s
  strict = is_drum & (step % STEPS_PER_BEAT == 0)
  human_s = plan.rng(301).normal(size=len(notes)) * 1e-3
  human_s = np.where(
    strict, np.clip(2 * human_s, -3e-3, 3e-3), np.clip(3 * human_s, -8e-3, 8e-3)
  )
  return grid.time_s[step] + swing_s + human_s


def _gains(plan: Plan, grid: _Grid, notes: Notes) -> np.ndarray:
  """Scale the notes by the size of the movement and by 1 dB of humanity."""
  step = np.array([note[0] for note in notes])
  human_db = np.clip(plan.rng(302).normal(size=len(notes)), -2, 2)
  size_db = RANGE_DB * (grid.size[step] - 1.0)
  written = np.array([note[3] for note in notes])
  return _MASTER * written * 10 ** ((human_db + size_db) / 20)


def _one_shot(note, brightness: int) -> np.ndarray:
  _, name, pitch, written = note
  if pitch >= 0:
    return instruments.tone(name, pitch, brightness)
  return instruments.drum(name, 0 if written < 0.1 else 1 + (written > 0.4))


def _mix(plan: Plan, grid: _Grid, notes: Notes) -> np.ndarray:
  """Sum the one-shots of all notes that sound within the clip."""
  num_samples = round(plan.duration_s * SAMPLE_RATE_HZ)
  lead_in = round(_TAIL_S * SAMPLE_RATE_HZ)
  audio_T = np.zeros(num_samples + 2 * lead_in, np.float32)
  start = np.rint(_onsets_s(plan, grid, notes) * SAMPLE_RATE_HZ).astype(int)
  start += lead_in
  gain = _gains(plan, grid, notes).astype(np.float32)
  levels = np.rint(grid.hands * (instruments.BRIGHTNESS_LEVELS - 1)).astype(int)
  for i in np.flatnonzero((start >= 0) & (start < num_samples + lead_in)):
    sound_T = _one_shot(notes[i], int(levels[notes[i][0]]))
    audio_T[start[i] : start[i] + len(sound_T)] += gain[i] * sound_T
  return audio_T[lead_in : lead_in + num_samples]


def _limit(audio_T: np.ndarray) -> np.ndarray:
  """Bend peaks above _LINEAR_UP_TO so that none passes _CEILING."""
  room = _CEILING - _LINEAR_UP_TO
  over = np.flatnonzero(np.abs(audio_T) > _LINEAR_UP_TO)
  excess = (np.abs(audio_T[over]) - _LINEAR_UP_TO) / room
  audio_T[over] = np.sign(audio_T[over]) * (
    _LINEAR_UP_TO + room * np.tanh(excess)
  )
  return audio_T - audio_T.mean()


def render(plan: Plan, size_curve: Curve, hands_curve: Curve) -> np.ndarray:
  """Play the music of a plan.

  The result depends on nothing but the arguments. Loudness is absolute: it is
  never normalised per clip, so a small dancer has soft music.

  Args:
    plan: the clip.
    size_curve: (time_s, value); how big the movement is, 0 to 1.
    hands_curve: (time_s, value); 0 for hanging hands, 1 for raised ones.

  Returns:
    float32 of round(duration_s * 16000) samples at 16 kHz, within +-0.95.

  Raises:
    InputError: a curve is empty, not finite, or its arrays differ in length.
  """
  for name, (time_s, value) in (('size', size_curve), ('hands', hands_curve)):
    shapes = np.shape(time_s), np.shape(value)
    if shapes[0] != shapes[1] or len(shapes[0]) != 1 or not shapes[0][0]:
      raise InputError(
        f'{name}_curve has shapes {shapes}; expected two equal (N,) arrays, '
        'N > 0; pass one value per time'
      )
    if not (np.isfinite(time_s).all() and np.isfinite(value).all()):
      raise InputError(
        f'{name}_curve has values that are not finite; expected numbers; '
        'fill gaps in the movement before rendering'
      )
  grid = _grid(plan, size_curve, hands_curve)
  return _limit(_mix(plan, grid, _compose(plan, grid)))
