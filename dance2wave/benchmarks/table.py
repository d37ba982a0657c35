"""The figures as a table, as a file, and beside those of another commit."""

import json
import pathlib

from dance2wave.errors import InputError
from dance2wave.media.audio import replacing

_KEYS = ('machine', 'clock', 'rounds', 'rows')


def write(path: str, result: dict) -> None:
  """Write a result as JSON: whole or not at all."""
  with replacing(pathlib.Path(path)) as temporary:
    temporary.write_text(json.dumps(result, indent=2) + '\n')


def read(path: str) -> dict:
  """Read what `write` wrote.

  Raises:
    InputError: it is not there, or something else.
  """
  try:
    result = json.loads(pathlib.Path(path).read_text())
    missing = [key for key in _KEYS if key not in result]
    is_ours = not missing and isinstance(result['rows'], list)
  except (OSError, ValueError, TypeError) as error:
    raise InputError(
      f'--compare={path} cannot be read ({error}); expected a file that '
      '--json wrote; run the benchmark of the other commit with --json=PATH'
    ) from None
  if not is_ours:
    raise InputError(
      f'--compare={path} is no result of this benchmark; expected a file that '
      '--json wrote; run the benchmark of the other commit with --json=PATH'
    )
  return result


def _number(value: float) -> str:
  """Return four digits, with thousands set apart."""
  return f'{value:,.0f}' if abs(value) >= 1000 else f'{value:.4g}'


def _speed_up(row: dict, other: dict, key: str) -> float:
  """Return how many times better a row is than another commit's."""
  ratio = row[key] / other[key]
  return 1 / ratio if row['is_less_better'] else ratio


def _cells(row: dict, old: dict | None) -> list[str]:
  per = '' if row['is_less_better'] else '/s'
  cells = [
    row['name'],
    f'{_number(row["value"])} {row["unit"]}{per}',
    _number(row['wall_value']),
    f'{row["ratio"]:.2f}' if 'ratio' in row else '',
    f'{100 * row["share"]:.0f} %' if 'share' in row else '',
  ]
  if old is not None:
    cells += [
      f'{_speed_up(row, old[row["name"]], key):.2f}'
      if row['name'] in old
      else 'new'
      for key in ('value', 'wall_value')
    ]
  return cells


def render(result: dict, other: dict | None = None) -> str:
  """Return the table, with columns of ratios to another result if given."""
  machine = ', '.join(f'{k} {v}' for k, v in result['machine'].items())
  counted = 'core-second' if result['clock'] == 'processor_s' else 'second'
  head = ['what', f'median per {counted}', 'by wall clock']
  head += ['x baseline', 'of ceiling']
  old = None
  if other is not None:
    old = {row['name']: row for row in other['rows']}
    head += ['x other', 'x other by clock']
  cells = [head, *(_cells(row, old) for row in result['rows'])]
  widths = [max(len(line[i]) for line in cells) for i in range(len(head))]
  lines = [
    '  '.join(
      [line[0].ljust(widths[0])]
      + [cell.rjust(width) for cell, width in zip(line[1:], widths[1:])]
    ).rstrip()
    for line in cells
  ]
  return '\n'.join([f'{machine}; {result["rounds"]} rounds', '', *lines])
