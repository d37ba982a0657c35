"""What a person looks at: the dance with its sound, and a picture of both."""

import pathlib

import numpy as np

from dance2wave.media.audio import replacing
from dance2wave.media.clip import Waveform
from dance2wave.media.mux import write_video
from dance2wave.pose.draw import draw_dance
from dance2wave.pose.features import motion_size
from dance2wave.pose.skeleton import CORE14_EDGES

_VIDEO_RATE_HZ = 25
_FLASH_S = 0.12


def _flashes(frame_time_s, beats_s):
  """Return how much each frame is lit up by the beat before it, 0 to 1."""
  if not len(beats_s):
    return np.zeros(len(frame_time_s))
  last = np.searchsorted(beats_s, frame_time_s + 1e-6, side='right') - 1
  since_s = frame_time_s - np.asarray(beats_s)[np.maximum(last, 0)]
  return np.where(last < 0, 0.0, np.clip(1 - since_s / _FLASH_S, 0, 1))


def write_dance_video(
  path: pathlib.Path,
  pose_FJD: np.ndarray,
  pose_rate_hz: int,
  waveform: Waveform,
  beats_s: np.ndarray,
) -> None:
  """Write a stick figure that dances to the waveform, lit on its beats.

  The video lasts as long as the waveform.

  Args:
    path: of the mp4.
    pose_FJD: (F, 14, 3) core14.
    pose_rate_hz: its rate.
    waveform: the sound.
    beats_s: when the background lights up.
  """
  num_pictures = max(2, round(waveform.duration_s * _VIDEO_RATE_HZ))
  time_s = np.arange(num_pictures) * waveform.duration_s / num_pictures
  index = np.round(time_s * pose_rate_hz).astype(int)
  frames = draw_dance(
    pose_FJD[np.minimum(index, len(pose_FJD) - 1)],
    CORE14_EDGES,
    beat_F=_flashes(time_s, beats_s),
  )
  write_video(path, frames, time_s, waveform)


def _draw_waveform(axes, waveform, heard_s, true_s):
  time_s = np.arange(len(waveform.samples_T)) / waveform.sample_rate_hz
  axes.plot(time_s, waveform.samples_T, lw=0.4, color='0.3')
  for beats_s, colour, low, name in (
    (true_s, 'tab:green', 0.0, 'true beats'),
    (heard_s, 'tab:red', 0.5, 'heard beats'),
  ):
    for index, beat_s in enumerate(beats_s):
      label = name if index == 0 else None
      axes.axvline(
        beat_s, low, low + 0.5, color=colour, lw=1.2, alpha=0.8, label=label
      )
  axes.set_ylabel('waveform')
  axes.legend(loc='upper right', fontsize=7)


def draw_clip(
  waveform: Waveform,
  pose_FJD: np.ndarray,
  pose_rate_hz: int,
  heard_s: np.ndarray,
  true_s: np.ndarray,
  title: str,
) -> np.ndarray:
  """Draw waveform with beats, spectrogram and motion on one time axis.

  Returns:
    (H, W, 3) uint8.
  """
  from matplotlib.backends.backend_agg import FigureCanvasAgg
  from matplotlib.figure import Figure

  figure = Figure(figsize=(9, 5), dpi=100, layout='constrained')
  canvas = FigureCanvasAgg(figure)
  top, middle, bottom = figure.subplots(3, 1, sharex=True)
  top.set_title(title, fontsize=9)
  _draw_waveform(top, waveform, heard_s, true_s)
  window = 512 if waveform.sample_rate_hz > 12000 else 256
  # A floor far below hearing keeps silence drawable.
  middle.specgram(
    waveform.samples_T + 1e-7 * np.cos(np.arange(len(waveform.samples_T))),
    NFFT=window,
    noverlap=window // 2,
    Fs=waveform.sample_rate_hz,
    vmin=-120,
    vmax=-30,
  )
  middle.set_ylabel('Hz')
  size_F = motion_size(pose_FJD, pose_rate_hz)
  bottom.plot(np.arange(len(size_F)) / pose_rate_hz, size_F, color='tab:blue')
  for beat_s in true_s:
    bottom.axvline(beat_s, color='tab:green', lw=0.8, alpha=0.6)
  bottom.set_ylabel('motion, torsos/s')
  bottom.set_xlabel('seconds')
  bottom.set_xlim(0, len(waveform.samples_T) / waveform.sample_rate_hz)
  canvas.draw()
  return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def write_picture(path: pathlib.Path, rgb_HWC: np.ndarray) -> None:
  """Write a picture as PNG: whole or not at all."""
  from PIL import Image

  with replacing(path) as temporary:
    Image.fromarray(rgb_HWC).save(temporary, format='PNG')
