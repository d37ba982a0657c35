"""One ruler for any set of sounds: every figure beside what controls get.

clips (sound, original, beats, dance) ──> per clip: figures of the sound
                                     └──> the same for eight controls
both ──> means with bootstrap intervals, p of pairing, chance
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from dance2wave.metrics import (
  kinematic,
  legacy,
  sound,
  statistics,
  structure,
  timing,
)
from dance2wave.metrics.beat_detector import detect_beats
from dance2wave.metrics.controls import make_control
from dance2wave.metrics.groups import mean_of_each, next_of_others
from dance2wave.metrics.report_tables import Figure
from dance2wave.metrics.style_classifier import StyleClassifier
from dance2wave.pose.features import motion_size

MIN_BEATS = 2


@dataclasses.dataclass(frozen=True)
class Scored:
  """One clip to be scored.

  Attributes:
    clip_id: unique.
    audio_T: (T,) float32 the sound that is judged.
    sample_rate_hz: of both sounds.
    duration_s: of the dance.
    pose_FJD: (F, 14, 3) cleaned core14 on the grid k / pose_rate_hz.
    pose_rate_hz: of the poses.
    original_T: what was played to the dance; None where nobody knows.
    beats_s: its true beats; empty where nobody knows.
    style: of the original; '' where nobody knows.
    group: its performance, song or video; '' where it is a clip by itself.
  """

  clip_id: str
  audio_T: np.ndarray
  sample_rate_hz: int
  duration_s: float
  pose_FJD: np.ndarray
  pose_rate_hz: int
  original_T: np.ndarray | None = None
  beats_s: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0))
  style: str = ''
  group: str = ''


@dataclasses.dataclass(frozen=True)
class _Kind:
  """What is known of a figure before it is measured."""

  name: str
  better: str
  unit: str
  explanation: str


FIGURES: Mapping[str, _Kind] = {
  'beat_f70': _Kind('beats, F at 70 ms', 'higher', '', 'mir_eval, untrimmed'),
  'beat_f35': _Kind('beats, F at 35 ms', 'higher', '', 'mir_eval, untrimmed'),
  'tempo_acc1': _Kind('tempo within 4 %', 'higher', '', 'median interval'),
  'tempo_acc2': _Kind('tempo, or its octave', 'higher', '', '2, 3, 1/2, 1/3'),
  'phase_abs_ms': _Kind(
    'beat phase error', 'lower', 'ms', 'absolute median of a clip'
  ),
  'phase_concentration': _Kind(
    'beat phase concentration', '', '', 'length of the mean angle, 0 to 1'
  ),
  'onset_f': _Kind('onsets, F at 70 ms', 'higher', '', "the original's onsets"),
  'motion_alignment': _Kind(
    'motion beats above chance',
    'higher',
    '',
    'harmonic alignment less its mean over circular shifts; needs no label',
  ),
  'structure': _Kind(
    'structure above chance',
    'higher',
    '',
    'Pearson r of self-similarities '
    'less its mean over circular shifts; needs no label',
  ),
  'loudness_motion': _Kind(
    'loudness follows movement', 'higher', '', 'Spearman within a clip'
  ),
  'style_accuracy': _Kind('style', 'higher', '', 'by our own classifier'),
  'spectral_distance': _Kind(
    'spectral distance', 'lower', '', 'multi-scale, to the original'
  ),
  'loudness_db': _Kind('loudness', '', 'LUFS', 'BS.1770, one channel'),
  'silent_share': _Kind('silence', '', '', 'share of frames'),
  'clipped_share': _Kind('clipping', '', '', 'share of samples'),
  'dc_offset': _Kind('mean of the samples', '', '', '0 is right'),
  'legacy_d2mgan_coverage': _Kind(
    'legacy: D2M-GAN coverage', 'higher', '', 'onsets in bins of one second'
  ),
  'legacy_d2mgan_hit': _Kind(
    'legacy: D2M-GAN hit', 'higher', '', 'onsets in bins of one second'
  ),
  'legacy_loris_precision': _Kind(
    'legacy: LORIS BCS, a precision', 'higher', '', 'onsets in bins of 1 s'
  ),
  'legacy_loris_recall': _Kind(
    'legacy: LORIS BHS, a recall', 'higher', '', 'onsets in bins of 1 s'
  ),
  'legacy_aist_alignment': _Kind(
    'legacy: AIST++ beat alignment', 'higher', '', 'motion beats to music beats'
  ),
  'legacy_bailando_alignment': _Kind(
    'legacy: Bailando alignment', 'higher', '', 'music beats to motion beats'
  ),
}


def _timing_figures(clip: Scored, heard_s: np.ndarray) -> dict[str, float]:
  true_s = clip.beats_s
  if len(true_s) < MIN_BEATS:
    return {}
  acc1, acc2 = timing.tempo_accuracies(true_s, heard_s)
  median_ms, _, concentration = timing.phase_statistics(
    *timing.phase_errors_s(true_s, heard_s)
  )
  return {
    'beat_f70': timing.beat_f(true_s, heard_s, 0.070, clip.duration_s),
    'beat_f35': timing.beat_f(true_s, heard_s, 0.035, clip.duration_s),
    'tempo_acc1': float(acc1),
    'tempo_acc2': float(acc2),
    'phase_median_ms': median_ms,
    'phase_abs_ms': abs(median_ms),
    'phase_concentration': concentration,
  }


def _motion_figures(
  clip: Scored, audio_T: np.ndarray, heard_s: np.ndarray
) -> dict[str, float]:
  rate_hz = clip.pose_rate_hz
  motion_s = kinematic.combined_beats(clip.pose_FJD, rate_hz).beats_s
  aligned = kinematic.alignment(motion_s, heard_s)
  by_chance = kinematic.alignment_chance(motion_s, heard_s, clip.duration_s)
  similar = structure.structure_scores(
    audio_T, clip.sample_rate_hz, clip.pose_FJD, rate_hz
  )
  return {
    'motion_alignment': aligned.harmonic - by_chance.harmonic,
    'structure': similar['structure'] - similar['structure_chance'],
    'loudness_motion': sound.loudness_motion_correlation(
      audio_T, clip.sample_rate_hz, motion_size(clip.pose_FJD, rate_hz), rate_hz
    ),
    'legacy_aist_alignment': legacy.aist_beat_alignment(
      clip.pose_FJD, rate_hz, heard_s
    ),
    'legacy_bailando_alignment': legacy.bailando_beat_alignment(
      clip.pose_FJD, rate_hz, heard_s
    ),
  }


def _against_original(clip: Scored, audio_T: np.ndarray) -> dict[str, float]:
  if clip.original_T is None:
    return {}
  num = min(len(audio_T), len(clip.original_T))
  pair = clip.original_T[:num], audio_T[:num]
  coverage, hit = legacy.d2mgan_coverage_hit(*pair, clip.sample_rate_hz)
  loris = legacy.loris_scores([pair], clip.sample_rate_hz)
  return {
    'onset_f': timing.onset_f(*pair, clip.sample_rate_hz),
    'spectral_distance': sound.spectral_distance(*pair, clip.sample_rate_hz),
    'legacy_d2mgan_coverage': coverage,
    'legacy_d2mgan_hit': hit,
    'legacy_loris_precision': loris.bcs,
    'legacy_loris_recall': loris.bhs,
  }


def measure(
  clip: Scored,
  audio_T: np.ndarray,
  classifier: StyleClassifier | None = None,
) -> tuple[dict[str, float], np.ndarray]:
  """Return all figures of a sound for the dance of a clip, and its beats.

  What cannot be asked (no labels, no original) is not a number.
  """
  rate_hz = clip.sample_rate_hz
  heard_s = np.asarray(detect_beats(audio_T, rate_hz))
  figures = dict.fromkeys(FIGURES, math.nan) | {
    'loudness_db': sound.loudness_db(audio_T, rate_hz),
    'silent_share': sound.silent_share(audio_T, rate_hz),
    'clipped_share': sound.clipped_share(audio_T),
    'dc_offset': sound.dc_offset(audio_T),
    **_timing_figures(clip, heard_s),
    **_motion_figures(clip, audio_T, heard_s),
    **_against_original(clip, audio_T),
  }
  if classifier and clip.style in classifier.styles:
    figures['style_accuracy'] = float(
      classifier.predict(audio_T)[0] == clip.style
    )
  return figures, heard_s


def groups_of(clips: Sequence[Scored]) -> list[str]:
  """Return the group of each clip; one by itself has one of its own."""
  return [f'group {c.group}' if c.group else c.clip_id for c in clips]


def _has_control(clip: Scored, other: Scored | None, kind: str) -> bool:
  """Return whether a control can be made for a clip."""
  if clip.original_T is None:
    return False
  if kind == 'shuffled':
    return other is not None and other.original_T is not None
  return not kind.startswith('metronome') or len(clip.beats_s) >= MIN_BEATS


def _others(clips: Sequence[Scored]) -> list[Scored | None]:
  """Return for each clip the next one of another group, None without one."""
  places = next_of_others(groups_of(clips))
  return [None if place is None else clips[place] for place in places]


def num_controls(clips: Sequence[Scored], kind: str) -> int:
  """Return of how many clips `control_sounds` can make a control."""
  pairs = zip(clips, _others(clips))
  return sum(_has_control(clip, other, kind) for clip, other in pairs)


def control_sounds(
  clips: Sequence[Scored], kind: str, seed: int = 0
) -> Iterator[np.ndarray | None]:
  """Yield a control's sound for each clip; None where it cannot be made.

  The shuffled one is the original of the next clip of another group.
  """
  for index, (clip, other) in enumerate(zip(clips, _others(clips))):
    if not _has_control(clip, other, kind):
      yield None
      continue
    yield make_control(
      kind,
      original_T=clip.original_T,
      beats_s=clip.beats_s,
      sample_rate_hz=clip.sample_rate_hz,
      rng=np.random.default_rng((seed, index)),
      other_T=other.original_T if other else None,
    )


def _interval(
  rows: Sequence[Mapping[str, float]], key: str, groups: Sequence[str] | None
):
  values = mean_of_each([row.get(key, math.nan) for row in rows], groups)
  return tuple(statistics.bootstrap_interval(values))[:3]


def make_figures(
  rows: Sequence[Mapping[str, float]],
  controls: Mapping[str, Sequence[Mapping[str, float]]],
  groups: Sequence[str] | None = None,
) -> list[Figure]:
  """Return every figure that has a value, with those of the controls.

  Figures are means over the groups of clips; None are groups of one.
  """
  figures = []
  for key, kind in FIGURES.items():
    value = _interval(rows, key, groups)
    beside = {k: _interval(each, key, groups) for k, each in controls.items()}
    known = {name: v for name, v in beside.items() if math.isfinite(v[0])}
    if math.isfinite(value[0]):
      figures.append(
        Figure(
          key,
          kind.name,
          *value,
          kind.better,
          kind.unit,
          kind.explanation,
          known,
        )
      )
  return figures
