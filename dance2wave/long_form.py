"""Two minutes of one dance: does the sound keep the beat to the end?

Dancers of the synthetic test split, drawn at that length; the music of the
`natural` ones is less regular and their film is worse.
"""

import math
from collections.abc import Sequence

import numpy as np

from dance2wave import experiment, pipeline
from dance2wave.datasets.synthetic_dance.generate import Task, make_clip
from dance2wave.metrics import statistics, timing
from dance2wave.metrics.beat_detector import detect_beats
from dance2wave.metrics.report_tables import Figure
from dance2wave.options import Options
from dance2wave.sampling.offline import Generator

DURATION_S, END_S = 120.0, 10.0
_KINDS = {'two_minutes': False, 'two_minutes_natural': True}


def long_clips(
  options: Options, num_dances: int, *, is_natural: bool
) -> list[pipeline.EvalClip]:
  """Return the first dances of the test split, drawn at two minutes."""
  source = [
    make_clip(Task(i, 'test', is_natural=is_natural, duration_s=DURATION_S))
    for i in range(num_dances)
  ]
  return list(
    pipeline.eval_clips(
      source,
      sample_rate_hz=options.sample_rate_hz,
      pose_rate_hz=options.pose_rate_hz,
    )
  )


def _within(beats_s: np.ndarray, low_s: float, high_s: float) -> np.ndarray:
  return beats_s[(beats_s >= low_s) & (beats_s < high_s)] - low_s


def _figure(key, name, values, better, explanation, controls=None) -> Figure:
  interval = tuple(statistics.bootstrap_interval(values))[:3]
  return Figure(key, name, *interval, better, '', explanation, controls or {})


def _of_others(
  true: Sequence[np.ndarray], heard: Sequence[np.ndarray]
) -> tuple[float, float, float]:
  """Return mean F of the beats heard for other dances, with its interval.

  Dances are drawn, not pairs, as those of one dance agree. Two dances have no
  interval: both are in every draw that has a pair.
  """
  num = len(true)
  pairs_NN = statistics.pair_scores(
    lambda i, j: timing.beat_f(true[j], heard[i]), num
  )
  np.fill_diagonal(pairs_NN, np.nan)

  def mean(drawn_N):
    return statistics.mean_of_known(pairs_NN[np.ix_(drawn_N, drawn_N)].ravel())

  value, low, high = statistics.bootstrap_statistic(mean, num)[:3]
  return (value, low, high) if num > 2 else (value, math.nan, math.nan)


def _figures(
  key: str,
  clips: Sequence[pipeline.EvalClip],
  heard: Sequence[np.ndarray],
) -> list[Figure]:
  true = [clip.clip.beats_s for clip in clips]
  whole = [timing.beat_f(t, h) for t, h in zip(true, heard)]
  ends = {
    'first': (0.0, END_S),
    'last': (DURATION_S - END_S, DURATION_S),
  }
  beside = {'shuffled': _of_others(true, heard)}
  what = f'{len(clips)} dances of the test split, {DURATION_S:g} s each'
  title = key.replace('_', ' ')
  figures = [
    _figure(f'{key}_f70', f'{title}: F at 70 ms', whole, 'higher', what, beside)
  ]
  for name, (low_s, high_s) in ends.items():
    values = [
      timing.beat_f(_within(t, low_s, high_s), _within(h, low_s, high_s))
      for t, h in zip(true, heard)
    ]
    figures.append(
      _figure(
        f'{key}_f70_{name}',
        f'{title}, {name} {END_S:g} s: F at 70 ms',
        values,
        'higher',
        what,
      )
    )
  tempo = [float(timing.tempo_accuracies(t, h)[1]) for t, h in zip(true, heard)]
  figures.append(
    _figure(
      f'{key}_tempo', f'{title}: tempo, or its octave', tempo, 'higher', what
    )
  )
  return figures


def measure(
  options: Options, generator: Generator, num_dances: int
) -> list[Figure]:
  """Play dances of two minutes and return how their beats are kept.

  Args:
    options: of the model.
    generator: of sounds.
    num_dances: of each kind, two or more.
  """
  figures = []
  for key, is_natural in _KINDS.items():
    clips = long_clips(options, num_dances, is_natural=is_natural)
    sounds = experiment.sample_clips(generator, clips)
    heard = [
      np.asarray(detect_beats(audio_T, options.sample_rate_hz))
      for audio_T in sounds
    ]
    figures += _figures(key, clips, heard)
  return figures
