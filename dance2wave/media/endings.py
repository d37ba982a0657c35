"""Which container holds which picture, by the ending of a file's name."""

import pathlib

from dance2wave.errors import InputError
from dance2wave.media import video

_MP4_CODECS = frozenset(
  ('h264', 'hevc', 'av1', 'vp9', 'mpeg4', 'mpeg2video', 'mpeg1video', 'mjpeg')
)
_MOV_CODECS = (_MP4_CODECS | {'prores', 'dvvideo'}) - {'av1', 'vp9'}
_WEBM_CODECS = frozenset(('vp8', 'vp9', 'av1'))
# Ending -> (libav's format, sound codec, picture codecs; None: see _holds).
CONTAINERS = {
  '.mp4': ('mp4', 'aac', _MP4_CODECS),
  '.m4v': ('mp4', 'aac', _MP4_CODECS),
  '.mov': ('mov', 'aac', _MOV_CODECS),
  '.mkv': ('matroska', 'aac', None),
  '.webm': ('webm', 'libopus', _WEBM_CODECS),
  '.avi': ('avi', 'pcm_s16le', None),
}


def default_output(info: video.VideoInfo) -> pathlib.Path:
  """Return where `mux.mux_audio` writes if it is not told."""
  endings = [info.path.suffix.lower(), '.mp4', '.mkv', '.avi']
  ending = next((e for e in endings if _holds(e, info)), '.mkv')
  return info.path.with_name(f'{info.path.stem}_dance2wave{ending}')


def _holds(ending: str, info: video.VideoInfo) -> bool:
  """Tell whether a container takes the picture's packets as they are.

  A picture without time stamps fits only into another avi, which has none
  either; and that packs H.264 in its own way, so takes nothing else.
  """
  if ending == '.avi' or not info.has_pts:
    return ending == '.avi' and info.container == 'avi'
  if ending not in CONTAINERS:
    return False
  codecs = CONTAINERS[ending][2]
  return codecs is None or info.codec in codecs


def check_output(path: pathlib.Path, info: video.VideoInfo) -> None:
  """Refuse a container that cannot hold the picture, and the input itself."""
  ending = path.suffix.lower()
  if not _holds(ending, info):
    known = '.mp4', '.webm', '.mkv', '.mov', '.avi'
    others = [ending for ending in known if _holds(ending, info)]
    raise InputError(
      f'{path}: {ending or "a file without ending"} cannot hold the '
      f'{info.codec} picture of {info.path}; expected '
      f'{" or ".join(others) or "times in the video"}; change the ending of '
      'the output or encode the video as .mp4 first'
    )
  if path.exists() and path.samefile(info.path):
    raise InputError(
      f'{path} is the input video; expected another file, so that the video '
      'is kept; change the output'
    )
