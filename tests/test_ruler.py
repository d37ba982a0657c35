"""The ruler puts the original first and every control in its place."""

import dataclasses
import math

import numpy as np
import pytest

from dance2wave import pipeline
from dance2wave.datasets.synthetic_dance.generate import Task, make_clip
from dance2wave.metrics import ruler, whole_set

RATE_HZ = 8000


@pytest.fixture(scope='module')
def clips():
  source = [make_clip(Task(index, 'test')) for index in (0, 2, 4)]
  found = pipeline.eval_clips(source, sample_rate_hz=RATE_HZ, pose_rate_hz=50)
  return [
    ruler.Scored(
      c.clip.clip_id,
      c.audio_T,
      RATE_HZ,
      len(c.audio_T) / RATE_HZ,
      c.clip.pose_FJD,
      50,
      c.audio_T,
      c.clip.beats_s,
      c.clip.labels[0],
    )
    for c in found
  ]


def measured(clips, kind):
  sounds = ruler.control_sounds(clips, kind)
  return [ruler.measure(c, audio_T)[0] for c, audio_T in zip(clips, sounds)]


def test_original_beats_every_control_where_it_should(clips):
  rows = measured(clips, 'original')
  kinds = ('original', 'delayed', 'always_on', 'metronome_random_phase')
  controls = {kind: measured(clips, kind) for kind in kinds}
  figures = {f.key: f for f in ruler.make_figures(rows, controls)}
  for key in ('beat_f35', 'onset_f', 'motion_alignment', 'spectral_distance'):
    assert not figures[key].is_fooled, key
  assert figures['beat_f70'].value > 0.95
  assert figures['beat_f70'].low <= figures['beat_f70'].value
  assert figures['tempo_acc1'].is_fooled  # a late sound has the right tempo
  assert figures['legacy_d2mgan_hit'].is_fooled
  assert figures['spectral_distance'].value == 0
  assert 'silence' not in figures['beat_f70'].controls


def test_the_set_knows_chance_and_p(clips):
  rows, heard = zip(*[ruler.measure(c, c.audio_T) for c in clips])
  found = whole_set.of_the_set(clips, rows, heard)
  assert found['num_clips'] == 3
  assert 0 < found['beat_f35_chance'] < found['beat_f70_chance'] < 0.5
  assert found['beat_f70_other_dance'] < 0.6
  assert found['beat_f70_p'] == pytest.approx(1 / 6)  # of six orders
  assert found['phase_median_abs_ms'] < 10


def test_of_a_large_set_some_clips_are_paired(clips, monkeypatch):
  many = [
    dataclasses.replace(clips[i % 3], group=f'{i}', original_T=None)
    for i in range(9)
  ]
  rows = [{'phase_abs_ms': i} for i in range(9)]
  heard = [clip.beats_s for clip in many]
  some = [0, 4, 8]
  of_some = whole_set.of_the_set(
    *([x[i] for i in some] for x in (many, rows, heard))
  )
  monkeypatch.setattr(whole_set, '_MAX_PAIRED', 3)
  found = whole_set.of_the_set(many, rows, heard)
  assert found['num_clips'] == 9 and found['phase_median_abs_ms'] == 4
  for key in ('beat_f70_other_dance', 'beat_f70_chance', 'beat_f70_p'):
    assert found[key] == of_some[key]


def test_what_is_not_known_is_not_scored(clips):
  bare = dataclasses.replace(
    clips[0], original_T=None, beats_s=np.zeros(0), style=''
  )
  figures, heard_s = ruler.measure(bare, bare.audio_T)
  assert math.isnan(figures['beat_f70']) and math.isnan(figures['onset_f'])
  assert math.isnan(figures['style_accuracy'])
  assert math.isfinite(figures['motion_alignment']) and len(heard_s)
  assert list(ruler.control_sounds([bare, bare], 'delayed')) == [None, None]
  keys = {f.key for f in ruler.make_figures([figures], {})}
  assert 'motion_alignment' in keys and 'beat_f70' not in keys


def test_a_control_needs_what_it_is_made_of(clips):
  unlabelled = dataclasses.replace(clips[0], beats_s=np.zeros(0))
  assert list(ruler.control_sounds([unlabelled], 'shuffled')) == [None]
  made = list(ruler.control_sounds([unlabelled], 'metronome_random_phase'))
  assert made == [None]
  assert len(next(ruler.control_sounds([unlabelled], 'noise'))) == len(
    unlabelled.audio_T
  )


def test_what_belongs_together_is_no_chance_for_each_other(clips):
  cut = [
    dataclasses.replace(clip, clip_id=f'{clip.clip_id}#{k}', group=clip.clip_id)
    for clip in clips
    for k in range(3)
  ]
  shuffled = list(ruler.control_sounds(cut, 'shuffled'))
  for number, sound_T in enumerate(shuffled):
    own_T = cut[number].original_T
    num = min(len(own_T), len(sound_T))
    assert not np.array_equal(sound_T[:num], own_T[:num])
  heard = [c.beats_s for c in cut]
  rows = [{'beat_f70': 1.0, 'phase_abs_ms': 0.0} for _ in cut]
  found = whole_set.of_the_set(cut, rows, heard)
  whole = whole_set.of_the_set(clips, rows[::3], heard[::3])
  for key in ('beat_f70_other_dance', 'beat_f70_p'):
    assert found[key] == pytest.approx(whole[key])
  of_one = [dataclasses.replace(c, group='one') for c in clips]
  assert list(ruler.control_sounds(of_one, 'shuffled')) == [None] * 3


def test_copies_of_clips_make_no_interval_narrower(clips):
  rows = [{'beat_f70': value} for value in (0.2, 0.5, 0.9)]
  alone = ruler.make_figures(rows, {})
  copied = ruler.make_figures(rows * 4, {}, [c.clip_id for c in clips] * 4)
  assert copied == alone


def test_a_clip_that_was_not_measured_does_not_end_the_set(clips):
  rows = [{}, {'phase_abs_ms': 3.0}, {'phase_abs_ms': math.nan}]
  found = whole_set.of_the_set(clips, rows, [c.beats_s for c in clips])
  assert found['phase_median_abs_ms'] == 3.0


def pulses(*shifts_and_durations_s):
  """Clips of a beat each half second from a shift on, silent and bare."""
  return [
    ruler.Scored(
      clip_id=f'{number}',
      audio_T=np.zeros(1),
      sample_rate_hz=RATE_HZ,
      duration_s=duration_s,
      pose_FJD=np.zeros((1, 14, 3)),
      pose_rate_hz=50,
      beats_s=np.arange(0.1 + shift_s, duration_s, 0.5),
    )
    for number, (shift_s, duration_s) in enumerate(shifts_and_durations_s)
  ]


@pytest.mark.parametrize(
  ('shift_s', 'other_s', 'f70', 'f35'),
  [(0.25, 8.0, 0, 0), (0.05, 8.0, 1, 0), (0.0, 4.0, 1, 1)],
)
def test_other_dances_are_met_within_each_tolerance_and_the_shorter_clip(
  shift_s, other_s, f70, f35
):
  pair = pulses((0.0, 8.0), (shift_s, other_s))
  heard = [clip.beats_s for clip in pair]
  found = whole_set.of_the_set(pair, [{}, {}], heard)
  assert found['beat_f70_other_dance'] == f70
  assert found['beat_f35_other_dance'] == f35


def test_one_clip_far_out_of_phase_does_not_move_the_phase_of_the_set():
  clips = pulses(*[(0.0, 8.0)] * 3)
  rows = [{'phase_abs_ms': error_ms} for error_ms in (1.0, 2.0, 90.0)]
  found = whole_set.of_the_set(clips, rows, [c.beats_s for c in clips])
  assert found['phase_median_abs_ms'] == 2.0
