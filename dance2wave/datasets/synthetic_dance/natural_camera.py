"""What is known of natural dancers: motion captures, and good films.

dance ── frame times ── camera, often far away ──┬── as captured
                                                 └── as estimated (camera)
"""

import numpy as np

from dance2wave.datasets.synthetic_dance import camera
from dance2wave.datasets.synthetic_dance.movement import Dance
from dance2wave.datasets.synthetic_dance.plan import Plan

CAPTURE_RATES_HZ = (30.0, 50.0, 60.0, 100.0, 120.0)
_FAR_M = 60.0  # as good as parallel: how captures are looked at
_CAPTURE_NOISE = (0.0001, 0.001)  # body heights


def draw_view(rng: np.random.Generator) -> camera.View:
  """Draw a camera before the stage: near, or so far that nothing shrinks."""
  is_far = rng.uniform() < 0.5
  aim_m = float(rng.uniform(0.8, 1.0))
  return camera.View(
    yaw=float(np.clip(rng.normal(0.0, 0.4), -1.0, 1.0)),
    roll=float(rng.normal(0.0, 0.01)),
    distance_m=_FAR_M if is_far else float(rng.uniform(4.0, 9.0)),
    height_m=aim_m if is_far else float(rng.uniform(0.7, 2.2)),
    aim_m=aim_m,
    body_share=float(rng.uniform(0.35, 0.7)),
    aspect=float(rng.choice([16 / 9, 4 / 3, 1.0])),
  )


def _captured(plan: Plan, xy: np.ndarray, time_s: np.ndarray) -> np.ndarray:
  """Return the pose (F, 14, 3) of a motion capture: little noise, and slow."""
  rng = plan.rng(223)
  height = np.median(np.ptp(xy[..., 1], axis=1)) * 1.08
  low, high = np.log(_CAPTURE_NOISE)
  level = height * np.exp(rng.uniform(low, high))
  noise = camera.lasting(rng, time_s) + 0.15 * rng.normal(size=xy.shape)
  pose_FJD = np.ones((*xy.shape[:2], 3))
  pose_FJD[..., :2] = xy + level * noise
  return pose_FJD.astype(np.float32)


def picture(plan: Plan, dance: Dance, time_s: np.ndarray):
  """Return the true x, y (F, 14, 2) and the depths, as `camera.picture`."""
  return camera.picture(plan, dance, time_s, draw_view)


def film(plan: Plan, dance: Dance) -> tuple[np.ndarray, np.ndarray]:
  """Return pose_FJD and pose_time_s as `camera.film` does."""
  time_s = camera.frame_times_s(plan)
  xy, depth = picture(plan, dance, time_s)
  if plan.frame_rate_hz in CAPTURE_RATES_HZ:
    return _captured(plan, xy, time_s), time_s
  return camera.estimated(plan, xy, depth, time_s), time_s
