"""What the sound does when the dance is changed, which nobody reports.

Every dance is played as it is and changed; both sounds are drawn with the same
random numbers, so that what differs is the dance. Beside each figure stands
what a sound gets that does not notice, and that of another dance.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np

from dance2wave.changes import (
  GROWTH,
  grown,
  mirrored,
  shifted,
  still,
  stretched,
)
from dance2wave.metrics import embedding, follow, sound
from dance2wave.metrics.beat_detector import detect_beats
from dance2wave.metrics.chords import CHORDS, heard_chord
from dance2wave.metrics.groups import next_of_others
from dance2wave.metrics.report_tables import Figure
from dance2wave.metrics.ruler import groups_of
from dance2wave.metrics.style_classifier import StyleClassifier
from dance2wave.options import Options
from dance2wave.pipeline import EvalClip
from dance2wave.playing import play_poses
from dance2wave.sampling.offline import Generator

SHIFTS_S = (-0.3, -0.16, 0.16, 0.3)
STRETCHES = (0.85, 1.15)
ENERGIES_DB = (-30.0, -22.0)
NUM_SEEDS = 3

Sounds = Sequence[np.ndarray]


class _Dances:
  """Dances that are played again and again.

  Attributes:
    options: of the model.
    generator: of sounds.
    poses: of each dance.
    groups: of each dance; a figure is a mean over these.
    others: another dance for each, None where there is none.
    plain: sounds of the dances as they are.
    beats: of these.
  """

  def __init__(self, options, generator, clips):
    self.options, self.generator = options, generator
    self.poses = [clip.clip.pose_FJD for clip in clips]
    self.groups = groups_of([clip.clip for clip in clips])
    self.others = next_of_others(self.groups)
    self.plain = self.play()
    self.beats = self.hear(self.plain)

  def play(
    self, change: Callable[[np.ndarray], np.ndarray] | None = None, **asked
  ) -> Sounds:
    """Play all dances, changed, with what is asked for."""
    poses = [change(p) for p in self.poses] if change else self.poses
    return play_poses(self.options, self.generator, poses, **asked)

  def hear(self, sounds: Sounds) -> list[np.ndarray]:
    """Return the beats of each sound."""
    rate_hz = self.options.sample_rate_hz
    return [np.asarray(detect_beats(audio_T, rate_hz)) for audio_T in sounds]

  def beside_chance(self, compare, after_SC):
    """Compare beats after changes with those before, and beside chance."""
    return follow.beside_chance(compare, self.beats, after_SC, self.others)

  def figure(self, key, name, found, better, unit, what) -> Figure:
    """Return a figure over the dances; see `follow.make_figure`."""
    given = key, name, found, better, unit, what
    return follow.make_figure(*given, self.groups)

  def loudness_db(self, sounds: Sounds) -> list[float]:
    """Return the loudness of each sound."""
    return [sound.loudness_db(s, self.options.sample_rate_hz) for s in sounds]


def measure(
  options: Options,
  generator: Generator,
  clips: Sequence[EvalClip],
  classifier: StyleClassifier | None = None,
) -> list[Figure]:
  """Play changed dances and return what their sounds did.

  Args:
    options: of the model.
    generator: of sounds.
    clips: whole test dances.
    classifier: of styles; without it nothing is said of swapped styles.
  """
  dances = _Dances(options, generator, clips)
  figures = _shift_figures(dances) + _stretch_figures(dances)
  mirrored_beats = dances.hear(dances.play(mirrored))
  figures.append(
    dances.figure(
      'mirror_f70',
      'mirrored dancer: same beats',
      dances.beside_chance(follow.same_beats, [mirrored_beats]),
      'higher',
      '',
      'F at 70 ms of the beats against those of the dance as it is',
    )
  )
  figures += _loudness_figures(dances)
  figures += _asked_figures(dances) + _chord_figures(dances)
  figures.append(_diversity_figure(dances))
  if classifier:
    figures += _style_figures(dances, classifier)
  return figures


def _shift_figures(dances: _Dances) -> list[Figure]:
  rate_hz = dances.options.pose_rate_hz
  frames = [round(shift_s * rate_hz) for shift_s in SHIFTS_S]
  after_SC = [
    dances.hear(dances.play(lambda p, n=n: shifted(p, n))) for n in frames
  ]
  shifts_s = np.array(frames) / rate_hz
  slopes, residuals_ms = (
    dances.beside_chance(follow.shifts_of_beats(shifts_s, which), after_SC)
    for which in (False, True)
  )
  return [
    dances.figure(
      'shift_residual_ms',
      'dance shifted: what is left of the shift of the beats',
      residuals_ms,
      'lower',
      'ms',
      'median distance from the shift',
    ),
    dances.figure(
      'shift_slope',
      'dance shifted by d: beats shift by',
      slopes,
      '',
      'd',
      'slope over -300 to 300 ms; 1 is right, and near 1 by chance, because '
      'beats are looked for around the shift: read what is left of it',
    ),
  ]


def _stretch_figures(dances: _Dances) -> list[Figure]:
  after_SC = [
    dances.hear(dances.play(lambda p, f=f: stretched(p, f))) for f in STRETCHES
  ]
  compare = follow.stretches_of_beats(STRETCHES)
  return [
    dances.figure(
      'stretch_slope',
      'dance stretched: beat interval stretches',
      dances.beside_chance(compare, after_SC),
      '',
      '',
      'slope of logarithms over 0.85 and 1.15; 1 is right; only where the '
      'stretched tempo is between 70 and 170 bpm',
    )
  ]


def _loudness_figures(dances: _Dances) -> list[Figure]:
  plain_db = np.array(dances.loudness_db(dances.plain))

  def louder_db(change):
    changed_db = np.array(dances.loudness_db(dances.play(change)))
    return {'': changed_db - plain_db, 'unchanged': plain_db - plain_db}

  return [
    dances.figure(
      'still_db',
      'still body: louder by',
      louder_db(still),
      'lower',
      'dB',
      'one pose held, the first in which the most joints are seen',
    ),
    dances.figure(
      'grown_db',
      f'movement {GROWTH} times as large: louder by',
      louder_db(grown),
      'higher',
      'dB',
      'every joint that much farther from its mean',
    ),
  ]


def _asked_figures(dances: _Dances) -> list[Figure]:
  """Ask for energies, and for the other octave of the tempo that is heard."""
  levels_db = [
    dances.loudness_db(dances.play(energy_db=[energy_db] * len(dances.poses)))
    for energy_db in ENERGIES_DB
  ]
  slopes = np.diff(levels_db, axis=0)[0] / np.diff(ENERGIES_DB)[0]
  asked = [follow.other_octave_bpm(beats_s) for beats_s in dances.beats]
  heard = dances.hear(dances.play(tempo_bpm=asked))
  return [
    dances.figure(
      'energy_slope',
      'energy asked for: loudness follows',
      {'': slopes, 'unchanged': 0 * slopes},
      '',
      '',
      f'change of loudness from {ENERGIES_DB[0]:g} to {ENERGIES_DB[1]:g} dB, '
      'as a share of it; 1 is right',
    ),
    dances.figure(
      'other_octave_obeyed',
      'twice or half the tempo asked for: it is heard',
      dances.beside_chance(follow.is_other_octave, [heard]),
      '',
      '',
      'share within 4 %; the dance has its own tempo, and contradicts; only '
      'where the detector hears beats of the tempo that is asked for',
    ),
  ]


def _chord_figures(dances: _Dances) -> list[Figure]:
  """Ask for one chord after the other, each of a whole dance."""
  # Neighbours are a fifth apart, so that a few dances have unlike ones.
  asked = [CHORDS[7 * n % len(CHORDS)] for n in range(len(dances.poses))]
  sounds = dances.play(chords=asked)

  def obeyed(sounds):
    rate_hz = dances.options.sample_rate_hz
    return [heard_chord(s, rate_hz) == a for s, a in zip(sounds, asked)]

  return [
    dances.figure(
      'chord_obeyed',
      'chord asked for is heard',
      {'': obeyed(sounds), 'unchanged': obeyed(dances.plain)},
      'higher',
      '',
      f'by librosa, of {len(CHORDS)} major and minor ones, so that chance is '
      f'{1 / len(CHORDS):.2f}',
    ),
    dances.figure(
      'chord_f70',
      'chord asked for: same beats',
      dances.beside_chance(follow.same_beats, [dances.hear(sounds)]),
      'higher',
      '',
      'F at 70 ms of the beats against those without a chord',
    ),
  ]


def _diversity_figure(dances: _Dances) -> Figure:
  """Play the same dance with other random numbers."""
  first, rate_hz = dances.options.sample.seed, dances.options.sample_rate_hz
  takes = [dances.plain] + [
    dances.play(seed=first + n) for n in range(1, NUM_SEEDS)
  ]
  differences = [
    embedding.diversity(embedding.embed(list(of_clip), rate_hz))
    for of_clip in zip(*takes)
  ]
  figure = dances.figure(
    'seed_diversity',
    'other seeds: how different the sounds of one dance are',
    {'': differences},
    '',
    '',
    f'mean distance of log-mel statistics over {NUM_SEEDS} seeds; shuffled is '
    'that of different dances',
  )
  if len(dances.plain) == 1:
    return figure
  others = embedding.diversity(embedding.embed(list(dances.plain), rate_hz))
  chance = {'shuffled': (others, math.nan, math.nan)}
  return dataclasses.replace(figure, controls=chance)


def ask_styles(
  options: Options,
  generator: Generator,
  poses: Sequence[np.ndarray],
  classifier: StyleClassifier,
) -> tuple[Sounds, list[str]]:
  """Ask for every style in turn, one dance after the other.

  Returns:
    The sounds, and the style that was asked for of each. Nothing where the
    model and the classifier share no style.
  """
  known = [s for s in options.styles if s in classifier.styles]
  if not known:
    return [], []
  asked = [known[index % len(known)] for index in range(len(poses))]
  places = [options.styles.index(style) for style in known]
  return play_poses(options, generator, poses, places), asked


def _style_figures(dances: _Dances, classifier) -> list[Figure]:
  sounds, asked = ask_styles(
    dances.options, dances.generator, dances.poses, classifier
  )
  if not asked:
    return []
  chance = 1 / len(set(dances.options.styles) & set(classifier.styles))
  obeyed = {
    '': classifier.is_heard(sounds, asked),
    'unchanged': classifier.is_heard(dances.plain, asked),
  }
  return [
    dances.figure(
      'style_obeyed',
      'style asked for is heard',
      obeyed,
      'higher',
      '',
      'by our classifier; every dance is asked for one style, so that chance '
      f'is {chance:.2f}',
    ),
    dances.figure(
      'style_f70',
      'style asked for: same beats',
      dances.beside_chance(follow.same_beats, [dances.hear(sounds)]),
      'higher',
      '',
      'F at 70 ms of the beats against those without a style',
    ),
  ]
