"""Whole clips at once: motion in, waveforms out."""

import dataclasses
import os
import threading
from concurrent import futures

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dance2wave.errors import InputError
from dance2wave.models.loudness import gain_of_samples
from dance2wave.models.pose_transformer import LOUDNESS, activate_heads
from dance2wave.options import Options
from dance2wave.sampling.engines import make_engine
from dance2wave.sampling.xla import Draw

# Samples are drawn in pieces of this many pose frames, so that one compiled
# program serves clips of every length.
_PIECE_FRAMES = 50


@dataclasses.dataclass(frozen=True)
class Dance:
  """What sampling needs of one clip.

  Attributes:
    motion_FM: motion features at pose rate.
    num_samples: length of the waveform that is wanted.
    style: index of the style that is wanted, -1 to let the dance decide.
  """

  motion_FM: np.ndarray
  num_samples: int
  style: int = -1


def make_draw(options: Options, **changes) -> Draw:
  """Return how the options want samples drawn, with some of it changed."""
  chosen = {
    'temperature': options.sample.temperature,
    'top_p': options.sample.top_p,
    'guidance': options.sample.guidance,
  }
  chosen |= {k: v for k, v in changes.items() if v is not None}
  if chosen['guidance'] != 1.0 and options.train.context_dropout == 0:
    raise InputError(
      f'guidance={chosen["guidance"]} for a model that was trained with '
      'train.context_dropout=0; expected 1; train with about 0.1 to use it'
    )
  is_mixture = options.wave.output == 'mixture'
  return Draw(**chosen, levels=options.wave.levels, is_mixture=is_mixture)


def _collate(dances, num_frames):
  """Pad motion to `num_frames` (B, F, M); valid (B, F) tells which are real."""
  width = dances[0].motion_FM.shape[1]
  motion = np.zeros((len(dances), num_frames, width), np.float32)
  valid = np.zeros((len(dances), num_frames), bool)
  for row, dance in enumerate(dances):
    frames = min(len(dance.motion_FM), num_frames)
    motion[row, :frames] = dance.motion_FM[:frames]
    valid[row, :frames] = True
  return motion, valid


def _hold_last_frame(context_BFC, valid_BF):
  """Give frames after a clip's end the context of its last frame."""
  frames = np.arange(valid_BF.shape[1])[None]
  last = np.maximum(valid_BF.sum(axis=1) - 1, 0)[:, None]
  index = jnp.asarray(np.minimum(frames, last))
  return jnp.take_along_axis(context_BFC, index[..., None], axis=1)


class Generator:
  """Draw waveforms for batches of dances.

  Args:
    options: of the model.
    graphdef: of the model.
    params: its parameters.
    draw: how samples are drawn.
    engine: one of `ENGINES`.
    devices: over which clips are spread; None for all accelerators of this
      process.

  Attributes:
    engine_name: 'cpu' or 'xla'.
    num_devices: over which clips are spread.
  """

  def __init__(
    self, options, graphdef, params, draw, engine='auto', devices=None
  ):
    self._options, self._params = options, params
    self._lead_samples = round(options.sample.lead_s * options.sample_rate_hz)
    first = make_engine(engine, graphdef, params, draw)
    self.engine_name = first.name
    self._devices = list(devices or _devices())
    if first.name == 'cpu':  # it knows no devices
      del self._devices[1:]
    self.num_devices = len(self._devices)
    self._engines = [first] + [
      make_engine('xla', graphdef, jax.device_put(params, device), draw)
      for device in self._devices[1:]
    ]

    def listen(params, motion_BFM, valid_BF):
      return nnx.merge(graphdef, params).listen(motion_BFM, valid_BF)

    self._listen = jax.jit(listen)

  def _pieces(self, dances):
    """Return how many pieces cover the longest clip."""
    hop, lead = self._options.samples_per_frame, self._lead_samples
    longest = max(-(-(d.num_samples + lead) // hop) for d in dances)
    return max(1, -(-longest // _PIECE_FRAMES))

  def listen(self, dances, pieces=None):
    """Return context (B, F, C) and head logits (B, F, H) of padded dances.

    F is `pieces` whole pieces, which cover the longest clip if it is None,
    and one closing frame.
    """
    pieces = pieces or self._pieces(dances)
    motion, valid = _collate(dances, pieces * _PIECE_FRAMES + 1)
    context, heads = self._listen(self._params, motion, valid)
    return _hold_last_frame(context, valid), _hold_last_frame(heads, valid)

  def generate(self, dances, *, seed=0, progress=None, rows=None, place=0):
    """Return one float32 waveform of `num_samples` for every dance.

    Args:
      dances: list of `Dance`.
      seed: of the draws; a clip's sound depends on it and on the clip's
        place in the list, not on the other clips.
      progress: called with the share that is done after every piece.
      rows: places of the dances that are wanted; None for all.
      place: of the device that is given the first clips; they sound the same
        on any.
    """
    rows = range(len(dances)) if rows is None else rows
    if not len(rows):
      return []
    pieces = self._pieces(dances)
    dances = [dances[row] for row in rows]
    context, heads = self.listen(dances, pieces)
    style = jnp.array([dance.style for dance in dances], jnp.int32)
    root = jax.random.key(seed)
    keys = jax.vmap(lambda row: jax.random.fold_in(root, row))(jnp.array(rows))
    shares = _Shares(context.shape[1] - 1, len(dances), progress)
    groups = _groups(len(dances), self.num_devices)

    def one_group(number, group):
      which = (place + number) % self.num_devices
      inputs = jax.device_put(
        (context[group], style[group], keys[group]), self._devices[which]
      )
      with jax.default_device(self._devices[which]):
        return self._draw_group(self._engines[which], *inputs, shares)

    with futures.ThreadPoolExecutor(len(groups)) as threads:
      drawn = threads.map(one_group, range(len(groups)), groups)
      audio_BT = np.concatenate(list(drawn))
    if self._options.wave.is_levelled:
      audio_BT = self._played(audio_BT, heads)
    audio_BT = audio_BT[:, self._lead_samples :]
    return [audio_BT[i, : d.num_samples] for i, d in enumerate(dances)]

  def _played(self, levelled_BT, heads):
    """Give levelled sound the loudness that the dance asks for."""
    loudness_BF = activate_heads(heads)[..., LOUDNESS]
    gain_BT = gain_of_samples(loudness_BF, self._options.samples_per_frame)
    return np.clip(levelled_BT * np.asarray(gain_BT), -1.0, 1.0)

  def _draw_group(self, engine, context, style, keys, shares):
    """Draw a group of clips piece by piece: (B, T)."""
    state, pieces = engine.start(len(style)), []
    for first in range(0, context.shape[1] - 1, _PIECE_FRAMES):
      part = context[:, first : first + _PIECE_FRAMES + 1]
      uniform = engine.draw_uniform(keys, first, _PIECE_FRAMES)
      samples, state = engine.run(part, style, uniform, state)
      pieces.append(np.asarray(samples))
      shares.add(_PIECE_FRAMES * len(style))
    return np.concatenate(pieces, axis=1)


def _devices():
  """Return what clips are spread over; virtual processors share the cores."""
  count = 1 if jax.default_backend() == 'cpu' else None
  return jax.local_devices()[:count]


def _groups(num_clips, num_devices):
  """Split clips over devices, and over processor cores: each step is small.

  An accelerator takes all of its clips at once.
  """
  cores = os.cpu_count() if jax.default_backend() == 'cpu' else 1
  count = max(1, min(max(cores, num_devices), num_clips))
  size = -(-num_clips // count)
  return [slice(i, i + size) for i in range(0, num_clips, size)]


class _Shares:
  """Count finished frames of all groups and tell the share that is done."""

  def __init__(self, frames, clips, progress):
    self._total, self._done = frames * clips, 0
    self._progress, self._lock = progress, threading.Lock()

  def add(self, count):
    """Note that `count` frames of clips are done."""
    if self._progress is None:
      return
    with self._lock:
      self._done += count
      self._progress(self._done / self._total)
