"""A stream is what is drawn of the whole clip, bit for bit."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
from noise_models import params_of
from small_config import options_with

from dance2wave.errors import InputError
from dance2wave.pose.features import MOTION_DIM
from dance2wave.pose.skeleton import SKELETONS
from dance2wave.pose.track import PoseTrack
from dance2wave.sampling import files, offline, play
from dance2wave.sampling.stream import Stream
from dance2wave.training import step

CORE14 = np.array(
  [(0.5, 0.2), (0.5, 0.3)]
  + [(x, y) for x in (0.45, 0.55) for y in (0.3, 0.4, 0.5)]
  + [(x, y) for x in (0.47, 0.53) for y in (0.5, 0.65, 0.8)]
)


@functools.lru_cache(maxsize=4)
def make_generator(engine='cpu', **changes):
  options = options_with(**changes)
  graphdef, init = step.split_model(options, MOTION_DIM)
  params = params_of(init, seed=1)
  # Weights that make the classes, the loudness and the context matter; colours
  # that are not beyond what any sound has.
  colours = params['wave'].get('timbre')
  params = jax.tree.map(lambda p: p + 0.1 * np.float32(p.ndim), params)
  if colours:
    colours['levels']['kernel'] *= 20
    params['wave']['timbre'] = colours
  draw = offline.make_draw(options)
  return offline.Generator(options, graphdef, params, draw, engine)


@functools.lru_cache(maxsize=4)
def make_track(duration_s, rate_hz=30.0, seed=0):
  """A dancer who shakes, at uneven times, and is partly lost."""
  rng = np.random.default_rng(seed)
  times = np.arange(0, duration_s, 1 / rate_hz)
  times[1:] += rng.uniform(-0.2, 0.2, len(times) - 1) / rate_hz
  swing = 0.03 * np.sin(2 * np.pi * 2 * times)[:, None, None]
  xy = CORE14 + swing + 0.005 * rng.normal(size=(len(times), 14, 2))
  confidence = (rng.random((len(times), 14, 1)) > 0.1).astype(float)
  pose = np.concatenate([xy, confidence], -1) * (confidence > 0)
  assert times[-1] <= duration_s and pose.shape[1] == len(SKELETONS['core14'])
  return PoseTrack(pose, times, 'core14', duration_s)


def whole(generator, track, seed=0, **wanted):
  dance, _ = files.to_dance(track, generator.options, **wanted)
  (audio_T,) = generator.generate([dance], seed=seed)
  return audio_T


def streamed(generator, track, cuts, **keys):
  stream = Stream(generator, skeleton=track.skeleton, **keys)
  parts = [
    stream.push(pose, time)
    for pose, time in zip(
      np.split(track.pose_FJD, cuts), np.split(track.pose_time_s, cuts)
    )
  ]
  return np.concatenate([*parts, stream.finish(track.duration_s)])


MODELS = (
  {},
  {'pose__look_ahead_s': 0.7, 'sample__lead_s': 0.05},
  {'wave__output': 'mixture', 'wave__is_levelled': False},
  {
    'wave__is_whitened': False,
    'wave__hears_pulse': False,
    'sample__style_strength': 2.0,
  },
  {'pose__encoder': 'st_gcn', 'wave__context_stack': 3},
  {'pose_rate_hz': 50, 'wave__hears_heads': False, 'pose__look_ahead_s': 1.5},
)


@pytest.mark.parametrize(
  'changes, engine',
  [
    *((changes, 'cpu') for changes in MODELS),
    (MODELS[0], 'xla'),
    *(
      pytest.param(changes, 'xla', marks=pytest.mark.slow)
      for changes in MODELS[1:]
    ),
  ],
)
def test_a_stream_is_what_is_drawn_of_the_whole_clip(changes, engine):
  generator, track = make_generator(engine, **changes), make_track(2.21)
  asked = {'seed': 3, 'style': 2, 'tempo_bpm': 130.0, 'energy_db': -12.0}
  asked['chords'] = 'C,F#m'
  expected = whole(generator, track, **asked)
  assert len(expected) == round(2.21 * 8000) and np.std(expected) > 0
  frames = range(1, len(track.pose_time_s))
  got = streamed(generator, track, frames, **asked)
  np.testing.assert_array_equal(got, expected)


def test_no_cutting_can_be_heard():
  generator, track = make_generator(), make_track(4.07)
  expected = whole(generator, track)
  rng = np.random.default_rng(1)
  for pieces in (1, 2, 5, 20, 60):
    # Repeated cuts push nothing.
    cuts = np.sort(rng.integers(0, len(track.pose_time_s) + 1, pieces - 1))
    got = streamed(generator, track, cuts)
    np.testing.assert_array_equal(got, expected, err_msg=f'{cuts}')


@pytest.mark.parametrize('duration_s', [0.05, 0.5, 1.19])
def test_a_clip_shorter_than_the_look_ahead(duration_s):
  generator, track = make_generator(), make_track(duration_s, 60.0)
  got = streamed(generator, track, [1])
  np.testing.assert_array_equal(got, whole(generator, track))


@pytest.mark.parametrize('rate_hz', [24.0, 25.0, 30.0, 40.0])
def test_the_first_sound_comes_after_the_look_ahead(rate_hz):
  """And one frame of the video, for which its poses are interpolated."""
  generator, track = make_generator(), make_track(4.0, 40.0)
  times = np.arange(len(track.pose_FJD)) / rate_hz
  track = dataclasses.replace(track, pose_time_s=times, duration_s=times[-1])
  stream = Stream(generator, skeleton='core14')
  limit_s = generator.options.pose.look_ahead_s + 1 / rate_hz + 1e-6
  made, out_of = 0, []
  for pose, time_s in zip(track.pose_FJD, track.pose_time_s):
    made += len(stream.push(pose[None], time_s[None]))
    out_of.append((time_s, made))
  first_s = next(time_s for time_s, made in out_of if made)
  assert 0.5 < first_s <= limit_s
  # From then on it keeps up: a pose frame of sound for each of the dance.
  for time_s, made in out_of:
    assert made / 8000 >= time_s - limit_s - 1 / 25


def sizes(thing, depth=0):
  """Return the number of array elements that an object holds."""
  if hasattr(thing, 'nbytes'):
    return thing.nbytes
  if isinstance(thing, dict):
    return sum(sizes(v, depth + 1) for v in thing.values())
  if isinstance(thing, (list, tuple)):
    return sum(sizes(v, depth + 1) for v in thing)
  is_ours = type(thing).__module__.startswith('dance2wave.pose')
  is_ours |= type(thing) is Stream
  return sizes(vars(thing), depth + 1) if is_ours and depth < 8 else 0


def test_memory_does_not_grow():
  generator, track = make_generator(), make_track(30.0)
  stream, held = Stream(generator, skeleton='core14'), []
  for first in range(0, len(track.pose_time_s), 5):
    part = slice(first, first + 5)
    stream.push(track.pose_FJD[part], track.pose_time_s[part])
    held.append(sizes(stream))
  middle = len(held) // 2
  assert max(held[middle:]) <= 1.02 * max(held[len(held) // 4 : middle])
  assert held[0] > 1000


def test_whole_blocks_and_single_frames_are_heard_alike():
  generator = make_generator()
  motion = np.random.default_rng(0).normal(size=(130, 2, MOTION_DIM))
  motion, valid = motion.astype(np.float32), np.ones((130, 2), bool)
  valid[100:, 1] = False
  listener = generator.listener
  expected, _ = listener.run(motion, valid, listener.start(2))
  state, parts = listener.start(2), []
  for first in range(130):
    frame = slice(first, first + 1)
    heard, state = listener.run(motion[frame], valid[frame], state)
    parts.append(heard)
  for whole_clip, got in zip(expected, zip(*parts)):
    np.testing.assert_array_equal(np.concatenate(got), whole_clip)
  context, last = expected[0], 99 + listener.look_ahead
  np.testing.assert_array_equal(context[last + 1 :, 1] - context[last, 1], 0)
  assert (context[last + 1 :, 0] != context[last, 0]).any()


def test_gains_are_interpolated():
  gain = np.array([[1.0, 4.0], [2.0, 2.0], [0.0, 2.0]], np.float32)
  np.testing.assert_allclose(
    play.gain_of_samples(gain, 2), [[1, 1.5, 2, 1], [4, 3, 2, 2]]
  )


def test_a_model_that_hears_whole_clips_is_refused():
  generator = make_generator(pose__look_ahead_s=None)
  with pytest.raises(InputError, match='look_ahead_s=None'):
    Stream(generator)


@pytest.mark.parametrize(
  'wanted',
  [
    {'style': 99},
    {'style': -2},
    {'style': 0.5},
    {'style': 'house'},
    {'tempo_bpm': 0},
    {'tempo_bpm': -5.0},
    {'tempo_bpm': np.inf},
    {'energy_db': np.inf},
  ],
)
def test_what_no_sound_has_is_not_wanted(wanted):
  ((name, value),) = wanted.items()
  with pytest.raises(InputError, match=f'^{name}={value!r}; expected'):
    Stream(make_generator(), skeleton='core14', **wanted)


@pytest.mark.parametrize('time_s', [0.0, [[0.0]], [np.inf], [np.nan]])
def test_times_of_another_kind_are_refused(time_s):
  stream = Stream(make_generator(), skeleton='core14')
  with pytest.raises(InputError, match=r'pose_time_s .*; expected'):
    stream.push(make_track(1.0).pose_FJD[:1], time_s)


def test_what_are_no_chords_is_refused_before_the_dance():
  with pytest.raises(InputError, match=r'chords=.C,H.; expected chords'):
    Stream(make_generator(), skeleton='core14', chords='C,H')


def test_bad_calls_are_refused():
  generator, track = make_generator(), make_track(1.0)
  stream = Stream(generator, skeleton='core14')
  with pytest.raises(InputError, match='no pose was pushed'):
    stream.finish(1.0)
  early = stream.push(track.pose_FJD, track.pose_time_s)
  with pytest.raises(InputError, match='does not increase'):
    stream.push(track.pose_FJD, track.pose_time_s)
  with pytest.raises(InputError, match='within the duration'):
    stream.finish(0.5)
  for duration_s in (np.inf, np.nan, 0.0, -1.0):
    with pytest.raises(InputError, match='expected a positive number of sec'):
      stream.finish(duration_s)
  assert len(early) + len(stream.finish(1.0)) == 8000
  for call in (lambda: stream.finish(1.0), lambda: stream.push(None, None)):
    with pytest.raises(InputError, match='is finished'):
      call()
