"""What the name of an AIST++ sequence says.

    gBR_sBM_cAll_d04_mBR0_ch01
    |   |   |    |   |    choreography
    |   |   |    |   music: its genre and a number 0 to 5, from slow to fast
    |   |   |    dancer
    |   |   camera: cAll, or c01 to c09 in the name of a video
    |   situation: BM basic dance, FM advanced dance
    genre

Source: aistdancedb.ongaaccel.jp (names) and google-research/mint (tempi).
"""

import dataclasses
import re

from dance2wave.errors import InputError

GENRES = ('BR', 'HO', 'JB', 'JS', 'KR', 'LH', 'LO', 'MH', 'PO', 'WA')
CAMERA = 'c01'  # In front of the dancer; the one that papers use.

_NUM_TEMPI = 6  # Of the music of each genre.
_GENRE = '|'.join(GENRES)
_NAME = re.compile(
  rf'g(?P<genre>{_GENRE})_s(?P<situation>BM|FM)_c(?:All|0[1-9])'
  rf'_(?P<dancer>d\d\d)_(?P<music>m(?:{_GENRE})[0-5])'
  r'_(?P<choreography>ch\d\d)'
)


@dataclasses.dataclass(frozen=True, order=True)
class Name:
  """A sequence by the parts of its name.

  Attributes:
    genre: two letters, of GENRES.
    situation: 'BM' or 'FM'.
    dancer: such as 'd04'.
    music: such as 'mBR0'.
    choreography: such as 'ch01'.
  """

  genre: str
  situation: str
  dancer: str
  music: str
  choreography: str

  def _with_camera(self, camera: str) -> str:
    return (
      f'g{self.genre}_s{self.situation}_{camera}_{self.dancer}_{self.music}_'
      f'{self.choreography}'
    )

  @property
  def sequence(self) -> str:
    """The sequence's own name, that of its files of annotations."""
    return self._with_camera('cAll')

  @property
  def video(self) -> str:
    """The name of the video of camera c01."""
    return self._with_camera(CAMERA)

  @property
  def performance(self) -> str:
    """Who dances which choreography, to whatever music."""
    return f'g{self.genre}_s{self.situation}_{self.dancer}_{self.choreography}'

  @property
  def tempo_bpm(self) -> int:
    """The tempo of the music."""
    return tempo_bpm(self.music)


def tempo_bpm(music: str) -> int:
  """Return 80, 90, ... 130 for the music 0 to 5; 110, 115, ... 135 for house.

  Args:
    music: such as 'mBR0'.
  """
  number = int(music[3])
  assert 0 <= number < _NUM_TEMPI, music
  return 110 + 5 * number if music[1:3] == 'HO' else 80 + 10 * number


def parse_name(text: str, where: str = 'a name') -> Name:
  """Return the parts of the name of a sequence or of its video.

  Args:
    text: without folder and suffix.
    where: it stands, for the message.

  Raises:
    InputError: names `where` and the text.
  """
  match = _NAME.fullmatch(text)
  if match is None:
    raise InputError(
      f'{where}: {text[:80]!r} is no sequence of AIST++; expected a name such '
      f'as gBR_sBM_cAll_d04_mBR0_ch01 with a genre of {", ".join(GENRES)}, '
      'situation BM or FM and music 0 to 5; correct it'
    )
  return Name(**match.groupdict())
