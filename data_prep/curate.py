"""Score the clips of a folder and list those that are worth training on.

    python -m data_prep.curate --input=VIDEOS --output=DIR

DIR/scores.csv has a row per file, DIR/keep.txt the kept paths (clip_folder
takes it as --manual_dir), DIR/contact_sheet.png the best and worst to look at.
DIR/scores.jsonl keeps what was measured: another run measures only files that
are new, changed or failed. Poses come from --pose_dir or the .npz beside a
video (nothing is known of others then), else they are found: see DIR/poses.

Right pairs of dance and music that the defaults keep, and wrong ones (another
clip's music): 86 % and 3 % of 160 synthetic clips of the validation split, on
which they were chosen; 77 % and 6 % of 120 test clips as videos
(`pytest -m slow tests/test_curate.py -k sweep`), 82 % and 3 % of 120 training
clips. Late by 0.2 to 0.8 beats: 19 %. alignment_z alone would keep 15 % of the
wrong ones, tempo_z alone 41 % of the late ones. All 12 wrong ones that passed
in test and training have the right tempo within 4 %, or half of it. Real dances
with their own music were not at hand. A photo has a motion_size of 0.07, dances
0.35 to 1.4. Changes at scene cuts are 0.44 to 0.8, elsewhere at most 0.11.
"""

import contextlib
import csv
import dataclasses
import functools
import json
import math
import operator
import os
import pathlib
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import tqdm
from absl import flags

from dance2wave import cores
from dance2wave.datasets.listing import visible_files
from dance2wave.datasets.video_clips import SUFFIXES
from dance2wave.datasets.work import is_unicode
from dance2wave.datasets.workers import WorkerDied, ordered_map
from dance2wave.errors import InputError, one_line_errors, run_tool
from dance2wave.media.audio import replacing
from dance2wave.pose.model_file import find_model, import_mediapipe
from data_prep.contact_sheet import SheetRow, write_sheet
from data_prep.curation import CurationJob, measure
from data_prep.output import make_output
from data_prep.part import sha256_of

# Flag -> (default, help); the column that it judges is its name without the
# first word. Where a clip has no value there is nothing to judge.
THRESHOLDS = {
  'min_duration_s': (4.0, 'Seconds; shorter ones cannot be tested.'),
  'max_silent_share': (0.3, 'Share of 20 ms frames below -50 dB.'),
  'min_loudness_db': (-40.0, 'Root mean square, 0 dB is full scale.'),
  'max_clipped_share': (0.02, 'Share of samples at full scale.'),
  'min_person_share': (0.8, 'Share of frames with a person.'),
  'min_main_dancer_share': (0.8, 'Share of those with one main dancer.'),
  'max_num_scene_cuts': (0.0, 'Scene cuts.'),
  'min_motion_size': (0.15, 'Mean joint speed, torsos per second.'),
  'min_alignment_z': (1.0, 'Above chance: the sound at other times.'),
  'min_tempo_z': (2.5, 'Above chance: the sound at other speeds.'),
}
COLUMNS = (
  *('path', 'duration_s', 'frame_rate_hz', 'has_sound', 'silent_share'),
  *('loudness_db', 'clipped_share', 'person_share', 'num_people'),
  *('main_dancer_share', 'num_scene_cuts', 'scene_cuts_s', 'motion_size'),
  *('tempo_bpm', 'alignment', 'alignment_z', 'alignment_p', 'tempo_z'),
  *('keep', 'reasons'),
)
_FAILS = {'min': ('<', operator.lt), 'max': ('>', operator.gt)}
_MEASUREMENT = 1  # older ones in scores.jsonl do not count


def _define_flags() -> None:
  """Define the flags; not at import, as other tools have some of them too."""
  flags.DEFINE_multi_string(
    'input', [], 'Folder of videos, or a video; may be given more than once.'
  )
  flags.DEFINE_string('output', None, 'Folder for table, list and picture.')
  flags.DEFINE_string('pose_dir', None, 'Pose files, as extract_poses does it.')
  flags.DEFINE_string('pose_model', None, 'Pose landmarker .task file.')
  flags.DEFINE_integer(
    'num_workers',
    None,
    'Clips at once; half the cores if not given.',
    lower_bound=0,
  )
  flags.DEFINE_integer(
    'num_rows', 20, 'Clips on the contact sheet.', lower_bound=0
  )
  for name, (default, text) in THRESHOLDS.items():
    flags.DEFINE_float(name, default, text)


def _find_clips(path: pathlib.Path) -> Iterator[tuple[pathlib.Path, ...]]:
  """Yield the folder of an input and each video's path inside it."""
  if not path.exists():
    raise InputError(
      f'input is {path}, which does not exist; expected a video or a folder '
      'of videos; correct --input'
    )
  folder = path if path.is_dir() else path.parent
  for found in visible_files(path) if path.is_dir() else [path]:
    if found.suffix.lower() in SUFFIXES and found.is_file():
      yield folder.resolve(), found.relative_to(folder)


def find_jobs(
  inputs: Iterable[str | os.PathLike],
  output: pathlib.Path,
  pose_dir: str | os.PathLike | None = None,
) -> tuple[pathlib.Path, list[CurationJob]]:
  """Return the root of all names, and what is to be done.

  The root is the input folder, or the common folder of several. InputError:
  no such input or pose_dir; no video; two that differ in their suffix only; a
  root that keep.txt cannot hold.
  """
  if pose_dir is not None and not pathlib.Path(pose_dir).is_dir():
    raise InputError(
      f'pose_dir is {pose_dir}, which is no folder; expected pose files as '
      'data_prep.extract_poses writes them; correct --pose_dir'
    )
  found = [clip for path in inputs for clip in _find_clips(pathlib.Path(path))]
  if not found:
    raise InputError(
      f'input holds no video; expected files ending in {", ".join(SUFFIXES)}; '
      'correct --input'
    )
  root = pathlib.Path(os.path.commonpath([folder for folder, _ in found]))
  if not _is_line(root):
    raise InputError(
      f'input is in {str(root)!r}, which has a line break or is not UTF-8; '
      'expected a name that keep.txt can hold; rename the folder'
    )
  jobs: dict[pathlib.Path, CurationJob] = {}
  clips = {folder / inside: inside for folder, inside in found}
  for video, inside in clips.items():
    name = video.relative_to(root)
    target = output / 'poses' / name.with_suffix('.npz')
    places = [video.with_suffix('.npz')]
    if pose_dir is not None:
      places.insert(0, pathlib.Path(pose_dir) / inside.with_suffix('.npz'))
    pose_path = next((place for place in places if place.exists()), None)
    if target in jobs:
      raise InputError(
        f'{jobs[target].video} and {video} would share one pose file; '
        'expected names that differ before the suffix; rename one'
      )
    jobs[target] = CurationJob(
      video, name.as_posix(), pose_path, pose_target=target
    )
  return root, list(jobs.values())


def _key(job: CurationJob, model: str) -> str:
  """Return what a measurement depends on: if it is equal, so is the result."""
  key = [_MEASUREMENT, str(job.video), str(job.pose_path or model)]
  # A file that is gone since it was listed will be a row that says so.
  with contextlib.suppress(OSError):
    for path in [job.video] + ([job.pose_path] if job.pose_path else []):
      key += [path.stat().st_size, path.stat().st_mtime_ns]
  return json.dumps(key)


def read_finished(ledger: pathlib.Path) -> dict[str, dict[str, Any]]:
  """Return the rows of earlier runs by key; half a line does not count."""
  rows = {}
  if ledger.exists():
    for line in ledger.read_text('utf-8', errors='replace').splitlines():
      with contextlib.suppress(json.JSONDecodeError, KeyError, TypeError):
        entry = json.loads(line)
        rows[entry['key']] = entry['row']
  return rows


def measure_all(
  jobs: Mapping[str, CurationJob], ledger: pathlib.Path, num_workers: int
) -> Iterator[dict[str, Any]]:
  """Yield the rows of jobs by key; each is in the ledger by then.

  Rows with an error are not: another run tries these files again.
  """
  results = ordered_map(measure, jobs.values(), num_workers=num_workers)
  results = tqdm.tqdm(results, total=len(jobs), unit='clip')
  is_torn = ledger.exists() and not ledger.read_bytes().endswith(b'\n')
  with ledger.open('a', encoding='utf-8') as file:
    file.write('\n' if is_torn else '')
    for (key, job), row in zip(jobs.items(), results):
      if isinstance(row, WorkerDied):
        is_dead = row.reason == 'died'
        why = 'its process was killed twice' if is_dead else row.message
        row = {'path': job.name, 'error': why}
      if not row['error']:
        file.write(json.dumps({'key': key, 'row': row}) + '\n')
        file.flush()
      yield row


def _is_line(path: str | os.PathLike) -> bool:
  """Return whether a path can be in keep.txt."""
  return '\n' not in str(path) and is_unicode(str(path))


def judge(
  row: Mapping[str, Any], thresholds: Mapping[str, float]
) -> tuple[tuple[str, str], ...]:
  """Return why a clip is dropped: (column, one line) of all that failed."""
  if row['error']:
    return (('unreadable', row['error']),)
  reasons = []
  if not _is_line(row['path']):
    reasons.append(('path', 'path holds a line break or is not UTF-8'))
  if not row['has_sound']:
    reasons.append(('has_sound', 'no sound'))
  for name, limit in thresholds.items():
    bound, _, column = name.partition('_')
    value, (sign, fails) = row[column], _FAILS[bound]
    if value is not None and fails(value, limit):
      shown = f'{value:.2f}' if isinstance(value, float) else value
      reasons.append((column, f'{column} {shown} {sign} {limit:g}'))
  if row['note'] and thresholds['min_alignment_z'] > -math.inf:
    reasons.append(('alignment', row['note']))
  return tuple(reasons)


def _cell(value: Any) -> str:
  if isinstance(value, list):
    return ' '.join(f'{item:g}' for item in value)
  if isinstance(value, float):
    return f'{value:.4f}'.rstrip('0').rstrip('.')
  return '' if value is None else str(value)


def write_table(output: pathlib.Path, root, rows, reasons_of) -> None:
  """Write scores.csv and keep.txt, each whole or not at all."""
  # Names that are no UTF-8 keep their bytes.
  text = {'encoding': 'utf-8', 'errors': 'surrogateescape'}
  with (
    replacing(output / 'scores.csv') as temporary,
    temporary.open('w', newline='', **text) as file,
  ):
    table = csv.writer(file)
    table.writerow(COLUMNS)
    for row, reasons in zip(rows, reasons_of):
      lines = '; '.join(line for _, line in reasons)
      row = {**row, 'keep': int(not reasons), 'reasons': lines}
      table.writerow([_cell(row.get(name)) for name in COLUMNS])
  kept = [root / r['path'] for r, bad in zip(rows, reasons_of) if not bad]
  with replacing(output / 'keep.txt') as temporary:
    temporary.write_text(''.join(f'{path}\n' for path in kept), **text)


def _summary(root, reasons_of, num_frames: int, took_s: float, old: int) -> str:
  """Return the one line that says what came of it."""
  num_kept = sum(not reasons for reasons in reasons_of)
  count = Counter(
    column for reasons in reasons_of for column in {c for c, _ in reasons}
  )
  why = ', '.join(f'{column} {n}' for column, n in count.most_common())
  return (
    f'kept {num_kept} of {len(reasons_of)} clips of {root}; dropped '
    f'{len(reasons_of) - num_kept}' + (f' ({why})' if why else '') + f'; '
    f'{num_frames} frames in {took_s:.1f} s ({num_frames / took_s:.1f} '
    f'frames/s), {old} clips were measured before'
  )


def run(
  inputs: Sequence[str | os.PathLike],
  output: str | os.PathLike,
  *,
  thresholds: Mapping[str, float] | None = None,
  pose_dir: str | os.PathLike | None = None,
  pose_model: str | None = None,
  num_workers: int | None = None,
  num_rows: int = 20,
) -> list[dict[str, Any]]:
  """Measure what is new, judge all, write table, keep-list and picture.

  The arguments are the flags; thresholds are those that differ from the
  defaults of THRESHOLDS. InputError: bad arguments, before any work is done.

  Returns:
    The measured rows, in the order of the table.
  """
  output = pathlib.Path(output)
  limits = {name: default for name, (default, _) in THRESHOLDS.items()}
  limits |= thresholds or {}
  root, jobs = find_jobs(inputs, output, pose_dir)
  ledger = output / 'scores.jsonl'
  finished = read_finished(ledger)
  digest = '' if pose_model is None else sha256_of(find_model(pose_model))
  keys = {job.name: _key(job, digest) for job in jobs}
  todo = {keys[j.name]: j for j in jobs if keys[j.name] not in finished}
  if any(job.pose_path is None for job in todo.values()):
    import_mediapipe()
    model = find_model(pose_model)
    for key, job in todo.items():
      if job.pose_path is None:
        todo[key] = dataclasses.replace(job, model=model)
  make_output(output)
  start_s, num_frames = time.monotonic(), 0
  workers = max(1, cores.usable() // 2) if num_workers is None else num_workers
  rows = {job.name: finished.get(keys[job.name]) for job in jobs}
  for row in measure_all(todo, ledger, workers):
    rows[row['path']] = row
    num_frames += row.get('num_frames', 0)
  took_s = max(time.monotonic() - start_s, 1e-3)
  table = [{**rows[job.name], 'path': job.name} for job in jobs]
  reasons_of = [judge(row, limits) for row in table]
  write_table(output, root, table, reasons_of)
  if num_rows:
    sheet = [
      SheetRow(j.video, j.pose_path or j.pose_target, row, [r for _, r in why])
      for j, row, why in zip(jobs, table, reasons_of)
    ]
    draw = functools.partial(ordered_map, num_workers=workers)
    write_sheet(output / 'contact_sheet.png', sheet, num_rows, draw)
  print(_summary(root, reasons_of, num_frames, took_s, len(jobs) - len(todo)))
  return table


def main(argv: Sequence[str]) -> None:
  """Run from the command line."""
  with one_line_errors():
    given = flags.FLAGS
    inputs = [*given.input, *argv[1:]]
    if not inputs or not given.output:
      raise InputError(
        'input or output is missing; expected --input=VIDEOS --output=DIR; '
        'give both'
      )
    run(
      inputs,
      given.output,
      thresholds={name: given[name].value for name in THRESHOLDS},
      pose_dir=given.pose_dir,
      pose_model=given.pose_model,
      num_workers=given.num_workers,
      num_rows=given.num_rows,
    )


if __name__ == '__main__':
  _define_flags()
  run_tool(main)
