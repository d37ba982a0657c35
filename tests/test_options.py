import pytest
from small_config import config_with

from configs import debug, wavenet, wavenet_large
from dance2wave import options
from dance2wave.errors import InputError


@pytest.mark.parametrize('module', [debug, wavenet, wavenet_large])
def test_every_config_is_accepted_and_survives_a_round_trip(module):
  parsed = options.parse(module.get_config())
  assert options.parse(options.to_dict(parsed)) == parsed


@pytest.mark.parametrize(
  'changes, words',
  [
    ({'pose_rate_hz': 30}, ('pose_rate_hz=30', 'sample_rate_hz=8000')),
    ({'sample_rate_hz': 0}, ('sample_rate_hz=0',)),
    ({'sample_rate_hz': '8000'}, ("sample_rate_hz='8000'", 'int')),
    ({'train__batch_size': 2.5}, ('train.batch_size=2.5', 'int')),
    ({'train__batch_size': 0}, ('train.batch_size=0', '> 0')),
    ({'train__max_skipped': 0}, ('train.max_skipped=0', '> 0')),
    ({'train__batch_sise': 4}, ('train.batch_sise', 'train.batch_size')),
    ({'wave__output': 'sofmax'}, ("wave.output='sofmax'", 'mixture')),
    ({'pose__encoder': 'gcn'}, ("pose.encoder='gcn'", 'st_gcn')),
    ({'wave__context_stack': -1}, ('wave.context_stack=-1', '0..12')),
    ({'wave__kernel': 1}, ('wave.kernel=1', 'at least 2')),
    ({'pose__width': 15}, ('pose.width=15', 'pose.num_heads=2')),
    ({'pose__look_ahead_s': -1.0}, ('pose.look_ahead_s=-1.0',)),
    ({'sample__best_of': 0}, ('sample.best_of=0', '1..64')),
    ({'sample__top_p': 0.0}, ('sample.top_p=0.0',)),
    ({'train__audio_crop_s': 1.99}, ('train.audio_crop_s',)),
    ({'train__audio_crop_s': 2.0}, ('train.audio_crop_s=2.0', 'at most')),
    ({'dataset__crop_s': 2.01}, ('dataset.crop_s=2.01', 'pose frames')),
    ({'mesh__data': 3}, ('train.batch_size=4', '3')),
    ({'styles': ()}, ('styles=()',)),
    ({'wave': 3}, ('wave=3', 'group')),
  ],
)
def test_bad_values_are_named_with_what_was_expected(changes, words):
  with pytest.raises(InputError) as error:
    options.parse(config_with(**changes))
  for word in words:
    assert word in str(error.value)


def test_missing_key_is_named():
  config = config_with()
  del config['train']['clip_norm']
  with pytest.raises(InputError, match='clip_norm is missing'):
    options.parse(config)


def test_integers_serve_as_floats_and_lists_as_tuples():
  parsed = options.parse(
    config_with(train__weight_decay=1, pose__stem_dilations=[1, 2])
  )
  assert parsed.train.weight_decay == 1.0
  assert parsed.pose.stem_dilations == (1, 2)


def test_receptive_field_is_covered_by_whole_frames():
  parsed = options.parse(wavenet.get_config())
  samples = sum(parsed.wave.dilations) * (parsed.wave.kernel - 1)
  frames = parsed.receptive_frames
  assert (frames - 1) * parsed.samples_per_frame < samples
  assert samples <= frames * parsed.samples_per_frame
