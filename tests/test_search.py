"""Of several draws the one that follows the dance best is kept."""

import functools
import types

import jax
import numpy as np
import pytest
from noise_models import params_of
from small_config import options_with

from dance2wave.errors import InputError
from dance2wave.pose.features import MOTION_DIM
from dance2wave.sampling import offline, search
from dance2wave.sampling.stream import Stream
from dance2wave.sampling.xla import Draw
from dance2wave.training import step

RATE_HZ, HOP = 8000, 320


def pulses(frames, num_frames=50):
  """Return (F, 1) what a rhythm head would say of strokes at some frames."""
  rhythm = np.zeros((num_frames, 1), np.float32)
  rhythm[frames] = 1.0
  return rhythm


def strokes(frames, num_frames=50, late_samples=0):
  """Return bursts of noise that begin at some frames."""
  audio = np.zeros(num_frames * HOP, np.float32)
  noise = np.random.default_rng(0).normal(size=400) * np.exp(
    -np.arange(400) / 80
  )
  for frame in frames:
    begin = frame * HOP + late_samples
    audio[begin : begin + 400] += 0.3 * noise[: len(audio) - begin]
  return audio


def test_a_sound_that_follows_scores_above_one_that_does_not():
  rhythm = pulses([5, 17, 29, 41])
  score = functools.partial(
    search.follow_score, sample_rate_hz=RATE_HZ, hop=HOP
  )
  right = score(strokes([5, 17, 29, 41]), rhythm)
  assert right > 0.8
  assert right > score(strokes([5, 17, 29]), rhythm) > 0.5
  assert score(strokes([11, 23, 35, 47]), rhythm) < 0.1
  both = np.concatenate([rhythm, pulses([11, 23, 35])], axis=1)
  assert score(strokes([5, 17, 29, 41]), both) < right
  apart = score(strokes([5, 17, 29, 41]), both + np.float32([0.0, 5.0]))
  assert apart == pytest.approx(score(strokes([5, 17, 29, 41]), both))
  assert score(np.zeros(50 * HOP, np.float32), rhythm) == 0
  assert score(strokes([5]), np.ones((50, 1), np.float32)) == 0


def judge_of(rhythm, num_frames, lead_samples=0):
  return search.Judge(
    RATE_HZ, HOP, lead_samples, rhythm[:, None], np.array([num_frames])
  )


def after_silence(judge, *sounds):
  past = np.zeros(judge.past_frames * HOP, np.float32)
  return np.stack([np.concatenate([past, s]) for s in sounds])[None]


def test_the_judge_takes_the_best_and_of_equals_the_first():
  judge = judge_of(pulses([5, 17, 29, 41]), 50)
  right, wrong = strokes([5, 17, 29, 41]), strokes([11, 23, 35])
  choose = functools.partial(judge.choose, 0)
  assert choose(after_silence(judge, wrong, wrong, right, right)) == [2]
  assert choose(after_silence(judge, right, wrong)) == [0]


def test_what_comes_after_a_clip_is_not_judged():
  rhythm = pulses([5, 17, 29, 41])
  whole, first = strokes([5, 17, 29, 41]), strokes([5, 17])
  for num_frames, best in ((50, 1), (25, 0)):
    judge = judge_of(rhythm, num_frames)
    assert judge.choose(0, after_silence(judge, first, whole)) == [best]


def test_a_sound_is_judged_when_it_is_heard_and_not_when_it_is_drawn():
  frames, late = [5, 17, 29, 41], 2 * HOP
  on_time, too_late = strokes(frames), strokes(frames, late_samples=late)
  for lead, best in ((0, 0), (late, 1)):
    judge = judge_of(pulses(frames), 50, lead)
    assert judge.choose(0, after_silence(judge, on_time, too_late)) == [best]


def test_a_block_in_the_middle_is_judged_by_its_own_frames():
  judge = judge_of(pulses([55, 67, 79, 91], 100), 100)
  right, wrong = strokes([5, 17, 29, 41]), strokes([11, 23, 35, 47])
  assert judge.choose(50, after_silence(judge, wrong, right)) == [1]


def test_what_is_heard_long_before_it_is_drawn_is_judged_with_its_block():
  judge = judge_of(pulses([42, 70], 100), 100, lead_samples=10 * HOP)
  right, wrong = strokes([2, 30]), strokes([5, 30])
  assert judge.choose(50, after_silence(judge, wrong, right)) == [1]
  ended = judge_of(pulses([5], 100), 20)
  assert ended.choose(50, after_silence(ended, wrong, right)) == [0]


def test_a_block_goes_on_from_the_winner_of_the_last_and_is_heard_after_it():
  """Two candidates of two clips; what is heard is what is drawn, negative."""
  hop, rows, heard, forked = 3, np.arange(4)[:, None], [], []
  winners = {0: [1, 0], 2: [0, 1], 4: [1, 1]}

  def drawn(first, count):
    return rows + 10.0 * np.arange(first * hop, (first + count) * hop)

  def draw(first, count, state):
    assert state == ('forked', first)
    return drawn(first, count), ('drawn', first + count)

  def choose(first, sound_BNT):
    heard.append(sound_BNT)
    return np.array(winners[first])

  def fork(state, row_B):
    forked.append(row_B.tolist())
    return 'forked', state[1]

  kept = search.draw_best(
    types.SimpleNamespace(start=lambda *_: ('forked', 0), fork=fork),
    draw,
    lambda drawn_BT, first: -drawn_BT,
    lambda row_B: forked.append(row_B.tolist()),
    types.SimpleNamespace(
      hop=hop, past_frames=1, num_frames_B=np.array([5, 4]), choose=choose
    ),
    num_frames=5,
    block_frames=2,
    best_of=2,
  )
  won = [np.add(winner, [0, 2]) for winner in winners.values()]
  blocks = [drawn(0, 2), drawn(2, 2), drawn(4, 1)]
  np.testing.assert_array_equal(
    kept, np.hstack([block[row_B] for block, row_B in zip(blocks, won)])
  )
  # What sounds is forked as what is drawn is.
  assert forked[::2] == forked[1::2] == [np.repeat(w, 2).tolist() for w in won]
  past = np.zeros((2, hop))
  for block, row_B, sound_BNT in zip(blocks, won, heard):
    np.testing.assert_array_equal(sound_BNT[..., hop:].reshape(4, -1), -block)
    for candidate in range(2):
      np.testing.assert_array_equal(sound_BNT[:, candidate, :hop], past)
    past = -block[row_B, -hop:]


def test_the_first_candidate_has_the_draws_of_the_clip_and_all_differ():
  keys = jax.random.split(jax.random.key(0), 2)
  many = jax.random.key_data(search.candidate_keys(keys, 3))
  np.testing.assert_array_equal(many[::3], jax.random.key_data(keys))
  assert len(np.unique(many, axis=0)) == 6


@functools.lru_cache(maxsize=2)
def parts(**changes):
  options = options_with(train__context_dropout=0.1, **changes)
  graphdef, init = step.split_model(options, MOTION_DIM)
  params = params_of(init)
  # Weights that make the classes, the rhythm and the context matter; colours
  # that are not beyond what any sound has.
  timbre = params['wave']['timbre']
  params = jax.tree.map(lambda p: p + 0.1 * np.float32(p.ndim), params)
  params['wave']['timbre'] = timbre
  return options, graphdef, params


@functools.lru_cache(maxsize=2)
def generator(engine):
  options, graphdef, params = parts()
  draw = offline.make_draw(options)
  return offline.Generator(options, graphdef, params, draw, engine)


def best_of(count, engine='cpu'):
  """Return the engine's generator, compiled once, to draw so many."""
  make = generator(engine)
  make.best_of = count
  return make


@functools.lru_cache(maxsize=1)
def dances():
  rng = np.random.default_rng(0)
  return [
    offline.Dance(
      rng.normal(size=(round(25 * s), MOTION_DIM)).astype(np.float32),
      round(8000 * s),
      chords=chords,
    )
    for s, chords in ((2.6, ''), (2.1, 'C,F#'), (0.7, ''))
  ]


@pytest.mark.parametrize('engine', ['cpu', 'xla'])
@pytest.mark.parametrize('guidance', [1.0, 2.0])
def test_a_forked_state_goes_on_from_where_the_other_clip_was(engine, guidance):
  _, graphdef, params = parts()
  # At a temperature at which more than one class is drawn.
  draw = Draw(guidance=guidance, temperature=20.0)
  engine = offline.make_engine(engine, graphdef, params, draw)
  rng = np.random.default_rng(0)
  width = params['wave']['context']['kernel'].shape[0]
  context = rng.normal(size=(3, 4, width)).astype(np.float32)
  uniform = rng.random((3, HOP, 3, 2)).astype(np.float32)
  style = np.full(3, -1, np.int32)
  _, state = engine.run(context[:, :3], style, uniform[:2], engine.start(3))
  row_B = np.array([2, 2, 0])
  forked = engine.fork(state, row_B)
  last, _ = engine.run(context[:, 2:], style, uniform[2:], state)
  got, _ = engine.run(context[row_B, 2:], style, uniform[2:, :, row_B], forked)
  np.testing.assert_array_equal(got, np.asarray(last)[row_B])
  assert (got[0] != got[2]).any()


@pytest.mark.parametrize(
  'engine', ['cpu', pytest.param('xla', marks=pytest.mark.slow)]
)
def test_where_the_first_wins_always_the_sound_is_that_of_one_draw(
  engine, monkeypatch
):
  plain = best_of(1, engine).generate(dances(), seed=3)
  monkeypatch.setattr(
    search.Judge, 'choose', lambda self, *_: 0 * self.num_frames_B
  )
  searched = best_of(2, engine).generate(dances(), seed=3)
  for one, other in zip(plain, searched):
    np.testing.assert_array_equal(one, other)


def test_a_clip_is_searched_the_same_in_any_company_and_again():
  make = best_of(3)
  shares = []
  together = make.generate(dances(), seed=3, progress=shares.append)
  assert shares[-1] == pytest.approx(1) and max(shares) == shares[-1]
  again = make.generate(dances(), seed=3, rows=[1])
  alone = make.generate(dances()[:1], seed=3)
  np.testing.assert_array_equal(again[0], together[1])
  np.testing.assert_array_equal(alone[0], together[0])
  plain = best_of(1).generate(dances(), seed=3)
  assert any((one != other).any() for one, other in zip(plain, together))
  assert [len(s) for s in together] == [d.num_samples for d in dances()]


def test_the_kept_sound_follows_the_dance_at_least_as_well():
  """Of clips of one block, where a greedy search is an exhaustive one."""
  clips = [
    offline.Dance(dance.motion_FM[:47], 47 * HOP) for dance in dances()[:2]
  ]
  rhythm_FBR = best_of(1).listen(clips).rhythm_FBR
  scores = {}
  for count in (1, 4):
    # The first draws of another seed may be the best of both dances.
    sounds = best_of(count).generate(clips, seed=1)
    scores[count] = [
      search.follow_score(sound, rhythm_FBR[:47, clip], RATE_HZ, HOP)
      for clip, sound in enumerate(sounds)
    ]
  gains = np.subtract(scores[4], scores[1])
  assert (gains > -0.02).all() and gains.max() > 0.02


def test_a_stream_is_refused():
  options, *model = parts(sample__best_of=2)
  make = functools.partial(
    offline.Generator, options, *model, offline.make_draw(options), 'xla'
  )
  with pytest.raises(InputError, match=r'best_of=2.*expected 1'):
    Stream(make())
  assert Stream(make(best_of=1))
