"""Sound while the dance goes on: poses in, samples out, in fixed memory.

    poses ── clean ── features ── transformer ── WaveNet ── colour, loudness ── lead ──> samples
            0.5 s     4 frames    look-ahead     1 frame

A sample comes out as soon as every pose that it depends on is in. What has
come out is what `Generator.generate` makes of the whole clip, to the last
bit, however the poses were cut.
"""  # noqa: E501

import math
import operator

import jax.numpy as jnp
import numpy as np

from dance2wave.errors import InputError
from dance2wave.media.clip import num_samples
from dance2wave.pose.clean import PoseCleaner
from dance2wave.pose.features import MOTION_DIM, FeatureStream
from dance2wave.pose.skeleton import to_core14
from dance2wave.sampling.listen import BLOCK_FRAMES, Heard
from dance2wave.sampling.play import Player
from dance2wave.sampling.wishes import check_fields


class Stream:
  """One dancer's sound; `Generator` holds what several streams share.

  Args:
    generator: a `Generator` whose model has a finite `pose.look_ahead_s`.
    skeleton: of the poses, a key of `SKELETONS`.
    seed: of the draws.
    style: index of the style that is wanted, -1 to let the dance decide.
    tempo_bpm: tempo that is wanted, NaN to let the dance decide.
    energy_db: mean level that is wanted, likewise; see `Dance`.
    chords: that are wanted, likewise.

  Raises:
    InputError: the model looks ahead to the end of a clip, the generator takes
      the best of several draws, or what is wanted is out of its range.
  """

  def __init__(
    self,
    generator,
    *,
    skeleton='blazepose33',
    seed=0,
    style=-1,
    tempo_bpm=math.nan,
    energy_db=math.nan,
    chords='',
  ):
    options = generator.options
    if options.pose.look_ahead_s is None:
      raise InputError(
        'a stream of a model with pose.look_ahead_s=None, which hears a whole '
        'clip before its first sound; expected seconds; train one with '
        '--config.pose.look_ahead_s=6.0'
      )
    if generator.best_of > 1:
      raise InputError(
        f'a stream of a generator with best_of={generator.best_of}, which '
        'hears seconds of sound before it plays them; expected 1; make it with '
        'Generator(..., best_of=1)'
      )
    check_fields(len(options.styles), style, tempo_bpm, energy_db)
    self._generator, self._skeleton = generator, skeleton
    self._cleaner = PoseCleaner(options.pose_rate_hz)
    self._features = FeatureStream(options.pose_rate_hz)
    self._keys = generator.keys(seed, [0])
    self._style = jnp.array([style], jnp.int32)
    self._state = {
      'heard': generator.listener.start(1, style, tempo_bpm, energy_db),
      'drawn': generator.engine.start(1),
    }
    # What is heard comes later than it was seen, by so many frames.
    self._num_heard = -generator.listener.look_ahead
    self._num_drawn = 0
    self._num_played = -generator.lead_samples
    self._player = Player(options, [chords])
    self._closing = None  # What is heard of the frame to be drawn next.
    self._is_finished = False

  def push(self, pose_FJD: np.ndarray, pose_time_s: np.ndarray) -> np.ndarray:
    """Take poses; return the (n,) float32 samples that they settle.

    Args:
      pose_FJD: (F, J, 3) x, y in frame heights, confidence 0 to 1.
      pose_time_s: (F,) seconds since the dance began, strictly increasing;
        any rate, constant or not.

    Raises:
      InputError: another shape, times out of order, or a finished stream.
    """
    self._check_open()
    core_FJD = to_core14(pose_FJD, self._skeleton)
    clean_FJD = self._cleaner.push(core_FJD, pose_time_s)
    return self._hear(self._features.push(clean_FJD))

  def finish(self, duration_s: float) -> np.ndarray:
    """Return the last samples: round(duration_s x sample rate) in all.

    Raises:
      InputError: no pose was pushed, one lies beyond `duration_s`, which is
        no positive number, or the stream is finished.
    """
    self._check_open()
    if not 0 < duration_s < math.inf:
      raise InputError(
        f'duration_s={duration_s}; expected a positive number of seconds; give '
        'how long the dance was'
      )
    last = self._features.push(self._cleaner.finish(duration_s))
    self._is_finished = True
    parts = [self._hear(last), self._hear(self._features.finish())]
    total = num_samples(duration_s, self._generator.options.sample_rate_hz)
    missing = self._generator.num_frames(total) + 1 - self._num_heard
    nothing = np.zeros((max(missing, 0), MOTION_DIM), np.float32)
    left = total - max(self._num_played, 0)
    parts.append(self._hear(nothing, is_valid=False)[:left])
    return np.concatenate(parts)

  def _check_open(self):
    if self._is_finished:
      raise InputError(
        'the stream is finished; expected no more poses; make a new Stream'
      )

  def _hear(self, motion_FM, is_valid=True):
    """Take motion features; return samples, block by block."""
    parts = [np.zeros(0, np.float32)]
    for first in range(0, len(motion_FM), BLOCK_FRAMES):
      motion_FBM = motion_FM[first : first + BLOCK_FRAMES, None]
      valid_FB = np.full(motion_FBM.shape[:2], is_valid)
      heard, self._state['heard'] = self._generator.listener.run(
        motion_FBM, valid_FB, self._state['heard']
      )
      early = slice(min(max(-self._num_heard, 0), len(motion_FBM)), None)
      self._num_heard += len(motion_FBM)
      parts.append(self._draw(heard.map(operator.itemgetter(early))))
    return np.concatenate(parts)

  def _draw(self, heard):
    """Draw all frames whose next one is heard; return samples (n,)."""
    if self._closing is not None:
      heard = Heard(*map(np.concatenate, zip(self._closing, heard)))
    count = len(heard.gain_FB) - 1
    if count < 0:
      return np.zeros(0, np.float32)
    self._closing = heard.map(lambda x: x[-1:])
    if count == 0:
      return np.zeros(0, np.float32)
    engine = self._generator.engine
    drawn_BT, self._state['drawn'] = engine.run(
      np.moveaxis(heard.context_FBC, 0, 1),
      self._style,
      self._uniform(count),
      self._state['drawn'],
    )
    self._num_drawn += count
    sound_BT = self._player.play(np.asarray(drawn_BT), heard)
    return self._lead(sound_BT[0])

  def _uniform(self, count):
    """Draw for the next frames, one by one: one program for every count."""
    draw, first = self._generator.engine.draw_uniform, self._num_drawn
    frames = [draw(self._keys, first + i, 1) for i in range(count)]
    return np.concatenate(frames)

  def _lead(self, audio_T):
    """Drop the samples that would be played before the dance begins."""
    early = min(max(-self._num_played, 0), len(audio_T))
    self._num_played += len(audio_T)
    return audio_T[early:]
