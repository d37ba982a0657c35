"""A human body of fixed bones: from joint angles and footholds to 14 joints.

Axes: x to the dancer's left, y up, z where the dancer faces; metres, radians.
The trunk is one piece (neck and both hips), so that every edge of core14 keeps
its length. Legs reach for given ankles (two-bone inverse kinematics), and the
pelvis comes down wherever a leg would be too short.
"""

import dataclasses

import numpy as np

# Joint angles and offsets of a posture, in the order of its last axis.
CHANNELS = (
  *('sway_x', 'sway_z', 'sink'),  # pelvis from over the weight; sink is down
  *('turn', 'lean', 'tilt'),  # trunk: yaw, forwards, sideways
  *('twist', 'slope', 'shrug'),  # shoulders: yaw, sideways, both up
  *('nod', 'head_tilt', 'head_turn'),
  *('right_raise', 'right_forward', 'right_elbow', 'right_roll'),
  *('left_raise', 'left_forward', 'left_elbow', 'left_roll'),
)
CHANNEL = {name: c for c, name in enumerate(CHANNELS)}
ARMS = slice(CHANNEL['right_raise'], CHANNEL['left_roll'] + 1)

_STEP_S = 0.42  # no foot travels longer than this
_REACH = 0.992  # of a straight leg
_SHARPNESS = 70.0  # 1/m; how sharply the pelvis yields to a short leg


@dataclasses.dataclass(frozen=True)
class Body:
  """Lengths in metres; proportions after Drillis and Contini (1966)."""

  height_m: float
  ankle_m: float
  shin_m: float
  thigh_m: float
  half_hip_m: float
  trunk_m: float
  half_shoulder_m: float
  upper_arm_m: float
  forearm_m: float
  head_up_m: float
  head_forward_m: float

  @property
  def leg_m(self) -> float:
    """Length of a straight leg from hip to ankle."""
    return self.thigh_m + self.shin_m


@dataclasses.dataclass(frozen=True)
class Score:
  """One key pose per count, in the order of time.

  Attributes:
    angle_MC: postures, see CHANNELS.
    foothold_M22: x and z of the right and the left foot, from the centre, of
      a dancer of 1.7 m.
    lift_M2: by how much a foot rises on its way there; 0 where it stands.
    weight_M: share of the weight on the left foot.
  """

  angle_MC: np.ndarray
  foothold_M22: np.ndarray
  lift_M2: np.ndarray
  weight_M: np.ndarray


_PROPORTIONS = {
  'ankle_m': 0.042,
  'shin_m': 0.243,
  'thigh_m': 0.245,
  'half_hip_m': 0.054,
  'trunk_m': 0.288,
  'half_shoulder_m': 0.108,
  'upper_arm_m': 0.178,
  'forearm_m': 0.150,
  'head_up_m': 0.105,
  'head_forward_m': 0.058,
}


def draw_body(rng: np.random.Generator) -> Body:
  """Draw a grown-up: 1.5 to 1.95 m, every proportion within some 10 %."""
  height_m = float(np.clip(rng.normal(1.71, 0.09), 1.5, 1.95))
  varied = np.exp(np.clip(rng.normal(0, 0.035, len(_PROPORTIONS)), -0.1, 0.1))
  lengths = {
    name: share * height_m * factor
    for (name, share), factor in zip(_PROPORTIONS.items(), varied.tolist())
  }
  return Body(height_m=height_m, **lengths)


def _rotation(yaw_N, lean_N, tilt_N) -> np.ndarray:
  """Return (N, 3, 3): tilt about z, then lean about x, then yaw about y."""
  (cy, cl, ct), (sy, sl, st) = (
    (f(yaw_N), f(lean_N), f(tilt_N)) for f in (np.cos, np.sin)
  )
  rows = (
    (cy * ct + sy * sl * st, sy * sl * ct - cy * st, sy * cl),
    (cl * st, cl * ct, -sl),
    (cy * sl * st - sy * ct, sy * st + cy * sl * ct, cy * cl),
  )
  return np.moveaxis(np.array(rows), -1, 0)


def _apply(rotation_N33, x, y, z) -> np.ndarray:
  """Rotate a vector whose components are scalars or (N,); returns (N, 3)."""
  columns = np.moveaxis(rotation_N33, -1, 0)
  terms = [np.reshape(v, (-1, 1)) * c for v, c in zip((x, y, z), columns)]
  return terms[0] + terms[1] + terms[2]


def _arm_directions(arm_N4: np.ndarray, side: int):
  """Return the upper arm and forearm as unit vectors in the shoulders' frame.

  The upper arm hangs at raise 0, is level at pi / 2; forward turns it from the
  side (0) to the front (pi / 2). The forearm bends to where the front was
  before the raise, and rolls from there inwards.
  """
  up, azimuth, elbow, roll = arm_N4.T
  zero, one = np.zeros_like(up), np.ones_like(up)
  level = np.stack([side * np.cos(azimuth), zero, np.sin(azimuth)], axis=-1)
  y = np.stack([zero, one, zero], axis=-1)
  front = np.stack([zero, zero, one], axis=-1)
  inward = np.stack([-side * one, zero, zero], axis=-1)
  c, s = np.cos(up)[:, None], np.sin(up)[:, None]
  upper, lifted = s * level - c * y, c * level + s * y
  # Raising turns `level` into `lifted`; what is normal to it stays.
  forwards = front + np.sin(azimuth)[:, None] * (lifted - level)
  inwards = inward - np.cos(azimuth)[:, None] * (lifted - level)
  bent = np.cos(roll)[:, None] * forwards + np.sin(roll)[:, None] * inwards
  fore = np.cos(elbow)[:, None] * upper + np.sin(elbow)[:, None] * bent
  return upper, fore


def _knee(body: Body, hip_N3, ankle_N3, forward_N3) -> np.ndarray:
  """Place the knee in front of the line from hip to ankle."""
  line_N3 = ankle_N3 - hip_N3
  length_N1 = np.linalg.norm(line_N3, axis=-1, keepdims=True)
  line_N3 = line_N3 / length_N1
  thigh, shin = body.thigh_m, body.shin_m
  along_N1 = (thigh**2 - shin**2 + length_N1**2) / (2 * length_N1)
  out_N3 = forward_N3 - (forward_N3 * line_N3).sum(-1, keepdims=True) * line_N3
  out_N3 /= np.linalg.norm(out_N3, axis=-1, keepdims=True)
  bend_N1 = np.sqrt(np.maximum(thigh**2 - along_N1**2, 0.0))
  return hip_N3 + along_N1 * line_N3 + bend_N1 * out_N3


def _pelvis_height(body: Body, wish_N, hip_offset_N23, pelvis_xz_N2, ankle_N23):
  """Return the wish, smoothly lowered until both legs reach the ankles."""
  hip_xz = pelvis_xz_N2[:, None] + hip_offset_N23[..., ::2]
  away_N2 = ((hip_xz - ankle_N23[..., ::2]) ** 2).sum(-1)
  drop_N2 = np.sqrt(np.maximum((_REACH * body.leg_m) ** 2 - away_N2, 1e-3))
  limit_N2 = ankle_N23[..., 1] + drop_N2 - hip_offset_N23[..., 1]
  heights = np.concatenate([wish_N[:, None], limit_N2], axis=-1)
  lowest_N1 = heights.min(-1, keepdims=True)
  excess = np.exp(-_SHARPNESS * (heights - lowest_N1)).sum(-1)
  return lowest_N1[:, 0] - np.log(excess) / _SHARPNESS


def articulate(
  body: Body, angle_NC: np.ndarray, weight_xz_N2, ankle_N23
) -> np.ndarray:
  """Return the joints (N, 14, 3) of core14.

  Args:
    body: the lengths.
    angle_NC: postures, see CHANNELS.
    weight_xz_N2: the ground point that carries the dancer's weight.
    ankle_N23: right and left ankle; reached exactly.
  """
  a = {name: angle_NC[:, c] for name, c in CHANNEL.items()}
  trunk = _rotation(a['turn'], a['lean'], a['tilt'])
  hips_N23 = np.stack(
    [_apply(trunk, side * body.half_hip_m, 0.0, 0.0) for side in (-1, 1)], 1
  )
  pelvis_xz = weight_xz_N2 + angle_NC[:, :2]
  wish_N = body.ankle_m + 0.985 * body.leg_m - a['sink']
  height_N = _pelvis_height(body, wish_N, hips_N23, pelvis_xz, ankle_N23)
  pelvis = np.stack([pelvis_xz[:, 0], height_N, pelvis_xz[:, 1]], axis=-1)
  neck = pelvis + _apply(trunk, 0.0, body.trunk_m, 0.0)
  head = _rotation(
    a['turn'] + 0.4 * a['twist'] + a['head_turn'],
    0.5 * a['lean'] + a['nod'],
    0.4 * a['tilt'] + a['head_tilt'],
  )
  nose = neck + _apply(head, 0.0, body.head_up_m, body.head_forward_m)
  right_arm, left_arm = (
    _arm(body, angle_NC, trunk, neck, side) for side in (-1, 1)
  )
  legs = []
  for s, side in enumerate((-1, 1)):
    hip, ankle = pelvis + hips_N23[:, s], ankle_N23[:, s]
    outwards = _apply(trunk, 0.25 * side, 0.0, 1.0)
    legs += [hip, _knee(body, hip, ankle, outwards), ankle]
  return np.stack([nose, neck, *right_arm, *left_arm, *legs], axis=1)


def _arm(body: Body, angle_NC, trunk, neck, side: int) -> list[np.ndarray]:
  """Return shoulder, elbow and wrist of the right (-1) or left (1) arm."""
  twist, slope, shrug = angle_NC[:, CHANNEL['twist'] : CHANNEL['nod']].T
  chest = trunk @ _rotation(twist, np.zeros_like(twist), slope)
  reach = body.half_shoulder_m
  offset = (side * reach * np.cos(shrug), reach * np.sin(shrug), 0.0)
  shoulder = neck + _apply(chest, *offset)
  start = CHANNEL['right_raise'] if side < 0 else CHANNEL['left_raise']
  upper, fore = _arm_directions(angle_NC[:, start : start + 4], side)
  elbow = shoulder + body.upper_arm_m * _apply(chest, *upper.T)
  wrist = elbow + body.forearm_m * _apply(chest, *fore.T)
  return [shoulder, elbow, wrist]


def eased(u: np.ndarray) -> np.ndarray:
  """Minimum-jerk progress from 0 to 1 (Flash and Hogan 1985)."""
  u = np.clip(u, 0.0, 1.0)
  return u**3 * (10.0 - 15.0 * u + 6.0 * u * u)


def between(key_s: np.ndarray, time_s: np.ndarray):
  """Return the index of the last key before each time and the share since."""
  index = np.searchsorted(key_s, time_s, 'right') - 1
  index = np.clip(index, 0, len(key_s) - 2)
  gap_s = key_s[index + 1] - key_s[index]
  return index, np.clip((time_s - key_s[index]) / gap_s, 0.0, 1.0), gap_s


def _share(value_MX: np.ndarray, index_N, share_N) -> np.ndarray:
  """Interpolate between a key and the next."""
  share = share_N.reshape(-1, *[1] * (value_MX.ndim - 1))
  return value_MX[index_N] * (1 - share) + value_MX[index_N + 1] * share


def step(body: Body, score: Score, key_s: np.ndarray, time_s: np.ndarray):
  """Walk from foothold to foothold, landing on the keys.

  Returns:
    ankle_N23: right and left ankle; never below the ground, and still between
      a landing and the next lift.
    weight_xz_N2: the ground point that carries the weight.
  """
  index, u_N, gap_s = between(key_s, time_s)
  swing_N = np.minimum(0.62, _STEP_S / gap_s)
  swung_N = np.clip((u_N - 1.0 + swing_N) / swing_N, 0.0, 1.0)
  scale = body.height_m / 1.7
  foothold = score.foothold_M22 * scale
  ground_N22 = _share(foothold, index, eased(swung_N))
  arc_N1 = np.sin(np.pi * swung_N[:, None]) ** 2
  rise_N2 = scale * score.lift_M2[index + 1] * arc_N1
  x, z = ground_N22[..., 0], ground_N22[..., 1]
  ankle_N23 = np.stack([x, body.ankle_m + rise_N2, z], axis=-1)
  left_M1 = 0.5 + 0.7 * (score.weight_M[:, None] - 0.5)
  weight_M2 = foothold[:, 0] * (1 - left_M1) + foothold[:, 1] * left_M1
  return ankle_N23, _share(weight_M2, index, eased(u_N))
