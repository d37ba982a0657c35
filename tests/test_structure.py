"""Structure of dance and music: librosa's form, shifts, chance, ranking."""

import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dance2wave.errors import InputError
from dance2wave.metrics import structure
from dance2wave.metrics.librosa_loading import load_librosa
from dance2wave.pose.clean import NEUTRAL_POSE_J2

SAMPLE_RATE_HZ, POSE_RATE_HZ, PART_S = 8000, 50, 2.0
# The last is the second backwards.
FORMS = ('ABABCDCD', 'AABCDBCD', 'AABBCCDD', 'ABCABCDD')


def song(form, seed=0):
  """Two seconds of four strokes for each letter, with a timbre of its own."""
  rng, parts = np.random.default_rng(seed), {}
  time_s = np.arange(int(PART_S * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
  decay_T = np.exp(-(time_s % 0.5) * 6)
  for letter in sorted(set(form)):
    hz, noise = rng.uniform(150, 500), rng.uniform(0.02, 0.4)
    overtones = enumerate(rng.random(6), start=1)
    tone_T = sum(a * np.sin(2 * np.pi * hz * k * time_s) for k, a in overtones)
    parts[letter] = tone_T, noise
  played = [
    (tone_T + noise * rng.normal(size=len(time_s))) * decay_T
    for tone_T, noise in (parts[letter] for letter in form)
  ]
  return 0.1 * np.concatenate(played).astype(np.float32)


def dance(form, seed=0):
  """Two seconds between two poses of its own for each letter."""
  rng = np.random.default_rng(seed)
  time_s = np.arange(int(PART_S * POSE_RATE_HZ)) / POSE_RATE_HZ
  share_F = ((1 - np.cos(2 * np.pi * time_s)) / 2)[:, None, None]
  keys = {
    letter: NEUTRAL_POSE_J2 + 0.3 * rng.normal(size=(2, 14, 2))
    for letter in sorted(set(form))
  }
  parts = [
    keys[letter][0] * (1 - share_F) + keys[letter][1] * share_F
    for letter in form
  ]
  xy_FJ2 = np.concatenate(parts)
  xy_FJ2 = xy_FJ2 + 0.01 * rng.normal(size=xy_FJ2.shape)
  ones_FJ1 = np.ones((*xy_FJ2.shape[:2], 1))
  return np.concatenate([xy_FJ2, ones_FJ1], axis=-1).astype(np.float32)


def scores(audio_T, pose_FJD, **keywords):
  return structure.structure_scores(
    audio_T, SAMPLE_RATE_HZ, pose_FJD, POSE_RATE_HZ, **keywords
  )


@pytest.mark.parametrize('num_frames', [8, 40, 101])
def test_nearest_neighbours_are_those_of_librosa(num_frames):
  librosa = load_librosa()

  feature_FC = np.random.default_rng(num_frames).normal(size=(num_frames, 20))
  feature_FC = feature_FC.cumsum(axis=0)
  theirs_FF = librosa.segment.recurrence_matrix(
    feature_FC.T, metric='euclidean', mode='affinity', sym=True
  ).T
  np.fill_diagonal(theirs_FF, 1)
  ours_FF = structure.nearest_neighbour_similarity(feature_FC)
  np.testing.assert_allclose(ours_FF, theirs_FF, atol=1e-12)


def test_equal_moments_are_similar():
  feature_FC = np.tile([[0.0], [1.0], [5.0], [9.0]], (4, 1))
  similarity_FF = structure.nearest_neighbour_similarity(feature_FC)
  assert (similarity_FF[0, 4::4] == 1).all()
  assert similarity_FF[0, 3] < similarity_FF[0, 1] < 1
  assert (structure.nearest_neighbour_similarity(np.zeros((9, 2))) == 1).all()


def test_difference_similarity_by_hand():
  # Feel the Music on a line of 5 places: 1 - |difference| / 4.
  similarity_FF = structure.difference_similarity([[0.0], [4.0], [3.0]])
  expected_FF = [[1, 0, 0.25], [0, 1, 0.75], [0.25, 0.75, 1]]
  np.testing.assert_allclose(similarity_FF, expected_FF)


def test_pearson_of_upper_triangles_for_every_shift():
  rng = np.random.default_rng(0)
  audio_FF = structure.nearest_neighbour_similarity(rng.normal(size=(31, 5)))
  motion_FF = structure.difference_similarity(rng.normal(size=(31, 4)))
  r_F = structure.correlation_by_shift(audio_FF, motion_FF)
  upper = np.triu_indices(31, 1)
  for shift in (0, 1, 7, 30):
    moved_FF = np.roll(motion_FF, (-shift, -shift), axis=(0, 1))
    r = np.corrcoef(audio_FF[upper], moved_FF[upper])[0, 1]
    assert r_F[shift] == pytest.approx(r, abs=1e-12)


def test_chance_is_of_shifts_by_a_second():
  features_2FC = np.random.default_rng(0).normal(size=(2, 40, 3)).cumsum(axis=1)
  pair = [structure.difference_similarity(f_FC) for f_FC in features_2FC]
  r_F = structure.correlation_by_shift(*pair)
  found = structure.structure_correlation(*pair, frame_hz=10)
  assert found == pytest.approx((r_F[0], r_F[10:31].mean()))
  found = structure.structure_correlation(*pair, frame_hz=25)
  assert found[0] == pytest.approx(r_F[0]) and np.isnan(found[1])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 39), st.floats(0.01, 100))
def test_correlation_is_bounded_and_blind_to_units(seed, shift, scale):
  rng = np.random.default_rng(seed)
  a_FC, b_FC = rng.normal(size=(2, 40, 6)).cumsum(axis=1)
  a_FF = structure.nearest_neighbour_similarity(a_FC)
  b_FF = structure.nearest_neighbour_similarity(b_FC)
  r_F = structure.correlation_by_shift(a_FF, b_FF)
  assert np.abs(r_F).max() <= 1 + 1e-9
  assert structure.correlation_by_shift(a_FF, a_FF)[0] == pytest.approx(1)
  back_F = structure.correlation_by_shift(b_FF, a_FF)
  assert back_F[0] == pytest.approx(r_F[0])
  scaled_FF = structure.nearest_neighbour_similarity(b_FC * scale + 3)
  np.testing.assert_allclose(
    structure.correlation_by_shift(a_FF, scaled_FF), r_F, atol=1e-6
  )
  both = [np.roll(x_FF, (shift, shift), axis=(0, 1)) for x_FF in (a_FF, b_FF)]
  np.testing.assert_allclose(
    structure.correlation_by_shift(*both), r_F, atol=1e-9
  )


@pytest.mark.parametrize('name', ['structure', 'structure_difference'])
def test_the_matching_form_is_ranked_first(name):
  songs, dances = [song(form) for form in FORMS], [dance(f) for f in FORMS]
  rows = [[scores(audio_T, pose) for pose in dances] for audio_T in songs]
  gap_NN = np.array(
    [[cell[name] - cell[f'{name}_chance'] for cell in row] for row in rows]
  )
  assert gap_NN.argmax(axis=1).tolist() == [0, 1, 2, 3]
  others = gap_NN[~np.eye(4, dtype=bool)]
  assert gap_NN.diagonal().mean() > 2 * others.mean()


def test_noise_is_at_chance():
  noise_T = 0.1 * np.random.default_rng(0).normal(size=16 * SAMPLE_RATE_HZ)
  found = scores(noise_T, dance('ABCABCDD'))
  assert abs(found['structure'] - found['structure_chance']) < 0.03


def test_both_are_seen_at_the_same_times():
  """A change at 3.2 s in both sits in the same rows of both matrices."""
  rng = np.random.default_rng(0)
  loud_T = 0.1 * rng.normal(size=8 * SAMPLE_RATE_HZ)
  loud_T[int(3.2 * SAMPLE_RATE_HZ) :] *= 0.01
  pose_FJD = dance('AAAA')
  pose_FJD[: int(3.2 * POSE_RATE_HZ), :, 0] += 5
  time_s = np.arange(80) / 10
  for feature_FC in (
    structure.audio_features(loud_T, SAMPLE_RATE_HZ)[:80],
    structure.pose_features(pose_FJD, POSE_RATE_HZ, time_s),
  ):
    change_F = np.linalg.norm(np.diff(feature_FC, axis=0), axis=1)
    assert change_F[30:33].max() == change_F.max()


def test_pose_features_are_means_around_their_times():
  pose_FJD = np.zeros((100, 14, 3), np.float32)
  pose_FJD[..., 2] = 1
  pose_FJD[:, :, 0] = np.arange(100)[:, None] / 100
  time_s = np.arange(20) / 10
  feature_FC = structure.pose_features(pose_FJD, 50, time_s)
  assert feature_FC.shape == (20, 56)
  # Frame k / 50 s is k / 100; five frames around each time.
  np.testing.assert_allclose(feature_FC[1:, 0], time_s[1:] / 2, atol=0.0101)
  slow_FC = structure.pose_features(pose_FJD[::10], 5, time_s)
  np.testing.assert_allclose(slow_FC[:, 0], time_s / 2, atol=0.051)


def test_what_has_no_answer():
  audio_T, pose_FJD = song('ABAB'), dance('ABAB')
  silent = scores(np.zeros_like(audio_T), pose_FJD)
  assert set(silent.values()) == {0.0}
  for unanswered in (
    scores(audio_T, np.ones_like(pose_FJD)),
    scores(audio_T, pose_FJD[:10]),
    scores(audio_T[:0], pose_FJD),
  ):
    assert unanswered.keys() == silent.keys()
    assert np.isnan(list(unanswered.values())).all()
  short = scores(audio_T, pose_FJD[:75])
  assert np.isfinite(short['structure'])


def test_bad_input_is_refused():
  audio_T, pose_FJD = song('ABAB'), dance('ABAB')
  with pytest.raises(InputError, match='pose has shape'):
    scores(audio_T, pose_FJD[:, :9])
  with pytest.raises(InputError, match='sound has shape'):
    scores(np.full_like(audio_T, np.nan), pose_FJD)
  with pytest.raises(InputError, match='similarities have shapes'):
    structure.correlation_by_shift(np.ones((3, 3)), np.ones((4, 4)))


def test_ten_seconds_are_cheap():
  audio_T, pose_FJD = song('ABCDA'), dance('ABCDA')
  scores(audio_T, pose_FJD)
  elapsed_s = []
  for _ in range(5):
    start_s = time.perf_counter()
    scores(audio_T, pose_FJD)
    elapsed_s.append(time.perf_counter() - start_s)
  assert min(elapsed_s) < 0.05


@pytest.mark.parametrize('rate_hz', [11025, 22050, 44100])
def test_other_rates(rate_hz):
  audio_T = np.random.default_rng(0).normal(size=8 * rate_hz) * 0.1
  found = structure.structure_scores(audio_T, rate_hz, dance('ABAB'), 50)
  assert np.isfinite(list(found.values())).all()


def test_ten_minutes_fit_into_memory():
  rng = np.random.default_rng(0)
  audio_T = rng.normal(scale=0.1, size=600 * 2000).astype(np.float32)
  pose_FJD = np.ones((600 * 10, 14, 3), np.float32)
  pose_FJD[..., :2] = NEUTRAL_POSE_J2
  pose_FJD[..., :2] += rng.normal(scale=0.05, size=(600 * 10, 14, 2))
  tracemalloc.start()
  found = structure.structure_scores(audio_T, 2000, pose_FJD, 10)
  _, most = tracemalloc.get_traced_memory()
  tracemalloc.stop()
  assert abs(found['structure'] - found['structure_chance']) < 0.02
  assert most < 300e6
