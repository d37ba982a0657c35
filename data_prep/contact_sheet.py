"""One picture of the best and the worst clips of a curation, to look at.

    KEEP name   | picture | picture | picture | picture | picture |  skeleton
    scores      |--------------- waveform, beats -----------------|
    reasons     |--------------- motion, scene cuts --------------|

Each picture stands above its own moment of the curves.
"""

import dataclasses
import pathlib
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from dance2wave.errors import InputError
from dance2wave.media.audio import read_audio, replacing
from dance2wave.media.video import read_frames
from dance2wave.metrics.beat_detector import detect_beats
from dance2wave.pose.clean import clean_pose
from dance2wave.pose.draw import overlay_pose
from dance2wave.pose.features import motion_size
from dance2wave.pose.skeleton import CORE14_EDGES, to_core14
from dance2wave.pose.track import PoseTrack, read_pose_file

_PICTURES, _PICTURE_W, _PICTURE_H = 5, 180, 136
_GAP, _TEXT_W, _WAVE_H, _MOTION_H = 8, 270, 46, 40
_STRIP_W = _PICTURES * _PICTURE_W
_ROW_W = _TEXT_W + _STRIP_W + 3 * _GAP
_ROW_H = _PICTURE_H + _WAVE_H + _MOTION_H + 3 * _GAP
_HEADING_H = 30
_RATE_HZ, _SAMPLE_RATE_HZ = 50, 8000
# What at least fills the curves: quiet and still clips stay flat.
_FULL_MOTION, _FULL_SOUND = 1.0, 0.03  # torsos per second; of full scale

_PAPER, _INK, _FAINT = (250, 250, 248), (30, 30, 34), (228, 228, 226)
_GREEN, _RED, _BLUE = (22, 130, 60), (190, 40, 40), (50, 100, 190)
_BEAT, _GREY = (240, 190, 110), (120, 120, 124)
_TEXT_PT, _LINE_H, _TEXT_LETTERS = 12, 16, 40


@dataclasses.dataclass(frozen=True)
class SheetRow:
  """One clip to draw.

  Attributes:
    video: the file.
    pose_path: of its poses; drawn without where there is no such file.
    score: its row of the table.
    reasons: why it is dropped; none if it is kept.
  """

  video: pathlib.Path
  pose_path: pathlib.Path | None
  score: Mapping[str, Any]
  reasons: Sequence[str] = ()


def choose_rows(
  rows: Sequence[SheetRow], num_rows: int
) -> list[tuple[str, list[SheetRow]]]:
  """Return the headings and rows: all, or half best and half worst.

  Kept clips come first, then those with few faults; among equals those that
  agree more with their sound. Files that could not be read come last.
  """

  def rank(row: SheetRow):
    agreement = row.score.get('alignment_z')
    known = -np.inf if agreement is None else agreement
    is_unread = bool(row.score.get('error'))
    return is_unread, len(row.reasons), -known

  ranked = sorted(rows, key=rank)
  if len(ranked) <= num_rows:
    return [(f'all {len(ranked)} clips, best first', ranked)]
  num_best = (num_rows + 1) // 2
  num_worst = num_rows - num_best
  groups = [(f'best {num_best} of {len(ranked)} clips', ranked[:num_best])]
  if num_worst:
    worst = ranked[-num_worst:]
    groups.append((f'worst {num_worst} of {len(ranked)} clips', worst))
  return groups


def write_sheet(
  path: pathlib.Path,
  rows: Sequence[SheetRow],
  num_rows: int,
  run: Callable[[Callable, Iterable[SheetRow]], Iterable] = map,
) -> None:
  """Draw a contact sheet as PNG, whole or not at all.

  Args:
    path: of the PNG.
    rows: all clips.
    num_rows: how many to draw at most.
    run: `map`, or one like it that works in other processes; what is no
      picture in its results is drawn as a row of text.
  """
  from PIL import Image, ImageDraw

  groups = choose_rows(rows, num_rows)
  chosen = [row for _, group in groups for row in group]
  drawn = iter(zip(chosen, run(draw_row, chosen)))
  height = _HEADING_H * len(groups) + max(1, _ROW_H * len(chosen))
  sheet = Image.new('RGB', (_ROW_W, height), _PAPER)
  pen, top = ImageDraw.Draw(sheet), 0
  for heading, group in groups:
    pen.text((_GAP, top + 7), heading, fill=_INK, font=_font(16))
    top += _HEADING_H
    for _ in group:
      row, picture = next(drawn)
      if not isinstance(picture, np.ndarray):
        picture = np.asarray(_text_row(row))
      sheet.paste(Image.fromarray(picture), (0, top))
      top += _ROW_H
  with replacing(path) as temporary:
    sheet.save(temporary, format='PNG')


def draw_row(row: SheetRow) -> np.ndarray:
  """Draw one clip as (height, width, 3) uint8; what is damaged stays empty."""
  from PIL import ImageDraw

  picture = _text_row(row)
  if row.score.get('error'):
    return np.asarray(picture)
  pen, left = ImageDraw.Draw(picture), _TEXT_W + 2 * _GAP
  duration_s = row.score['duration_s']
  wave_top = _GAP + _PICTURE_H + _GAP // 2
  motion_top = wave_top + _WAVE_H + _GAP // 2
  try:
    has_pose = row.pose_path is not None and row.pose_path.exists()
    track = read_pose_file(row.pose_path) if has_pose else None
    _paste_pictures(picture, row, track, (left, _GAP))
    if row.score['has_sound']:
      _draw_sound(pen, row, (left, wave_top), motion_top + _MOTION_H)
    if track is not None:
      _draw_motion(pen, track, duration_s, (left, motion_top))
  except InputError:
    pen.text((left, wave_top), 'cannot be read any more', _RED, _font(_TEXT_PT))
  for cut_s in row.score['scene_cuts_s']:
    x = left + cut_s / duration_s * _STRIP_W
    pen.line([x, wave_top, x, motion_top + _MOTION_H], fill=_RED, width=2)
  return np.asarray(picture)


def _font(size: int):
  from PIL import ImageFont

  return ImageFont.load_default(size)


def _text_row(row: SheetRow):
  """Return the picture of a row with its text and empty boxes."""
  from PIL import Image, ImageDraw

  picture = Image.new('RGB', (_ROW_W, _ROW_H), _PAPER)
  pen, left = ImageDraw.Draw(picture), _TEXT_W + 2 * _GAP
  top = _GAP
  for height in (_PICTURE_H, _WAVE_H, _MOTION_H):
    box = [left, top, left + _STRIP_W - 1, top + height - 1]
    pen.rectangle(box, fill=_FAINT)
    top += height + _GAP // 2
  pen.line([0, _ROW_H - 1, _ROW_W, _ROW_H - 1], fill=(200, 200, 198))
  is_kept = not row.reasons
  verdict, colour = ('KEEP', _GREEN) if is_kept else ('DROP', _RED)
  pen.text((_GAP, _GAP - 2), verdict, fill=colour, font=_font(17))
  lines = [(_INK, text) for text in _wrapped(str(row.score['path']), 2)]
  for reason in row.reasons:
    lines += [(_RED, text) for text in _wrapped(reason, 4)]
  lines += [(_GREY, text) for text in _score_lines(row.score)]
  top, bottom = _GAP + 22, _ROW_H - _LINE_H - 2
  for i, (colour, text) in enumerate(lines):
    y = top + i * _LINE_H
    if y > bottom:
      break
    pen.text((_GAP, y), text, fill=colour, font=_font(_TEXT_PT))
  return picture


def _wrapped(text: str, max_lines: int) -> list[str]:
  """Break text to the width of the column; a longer one loses its middle."""
  text = text.encode('utf-8', 'replace').decode('utf-8')
  lines = textwrap.wrap(text, _TEXT_LETTERS)
  if len(lines) > max_lines:
    lines = [*lines[: max_lines - 1], '…' + lines[-1]]
  return lines


def _score_lines(score: Mapping[str, Any]) -> list[str]:
  """Return the figures of a clip as short lines, without what is unknown."""
  if score.get('error'):
    return []
  lines = (
    (('{:.1f} s', 'duration_s'), ('{:.4g} frames/s', 'frame_rate_hz')),
    (('{:.0f} dB', 'loudness_db'), ('silent {:.2f}', 'silent_share')),
    (('person {:.2f}', 'person_share'), ('main {:.2f}', 'main_dancer_share')),
    (('motion {:.2f} torsos/s', 'motion_size'), ('{:.0f} bpm', 'tempo_bpm')),
    (('alignment {:.2f}', 'alignment'), ('p {:.3f}', 'alignment_p')),
    (('z {:.1f} in time', 'alignment_z'), ('{:.1f} in tempo', 'tempo_z')),
  )
  texts = [
    ', '.join(
      form.format(score[key]) for form, key in line if score[key] is not None
    )
    for line in lines
  ]
  return [text for text in texts if text]


def _paste_pictures(picture, row: SheetRow, track, corner) -> None:
  """Paste the frames in the middle of each fifth of the clip."""
  from PIL import Image, ImageOps

  middles_s = (np.arange(_PICTURES) + 0.5) / _PICTURES * row.score['duration_s']
  frames = read_frames(row.video)
  shown = None
  for i, wanted_s in enumerate(middles_s):
    while shown is None or shown[0] < wanted_s - 1e-6:
      following = next(frames, None)
      if following is None:
        break
      shown = following
    image = Image.fromarray(_with_pose(*shown, track))
    size = (_PICTURE_W - 4, _PICTURE_H)
    image = ImageOps.contain(image, size, Image.Resampling.LANCZOS)
    x = corner[0] + i * _PICTURE_W + (_PICTURE_W - image.width) // 2
    picture.paste(image, (x, corner[1] + (_PICTURE_H - image.height) // 2))


def _with_pose(time_s: float, rgb_HWC: np.ndarray, track: PoseTrack | None):
  """Draw the pose of the nearest time over a frame."""
  if track is None:
    return rgb_HWC
  nearest = int(np.abs(track.pose_time_s - time_s).argmin())
  pose_FJD = track.pose_FJD[nearest : nearest + 1]
  pose_JD = to_core14(pose_FJD, track.skeleton)[0]
  return overlay_pose(rgb_HWC, pose_JD, CORE14_EDGES)


def _draw_sound(pen, row: SheetRow, corner, bottom: int) -> None:
  """Draw the extremes of each column over the beats heard, down to bottom."""
  samples_T = read_audio(row.video, _SAMPLE_RATE_HZ).samples_T
  left, top = corner
  duration_s = row.score['duration_s']
  for beat_s in detect_beats(samples_T, _SAMPLE_RATE_HZ):
    x = left + beat_s / duration_s * _STRIP_W
    pen.line([x, top, x, bottom - 1], fill=_BEAT)
  edges = np.linspace(0, len(samples_T), _STRIP_W, endpoint=False).astype(int)
  scale = (_WAVE_H / 2 - 1) / max(np.abs(samples_T).max(), _FULL_SOUND)
  middle = top + _WAVE_H / 2
  low = middle - scale * np.minimum.reduceat(samples_T, edges)
  high = middle - scale * np.maximum.reduceat(samples_T, edges)
  for x, (y, end) in enumerate(zip(high, low)):
    pen.line([left + x, y, left + x, end], fill=_INK)


def _draw_motion(pen, track: PoseTrack, duration_s: float, corner) -> None:
  """Draw the mean joint speed; the fastest hundredth fills the curve."""
  left, top = corner
  speed_F = motion_size(clean_pose(track, _RATE_HZ), _RATE_HZ)
  full = max(float(np.quantile(speed_F, 0.99)), _FULL_MOTION)
  x_F = left + np.arange(len(speed_F)) / _RATE_HZ / duration_s * _STRIP_W
  y_F = top + (_MOTION_H - 2) * (1 - np.minimum(speed_F / full, 1.0))
  is_inside = x_F < left + _STRIP_W
  points = list(zip(x_F[is_inside].tolist(), y_F[is_inside].tolist()))
  if len(points) > 1:
    pen.line(points, fill=_BLUE, width=2)
