"""One synthetic clip as an example: dancer, camera and band put together."""

import dataclasses

import numpy as np

from dance2wave.datasets.schema import Clip, to_int16
from dance2wave.datasets.synthetic_dance import (
  camera,
  curves,
  movement,
  music,
  natural,
  natural_camera,
)
from dance2wave.datasets.synthetic_dance.natural_plan import draw_natural_plan
from dance2wave.datasets.synthetic_dance.plan import Plan, draw_plan

SAMPLE_RATE_HZ = 16_000


@dataclasses.dataclass(frozen=True)
class Task:
  """Which clip to make; equal tasks give equal clips, to the bit.

  Attributes:
    index: in the split.
    split: one of `SPLITS`.
    seed: of all clips.
    is_ambiguous: whether the dance leaves the beat open; not of natural ones.
    with_3d: whether the clip holds the joints in metres.
    is_natural: whether the dancer is a natural one.
    duration_s: of the clip; None for one that is drawn.
  """

  index: int
  split: str
  seed: int = 0
  is_ambiguous: bool = False
  with_3d: bool = False
  is_natural: bool = False
  duration_s: float | None = None

  @property
  def name(self) -> str:
    """The clip's name."""
    return f'{self.split}_{self.index:05d}'


def _pose3d_at(dance: movement.Dance, time_s: np.ndarray) -> np.ndarray:
  """Interpolate the dancer's joints in metres: (F, 14, 3) float32."""
  coordinates_NC = dance.pose3d_NJ3.reshape(len(dance.time_s), -1)
  curves = [np.interp(time_s, dance.time_s, c_N) for c_N in coordinates_NC.T]
  shape = (len(time_s), *dance.pose3d_NJ3.shape[1:])
  return np.stack(curves, axis=-1).reshape(shape).astype(np.float32)


def _dance(task: Task) -> tuple[Plan, movement.Dance, np.ndarray, np.ndarray]:
  """Return the plan, the dance, and its film: poses and their times."""
  if task.is_natural:
    plan = draw_natural_plan(
      task.index, task.split, seed=task.seed, duration_s=task.duration_s
    )
    dance = natural.dance(plan)
    return plan, dance, *natural_camera.film(plan, dance)
  plan = draw_plan(
    task.index,
    task.split,
    seed=task.seed,
    is_ambiguous=task.is_ambiguous,
    duration_s=task.duration_s,
  )
  dance = movement.dance(plan)
  return plan, dance, *camera.film(plan, dance)


def make_clip(task: Task) -> Clip:
  """Return the clip of a task: a pure function."""
  plan, dance, pose_FJD, pose_time_s = _dance(task)
  time_s, size_N, hands_N = curves.motion_curves(dance)
  audio_T = music.render(plan, (time_s, size_N), (time_s, hands_N))
  clip = {
    'clip_id': plan.clip_id,
    'source': 'synthetic_dance',
    'group': f'choreography_{plan.choreography}',
    'audio': to_int16(audio_T),
    'sample_rate_hz': SAMPLE_RATE_HZ,
    'pose': pose_FJD,
    'pose_time_s': pose_time_s,
    'skeleton': 'core14',
    'beats_s': plan.beats_in_clip_s,
    'style': plan.style,
    'duration_s': plan.duration_s,
  }
  if task.with_3d:
    clip['aux'] = {'pose3d': _pose3d_at(dance, pose_time_s)}
  return clip


def read_task(task: Task) -> list[Clip]:
  """Return the one clip of a task, as a `Work` wants it."""
  return [make_clip(task)]
