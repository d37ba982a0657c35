"""What can only be asked of a set of sounds: pairing, chance, distances."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from dance2wave.metrics import embedding, statistics, timing
from dance2wave.metrics.groups import pairs_of_groups
from dance2wave.metrics.report_tables import Figure
from dance2wave.metrics.ruler import MIN_BEATS, Scored, groups_of

# Every sound meets every dance: of so many clips that takes a minute.
_MAX_PAIRED = 300


def of_the_set(
  clips: Sequence[Scored],
  rows: Sequence[Mapping[str, float]],
  heard: Sequence[np.ndarray],
) -> dict[str, float]:
  """Return what can only be asked of a set: chance, p, distances.

  beat_f70_other_dance, beat_f35_other_dance: each sound against the beats of
    clips of other groups; `_chance`: what independent beats of those tempi get,
    analytically.
  beat_f70_p: of the pairing, by permutation of the groups. All these are of
    300 clips, spread over the set, if it has more.
  phase_median_abs_ms: median over clips of |median phase error|.
  frechet, frechet_originals: over log-mel statistics, of half of the sounds to
    the originals of the other clips; and of these two halves' originals.
  """
  figures = {'num_clips': float(len(clips))}
  labelled = [i for i, c in enumerate(clips) if len(c.beats_s) >= MIN_BEATS]
  if len(labelled) > 1:
    paired = labelled
    if len(labelled) > _MAX_PAIRED:
      chosen = np.linspace(0, len(labelled) - 1, _MAX_PAIRED).round()
      paired = [labelled[int(i)] for i in chosen]
    figures |= _pairing([clips[i] for i in paired], [heard[i] for i in paired])
    errors = [rows[i].get('phase_abs_ms', math.nan) for i in labelled]
    figures['phase_median_abs_ms'] = statistics.median_of_known(errors)
  with_original = [c for c in clips if c.original_T is not None]
  if len(with_original) > 3:
    rate_hz = clips[0].sample_rate_hz
    ours = embedding.embed([c.audio_T for c in with_original], rate_hz)
    theirs = embedding.embed([c.original_T for c in with_original], rate_hz)
    figures['frechet'] = embedding.frechet_halves(theirs, ours)
    figures['frechet_originals'] = embedding.frechet_halves(theirs)
  return figures


def _pairing(
  clips: Sequence[Scored], heard: Sequence[np.ndarray]
) -> dict[str, float]:
  figures = {}
  true = [clip.beats_s for clip in clips]
  ends_s = [clip.duration_s for clip in clips]
  periods_s = [statistics.median_period_s(beats_s) for beats_s in heard]
  groups = np.array(groups_of(clips))
  is_other = groups[:, None] != groups[None]
  for key, tolerance_s in (('beat_f70', 0.070), ('beat_f35', 0.035)):

    def score(i: int, j: int, tolerance_s: float = tolerance_s) -> float:
      end_s = min(ends_s[i], ends_s[j])
      return timing.beat_f(true[j], heard[i], tolerance_s, end_s)

    pairs_NN = statistics.pair_scores(score, len(clips))
    others = statistics.mean_of_known(pairs_NN[is_other])
    figures[f'{key}_other_dance'] = others
    figures[f'{key}_chance'] = statistics.shuffled_chance_f(
      true, periods_s, ends_s, tolerance_s
    )
    figures[f'{key}_p'] = statistics.permutation_p(
      pairs_of_groups(pairs_NN, list(groups))
    )
  return figures


def beside_others(figure: Figure, of_the_set: Mapping[str, float]) -> Figure:
  """Return a figure with what its sounds get for other dances, if known."""
  value = of_the_set.get(f'{figure.key}_other_dance', math.nan)
  if math.isnan(value):
    return figure
  others = {'other_dance': (value, math.nan, math.nan)}
  return dataclasses.replace(figure, controls={**figure.controls, **others})


def set_figures(of_the_set: Mapping[str, float]) -> list[Figure]:
  """Return what is asked of a set and has a place beside `make_figures`."""
  if 'frechet' not in of_the_set:
    return []
  nothing = math.nan, math.nan
  return [
    Figure(
      'frechet',
      'Frechet distance of log-mel statistics',
      of_the_set['frechet'],
      *nothing,
      'lower',
      '',
      'half of the sounds to the originals of the other clips; beside it that '
      'of both halves of the originals',
      {'original': (of_the_set['frechet_originals'], *nothing)},
    )
  ]
