"""What a user asks of a sound, checked."""

import math

from dance2wave.errors import InputError
from dance2wave.models.controls import MAX_TEMPO_BPM, MIN_TEMPO_BPM
from dance2wave.sampling.chords import parse_chords

# More than the first and at most the second.
_RANGES = {
  'temperature': (0.0, 10.0),
  'top_p': (0.0, 1.0),
  'guidance': (0.0, 100.0),
  'style_strength': (0.0, 10.0),
  'best_of': (0, 64),
  'tempo': (MIN_TEMPO_BPM, MAX_TEMPO_BPM),
  'energy': (-60.0, 0.0),
}


def check_flags(values: dict[str, float | str | None]) -> None:
  """Check the values of flags by name; None is not asked for.

  Raises:
    InputError: a number is outside of its range, or chords are none.
  """
  for name, value in values.items():
    if name == 'chords' and value is not None:
      parse_chords(value, '--chords')
    elif value is not None:
      _check(f'--{name}', value, *_RANGES[name])


def _check(name, value, low, high):
  if not low < value <= high:
    raise InputError(
      f'{name}={value}; expected more than {low:g} and at most {high:g}; '
      'change it'
    )


def check_fields(
  num_styles: int, style: int, tempo_bpm: float, energy_db: float
) -> None:
  """Check fields of `Dance`, -1 or NaN where the dance is to decide.

  Raises:
    InputError: one is out of its range.
  """
  if style not in range(-1, num_styles):
    raise InputError(
      f'style={style!r}; expected the index of one of {num_styles} styles, or '
      '-1 to let the dance decide; change it'
    )
  if not math.isnan(tempo_bpm):
    _check('tempo_bpm', tempo_bpm, *_RANGES['tempo'])
  if not math.isnan(energy_db):
    _check('energy_db', energy_db, *_RANGES['energy'])


def wanted(
  styles: tuple[str, ...],
  style: str | None,
  tempo: float | None,
  energy: float | None,
  chords: str | None,
) -> dict[str, float | str]:
  """Return fields of `Dance`, -1 or NaN where the dance is to decide.

  Args:
    styles: that the model knows.
    style: one of them.
    tempo: beats per minute.
    energy: mean level, in dB of full scale.
    chords: as `parse_chords` reads them.

  Raises:
    InputError: a style that the model does not know.
  """
  if style is not None and style not in styles:
    raise InputError(
      f'--style={style!r}; expected one of {", ".join(styles)}; or leave it '
      'out to let the dance decide'
    )
  return {
    'style': -1 if style is None else styles.index(style),
    'tempo_bpm': math.nan if tempo is None else tempo,
    'energy_db': math.nan if energy is None else energy,
    'chords': chords or '',
  }
