"""The report as a file: whole, escaped, embedded, bounded, and true."""

import base64
import hashlib
import html.parser
import io
import json
import math
import re
import wave

import numpy as np
import pytest
from PIL import Image
from report_fixture import (
  NASTY,
  SECONDS,
  example_clip,
  example_figure,
  example_rows,
  write_example,
)

from dance2wave.errors import InputError
from dance2wave.metrics import report


class Page(html.parser.HTMLParser):
  """Elements as (tag, attributes, own text), in order."""

  def __init__(self, text):
    super().__init__()
    self.elements = []
    self.feed(text)

  def handle_starttag(self, tag, attrs):
    self.elements.append([tag, dict(attrs), ''])

  def handle_endtag(self, tag):
    self.elements.append(['', {}, ''])  # what follows is not its text

  def handle_data(self, data):
    if self.elements:
      self.elements[-1][2] += data

  def of(self, tag, **wanted):
    return [
      (attrs, text)
      for name, attrs, text in self.elements
      if name == tag and wanted.items() <= attrs.items()
    ]


@pytest.fixture(scope='module')
def text(tmp_path_factory):
  return write_example(tmp_path_factory.mktemp('report') / 'report.html')


@pytest.fixture(scope='module')
def page(text):
  return Page(text)


def clips_of(page):
  stored = page.of('script', type='application/json')
  return [json.loads(content) for _, content in stored]


def decode(uri):
  kind, content = re.fullmatch(r'data:([\w/]+);base64,(.*)', uri).groups()
  return kind, base64.b64decode(content, validate=True)


def with_controls(better, **values):
  controls = {name: (value, value, value) for name, value in values.items()}
  return example_figure(better=better, controls=controls)


@pytest.mark.parametrize(
  'better, values, fooled_by',
  [
    ('higher', {'original': 0.9, 'noise': 0.89}, ()),
    ('higher', {'original': 0.9, 'noise': 0.9}, ('noise',)),
    ('higher', {'original': 0.9, 'noise': 0.9 - 1e-12}, ('noise',)),
    ('lower', {'original': 0.9, 'noise': 0.91}, ()),
    ('lower', {'original': 0.9, 'noise': 0.1}, ('noise',)),
    ('lower', {'original': -2.0, 'noise': -3.0}, ('noise',)),
    ('', {'original': 0.9, 'noise': 0.9}, ()),
    ('higher', {'noise': 0.9}, ()),
    ('higher', {'original': 0.9, 'metronome_true_phase': 1.0}, ()),
    ('higher', {'original': 0.9, 'silence': math.nan}, ()),
    ('higher', {'original': math.nan, 'noise': 0.9}, ()),
  ],
)
def test_a_control_fools_a_figure(better, values, fooled_by):
  figure = with_controls(better, **values)
  assert figure.fooled_by == fooled_by
  assert figure.is_fooled == bool(fooled_by)


def test_names_that_are_no_unicode_are_shown_as_far_as_they_are(tmp_path):
  name = 'd\udce9j\u00e0.mp4'  # what Python reads of such a file name
  rows = [{'clip_id': name, 'style': '', 'beat_f70': 0.5}]
  clips = [example_clip(name, video_mp4=None)]
  facts = {'command': name, 'config': {name: name}}
  write_example(
    tmp_path / 'page.html', title=name, rows=rows, clips=clips, facts=facts
  )
  text = (tmp_path / 'page.html').read_text(encoding='utf-8')
  assert 'd?j\u00e0.mp4' in text


def test_an_unknown_direction_is_refused():
  with pytest.raises(InputError, match=r"better is 'up'.*beat_f70"):
    example_figure(better='up')


def test_only_the_fooled_figure_is_marked(page):
  rows = page.of('tr')
  kinds = {a['data-key']: a.get('class') for a, _ in rows if 'data-key' in a}
  assert kinds == {
    'beat_f70': None,
    'coverage': 'fooled',
    'shift_slope': None,
  }
  (_, mark), *others = page.of('small', **{'class': 'mark'})
  assert 'always on' in mark
  assert not others


def test_figures_stand_beside_their_intervals_and_controls(page):
  numbers = [text for _, text in page.of('b')]
  for value in ('0.931', '98.2', '0.998', '0.978', '0.274', '0.990', '100'):
    assert value in numbers
  assert '0.902\N{EN DASH}0.954' in {text for _, text in page.of('small')}
  silence = page.of('td', **{'data-name': 'silence'})
  assert len(silence) == 2  # one per figure


def test_chance_is_said_under_each_table(text):
  sentences = re.findall(r'</div><p class="chance">(.*?)</p>', text)
  assert len(sentences) == 3
  assert 'Beat F, 70 ms is 0.274 by chance and 0.931 here' in sentences[0]


def test_cells_carry_what_they_are_sorted_by(page):
  keys = [a.get('data-value') for a, _ in page.of('td', **{'class': 'number'})]
  # Four clips, the last without numbers, then all clips and chance.
  assert keys[:8] == ['0.5', '9.0', '0.25', '-80.0', '1.0', '10.0', None, None]
  values = [text for _, text in page.of('td', **{'class': 'number'})][8:]
  assert values == ['0.931', '0.274']


def test_what_comes_from_outside_is_text(text, page):
  assert text.count('<script>') == text.count('<style>') == 1
  assert len(page.of('script')) == 4  # the page's own and three clips
  assert len(page.of('tr', **{'data-key': 'beat_f70'})) == 1
  assert clips_of(page)[2]['id'] == NASTY
  assert NASTY not in text
  assert NASTY in [a.get('data-value') for a, _ in page.of('th')]


def test_nothing_is_fetched(text, page):
  assert not re.search(r'https?:|//[a-z]|@import|url\(', _without_data(text))
  for _, attrs, _ in page.elements:
    assert not {'src', 'href', 'srcset', 'style'} & attrs.keys()
    assert not [name for name in attrs if name.startswith('on')]


def _without_data(text):
  return re.sub(r'base64,[A-Za-z0-9+/=]+', '', text)


def test_the_policy_allows_the_own_script_and_style_alone(text, page):
  (policy,) = page.of('meta', **{'http-equiv': 'Content-Security-Policy'})
  policy = policy[0]['content']
  assert policy.startswith("default-src 'none'")
  assert 'unsafe' not in policy
  assert '*' not in policy
  for tag in ('script', 'style'):
    content = re.search(f'<{tag}>(.*?)</{tag}>', text, re.DOTALL)[1]
    digest = hashlib.sha256(content.encode()).digest()
    assert f"{tag}-src 'sha256-{base64.b64encode(digest).decode()}'" in policy


def test_no_mark_of_the_template_is_left(text):
  assert not re.findall(r'<!--\w+-->', text)


def test_facts_are_listed_and_mappings_folded(text):
  assert '<dd>python -m dance2wave.evaluate</dd>' in text
  assert '<pre>{\n  &quot;a&quot;: 1\n}</pre>' in text


def test_video_sound_and_picture_are_embedded(page):
  with_video, with_sound, _ = clips_of(page)
  kind, content = decode(with_video['media'])
  assert (kind, with_video['kind']) == ('video/mp4', 'video')
  assert content == example_clip().video_mp4
  kind, content = decode(with_sound['media'])
  assert (kind, with_sound['kind']) == ('audio/wav', 'sound')
  with wave.open(io.BytesIO(content)) as sound:
    assert sound.getnframes() == round(SECONDS * sound.getframerate())
  assert with_video['figures'] == [
    ['Beat F, 70 ms', '0.833'],
    ['own figure', '12.5'],
  ]


def test_beats_know_their_partners(page):
  clip = clips_of(page)[0]
  assert [hit for _, hit in clip['true']] == [1, 1, 1, 1, 1, 0]
  assert [hit for _, hit in clip['heard']] == [1, 1, 1, 1, 1, 0]
  assert clip['heard'][0][0] == pytest.approx(0.26)


def test_the_waveform_peaks_where_the_sound_does(page):
  least, most = clips_of(page)[0]['wave']
  assert len(least) == len(most) == round(SECONDS * 100)
  assert max(max(most), -min(least)) == 100
  size = np.maximum(most, np.negative(least))
  assert size[26] > 20  # the first heard beat, at 0.26 s
  assert size[:26].max() == size[45:70].max() == 0


def tone_clip(hz):
  time_T = np.arange(24000) / 8000
  audio_T = np.where(time_T >= 1.5, np.sin(2 * np.pi * hz * time_T), 0)
  return example_clip(audio_T=audio_T.astype(np.float32))


@pytest.mark.parametrize('hz', [200, 1000])
def test_a_tone_is_at_its_mark_and_time_of_the_spectrogram(hz, tmp_path):
  text = write_example(tmp_path / 'report.html', clips=[tone_clip(hz)])
  (clip,) = clips_of(Page(text))
  kind, content = decode(clip['spectrogram'])
  assert kind == 'image/png'
  level_RC = np.asarray(Image.open(io.BytesIO(content)))[..., 1].astype(int)
  rows, columns = level_RC.shape
  assert columns == round(SECONDS * 100)
  assert not level_RC[:, :147].any()
  assert (level_RC[:, 153:].max(axis=0) > 200).all()
  marks = {text: share for share, text in clip['ticks']}
  wanted = marks['200 Hz' if hz == 200 else '1 kHz']
  found = 1 - (level_RC[:, 220].argmax() + 0.5) / rows
  assert found == pytest.approx(wanted, abs=0.02)


def test_silence_is_empty_and_an_empty_sound_harmless(tmp_path):
  none = np.zeros(0, np.float32)
  changes = {'audio_T': none, 'heard_beats_s': none, 'true_beats_s': none}
  text = write_example(
    tmp_path / 'report.html',
    clips=[
      example_clip(**changes, video_mp4=None),
      example_clip(**changes, motion_F=none, video_mp4=None),
    ],
  )
  silent, empty = clips_of(Page(text))
  assert silent['seconds'] == SECONDS
  assert not np.any(silent['wave'])
  picture = np.asarray(Image.open(io.BytesIO(decode(silent['spectrogram'])[1])))
  assert not picture[..., 1].any()
  assert empty['seconds'] == 0
  assert empty['true'] == empty['heard'] == []


def test_what_was_not_measured_has_no_section(tmp_path):
  text = write_example(
    tmp_path / 'r.html',
    headline=[],
    rows=[],
    clips=[],
    counterfactuals=[],
    facts={},
  )
  assert re.findall('<section id="(\\w+)"', text) == ['player', 'facts']


def test_a_page_without_originals_promises_no_chance(tmp_path):
  clip = example_clip(true_beats_s=np.zeros(0))
  text = write_example(
    tmp_path / 'r.html',
    headline=[example_figure(controls={})],
    clips=[clip],
    counterfactuals=[],
    left_out={'<b>.mp4': 'no sound & no dance'},
  )
  for promise in ('the controls reach', 'to luck', 'another control'):
    assert promise not in text
  assert 'no control stands' in text and '1 left out' in text
  assert '<li>&lt;b&gt;.mp4: no sound &amp; no dance</li>' in text
  (shown,) = clips_of(Page(text))
  assert shown['heard'] and all(hit for _, hit in shown['heard'])


@pytest.mark.parametrize(
  'room_bytes, kinds, notes',
  [
    (9_000_000, ['video', 'video'], 0),
    (950_000, ['video', 'sound'], 1),
    (105_000, ['sound', ''], 2),
    (9_500, [''], 1),
    (5_000, [], 0),
  ],
)
def test_a_page_that_grows_too_large_gives_up_video_then_sound(
  room_bytes, kinds, notes, tmp_path, monkeypatch
):
  path = tmp_path / 'report.html'
  write_example(path, clips=[])
  room_bytes += path.stat().st_size
  monkeypatch.setattr(report, 'MAX_PAGE_BYTES', room_bytes)
  video = bytes(600_000)
  clips = [example_clip(name, video_mp4=video) for name in ('clip_0', 'clip_1')]
  text = write_example(path, clips=clips)
  page = Page(text)
  assert [clip['kind'] for clip in clips_of(page)] == kinds
  assert len([c for c in clips_of(page) if c['note']]) == notes
  assert path.stat().st_size <= room_bytes
  left_out = 2 - len(kinds)
  assert (f'{left_out} more of the chosen clips' in text) == (left_out > 0)
  assert len(page.of('button', **{'data-clip': '1'})) == (len(kinds) == 2)


def test_numbers_of_every_size_stay_short_and_finite(tmp_path):
  values = (0.0, -0.0, 1e-9, -1.23456, 12.3, 1234.5, 2.5e8, math.nan, math.inf)
  figures = [
    example_figure(key=f'f{i}', value=value, low=-value, high=value)
    for i, value in enumerate(values)
  ]
  text = write_example(tmp_path / 'report.html', headline=figures)
  page = Page(text)
  shown = [s for _, s in page.of('b')]
  for number in (
    '\N{MINUS SIGN}1.235',
    '12.3',
    '1234',
    '2.5e8',
    '\N{INFINITY}',
  ):
    assert number in shown
  assert '\N{MINUS SIGN}0.000' not in shown
  for attrs, _ in (*page.of('circle'), *page.of('path')):
    assert not re.search('nan|inf', ' '.join(attrs.values()))


def test_a_folder_that_is_not_there_is_one_clear_line(tmp_path):
  with pytest.raises(InputError, match='cannot be written'):
    write_example(tmp_path / 'missing' / 'report.html')


def test_columns_come_from_all_rows(tmp_path):
  rows = [*example_rows(), {'clip_id': 'late', 'only_here': True}]
  text = write_example(tmp_path / 'report.html', rows=rows)
  assert '<button>only here</button>' in text
  assert '>yes</td>' in text
