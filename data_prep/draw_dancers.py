"""Draw a sheet of synthetic dancers, their beats and their spectrograms.

python -m data_prep.draw_dancers --output=docs/synthetic_dance.png
"""

import pathlib

import numpy as np
from absl import flags

from dance2wave.datasets.synthetic_dance import camera, curves, movement, music
from dance2wave.datasets.synthetic_dance.plan import (
  SPLITS,
  STYLES,
  Plan,
  draw_plan,
)
from dance2wave.errors import run_tool
from dance2wave.pose.draw import draw_dance
from dance2wave.pose.features import motion_size
from dance2wave.pose.skeleton import CORE14_EDGES

_OUTPUT = flags.DEFINE_string('output', 'docs/synthetic_dance.png', 'A PNG.')
_SPLIT = flags.DEFINE_enum('split', 'test', SPLITS, 'Of the dancers.')

_SECONDS = 4.0
_RATE_HZ = 16000
_FIGURES = 9


def first_of_each_style(split: str) -> list[Plan]:
  """Return the first clip of each style, in the order of the styles."""
  plans = [draw_plan(index, split) for index in range(100)]
  return [next(p for p in plans if p.style == style) for style in STYLES]


def _strip(pose_FJD, time_s, beats_s) -> np.ndarray:
  """Draw evenly spaced frames side by side, lit where a beat falls."""
  wanted_s = np.linspace(0, _SECONDS, _FIGURES, endpoint=False)
  chosen = [int(np.abs(time_s - t).argmin()) for t in wanted_s]
  near = [np.abs(beats_s - time_s[i]).min() < 0.05 for i in chosen]
  frames = draw_dance(
    pose_FJD[chosen],
    CORE14_EDGES,
    height=220,
    width=170,
    beat_F=np.array(near, float),
  )
  return np.concatenate(list(frames), axis=1)


def _draw_row(axes, plan: Plan) -> None:
  figures, motion, sound = axes
  dance = movement.dance(plan)
  time_s, size, hands = curves.motion_curves(dance)
  pose_FJD, pose_time_s = camera.film(plan, dance)
  audio_T = music.render(plan, (time_s, size), (time_s, hands))
  figures.imshow(_strip(pose_FJD, pose_time_s, plan.beats_in_clip_s))
  figures.set_axis_off()
  figures.set_title(
    f'{plan.style}, {plan.tempo_bpm:.0f} bpm, '
    f'{plan.frame_rate_hz or "variable"} frames/s',
    fontsize=8,
    loc='left',
  )
  grid_s = np.arange(0, _SECONDS, 0.02)
  index = np.searchsorted(dance.time_s, grid_s).clip(0, len(dance.time_s) - 1)
  seen = dance.pose3d_NJ3[index]
  seen = np.concatenate([seen[..., :2], np.ones((*seen.shape[:2], 1))], -1)
  motion.plot(grid_s, motion_size(seen.astype(np.float32), 50), lw=0.8)
  for beat_s in plan.beats_in_clip_s:
    motion.axvline(beat_s, color='tab:green', lw=0.6)
  motion.set_xlim(0, _SECONDS)
  motion.tick_params(labelsize=6)
  sound.specgram(audio_T + 1e-7, NFFT=512, noverlap=384, Fs=_RATE_HZ)
  sound.set_xlim(0, _SECONDS)
  sound.tick_params(labelsize=6)


def draw_sheet(split: str, path: pathlib.Path) -> None:
  """Draw one row for each style: figures, motion with beats, spectrogram."""
  from matplotlib.backends.backend_agg import FigureCanvasAgg
  from matplotlib.figure import Figure

  figure = Figure(figsize=(15, 9.5), dpi=80, layout='constrained')
  FigureCanvasAgg(figure)
  grid = figure.subplots(len(STYLES), 3, width_ratios=(2.6, 1.2, 1.2))
  for axes, plan in zip(grid, first_of_each_style(split)):
    _draw_row(axes, plan)
  grid[0, 1].set_title('joint speed, m/s; beats green', fontsize=8)
  grid[0, 2].set_title('its music, Hz', fontsize=8)
  figure.savefig(path)


def main(_) -> None:
  """Draw the sheet."""
  draw_sheet(_SPLIT.value, pathlib.Path(_OUTPUT.value))


if __name__ == '__main__':
  run_tool(main)
