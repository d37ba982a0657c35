import importlib
import pathlib

import pytest

from configs import wavenet
from dance2wave.datasets import dataset_names, styles
from dance2wave.datasets.aistpp.names import GENRES
from dance2wave.datasets.dancing2music import tree
from dance2wave.datasets.kinetics_dance.classes import (
  CLASS_SETS,
  RELEASES,
  classes_of,
  known_classes,
)
from dance2wave.datasets.synthetic_dance import plan

WORDS = {
  'aistpp': set(GENRES),
  'dancing2music': set(tree.STYLES),
  'kinetics_dance': {
    label for release in RELEASES for label in known_classes(release)
  },
  'synthetic_dance': set(plan.STYLES),
}


@pytest.mark.parametrize('source', WORDS)
def test_every_word_of_a_source_is_mapped_and_no_other(source):
  assert set(styles.WORDS[source]) == WORDS[source]
  for word in WORDS[source]:
    assert styles.to_style(source, word) in {*styles.STYLES, ''}


def test_every_class_that_kinetics_can_give_has_a_word():
  for release in RELEASES:
    for class_set in CLASS_SETS:
      labels = classes_of(release, class_set)
      assert labels and set(labels) <= set(styles.WORDS['kinetics_dance'])


def test_genres_of_aist_are_those_that_their_letters_begin():
  for word in ('BR', 'HO', 'KR', 'LO', 'PO', 'WA'):
    assert styles.to_style('aistpp', word).startswith(word.lower())
  for words, style in ((('LH', 'MH'), 'hip_hop'), (('JB', 'JS'), 'jazz')):
    assert {styles.to_style('aistpp', word) for word in words} == {style}


def test_every_source_of_words_is_a_dataset():
  assert set(styles.WORDS) == set(WORDS) <= set(dataset_names())


def test_every_style_is_one_of_some_source_and_has_one_spelling():
  given = {s for words in styles.WORDS.values() for s in words.values()}
  assert given - {''} == set(styles.STYLES)
  assert list(styles.STYLES) == sorted(set(styles.STYLES))
  assert all(styles.plain(style) == style for style in styles.STYLES)


@pytest.mark.parametrize(
  'source, word',
  [
    ('kinetics_dance', 'playing chess'),
    ('kinetics_dance', 'Salsa Dancing'),
    ('aistpp', 'XX'),
    ('clip_folder', 'salsa'),
  ],
)
def test_an_unknown_word_is_refused(source, word):
  with pytest.raises(KeyError):
    styles.to_style(source, word)


@pytest.mark.parametrize(
  'word, style',
  [
    ('Hip-Hop', 'hip_hop'),
    ('  hip  hop ', 'hip_hop'),
    ('HIPHOP', 'hip_hop'),
    ('Breaking', 'break'),
    ('Belly Dance', 'belly'),
    ('lindy-hop', 'swing'),
    ('salsa', 'salsa'),
    ('my own', 'my_own'),
    ('', ''),
  ],
)
def test_a_users_word_in_plain_form(word, style):
  assert styles.plain(word) == style
  assert styles.plain(styles.plain(word)) == style


def test_what_a_users_word_stands_for_is_a_style():
  assert set(styles._USERS_WORDS.values()) <= set(styles.STYLES)


def test_the_configs_know_every_style():
  assert wavenet.STYLES == styles.STYLES
  assert set(wavenet.SYNTHETIC_STYLES) == WORDS['synthetic_dance']
  for path in pathlib.Path(wavenet.__file__).parent.glob('*.py'):
    if path.stem != '__init__':
      config = importlib.import_module(f'configs.{path.stem}').get_config()
      # Tags of music are no styles of dance.
      is_of_dance = config.dataset.name != 'magnatagatune'
      assert not is_of_dance or set(config.styles) <= {*styles.STYLES}, path
