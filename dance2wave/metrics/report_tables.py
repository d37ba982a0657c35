"""Tables of figures beside their controls, and of clips, as HTML.

Everything that comes from outside is escaped here.
"""

import dataclasses
import html
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dance2wave.errors import InputError

# Controls that are told the true beats: to equal the original is no feat.
CHEATING_CONTROLS = frozenset({'original', 'metronome_true_phase'})

_DASH, _MINUS = '\N{EN DASH}', '\N{MINUS SIGN}'
_STRIP_LEFT, _STRIP_RIGHT = 34.0, 186.0

Interval = tuple[float, float, float]


@dataclasses.dataclass(frozen=True)
class Figure:
  """One figure with its interval and what the controls score in it.

  Attributes:
    key: flat name, as in report.json and in the rows of clips.
    name: what a person reads.
    value, low, high: the figure and its 95 % interval; NaN where unknown.
    better: 'higher', 'lower' or '' where neither is better.
    unit: '' for a plain number.
    explanation: one sentence.
    controls: name of a control -> (value, low, high).
  """

  key: str
  name: str
  value: float
  low: float = math.nan
  high: float = math.nan
  better: str = ''
  unit: str = ''
  explanation: str = ''
  controls: Mapping[str, Interval] = dataclasses.field(default_factory=dict)

  def __post_init__(self):
    if self.better not in ('higher', 'lower', ''):
      raise InputError(
        f'better is {self.better!r} in figure {self.key}; expected '
        "'higher', 'lower' or ''; correct it"
      )

  @property
  def fooled_by(self) -> tuple[str, ...]:
    """Return the controls that are at least as good as the original sound.

    The original itself and controls that cheat with the truth do not count;
    without a direction, or an original, nothing does.
    """
    sign = {'higher': 1.0, 'lower': -1.0, '': math.nan}[self.better]
    original = sign * self.controls.get('original', (math.nan,))[0]
    slack = 1e-9 * abs(original)  # two orders of summation differ by less
    return tuple(
      name
      for name, (value, _, _) in self.controls.items()
      if name not in CHEATING_CONTROLS and sign * value >= original - slack
    )

  @property
  def is_fooled(self) -> bool:
    """Return whether something that hears no dance does as well."""
    return bool(self.fooled_by)


def escape(value: Any) -> str:
  """Return a value as text that is harmless in HTML, and that is Unicode."""
  text = str(value).encode('utf-8', 'replace').decode('utf-8')
  return html.escape(text, quote=True)


def spoken(key: str) -> str:
  """Return a key as escaped words."""
  return escape(key.replace('_', ' '))


def num_decimals(values: Sequence[float]) -> int:
  """Return how many decimals the largest deserves: 3 for shares, 0 for 100."""
  size = max((abs(v) for v in values if math.isfinite(v)), default=0.0)
  return 3 if size < 2 else 2 if size < 10 else 1 if size < 100 else 0


def _text(value: float, style: str) -> str:
  """Format a finite number: a true minus, no minus zero, short exponents."""
  text = format(value, style)
  sign = _MINUS if float(text) < 0 else ''
  return sign + re.sub(r'e\+?0*', 'e', text.lstrip('-')).replace('e-0', 'e-')


def number(value: Any, decimals: int = 3) -> str:
  """Return a number as text; a dash where there is none."""
  if value is None or (isinstance(value, float) and math.isnan(value)):
    return _DASH
  if isinstance(value, (bool, np.bool_)):
    return 'yes' if value else 'no'
  if isinstance(value, (int, np.integer)):
    return _text(value, 'd')
  if math.isinf(value):
    return '∞' if value > 0 else f'{_MINUS}∞'
  return _text(value, '.1e' if abs(value) >= 1e5 else f'.{decimals}f')


def _end(value: float) -> str:
  """Return the end of an axis as text, which must be short."""
  size = abs(value)
  style = '.0e' if size >= 1e4 else '.0f' if size >= 10 else '.2g'
  return _text(value, style)


def _cell(interval: Interval, unit: str = '', coarser: int = 0) -> str:
  """Return a value with its interval, `coarser` decimals less, below it."""
  value, low, high = interval
  decimals = num_decimals([value])
  text = f'<b>{number(value, decimals)}</b>'
  if unit and math.isfinite(value):
    text += f'&thinsp;<i>{escape(unit)}</i>'
  if math.isfinite(low) and math.isfinite(high):
    decimals = max(decimals - coarser, 0)
    bounds = [number(bound, decimals) for bound in (low, high)]
    # A dash and a minus would run into each other.
    dash = f' {_DASH} ' if min(low, high) < 0 else _DASH
    text += f' <small>{dash.join(bounds)}</small>'
  return text


def _scale(values: Sequence[float]) -> tuple[float, float, bool]:
  """Return the ends of an axis for the values, and whether it is logarithmic.

  Shares get 0 to 1 and correlations -1 to 1, so that rows compare.
  """
  low, high = min(values), max(values)
  if low > 0 and high > 50 * low:
    return low / 1.3, high * 1.3, True
  if low >= -1 and high <= 1:
    return (0.0 if low >= 0 else -1.0), 1.0, False
  low, high = min(low, 0.0), max(high, 0.0)
  margin = 0.05 * (high - low)
  return low - margin * (low < 0), high + margin * (high > 0), False


def mark(x: float, kind: str, label: str) -> str:
  """Return one mark of a strip; kinds differ in shape, not only in colour."""
  shapes = {
    'value': f'<circle cx="{x:.1f}" cy="12" r="4.5"/>',
    'original': f'<rect x="{x - 4:.1f}" y="8" width="8" height="8"/>',
    'chance': f'<path d="M{x:.1f} 3v18"/>',
    'control': f'<path d="M{x:.1f} 8v8"/>',
    'fools': f'<path d="m{x - 4:.1f} 8 8 8m0-8-8 8"/>',
  }
  return f'<g class="{kind}"><title>{label}</title>{shapes[kind]}</g>'


def _control_kind(figure: Figure, name: str) -> str:
  if name in figure.fooled_by:
    return 'fools'
  if name in ('shuffled', 'other_dance', 'unchanged'):
    return 'chance'
  return 'original' if name == 'original' else 'control'


def _strip(figure: Figure) -> str:
  """Draw the value, its interval and the controls on one small axis."""
  own = [figure.value, figure.low, figure.high]
  known = own + [control[0] for control in figure.controls.values()]
  known = [v for v in known if math.isfinite(v)]
  if not known:
    return ''
  low, high, is_log = _scale(known)
  forward = math.log if is_log else float
  span = (forward(high) - forward(low)) or 1.0

  def at(value: float) -> float:
    share = (forward(value) - forward(low)) / span
    return _STRIP_LEFT + share * (_STRIP_RIGHT - _STRIP_LEFT)

  parts = [
    f'<text x="28" y="15.5" class="end">{_end(low)}</text>',
    f'<text x="192" y="15.5">{_end(high)}</text>',
    f'<path class="axis" d="M{_STRIP_LEFT} 12H{_STRIP_RIGHT}"/>',
  ]
  if low < 0 < high:
    parts.append(f'<path class="axis" d="M{at(0):.1f} 8v8"/>')
  for name, (value, _, _) in figure.controls.items():
    if math.isfinite(value):
      label = f'{spoken(name)}: {number(float(value))}'
      parts.append(mark(at(value), _control_kind(figure, name), label))
  if math.isfinite(figure.low) and math.isfinite(figure.high):
    path = f'M{at(figure.low):.1f} 12H{at(figure.high):.1f}'
    parts.append(f'<path class="interval" d="{path}"/>')
  if math.isfinite(figure.value):
    label = f'{escape(figure.name)}: {number(float(figure.value))}'
    parts.append(mark(at(figure.value), 'value', label))
  axis = ', logarithmic axis' if is_log else ''
  return (
    f'<svg viewBox="0 0 220 24" role="img" aria-label="{escape(figure.name)} '
    f'beside its controls{axis}">{"".join(parts)}</svg>'
  )


def _name_cell(figure: Figure) -> str:
  """Return the row's head: name, direction, explanation, and its mark."""
  arrow = {'higher': '↑', 'lower': '↓', '': ''}[figure.better]
  text = f'<b>{escape(figure.name)}</b>'
  if arrow:
    text += f' <abbr title="{figure.better} is better">{arrow}</abbr>'
  if figure.explanation:
    text += f' <small>{escape(figure.explanation)}</small>'
  if figure.is_fooled:
    names = ', '.join(map(spoken, figure.fooled_by))
    text += (
      f' <small class="mark">✕ fooled by {names}: as good as the original '
      'sound</small>'
    )
  return f'<th scope="row">{text}</th>'


def _figure_row(figure: Figure, names: Sequence[str]) -> str:
  own = (figure.value, figure.low, figure.high)
  cells = [
    _name_cell(figure),
    f'<td class="own">{_cell(own, figure.unit)}</td>',
    f'<td class="strip">{_strip(figure)}</td>',
  ]
  for name in names:
    control = figure.controls.get(name, (math.nan,) * 3)
    kind = ' class="fools"' if name in figure.fooled_by else ''
    cell = _cell(control, coarser=1)
    cells.append(f'<td data-name="{spoken(name)}"{kind}>{cell}</td>')
  kind = ' class="fooled"' if figure.is_fooled else ''
  return f'<tr data-key="{escape(figure.key)}"{kind}>{"".join(cells)}</tr>'


def figure_table(figures: Sequence[Figure]) -> str:
  """Return a table: one row per figure, one column per control."""
  names = list(dict.fromkeys(name for f in figures for name in f.controls))
  heads = ''.join(f'<th scope="col">{spoken(name)}</th>' for name in names)
  rows = ''.join(_figure_row(figure, names) for figure in figures)
  return (
    '<div class="wide" tabindex="0"><table class="figures"><thead><tr>'
    '<th scope="col">figure</th><th scope="col">value, 95 %</th>'
    f'<th scope="col" class="strip">beside its controls</th>{heads}</tr>'
    f'</thead><tbody>{rows}</tbody></table></div>'
  )


def _columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
  """Return all keys in order of appearance, the clip's name first."""
  keys = dict.fromkeys(key for row in rows for key in row)
  return ['clip_id', *(key for key in keys if key != 'clip_id')]


def _is_number(value: Any) -> bool:
  return isinstance(value, (int, float, np.number, np.bool_))


def _value_cell(value: Any, decimals: int) -> str:
  """Return a cell; numbers carry what they are sorted by, NaN nothing."""
  if value is None or _is_number(value):
    value = value.item() if isinstance(value, np.generic) else value
    is_known = value is not None and not math.isnan(value)
    key = f' data-value="{float(value)!r}"' if is_known else ''
    return f'<td class="number"{key}>{number(value, decimals)}</td>'
  return f'<td class="text">{escape(value)}</td>'


def _side(column: Sequence[Any]) -> str:
  """Return the class of a column's head: text stands on the left."""
  is_text = any(not _is_number(v) for v in column if v is not None)
  return ' class="text"' if is_text else ''


def _clip_head(clip_id: Any, players: Mapping[str, int]) -> str:
  """Return the head of a clip's row; a button where there is a player."""
  name = escape(clip_id)
  if str(clip_id) in players:
    name = (
      f'<button data-clip="{players[str(clip_id)]}" '
      f'aria-label="play {name}">▶ {name}</button>'
    )
  return f'<th scope="row" data-value="{escape(clip_id)}">{name}</th>'


def _foot(
  name: str, keys: Sequence[str], values: Mapping[str, float], decimals
) -> str:
  cells = ''.join(
    f'<td class="number">{number(values[key], decimals[key])}</td>'
    if key in values
    else '<td></td>'
    for key in keys[1:]
  )
  return f'<tr><th scope="row">{name}</th>{cells}</tr>' if values else ''


def clip_table(
  rows: Sequence[Mapping[str, Any]],
  figures: Sequence[Figure],
  players: Mapping[str, int],
) -> str:
  """Return the table of clips, with all clips and chance in its last lines.

  Args:
    rows: one mapping per clip: clip_id, then text or numbers; None and NaN
      are shown as dashes and sorted last.
    figures: name the columns that have their keys.
    players: clip_id -> which player shows it.
  """
  keys = _columns(rows)
  names = {figure.key: escape(figure.name) for figure in figures}
  columns = {key: [row.get(key) for row in rows] for key in keys}
  digits = {
    key: num_decimals([float(v) for v in column if _is_number(v)])
    for key, column in columns.items()
  }
  heads = ''.join(
    f'<th scope="col" aria-sort="none"{_side(columns[key])}><button>'
    f'{names.get(key, spoken(key))}</button></th>'
    for key in keys
  )
  lines = (
    _clip_head(row.get('clip_id'), players)
    + ''.join(_value_cell(row.get(key), digits[key]) for key in keys[1:])
    for row in rows
  )
  body = ''.join(f'<tr>{line}</tr>' for line in lines)
  known = [figure for figure in figures if figure.key in keys]
  own = {f.key: f.value for f in known}
  chance = {
    f.key: f.controls['shuffled'][0] for f in known if 'shuffled' in f.controls
  }
  foot = _foot('all clips', keys, own, digits)
  foot += _foot('by chance', keys, chance, digits)
  return (
    '<div class="wide tall" tabindex="0"><table class="clips"><thead><tr>'
    f'{heads}</tr></thead><tbody>{body}</tbody><tfoot>{foot}</tfoot></table>'
    '</div>'
  )
