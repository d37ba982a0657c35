import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from noise_models import params_of

from configs import debug
from dance2wave import options as options_lib
from dance2wave.errors import InputError
from dance2wave.models import quantise
from dance2wave.models.dance2wave import num_told
from dance2wave.pose.features import MOTION_DIM
from dance2wave.sampling import draw as draw_lib
from dance2wave.sampling import offline
from dance2wave.sampling.xla import Draw, XlaEngine
from dance2wave.training import step

_CHOICE = ('temperature', 'top_p')
draw_class = jax.jit(draw_lib.draw_class, static_argnames=_CHOICE)
draw_mixture = jax.jit(draw_lib.draw_mixture, static_argnames=_CHOICE)


@functools.lru_cache(maxsize=2)
def small_model(output='softmax'):
  config = debug.get_config().to_dict()
  config['wave']['output'] = output
  config['train']['context_dropout'] = 0.1
  options = options_lib.parse(config)
  graphdef, init = step.split_model(options, MOTION_DIM)
  return options, graphdef, params_of(init)


def dances(*durations_s):
  rng = np.random.default_rng(0)
  return [
    offline.Dance(
      rng.normal(size=(int(s * 25), MOTION_DIM)).astype(np.float32),
      round(s * 8000),
    )
    for s in durations_s
  ]


def generator(output='softmax', **changes):
  options, graphdef, params = small_model(output)
  draw = offline.make_draw(options, **changes)
  return offline.Generator(options, graphdef, params, draw)


@pytest.mark.parametrize('output', ['softmax', 'mixture'])
@pytest.mark.parametrize('guidance', [1.0, 2.0])
def test_samples_have_the_wanted_length_and_range(output, guidance):
  sounds = generator(output, guidance=guidance).generate(dances(0.3, 1.234))
  assert [len(s) for s in sounds] == [2400, 9872]
  for sound in sounds:
    assert sound.dtype == np.float32
    assert np.isfinite(sound).all()
    assert np.abs(sound).max() <= 1.0


def test_same_seed_same_samples_and_another_seed_others():
  make = generator()
  first, again, other = (
    make.generate(dances(0.5), seed=seed)[0] for seed in (3, 3, 4)
  )
  np.testing.assert_array_equal(first, again)
  assert (first != other).any()


@pytest.mark.parametrize('engine', ['xla', 'cpu'])
def test_sounds_do_not_depend_on_the_number_of_devices(engine):
  options, graphdef, params = small_model()
  draw = offline.make_draw(options)
  clips, sounds = dances(0.5, 0.9, 0.3), {}
  for count in (1, 3):
    devices = jax.local_devices()[:count]
    make = offline.Generator(options, graphdef, params, draw, engine, devices)
    sounds[count] = make.generate(clips)
  for one, many in zip(sounds[1], sounds[3]):
    np.testing.assert_array_equal(one, many)


def test_the_cpu_engine_draws_on_the_processor_beside_an_accelerator():
  """Whose part is taken by a device that has all that is not said to go."""
  options, graphdef, params = small_model()
  processor, accelerator = jax.local_devices()[0], jax.local_devices()[3]
  draw, clips, seen = offline.make_draw(options), dances(0.3, 0.2), set()
  expected = offline.Generator(options, graphdef, params, draw, 'cpu').generate(
    clips
  )
  with jax.default_device(accelerator):
    params = jax.device_put(params, accelerator)
    make = offline.Generator(
      options, graphdef, params, draw, 'cpu', [accelerator]
    )
    run = make.engine.run

    def noting(*inputs):
      seen.update(*(x.devices() for x in inputs if isinstance(x, jax.Array)))
      return run(*inputs)

    make.engine.run = noting
    sounds = make.generate(clips)
  assert seen == {processor}
  for sound, other in zip(sounds, expected, strict=True):
    np.testing.assert_array_equal(sound, other)


def test_processes_that_share_clips_draw_what_one_does():
  make, clips = generator(), dances(0.5, 0.9, 0.3)
  together = make.generate(clips)
  apart = make.generate(clips, rows=[0, 2]) + make.generate(clips, rows=[1])
  for one, other in zip([together[i] for i in (0, 2, 1)], apart):
    np.testing.assert_array_equal(one, other)
  assert make.generate(clips, rows=[]) == []


def test_a_clip_sounds_the_same_in_any_company():
  make = generator()
  alone = make.generate(dances(0.5))[0]
  together = make.generate(dances(0.5, 1.7, 0.9, 2.2, 1.1))[0]
  np.testing.assert_array_equal(alone, together)


def test_what_is_wanted_of_a_clip_is_wanted_of_no_other():
  make, plain = generator(), dances(0.08, 0.12)
  loud, soft = (
    dataclasses.replace(
      clip, style=style, tempo_bpm=tempo, energy_db=energy, chords=chords
    )
    for clip, style, tempo, energy, chords in zip(
      plain, (2, 0), (180.0, 70.0), (-6.0, -40.0), ('C', '')
    )
  )
  _, sound = make.generate([loud, soft])
  np.testing.assert_array_equal(sound, make.generate([plain[0], soft])[1])
  assert (sound != make.generate(plain)[1]).any()


def test_chords_are_heard_of_the_clip_of_which_they_are_wanted():
  make, plain = generator(), dances(0.2, 0.2)
  wanted = [dataclasses.replace(plain[0], chords='Am,F'), plain[1]]
  (with_chords, other), before = make.generate(wanted), make.generate(plain)
  np.testing.assert_array_equal(other, before[1])
  assert (with_chords != before[0]).mean() > 0.9


def test_clips_that_are_drawn_together_may_sound_as_each_does_alone():
  make, clips = generator(), dances(0.5, 1.7, 0.9)
  together = make.generate(clips, as_if_alone=True)
  for clip, sound in zip(clips, together):
    np.testing.assert_array_equal(sound, make.generate([clip])[0])
  assert (together[1] != make.generate(clips)[1]).any()


def test_clips_that_should_sound_as_alone_are_heard_alone(monkeypatch):
  """Larger models round otherwise in larger batches."""
  make, sizes = generator(), []
  listen = make.listen

  def noted(some, num_samples):
    sizes.append(len(some))
    return listen(some, num_samples=num_samples)

  monkeypatch.setattr(make, 'listen', noted)
  for as_if_alone in (False, True):
    make.generate(dances(0.3, 0.5), as_if_alone=as_if_alone)
  assert sizes == [2, 1, 1]


def test_what_was_heard_last_is_held_after_the_end():
  heard = generator().listen(dances(0.4), num_samples=8000)
  for value_FB in (heard.context_FBC, heard.gain_FB, heard.rhythm_FBR):
    assert len(value_FB) > 25 and (value_FB[9] != value_FB[8]).any()
    held = np.broadcast_to(value_FB[9], value_FB[10:].shape)
    np.testing.assert_array_equal(value_FB[10:], held)


def test_the_state_goes_on_where_it_stopped():
  options, graphdef, params = small_model()
  engine = XlaEngine(graphdef, params, Draw())
  width = options.pose.width + num_told(True, True)
  context = jax.random.normal(jax.random.key(1), (2, 9, width))
  style = jnp.array([0, -1])
  uniform = jax.random.uniform(jax.random.key(2), (8, 320, 2, 2))
  whole, _ = engine.run(context, style, uniform, engine.start(2))
  first, state = engine.run(context[:, :4], style, uniform[:3], engine.start(2))
  second, _ = engine.run(context[:, 3:], style, uniform[3:], state)
  np.testing.assert_array_equal(whole, jnp.concatenate([first, second], axis=1))


def test_drawn_samples_score_as_the_model_says():
  """Free-running draws, scored by the whole-sequence model, are typical.

  The mean log probability of the model's own draws is minus its entropy, and
  a step that disagreed with the whole sequence would be caught out here.
  """
  options, graphdef, params = small_model()
  engine = XlaEngine(graphdef, params, Draw())
  model = nnx.merge(graphdef, params)
  context = jax.random.normal(
    jax.random.key(1), (4, 6, options.pose.width + num_told(True, True))
  )
  style = jnp.full(4, -1)
  keys = jax.random.split(jax.random.key(5), 4)
  uniform = engine.draw_uniform(keys, 0, 5)
  audio, _ = engine.run(context, style, uniform, engine.start(4))

  @jax.jit
  def surprise(audio, context):
    bent = quantise.bend(audio)
    past = jnp.pad(bent, ((0, 0), (1, 0)))[:, :-1]
    label = jnp.zeros((4, model.wave.num_labels))
    logits = model.wave(past, model.wave.condition(context, label))
    log_p = jax.nn.log_softmax(logits)
    codes = jnp.round((bent + 1) / 2 * 255).astype(jnp.int32)
    picked = jnp.take_along_axis(log_p, codes[..., None], -1).mean()
    entropy = -(jnp.exp(log_p) * log_p).sum(-1).mean()
    return picked + entropy

  assert abs(float(surprise(audio, context))) < 0.03


def test_guidance_needs_a_model_that_knows_no_context():
  options = options_lib.parse(debug.get_config())
  with pytest.raises(InputError, match='context_dropout'):
    offline.make_draw(options, guidance=2.0)


def test_temperature_near_zero_takes_the_most_probable():
  logits = jax.random.normal(jax.random.key(0), (50, 12))
  uniform = jax.random.uniform(jax.random.key(1), (50, 2))
  drawn = draw_class(logits, uniform, temperature=1e-4, top_p=1.0)
  np.testing.assert_array_equal(drawn, jnp.argmax(logits, -1))


@pytest.mark.parametrize(
  'p',
  [
    [0.5, 0.3, 0.15, 0.05],
    [1.0],
    # Seven are drawn one after another; of 24 three leave each remainder by 8.
    *(np.random.default_rng(0).dirichlet(np.ones(n)) for n in (7, 24)),
  ],
)
def test_draws_follow_the_distribution(p):
  number = np.arange(20000)
  even = (number + 0.5) / 20000, number * (np.sqrt(1.25) - 0.5) % 1
  uniform = np.float32(np.stack(even, axis=1))
  logits = jnp.log(jnp.array(p))
  tiled = jnp.broadcast_to(logits, (20000, len(p)))
  drawn = draw_class(tiled, uniform, temperature=1.0, top_p=1.0)
  share = np.bincount(np.asarray(drawn), minlength=len(p)) / 20000
  np.testing.assert_allclose(share, p, atol=2e-3)


@pytest.mark.parametrize('levels', [2, 7, 24, 200, 256, 1024])
def test_every_class_has_one_place_in_the_order_of_drawing(levels):
  order_CR = draw_lib.classes_in_order(levels)
  assert sorted(order_CR.ravel()) == list(range(levels))
  columns = len(order_CR)
  assert columns == draw_lib.num_columns(levels)
  assert (order_CR % columns == np.arange(columns)[:, None]).all()


def test_outputs_that_are_a_little_off_seldom_draw_another_class():
  """A slope of the logits, which moves the mean of what is drawn by 0.3."""
  classes = np.arange(256)
  logits = -0.5 * ((classes - 120.3) / 20) ** 2
  uniform = np.random.default_rng(0).random((4000, 2), np.float32)
  drawn = [
    np.asarray(
      draw_class(
        jnp.broadcast_to(jnp.float32(given), (len(uniform), 256)),
        uniform,
        temperature=1.0,
        top_p=1.0,
      )
    )
    for given in (logits, logits + 0.3 / 20**2 * classes)
  ]
  assert 0 < np.mean(drawn[0] != drawn[1]) < 0.03  # In one step it is 0.3.


@pytest.mark.parametrize(
  'top_p, kept', [(0.4, [1.0, 0, 0, 0]), (0.79, [5 / 8, 3 / 8, 0, 0])]
)
def test_top_p_keeps_the_smallest_set_with_enough_mass(top_p, kept):
  probabilities = jnp.array([[0.5, 0.3, 0.15, 0.05]])
  np.testing.assert_allclose(
    draw_lib.keep_top_p(probabilities, top_p)[0], kept, atol=1e-6
  )


def test_mixture_draws_follow_their_density():
  outputs = jnp.array([[2.0, 0.0, -0.5, 0.4, -3.0, -2.5]])
  uniform = jax.random.uniform(jax.random.key(0), (20000, 2))
  drawn = draw_mixture(
    jnp.broadcast_to(outputs, (20000, 6)), uniform, temperature=1.0, top_p=1.0
  )
  grid = 2 * jnp.arange(256) / 255 - 1
  density = jnp.exp(
    quantise.mixture_log_prob(jnp.broadcast_to(outputs, (256, 6)), grid)
  )
  assert abs(float(density.sum()) - 1) < 1e-3
  cumulative = np.cumsum(density)
  observed = np.searchsorted(np.sort(drawn), grid + 1 / 255) / 20000
  np.testing.assert_allclose(observed, cumulative, atol=0.015)


def test_an_unwanted_style_is_not_heard_and_a_wanted_one_is():
  options, graphdef, params = small_model()
  params = jax.tree.map(jnp.copy, params)
  style = params['wave']['style']
  params['wave']['style'] = style.at[1:].add(
    jax.random.normal(jax.random.key(3), style[1:].shape)
  )
  make = offline.Generator(
    options, graphdef, params, offline.make_draw(options)
  )
  (dance,) = dances(0.5)
  plain, styled = (
    make.generate([offline.Dance(dance.motion_FM, dance.num_samples, s)])[0]
    for s in (-1, 2)
  )
  assert (plain != styled).any()


def test_a_lead_plays_the_same_sound_earlier():
  options, graphdef, params = small_model()
  draw = offline.make_draw(options)

  def play(lead_s, *durations_s):
    sample = dataclasses.replace(options.sample, lead_s=lead_s)
    led = dataclasses.replace(options, sample=sample)
    make = offline.Generator(led, graphdef, params, draw)
    return make.generate(dances(*durations_s))

  late, early = play(0.0, 2.02, 0.7), play(0.02, 2.02, 0.7)
  for before, after in zip(late, early):
    assert len(after) == len(before)
    np.testing.assert_array_equal(after[:-160], before[160:])
    assert np.isfinite(after).all() and after[-160:].any()
