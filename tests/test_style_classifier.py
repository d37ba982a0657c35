"""The style classifier: what it hears, keeps, refuses, and how well."""

import json

import numpy as np
import pytest
import scipy.signal

from dance2wave.datasets.synthetic_dance.generate import Task, make_clip
from dance2wave.datasets.synthetic_dance.plan import STYLES, draw_plan
from dance2wave.errors import InputError
from dance2wave.media.audio import resample
from dance2wave.metrics import style_classifier as sc

RATE_HZ = 8000


def play(style, seed, duration_s=1.0):
  """Return a sound of low, middle or high noise: 'bass', 'mid', 'treble'."""
  edges_hz = {'bass': (80, 300), 'mid': (500, 1000), 'treble': (2000, 3000)}
  rng = np.random.default_rng(seed)
  filters = scipy.signal.butter(
    2, edges_hz[style], 'bandpass', fs=RATE_HZ, output='sos'
  )
  samples_T = rng.normal(size=round(duration_s * RATE_HZ))
  sound_T = scipy.signal.sosfilt(filters, samples_T)
  sound_T *= rng.uniform(0.1, 0.9) / np.abs(sound_T).max()
  return sound_T.astype(np.float32)


def play_all(counts, first_seed=0):
  styles = [style for style, num in counts.items() for _ in range(num)]
  audios = [play(style, first_seed + i) for i, style in enumerate(styles)]
  return audios, styles


@pytest.fixture(scope='module')
def classifier():
  audios, styles = play_all({'treble': 5, 'bass': 6, 'mid': 4})
  return sc.fit_style_classifier(audios, RATE_HZ, styles)


def test_it_says_how_many_clips_it_saw(classifier):
  assert classifier.clips_of_style == {'bass': 6, 'mid': 4, 'treble': 5}
  assert classifier.styles == ('bass', 'mid', 'treble')
  assert classifier.sample_rate_hz == RATE_HZ


def test_it_hears_the_styles_of_other_sounds(classifier):
  audios, styles = play_all({'bass': 4, 'treble': 3, 'mid': 2}, first_seed=99)
  confusion_SS = classifier.confusion(audios, styles)
  np.testing.assert_array_equal(confusion_SS, np.diag([4, 2, 3]))
  assert sc.accuracy(confusion_SS) == 1.0
  # Rows are true styles: call the bass 'mid'.
  wrong_SS = classifier.confusion(audios, ['mid'] * 4 + styles[4:])
  np.testing.assert_array_equal(wrong_SS, [[0, 0, 0], [4, 2, 0], [0, 0, 3]])
  assert sc.accuracy(wrong_SS) == pytest.approx(5 / 9)


def test_probabilities(classifier):
  style, probability_S = classifier.predict(play('treble', 7))
  assert style == 'treble' and probability_S.argmax() == 2
  assert probability_S.sum() == pytest.approx(1)
  assert (probability_S >= 0).all() and probability_S[2] > 0.8


def test_gain_does_not_matter(classifier):
  audio_T = play('mid', 8)
  _, loud_S = classifier.predict(audio_T)
  _, soft_S = classifier.predict(audio_T * np.float32(1e-3))
  np.testing.assert_allclose(loud_S, soft_S, atol=1e-5)


def test_silence_noise_and_one_sample_have_some_style(classifier):
  noise_T = 0.1 * np.random.default_rng(0).normal(size=RATE_HZ)
  for audio_T in (
    np.zeros(RATE_HZ, np.float32),
    np.full(1, 1e-40, np.float32),
    np.clip(noise_T, -1, 1),
  ):
    style, probability_S = classifier.predict(audio_T)
    assert style in classifier.styles and np.isfinite(probability_S).all()


def test_fitting_is_deterministic(classifier):
  audios, styles = play_all({'treble': 5, 'bass': 6, 'mid': 4})
  again = sc.fit_style_classifier(audios, RATE_HZ, styles)
  np.testing.assert_array_equal(again.weight_DS, classifier.weight_DS)


def test_sounds_without_a_style_are_left_out(classifier):
  audios, styles = play_all({'treble': 5, 'bass': 6, 'mid': 4})
  # A '' between them changes neither counts nor weights.
  again = sc.fit_style_classifier(
    [*audios[:3], play('bass', 50), *audios[3:]],
    RATE_HZ,
    [*styles[:3], '', *styles[3:]],
  )
  assert again.clips_of_style == classifier.clips_of_style
  np.testing.assert_array_equal(again.weight_DS, classifier.weight_DS)
  assert classifier.confusion([play('bass', 0)], ['']).sum() == 0
  assert np.isnan(sc.accuracy(classifier.confusion([], [])))


def test_the_fit_is_a_minimum():
  """The slope of the loss, by differences of the loss itself, is zero."""
  import scipy.special

  rng = np.random.default_rng(0)
  unit_ND, target_NS = rng.normal(size=(30, 4)), np.eye(3)[np.arange(30) % 3]
  weight_DS = sc._fit_weights(unit_ND, target_NS)

  def loss(weight_DS):
    logit_NS = unit_ND @ weight_DS[:-1] + weight_DS[-1]
    log_NS = logit_NS - scipy.special.logsumexp(logit_NS, axis=1)[:, None]
    l2 = 0.01 / 2 * np.sum(weight_DS[:-1] ** 2)
    return l2 - np.mean(np.sum(target_NS * log_NS, axis=1))

  best = loss(weight_DS)
  for _ in range(20):
    other_DS = weight_DS + 0.01 * rng.normal(size=weight_DS.shape)
    assert loss(other_DS) > best


def test_save_and_load(classifier, tmp_path):
  path = tmp_path / 'styles.npz'
  classifier.save(path)
  loaded = sc.StyleClassifier.load(path)
  assert loaded.clips_of_style == classifier.clips_of_style
  assert loaded.sample_rate_hz == RATE_HZ
  assert all(isinstance(n, int) for n in loaded.clips_of_style.values())
  json.dumps(loaded.clips_of_style)
  audio_T = play('mid', 3)
  assert loaded.predict(audio_T)[0] == 'mid'
  np.testing.assert_array_equal(
    loaded.predict(audio_T)[1], classifier.predict(audio_T)[1]
  )
  assert [p.name for p in tmp_path.iterdir()] == ['styles.npz']


def damaged(path, kind, classifier):
  classifier.save(path)
  whole = path.read_bytes()
  with np.load(path) as file:
    arrays = dict(file)
  if kind == 'missing':
    path.unlink()
  elif kind == 'empty':
    path.write_bytes(b'')
  elif kind == 'text':
    path.write_text('not an archive')
  elif kind == 'cut':
    path.write_bytes(whole[: len(whole) // 2])
  elif kind == 'one array':
    with open(path, 'wb') as file:
      np.save(file, np.ones(3))
  elif kind == 'other arrays':
    np.savez(path, something=np.ones(3))
  elif kind == 'pickled':
    np.savez(path, **arrays | {'styles': np.array(['a', 1], object)})
  elif kind == 'a style more':
    np.savez(path, **arrays | {'styles': np.array(['a', 'b', 'c', 'd'])})
  elif kind == 'other features':
    np.savez(path, **arrays | {'mean': np.zeros(3)})


@pytest.mark.parametrize(
  'kind',
  [
    *('missing', 'empty', 'text', 'cut', 'one array', 'other arrays'),
    *('pickled', 'a style more', 'other features'),
  ],
)
def test_what_is_no_classifier_is_refused(classifier, tmp_path, kind):
  path = tmp_path / 'styles.npz'
  damaged(path, kind, classifier)
  with pytest.raises(InputError, match=r'styles\.npz .*fit and save it again'):
    sc.StyleClassifier.load(path)


@pytest.mark.parametrize(
  ('styles', 'message'),
  [
    (['mid', 'mid'], r'1 style \(mid\); expected two or more'),
    (['mid', ''], 'expected two or more'),
    (['', ''], '0 styles'),
    (['mid'], 'one style per sound'),
  ],
)
def test_too_few_styles_are_refused(styles, message):
  audios = [play('mid', 0), play('bass', 1)]
  with pytest.raises(InputError, match=message):
    sc.fit_style_classifier(audios, RATE_HZ, styles)


def test_bad_sounds_and_unknown_styles_are_refused(classifier):
  empty_T, levels_T = np.zeros(0, np.float32), np.zeros(9, np.int16)
  with pytest.raises(InputError, match='without samples'):
    classifier.predict(empty_T)
  with pytest.raises(InputError, match='one axis of floats'):
    classifier.predict(levels_T)
  with pytest.raises(InputError, match='without samples'):
    sc.fit_style_classifier([empty_T, play('mid', 0)], 8000, ['a', 'b'])
  with pytest.raises(InputError, match='8000 Hz or more'):
    sc.fit_style_classifier([play('mid', 0)] * 2, 4000, ['a', 'b'])
  with pytest.raises(InputError, match="'polka' is unknown"):
    classifier.confusion([play('mid', 0)], ['polka'])
  with pytest.raises(InputError, match='one style per sound'):
    classifier.confusion([play('mid', 0)], [])


# Music.


def clips_of(split, num_per_style):
  """Yield the first clips of each style of synthetic_dance."""
  left = dict.fromkeys(STYLES, num_per_style)
  index = 0
  while any(left.values()):
    style = draw_plan(index, split).style
    if left[style]:
      left[style] -= 1
      clip = make_clip(Task(index, split))
      yield clip['audio'].astype(np.float32) / 32768, style
    index += 1


@pytest.mark.slow
@pytest.mark.parametrize('rate_hz', [8000, 16000])
def test_accuracy_on_originals(rate_hz):
  def hear(pairs):
    audios, styles = zip(*pairs)
    return [resample(a_T, 16000, rate_hz) for a_T in audios], styles

  audios, styles = hear(clips_of('train', 60))
  classifier = sc.fit_style_classifier(audios, rate_hz, styles)
  audios, styles = hear(clips_of('test', 12))
  rng = np.random.default_rng(0)

  def accuracy(change):
    changed = [change(a_T).astype(np.float32) for a_T in audios]
    return sc.accuracy(classifier.confusion(changed, styles))

  def noisy(audio_T):
    noise_T = rng.normal(size=len(audio_T)) * audio_T.std() * 10**-0.5
    return (audio_T + noise_T) / max(1, np.abs(audio_T + noise_T).max())

  five_s = 5 * rate_hz
  assert set(classifier.clips_of_style.values()) == {60}
  assert accuracy(lambda a_T: a_T) >= 0.97
  assert accuracy(lambda a_T: a_T[:five_s]) >= 0.97
  assert accuracy(lambda a_T: a_T[-five_s:]) >= 0.97
  assert accuracy(noisy) >= 0.97
