"""The report in a real browser: it opens, sorts, plays, seeks and fits."""

import itertools

import pytest
from browser import CHROMIUM, Browser
from report_fixture import (
  NASTY,
  SECONDS,
  example_clip,
  example_figure,
  example_rows,
  write_example,
)

from dance2wave.metrics.controls import CONTROLS

pytestmark = pytest.mark.skipif(
  CHROMIUM is None,
  reason='no Chromium on PATH; apt-get install chromium runs these tests',
)


@pytest.fixture(scope='module')
def browser(tmp_path_factory):
  with Browser(tmp_path_factory.mktemp('profile')) as browser:
    yield browser


@pytest.fixture(scope='module')
def path(tmp_path_factory):
  path = tmp_path_factory.mktemp('report') / 'report.html'
  clip = example_clip('long', true_beats_s=[i / 8 for i in range(24)])
  clips = [
    example_clip(),
    example_clip('clip_1', video_mp4=None),
    example_clip(NASTY, style=NASTY),
    clip,
  ]
  controls = {name: (0.123, 0.111, 0.145) for name in CONTROLS}
  rows = [
    row | {f'column_{i}': i * 1000.5 for i in range(12)}
    for row in example_rows()
  ]
  headline = [example_figure(), example_figure(controls=controls)]
  write_example(path, clips=clips, headline=headline, rows=rows)
  return path


@pytest.fixture
def opened(browser, path):
  """The page with its first video ready; nothing was complained or fetched."""
  browser.open(path)
  browser.wait_for('find("video").readyState >= 2 && tinted !== null')
  yield browser
  assert not browser.complaints
  assert browser.requests == [path.as_uri()]


def first_column(browser):
  return browser.ask(
    "all('.clips tbody th').map(head => head.dataset.value.slice(0, 6))"
  )


def sorts(browser):
  return browser.ask(
    "all('.clips thead th').map(head => head.getAttribute('aria-sort'))"
  )


def test_it_opens_from_disk_without_a_complaint(opened):
  assert opened.ask('document.title') == 'Does the sound follow?'
  assert opened.ask('find("#player").hidden') is False
  assert opened.ask('choice.length') == 4
  assert opened.ask('choice.options[2].text') == f'{NASTY}, {NASTY}'


def test_the_policy_stops_a_foreign_script(browser, path, tmp_path):
  text = path.read_text(encoding='utf-8')
  foreign = '<script>document.body.dataset.owned = "yes"</script>'
  bad = tmp_path / 'bad.html'
  bad.write_text(text.replace('<main>', f'<main>{foreign}'), encoding='utf-8')
  browser.open(bad)
  assert browser.ask('document.body.dataset.owned ?? "no"') == 'no'
  assert 'Content Security Policy' in str(browser.complaints)


def test_a_click_sorts_and_a_second_turns_the_order(opened):
  head = '.clips thead th:nth-child({}) button'
  opened.click(head.format(3))
  assert first_column(opened) == ['clip_1', 'clip_0', 'clip_2', NASTY[:6]]
  assert sorts(opened)[:4] == ['none', 'none', 'ascending', 'none']
  opened.click(head.format(3))
  # What has no number stays last.
  assert first_column(opened) == ['clip_2', 'clip_0', 'clip_1', NASTY[:6]]
  assert sorts(opened)[:4] == ['none', 'none', 'descending', 'none']
  opened.click(head.format(4))  # as numbers: -80, 9, 10
  assert first_column(opened) == ['clip_1', 'clip_0', 'clip_2', NASTY[:6]]
  opened.click(head.format(2))  # as text: </script>, house, pop, salsa
  assert first_column(opened) == [NASTY[:6], 'clip_1', 'clip_0', 'clip_2']


def test_the_keyboard_sorts(opened):
  opened.ask("find('.clips thead th:nth-child(2) button').focus()")
  opened.press('Tab')
  opened.press('Enter')
  assert sorts(opened)[2] == 'ascending'
  opened.press(' ')
  assert sorts(opened)[2] == 'descending'


def cursor_x(browser):
  return browser.ask(
    "find('.cursor').getBoundingClientRect().left + 1"
    ' - box.getBoundingClientRect().left'
  )


def test_it_plays_and_the_cursor_follows(opened):
  opened.click('.clips [data-clip="0"]')
  opened.wait_for('video.currentTime > 0.3')
  seen = []
  for _ in range(5):
    seen.append([*opened.ask('[now, video.currentTime]'), cursor_x(opened)])
    opened.wait_for(f'now > {seen[-1][0]} + 0.1')
  for (now, shown, x), (later, _, further) in itertools.pairwise(seen):
    assert 0 < later - now < 1.5
    assert further > x
    assert abs(now - shown) < 0.1
  width = opened.ask('box.clientWidth')
  opened.ask('video.pause()')
  opened.wait_for('Math.abs(now - video.currentTime) < 1e-6')
  now = opened.ask('video.currentTime')
  assert cursor_x(opened) == pytest.approx(now / SECONDS * width, abs=1.5)


def test_it_stops_at_the_end(opened):
  opened.ask('seek(clip.seconds - 0.2)')
  opened.ask('play()')
  opened.wait_for('video.ended')
  assert opened.ask('now') == pytest.approx(SECONDS, abs=0.1)


@pytest.mark.parametrize('clip', [0, 1])
def test_a_click_seeks(opened, clip):
  opened.ask(f'open({clip})')
  opened.wait_for('video.readyState >= 2')
  opened.click('.time', share=0.75)
  opened.wait_for('!video.seeking')
  wanted = 0.75 * SECONDS
  assert opened.ask('video.currentTime') == pytest.approx(wanted, abs=0.02)
  assert opened.ask('find("output").textContent').startswith('2.2')
  assert opened.ask('box.ariaValueNow') == f'{opened.ask("now"):.2f}'


def test_keys_seek_and_play(opened):
  opened.ask('box.focus()')
  for _ in range(3):
    opened.press('ArrowRight')
  assert opened.ask('now') == pytest.approx(0.3)
  opened.press('Home')
  assert opened.ask('now') == 0
  opened.press(' ')
  opened.wait_for('video.currentTime > 0.1')
  opened.press(' ')
  assert opened.ask('video.paused') is True


def test_zoomed_in_the_view_follows_and_a_click_means_what_it_shows(opened):
  opened.ask('zoom.value = "2"; zoom.dispatchEvent(new Event("change"))')
  opened.ask('seek(1.5)')
  assert opened.ask('[view().start, view().span]') == [0.5, 2]
  assert cursor_x(opened) == pytest.approx(
    opened.ask('box.clientWidth') / 2, abs=1.5
  )
  opened.click('.time', share=0.25)
  assert opened.ask('now') == pytest.approx(1.0, abs=0.02)


def test_the_next_clip_is_another_one(opened):
  opened.click('[data-step="1"]')
  assert opened.ask('[clip.id, clip.kind]') == ['clip_1', 'sound']
  opened.click('[data-step="-1"]')
  opened.click('[data-step="-1"]')
  assert opened.ask('clip.id') == 'long'
  opened.wait_for('video.readyState >= 2')


# How many of a beat's pixels have its colour: its middle, and its row.
PIXELS = """((beats, name, y) => beats.map(([time]) => {
  const wanted = colour(name).match(/\\w\\w/g).map(h => parseInt(h, 16));
  const is = (x) => {
    const [r, g, b] = pen.getImageData(x, y, 1, 1).data;
    return Math.abs(r - wanted[0]) + Math.abs(g - wanted[1])
      + Math.abs(b - wanted[2]) < 24;
  };
  const x = Math.round(view().x(time));
  return [is(x), [...Array(15).keys()].some(i => is(x + i - 7)),
    [...Array(15).keys()].some(i => is(x + i + 20))];
}))"""


@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_beats_are_drawn_at_their_times(browser, path, scheme):
  browser.open(path, scheme=scheme)
  browser.wait_for('find("video").readyState >= 2 && tinted !== null')
  for name, y in (('true', 10), ('heard', 29)):
    marks = browser.ask(f"{PIXELS}(clip.{name}, '{name}', {y})")
    # Filled, and nothing beside it; the last, without a partner, is hollow.
    assert marks == [[True, True, False]] * 5 + [[False, True, False]]


@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_the_spectrogram_takes_the_colours_of_the_scheme(browser, path, scheme):
  browser.open(path, scheme=scheme)
  browser.wait_for('find("video").readyState >= 2 && tinted !== null')
  first, last, ink, lane = browser.ask(
    """(() => {
      const mean = seconds => {
        const {data} = pen.getImageData(view().x(seconds), 180, 8, 40);
        return data.filter((v, i) => i % 4 === 0)
          .reduce((a, b) => a + b) / 320;
      };
      const red = name => parseInt(colour(name).slice(1, 3), 16);
      return [mean(0.1), mean(0.265), red('ink'), red('lane')];
    })()"""
  )
  assert first == lane  # silence
  assert abs(last - ink) < abs(last - lane)  # the first stroke


def test_the_scheme_may_change_while_the_page_is_open(browser, path):
  browser.open(path)
  browser.wait_for('tinted !== null')
  pixel = 'pen.getImageData(view().x(0.1), 180, 1, 1).data[0]'
  browser.wait_for(f'{pixel} > 200')
  browser.call(
    'Emulation.setEmulatedMedia',
    features=[{'name': 'prefers-color-scheme', 'value': 'dark'}],
  )
  browser.wait_for(f'{pixel} < 60')


@pytest.mark.parametrize('width', [360, 768, 900, 1280])
def test_the_page_never_scrolls_sideways(browser, path, width):
  browser.open(path, width=width)
  for clip in range(4):
    browser.ask(f'open({clip})')
    assert browser.ask('document.documentElement.scrollWidth') <= width
    assert browser.ask('document.documentElement.clientWidth') <= width
  wide = browser.ask(
    "all('body > *, section > *').filter(element => !element.hidden"
    f' && element.getBoundingClientRect().right > {width})'
    '.map(element => element.outerHTML.slice(0, 80))'
  )
  assert wide == []


def test_a_finger_on_a_phone_has_room(browser, path):
  browser.open(path, width=360, height=740)
  sizes = browser.ask(
    "all('.choose > *').map(e => e.getBoundingClientRect().height)"
  )
  assert min(sizes) >= 36
  assert browser.ask('getComputedStyle(box).touchAction') == 'pan-y'
