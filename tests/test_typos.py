"""Configs with mistakes in them: refused at the door, with the right key."""

import random
import sys
import types

import pytest
from absl import flags
from ml_collections import config_flags
from small_config import config_with, options_with

from configs import (
  audio_pretrain,
  debug,
  pose_transformer,
  wavenet,
  wavenet_large,
)
from dance2wave import errors, experiment, options
from dance2wave.errors import InputError

LETTERS = 'abcdefghijklmnopqrstuvwxyz_'


def keys_of(config, prefix=''):
  """Yield every key with its dots, groups included."""
  for key, value in config.items():
    yield prefix + key
    if isinstance(value, dict):
      yield from keys_of(value, f'{prefix}{key}.')


KEYS = list(keys_of(config_with()))
LEAVES = [k for k in KEYS if not any(o.startswith(f'{k}.') for o in KEYS)]


def misspell(word, rng):
  """Return a word at one slip of the fingers from another."""
  at = rng.randrange(len(word))
  slips = (
    word[:at] + word[at + 1 :],
    word[:at] + word[at] + word[at:],
    word[:at] + rng.choice(LETTERS) + word[at + 1 :],
    word[: at - 1] + word[at] + word[at - 1] + word[at + 1 :] if at else word,
  )
  return rng.choice(slips)


def typos(count):
  """Yield (right key, wrong key): a slip in the last part of a key."""
  rng, found = random.Random(0), set()
  while len(found) < count:
    right = rng.choice(KEYS)
    group, dot, name = right.rpartition('.')
    wrong = group + dot + misspell(name, rng)
    if wrong not in KEYS and not wrong.endswith('.') and wrong:
      found.add((right, wrong))
  return sorted(found)


TYPOS = typos(240)


def renamed(right, wrong):
  """The debug config in which one key is spelled in another way."""
  config = config_with()
  group = config
  *path, last = right.split('.')
  for name in path:
    group = group[name]
  group[wrong.rpartition('.')[2]] = group.pop(last)
  return config


def test_every_typo_in_a_config_is_refused_with_the_nearest_key():
  for right, wrong in TYPOS:
    with pytest.raises(InputError) as error:
      options.parse(renamed(right, wrong))
    message = str(error.value)
    assert f'unknown config key {wrong}=' in message
    assert f'the nearest is {right}; ' in message, message


# ml_collections loads a config file in a way that Python will give up.
@pytest.mark.filterwarnings('ignore:the load_module:DeprecationWarning')
def test_every_typo_on_the_command_line_is_refused_with_the_nearest_key(
  monkeypatch,
):
  found = flags.FlagValues()
  config_flags.DEFINE_config_file(
    'config', None, '', flag_values=found, lock_config=True
  )
  door = types.SimpleNamespace(FLAGS=found, Error=flags.Error)
  monkeypatch.setattr(errors, 'flags', door)
  for right, wrong in TYPOS:
    arguments = ['', '--config=configs/debug.py', f'--config.{wrong}=1']
    monkeypatch.setattr(sys, 'argv', arguments)  # where it looks for them
    with pytest.raises(InputError) as error:
      errors.parse_flags(arguments)
    message = str(error.value)
    assert wrong.rpartition('.')[2] in message
    assert f'{right.rpartition(".")[2]}"' in message, (wrong, message)


WRONG_TYPES = ('text', 2.5, True, None, [], {}, [['a']], 10**30, object())


def accepts(key, value):
  """Whether a value has the type that a key wants."""
  default = value_of(key)
  if type(default) is float:
    is_number = type(value) in (int, float)
    return is_number or (key == 'pose.look_ahead_s' and value is None)
  if isinstance(default, list | tuple):
    return value == []
  return type(value) is type(default)


def value_of(key):
  value = config_with()
  for name in key.split('.'):
    value = value[name]
  return value


def with_value(key, value):
  return config_with(**{key.replace('.', '__'): value})


@pytest.mark.parametrize('key', LEAVES)
def test_wrong_types_are_refused_by_name(key):
  for value in WRONG_TYPES:
    if not accepts(key, value):
      with pytest.raises(InputError) as error:
        options.parse(with_value(key, value))
      assert str(error.value).startswith(f'{key}=')
      assert 'expected' in str(error.value)


NUMBERS = [k for k in LEAVES if type(value_of(k)) in (int, float)]


@pytest.mark.parametrize('key', NUMBERS)
def test_numbers_out_of_range_are_refused_or_harmless(key):
  is_float = type(value_of(key)) is float
  values = (float('nan'), float('inf'), -float('inf'), -1.0) if is_float else ()
  for value in (*values, -1, -(10**9)):
    with pytest.raises(InputError) as error:
      options.parse(with_value(key, value))
    assert key.rpartition('.')[2] in str(error.value)


@pytest.mark.parametrize(
  'changes, words',
  [
    ({'sample__guidance': 2.0}, ('sample.guidance=2.0', 'context_dropout=0')),
    ({'train__batch_size': 6, 'mesh__data': 4}, ('train.batch_size=6', '4')),
    ({'dataset__name': 'a,a'}, ("dataset.name='a,a'", 'each once')),
    ({'dataset__name': 'a,,b'}, ('dataset.name', 'between commas')),
    ({'dataset__weights': (1.0, 2.0)}, ('dataset.weights', '1 number')),
    ({'train__is_audio_only': True}, ('train.pose_steps=10', 'is_audio_only')),
    (
      {'train__pose_steps': 0, 'train__joint_steps': 0},
      ('train.joint_steps=0', 'pose_steps=0'),
    ),
    ({'sample_rate_hz': 8001}, ('pose_rate_hz=25', '8001')),
    ({'wave__layers_per_cycle': 14}, ('train.audio_crop_s=0.2', 'at most')),
    ({'dataset__crop_s': 0.2}, ('at most',)),
  ],
)
def test_combinations_that_cannot_be(changes, words):
  with pytest.raises(InputError) as error:
    options.parse(config_with(**changes))
  for word in words:
    assert word in str(error.value)


@pytest.mark.parametrize(
  'changes, words',
  [
    ({'mesh__data': 64, 'train__batch_size': 64}, ('mesh.data=64', 'devices')),
    ({'train__init_from': ('{tmp}/no',)}, ('no holds no config.json',)),
    ({'dataset__name': 'kinetix'}, ('kinetix',)),
  ],
)
def test_what_only_this_machine_knows_is_refused_before_any_work(
  changes, words, tmp_path
):
  if 'train__init_from' in changes:
    changes = {'train__init_from': (f'{tmp_path}/no',)}
  with pytest.raises(InputError) as error:
    experiment.run(options_with(**changes), tmp_path / 'run')
  for word in words:
    assert word in str(error.value)
  assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
  'module', [debug, wavenet, wavenet_large, pose_transformer, audio_pretrain]
)
def test_configs_are_locked(module):
  config = module.get_config()
  for change in (
    lambda: setattr(config, 'sede', 1),
    lambda: setattr(config.train, 'batch_sise', 1),
    lambda: config.update({'learning_rate': 1.0}),
    lambda: config.train.update({'lerning_rate': 1.0}),
    lambda: config.update_from_flattened_dict({'train.batch_sise': 1}),
  ):
    with pytest.raises((AttributeError, KeyError)):
      change()
  options.parse(config)
