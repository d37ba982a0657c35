"""A small report of synthesised clips for the tests of the page."""

import functools
import math
import pathlib
import tempfile

import numpy as np

from dance2wave.media.clip import Waveform
from dance2wave.metrics.report import Figure, ReportClip, write_report
from dance2wave.metrics.showcase import write_dance_video

RATE_HZ, POSE_RATE_HZ, SECONDS = 8000, 50, 3.0
NASTY = '</script><script>document.title = "owned"</script>&"\'<!--facts-->'
TRUE_S = np.arange(0.25, SECONDS, 0.5)


def clicks(beats_s):
  """Short decaying noise at each beat."""
  rng = np.random.default_rng(0)
  audio_T = np.zeros(round(SECONDS * RATE_HZ), np.float32)
  stroke_T = rng.normal(size=400) * np.exp(-np.arange(400) / 80) / 5
  for beat_s in beats_s:
    start = round(beat_s * RATE_HZ)
    audio_T[start : start + 400] += stroke_T[: len(audio_T) - start]
  return audio_T


@functools.cache
def video_bytes():
  """An mp4 of a body that nods on the beats."""
  time_F = np.arange(round(SECONDS * POSE_RATE_HZ)) / POSE_RATE_HZ
  pose_FJD = np.ones((len(time_F), 14, 3), np.float32)
  pose_FJD[..., 0] = 0.4 + 0.2 * np.cos(np.arange(14))
  pose_FJD[..., 1] = np.linspace(0.2, 0.8, 14)
  pose_FJD[..., 1] += 0.05 * np.cos(2 * math.pi * time_F / 0.5)[:, None]
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / 'dance.mp4'
    waveform = Waveform(clicks(TRUE_S), RATE_HZ)
    write_dance_video(path, pose_FJD, POSE_RATE_HZ, waveform, TRUE_S)
    return path.read_bytes()


def example_figure(**changes):
  """A figure that no control fools."""
  values = {
    'key': 'beat_f70',
    'name': 'Beat F, 70 ms',
    'value': 0.9312,
    'low': 0.9021,
    'high': 0.9544,
    'better': 'higher',
    'controls': {
      'original': (0.978, 0.96, 0.99),
      'shuffled': (0.274, 0.25, 0.3),
      'metronome_true_phase': (0.99, 0.98, 1.0),
      'silence': (math.nan, math.nan, math.nan),
    },
  }
  return Figure(**values | changes)


def example_clip(clip_id='clip_0', **changes):
  """A clip whose last heard beat is 200 ms late and so has no partner."""
  heard_s = np.append(TRUE_S[:-1] + 0.01, TRUE_S[-1] + 0.2)
  num_frames = round(SECONDS * POSE_RATE_HZ)
  values = {
    'clip_id': clip_id,
    'style': 'house',
    'video_mp4': video_bytes(),
    'audio_T': clicks(heard_s),
    'sample_rate_hz': RATE_HZ,
    'motion_F': np.abs(np.sin(np.arange(num_frames) / 4)),
    'pose_rate_hz': POSE_RATE_HZ,
    'true_beats_s': TRUE_S,
    'heard_beats_s': heard_s,
    'figures': {'beat_f70': 0.8333, 'own_figure': 12.5},
  }
  return ReportClip(**values | changes)


def example_rows():
  """Rows whose order changes with the column that sorts them."""
  return [
    {'clip_id': 'clip_0', 'style': 'pop', 'beat_f70': 0.5, 'error_ms': 9.0},
    {'clip_id': 'clip_1', 'style': 'house', 'beat_f70': 0.25, 'error_ms': -80},
    {'clip_id': 'clip_2', 'style': 'salsa', 'beat_f70': 1.0, 'error_ms': 10.0},
    {'clip_id': NASTY, 'style': NASTY, 'beat_f70': math.nan, 'error_ms': None},
  ]


def write_example(path, **changes):
  """Write a page with everything on it; return its text."""
  fooled = {'original': (98.0, 97.0, 99.0), 'always_on': (100.0, 100.0, 100.0)}
  values = {
    'title': 'Does the sound follow?',
    'headline': [
      example_figure(),
      example_figure(
        key='coverage', name='Coverage', value=98.2, unit='%', controls=fooled
      ),
    ],
    'rows': example_rows(),
    'clips': [
      example_clip(),
      example_clip('clip_1', video_mp4=None),
      example_clip(NASTY, style=NASTY),
    ],
    'facts': {'command': 'python -m dance2wave.evaluate', 'config': {'a': 1}},
    'counterfactuals': [
      Figure('shift_slope', 'Beats follow a shift', 0.998, 0.98, 1.01)
    ],
  }
  write_report(path, **values | changes)
  return path.read_text(encoding='utf-8')
