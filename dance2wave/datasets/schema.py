"""The one example schema of all datasets: what a clip is on disk.

Arrays are stored as raw bytes: exact (TFDS keeps bare floats as float32) and
five times faster to write than lists of numbers.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from dance2wave.errors import InputError
from dance2wave.pose.track import PoseTrack

Clip = dict[str, Any]

_TEXTS = ('clip_id', 'source', 'group', 'skeleton', 'style')
_ARRAYS = {
  'audio': np.int16,
  'pose': np.float32,
  'pose_time_s': np.float64,
  'beats_s': np.float64,
  'duration_s': np.float64,
}


def _array(dtype: type, *shape: int | None) -> tfds.features.Tensor:
  return tfds.features.Tensor(shape=shape, dtype=dtype, encoding='bytes')


def pose_feature(num_joints: int) -> tfds.features.Tensor:
  """Return the feature of a (F, num_joints, 3) float32 array."""
  return _array(np.float32, None, num_joints, 3)


def clip_features(
  num_joints: int, aux: Mapping[str, Any] | None = None
) -> tfds.features.FeaturesDict:
  """Return the features of a clip.

  clip_id, source, group, skeleton, style: text; style and source may be ''.
    Splits never share a group (performance or song).
  audio: (N,) int16, N = round(duration_s * sample_rate_hz), or N = 0 for a
    source without sound.
  pose: (F, J, 3) float32 x, y, confidence in units of the frame height.
  pose_time_s: (F,) float64, strictly increasing from 0; F = 0: no pose.
  beats_s: (K,) float64, increasing, may be empty.
  sample_rate_hz, duration_s: numbers; duration_s is float64.

  Args:
    num_joints: J, fixed per builder.
    aux: further features that this builder declares, by name.
  """
  features = {
    **{name: tfds.features.Text() for name in _TEXTS},
    'audio': _array(np.int16, None),
    'sample_rate_hz': tfds.features.Scalar(np.int32),
    'pose': pose_feature(num_joints),
    'pose_time_s': _array(np.float64, None),
    'beats_s': _array(np.float64, None),
    'duration_s': _array(np.float64),
  }
  if aux:
    features['aux'] = tfds.features.FeaturesDict(dict(aux))
  return tfds.features.FeaturesDict(features)


def to_int16(audio_T: np.ndarray) -> np.ndarray:
  """Return floats in [-1, 1] as the 16-bit samples of the schema."""
  levels_T = np.clip(np.rint(audio_T * 32768.0), -32768, 32767)
  return levels_T.astype(np.int16)


def check_clip(clip: Mapping[str, Any], num_joints: int) -> Clip:
  """Return the clip with the schema's dtypes.

  Raises:
    InputError: names the clip and the first value that breaks the schema.
  """
  clip_id = clip.get('clip_id') or '(no clip_id)'
  missing = {*_TEXTS, *_ARRAYS, 'sample_rate_hz'} - clip.keys()
  if missing:
    raise InputError(
      f'clip {clip_id}: {", ".join(sorted(missing))} missing; expected every '
      'field of the schema; correct the builder (see datasets/schema.py)'
    )
  checked = dict(clip)
  for name, dtype in _ARRAYS.items():
    checked[name] = _cast(clip_id, name, clip[name], dtype)
  try:
    _check_pose(checked, num_joints)
    _check_audio(checked)
    _check_beats(checked)
  except InputError as error:
    raise InputError(f'clip {clip_id}: {error}') from None
  return checked


def _cast(clip_id: str, name: str, value: Any, dtype: type) -> np.ndarray:
  """Cast floats to floats; integers must come as they are stored."""
  array = np.asarray(value)
  is_wrong = dtype is np.int16 and array.dtype != dtype
  if is_wrong or array.dtype.kind not in 'iuf':
    raise InputError(
      f'clip {clip_id}: {name} has dtype {array.dtype}; expected '
      f'{np.dtype(dtype)}; convert it in the builder'
    )
  return array.astype(dtype)


def _check_pose(clip: Clip, num_joints: int) -> None:
  pose = clip['pose']
  if pose.ndim != 3 or pose.shape[1:] != (num_joints, 3):
    raise InputError(
      f'pose has shape {pose.shape}; expected (frames, {num_joints}, 3); a '
      'builder has one skeleton for all its clips'
    )
  if not clip['duration_s'] > 0:
    raise InputError(
      f'duration_s is {clip["duration_s"]}; expected seconds above 0; drop '
      'the empty clip'
    )
  if len(pose):
    PoseTrack(pose, clip['pose_time_s'], clip['skeleton'], clip['duration_s'])


def _check_audio(clip: Clip) -> None:
  audio, rate = clip['audio'], clip['sample_rate_hz']
  expected = round(float(clip['duration_s']) * rate)
  if audio.ndim != 1 or len(audio) not in (0, expected):
    raise InputError(
      f'audio has shape {audio.shape}; expected ({expected},) for '
      f'{clip["duration_s"]:g} s at {rate} Hz, or (0,) for no sound; cut '
      'audio and pose by the same times'
    )


def _check_beats(clip: Clip) -> None:
  beats_s = clip['beats_s']
  is_ordered = beats_s.ndim == 1 and (np.diff(beats_s) > 0).all()
  if not is_ordered or not np.isfinite(beats_s).all():
    raise InputError(
      f'beats_s is {np.array2string(beats_s, threshold=8)}; expected '
      'increasing seconds; sort them and drop repeated ones'
    )
  if len(beats_s) and not 0 <= beats_s[0] <= beats_s[-1] <= clip['duration_s']:
    raise InputError(
      f'beats_s spans {beats_s[0]:g} to {beats_s[-1]:g} s; expected 0 to '
      f'{clip["duration_s"]:g} s, the clip; keep only the beats inside'
    )
