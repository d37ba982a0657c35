"""Held-out figures are means over what they are asked of, and no more."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from noise_models import fill
from small_config import options_with

from dance2wave.training import loop, sharding
from dance2wave.training.held_out import mean_over_batches
from dance2wave.training.programs import make_programs


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


def test_batches_weigh_as_much_as_they_know():
  rows = [{'style': (0.0, 0.0)}, {'style': (1.0, 3.0)}, {'style': (0.0, 1.0)}]
  assert mean_over_batches(rows) == {'style': 0.75}
