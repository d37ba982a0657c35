"""One vocabulary of styles for all sources.

A clip's `style` is a word of STYLES, or '' where its source gives none or one
that says nothing of how the dance or its music moves. A user's own words
(`clip_folder`) may be others: a config's `styles` decides what a model knows.
"""

import types

STYLES = (
  'aerobics',
  'ballet',
  'belly',
  'break',
  'capoeira',
  'cheer',
  'funk',
  'hip_hop',
  'house',
  'jazz',
  'jumpstyle',
  'krump',
  'latin',
  'line',
  'locking',
  'march',
  'pop',
  'popping',
  'rock',
  'salsa',
  'square',
  'swing',
  'tango',
  'tap',
  'waacking',
  'zumba',
)

# Source -> its own word -> a word of STYLES or ''. Every word that a source
# can give is here; `to_style` refuses any other.
WORDS = types.MappingProxyType(
  {
    'synthetic_dance': {
      word: word
      for word in ('house', 'hip_hop', 'rock', 'funk', 'salsa', 'pop')
    },
    'dancing2music': {
      'ballet': 'ballet',
      'zumba': 'zumba',
      'hiphop': 'hip_hop',
    },
    # Genres as they are abbreviated in the names of sequences.
    'aistpp': {
      'BR': 'break',
      'PO': 'popping',
      'LO': 'locking',
      'MH': 'hip_hop',
      'LH': 'hip_hop',
      'HO': 'house',
      'WA': 'waacking',
      'KR': 'krump',
      'JS': 'jazz',
      'JB': 'jazz',
    },
    'kinetics_dance': {
      'belly dancing': 'belly',
      'breakdancing': 'break',
      'capoeira': 'capoeira',
      'cheerleading': 'cheer',
      'contorting': '',
      'country line dancing': 'line',
      'cumbia': 'latin',
      'dancing ballet': 'ballet',
      'dancing charleston': 'swing',
      'dancing gangnam style': 'pop',
      'dancing macarena': 'latin',
      'doing aerobics': 'aerobics',
      'gymnastics tumbling': '',
      'headbanging': 'rock',
      'hula hooping': '',
      'jumpstyle dancing': 'jumpstyle',
      'karaoke': '',
      'krumping': 'krump',
      'marching': 'march',
      'moon walking': 'popping',
      'mosh pit dancing': 'rock',
      'pirouetting': 'ballet',
      'robot dancing': 'popping',
      'salsa dancing': 'salsa',
      'shoot dance': 'hip_hop',
      'shuffling feet': 'house',
      'silent disco': '',
      'ski ballet': '',
      'spinning poi': '',
      'square dancing': 'square',
      'swing dancing': 'swing',
      'tango dancing': 'tango',
      'tap dancing': 'tap',
      'zumba': 'zumba',
    },
  }
)

_USERS_WORDS = types.MappingProxyType(
  {
    'breakdance': 'break',
    'breakdancing': 'break',
    'breaking': 'break',
    'belly_dance': 'belly',
    'belly_dancing': 'belly',
    'hiphop': 'hip_hop',
    'krumping': 'krump',
    'lindy_hop': 'swing',
    'tap_dance': 'tap',
    'voguing': 'waacking',
  }
)


def to_style(source: str, word: str) -> str:
  """Return a source's word in the vocabulary; KeyError if it is new."""
  return WORDS[source][word]


def plain(word: str) -> str:
  """Return a user's word in lower case with '_', by its usual name."""
  word = '_'.join(word.lower().replace('-', ' ').split())
  return _USERS_WORDS.get(word, word)
