"""What the sound does when the dance is changed, which nobody reports.

Every dance is played as it is and changed; both sounds are drawn with the same
random numbers, so that what differs is the dance.
"""

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
from dance2wave.metrics import embedding, sound, statistics, timing
from dance2wave.metrics.beat_detector import detect_beats
from dance2wave.metrics.report_tables import Figure
from dance2wave.metrics.style_classifier import StyleClassifier
from dance2wave.options import Options
from dance2wave.pipeline import EvalClip
from dance2wave.pose.features import motion_features
from dance2wave.sampling import together
from dance2wave.sampling.offline import Dance, Generator

SHIFTS_S = (-0.3, -0.16, 0.16, 0.3)
STRETCHES = (0.85, 1.15)
ENERGIES_DB = (-30.0, -22.0)
TURNING_BPM, TEMPO_TOLERANCE = 105.0, 0.04
NUM_SEEDS = 3
# Tempi that dancers keep; faster or slower ones are heard an octave off.
TEMPI_BPM = (70.0, 170.0)

Sounds = Sequence[np.ndarray]


def _play(
  options: Options,
  generator: Generator,
  poses: Sequence[np.ndarray],
  styles: Sequence[int] = (-1,),
  seed: int | None = None,
  **wanted: Sequence[float],
) -> list[np.ndarray]:
  """Play dances; `wanted` are further fields of `Dance`, one for each."""
  hop, rate_hz = options.samples_per_frame, options.pose_rate_hz
  dances = [
    Dance(
      np.asarray(motion_features(pose_FJD, rate_hz), np.float32),
      len(pose_FJD) * hop,
      styles[index % len(styles)],
      **{name: values[index] for name, values in wanted.items()},
    )
    for index, pose_FJD in enumerate(poses)
  ]
  seed = options.sample.seed if seed is None else seed
  return together.generate(generator, dances, seed=seed)


def _later_s(
  before_s: np.ndarray, after_s: np.ndarray, shift_s: float
) -> float:
  """Return how much later beats became, looked for around `shift_s`."""
  if len(before_s) < 2 or not len(after_s):
    return math.nan
  errors_s, _ = timing.phase_errors_s(before_s + shift_s, after_s)
  return shift_s + float(np.median(errors_s)) if len(errors_s) else math.nan


def _slope(x: Sequence[float], y: Sequence[float]) -> float:
  """Return the slope of the line through 0 that fits best; NaN left out."""
  x, y = np.asarray(x, float), np.asarray(y, float)
  known = np.isfinite(y)
  return (
    float(x[known] @ y[known] / (x[known] @ x[known]))
    if known.any()
    else (math.nan)
  )


def _ratio(before_s: np.ndarray, after_s: np.ndarray, factor: float) -> float:
  """Return the logarithm of how much longer the median interval became.

  Not a number where the stretched tempo would be none that dancers have.
  """
  periods = [statistics.median_period_s(b) for b in (before_s, after_s)]
  slowest_bpm, fastest_bpm = TEMPI_BPM
  if not slowest_bpm <= 60 / (periods[0] * factor) <= fastest_bpm:
    return math.nan
  return float(np.log(periods[1] / periods[0]))


def _figure(
  key: str,
  name: str,
  values: Sequence[float],
  better: str,
  unit: str,
  what: str,
) -> Figure:
  known = np.isfinite(values).any()
  interval = (
    statistics.bootstrap_interval(values)[:3] if known else (math.nan,) * 3
  )
  return Figure(key, name, *interval, better, unit, what)


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
  poses = [clip.clip.pose_FJD for clip in clips]
  rate_hz, pose_rate_hz = options.sample_rate_hz, options.pose_rate_hz

  def play(
    change: Callable[[np.ndarray], np.ndarray], styles: Sequence[int] = (-1,)
  ) -> Sounds:
    return _play(options, generator, [change(p) for p in poses], styles)

  def hear(sounds: Sounds) -> list[np.ndarray]:
    return [np.asarray(detect_beats(audio_T, rate_hz)) for audio_T in sounds]

  def same_beats(sounds: Sounds) -> list[float]:
    pairs = zip(before_s, hear(sounds))
    return [timing.beat_f(b, a) if len(b) > 1 else math.nan for b, a in pairs]

  plain = play(lambda pose_FJD: pose_FJD)
  before_s = hear(plain)
  figures = _shift_figures(play, hear, before_s, pose_rate_hz)
  figures += _stretch_figures(play, hear, before_s)
  figures.append(
    _figure(
      'mirror_f70',
      'mirrored dancer: same beats',
      same_beats(play(mirrored)),
      'higher',
      '',
      'F at 70 ms of the beats against those of the dance as it is',
    )
  )
  figures += _loudness_figures(play, plain, rate_hz)
  figures += _asked_figures(options, generator, poses, before_s)
  figures.append(_diversity_figure(options, generator, poses, plain))
  if classifier:
    figures += _style_figures(options, play, same_beats, classifier)
  return figures


def _shift_figures(play, hear, before_s, pose_rate_hz) -> list[Figure]:
  later = []
  for shift_s in SHIFTS_S:
    frames = round(shift_s * pose_rate_hz)
    after_s = hear(play(lambda p, n=frames: shifted(p, n)))
    true_s = frames / pose_rate_hz
    pairs = zip(before_s, after_s)
    later.append([_later_s(b, a, true_s) for b, a in pairs])
  later_SC, shifts = (
    np.array(later),
    np.round(np.array(SHIFTS_S) * pose_rate_hz) / pose_rate_hz,
  )
  slopes = [_slope(shifts, column) for column in later_SC.T]
  residuals_ms = 1000 * np.nanmedian(np.abs(later_SC - shifts[:, None]), axis=0)
  return [
    _figure(
      'shift_slope',
      'dance shifted by d: beats shift by',
      slopes,
      '',
      'd',
      'slope over -300 to 300 ms; 1 is right',
    ),
    _figure(
      'shift_residual_ms',
      'what is left of the shift',
      residuals_ms,
      'lower',
      'ms',
      'median distance from the shift',
    ),
  ]


def _stretch_figures(play, hear, before_s) -> list[Figure]:
  ratios = []
  for factor in STRETCHES:
    after_s = hear(play(lambda p, f=factor: stretched(p, f)))
    pairs = zip(before_s, after_s)
    ratios.append([_ratio(b, a, factor) for b, a in pairs])
  slopes = [_slope(np.log(STRETCHES), column) for column in np.array(ratios).T]
  return [
    _figure(
      'stretch_slope',
      'dance stretched: beat interval stretches',
      slopes,
      '',
      '',
      'slope of logarithms over 0.85 and 1.15; 1 is right; only where the '
      'stretched tempo is between 70 and 170 bpm',
    )
  ]


def _loudness_figures(play, plain, rate_hz) -> list[Figure]:
  def change_db(change) -> list[float]:
    pairs = zip(plain, play(change))
    return [
      sound.loudness_db(a, rate_hz) - sound.loudness_db(b, rate_hz)
      for b, a in pairs
    ]

  return [
    _figure(
      'still_db',
      'still body: louder by',
      change_db(still),
      'lower',
      'dB',
      'the first pose held',
    ),
    _figure(
      'grown_db',
      f'movement {GROWTH} times as large: louder by',
      change_db(grown),
      'higher',
      'dB',
      'every joint that much farther from its mean',
    ),
  ]


def _asked_figures(options, generator, poses, before_s) -> list[Figure]:
  """Ask for energies, and for the other octave of the tempo that is heard."""
  rate_hz = options.sample_rate_hz
  levels_db = []
  for energy_db in ENERGIES_DB:
    wanted = [energy_db] * len(poses)
    sounds = _play(options, generator, poses, energy_db=wanted)
    levels_db.append([sound.loudness_db(a, rate_hz) for a in sounds])
  slopes = np.diff(levels_db, axis=0)[0] / np.diff(ENERGIES_DB)[0]
  asked = [_other_octave_bpm(beats_s) for beats_s in before_s]
  sounds = _play(options, generator, poses, tempo_bpm=asked)
  kept = [
    _is_tempo(detect_beats(audio_T, rate_hz), bpm)
    for audio_T, bpm in zip(sounds, asked)
  ]
  return [
    _figure(
      'energy_slope',
      'energy asked for: loudness follows',
      slopes,
      '',
      '',
      f'change of loudness from {ENERGIES_DB[0]:g} to {ENERGIES_DB[1]:g} dB, '
      'as a share of it; 1 is right',
    ),
    _figure(
      'other_octave_obeyed',
      'twice or half the tempo asked for: it is heard',
      kept,
      '',
      '',
      'share within 4 %; the dance has its own tempo, and contradicts',
    ),
  ]


def _other_octave_bpm(beats_s: np.ndarray) -> float:
  """Return twice the tempo of slow beats, half that of fast ones."""
  bpm = 60 / statistics.median_period_s(beats_s)
  return bpm * (2 if bpm < TURNING_BPM else 0.5)


def _is_tempo(beats_s: np.ndarray, bpm: float) -> float:
  if not math.isfinite(bpm):
    return math.nan
  heard_bpm = 60 / statistics.median_period_s(np.asarray(beats_s))
  return float(abs(heard_bpm / bpm - 1) <= TEMPO_TOLERANCE)


def _diversity_figure(options, generator, poses, plain) -> Figure:
  """Play the same dance with other random numbers."""
  first = options.sample.seed
  takes = [plain] + [
    _play(options, generator, poses, seed=first + n)
    for n in range(1, NUM_SEEDS)
  ]
  rate_hz = options.sample_rate_hz
  differences = [
    embedding.diversity(embedding.embed(list(of_clip), rate_hz))
    for of_clip in zip(*takes)
  ]
  return _figure(
    'seed_diversity',
    'other seeds: how different the sounds of one dance are',
    differences,
    '',
    '',
    f'mean distance of log-mel statistics over {NUM_SEEDS} seeds',
  )


def _style_figures(options, play, same_beats, classifier) -> list[Figure]:
  """Ask for every style in turn, one dance after the other."""
  known = [s for s in options.styles if s in classifier.styles]
  asked = [options.styles.index(style) for style in known]
  sounds = play(lambda p: p, asked)
  obeyed = [
    float(classifier.predict(audio_T)[0] == known[index % len(known)])
    for index, audio_T in enumerate(sounds)
  ]
  return [
    _figure(
      'style_obeyed',
      'style asked for is heard',
      obeyed,
      'higher',
      '',
      f'by our classifier; every dance is asked for one of {len(known)}, so '
      f'that chance is {1 / len(known):.2f}',
    ),
    _figure(
      'style_f70',
      'style asked for: same beats',
      same_beats(sounds),
      'higher',
      '',
      'F at 70 ms of the beats against those without a style',
    ),
  ]
