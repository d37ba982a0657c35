"""A dancer whose arms fly up whenever a click sounds, for tests of timing."""

import numpy as np

from dance2wave.datasets import schema
from dance2wave.pose.skeleton import SKELETONS

JOINT = {name: j for j, name in enumerate(SKELETONS['core14'])}
ARMS = [
  JOINT[f'{s}_{p}'] for s in ('left', 'right') for p in ('elbow', 'wrist')
]
FLASH_WIDTH_S = 0.09
CLICK_EVERY_S = 0.8


def film_times(frame_rate_hz, duration_s):
  """Times of a constant rate, or of a variable one for None."""
  if frame_rate_hz:
    return np.arange(int(duration_s * frame_rate_hz)) / frame_rate_hz
  gaps = np.random.default_rng(0).choice([1 / 60, 1 / 30, 1 / 24], size=1000)
  times = np.concatenate([[0.0], np.cumsum(gaps)])
  return times[times < duration_s - 0.05]


def body():
  """A standing dancer, a quarter of the picture from neck to hips."""
  places = {'nose': (0, -1.4), 'neck': (0, -1.0)}
  half = {
    'shoulder': (0.34, -1.0),
    'elbow': (0.45, -0.45),
    'wrist': (0.5, 0.05),
    'hip': (0.18, 0.0),
    'knee': (0.2, 0.82),
    'ankle': (0.2, 1.62),
  }
  for part, (x, y) in half.items():
    places[f'left_{part}'], places[f'right_{part}'] = (x, y), (-x, y)
  xy = np.array([places[name] for name in SKELETONS['core14']], float)
  return xy * 0.25 + (0.9, 0.4)


def flashing_clip(duration_s=8.0, frame_rate_hz=30.0, *, index=0, first_s=0.7):
  """Arms fly up and a click sounds, always at the same moments."""
  clicks_s = np.arange(first_s, duration_s - 0.3, CLICK_EVERY_S)
  time_s = film_times(frame_rate_hz, duration_s)
  up = np.exp(-(((time_s[:, None] - clicks_s) / FLASH_WIDTH_S) ** 2)).sum(1)
  pose = np.ones((len(time_s), 14, 3), np.float32)
  pose[..., :2] = body()
  pose[:, ARMS, 1] -= 0.25 * up[:, None].astype(np.float32)
  audio = np.zeros(round(duration_s * 16000))
  for click_s in clicks_s:
    start = round(click_s * 16000)
    audio[start : start + 160] = (
      0.8 * np.hanning(160) * np.sin(np.arange(160) * 0.5)
    )
  return {
    'clip_id': f'flash_{index}',
    'source': 'test',
    'group': f'g{index}',
    'audio': schema.to_int16(audio),
    'sample_rate_hz': 16000,
    'pose': pose,
    'pose_time_s': time_s,
    'skeleton': 'core14',
    'beats_s': clicks_s,
    'style': ('pop', 'house', 'polka')[index % 3],
    'duration_s': duration_s,
  }


def click_times(audio_T, rate_hz):
  """Centres of the clicks, each half a window after its start."""
  loud = np.flatnonzero(np.abs(audio_T) > 0.05)
  if not len(loud):
    return np.zeros(0)
  groups = np.split(loud, np.flatnonzero(np.diff(loud) > 0.1 * rate_hz) + 1)
  power = np.square(audio_T)
  return np.array([np.average(g, weights=power[g]) for g in groups]) / rate_hz


def flash_time(height_F, near_s, pose_rate_hz):
  """Centre of the flash nearest to a time."""
  time_F = np.arange(len(height_F)) / pose_rate_hz
  near = np.abs(time_F - near_s) < 0.25
  weight = np.maximum(height_F[near] - 0.3 * height_F.max(), 0)
  return np.average(time_F[near], weights=weight)


def flash_errors(batch, row, pose_rate_hz, rate_hz):
  """Return flash time - click time for the clicks well inside a crop."""
  arms = batch['motion_BFM'][row].reshape(len(batch['beat_BF'][row]), 14, 3)
  seen = arms[:, ARMS, 2] > 0
  height = -arms[:, ARMS, 1]
  height = np.where(seen, height - np.median(height, axis=0), 0).mean(1)
  crop_s = len(arms) / pose_rate_hz
  clicks = click_times(batch['audio_BT'][row], rate_hz)
  inside = clicks[(clicks > 0.3) & (clicks < crop_s - 0.3)]
  return np.array(
    [flash_time(height, t, pose_rate_hz) - t for t in inside]
  ), clicks
