"""Chords that are asked for are those that are heard, four beats each."""

import copy

import numpy as np
import pytest
from scipy.signal import lfilter

from dance2wave.errors import InputError
from dance2wave.metrics.chords import CHORDS, heard_chord
from dance2wave.sampling.chords import Harmony, parse_chords

RATE_HZ, HOP = 8000, 160
FRAMES_PER_S = RATE_HZ // HOP
SIZES = {'sample_rate_hz': RATE_HZ, 'hop': HOP}


def make_strokes(seconds, bpm=120.0, seed=0):
  """Bursts of noise on every beat, that fade in a fifth of a second."""
  time_T = np.arange(seconds * RATE_HZ) / RATE_HZ
  noise_T = np.random.default_rng(seed).normal(size=len(time_T))
  since_s = time_T % (60 / bpm)
  return np.float32(0.1 * noise_T * np.exp(-since_s / 0.07))


def phase_of(turns_F):
  angle_F = 2 * np.pi * np.asarray(turns_F)
  return np.stack([np.cos(angle_F), np.sin(angle_F)], axis=-1)


def steady(seconds, bpm=120.0, first=0.0):
  frames_F = np.arange(seconds * FRAMES_PER_S)
  return phase_of(first + frames_F / FRAMES_PER_S * bpm / 60)


@pytest.mark.parametrize(
  ('text', 'wanted'),
  [
    ('C', [[0, 4, 7]]),
    ('Am,F', [[0, 4, 9], [0, 5, 9]]),
    (' F#m7 ,Bbmaj7  Cb5', [[1, 4, 6, 9], [2, 5, 9, 10], [6, 11]]),
    ('Gsus4 Edim Abaug', [[0, 2, 7], [4, 7, 10], [0, 4, 8]]),
  ],
)
def test_names_of_chords(text, wanted):
  chords = parse_chords(text)
  assert [sorted({n % 12 for n in notes}) for notes in chords] == wanted
  for root, *others in chords:
    assert 36 <= root < 48 and all(55 <= note < 67 for note in others)


@pytest.mark.parametrize('text', ['', ' , ', 'H', 'am', 'C,Gx', 'C#b', 'Am7b5'])
def test_what_is_no_chord_is_refused_with_those_that_are(text):
  with pytest.raises(InputError, match=r'expected chords: .*sus4.*Am,F,C'):
    parse_chords(text)


def test_every_chord_is_heard_for_its_four_beats():
  """Of 24 major and minor ones; without chords none is heard."""
  names = ['Am', 'F', 'C', 'G', 'Ebm', 'B']
  seconds = 2 * len(names)
  strokes = make_strokes(seconds)
  sound = Harmony(','.join(names), **SIZES).play(strokes, steady(seconds))
  bars = sound.reshape(len(names), -1)
  assert [heard_chord(bar[RATE_HZ // 4 :], RATE_HZ) for bar in bars] == names
  plain = [heard_chord(bar, RATE_HZ) for bar in strokes.reshape(len(names), -1)]
  assert sum(a == b for a, b in zip(plain, names)) <= 1


@pytest.mark.parametrize('rate_hz', [2000, 8000, 44100])
def test_each_partial_is_a_damped_sine_that_the_sound_drives(rate_hz):
  """Sample by sample; the first partial falls to 1 / e in 0.3 s."""
  hop = rate_hz // 50
  drive = np.float32(0.1 * np.random.default_rng(0).normal(size=40 * hop))
  harmony = Harmony('Am7', sample_rate_hz=rate_hz, hop=hop)
  tones = harmony.play(drive, steady(1)[:40]) - 0.5**0.5 * drive
  plain = np.zeros(len(drive))
  for note in parse_chords('Am7')[0]:
    first_hz = 440 * 2 ** ((note - 69) / 12)
    number_K = np.arange(1, 11)
    number_K = number_K[number_K * first_hz < 0.45 * rate_hz]
    for number in number_K:
      angle = 2 * np.pi * number * first_hz / rate_hz
      radius = np.exp(-(1 + 0.15 * (number - 1)) / (0.3 * rate_hz))
      # White noise drives it to a power of 1 / number.
      size = np.sqrt((1 - radius**2) / number)
      filtered = lfilter(
        [0, size * radius * np.sin(angle)],
        [1, -2 * radius * np.cos(angle), radius**2],
        drive,
      )
      plain += filtered / np.sqrt(np.sum(1 / number_K))
  for frame in range(5, 40):  # the level changes little by then
    part = slice(frame * hop + hop // 2, (frame + 1) * hop)
    assert np.corrcoef(tones[part], plain[part])[0, 1] > 0.999


def test_all_24_chords_are_told_apart_and_silence_is_none():
  strokes, phase = make_strokes(3), steady(3)
  sounds = [Harmony(chord, **SIZES).play(strokes, phase) for chord in CHORDS]
  assert [heard_chord(sound, RATE_HZ) for sound in sounds] == list(CHORDS)
  assert heard_chord(np.zeros(RATE_HZ), RATE_HZ) is None
  assert heard_chord(sounds[0][:100], RATE_HZ) in CHORDS
  with pytest.raises(InputError, match='sample_rate_hz is 0'):
    heard_chord(sounds[0], 0)


def test_after_the_last_chord_comes_the_first():
  sound = Harmony('C,F#', **SIZES).play(make_strokes(8), steady(8))
  bars = sound.reshape(4, -1)[:, RATE_HZ // 4 :]
  assert [heard_chord(bar, RATE_HZ) for bar in bars] == ['C', 'F#', 'C', 'F#']


@pytest.mark.parametrize(
  ('bpm', 'first', 'change'),
  [
    (125.0, 0.0, 94),  # a tenth of a beat before the fifth
    (62.5, 0.0, 188),
    (125.0, -0.41, 104),  # the dance begins before its first beat
    (125.0, 0.41, 84),
  ],
)
def test_chords_change_with_the_beat(bpm, first, change):
  """Two lists of chords differ from the frame on at which the second begins."""
  noise = np.float32(np.random.default_rng(0).normal(size=4 * RATE_HZ))
  sounds = [
    Harmony(chords, **SIZES).play(noise, steady(4, bpm, first))
    for chords in ('C,F#', 'C,Ab')
  ]
  apart_F = np.abs(sounds[0] - sounds[1]).reshape(-1, HOP).max(axis=1)
  assert np.flatnonzero(apart_F > 1e-3)[0] == change


def test_a_wavering_phase_does_not_bring_a_chord_back():
  turns_F = np.minimum(np.arange(400) / 25, 3.95)
  turns_F += np.tile([-0.1, 0.1], 200)
  noise = np.float32(np.random.default_rng(0).normal(size=8 * RATE_HZ))
  sound = Harmony('C,F#', **SIZES).play(noise, phase_of(turns_F))
  assert heard_chord(sound[4 * RATE_HZ :], RATE_HZ) == 'F#'


def test_pieces_are_the_whole_and_a_copy_goes_on_by_itself():
  strokes, phase = make_strokes(6), steady(6, 100.0, 0.3)
  whole = Harmony('Dm7,G', **SIZES).play(strokes, phase)
  assert whole.dtype == np.float32 and whole.shape == strokes.shape
  harmony, parts, first = Harmony('Dm7,G', **SIZES), [], 0
  for count in (1, 1, 50, 7, 91):
    span = slice(first * HOP, (first + count) * HOP)
    parts.append(harmony.play(strokes[span], phase[first : first + count]))
    first += count
  other = copy.copy(harmony)
  other.play(strokes[:HOP], phase[:1])
  parts.append(harmony.play(strokes[first * HOP :], phase[first:]))
  np.testing.assert_array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize('chords', ['C5', 'Am7', 'C,D,E,F,G,A,B,C#m,Ebm'])
@pytest.mark.parametrize('tilt', [0.0, 0.9])
def test_sound_is_as_loud_as_without_chords(chords, tilt):
  """White strokes, and dark ones whose notes would be louder."""
  strokes = make_strokes(8)
  for sample in range(1, len(strokes)):
    strokes[sample] += tilt * strokes[sample - 1]
  sound = Harmony(chords, **SIZES).play(strokes, steady(8))
  assert abs(20 * np.log10(sound.std() / strokes.std())) < 1.0


@pytest.mark.parametrize('cents', [0, 1, 5, -30])
def test_a_tone_near_a_note_is_neither_lost_nor_swollen(cents):
  """The notes follow it in step, against it, or at a slow beat."""
  hz = 220 * 2 ** (cents / 1200)
  tone = np.float32(0.1 * np.sin(2 * np.pi * hz * np.arange(8000 * 4) / 8000))
  sound = Harmony('A', **SIZES).play(tone, steady(4)).reshape(200, -1)
  level_db = 20 * np.log10(sound.std(axis=1) / tone.std())
  assert (np.abs(level_db) < 4).all()


def test_silence_stays_silent_and_what_rings_fades():
  harmony = Harmony('C', **SIZES)
  nothing = np.zeros(RATE_HZ, np.float32)
  assert not harmony.play(nothing, steady(1)).any()
  harmony.play(make_strokes(1), steady(1))
  ringing = harmony.play(np.tile(nothing, 4), steady(4)).reshape(4, -1)
  assert np.abs(ringing[0, RATE_HZ // 10 :]).max() > 5e-3
  assert (np.abs(ringing).max(axis=1)[1:] < 5e-4).all()
  assert np.isfinite(ringing).all()


def test_onsets_stay_where_they_were():
  strokes = make_strokes(4, seed=1)
  sound = Harmony('Am,F', **SIZES).play(strokes, steady(4))
  frames = sound.reshape(-1, 80).astype(float)
  level = np.log(np.mean(frames**2, axis=1) + 1e-9)
  rises = np.flatnonzero(np.diff(level) > 1.0) + 1
  beats = np.arange(0, 400, 50)
  assert np.isin(beats[1:], rises).all()
