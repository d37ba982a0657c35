"""Style tables: who plays what in a bar of sixteen steps.

A bar is a string of 16 characters, four per beat; blanks between beats are
only for the eye. Drums: a digit is a velocity (9 hardest), a dot a rest. Bass
and chords: two aligned strings, velocities and notes. Every beat of every
style carries the hardest low or middle drum; whatever falls between beats is
softer or higher, so that the beat level is audible at any tempo.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Band:
  """The players of one style.

  Attributes:
    drums: variants; each maps a drum of `instruments.DRUMS` to a bar.
    mix: loudness of bass, chords and lead; drums have DRUM_LEVELS.
    bass, chords, lead: names in `instruments.TONES`.
    bass_bars: variants of (velocities, notes); r root, t third, f fifth,
      s seventh or sixth, o octave.
    chord_bars: variants of (velocities, notes); a all tones, or the index of
      one tone of the chord.
    lead_bars: variants of velocities over two bars (32 steps).
    chord_low: lowest MIDI pitch of the chords.
    major, minor: progressions; one (root in semitones above the tonic,
      chord in CHORDS) per bar.
    swing: delay of the odd sixteenths as a share of a sixteenth.
  """

  drums: tuple[dict[str, str], ...]
  mix: tuple[float, float, float]
  bass: str
  bass_bars: tuple[tuple[str, str], ...]
  chords: str
  chord_bars: tuple[tuple[str, str], ...]
  lead: str
  lead_bars: tuple[str, ...]
  chord_low: int
  major: tuple[tuple[tuple[int, str], ...], ...]
  minor: tuple[tuple[tuple[int, str], ...], ...]
  swing: float = 0.0


DRUM_LEVELS = {
  'kick_club': 1.0,
  'kick_deep': 1.0,
  'kick_rock': 1.0,
  'kick_tight': 1.0,
  'kick_soft': 0.95,
  'snare_rock': 0.85,
  'snare_tight': 0.75,
  'snare_fat': 0.75,
  'clap': 0.6,
  'hat': 0.22,
  'hat_open': 0.2,
  'shaker': 0.18,
  'ride': 0.2,
  'cowbell': 0.34,
  'conga_low': 0.4,
  'conga_high': 0.4,
  'slap': 0.6,
  'clave': 0.2,
}

CHORDS = {
  'maj': (0, 4, 7, 12),
  'min': (0, 3, 7, 12),
  'fifth': (0, 7, 12, 19),
  'maj7': (0, 4, 7, 11),
  'min7': (0, 3, 7, 10),
  'dom7': (0, 4, 7, 10),
  'dom9': (4, 10, 14, 19),
  'min9': (3, 10, 14, 19),
  'maj9': (4, 7, 11, 14),
}

HOUSE = Band(
  drums=(
    {
      'kick_club': '9... 9... 9... 9...',
      'clap': '.... 8... .... 8...',
      'hat_open': '..5. ..5. ..5. ..5.',
      'hat': '4.2. 4.2. 4.2. 4.2.',
    },
    {
      'kick_club': '9... 9... 9... 9...',
      'clap': '.... 8... .... 8...',
      'hat': '3242 3242 3242 3242',
      'hat_open': '..4. ..4. ..4. ..5.',
    },
  ),
  mix=(0.42, 0.34, 0.2),
  bass='bass_house',
  bass_bars=(
    ('8.4. 8.4. 8.4. 8.4.', 'r.o. r.o. r.o. r.o.'),
    ('8..4 8... 8..4 8.3.', 'r..r r... r..s o.s.'),
  ),
  chords='stab',
  chord_bars=(
    ('7..4 .... 7..4 ....', 'a..a .... a..a ....'),
    ('6... ..4. 6... ..4.', 'a... ..a. a... ..a.'),
  ),
  lead='lead_saw',
  lead_bars=(
    '7... 5.4. 7... .... 7... 5.4. 6.4. ....',
    '7... .... 6... 5... 7... 4.4. 6... ....',
  ),
  chord_low=55,
  major=(
    ((0, 'maj9'), (0, 'maj9'), (5, 'maj9'), (5, 'maj9')),
    ((2, 'min7'), (4, 'min7'), (9, 'min7'), (9, 'min7')),
  ),
  minor=(
    ((0, 'min7'), (0, 'min7'), (8, 'maj7'), (10, 'maj')),
    ((0, 'min9'), (5, 'min9'), (0, 'min9'), (3, 'maj7')),
  ),
)

HIP_HOP = Band(
  drums=(
    {
      'kick_deep': '9... .... 9... ....',
      'snare_fat': '.... 9... .... 9...',
      'hat': '4.3. 4.3. 4.3. 4.32',
    },
    {
      'kick_deep': '9... ...3 9... ....',
      'snare_fat': '.... 9... .... 9...',
      'hat': '5232 4232 5232 4232',
    },
  ),
  mix=(0.42, 0.28, 0.24),
  bass='bass_808',
  bass_bars=(
    ('9... .... 8... ....', 'r... .... r... ....'),
    ('9... 6... 8... 5...', 'r... o... r... f...'),
  ),
  chords='rhodes',
  chord_bars=(
    ('7... .... 5... ....', 'a... .... a... ....'),
    ('7... 5... .... 5...', 'a... a... .... a...'),
  ),
  lead='lead_bell',
  lead_bars=(
    '7... .... 5... 4... 7... .... .... ....',
    '7... 5... .... .... 6... 4... 5... ....',
  ),
  chord_low=52,
  major=(
    ((2, 'min9'), (7, 'dom9'), (0, 'maj9'), (9, 'min9')),
    ((0, 'maj9'), (4, 'min7'), (0, 'maj9'), (4, 'min7')),
  ),
  minor=(
    ((0, 'min9'), (0, 'min9'), (5, 'min9'), (5, 'min9')),
    ((0, 'min7'), (8, 'maj7'), (0, 'min7'), (7, 'min7')),
  ),
  swing=0.16,
)

ROCK = Band(
  drums=(
    {
      'kick_rock': '9... .... 9.3. ....',
      'snare_rock': '.... 9... .... 9...',
      'hat': '6.3. 6.3. 6.3. 6.3.',
    },
    {
      'kick_rock': '9... .... 9... ....',
      'snare_rock': '.... 9... .... 9...',
      'ride': '6.3. 6.3. 6.3. 6.3.',
    },
  ),
  mix=(0.4, 0.3, 0.24),
  bass='bass_pick',
  bass_bars=(
    ('8.4. 7.4. 8.4. 7.4.', 'r.r. r.r. r.r. r.r.'),
    ('8... 7... 8.4. 7.4.', 'r... r... r.r. f.f.'),
  ),
  chords='power',
  chord_bars=(
    ('8.3. 6.3. 8.3. 6.3.', 'a.a. a.a. a.a. a.a.'),
    ('8... 5... 8... 5...', 'a... a... a... a...'),
  ),
  lead='lead_guitar',
  lead_bars=(
    '8... 6... 7.5. 6... 8... .... 6... 5...',
    '8... .... 6... 6... 7... 5... 7... ....',
  ),
  chord_low=43,
  major=(
    ((0, 'fifth'), (5, 'fifth'), (10, 'fifth'), (5, 'fifth')),
    ((0, 'fifth'), (10, 'fifth'), (5, 'fifth'), (0, 'fifth')),
  ),
  minor=(
    ((0, 'fifth'), (3, 'fifth'), (10, 'fifth'), (5, 'fifth')),
    ((0, 'fifth'), (8, 'fifth'), (10, 'fifth'), (0, 'fifth')),
  ),
)

FUNK = Band(
  drums=(
    {
      'kick_tight': '9... .... 9..3 ....',
      'snare_tight': '.... 9..2 ...2 9...',
      'hat': '5232 5232 5232 5232',
    },
    {
      'kick_tight': '9..3 .... 9... ....',
      'snare_tight': '.... 9... .2.. 9..2',
      'hat': '5.3. 5.3. 5.3. 5...',
      'hat_open': '.... .... .... ..3.',
    },
  ),
  mix=(0.52, 0.32, 0.22),
  bass='bass_slap',
  bass_bars=(
    ('9..4 7... 8..4 7.3.', 'r..r o... r..s o.s.'),
    ('9... 7..4 8... 6..4', 'r... r..o f... s..o'),
  ),
  chords='clavinet',
  chord_bars=(
    ('7.34 5.34 7.34 5.34', 'a.0a a.0a a.0a a.0a'),
    ('7..4 5..4 7..4 5.4.', 'a..a a..1 a..a a.2.'),
  ),
  lead='lead_brass',
  lead_bars=(
    '8... .... 7..4 .... 8... 5... .... ....',
    '8..4 .... 7... .... 8..4 6... 7... ....',
  ),
  chord_low=58,
  major=(
    ((0, 'dom9'), (0, 'dom9'), (5, 'dom9'), (5, 'dom9')),
    ((0, 'dom9'), (0, 'dom9'), (0, 'dom9'), (10, 'dom9')),
  ),
  minor=(
    ((0, 'min9'), (0, 'min9'), (5, 'dom9'), (5, 'dom9')),
    ((0, 'min7'), (0, 'min7'), (0, 'min7'), (10, 'dom7')),
  ),
)

SALSA = Band(
  drums=(
    {
      'kick_soft': '9... 7... 9... 7...',
      'slap': '.... 9... .... 8...',
      'cowbell': '8... 7... 8... 7...',
      'conga_low': '.... .... .... ..3.',
      'clave': '6..3 ..4. ..4. 5...',
      'shaker': '3.2. 3.2. 3.2. 3.2.',
    },
    {
      'kick_soft': '9... 7... 9... 7...',
      'slap': '.... 9... .... 8...',
      'cowbell': '8.3. 7.3. 8.3. 7.3.',
      'conga_high': '..2. ..2. ..2. ..3.',
      'clave': '5... 5... 6..3 ..4.',
    },
  ),
  mix=(0.42, 0.32, 0.22),
  bass='bass_upright',
  bass_bars=(
    ('8... ..3. 8... 7...', 'r... ..f. f... o...'),
    ('8... 6... ..3. 7...', 'r... f... ..f. o...'),
  ),
  chords='piano',
  chord_bars=(
    ('7.3. 6.3. 7.3. 6.3.', '0.2. a.1. 0.2. a.3.'),
    ('7.4. 5.34 6.3. 6.3.', 'a.2. 3.12 a.2. 3.1.'),
  ),
  lead='lead_trumpet',
  lead_bars=(
    '8... 5... 7... .... 7... 5.4. 7... ....',
    '8... .... 6.4. 6... 8... .... 7... 4...',
  ),
  chord_low=60,
  major=(
    ((0, 'maj'), (5, 'maj'), (7, 'dom7'), (5, 'maj')),
    ((0, 'maj'), (9, 'min'), (2, 'min7'), (7, 'dom7')),
  ),
  minor=(
    ((0, 'min'), (5, 'min'), (7, 'dom7'), (0, 'min')),
    ((0, 'min'), (10, 'maj'), (8, 'maj'), (7, 'dom7')),
  ),
)

POP = Band(
  drums=(
    {
      'kick_soft': '9... .... 9... ....',
      'snare_tight': '.... 8... .... 8...',
      'clap': '.... 6... .... 6...',
      'shaker': '4.3. 4.3. 4.3. 4.3.',
    },
    {
      'kick_soft': '9... 4... 9... 4...',
      'clap': '.... 9... .... 9...',
      'hat': '5.3. 5.3. 5.3. 5.3.',
    },
  ),
  mix=(0.42, 0.34, 0.24),
  bass='bass_round',
  bass_bars=(
    ('8... 6... 7... 6...', 'r... r... r... r...'),
    ('8... 5... 7... 5.3.', 'r... f... r... f.f.'),
  ),
  chords='pluck',
  chord_bars=(
    ('7.4. 6.4. 7.4. 6.4.', '0.1. 2.1. 3.1. 2.1.'),
    ('7.3. 5.3. 6.3. 5.3.', 'a.1. 2.3. a.1. 2.3.'),
  ),
  lead='lead_whistle',
  lead_bars=(
    '7... 5... 6... 5... 7... .... 6... ....',
    '7.4. 6... .... 5... 7.4. 6... 5... ....',
  ),
  chord_low=60,
  major=(
    ((0, 'maj'), (7, 'maj'), (9, 'min'), (5, 'maj')),
    ((9, 'min'), (5, 'maj'), (0, 'maj'), (7, 'maj')),
  ),
  minor=(
    ((0, 'min'), (8, 'maj'), (3, 'maj'), (10, 'maj')),
    ((0, 'min'), (5, 'min'), (8, 'maj'), (7, 'maj')),
  ),
)

BANDS = {
  'house': HOUSE,
  'hip_hop': HIP_HOP,
  'rock': ROCK,
  'funk': FUNK,
  'salsa': SALSA,
  'pop': POP,
}
