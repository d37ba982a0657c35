"""Held-out figures are means over what they are asked of, and no more."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from noise_models import fill
from small_config import options_with
from test_mesh import random_batch

from dance2wave.models.pose_transformer import NUM_HEADS, PHASE
from dance2wave.training import held_out, loop, sharding
from dance2wave.training.held_out import mean_over_batches
from dance2wave.training.losses import known, masked_mean
from dance2wave.training.programs import make_programs
from dance2wave.training.window import last_start


@pytest.fixture(scope='module')
def scored(data_dir):
  """Score a changed batch of a run of poses alone: changes -> figures."""
  options = options_with(
    dataset__data_dir=str(data_dir),
    pose__describes=('style',),
    pose__num_blocks=0,
    train__joint_steps=0,
  )
  mesh = sharding.make_mesh(*dataclasses.astuple(options.mesh))
  made = make_programs(options, mesh)
  params = jax.tree.map(jnp.zeros_like, fill(made.abstract.ema))
  batch = loop.make_pipeline(options, 'validation', mesh).batch(0)

  def score(**changes):
    placed = loop._place({**batch, **changes}, mesh)
    return jax.device_get(made.evaluate(params, placed))

  return batch, score


def test_what_is_not_known_counts_for_nothing(scored):
  batch, score = scored
  clips, frames = batch['valid_BF'].shape
  whole = score()
  assert whole['style'][1] == clips
  assert whole['beat'][1] == np.sum(batch['valid_BF'])
  labels = np.array(batch['label_BS'])
  labels[1:] = 0
  phase = np.full((clips, frames), -1, np.float32)
  partly = score(label_BS=labels, beat_phase_BF=phase)
  assert partly['style_accuracy'][1] == 1 and partly['phase'][1] == 0
  assert partly['style'][0] == pytest.approx(np.log(labels.shape[1]))
  means = mean_over_batches([whole, partly])
  assert means['style'] == pytest.approx(np.log(labels.shape[1]))
  assert means['phase'] == pytest.approx(whole['phase'][0])


def test_no_clip_is_its_own_control(scored):
  batch, score = scored
  alone = score(clip_index_B=np.zeros_like(batch['clip_index_B']))
  for name in ('beat', 'phase', 'style', 'onset'):
    assert alone[f'{name}_shuffled_pose'][1] == 0
    assert math.isnan(mean_over_batches([alone])[f'{name}_shuffled_pose'])
  pair = np.arange(len(batch['clip_index_B']))
  pair[1] = pair[0]
  mixed = score(clip_index_B=pair)
  frames = np.sum(batch['valid_BF']) - np.sum(batch['valid_BF'][1])
  assert mixed['beat_shuffled_pose'][1] == frames


def test_every_figure_counts_what_it_is_asked_of():
  options = options_with(train__batch_size=3)
  batch = random_batch(options)
  batch['beat_phase_BF'][2] = -1
  batch['label_BS'][0] = 0
  others = batch | {'valid_BF': batch['valid_BF'] & [[False], [True], [False]]}
  starts = np.asarray(last_start(options, batch)) // 2
  frames = options.window_frames - options.receptive_frames * (starts > 0)
  wanted = {
    'beat': 50 + 48,
    'onset': 48 + 46,
    'infonce': 48 + 46,
    'style': 2,
    'audio_features': 50 + 48,
    'nll': frames[1:].sum() * options.samples_per_frame,
    'nll_unlabelled': frames[1:].sum() * options.samples_per_frame,
    'of_frames': 50 + 48 + 46,
    'beat_shuffled_pose': 48,
  }
  count = jax.jit(
    lambda batch, others: held_out._with_counts(
      options, wanted, '_shuffled_pose', batch, others
    )
  )
  found = {name: int(n) for name, (_, n) in count(batch, others).items()}
  assert found == wanted


def test_batches_weigh_as_much_as_they_know():
  rows = [{'style': (0.0, 0.0)}, {'style': (1.0, 3.0)}, {'style': (0.0, 1.0)}]
  assert mean_over_batches(rows) == {'style': 0.75}


class Said(nnx.Module):
  """A model whose heads are the first values of the motion."""

  wave = None

  def listen(self, motion_BFM, valid_BF):
    return motion_BFM, motion_BFM[..., :NUM_HEADS]


@pytest.fixture
def said(monkeypatch):
  """A batch of two clips, and a function from options to figures of `Said`.

  Its likelihood is how the beats go with what it is told.
  """

  def nll(*_, context_BFC, batch, **__):
    return masked_mean(context_BFC[..., 0] * batch['beat_BF'], known(batch))

  monkeypatch.setattr(held_out, 'window_nll', nll)
  monkeypatch.setattr(held_out.sequence, 'spread', lambda wave, mesh: wave)

  def score(**changes):
    options = options_with(train__batch_size=2, **changes)
    step = held_out.make_eval_step(options, nnx.split(Said())[0], None)
    return functools.partial(step, {})

  batch = random_batch(options_with(train__batch_size=2))
  batch['valid_BF'][:] = batch['has_audio_B'][:] = True
  return batch | {'clip_index_B': np.arange(2)}, score


@pytest.mark.parametrize(
  'steps, names', [(0, ('beat', 'phase', 'onset')), (1, ('nll',))]
)
def test_the_control_is_the_dance_of_another_clip(said, steps, names):
  batch, score = said
  score = score(train__joint_steps=steps)
  own = score(batch)
  swapped = score(batch | {'motion_BFM': batch['motion_BFM'][::-1]})
  for name in names:
    control = float(own[f'{name}_shuffled_pose'][0])
    assert control == pytest.approx(float(swapped[name][0]), rel=1e-5)
    assert abs(control - own[name][0]) > 1e-3


def test_the_control_of_sound_alone_is_the_label_of_another_clip(monkeypatch):
  """Its likelihood is the number of the style that the second clip is told."""

  def nll(*_, label_BS, **__):
    return label_BS[1] @ jnp.arange(label_BS.shape[1])

  monkeypatch.setattr(held_out, 'window_nll', nll)
  monkeypatch.setattr(held_out.sequence, 'spread', lambda wave, mesh: wave)
  options = options_with(train__batch_size=3)
  batch = random_batch(options) | {'clip_index_B': np.arange(3)}
  batch['label_BS'] = np.roll(batch['label_BS'], 1, axis=1)
  graphdef = nnx.split(Said())[0]
  evaluate = functools.partial(held_out._evaluate_audio, options, graphdef)
  figures = jax.jit(lambda batch: evaluate(None, {}, batch))(batch)
  found = {name: float(value) for name, (value, _) in figures.items()}
  wanted = {'nll': 2.0, 'nll_shuffled_label': 1.0, 'nll_unlabelled': 0.0}
  assert found == wanted


def test_the_cosine_of_the_phase_is_one_however_long_the_vector(said):
  batch, score = said
  angle = 2 * np.pi * batch['beat_phase_BF']
  length = np.linspace(0.5, 5.0, 50)[None]
  batch['motion_BFM'][..., PHASE] = length * np.cos(angle)
  batch['motion_BFM'][..., PHASE + 1] = length * np.sin(angle)
  figures = score(train__joint_steps=0)(batch)
  assert float(figures['phase_cosine'][0]) == pytest.approx(1.0, abs=1e-4)
