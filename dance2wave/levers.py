"""What an ablation changes, one thing at a time."""

import dataclasses
import types
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class Lever:
  """One change of a config.

  Attributes:
    group: of the table in which it stands.
    changes: flat config keys and their values, or functions of the values
      that the config has.
  """

  group: str
  changes: Mapping[str, object]


def _one_less(layers: int) -> int:
  """Return the layers of half the dilations; one stays one."""
  return max(1, layers - 1)


def _levers() -> dict[str, Lever]:
  levers = {'as it is': Lever('', {})}

  def add(group, **named):
    for name, changes in named.items():
      levers[name.replace('_', ' ')] = Lever(group, changes)

  add(
    'rhythm heads',
    heads_not_heard={'wave.hears_heads': False},
    pulse_not_heard={'wave.hears_pulse': False},
    no_heads={
      'train.pose_steps': 0,
      'train.heads_weight': 0.0,
      'wave.hears_heads': False,
      'wave.hears_pulse': False,
      'wave.is_levelled': False,
      'wave.is_whitened': False,
      'wave.num_bands': 0,
    },
  )
  add(
    'what the WaveNet leans on',
    clean_past={'train.past_noise': 0.0, 'train.past_gain_db': 0.0},
    a_fifth_of_the_noise={'train.past_noise': lambda noise: noise / 5},
    past_dropout={'train.past_dropout': 0.2},
    time_jitter={'train.time_jitter': 0.12},
    self_fed={'train.self_fed': 0.5},
    context_dropout={'train.context_dropout': 0.1},
    guidance={'train.context_dropout': 0.1, 'sample.guidance': 1.5},
  )
  add(
    'contrast',
    infonce={'train.infonce_weight': 0.1},
    beat_contrast={'train.beat_contrast_weight': 0.1},
  )
  add(
    'what it is told',
    no_bands={'wave.num_bands': 0, 'wave.is_whitened': False},
    half_the_bands={'wave.num_bands': lambda bands: (bands + 1) // 2},
    sound_not_whitened={'wave.is_whitened': False},
    said_bands={'train.true_bands': 0.0},
    sound_not_levelled={'wave.is_levelled': False},
    tempo_and_energy_never={'train.control_dropout': 1.0},
    style_always={'train.style_dropout': 0.0},
    style_half={'train.style_dropout': 0.5},
  )
  add(
    'pose encoder',
    window_of_3_s={'pose.window_s': 3.0, 'pose.look_ahead_s': 3.0},
    window_of_12_s={'pose.window_s': 12.0, 'dataset.crop_s': 12.0},
    one_block={'pose.num_blocks': 1},
    st_gcn={'pose.encoder': 'st_gcn'},
    context_stack={'wave.context_stack': 5},
  )
  add(
    'WaveNet',
    half_the_receptive_field={'wave.layers_per_cycle': _one_less},
    twice_the_receptive_field={'wave.layers_per_cycle': lambda n: n + 1},
    two_cycles_of_8={'wave.num_cycles': 2, 'wave.layers_per_cycle': 8},
    kernel_3={'wave.kernel': 3, 'wave.layers_per_cycle': _one_less},
    channels_32={'wave.residual': 32, 'wave.gate': 32},
    channels_64={'wave.residual': 64, 'wave.gate': 64},
    mixture={'wave.output': 'mixture'},
  )
  add(
    'steps',
    adam={'train.optimizer': 'adam'},
    twice_the_sound={'train.audio_crop_s': lambda crop_s: 2 * crop_s},
  )
  add(
    'sampling',
    temperature_of_four_fifths={'sample.temperature': 0.8},
    top_p_of_nine_tenths={'sample.top_p': 0.9},
    best_of_two={'sample.best_of': 2},
    best_of_four={'sample.best_of': 4},
    style_as_learned={'sample.style_strength': 1.0},
  )
  return levers


LEVERS: Mapping[str, Lever] = types.MappingProxyType(_levers())
