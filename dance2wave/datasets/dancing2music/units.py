"""Dance units: files of poses that were stretched to one grid of beats.

    frame   0     3           11          19          27       31
            |-----B-----------B-----------B-----------B--------|   15 a second

A unit has 32 frames and four beats, whatever the tempo of its music was: eight
frames to a beat, 112.5 beats a minute. In a sequence the next unit's first
beat comes eight frames after the last one's.
"""

import hashlib
import pathlib

import numpy as np

from dance2wave import damaged
from dance2wave.errors import InputError, first_line
from dance2wave.media.audio_features import NUM_AUDIO_FEATURES

POSE_RATE_HZ = 15
NUM_JOINTS = 14
UNIT_FRAMES = 32
FIRST_BEAT, FRAMES_PER_BEAT = 3, 8
_CANVAS_HEIGHT = 256  # of 500 x 256 pixels
_MISSING = -1.0


def beat_frames(num_units: int) -> np.ndarray:
  """Return the frames of the beats of units in a row, (4 * num_units,)."""
  num_frames = num_units * UNIT_FRAMES
  return np.arange(FIRST_BEAT, num_frames, FRAMES_PER_BEAT, dtype=np.int32)


def read_array(path: pathlib.Path) -> np.ndarray:
  """Read a .npy file of numbers.

  Raises:
    InputError: it is missing, damaged, or holds no numbers. Objects would be
      unpickled, which can run code: they are never read.
  """
  try:
    with path.open('rb') as file:
      array = np.lib.format.read_array(file, allow_pickle=False)
  except FileNotFoundError:
    raise InputError(
      f'{path} does not exist; expected the file where its zip puts it; unpack '
      'it again'
    ) from None
  except damaged.ARRAYS as error:
    raise InputError(
      f'{path} cannot be read ({first_line(error)}); expected a .npy file of '
      'numbers; unpack its zip again'
    ) from None
  if array.dtype.kind not in 'fiu':
    raise InputError(
      f'{path} holds {array.dtype}; expected real numbers; unpack its zip again'
    )
  return array


def read_units(path: pathlib.Path, num_units: int) -> np.ndarray:
  """Read the units of a file, (K, 32, 14, 2) float32 pixels.

  Args:
    path: of the file.
    num_units: K of a sequence; 0: a unit without the first axis, or any K.

  Raises:
    InputError: what read_array raises, another shape, or no joint at all.
  """
  array = read_array(path)
  unit = (UNIT_FRAMES, NUM_JOINTS, 2)
  shapes = {(num_units, *unit)} if num_units else {unit, (len(array), *unit)}
  if array.shape not in shapes or not len(array):
    wanted = f'({num_units}, 32, 14, 2)' if num_units else '([k,] 32, 14, 2)'
    raise InputError(
      f'{path} has shape {array.shape}; expected {wanted}; unpack its zip again'
    )
  units_KFJD = array.reshape(-1, *unit).astype(np.float32)
  if is_missing(units_KFJD).all():
    raise InputError(
      f'{path} has no joint in any frame; expected a dancer; drop the line of '
      'its list'
    )
  return units_KFJD


def read_features(path: pathlib.Path) -> np.ndarray:
  """Read the audio features of a chunk, (T, 28) float32, 15 rows a second.

  Raises:
    InputError: what read_array raises, another shape, or NaN.
  """
  array = read_array(path)
  if array.ndim != 2 or array.shape[1] != NUM_AUDIO_FEATURES or not len(array):
    raise InputError(
      f'{path} has shape {array.shape}; expected (T, {NUM_AUDIO_FEATURES}); '
      'unpack its zip again'
    )
  if not np.isfinite(array).all():
    raise InputError(f'{path} holds NaN; expected numbers; unpack it again')
  return array.astype(np.float32)


def is_missing(pixels: np.ndarray) -> np.ndarray:
  """Return where a joint was not found: x or y is -1, or no number."""
  return ((pixels == _MISSING) | ~np.isfinite(pixels)).any(axis=-1)


def digests(units_KFJD: np.ndarray) -> tuple[bytes, ...]:
  """Return a fingerprint of every unit: equal for equal numbers."""
  return tuple(
    hashlib.blake2b(unit_FJD.tobytes(), digest_size=16).digest()
    for unit_FJD in units_KFJD
  )


def to_pose(units_KFJD: np.ndarray) -> np.ndarray:
  """Return units in a row as (K * 32, 14, 3) in units of the frame height.

  A missing joint is 0, 0 with confidence 0; OpenPose's own confidences are
  not in the data, so that all others have 1.
  """
  pixels_FJD = units_KFJD.reshape(-1, NUM_JOINTS, 2)
  missing_FJ = is_missing(pixels_FJD)
  pose_FJD = np.ones((len(pixels_FJD), NUM_JOINTS, 3), np.float32)
  pose_FJD[..., :2] = pixels_FJD / _CANVAS_HEIGHT
  pose_FJD[missing_FJ] = 0.0
  return pose_FJD
