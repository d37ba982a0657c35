"""Write the result of an evaluation as one page that opens from disk.

    figures, controls ──> tables and dot strips ─┐
    rows ──> a table that sorts                  ├─> one .html, no network
    clips ──> pictures, sound, video as data: ───┘

Everything that comes from outside is escaped, and a content security policy
lets the page run its own script and style (by their hash) and nothing else.
"""

import base64
import hashlib
import json
import math
import pathlib
import re
import types
from collections.abc import Mapping, Sequence
from typing import Any

from dance2wave.media.audio import replacing
from dance2wave.metrics import report_tables as tables
from dance2wave.metrics.report_player import ReportClip, embed_clips
from dance2wave.metrics.report_tables import Figure

__all__ = ['MAX_PAGE_BYTES', 'Figure', 'ReportClip', 'write_report']

MAX_PAGE_BYTES = 25_000_000

_TEMPLATE = pathlib.Path(__file__).with_name('report_template.html')
_MARGIN_BYTES = 200  # for a note on the clips that are left out
_LONG_FACT = 160  # characters; a longer fact is folded away

_MARKS = (
  ('value', 'this sound, with its 95 % interval'),
  ('original', 'original'),
  ('chance', 'chance: of another dance'),
  ('control', 'another control'),
  ('fools', 'a control that fools the figure'),
)
_COUNTERFACTUAL_CHANCE = (
  'Chance is the column “unchanged”: the same question asked of sounds that do '
  'not notice the change; and “shuffled”: of the sounds of other dances.'
)
_NO_CONTROLS = (
  'What was played to these dances is not known, so that no control stands '
  'beside the figures: nothing but what is “above chance” is told from it.'
)
_CLIPS_CHANCE = (
  'The last lines are all clips together and what chance gives: a clip that is '
  'no better than the last line may owe its score to luck.'
)


def _summary(
  headline: Sequence[Figure], num_clips: int, left_out: Mapping[str, str]
) -> str:
  """Return the line below the title, and what was left out and why."""
  fooled = sum(figure.is_fooled for figure in headline)
  text = f'{num_clips} clips, {len(headline)} figures'
  if fooled:
    text += (
      f'; {fooled} marked ✕, because a control that sees no dancer does as '
      'well as the original sound'
    )
  text = f'<p class="summary">{text}.</p>'
  if not left_out:
    return text
  lines = (
    f'<li>{tables.escape(name)}: {tables.escape(reason)}</li>'
    for name, reason in left_out.items()
  )
  return (
    f'{text}<details class="summary" open><summary>{len(left_out)} left out'
    f'</summary><ul>{"".join(lines)}</ul></details>'
  )


def _legend(has_controls: bool) -> str:
  marks = ''.join(
    f'<span><svg viewBox="0 0 24 24">{tables.mark(12, kind, text)}</svg>'
    f'{text}</span>'
    for kind, text in (_MARKS if has_controls else _MARKS[:1])
  )
  better = '<span>↑ higher, ↓ lower is better</span>'
  return f'<p class="legend">{marks}{better}</p>'


def _chance(figures: Sequence[Figure]) -> str:
  """Say what chance is, with the first figure that has a shuffled control."""
  for figure in figures:
    if math.isfinite(figure.controls.get('shuffled', (math.nan,))[0]):
      chance = tables.number(float(figure.controls['shuffled'][0]))
      return (
        'Chance is the column “shuffled”: what was played to another dance, '
        'scored against this one. It is not zero: '
        f'{tables.escape(figure.name)} is {chance} by chance and '
        f'{tables.number(float(figure.value))} here.'
      )
  if any(figure.controls for figure in figures):
    return 'Chance is what the controls reach, which have seen no dancer.'
  return _NO_CONTROLS


def _section(key: str, title: str, body: str, chance: str) -> str:
  return (
    f'<section id="{key}"><h2>{title}</h2>{body}'
    f'<p class="chance">{chance}</p></section>'
  )


def _figures(
  headline: Sequence[Figure], counterfactuals: Sequence[Figure]
) -> str:
  """Return the tables of figures; none for what was not measured."""
  text = ''
  if headline:
    text += _section(
      'figures',
      'Figures',
      _legend(any(figure.controls for figure in headline))
      + tables.figure_table(headline),
      _chance(headline),
    )
  if counterfactuals:
    text += _section(
      'counterfactuals',
      'When the dance is changed',
      tables.figure_table(counterfactuals),
      _COUNTERFACTUAL_CHANCE,
    )
  return text


def _clips(
  rows: Sequence[Mapping[str, Any]],
  headline: Sequence[Figure],
  shown: Sequence[str],
) -> str:
  if not rows:
    return ''
  players = {str(clip_id): index for index, clip_id in enumerate(shown)}
  table = tables.clip_table(rows, headline, players)
  has_chance = any('shuffled' in figure.controls for figure in headline)
  chance = _CLIPS_CHANCE if has_chance else 'The last line is all clips.'
  return _section('clips', 'Clips', table, chance)


def _fact(key: str, value: Any) -> str:
  """Return one line of facts; long ones and mappings are folded."""
  if isinstance(value, Mapping):
    value = json.dumps(value, indent=2, default=str, ensure_ascii=False)
  text = tables.escape(value)
  if len(str(value)) > _LONG_FACT or '\n' in str(value):
    text = f'<details><summary>show</summary><pre>{text}</pre></details>'
  return f'<div><dt>{tables.spoken(key)}</dt><dd>{text}</dd></div>'


def _clip_figures(
  clip: ReportClip, figures: Sequence[Figure]
) -> list[tuple[str, str]]:
  """Return the figures of one clip as text, by the names of the headline."""
  known = {figure.key: figure for figure in figures}
  lines = []
  for key, value in clip.figures.items():
    figure = known.get(key)
    name = figure.name if figure else key.replace('_', ' ')
    unit = f' {figure.unit}' if figure and figure.unit else ''
    known_values = [float(value), figure.value if figure else 0.0]
    digits = tables.num_decimals(known_values)
    lines.append((name, tables.number(value, digits) + unit))
  return lines


def _hash(pattern: str, template: str) -> str:
  """Return the policy's source for the one inline element of a kind."""
  content = re.search(pattern, template, re.DOTALL)[1]
  digest = hashlib.sha256(content.encode()).digest()
  return f"'sha256-{base64.b64encode(digest).decode()}'"


def _policy(template: str) -> str:
  return '; '.join(
    (
      "default-src 'none'",
      f'script-src {_hash("<script>(.*?)</script>", template)}',
      f'style-src {_hash("<style>(.*?)</style>", template)}',
      'img-src data:',
      'media-src data:',
      "base-uri 'none'",
      "form-action 'none'",
    )
  )


def _clip_element(clip: ReportClip, text: str) -> str:
  """Return what the page's script reads a clip from; never run."""
  name = f'{clip.clip_id}, {clip.style}' if clip.style else clip.clip_id
  return (
    f'<script type="application/json" class="clip" '
    f'data-name="{tables.escape(name)}">{text}</script>'
  )


def _players(clips: Sequence[ReportClip], texts: Sequence[str | None]) -> str:
  """Return the embedded clips, and what the page has no room for."""
  parts = [_clip_element(*pair) for pair in zip(clips, texts) if pair[1]]
  if len(parts) < len(texts):
    parts.append(
      f'<p class="chance">{len(texts) - len(parts)} more of the chosen clips '
      f'did not fit into {MAX_PAGE_BYTES / 1e6:g} MB.</p>'
    )
  return '\n'.join(parts)


def _around_bytes(clips: Sequence[ReportClip]) -> int:
  """Return the length of what stands around the clips' JSON."""
  return sum(len(_clip_element(clip, '').encode()) + 1 for clip in clips)


def _fill(template: str, parts: Mapping[str, str]) -> str:
  """Replace each <!--name--> once; what is filled in is never looked at."""
  return re.sub(r'<!--(\w+)-->', lambda match: parts[match[1]], template)


def write_report(
  path: pathlib.Path,
  *,
  title: str,
  headline: Sequence[Figure],
  rows: Sequence[Mapping[str, Any]],
  clips: Sequence[ReportClip],
  facts: Mapping[str, Any],
  counterfactuals: Sequence[Figure] = (),
  left_out: Mapping[str, str] = types.MappingProxyType({}),
) -> None:
  """Write a self-contained page of figures, clips and players.

  The page stays below `MAX_PAGE_BYTES`. Clips are embedded in order: one whose
  video does not fit any more keeps its sound, else its picture, and says so;
  a clip that does not fit at all is counted below the player. Put the clips
  that matter first.

  Args:
    path: of the .html file; written whole or not at all.
    title: of the page.
    headline: figures over all clips, with their controls.
    rows: one mapping per clip: clip_id, then text or numbers by column; a
      column with a figure's key takes its name, its value and its chance.
    clips: those to look at and listen to.
    facts: command, machine, date, versions, config; mappings are folded away.
    counterfactuals: what the sound does when the dance is changed.
    left_out: name -> why it is not among the clips.

  Raises:
    InputError: the file cannot be written.
  """
  template = _TEMPLATE.read_text(encoding='utf-8')
  parts = {
    'policy': _policy(template),
    'title': tables.escape(title),
    'summary': _summary(headline, len(rows), left_out),
    'figures': _figures(headline, counterfactuals),
    'facts': ''.join(_fact(key, value) for key, value in facts.items()),
  }
  # With every player's button, the page without clips is at its longest.
  parts['clips'] = _clips(rows, headline, [clip.clip_id for clip in clips])
  parts['players'] = ''
  room_bytes = MAX_PAGE_BYTES - len(_fill(template, parts).encode())
  figures = [*headline, *counterfactuals]
  texts = embed_clips(
    clips,
    [_clip_figures(clip, figures) for clip in clips],
    room_bytes - _MARGIN_BYTES - _around_bytes(clips),
  )
  shown = [clip.clip_id for clip, text in zip(clips, texts) if text]
  parts['clips'] = _clips(rows, headline, shown)
  parts['players'] = _players(clips, texts)
  with replacing(pathlib.Path(path)) as temporary:
    temporary.write_text(_fill(template, parts), encoding='utf-8')
