"""Score sounds for dances, whoever made them, and write the report.

a workdir's model ──> sounds ─┐
a folder of videos ───────────┼──> ruler ──> report.json, report.html
a dataset's originals ────────┘
"""

import dataclasses
import importlib.metadata
import math
import pathlib
import platform
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence

import numpy as np
import tqdm
from absl import logging

from dance2wave.datasets import opening
from dance2wave.datasets.workers import WorkerDied, ordered_map
from dance2wave.errors import InputError, check_folder
from dance2wave.media.clip import Waveform
from dance2wave.metrics import report, ruler, showcase, whole_set
from dance2wave.metrics.controls import CONTROLS
from dance2wave.metrics.style_classifier import (
  StyleClassifier,
  fit_style_classifier,
)
from dance2wave.pipeline import EvalClip, eval_clips
from dance2wave.pose.features import motion_size
from dance2wave.training.workdir import write_json

SAMPLE_RATE_HZ, POSE_RATE_HZ = 16_000, 50
NUM_CLIPS = 64  # that are scored of a split if nobody says how many
_TRAIN_CLIPS = 360  # that the style classifier hears
_VERSIONS = ('jax', 'flax', 'numpy', 'scipy', 'librosa', 'mir_eval')


@dataclasses.dataclass(frozen=True)
class _Task:
  """A sound to measure, in a process of its own."""

  clip: ruler.Scored
  audio_T: np.ndarray
  classifier: StyleClassifier | None


def _measure(task: _Task) -> tuple[dict[str, float], np.ndarray]:
  return ruler.measure(task.clip, task.audio_T, task.classifier)


def scored(
  clip: EvalClip, audio_T: np.ndarray, rate_hz: int, pose_rate_hz: int
):
  """Return a clip of a dataset with a sound that was made for it."""
  ready = clip.clip
  return ruler.Scored(
    clip_id=ready.clip_id,
    audio_T=audio_T,
    sample_rate_hz=rate_hz,
    duration_s=len(clip.audio_T) / rate_hz,
    pose_FJD=ready.pose_FJD,
    pose_rate_hz=pose_rate_hz,
    original_T=clip.audio_T if ready.has_audio else None,
    beats_s=ready.beats_s,
    style=ready.labels[0] if ready.labels else '',
    group=ready.group,
  )


def clips_of_dataset(
  name: str, data_dir: str | None, split: str, num_clips: int
) -> list[ruler.Scored]:
  """Return the first originals of a split as sounds to be scored."""
  source = opening.open_with_sound(name, data_dir, split=split)
  rates = {'sample_rate_hz': SAMPLE_RATE_HZ, 'pose_rate_hz': POSE_RATE_HZ}
  return [
    scored(clip, clip.audio_T, SAMPLE_RATE_HZ, POSE_RATE_HZ)
    for clip in eval_clips(source, num_clips=num_clips, **rates)
  ]


def train_classifier(
  name: str, data_dir: str | None, sample_rate_hz: int, pose_rate_hz: int
) -> StyleClassifier | None:
  """Return a classifier of a dataset's styles; None where it has too few.

  The rates are those of a model, of which one is a multiple of the other.
  """
  source = opening.open_with_sound(name, data_dir, split='train')
  clips = list(
    eval_clips(
      source,
      sample_rate_hz=sample_rate_hz,
      pose_rate_hz=pose_rate_hz,
      num_clips=_TRAIN_CLIPS,
    )
  )
  styles = [(c.clip.labels or ('',))[0] for c in clips]
  if len({*styles} - {''}) < 2:
    logging.warning('%s has fewer than two styles: none is judged', name)
    return None
  return fit_style_classifier(
    [c.audio_T for c in clips], sample_rate_hz, styles
  )


def measure_all(
  clips: Sequence[ruler.Scored], classifier: StyleClassifier | None
) -> tuple[list, list, dict[str, list]]:
  """Return figures and beats of each clip, and the figures of each control."""
  owners = []  # of the tasks that were begun; results are in their order

  def tasks():
    for kind in ('', *CONTROLS):
      own = (clip.audio_T for clip in clips)
      sounds = ruler.control_sounds(clips, kind) if kind else own
      for index, audio_T in enumerate(sounds):
        if audio_T is not None:
          owners.append((kind, index))
          yield _Task(clips[index], audio_T, classifier)

  num_sounds = len(clips) + sum(ruler.num_controls(clips, k) for k in CONTROLS)
  found = {kind: [{} for _ in clips] for kind in ('', *CONTROLS)}
  heard = [np.zeros(0)] * len(clips)
  results = tqdm.tqdm(
    ordered_map(_measure, tasks()), total=num_sounds, desc='score', unit='sound'
  )
  for result, (kind, index) in zip(results, owners):
    if isinstance(result, WorkerDied):
      what = kind or 'its sound'
      name = clips[index].clip_id
      logging.warning('%s: %s is not scored: %s', name, what, result.message)
      continue
    found[kind][index] = result[0]
    if not kind:
      heard[index] = result[1]
  rows = found.pop('')
  return rows, heard, {k: v for k, v in found.items() if any(v)}


def _flat(figures: Sequence[report.Figure]) -> dict[str, float]:
  """Return value, low and high of figures and their controls, by flat keys."""
  flat = {}
  for figure in figures:
    each = {'': (figure.value, figure.low, figure.high)}
    each |= {f'_{name}': values for name, values in figure.controls.items()}
    for suffix, values in each.items():
      for end, value in zip(('', '_low', '_high'), values):
        flat[f'{figure.key}{suffix}{end}'] = value
    flat[f'{figure.key}_is_fooled'] = float(figure.is_fooled)
  return flat


def _player(clip: ruler.Scored, heard_s, figures) -> report.ReportClip:
  """Return a clip with a video of its stick figure."""
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder, 'clip.mp4')
    waveform = Waveform(clip.audio_T, clip.sample_rate_hz)
    beats_s = clip.beats_s if len(clip.beats_s) else heard_s
    showcase.write_dance_video(
      path, clip.pose_FJD, clip.pose_rate_hz, waveform, beats_s
    )
    video = path.read_bytes()
  return report.ReportClip(
    clip.clip_id,
    clip.style,
    video,
    clip.audio_T,
    clip.sample_rate_hz,
    motion_size(clip.pose_FJD, clip.pose_rate_hz),
    clip.pose_rate_hz,
    clip.beats_s,
    heard_s,
    {k: v for k, v in figures.items() if math.isfinite(v)},
  )


def _chosen(rows: Sequence[Mapping[str, float]], num: int) -> list[int]:
  """Return the worst clips and the best by beat F; then those without."""
  scores = [row.get('beat_f70', math.nan) for row in rows]
  known = [i for i, score in enumerate(scores) if math.isfinite(score)]
  known.sort(key=lambda i: scores[i])
  unknown = [i for i, score in enumerate(scores) if not math.isfinite(score)]
  return [*dict.fromkeys([*known[: num - 1], *known[-1:], *unknown])][:num]


def _facts(more: Mapping[str, object]) -> dict[str, object]:
  versions = {name: importlib.metadata.version(name) for name in _VERSIONS}
  return {
    'command': ' '.join([pathlib.Path(sys.argv[0]).stem, *sys.argv[1:]]),
    'machine': f'{platform.machine()}, {platform.processor() or "CPU"}',
    'date': time.strftime('%Y-%m-%d'),
    'versions': {'python': platform.python_version(), **versions},
    **more,
  }


def write(
  output: pathlib.Path,
  title: str,
  clips: Sequence[ruler.Scored],
  *,
  classifier: StyleClassifier | None = None,
  counterfactuals: Sequence[report.Figure] = (),
  facts: Mapping[str, object] | None = None,
  left_out: Mapping[str, str] | None = None,
  num_players: int = 3,
) -> dict[str, object]:
  """Score clips and write report.json and report.html into a folder.

  `left_out` says by name why others are not among the clips.

  Returns:
    The figures of report.json.

  Raises:
    InputError: no clips.
  """
  if not clips:
    raise InputError(
      'there is nothing to score; expected at least one clip; give a split or '
      'a folder that has some'
    )
  rows, heard, controls = measure_all(clips, classifier)
  of_the_set = whole_set.of_the_set(clips, rows, heard)
  headline = [
    whole_set.beside_others(figure, of_the_set)
    for figure in ruler.make_figures(rows, controls, ruler.groups_of(clips))
  ]
  headline += whole_set.set_figures(of_the_set)
  facts = _facts({**(facts or {}), 'the set': of_the_set})
  flat = _flat([*headline, *counterfactuals]) | of_the_set
  flat |= {'left_out': dict(left_out)} if left_out else {}
  output.mkdir(parents=True, exist_ok=True)
  write_json(output / 'report.json', flat)
  players = [
    _player(clips[i], heard[i], rows[i]) for i in _chosen(rows, num_players)
  ]
  report.write_report(
    output / 'report.html',
    title=title,
    headline=headline,
    rows=[
      {'clip_id': clip.clip_id, 'style': clip.style, **row}
      for clip, row in zip(clips, rows)
    ],
    clips=players,
    facts=facts,
    counterfactuals=counterfactuals,
    left_out=left_out or {},
  )
  return flat


def write_controls(
  output: pathlib.Path, name: str, data_dir: str | None, num_clips: int | None
) -> dict[str, float]:
  """Write the report of originals and controls of a dataset's test clips."""
  clips = clips_of_dataset(name, data_dir, 'test', num_clips or NUM_CLIPS)
  check_folder(output, output)
  classifier = train_classifier(name, data_dir, SAMPLE_RATE_HZ, POSE_RATE_HZ)
  title = f'Originals and controls of {name}'
  facts = {'dataset': opening.contents([name], data_dir)}
  return write(output, title, clips, classifier=classifier, facts=facts)


def format_table(flat: Mapping[str, float]) -> str:
  """Return the headline of a report beside chance, for the terminal."""
  columns = {'shuffled': 8, 'other_dance': 11, 'chance': 6, 'p': 6}
  heads = '  '.join(f'{k.replace("_", " "):>{w}s}' for k, w in columns.items())
  lines = [f'{"":28s}  value   95 % interval   {heads}']
  for key in ruler.FIGURES:
    if key not in flat:
      continue
    low, high = flat[f'{key}_low'], flat[f'{key}_high']
    cells = []
    for name, width in columns.items():
      value = flat.get(f'{key}_{name}', math.nan)
      text = '-' if math.isnan(value) else f'{value:.3f}'
      cells.append(f'{text:>{width}s}')
    mark = '  (a control fools it)' if flat[f'{key}_is_fooled'] else ''
    lines.append(
      f'{ruler.FIGURES[key].name:28s} {flat[key]:6.3f}  [{low:6.3f}, '
      f'{high:6.3f}]  {"  ".join(cells)}{mark}'
    )
  return '\n'.join(lines)
