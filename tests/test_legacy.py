"""Published scores: worked by hand, and fooled as their docstrings say."""

import numpy as np
import pytest

from dance2wave.errors import InputError
from dance2wave.metrics import kinematic, legacy
from dance2wave.metrics.librosa_loading import load_librosa

RATE_HZ = 22050


def clicks(times_s, duration_s, rate_hz=RATE_HZ):
  """Short decaying tones in silence."""
  audio_T = np.zeros(round(duration_s * rate_hz), np.float32)
  decay_T = np.arange(rate_hz // 20) / rate_hz
  click_T = np.exp(-decay_T * 90) * np.sin(2 * np.pi * 1000 * decay_T)
  for time_s in times_s:
    begin = round(time_s * rate_hz)
    end = min(begin + len(click_T), len(audio_T))
    audio_T[begin:end] += click_T[: end - begin]
  return audio_T


def bins(text):
  return np.array([letter == '1' for letter in text])


@pytest.mark.parametrize(
  ('reference', 'generated', 'coverage', 'hit'),
  [
    ('11', '11', 1, 1),
    ('11', '10', 0.5, 0.5),
    ('11', '00', 0, 0),
    ('10', '01', 1, 0),
    ('10', '11', 2, 1),
    ('10', '00', 0, 0),
    ('110101', '011111', 5 / 4, 3 / 4),
  ],
)
def test_d2mgan_by_hand(reference, generated, coverage, hit):
  value = legacy.d2mgan_bin_scores(bins(reference), bins(generated))
  assert value == (coverage, hit)


def test_d2mgan_without_reference_onsets():
  assert np.isnan(legacy.d2mgan_bin_scores(bins('00'), bins('11'))).all()
  assert np.isnan(legacy.d2mgan_bin_scores(bins(''), bins(''))).all()


@pytest.mark.parametrize(
  'find', [legacy.d2mgan_onset_bins, legacy.loris_onset_bins]
)
@pytest.mark.parametrize('rate_hz', [RATE_HZ, 16000])
def test_onsets_fall_in_bins_of_a_second(find, rate_hz):
  # An onset at t counts for bin trunc(t); 4.3 s have ceil(4.3) = 5 bins.
  audio_T = clicks([0.5, 0.9, 2.1, 4.15], 4.3, rate_hz)
  assert find(audio_T, rate_hz).tolist() == [True, False, True, False, True]
  assert find(np.zeros(3 * rate_hz), rate_hz).tolist() == [False] * 3
  assert find(np.zeros(0), rate_hz).tolist() == []


@pytest.mark.parametrize(
  ('find', 'parameters'),
  [
    (legacy.d2mgan_onset_bins, {'pre_avg': 1, 'post_avg': 1, 'post_max': 1}),
    (
      legacy.loris_onset_bins,
      {'pre_avg': 3, 'post_avg': 3, 'pre_max': 3, 'post_max': 3},
    ),
  ],
)
def test_peaks_are_picked_as_published(find, parameters):
  """Noise, where each parameter matters; as the authors call librosa."""
  librosa = load_librosa()

  rng, differ = np.random.default_rng(0), 0
  for _ in range(8):
    audio_T = (
      rng.normal(size=12 * RATE_HZ)
      * np.repeat(rng.uniform(0.1, 1, size=48), RATE_HZ // 4 + 1)[
        : 12 * RATE_HZ
      ]
    )
    onsets_s = librosa.onset.onset_detect(
      y=audio_T.astype(np.float32),
      sr=22050,
      wait=1,
      delta=0.2,
      units='time',
      **parameters,
    )
    expected_B = np.isin(np.arange(12), np.trunc(onsets_s))
    np.testing.assert_array_equal(find(audio_T, RATE_HZ), expected_B)
    others = (legacy.d2mgan_onset_bins, legacy.loris_onset_bins)
    differ += any((f(audio_T, RATE_HZ) != expected_B).any() for f in others)
  assert differ


@pytest.mark.parametrize(
  ('generated_s', 'values'),
  [([0.4, 1.4], (1, 1)), ([0.9], (0.5, 0.5)), ([], (0, 0))],
)
def test_two_seconds_have_three_values(generated_s, values):
  reference_T = clicks([0.5, 1.5], 2.0)
  generated_T = clicks(generated_s, 2.0)
  assert legacy.d2mgan_coverage_hit(reference_T, generated_T, RATE_HZ) == values


def test_d2mgan_cannot_hear_tempo_or_phase():
  reference_T = clicks(np.arange(0.25, 6, 0.5), 6.0)
  for bpm, phase_s in ((173, 0.1), (67, 0.3), (120, 0.5)):
    other_T = clicks(np.arange(phase_s, 5.95, 60 / bpm), 6.0)
    value = legacy.d2mgan_coverage_hit(reference_T, other_T, RATE_HZ)
    assert value == (1, 1)


def test_a_click_per_second_beats_every_published_system():
  """As on the official test set: 82 of 86 references fill both seconds."""
  full_T, half_T = clicks([0.3, 1.6], 2.0), clicks([0.3], 2.0)
  constant_T = clicks([0.5, 1.5], 2.0)
  values = {
    name: legacy.d2mgan_coverage_hit(reference_T, constant_T, RATE_HZ)
    for name, reference_T in (('full', full_T), ('half', half_T))
  }
  table = np.array([values['full']] * 82 + [values['half']] * 4)
  coverage, hit = 100 * table.mean(axis=0)
  assert hit == 100
  assert coverage == pytest.approx(104.65, abs=0.01)
  assert coverage > 93.9 and hit > 90.7  # CDCD


def test_d2mgan_refuses_other_lengths():
  with pytest.raises(InputError, match='the sounds last 2 and 3 bins'):
    legacy.d2mgan_coverage_hit(clicks([0.5], 2.0), clicks([0.5], 2.01), RATE_HZ)
  with pytest.raises(InputError, match='cannot find onsets'):
    legacy.d2mgan_onset_bins(np.zeros((2, 9)), RATE_HZ)
  with pytest.raises(InputError, match='cannot find onsets'):
    legacy.loris_onset_bins(np.full(9, np.nan), RATE_HZ)


@pytest.mark.parametrize(
  ('reference', 'generated', 'precision', 'recall'),
  [
    ('110101', '011111', 3 / 5, 3 / 4),
    ('11', '00', 0, 0),
    ('00', '11', 0, 0),
    ('00', '00', 0, 0),
    ('1011', '10', 1, 1),  # the reference is cut to the generated sound
  ],
)
def test_loris_by_hand(reference, generated, precision, recall):
  value = legacy.loris_bin_scores(bins(reference), bins(generated))
  assert value == (precision, recall)


def test_loris_refuses_a_shorter_reference():
  with pytest.raises(InputError, match='the sounds last 1 and 2 bins'):
    legacy.loris_bin_scores(bins('1'), bins('11'))


def test_loris_summary_by_hand():
  # Means 0.75 and 0.5; deviations with N - 1: sqrt(2 / 16), sqrt(1 / 2).
  value = legacy.loris_summary([(1.0, 0.0), (0.5, 1.0)])
  assert value.bcs == 0.75 and value.bhs == 0.5
  assert value.csd == pytest.approx(np.sqrt(1 / 8))
  assert value.hsd == pytest.approx(np.sqrt(1 / 2))
  assert value.f1 == pytest.approx(2 * 0.75 * 0.5 / 1.25)  # no mean of F1s
  lone = legacy.loris_summary([(0.0, 0.0)])
  assert lone.f1 == 0 and np.isnan(lone.csd) and np.isnan(lone.hsd)
  with pytest.raises(InputError, match='no clips'):
    legacy.loris_summary([])


def test_loris_scores_of_sounds():
  pairs = [
    (clicks([0.5, 1.5], 4.0), clicks([0.5, 2.5], 4.0)),
    (clicks([0.5, 1.5, 2.5], 4.0), clicks([1.2, 3.2], 4.0)),
  ]
  value = legacy.loris_scores(pairs, RATE_HZ)
  assert value.bcs == pytest.approx(1 / 2)
  assert value.bhs == pytest.approx((1 / 2 + 1 / 3) / 2)
  assert value.csd == pytest.approx(0)
  assert value.hsd == pytest.approx((1 / 2 - 1 / 3) / np.sqrt(2))


def test_loris_rewards_always_on():
  rng = np.random.default_rng(0)
  always_T = clicks(np.arange(0.1, 4.9, 0.25), 5.0)
  pairs = [
    (clicks(np.arange(rng.uniform(0.1, 0.5), 4.9, period_s), 5.0), always_T)
    for period_s in rng.uniform(0.4, 1.0, size=12)
  ]
  value = legacy.loris_scores(pairs, RATE_HZ)
  assert value.f1 > 0.98 and value.hsd == 0


def stepping(steps):
  """Return positions (F, 2, 2): one joint steps along x, one is still."""
  position_FJD = np.zeros((len(steps) + 1, 2, 2))
  position_FJD[1:, 0, 0] = np.cumsum(steps)
  return position_FJD


def with_confidence(position_FJD):
  ones_FJ1 = np.ones((*position_FJD.shape[:2], 1))
  return np.concatenate([position_FJD, ones_FJ1], axis=-1)


def swinging(duration_s, rate_hz, stops_per_s):
  """Return poses whose speed is 0 close to every k / stops_per_s.

  Not exactly: a stop on a frame has equal steps on both sides, and AIST++
  finds no strict minimum.
  """
  time_s = np.arange(round(duration_s * rate_hz)) / rate_hz + 0.003
  position_FJD = np.zeros((len(time_s), 3, 2))
  position_FJD[:, 0, 0] = np.cos(np.pi * stops_per_s * time_s)
  position_FJD[:, 1, 1] = 2 * np.cos(np.pi * stops_per_s * time_s)
  return with_confidence(position_FJD)


def test_aist_motion_beats_by_hand():
  # Step k is from frame k to k + 1: the speed of frame k + 1.
  steps = np.full(60, 5.0) + np.abs(np.arange(60) - 30)  # least step: 30
  assert legacy.aist_motion_beats(stepping(steps)).tolist() == [31]
  steps[35] = 1.0  # within 10 frames, so only the lower one stays
  assert legacy.aist_motion_beats(stepping(steps)).tolist() == [36]
  steps[46] = 2.0  # 11 frames away
  assert legacy.aist_motion_beats(stepping(steps)).tolist() == [36, 47]
  # Frame 0 has speed 0, so that nothing in the first 10 is a minimum.
  steps[9] = 0.5
  assert legacy.aist_motion_beats(stepping(steps)).tolist() == [36, 47]
  steps[10] = 0.4
  assert legacy.aist_motion_beats(stepping(steps)).tolist() == [11, 36, 47]
  assert legacy.aist_motion_beats(stepping(np.ones(60))).tolist() == []


def test_aist_misses_stops_that_fall_on_a_frame():
  """Steps of 1 on both sides of the stop: no strict minimum."""
  steps = 0.5 + np.abs(np.arange(60) - 30.5)
  assert legacy.aist_motion_beats(stepping(steps)).tolist() == []
  steps[30] -= 0.25
  assert legacy.aist_motion_beats(stepping(steps)).tolist() == [31]


def test_aist_sums_joints_without_smoothing():
  position_FJD = stepping(5.0 + np.abs(np.arange(60) - 30))
  position_FJD[:, 1] = position_FJD[:, 0] * 100  # any common scale
  assert legacy.aist_motion_beats(position_FJD).tolist() == [31]


def test_aist_alignment_by_hand():
  """Over motion beats: the nearest of the music, sigma 3 frames."""
  steps = 50.0 + np.abs(np.arange(100) % 50 - 25)
  pose_FJD = with_confidence(stepping(steps))
  assert legacy.aist_motion_beats(pose_FJD[..., :2]).tolist() == [26, 76]
  near = np.exp(-(3**2) / 18)
  score = legacy.aist_beat_alignment(pose_FJD, 60, np.array([26, 79]) / 60)
  assert score == pytest.approx((1 + near) / 2, abs=1e-12)
  # Music beats without a dance beat cost nothing.
  many_s = np.array([5, 26, 50, 79, 95]) / 60
  assert legacy.aist_beat_alignment(pose_FJD, 60, many_s) == pytest.approx(
    score
  )
  far = np.exp(-(30**2) / 18), np.exp(-(20**2) / 18)
  score = legacy.aist_beat_alignment(pose_FJD, 60, np.array([56]) / 60)
  assert score == pytest.approx(np.mean(far))


def test_bailando_motion_beats_by_hand():
  # Number k is the step from frame k; symmetric, so smoothing keeps it.
  steps = 50.0 + np.abs(np.arange(91) - 30)
  assert legacy.bailando_motion_beats(stepping(steps)).tolist() == [30]
  # A Gaussian of 5 frames swallows a dip of one frame, which AIST++ keeps.
  steps[75] -= 20
  assert legacy.bailando_motion_beats(stepping(steps)).tolist() == [30]
  assert legacy.aist_motion_beats(stepping(steps)).tolist() == [31, 76]


def test_bailando_smooths_with_five_frames():
  """Two dips 12 frames apart are one at sigma 5, and two at sigma 3."""
  from scipy.ndimage import gaussian_filter1d

  steps = np.full(80, 9.0)
  steps[34], steps[45] = 1.0, 2.0
  expected = {3: [34, 45], 5: None}
  curve_F = gaussian_filter1d(steps / 2, 3.0)
  minima = np.flatnonzero(np.diff(np.sign(np.diff(curve_F))) > 0) + 1
  assert minima.tolist() == expected[3]
  curve_F = gaussian_filter1d(steps / 2, 5.0)
  minima = np.flatnonzero(np.diff(np.sign(np.diff(curve_F))) > 0) + 1
  found = legacy.bailando_motion_beats(stepping(steps))
  assert found.tolist() == minima.tolist() != expected[3]


def test_bailando_alignment_by_hand():
  """Over music beats: the nearest of the dance, sigma 3 frames."""
  steps = 50.0 + np.abs(np.arange(61) - 30)
  pose_FJD = with_confidence(stepping(steps))
  one = legacy.bailando_beat_alignment(pose_FJD, 60, np.array([30]) / 60)
  assert one == 1
  beats_s = np.array([30, 36, 39, 61, 70]) / 60  # the last two are outside
  score = legacy.bailando_beat_alignment(pose_FJD, 60, beats_s)
  assert score == pytest.approx((1 + np.exp(-2) + np.exp(-4.5)) / 3)


def test_alignments_without_beats():
  still = with_confidence(np.zeros((90, 3, 2)))
  moving = swinging(4.0, 60, 2.0)
  beats_s = np.arange(0.25, 4, 0.5)
  assert legacy.aist_beat_alignment(still, 60, beats_s) == 0
  assert np.isnan(legacy.bailando_beat_alignment(still, 60, beats_s))
  for score in (
    legacy.aist_beat_alignment,
    legacy.bailando_beat_alignment,
  ):
    assert np.isnan(score(moving, 60, np.zeros(0)))
    assert np.isnan(score(moving, 60, np.array([4.5, -1.0])))
    assert not score(moving[:1], 60, beats_s) > 0
    with pytest.raises(InputError, match='pose has shape'):
      score(moving[..., :2], 60, beats_s)
    with pytest.raises(InputError, match='at 0 Hz'):
      score(moving, 0, beats_s)


@pytest.mark.parametrize('rate_hz', [20, 25, 30, 50, 60])
def test_poses_are_brought_to_60_hz(rate_hz):
  pose_FJD, beats_s = swinging(8.0, rate_hz, 2.0), np.arange(0.5, 8, 0.5)
  for score in (
    legacy.aist_beat_alignment,
    legacy.bailando_beat_alignment,
  ):
    assert score(pose_FJD, rate_hz, beats_s) > 0.9
    assert score(pose_FJD, rate_hz, beats_s + 0.25) < 0.1


def test_always_on_and_lone_beats_fool_the_alignments():
  pose_FJD = swinging(20.0, 60, 1.7)
  clicks_s = np.arange(0, 20, 0.05)
  assert legacy.aist_beat_alignment(pose_FJD, 60, clicks_s) > 0.95
  sparse = legacy.aist_beat_alignment(pose_FJD, 60, np.arange(0.1, 20, 0.093))
  assert sparse > 0.8
  steps_s = legacy.bailando_motion_beats(pose_FJD[..., :2]) / 60
  lone = legacy.bailando_beat_alignment(pose_FJD, 60, steps_s[5:6])
  assert lone == 1
  # What to use instead is not fooled.
  motion_s = np.arange(0, 20, 1 / 1.7)
  value = kinematic.alignment(motion_s, clicks_s)
  chance = kinematic.alignment_chance(motion_s, clicks_s, 20.0)
  assert abs(value.harmonic - chance.harmonic) < 0.02
