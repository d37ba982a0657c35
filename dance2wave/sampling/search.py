"""Best of several draws: of all that the model might play, what fits the dance.

    block       0           1           2
    candidate 0 ----+   +---------+   +----> kept
    candidate 1 ----|-->+         +-->|
    candidate 2 ----+   +---------+   +----

A block-wise greedy search (Tendulkar et al. 2020, 'Feel the Music'). All
candidates of a block go on from the winner of the block before it, and differ
in their draws. What they are judged by is what the pose transformer itself
says of the dance's beats and onsets: no label and no outside judge.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

BLOCK_S = 2.0
# A block is heard after so many frames of what was played before it, so that
# its first onsets have something to rise from.
_PAST_S = 0.2


def candidate_keys(keys_B, best_of):
  """Return the keys (B x N,) of the draws of all candidates of all clips.

  Those of a clip stand together; the first one's are the clip's own. Frames
  are counted from 0 in what is folded in, and candidates from the other end.
  """
  others = jnp.array([2**32 - n for n in range(1, best_of)], jnp.uint32)

  def of_clip(key):
    more = jax.vmap(lambda number: jax.random.fold_in(key, number))(others)
    return jnp.concatenate([key[None], more])

  return jax.vmap(of_clip)(keys_B).reshape(-1)


def follow_score(audio_T, rhythm_FR, sample_rate_hz, hop):
  """Return how well the onsets of a sound follow activations, from -1 to 1.

  The mean over activations of Pearson's correlation with the spectral flux,
  which is what the onset head was taught; 0 where either does not change.

  Args:
    audio_T: F x hop samples.
    rhythm_FR: activations of R rhythm heads, at pose frames.
    sample_rate_hz: of the sound.
    hop: samples in a pose frame.
  """
  from dance2wave.datasets.targets import onset_flux  # 0.5 s of TFDS

  if not len(rhythm_FR):
    return 0.0
  flux_F = onset_flux(audio_T, sample_rate_hz, hop).astype(np.float64)
  flux_F -= flux_F.mean()
  rhythm_FR = rhythm_FR - rhythm_FR.mean(axis=0, dtype=np.float64)
  size_R = np.sqrt((flux_F**2).sum() * (rhythm_FR**2).sum(axis=0))
  product_R = (flux_F[:, None] * rhythm_FR).sum(axis=0)
  return float(np.where(size_R > 1e-9, product_R / (size_R + 1e-12), 0).mean())


@dataclasses.dataclass(frozen=True)
class Judge:
  """Choose the best candidate of each block of each clip.

  Attributes:
    sample_rate_hz: of the sound.
    hop: samples in a pose frame.
    lead_samples: the sound is played so much earlier than it was drawn.
    rhythm_FBR: activations of the rhythm heads.
    num_frames_B: frames that each clip has; what comes later is not judged.
  """

  sample_rate_hz: int
  hop: int
  lead_samples: int
  rhythm_FBR: np.ndarray
  num_frames_B: np.ndarray

  @property
  def past_frames(self) -> int:
    """Frames before a block that are heard with it."""
    rate_hz = self.sample_rate_hz / self.hop
    return max(round(_PAST_S * rate_hz), -(-self.lead_samples // self.hop) + 1)

  def choose(self, first, sound_BNT):
    """Return which candidate is best for each clip: (B,).

    Args:
      first: frame at which the block begins.
      sound_BNT: candidates as they are heard, `past_frames` before it and the
        block; of two that are as good the first is taken.
    """
    begin = first - self.past_frames
    return np.array(
      [
        np.argmax([self._score(clip, begin, sound_T) for sound_T in sound_NT])
        for clip, sound_NT in enumerate(sound_BNT)
      ]
    )

  def _score(self, clip, begin, sound_T):
    """Score the frames of one candidate that are in the clip and complete."""
    complete = (len(sound_T) - self.lead_samples) // self.hop
    low = max(0, begin)
    high = max(low, min(begin + complete, self.num_frames_B[clip]))
    at = [self.lead_samples + (f - begin) * self.hop for f in (low, high)]
    return follow_score(
      sound_T[slice(*at)],
      self.rhythm_FBR[low:high, clip],
      self.sample_rate_hz,
      self.hop,
    )


def draw_best(
  engine, draw, play, fork, judge, *, num_frames, block_frames, best_of, cores=1
):
  """Draw clips block by block, each the best of its candidates: (B, T).

  Args:
    engine: whose states are followed.
    draw: `draw(first, count, state)` draws `count` frames from `first` on of
      all candidates: (B x N, T) and the state.
    play: `play(drawn_BT, first)` makes of these what is heard.
    fork: `fork(row_B)` lets what plays go on from other candidates.
    judge: a `Judge`.
    num_frames: of the longest clip.
    block_frames: frames of a block.
    best_of: N candidates of each clip.
    cores: that may draw them.
  """
  clips, past = len(judge.num_frames_B), judge.past_frames * judge.hop
  row_B, state = np.arange(clips), engine.start(clips * best_of, cores)
  before_BT, kept = np.zeros((clips, past), np.float32), []
  for first in range(0, num_frames, block_frames):
    count = min(block_frames, num_frames - first)
    drawn_BT, state = draw(first, count, state)
    heard_BNT = play(drawn_BT, first).reshape(clips, best_of, -1)
    before_BNT = np.repeat(before_BT[:, None], best_of, axis=1)
    heard_BNT = np.concatenate([before_BNT, heard_BNT], axis=2)
    best_B = judge.choose(first, heard_BNT)
    before_BT = heard_BNT[row_B, best_B, -past:]
    best_B += row_B * best_of
    kept.append(drawn_BT[best_B])
    winners = np.repeat(best_B, best_of)
    state = engine.fork(state, winners)
    fork(winners)
  return np.concatenate(kept, axis=1)
