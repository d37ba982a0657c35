"""Compare how dance and music repeat: Feel the Music (2006.11905).

    sound ──MFCC──> which moments sound alike ──┐
                                                ├─ Pearson r, and that of
    pose ──> which moments are danced alike ────┘  one matrix shifted in time

Who comes back to a movement should come back to a sound. Neighbouring moments
are alike in any clip, so r is above 0 for any pair: only the gap to the
clip's own circular shifts says that the parts coincide.
"""

import numpy as np
from scipy.spatial import distance

from dance2wave.errors import InputError
from dance2wave.metrics.librosa_loading import load_librosa
from dance2wave.pose import features
from dance2wave.pose.skeleton import SKELETONS

FRAME_HZ = 10.0
_NUM_COEFFICIENTS = 20
_MIN_FRAMES, _MAX_FRAMES = 8, 1500
_MIN_SHIFT_S = 1.0
_STILL = 1e-3  # torsos
# Positions and velocities of `features`.
_NUM_POSE_FEATURES = 4 * len(SKELETONS['core14'])


def nearest_neighbour_similarity(feature_FC: np.ndarray) -> np.ndarray:
  """Return (F, F) the similarity of moments to their nearest neighbours.

  Equals librosa.segment.recurrence_matrix(metric='euclidean',
  mode='affinity', sym=True) with a diagonal of 1, 30 times faster: 0 unless
  each moment is among the other's 2 ceil(sqrt(F - 1)) nearest, else
  exp(-d / b), where b is the median over moments of the farthest link.
  Unlike there, moments that are exactly equal are similar, not unlinked.

  Args:
    feature_FC: at least 2 moments.

  Returns:
    Symmetric, 0 to 1.
  """
  far_FF = distance.cdist(feature_FC, feature_FC)
  np.fill_diagonal(far_FF, np.inf)
  num = len(far_FF)
  num_links = min(2 * int(np.ceil(np.sqrt(num - 1))), num - 1)
  reach_F1 = np.sort(far_FF, axis=1)[:, num_links - 1 : num_links]
  is_link_FF = far_FF <= np.minimum(reach_F1, reach_F1.T)
  farthest_F = np.where(is_link_FF, far_FF, 0.0).max(axis=1)
  is_linked_F = is_link_FF.any(axis=1)
  width = np.median(farthest_F[is_linked_F]) if is_linked_F.any() else 0.0
  far_FF[~is_link_FF] = np.inf
  similarity_FF = np.exp(-far_FF / width) if width else (far_FF == 0) * 1.0
  np.fill_diagonal(similarity_FF, 1.0)
  return similarity_FF


def difference_similarity(feature_FC: np.ndarray) -> np.ndarray:
  """Return (F, F) 1 - distance / largest distance.

  What Feel the Music uses for the dance, 1 - |s_i - s_j| / (G - 1) of places
  on a line of G, for poses of several dimensions. Symmetric, 0 to 1.
  """
  far_FF = distance.cdist(feature_FC, feature_FC)
  return 1 - far_FF / max(float(far_FF.max()), 1e-12)


def audio_features(
  audio_T: np.ndarray, sample_rate_hz: int, frame_hz: float = FRAME_HZ
) -> np.ndarray:
  """Return (F, 20) MFCC without liftering; frame k at k hop / rate seconds.

  The hop is the whole number of samples nearest to 1 / frame_hz and the
  window two hops: at the default, 200 ms every 100 ms. The publication has
  23 ms, which is 20 times as dear and says less of parts.
  """
  librosa = load_librosa()

  if np.ndim(audio_T) != 1 or not np.isfinite(audio_T).all():
    raise InputError(
      f'sound has shape {np.shape(audio_T)}; expected (T,) finite samples of '
      'one channel; mix the channels first'
    )
  hop = round(sample_rate_hz / frame_hz)
  return librosa.feature.mfcc(
    y=np.asarray(audio_T, np.float32),
    sr=sample_rate_hz,
    n_mfcc=_NUM_COEFFICIENTS,
    hop_length=hop,
    n_fft=2 * hop,
    lifter=0,
  ).T


def pose_features(
  pose_FJD: np.ndarray, pose_rate_hz: float, time_s: np.ndarray
) -> np.ndarray:
  """Return (len(time_s), 56) positions and velocities around each time.

  Means over the poses nearer to a time than to the next one; times ascend
  evenly from 0 and lie within the dance.
  """
  feature_FC = features.motion_features(pose_FJD, pose_rate_hz)
  feature_FC = feature_FC[:, :_NUM_POSE_FEATURES].astype(np.float64)
  sum_FC = np.concatenate([feature_FC[:1] * 0, np.cumsum(feature_FC, axis=0)])
  half_s = (time_s[1] - time_s[0]) / 2
  edges_s = np.append(time_s - half_s, time_s[-1] + half_s)
  edges = np.clip(np.rint(edges_s * pose_rate_hz), 0, len(feature_FC))
  low, high = edges[:-1].astype(int), edges[1:].astype(int)
  low = np.minimum(low, len(feature_FC) - 1)
  high = np.maximum(high, low + 1)
  return (sum_FC[high] - sum_FC[low]) / (high - low)[:, None]


def _diagonals(matrix_FF: np.ndarray) -> np.ndarray:
  """Return [i, d] = matrix[i, i + d], around the end, centred, without d = 0.

  A shift of the matrix along both axes is a shift of these along i.
  """
  num = len(matrix_FF)
  index = np.arange(num)
  rolled = matrix_FF[index[:, None], (index[:, None] + index[1:]) % num]
  return rolled - rolled.mean()


def correlation_by_shift(
  audio_FF: np.ndarray, motion_FF: np.ndarray
) -> np.ndarray:
  """Return (F,) Pearson's r for each circular shift of the motion.

  Of the upper triangles, flattened; both matrices are symmetric. Entry s has
  the motion s frames earlier; entry 0 is the score itself. All 0 where a
  matrix is constant off its diagonal, as published.

  Raises:
    InputError: the matrices are not of one size.
  """
  if audio_FF.shape != motion_FF.shape or audio_FF.ndim != 2:
    raise InputError(
      f'similarities have shapes {audio_FF.shape} and {motion_FF.shape}; '
      'expected two (F, F); sample sound and poses at the same times'
    )
  audio_FS, motion_FS = _diagonals(audio_FF), _diagonals(motion_FF)
  size = np.sqrt((audio_FS**2).sum() * (motion_FS**2).sum())
  if size < 1e-12:
    return np.zeros(len(audio_FF))
  product = np.fft.rfft(audio_FS, axis=0).conj() * np.fft.rfft(
    motion_FS, axis=0
  )
  return np.fft.irfft(product.sum(axis=1), len(audio_FF)) / size


def structure_correlation(
  audio_FF: np.ndarray, motion_FF: np.ndarray, frame_hz: float = FRAME_HZ
) -> tuple[float, float]:
  """Return r of two similarities and what r would be by chance.

  Chance is the mean over circular shifts by at least 1 s, NaN where there are
  none. Both -1 to 1, higher is better; the gap is what counts.
  """
  r_F = correlation_by_shift(audio_FF, motion_FF)
  shift = round(_MIN_SHIFT_S * frame_hz)
  others_F = r_F[shift : len(r_F) - shift + 1]
  return float(r_F[0]), float(others_F.mean()) if len(others_F) else np.nan


def structure_scores(
  audio_T: np.ndarray,
  sample_rate_hz: int,
  pose_FJD: np.ndarray,
  pose_rate_hz: float,
  *,
  frame_hz: float = FRAME_HZ,
) -> dict[str, float]:
  """Score how well the parts of a sound coincide with those of a dance.

  Args:
    audio_T: mono, in [-1, 1].
    sample_rate_hz: its rate.
    pose_FJD: (F, 14, 3) cleaned core14; the longer of both is cut.
    pose_rate_hz: its rate.
    frame_hz: of the moments compared, fewer where they would be more than
      1,500 (two and a half minutes), as memory grows with their square.

  Returns:
    structure, with the nearest-neighbour form of both, and
    structure_difference, with `difference_similarity` of the dance; each with
    a suffix `_chance`. All NaN for a dance without movement or a clip of
    fewer than 8 frames, which asks nothing; all 0 for silence. Dense sound
    does not help; a sound that repeats every bar finds many shifts as good.

  Raises:
    InputError: poses of another shape, or sound that is not mono or finite.
  """
  names = ('structure', 'structure_difference')
  keys = [name + suffix for name in names for suffix in ('', '_chance')]
  duration_s = min(len(audio_T) / sample_rate_hz, len(pose_FJD) / pose_rate_hz)
  frame_hz = min(frame_hz, _MAX_FRAMES / max(duration_s, 1.0))
  hop = round(sample_rate_hz / frame_hz)
  time_s = np.arange(int(duration_s * sample_rate_hz / hop + 1e-6))
  time_s = time_s * (hop / sample_rate_hz)
  if len(time_s) < _MIN_FRAMES:
    return dict.fromkeys(keys, np.nan)
  pose_FC = pose_features(pose_FJD, pose_rate_hz, time_s)
  if np.ptp(pose_FC, axis=0).max() < _STILL:
    return dict.fromkeys(keys, np.nan)
  audio_FC = audio_features(audio_T, sample_rate_hz, frame_hz)[: len(time_s)]
  if not np.ptp(audio_FC, axis=0).any():
    return dict.fromkeys(keys, 0.0)
  audio_FF = nearest_neighbour_similarity(audio_FC)
  values = [
    *structure_correlation(
      audio_FF, nearest_neighbour_similarity(pose_FC), frame_hz
    ),
    *structure_correlation(audio_FF, difference_similarity(pose_FC), frame_hz),
  ]
  return dict(zip(keys, values))
