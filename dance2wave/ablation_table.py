"""The table of an ablation, as far as it has been run."""

import json
import math
from collections.abc import Sequence

import numpy as np

from dance2wave.ablation import FIGURES, Task
from dance2wave.levers import LEVERS


def _cell(values: Sequence[float]) -> str:
  known = [v for v in values if v is not None and math.isfinite(v)]
  if not known:
    return '-'
  digits = 0 if max(map(abs, known)) >= 20 else 3
  text = f'{np.mean(known):.{digits}f}'
  if len(known) == 1:
    return text
  return f'{text} [{min(known):.{digits}f}, {max(known):.{digits}f}]'


def format_table(tasks: Sequence[Task]) -> str:
  """Return a Markdown table: a lever a row, means and ranges over seeds."""
  by_lever = {}
  for task in tasks:
    if task.result.exists():
      figures = json.loads(task.result.read_text())
      by_lever.setdefault(task.lever, []).append(figures)
  header = ['group', 'what', 'seeds', 'steps', *FIGURES.values()]
  lines = [f'| {" | ".join(header)} |', '|---' * len(header) + '|']
  for lever, found in by_lever.items():
    steps = ' or '.join({f'{row["num_steps"]}' for row in found})
    cells = [_cell([row.get(key) for row in found]) for key in FIGURES]
    row = [LEVERS[lever].group, lever, str(len(found)), steps, *cells]
    lines.append(f'| {" | ".join(row)} |')
  return '\n'.join(lines)
