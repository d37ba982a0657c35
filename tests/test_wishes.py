"""What a user asks of a sound is checked before anything is loaded."""

import math

import pytest

from dance2wave.errors import InputError
from dance2wave.sampling import wishes


def test_what_is_not_asked_for_is_left_to_the_dance():
  wishes.check_flags({'tempo': None, 'energy': None, 'top_p': None})
  asked = wishes.wanted(('house', 'pop'), None, None, None, None)
  assert asked['style'] == -1
  assert math.isnan(asked['tempo_bpm']) and math.isnan(asked['energy_db'])
  assert not asked['chords']
  asked = wishes.wanted(('house', 'pop'), 'pop', 120.0, -20.0, 'C')
  assert asked == {
    'style': 1,
    'tempo_bpm': 120.0,
    'energy_db': -20.0,
    'chords': 'C',
  }


@pytest.mark.parametrize(
  ('name', 'value'),
  [
    ('tempo', 39.0),
    ('tempo', 1e4),
    ('tempo', math.nan),
    ('energy', 3.0),
    ('energy', -math.inf),
    ('style_strength', 0.0),
    ('temperature', -1.0),
    ('best_of', 0),
    ('best_of', 65),
    ('top_p', 1.5),
    ('guidance', 0.0),
  ],
)
def test_numbers_out_of_range_are_refused_by_name(name, value):
  with pytest.raises(InputError, match=rf'--{name}=.*expected more than'):
    wishes.check_flags({name: value})


def test_chords_are_refused_by_the_name_of_their_flag():
  wishes.check_flags({'chords': None})
  wishes.check_flags({'chords': 'Am, F'})
  with pytest.raises(InputError, match=r'^--chords=.Am,H.; expected chords'):
    wishes.check_flags({'chords': 'Am,H'})


def test_the_ends_of_the_ranges_are_no_errors():
  most = {'top_p': 1.0, 'energy': 0.0, 'best_of': 64, 'temperature': 10.0}
  wishes.check_flags(most | {'style_strength': 10.0, 'guidance': 0.5})


def test_fields_of_a_dance_are_checked_by_their_own_ranges():
  for style, energy_db in ((-1, -59.0), (0, -20.0), (1, 0.0)):
    wishes.check_fields(2, style, 120.0, energy_db)
  wishes.check_fields(2, -1, math.nan, math.nan)
  with pytest.raises(InputError, match=r'^style=2; expected .* one of 2'):
    wishes.check_fields(2, 2, math.nan, math.nan)
  for energy_db in (-60.0, 120.0):
    with pytest.raises(InputError, match=rf'^energy_db={energy_db}; expected'):
      wishes.check_fields(2, -1, math.nan, energy_db)


def test_an_unknown_style_names_those_that_there_are():
  with pytest.raises(InputError, match='expected one of house, pop'):
    wishes.wanted(('house', 'pop'), 'polka', None, None, None)
