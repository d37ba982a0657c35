"""Film a dancer and detect the pose: perspective, frame times, and errors.

    dance ── frame times ── pinhole camera ──> true x, y ── estimator ──> pose

The estimator errs as real ones do: every joint shakes (more where it moves
fast or lies on the far side), joints and whole frames get lost, now and then
left and right change places or a joint jumps somewhere else, surely or not.
"""

import dataclasses

import numpy as np

from dance2wave.datasets.synthetic_dance.movement import Dance
from dance2wave.datasets.synthetic_dance.plan import Plan
from dance2wave.pose.skeleton import CORE14_MIRROR

NUM_JOINTS = 14
MIN_GAP_S, MAX_GAP_S = 1.0 / 60.0, 1.0 / 15.0  # of a variable frame rate

# Noise of a joint relative to the mean joint, in the order of core14.
_JOINT_NOISE = np.array(
  [
    *(0.75, 0.8, 0.85, 1.05, 1.3, 0.85, 1.05, 1.3),  # head and arms
    *(0.95, 1.0, 1.15, 0.95, 1.0, 1.15),
  ]
)
_NOISE = (0.0037, 0.0088)  # range of its standard deviation, in body heights
_CORRELATED = 0.45  # share of the noise's variance that lasts
_CORRELATION_S = 0.12


@dataclasses.dataclass(frozen=True)
class View:
  """Where a camera stands and looks.

  Attributes:
    yaw: around the dancer, 0 from the front.
    roll: around its own axis.
    distance_m, height_m: of the lens, the latter above the ground.
    aim_m: height of the point in the middle of the picture.
    body_share: height of a dancer of 1.7 m in units of the frame height.
    aspect: width of the frame / its height.
  """

  yaw: float
  roll: float
  distance_m: float
  height_m: float
  aim_m: float
  body_share: float
  aspect: float


def draw_view(rng: np.random.Generator) -> View:
  """Draw where somebody would stand to film a dance."""
  return View(
    yaw=float(np.clip(rng.normal(0.0, 0.5), -1.05, 1.05)),
    roll=float(rng.normal(0.0, 0.015)),
    distance_m=float(rng.uniform(2.8, 6.5)),
    height_m=float(rng.uniform(0.7, 2.0)),
    aim_m=float(rng.uniform(0.8, 1.0)),
    body_share=float(rng.uniform(0.45, 0.8)),
    aspect=float(rng.choice([16 / 9, 4 / 3, 1.0, 9 / 16])),
  )


def frame_times_s(plan: Plan) -> np.ndarray:
  """Return the times of the frames, from 0 to before the end of the clip.

  A variable rate has gaps between MIN_GAP_S and MAX_GAP_S: its own jitter and
  dropped frames, whose gap is twice as long.
  """
  if plan.frame_rate_hz is not None:
    num = int(np.ceil(plan.duration_s * plan.frame_rate_hz - 1e-6))
    return np.arange(num) / plan.frame_rate_hz
  rng = plan.rng(120)
  rate_hz, jitter = rng.uniform(24.0, 50.0), rng.uniform(0.05, 0.3)
  num = int(plan.duration_s / MIN_GAP_S) + 1
  gap_s = np.exp(jitter * rng.normal(size=num)) / rate_hz
  gap_s *= np.where(rng.uniform(size=num) < 0.06, 2.0, 1.0)
  gap_s = np.clip(gap_s, MIN_GAP_S, MAX_GAP_S)
  time_s = np.concatenate([[0.0], np.cumsum(gap_s)])
  return time_s[time_s < plan.duration_s]


def _at(dance: Dance, time_s: np.ndarray) -> np.ndarray:
  """Interpolate the dancer linearly at given times: (F, 14, 3)."""
  step_s = dance.time_s[1] - dance.time_s[0]
  index = np.clip((time_s / step_s).astype(int), 0, len(dance.time_s) - 2)
  share = (time_s / step_s - index)[:, None, None]
  before, after = dance.pose3d_NJ3[index], dance.pose3d_NJ3[index + 1]
  return before + share * (after - before)


def _wave(rng: np.random.Generator, time_s, low_hz, high_hz) -> np.ndarray:
  """Return (F, 2) slow motion of about 1 in x and y."""
  rate_hz = rng.uniform(low_hz, high_hz, (2, 1, 2))
  phase = rng.uniform(0.0, 2 * np.pi, (2, 1, 2))
  angle = 2 * np.pi * rate_hz * time_s[:, None] + phase
  return np.sin(angle).sum(axis=0)


def _project(view: View, joints_FJ3: np.ndarray):
  """Return x, y (F, J, 2) in frame heights, y down, and depth (F, J).

  The picture's middle is (aspect / 2, 0.5).
  """
  c, s = np.cos(view.yaw), np.sin(view.yaw)
  x, y, z = np.moveaxis(joints_FJ3, -1, 0)
  right = c * x - s * z
  towards = s * x + c * z
  drop = np.arctan2(view.height_m - view.aim_m, view.distance_m)
  up_m = y - view.height_m
  depth = np.cos(drop) * (view.distance_m - towards) - np.sin(drop) * up_m
  up = np.cos(drop) * up_m + np.sin(drop) * (view.distance_m - towards)
  focal = view.body_share * view.distance_m / 1.7
  across, down = focal * right / depth, -focal * up / depth
  c, s = np.cos(view.roll), np.sin(view.roll)
  picture = np.stack([c * across - s * down, s * across + c * down], axis=-1)
  return picture + np.array([0.5 * view.aspect, 0.5]), depth


def picture(plan: Plan, dance: Dance, time_s: np.ndarray, draw=draw_view):
  """Return the true x, y (F, 14, 2) in the picture and the depths (F, 14).

  `draw` draws the view.
  """
  rng = plan.rng(121)
  view = draw(rng)
  xy, depth = _project(view, _at(dance, time_s))
  pan = rng.uniform(0.0, 0.012) * _wave(rng, time_s, 0.04, 0.25)
  hand = rng.uniform(0.0, 0.0012) * _wave(rng, time_s, 0.5, 1.6)
  return xy + (pan + hand)[:, None], depth


def noise_level(plan: Plan) -> float:
  """Return the standard deviation of x and of y, in body heights."""
  return float(plan.rng(122).uniform(*_NOISE))


def lasting(rng: np.random.Generator, time_s: np.ndarray) -> np.ndarray:
  """Return (F, 14, 2) unit noise correlated over _CORRELATION_S."""
  rate_hz = 2.0 / _CORRELATION_S
  num = int(time_s[-1] * rate_hz) + 3
  coarse = rng.normal(size=(num, NUM_JOINTS, 2))
  index = (time_s * rate_hz).astype(int)
  share = (time_s * rate_hz - index)[:, None, None]
  blend = np.cos(0.5 * np.pi * share), np.sin(0.5 * np.pi * share)
  return blend[0] * coarse[index] + blend[1] * coarse[index + 1]


def _shake(plan: Plan, xy, depth, time_s):
  """Return noisy x, y, and how unsure each joint is, 1 for the average."""
  rng = plan.rng(123)
  body_height = np.median(np.ptp(xy[..., 1], axis=1)) * 1.08
  level = noise_level(plan) * body_height
  speed = np.linalg.norm(np.gradient(xy, time_s, axis=0), axis=-1)
  spread = depth - depth.mean(axis=1, keepdims=True)
  # Blur at fast joints, and the side that faces away is partly hidden.
  unsure = _JOINT_NOISE * (
    1.0 + 0.5 * np.minimum(speed / body_height, 2.0) + np.clip(spread, 0, 0.3)
  )
  white = np.sqrt(1 - _CORRELATED) * rng.normal(size=xy.shape)
  noise = white + np.sqrt(_CORRELATED) * lasting(rng, time_s)
  return xy + level * unsure[..., None] * noise, unsure


def _lost_joints(rng: np.random.Generator, time_s: np.ndarray) -> np.ndarray:
  """Return a mask (F, 14) of joints that are lost, alone or for a while."""
  lost = rng.uniform(size=(len(time_s), NUM_JOINTS)) < rng.uniform(0.0, 0.03)
  for _ in range(rng.poisson(0.35 * time_s[-1])):
    joints = rng.choice(NUM_JOINTS, size=rng.integers(1, 4), replace=False)
    start_s = rng.uniform(0.0, time_s[-1])
    inside = (time_s >= start_s) & (time_s < start_s + rng.uniform(0.1, 0.5))
    lost[np.ix_(inside, joints)] = True
  return lost


def _few_frames(rng: np.random.Generator, time_s, rate_hz: float, most: int):
  """Return a mask (F,) of runs of 1 to `most` frames, `rate_hz` runs a second.

  No run lasts longer than 0.12 s.
  """
  chosen = np.zeros(len(time_s), bool)
  for _ in range(rng.poisson(rate_hz * time_s[-1])):
    first = rng.integers(len(time_s))
    run = slice(first, first + rng.integers(1, most + 1))
    chosen[run] |= time_s[run] < time_s[first] + 0.12
  return chosen


def _swap_sides(rng: np.random.Generator, pose_FJD, time_s) -> np.ndarray:
  """Exchange left and right, of all limbs or of arms or legs only."""
  swapped = _few_frames(rng, time_s, rng.uniform(0.0, 0.4), 2)
  parts = (slice(2, 14), slice(2, 8), slice(8, 14))
  part = parts[rng.integers(len(parts))]
  mirrored = pose_FJD[swapped][:, list(CORE14_MIRROR)]
  pose_FJD[swapped, part] = mirrored[:, part]
  return pose_FJD


def _lose(rng: np.random.Generator, pose_FJD, time_s) -> np.ndarray:
  """Lose joints and frames: zeros, or nonsense of low confidence."""
  gone = _few_frames(rng, time_s, rng.uniform(0.0, 0.25), 3)
  lost = _lost_joints(rng, time_s) | gone[:, None]
  nonsense = pose_FJD.copy()
  nonsense[..., :2] += rng.normal(0.0, 0.12, size=(*lost.shape, 2))
  nonsense[..., 2] = rng.uniform(0.0, 0.15, size=lost.shape)
  is_zero = rng.uniform(size=(len(lost), 1)) < rng.uniform()
  nonsense = np.where(is_zero[..., None], 0.0, nonsense)
  jumps = rng.uniform(size=lost.shape) < 0.0015
  pose_FJD[jumps, :2] += rng.normal(0.0, 0.1, size=(int(jumps.sum()), 2))
  return np.where(lost[..., None], nonsense, pose_FJD)


def film(plan: Plan, dance: Dance) -> tuple[np.ndarray, np.ndarray]:
  """Film a dance as a pose estimator would see it.

  Returns:
    pose_FJD: (F, 14, 3) float32; x, y (down) in units of the frame height and
      a confidence from 0 to 1.
    pose_time_s: (F,) float64, from 0, strictly increasing.
  """
  time_s = frame_times_s(plan)
  xy, depth = picture(plan, dance, time_s)
  return estimated(plan, xy, depth, time_s), time_s


def estimated(plan: Plan, xy, depth, time_s: np.ndarray) -> np.ndarray:
  """Return the pose (F, 14, 3) that an estimator makes of the true picture."""
  xy, unsure = _shake(plan, xy, depth, time_s)
  rng = plan.rng(124)
  doubt = 0.1 * unsure * rng.gamma(2.0, 0.5, size=unsure.shape)
  confidence = np.clip(1.0 - doubt, 0.3, 1.0)
  pose_FJD = np.concatenate([xy, confidence[..., None]], axis=-1)
  pose_FJD = _swap_sides(rng, pose_FJD, time_s)
  pose_FJD = _lose(rng, pose_FJD, time_s)
  return pose_FJD.astype(np.float32)
