"""Several datasets as one source of training."""

import collections

import numpy as np
import pytest
from flashing import flashing_clip

from dance2wave import pipeline
from dance2wave.datasets.mixture import Mixture, as_mixture
from dance2wave.errors import InputError

RATES = {'sample_rate_hz': 8000, 'pose_rate_hz': 50}


def clips(name, number):
  return [
    {**flashing_clip(3.0, index=i), 'clip_id': f'{name}_{i}'}
    for i in range(number)
  ]


@pytest.fixture(scope='module')
def parts():
  return [clips('a', 5), clips('b', 2), clips('c', 1)]


def make(source, **changes):
  options = {'batch_size': 10, 'crop_s': 1.0, **RATES}
  return pipeline.Pipeline(source, **{**options, **changes})


def drawn(source, num_batches, **changes):
  batches = make(source, **changes)
  return np.concatenate(
    [batches.batch(i)['clip_index_B'] for i in range(num_batches)]
  )


def test_a_mixture_is_its_parts_one_after_the_other(parts):
  mixture = Mixture(parts)
  names = [clip['clip_id'] for clip in mixture]
  assert names == [clip['clip_id'] for part in parts for clip in part]
  assert mixture[-1]['clip_id'] == 'c_0' and len(mixture) == 8
  assert [names[i] for i in mixture.in_turns()][:5] == [
    'a_0',
    'b_0',
    'c_0',
    'a_1',
    'b_1',
  ]
  assert sorted(mixture.in_turns()) == list(range(8))
  with pytest.raises(IndexError):
    mixture[8]


def test_weights_decide_and_not_the_number_of_clips(parts):
  found = drawn(Mixture(parts, (1.0, 2.0, 7.0)), 20)
  shares = np.array(
    [
      np.mean(found < 5),
      np.mean((found >= 5) & (found < 7)),
      np.mean(found > 6),
    ]
  )
  np.testing.assert_allclose(shares, [0.1, 0.2, 0.7], atol=0.02)
  equal = drawn(Mixture(parts), 9)
  assert collections.Counter(np.searchsorted([5, 7], equal, 'right')) == {
    0: 30,
    1: 30,
    2: 30,
  }


def test_every_clip_of_a_part_comes_once_an_epoch(parts):
  found = drawn(Mixture(parts), 9)
  first = [i for i in found if i < 5]
  for epoch in range(4):
    assert sorted(first[5 * epoch : 5 * epoch + 5]) == [0, 1, 2, 3, 4]
  assert first[:5] != first[5:10] or first[5:10] != first[10:15]


def test_batches_are_a_pure_function_of_the_step_for_any_process(parts):
  mixture = Mixture(parts, (3, 1, 1))
  whole = make(mixture).batch(4)
  halves = [
    make(mixture, process_index=i, process_count=2).batch(4) for i in (0, 1)
  ]
  for name, value in make(mixture, cache_bytes=0).batch(4).items():
    np.testing.assert_array_equal(value, whole[name])
    np.testing.assert_array_equal(halves[0][name], whole[name][0::2])
    np.testing.assert_array_equal(halves[1][name], whole[name][1::2])


def test_a_plain_source_is_a_mixture_of_one_with_the_same_batches(parts):
  alone = as_mixture(parts[0])
  assert as_mixture(alone) is alone
  one, two = make(parts[0]).batch(3), make(alone).batch(3)
  for name in one:
    np.testing.assert_array_equal(one[name], two[name])


def test_clips_to_score_come_from_all_parts_in_turns(parts):
  found = pipeline.eval_clips(Mixture(parts), num_clips=4, **RATES)
  assert [c.clip.clip_id for c in found] == ['a_0', 'b_0', 'c_0', 'a_1']


@pytest.mark.parametrize('weights', [(1,), (1, 0, 1), (1, 1, -1)])
def test_bad_weights_are_named(parts, weights):
  with pytest.raises(InputError, match=r'dataset\.weights'):
    Mixture(parts, weights)


def test_a_part_without_audio_is_refused_where_audio_is_needed(parts):
  mute = {**parts[0][0], 'audio': np.zeros(0, np.int16)}
  with pytest.raises(InputError, match='has no audio'):
    make(Mixture([parts[0], [mute]]))
