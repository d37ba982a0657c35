"""Score a set of generated clips: beats, the same by chance, a witness."""

import math
from collections.abc import Sequence

import numpy as np

from dance2wave.metrics.beat_detector import detect_beats
from dance2wave.metrics.beats import beat_scores, librosa_beats, tempo_within


def score_beats(
  generated: Sequence[np.ndarray],
  originals: Sequence[np.ndarray],
  references: Sequence[np.ndarray],
  sample_rate_hz: int,
  groups: Sequence[str] | None = None,
) -> tuple[dict[str, float], list[np.ndarray]]:
  """Score the beats of generated clips beside chance and the originals.

  Args:
    generated: waveforms, one per clip.
    originals: what was played to each dance.
    references: true beat times of each clip, in seconds.
    sample_rate_hz: of all waveforms.
    groups: of each clip, see `beat_scores`.

  Returns:
    Flat figures: beat_f70 and beat_f35, and each with `_shuffled` (other
    clips' beats), `_original` (the originals, heard by the same detector)
    and `_librosa` (the generated clips, heard by librosa); tempo_within_4,
    the share of clips whose tempo is within 4 %; and the beats that were
    heard in the generated clips.
  """
  durations_s = [len(audio_T) / sample_rate_hz for audio_T in generated]

  def hear(detect, waveforms):
    return [detect(audio_T, sample_rate_hz) for audio_T in waveforms]

  heard = hear(detect_beats, generated)
  figures = beat_scores(heard, references, durations_s, groups=groups)
  for suffix, beats in (
    ('original', hear(detect_beats, originals)),
    ('librosa', hear(librosa_beats, generated)),
  ):
    scores = beat_scores(beats, references, durations_s, num_derangements=0)
    for key in ('beat_f70', 'beat_f35'):
      figures[f'{key}_{suffix}'] = scores[key]
  figures['tempo_within_4'] = float(
    np.mean([tempo_within(h, r) for h, r in zip(heard, references)])
  )
  return figures, heard


def _cell(value: float | None) -> str:
  """Return a figure for the table; a dash where there is none."""
  known = value is not None and math.isfinite(value)
  return f'{value:7.3f}' if known else f'{"-":>7s}'


def format_table(figures: dict[str, float], num_clips: int) -> str:
  """Return a small table of the beat figures with their controls."""
  rows = (
    ('generated', ''),
    ('by chance (other clips)', '_shuffled'),
    ('original sound', '_original'),
    ('generated, heard by librosa', '_librosa'),
  )
  lines = [f'{f"beats of {num_clips} test clips":30s} F@70 ms  F@35 ms']
  for name, suffix in rows:
    at_70, at_35 = (figures[f'beat_f{t}{suffix}'] for t in (70, 35))
    lines.append(f'{name:30s} {_cell(at_70)}  {_cell(at_35)}')
  if 'nll' in figures:
    right, wrong = figures['nll'], figures['nll_shuffled_pose']
    lines.append(
      f'held-out nats per sample:{_cell(right)}, with another dance'
      f'{_cell(wrong)}'
    )
  return '\n'.join(lines)


# Figure and what it is called in the table.
_HELD_OUT_ROWS = (
  ('nll', 'nats per sample'),
  ('beat', 'beat, nats above the best'),
  ('onset', 'onset, nats above the best'),
  ('level', 'level, nats above the best'),
  ('loudness', 'loudness, nats above the best'),
  ('phase_cosine', 'beat phase, mean cosine'),
  ('style_accuracy', 'style accuracy'),
  ('audio_features', 'audio features, error'),
)


def format_held_out(figures: dict[str, float]) -> str:
  """Return a table of held-out figures beside those of chance.

  Chance is the neighbour's dance (or, in a run of sound alone, its labels)
  in place of the clip's own.
  """
  lines = [f'{"held-out clips":30s}  right   chance']
  for key, name in _HELD_OUT_ROWS:
    shuffled = [k for k in figures if k.startswith(f'{key}_shuffled')]
    if key in figures and shuffled:
      right, chance = figures[key], figures[shuffled[0]]
      lines.append(f'{name:30s}{_cell(right)}  {_cell(chance)}')
  return '\n'.join(lines)
