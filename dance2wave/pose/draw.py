"""Pictures of poses: a stick figure, a whole dance, landmarks on a picture.

Poses are x, y, confidence with y down, in any unit; a view box maps the unit
to pixels. The dancer's right is orange, the left is blue, the middle white.
"""

from collections.abc import Iterator, Sequence

import numpy as np

# Joints of core14; other skeletons pass their own.
RIGHT_JOINTS = (2, 3, 4, 8, 9, 10)
LEFT_JOINTS = (5, 6, 7, 11, 12, 13)
HEAD_JOINT = 0

_RIGHT_RGB, _LEFT_RGB = (255, 150, 60), (80, 170, 255)
_MIDDLE_RGB = (235, 235, 235)
_DARK_RGB, _FLASH_RGB = (20, 20, 28), (120, 90, 170)
# Drawn this much larger and averaged down: smooth edges.
_OVERSAMPLING = 2
_LINE, _THIN_LINE = 0.020, 0.008  # of the picture's height
_JOINT = 0.8  # of the line
_THINNEST = 3.0  # oversampled pixels
_HEAD = 0.55  # of the distance between nose and neck
_MARGIN = 0.12

Edges = Sequence[tuple[int, int]]
# Left, top, and pixels per unit of the pose.
ViewBox = tuple[float, float, float]


def draw_pose(
  pose_JD: np.ndarray,
  edges: Edges,
  *,
  height: int = 360,
  width: int = 360,
  beat: float = 0.0,
  box: ViewBox | None = None,
  right: Sequence[int] = RIGHT_JOINTS,
  left: Sequence[int] = LEFT_JOINTS,
  head: int | None = HEAD_JOINT,
) -> np.ndarray:
  """Draw one pose as a stick figure.

  Args:
    pose_JD: (J, 3) x, y, confidence; joints of confidence 0 and those that
      are not finite are left out, unsure ones are paler.
    edges: pairs of joints to connect.
    height, width: of the picture in pixels.
    beat: 0 to 1, how much the background lights up.
    box: from `view_box`; None fits this pose into the picture.
    right, left: joints coloured as the dancer's right and left.
    head: joint in the middle of the head, or None for no head.

  Returns:
    rgb_HWC: (height, width, 3) uint8.
  """
  from PIL import Image

  pose_JD = np.asarray(pose_JD, np.float64)
  if box is None:
    box = view_box(pose_JD[None], height=height, width=width)
  background = _mix(_DARK_RGB, _FLASH_RGB, min(max(beat, 0.0), 1.0))
  size = (width * _OVERSAMPLING, height * _OVERSAMPLING)
  picture = Image.new('RGB', size, background)
  _paint(picture, pose_JD, edges, box, (right, left, head), background)
  return np.asarray(picture.reduce(_OVERSAMPLING))


def draw_dance(
  pose_FJD: np.ndarray,
  edges: Edges,
  *,
  height: int = 360,
  width: int = 360,
  beat_F: np.ndarray | None = None,
  **colours,
) -> Iterator[np.ndarray]:
  """Draw every frame of a dance in one fixed view box.

  Args:
    pose_FJD: (F, J, 3), as in `draw_pose`.
    edges, height, width: as in `draw_pose`.
    beat_F: (F,) flash of each frame, 0 to 1; None for no flashes.
    **colours: `right`, `left`, `head` of `draw_pose`.

  Yields:
    rgb_HWC: (height, width, 3) uint8 for each frame.
  """
  box = view_box(pose_FJD, height=height, width=width)
  flashes = np.zeros(len(pose_FJD)) if beat_F is None else beat_F
  for pose_JD, beat in zip(pose_FJD, flashes):
    yield draw_pose(
      pose_JD,
      edges,
      height=height,
      width=width,
      beat=float(beat),
      box=box,
      **colours,
    )


def overlay_pose(
  rgb_HWC: np.ndarray,
  pose_JD: np.ndarray,
  edges: Edges,
  *,
  right: Sequence[int] = RIGHT_JOINTS,
  left: Sequence[int] = LEFT_JOINTS,
) -> np.ndarray:
  """Draw a pose over the picture that it was found in.

  Args:
    rgb_HWC: (height, width, 3) uint8.
    pose_JD: (J, 3), x and y in units of the picture's height from its top
      left corner.
    edges, right, left: as in `draw_pose`; there is no head circle.

  Returns:
    A new picture; pixels away from the figure are unchanged.
  """
  from PIL import Image

  height, width = rgb_HWC.shape[:2]
  size = (width * _OVERSAMPLING, height * _OVERSAMPLING)
  picture = Image.fromarray(rgb_HWC).resize(size, Image.Resampling.NEAREST)
  pose_JD = np.asarray(pose_JD, np.float64)
  box = (0.0, 0.0, float(height))
  _paint(
    picture, pose_JD, edges, box, (right, left, None), (0, 0, 0), _THIN_LINE
  )
  return np.asarray(picture.reduce(_OVERSAMPLING))


def view_box(pose_FJD: np.ndarray, *, height: int, width: int) -> ViewBox:
  """Return the box that shows a whole dance, centred, with a margin.

  Single wild landmarks (the outer half percent) do not widen it.
  """
  points_PD = np.asarray(pose_FJD, np.float64).reshape(-1, 3)
  points_PD = points_PD[_is_seen(points_PD), :2]
  if not len(points_PD):
    return 0.0, 0.0, float(height)
  low_D, high_D = np.percentile(points_PD, (0.5, 99.5), axis=0)
  extent_D = np.maximum(high_D - low_D, 1e-6)
  space_D = np.array([width, height]) * (1 - 2 * _MARGIN)
  scale = float(np.min(space_D / extent_D))
  corner_D = (low_D + high_D - np.array([width, height]) / scale) / 2
  return float(corner_D[0]), float(corner_D[1]), scale


def _is_seen(pose_JD: np.ndarray) -> np.ndarray:
  return np.isfinite(pose_JD).all(axis=1) & (pose_JD[:, 2] > 0)


def _mix(a: Sequence[int], b: Sequence[int], amount: float) -> tuple:
  return tuple(round(x + (y - x) * amount) for x, y in zip(a, b))


def _paint(picture, pose_JD, edges, box, parts, background, line=_LINE) -> None:
  """Paint bones, joints and head onto an oversampled PIL picture."""
  from PIL import ImageDraw

  right, left, head = parts
  sides = {j: _RIGHT_RGB for j in right} | {j: _LEFT_RGB for j in left}
  pen = ImageDraw.Draw(picture)
  seen_J = _is_seen(pose_JD)
  # Far outside is as good as outside, and keeps the drawing library calm.
  limit = 4.0 * max(picture.size)
  points_JD = (pose_JD[:, :2] - box[:2]) * box[2] * _OVERSAMPLING
  points_JD = np.clip(np.nan_to_num(points_JD), -limit, limit)
  thick = max(line * picture.height, _THINNEST)

  def colour(j: int) -> tuple:
    sure = 0.4 + 0.6 * min(1.0, pose_JD[j, 2])
    return _mix(background, sides.get(j, _MIDDLE_RGB), sure)

  for a, b in edges:
    if seen_J[a] and seen_J[b]:
      _bone(pen, points_JD[a], points_JD[b], thick, colour(b))
  for j in np.flatnonzero(seen_J):
    if j != head:
      _disc(pen, points_JD[j], _JOINT * thick, colour(j))
  if head is not None and seen_J[head]:
    radius = _head_radius(points_JD, seen_J, edges, head, picture.height)
    _disc(pen, points_JD[head], radius, colour(head))


def _head_radius(points_JD, seen_J, edges, head: int, height: int) -> float:
  """Return a radius from the bone that carries the head, if it is seen."""
  for a, b in edges:
    if head in (a, b) and seen_J[a] and seen_J[b]:
      length = float(np.linalg.norm(points_JD[a] - points_JD[b]))
      return min(max(_HEAD * length, 0.02 * height), 0.10 * height)
  return 0.05 * height


def _bone(pen, a_D: np.ndarray, b_D: np.ndarray, thick: float, rgb) -> None:
  pen.line([tuple(a_D), tuple(b_D)], fill=rgb, width=round(thick))
  for end_D in (a_D, b_D):
    _disc(pen, end_D, thick / 2, rgb)


def _disc(pen, centre_D: np.ndarray, radius: float, rgb) -> None:
  (x, y) = centre_D
  pen.ellipse([x - radius, y - radius, x + radius, y + radius], fill=rgb)
