import itertools
import threading
import time

import numpy as np
import pytest
import tensorflow_datasets as tfds
from flashing import flash_errors, flashing_clip

from dance2wave import pipeline
from dance2wave.datasets import augment, clips, opening
from dance2wave.errors import InputError

tfds.disable_progress_bar()

STYLES = ('house', 'pop')


def make(source, **changes):
  options = {
    'batch_size': 4,
    'crop_s': 2.0,
    'sample_rate_hz': 8000,
    'pose_rate_hz': 50,
    'styles': STYLES,
  }
  return pipeline.Pipeline(source, **{**options, **changes})


@pytest.fixture(scope='module')
def source():
  rates = (15.0, 25.0, 29.97, 60.0, None)
  return [
    flashing_clip(
      6.0 + 0.3 * i, rates[i % len(rates)], index=i, first_s=0.5 + 0.05 * i
    )
    for i in range(7)
  ]


def assert_equal(one, two):
  assert one.keys() == two.keys()
  for name, value in one.items():
    np.testing.assert_array_equal(value, two[name], err_msg=name)


AUGMENTATIONS = {
  'none': augment.NONE,
  'mirror': augment.Augmentation(1, 0, 0, 0, 0, 0),
  'rotation': augment.Augmentation(0, 15, 0, 0, 0, 0),
  'scale': augment.Augmentation(0, 0, 0.3, 0, 0, 0),
  'noise': augment.Augmentation(0, 0, 0, 0.02, 0, 0),
  'joint_dropout': augment.Augmentation(0, 0, 0, 0, 0.02, 0),
  'rate_change': augment.Augmentation(0, 0, 0, 0, 0, 0.15),
}


@pytest.mark.parametrize('name', AUGMENTATIONS)
def test_the_flash_stays_at_the_click(source, name, monkeypatch):
  monkeypatch.setattr(
    pipeline, 'motion_features', lambda pose, _: pose.reshape(len(pose), -1)
  )
  batches = make(source, augmentation=AUGMENTATIONS[name], batch_size=14)
  batch = batches.batch(0)
  errors = []
  for row in range(14):
    found, clicks = flash_errors(batch, row, 50, 8000)
    errors.extend(found)
    beats = batch['beats_BK'][row][: batch['num_beats_B'][row]]
    for click in clicks[(clicks > 0.1) & (clicks < 1.9)]:
      # A click's centre lies 5 ms after the beat that starts it.
      assert np.min(np.abs(beats + 0.005 - click)) < 0.002
      frame = round((click - 0.005) * 50)
      assert batch['beat_BF'][row][frame - 1 : frame + 2].max() == 1
      onset = batch['onset_BF'][row]
      assert onset[frame - 1 : frame + 2].max() > 0.5
  errors = np.array(errors)
  assert len(errors) > 14
  if name == 'joint_dropout':  # a held arm may hide a flash, not move it
    errors = np.sort(np.abs(errors))[: int(0.9 * len(errors))]
  assert np.abs(errors).max() <= 1 / 50, errors


def test_batches_have_the_promised_shapes(source):
  batch = make(source, augmentation=augment.Augmentation()).batch(3)
  frames, samples = 100, 16000
  per_frame = (
    'beat',
    'half_beat',
    'beat_phase',
    'onset',
    'level',
    'loudness',
  )
  for name in per_frame:
    values = batch[f'{name}_BF']
    assert values.shape == (4, frames) and values.dtype == np.float32
    assert values.min() >= (-1 if name == 'beat_phase' else 0)
    assert values.max() <= 1
  assert batch['audio_BT'].shape == (4, samples)
  assert batch['audio_BT'].dtype == np.float32
  assert np.abs(batch['audio_BT']).max() <= 1
  assert batch['motion_BFM'].shape[:2] == (4, frames)
  assert batch['motion_BFM'].dtype == np.float32
  assert batch['valid_BF'].all() and batch['valid_BF'].dtype == bool
  assert batch['has_audio_B'].all()
  for row, index in enumerate(batch['clip_index_B']):
    style = ('pop', 'house', 'polka')[index % 3]
    label = [float(style == word) for word in STYLES]
    assert batch['label_BS'][row].tolist() == label
    inside = batch['beats_BK'][row] >= 0
    assert inside.sum() == batch['num_beats_B'][row] > 0
  assert batch['num_beats_B'].dtype == np.int32


def test_batch_is_a_pure_function_of_seed_and_step(source):
  options = {'augmentation': augment.Augmentation(), 'seed': 5}
  one, two = make(source, **options), make(source, cache_bytes=0, **options)
  for step in (7, 0, 7, 3):
    assert_equal(one.batch(step), two.batch(step))
  other = make(source, augmentation=augment.Augmentation(), seed=6).batch(7)
  assert not np.array_equal(other['audio_BT'], one.batch(7)['audio_BT'])
  assert not np.array_equal(one.batch(8)['audio_BT'], one.batch(7)['audio_BT'])


def test_processes_share_the_global_batch(source):
  options = {'augmentation': augment.Augmentation(), 'batch_size': 6}
  for step in (0, 5):
    whole = make(source, **options).batch(step)
    parts = [
      make(source, process_index=i, process_count=3, **options).batch(step)
      for i in range(3)
    ]
    merged = {
      name: np.stack([part[name] for part in parts], axis=1).reshape(
        value.shape
      )
      for name, value in whole.items()
    }
    assert_equal(whole, merged)


def test_every_epoch_has_every_clip_once_in_a_new_order(source):
  batches = make(source, batch_size=7)
  epochs = [batches.batch(step)['clip_index_B'].tolist() for step in range(4)]
  assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
  assert len({tuple(epoch) for epoch in epochs}) > 1


def test_a_clip_looks_different_each_time(source):
  batch = make(source[:1], augmentation=augment.Augmentation()).batch(0)
  rows = {row.tobytes() for row in batch['motion_BFM']}
  assert len(rows) == len(batch['motion_BFM'])


def test_iterate_resumes_anywhere_and_ends_its_thread(source):
  batches = make(source, augmentation=augment.Augmentation())
  straight = list(itertools.islice(batches.iterate(), 6))
  for step, batch in enumerate(straight):
    assert_equal(batch, batches.batch(step))
  for start in (0, 2, 5):
    iterator = batches.iterate(start)
    for step, batch in zip(range(start, 6), iterator):
      assert_equal(batch, straight[step])
    iterator.close()
  names = [thread.name for thread in threading.enumerate()]
  assert not [name for name in names if name.startswith('dance2wave')]


def test_an_error_in_the_background_comes_out(source):
  mute = {**source[0], 'audio': np.zeros(0, np.int16), 'clip_id': 'mute'}
  iterator = make([source[1], mute], batch_size=2).iterate()
  with pytest.raises(InputError, match='clip mute has no audio'):
    next(iterator)


def test_short_clips_are_padded_and_marked():
  short = flashing_clip(1.5, first_s=0.4)
  batch = make([short], batch_size=1).batch(0)
  valid = batch['valid_BF'][0]
  assert valid[:75].all() and not valid[75:].any()
  assert not batch['audio_BT'][0, 75 * 160 :].any()
  assert batch['audio_BT'][0, : 75 * 160].any()
  assert (batch['beat_phase_BF'][0, 75:] == -1).all()
  for name in ('beat_BF', 'half_beat_BF', 'onset_BF', 'level_BF'):
    assert not batch[name][0, 75:].any()
  clip = clips.ready_clip(short, sample_rate_hz=8000, pose_rate_hz=50)
  crop = clips.crop(clip, 0, 100, pose_rate_hz=50)
  assert not crop.pose_FJD[75:, :, 2].any()
  np.testing.assert_array_equal(
    crop.pose_FJD[80, :, :2], clip.pose_FJD[-1, :, :2]
  )


def test_beats_after_the_end_of_a_short_clip_are_not_asked_for():
  short = {**flashing_clip(1.5), 'beats_s': np.arange(0.2, 2.0, 0.2)}
  batch = make([short], batch_size=1).batch(0)
  assert batch['num_beats_B'] == 7
  np.testing.assert_allclose(batch['beats_BK'][0, :7], short['beats_s'][:7])
  assert (batch['beats_BK'][0, 7:] == -1).all()
  for name in ('beat_BF', 'half_beat_BF'):
    assert batch[name][0, :75].any() and not batch[name][0, 75:].any()
  assert (batch['beat_phase_BF'][0, :75] >= 0).all()
  assert (batch['beat_phase_BF'][0, 75:] == -1).all()


def test_crops_begin_anywhere_up_to_the_last_start():
  clip = flashing_clip(2.04)
  rng = np.random.default_rng(0)
  clip['audio'] = rng.integers(-9999, 9999, len(clip['audio'])).astype(np.int16)
  batch = make([clip], batch_size=40).batch(0)
  assert batch['valid_BF'].all()
  assert len({row.tobytes() for row in batch['audio_BT']}) == 3


def test_silence_gives_zero_targets_and_no_warning(source):
  silent = {**source[0], 'audio': np.zeros_like(source[0]['audio'])}
  silent['beats_s'] = np.zeros(0)
  batch = make([silent], augmentation=augment.Augmentation()).batch(0)
  for name in ('audio_BT', 'onset_BF', 'level_BF', 'beat_BF', 'num_beats_B'):
    assert not batch[name].any()
  assert (batch['beat_phase_BF'] == -1).all()


def test_sources_without_audio_or_pose(source):
  mute = {**source[0], 'audio': np.zeros(0, np.int16)}
  with pytest.raises(InputError, match='clip flash_0 has no audio'):
    make([mute])
  batch = make([mute], need_audio=False).batch(0)
  assert not batch['has_audio_B'].any() and not batch['audio_BT'].any()
  blind = {**source[0], 'pose': np.zeros((0, 14, 3), np.float32)}
  blind['pose_time_s'] = np.zeros(0)
  assert np.isfinite(make([blind]).batch(0)['motion_BFM']).all()


@pytest.mark.parametrize(
  'changes, message',
  [
    ({'pose_rate_hz': 30}, 'pose_rate_hz'),
    ({'crop_s': 0.011}, 'crop_s is 0.011'),
    ({'crop_s': 0.0}, 'crop_s is 0.0'),
    ({'batch_size': 3, 'process_count': 2}, 'batch_size is 3'),
    ({'process_index': 1}, 'process_index is 1'),
  ],
)
def test_bad_options_are_named(source, changes, message):
  with pytest.raises(InputError, match=message):
    make(source, **changes)


def test_sources_that_cannot_be_opened(tmp_path):
  for name, message in (
    ('nope', "dataset is 'nope'"),
    ('synthetic_dance/nope', 'one of: default'),
    (
      'synthetic_dance/debug',
      r'datasets\.build synthetic_dance/debug --data_dir=',
    ),
    ('clip_folder', r'build clip_folder --data_dir=.* --manual_dir='),
  ):
    with pytest.raises(InputError, match=message):
      opening.open_source(name, str(tmp_path))


def test_eval_clips_are_whole_and_in_order(source):
  found = list(
    pipeline.eval_clips(
      source, sample_rate_hz=8000, pose_rate_hz=50, num_clips=3
    )
  )
  assert [e.clip.clip_id for e in found] == ['flash_0', 'flash_1', 'flash_2']
  for example, item in zip(source, found):
    frames = int(np.floor(example['duration_s'] * 50 + 1e-6))
    assert len(item.motion_FM) == frames
    assert len(item.audio_T) == frames * 160
    np.testing.assert_array_equal(item.clip.beats_s, example['beats_s'])


def test_a_batch_from_memory_is_quick():
  source = [flashing_clip(8.0, index=i) for i in range(4)]
  batches = make(
    source, batch_size=16, crop_s=6.0, augmentation=augment.Augmentation()
  )
  batches.batch(0)
  spent = []
  for step in range(1, 6):
    start = time.process_time()
    batches.batch(step)
    spent.append(time.process_time() - start)
  assert min(spent) < 0.2  # 0.04 s measured on two cores at load 6
