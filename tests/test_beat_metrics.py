"""Beat scores: known answers, chance levels, empty lists, witnesses."""

import json

import mir_eval
import numpy as np
import pytest

from dance2wave.errors import InputError
from dance2wave.metrics import beats, score


def beat_train(rng, duration_s=8.0):
  period_s = 60 / rng.uniform(70, 170)
  return np.arange(rng.uniform(0, period_s), duration_s, period_s)


@pytest.fixture
def trains():
  rng = np.random.default_rng(0)
  return [beat_train(rng) for _ in range(60)]


def test_identity_scores_one(trains):
  scores = beats.beat_scores(trains, trains, [8.0] * 60)
  assert scores['beat_f70'] == scores['beat_f35'] == 1.0
  assert set(scores) == {
    'beat_f70',
    'beat_f35',
    'beat_f70_shuffled',
    'beat_f35_shuffled',
  }


def test_chance_level_of_random_trains(trains):
  scores = beats.beat_scores(trains, trains, [8.0] * 60)
  assert scores['beat_f70_shuffled'] == pytest.approx(0.27, abs=0.03)
  assert scores['beat_f35_shuffled'] == pytest.approx(0.13, abs=0.03)


@pytest.mark.parametrize(
  ('shift_s', 'f70', 'f35'), [(0.03, 1, 1), (0.05, 1, 0), (0.1, 0, 0)]
)
def test_a_shift_passes_only_within_the_tolerance(shift_s, f70, f35):
  reference_s = np.arange(0.2, 7.5, 0.5)
  scores = beats.beat_scores([reference_s + shift_s], [reference_s], [8.0])
  assert (scores['beat_f70'], scores['beat_f35']) == (f70, f35)
  assert np.isnan(scores['beat_f70_shuffled'])


def test_half_the_beats_score_two_thirds():
  reference_s = np.arange(0.25, 8, 0.5)
  scores = beats.beat_scores([reference_s[::2]], [reference_s], [8.0])
  assert scores['beat_f70'] == pytest.approx(2 / 3)


def test_nothing_is_trimmed():
  reference_s = np.arange(0.25, 5, 0.5)  # mir_eval's evaluate() drops all
  estimate_s = reference_s[5:]
  scores = beats.beat_scores([estimate_s], [reference_s], [5.0])
  assert scores['beat_f70'] == pytest.approx(2 / 3)


def test_shuffled_pairs_are_cut_to_the_shorter_clip():
  long_s, short_s = np.arange(0.25, 8, 0.5), np.arange(0.25, 4, 0.5)
  pair = [long_s, short_s]
  scores = beats.beat_scores(pair, pair, [8.0, 4.0])
  assert scores['beat_f70_shuffled'] == 1.0


def test_no_clip_meets_its_own_video(trains):
  # Each video has its own tempo and four clips.
  videos = [train_s for train_s in trains[:15] for _ in range(4)]
  groups = [str(number // 4) for number in range(60)]
  ends_s = [8.0] * 60
  apart = beats.beat_scores(videos, videos, ends_s, groups=groups)
  mixed = beats.beat_scores(videos, videos, ends_s)
  alone = beats.beat_scores(trains[:15], trains[:15], ends_s[:15])
  assert apart['beat_f70_shuffled'] == pytest.approx(
    alone['beat_f70_shuffled'], abs=0.01
  )
  assert mixed['beat_f70_shuffled'] > alone['beat_f70_shuffled'] + 0.02
  of_one = beats.beat_scores(videos, videos, ends_s, groups=['a'] * 60)
  assert np.isnan(of_one['beat_f70_shuffled'])


def test_no_clip_meets_itself():
  rng = np.random.default_rng(0)
  for num in (2, 3, 7):
    order = beats._derangement(rng, num)
    assert sorted(order) == list(range(num)) and (order != range(num)).all()


def test_seed_decides(trains):
  def shuffled(seed):
    durations_s = [8.0] * len(trains)
    return beats.beat_scores(
      trains, trains, durations_s, num_derangements=2, seed=seed
    )

  assert shuffled(1) == shuffled(1) != shuffled(2)


def test_empty_lists_score_zero_without_warnings():
  empty, full = np.zeros(0), np.arange(0.5, 8, 0.5)
  scores = beats.beat_scores(
    [empty, full, empty], [full, empty, empty], [8] * 3
  )
  assert scores['beat_f70'] == scores['beat_f35'] == 0.0


@pytest.mark.parametrize('durations_s', [[], [8.0, 8.0]])
def test_lengths_must_agree(durations_s):
  with pytest.raises(InputError, match='same number'):
    beats.beat_scores([np.ones(1)], [np.ones(1)], durations_s)
  with pytest.raises(InputError, match='at least 1'):
    beats.beat_scores([], [], [])


@pytest.mark.parametrize('number', ['00', '01', '02'])
def test_published_answers(shared_data, number):
  folder = shared_data / 'mir_eval'
  answer = json.loads((folder / f'output{number}.json').read_text())
  # The published values leave out the first five seconds.
  reference_s, estimate_s = (
    mir_eval.beat.trim_beats(np.loadtxt(folder / f'{kind}{number}.txt'))
    for kind in ('ref', 'est')
  )
  scores = beats.beat_scores([estimate_s], [reference_s], [1e4])
  assert scores['beat_f70'] == pytest.approx(answer['F-measure'], abs=1e-9)


def test_tempo_within():
  reference_s = np.arange(0, 8, 0.5)
  assert beats.tempo_within(reference_s + 0.2, reference_s)
  assert beats.tempo_within(reference_s * 1.03, reference_s)
  assert not beats.tempo_within(reference_s * 1.06, reference_s)
  assert not beats.tempo_within(reference_s[::2], reference_s)
  assert not beats.tempo_within(reference_s[:1], reference_s)
  assert not beats.tempo_within(reference_s, np.zeros(0))


def test_a_beat_that_was_not_heard_does_not_change_the_tempo():
  reference_s = np.arange(0, 8, 0.5)
  heard_s = np.delete(reference_s, 7)
  assert beats.tempo_within(heard_s, reference_s)
  assert beats.tempo_within(reference_s, heard_s)


def test_clips_of_one_song_are_no_chance_for_each_other(monkeypatch):
  """Sounds stand for what the stubs hear in them: beats, in seconds."""
  for detect in ('detect_beats', 'librosa_beats'):
    monkeypatch.setattr(score, detect, lambda sound_s, rate_hz: sound_s)
  songs = [np.arange(0.25, 8, 0.5), np.arange(0.5, 8, 0.5)]
  sounds = [song_s for song_s in songs for _ in range(3)]
  groups = [song for song in 'ab' for _ in range(3)]
  figures, _ = score.score_beats(sounds, sounds, sounds, 2, groups)
  assert figures['beat_f70'] == figures['beat_f70_original'] == 1
  assert figures['beat_f70_shuffled'] == figures['beat_f35_shuffled'] == 0


@pytest.mark.parametrize('rate_hz', [8000, 16000])
def test_librosa_witness(rate_hz):
  rng = np.random.default_rng(0)
  sound_T = rng.normal(size=10 * rate_hz) * 1e-4
  for beat_s in np.arange(0.5, 10, 0.5):
    at = int(beat_s * rate_hz)
    sound_T[at : at + 200] += rng.normal(size=200) * np.exp(
      -np.arange(200) / 60
    )
  beats_s = beats.librosa_beats(sound_T, rate_hz)
  assert 60 / np.median(np.diff(beats_s)) == pytest.approx(120, rel=0.04)
  assert beats.librosa_beats(np.zeros(rate_hz), rate_hz).size == 0
