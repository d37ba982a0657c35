"""The figures as a table, as a file, and beside those of another commit."""

import json
import pathlib

from dance2wave.errors import InputError
from dance2wave.media.audio import replacing

_KEYS = ('machine', 'clock', 'rounds', 'plan', 'config', 'rows')
_OF_MACHINE = ('processor', 'usable_cores', 'backend', 'device')


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
    kinds = {'machine': dict, 'plan': dict, 'rows': list}
    is_ours = not missing and all(
      isinstance(result[key], kind) for key, kind in kinds.items()
    )
  except (OSError, ValueError, TypeError) as error:
    raise InputError(
      f'--compare={path} cannot be read ({error}); expected a file that '
      '--json wrote; run the benchmark of the other commit with --json=PATH'
    ) from None
  if not is_ours:
    raise InputError(
      f'--compare={path} is no result of this benchmark, or is from before it '
      'told its plan; expected a file that --json wrote; run the benchmark of '
      'the other commit with --json=PATH'
    )
  return result


def check_comparable(result: dict, other: dict, path: str) -> None:
  """Refuse to compare what was not measured alike.

  Args:
    result: of this commit; its rows may be missing yet.
    other: from the file `path`.

  Raises:
    InputError: another clock or plan; the number of rounds may differ.
  """
  # As a file has it: without tuples.
  mine, theirs = (
    json.loads(json.dumps({**x['plan'], 'rounds': 0, 'clock': x['clock']}))
    for x in (result, other)
  )
  differ = [k for k in mine | theirs if mine.get(k) != theirs.get(k)]
  if differ:
    was, wanted = (
      ', '.join(f'{key}={plan.get(key)}' for key in differ)
      for plan in (theirs, mine)
    )
    raise InputError(
      f'--compare={path} was measured with {was}; expected {wanted}; give both '
      'commits the same --model and --quick, on the same kind of device'
    )


def _notes(result: dict, other: dict) -> list[str]:
  """Return lines about what else there is between two results."""
  machines = result['machine'], other['machine']
  differ = [
    k for k in _OF_MACHINE if len({str(m.get(k)) for m in machines}) > 1
  ]
  lines = [f'other: {_heading(other)}']
  if differ:
    lines += [f'NOT THE SAME MACHINE: {", ".join(differ)} differ']
  if result['config'] != other['config']:
    lines += ['NOT THE SAME --config: dances, streams and memory differ in it']
  return lines


def _heading(result):
  machine = ', '.join(f'{k} {v}' for k, v in result['machine'].items())
  return f'{machine}; {result["rounds"]} rounds'


def _number(value: float) -> str:
  """Return four digits, with thousands set apart."""
  return f'{value:,.0f}' if abs(value) >= 1000 else f'{value:.4g}'


def _speed_up(row: dict, other: dict, key: str) -> str:
  """Return how many times better a row is than another commit's."""
  better, worse = row[key], other[key]
  if row['is_less_better']:
    better, worse = worse, better
  return f'{better / worse:.2f}' if worse else '-'


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
      _speed_up(row, old[row['name']], key) if row['name'] in old else 'new'
      for key in ('value', 'wall_value')
    ]
  return cells


def render(result: dict, other: dict | None = None) -> str:
  """Return the table, with columns of ratios to another result if given."""
  counted = 'core-second' if result['clock'] == 'processor_s' else 'second'
  head = ['what', f'median per {counted}', 'by wall clock']
  head += ['x baseline', 'of ceiling']
  old, notes = None, []
  if other is not None:
    notes = _notes(result, other)
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
  return '\n'.join([_heading(result), *notes, '', *lines])
