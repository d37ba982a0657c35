"""Compare how real dancers move with how synthetic ones do.

    python -m data_prep.motion_statistics --capture=dance.bvh --capture=FOLDER
    python -m data_prep.motion_statistics --capture=FOLDER --kind=natural

Prints a line for each statistic: the 5, 50 and 95 % quantiles of synthetic
clips, and the value of each capture, marked where it lies outside. Lengths are
torsos (neck to mid-hip, about 0.29 of the body's height).
"""

import pathlib
from collections.abc import Sequence

import numpy as np
from absl import flags
from scipy import signal

from dance2wave.datasets.synthetic_dance import generate
from dance2wave.errors import InputError, one_line_errors, run_tool
from dance2wave.pose.clean import clean_pose
from dance2wave.pose.features import MOTION_DIM, motion_features, motion_size
from dance2wave.pose.skeleton import SKELETONS, to_core14
from dance2wave.pose.source import read_pose
from dance2wave.pose.track import PoseTrack
from dance2wave.sampling.files import find_inputs

_CAPTURE = flags.DEFINE_multi_string(
  'capture', [], 'Captures, or folders of them.'
)
_KIND = flags.DEFINE_string('kind', 'default', 'Of synthetic dancers.')
_CLIPS = flags.DEFINE_integer(
  'num_clips', 120, 'Of synthetic dancers.', lower_bound=1
)

RATE_HZ = 50.0
_AT = {name: j for j, name in enumerate(SKELETONS['core14'])}
_HIPS, _WRISTS, _ANKLES = (
  [_AT[f'right_{part}'], _AT[f'left_{part}']]
  for part in ('hip', 'wrist', 'ankle')
)
_KINDS = {
  'default': {},
  'ambiguous': {'is_ambiguous': True},
  'natural': {'is_natural': True},
}
_STILL = 0.25  # torsos per second
_SLOW_S = 2.0  # movement over longer than this is drift


def _fast(value_F: np.ndarray) -> np.ndarray:
  """Remove what changes over more than about two seconds."""
  size = min(len(value_F), int(_SLOW_S * RATE_HZ))
  size -= 1 - size % 2
  kernel = np.hanning(size + 2)[1:-1]
  weight = np.convolve(np.ones_like(value_F), kernel, 'same')
  return value_F - np.convolve(value_F, kernel, 'same') / weight


def _band_shares(value_F: np.ndarray) -> tuple[float, float]:
  """Return the shares of power within 1 to 3 Hz and above 3 Hz."""
  power = np.abs(np.fft.rfft(_fast(value_F) * np.hanning(len(value_F)))) ** 2
  hz = np.fft.rfftfreq(len(value_F), 1 / RATE_HZ)
  total = power.sum() + 1e-12
  middle = power[(hz >= 1) & (hz < 3)].sum() / total
  return float(middle), float(power[hz >= 3].sum() / total)


def _periodicity(value_F: np.ndarray) -> float:
  """Return the highest peak of the autocorrelation at 0.3 to 1.2 s."""
  value_F = _fast(value_F)
  full = signal.correlate(value_F, value_F)[len(value_F) - 1 :]
  count = np.arange(len(value_F), 0, -1)
  curve = full / count / max(full[0] / len(value_F), 1e-12)
  low, high = int(0.3 * RATE_HZ), int(1.2 * RATE_HZ)
  if len(curve) < 2 * high:
    return np.nan
  peaks, _ = signal.find_peaks(curve[: high + 1])
  peaks = peaks[peaks >= low]
  return float(curve[peaks].max()) if len(peaks) else 0.0


def _skew(value_F: np.ndarray) -> float:
  centred = value_F - value_F.mean()
  return float((centred**3).mean() / max((centred**2).mean(), 1e-12) ** 1.5)


def _picture_statistics(track: PoseTrack) -> dict[str, float]:
  """Measure what cleaning removes: travel, turning and noise."""
  core = to_core14(track.pose_FJD, track.skeleton).astype(np.float64)
  seen_F = (core[..., 2] > 0.2).all(axis=1)
  xy, time_F = core[seen_F, :, :2], track.pose_time_s[seen_F]
  hips = xy[:, _HIPS].mean(axis=1)
  torso = np.median(np.linalg.norm(xy[:, _AT['neck']] - hips, axis=-1))
  across = xy[:, _AT['left_shoulder'], 0] - xy[:, _AT['right_shoulder'], 0]
  xy, hips = xy / torso, hips / torso
  smooth = signal.savgol_filter(xy, 7, 3, axis=0) if len(xy) > 7 else xy
  rate_hz = 1 / np.median(np.diff(time_F))
  return {
    'travel, torsos (range of the hips)': float(np.ptp(hips[:, 0])),
    'share of time seen from behind': float((across < 0).mean()),
    'narrowest / widest shoulders': float(
      np.quantile(np.abs(across), 0.05) / np.quantile(np.abs(across), 0.95)
    ),
    'noise, 0.001 torsos': 1e3 * float(np.median(np.abs(xy - smooth))),
    'frames per second': float(rate_hz),
  }


def measure(track: PoseTrack) -> dict[str, float]:
  """Return statistics by name; NaN where a clip is too short for one."""
  pose = clean_pose(track, RATE_HZ)
  moved_FM = motion_features(pose, RATE_HZ)
  speed = np.linalg.norm(3.0 * moved_FM[:, 28:56].reshape(-1, 14, 2), axis=-1)
  force = np.linalg.norm(30.0 * moved_FM[:, 56:84].reshape(-1, 14, 2), axis=-1)
  assert moved_FM.shape[1] == MOTION_DIM
  size = motion_size(pose, RATE_HZ)
  hip_y = pose[:, _HIPS, 1].mean(axis=1)
  relative = hip_y - pose[:, _ANKLES, 1].max(axis=1)
  wrist_y = pose[:, _WRISTS, 1].mean(axis=1) - pose[:, _AT['neck'], 1]
  foot_x = pose[:, _ANKLES, 0].mean(axis=1)
  hip_middle, hip_high = _band_shares(relative)
  wrist_middle, wrist_high = _band_shares(wrist_y)
  foot_middle, _ = _band_shares(foot_x)
  return {
    'joint speed, median': float(np.median(size)),
    'joint speed, 95 %': float(np.quantile(size, 0.95)),
    'joint speed, 5 %': float(np.quantile(size, 0.05)),
    'wrist speed, median': float(np.median(speed[:, _WRISTS])),
    'wrist speed, 95 %': float(np.quantile(speed[:, _WRISTS], 0.95)),
    'ankle speed, median': float(np.median(speed[:, _ANKLES])),
    'ankle speed, 95 %': float(np.quantile(speed[:, _ANKLES], 0.95)),
    'acceleration, median': float(np.median(force.mean(axis=1))),
    'acceleration, 95 %': float(np.quantile(force.mean(axis=1), 0.95)),
    'share of time still': float((size < _STILL).mean()),
    'hip height over feet, rms': float(_fast(relative).std()),
    'hip height, share 1 to 3 Hz': hip_middle,
    'hip height, share above 3 Hz': hip_high,
    'hip height, periodicity': _periodicity(relative),
    'hip fall against rise, skewness': _skew(np.diff(hip_y)),
    'wrist height, rms': float(_fast(wrist_y).std()),
    'wrist height, share 1 to 3 Hz': wrist_middle,
    'wrist height, share above 3 Hz': wrist_high,
    'foot place, rms': float(_fast(foot_x).std()),
    'foot place, share 1 to 3 Hz': foot_middle,
    'speed, periodicity': _periodicity(size),
    **_picture_statistics(track),
  }


def synthetic_track(index: int, kind: str) -> PoseTrack:
  """Return the film of a synthetic dancer of the training split."""
  if kind not in _KINDS:
    raise InputError(
      f'--kind={kind!r}; expected one of {", ".join(_KINDS)}; change it'
    )
  clip = generate.make_clip(generate.Task(index, 'train', **_KINDS[kind]))
  return PoseTrack(
    clip['pose'], clip['pose_time_s'], 'core14', clip['duration_s']
  )


def table(
  synthetic: Sequence[dict[str, float]], real: dict[str, dict[str, float]]
) -> list[str]:
  """Return the lines to print; values outside 5 to 95 % have a star."""
  names = list(real)
  head = ''.join(f'{name[-14:]:>16}' for name in names)
  lines = [f'{"":36}{"5 %":>8}{"50 %":>8}{"95 %":>8}{head}']
  for key in synthetic[0]:
    values = np.array([row[key] for row in synthetic])
    low, middle, high = np.nanquantile(values, (0.05, 0.5, 0.95))
    cells = ''
    for name in names:
      value = real[name][key]
      mark = '*' if value < low or value > high else ' '
      cells += f'{value:>15.3f}{mark}'
    lines.append(f'{key:36}{low:8.3f}{middle:8.3f}{high:8.3f}{cells}')
  return lines


def names_of(captures: Sequence[pathlib.Path]) -> list[str]:
  """Return the columns' names: whole paths where others end alike."""
  stems = [path.stem for path in captures]
  return [
    stem if stems.count(stem) == 1 else str(path)
    for stem, path in zip(stems, captures)
  ]


def main(argv: list[str]) -> None:
  """Print the table."""
  del argv
  with one_line_errors():
    captures = find_inputs(_CAPTURE.value, '--capture')
    real = {
      name: measure(read_pose(path))
      for name, path in zip(names_of(captures), captures)
    }
    synthetic = [
      measure(synthetic_track(index, _KIND.value))
      for index in range(_CLIPS.value)
    ]
    print('\n'.join(table(synthetic, real)))


if __name__ == '__main__':
  run_tool(main)
