import os
import pathlib
import random
import signal
import time

import pytest
from command_line import assert_one_line
from fake_yt_dlp import FakeYtDlp
from kinetics_files import TOOL, ask, check_output, csv_of, lines_of, wait_for
from warm_tool import WarmTool

from dance2wave.datasets.kinetics_dance.classes import RELEASES
from data_prep.kinetics_run import run

GOLDEN = pathlib.Path(__file__).parent / 'golden'


@pytest.fixture(scope='module')
def tool():
  """The tool as a user runs it."""
  with WarmTool(*TOOL) as tool:
    yield tool


# ---- what would be fetched


@pytest.mark.parametrize('release', RELEASES)
def test_dry_run_prints_the_golden_urls_of_the_mirror(tool, tmp_path, release):
  output = tmp_path / 'none'
  result = tool(
    '--output', output, '--release', release, '--dry_run', '--categories=loose'
  )
  assert result.returncode == 0, result.stderr
  assert result.stdout == (GOLDEN / f'mirror_{release}.txt').read_text()
  assert not output.exists()


def test_dry_run_prints_commands_of_real_clips(tool, tmp_path, shared_data):
  """Both spellings of flags, and lists as the older downloaders had them."""
  rows = shared_data / 'kinetics' / 'kinetics-400_val_dance.csv'
  words = ['--output', tmp_path / 'none', '--source=youtube', '-v']
  words += ['--dry-run', '--release=k400', '--num-workers', '4']
  words += ['--annotations', rows]
  result = tool(*words, '--categories', 'dancing')
  assert result.returncode == 0, result.stderr
  lines = result.stdout.splitlines()
  assert len(lines) == 790
  golden = (GOLDEN / 'yt_dlp_k400.txt').read_text().splitlines()
  assert set(golden) <= set(lines)
  result = tool(*words, '--classes', 'tap dancing', 'Salsa_Dancing')
  assert len(result.stdout.splitlines()) == 49 + 49
  assert not (tmp_path / 'none').exists()


def test_lists_and_spellings_of_flags(tool, tmp_path):
  words = ['--output', tmp_path / 'none', '--mirror-url=http://a-b/c-d/']
  words += ['--dry-run', '--keep-archives', '--splits', 'val']
  result = tool(*words, '--classes', 'zumba', 'cumbia', '--categories=loose')
  urls = result.stdout.splitlines()
  assert len(urls) == 3 + 33
  result = tool(*words, '--classes', 'zumba', 'cumbia,tap_dancing', '--verbose')
  urls = result.stdout.splitlines()
  numbers = (137, 611, 700)
  assert urls[3:] == [
    f'http://a-b/c-d/700_2020/val/k700_val_{number}.tar.gz'
    for number in numbers
  ]


@pytest.mark.parametrize(
  ('arguments', 'word'),
  [
    ([], '--output'),
    (['zumba'], 'zumba'),
    (['--categories', 'swimming'], 'dancing'),
    (['--classes', 'archery'], 'tap dancing'),
    (['--release=k400', '--classes', 'cumbia'], 'cumbia'),
    (['--release=k500'], 'k700_2020'),
    (['--splits', 'holiday'], 'validation'),
    (['--retry', 'boredom'], 'private'),
    (['--source=local'], '--local_dir'),
    (['--source=youtube'], '--accept_tos'),
    (['--source=youtube', '--accept_tos'], 'pip install'),
    (['--source=youtube', '--dry_run'], '--annotations'),
    (['--min_sleep_s=30'], 'max_sleep_s'),
    (['--cookies=/none'], '/none'),
    (['--annotations=/none.csv'], '/none.csv'),
    (['--num_workers=0'], 'num_workers'),
  ],
)
def test_bad_flags_are_one_line(tool, tmp_path, arguments, word):
  output = ['--output', tmp_path / 'out'] if arguments else []
  result = tool(*output, *arguments, environ={'PATH': '/none'})
  assert_one_line(result, word)


# ---- YouTube


@pytest.fixture
def fake(tmp_path):
  return FakeYtDlp(tmp_path)


IDS = [f'{"-_"[number % 2]}clip{number:02d}_-xy' for number in range(12)]


@pytest.fixture
def youtube(fake, tmp_path, monkeypatch):
  """Return a function that runs --source=youtube with the fake."""
  monkeypatch.setenv('PATH', fake.environ()['PATH'])
  monkeypatch.setattr('data_prep.youtube.PAUSE_S', 0.0)
  annotations = [tmp_path / 'rows.csv']

  def run_it(*retry):
    labels = ('tap dancing', 'zumba')
    more = {'source': 'youtube', 'annotations': annotations, 'retry': retry}
    return run(ask(tmp_path, *labels, **more))

  return run_it


def test_every_clip_of_youtube_has_one_line(fake, youtube, tmp_path, capfd):
  words = ['ok', 'private', 'ok', 'no_audio', 'bot_check', 'ok']
  clips = [
    ('train' if n % 2 else 'val', 'tap dancing', youtube_id, 5)
    for n, youtube_id in enumerate(IDS[:6])
  ]
  for youtube_id, word in zip(IDS, words):
    fake.will(youtube_id, word)
  csv_of(tmp_path / 'rows.csv', clips)
  assert youtube() == 1
  assert '3 of 6 clips' in capfd.readouterr().out
  entries = check_output(
    tmp_path / 'out',
    [
      f'{"train" if n % 2 else "validation"}/tap dancing/'
      f'{IDS[n]}_000005_000006.mp4'
      for n, word in enumerate(words)
      if word == 'ok'
    ],
  )
  lines = lines_of(tmp_path / 'out')
  assert len(lines) == len(entries) == 6
  reasons = [entries[f'{i}_000005_000006']['reason'] for i in IDS[:6]]
  assert reasons == [word.replace('ok', '') for word in words]

  # The next run tries only what may have passed.
  fake.will(IDS[4], 'ok')
  assert youtube() == 0
  assert len(fake.calls()) == 7 and len(fake.calls(IDS[4])) == 2
  assert len(lines_of(tmp_path / 'out')) == 7

  # Permanent ones only when asked by name.
  fake.will(IDS[1], 'ok')
  fake.will(IDS[3], 'ok')
  assert youtube('private') == 0
  assert len(fake.calls(IDS[1])) == 2 and len(fake.calls(IDS[3])) == 1
  # A file that was cut short since is no file.
  path = tmp_path / 'out' / 'validation' / 'tap dancing'
  path = path / f'{IDS[0]}_000005_000006.mp4'
  path.write_bytes(path.read_bytes()[:1000])
  assert youtube('all') == 0
  assert '6 of 6 clips' in capfd.readouterr().out
  assert len(fake.calls(IDS[0])) == 2 and len(fake.calls()) == 10
  assert youtube() == 0
  assert '0 of 6 clips to be had' in capfd.readouterr().out
  assert len(fake.calls()) == 10


def test_only_whole_files_count_without_a_line(fake, youtube, tmp_path):
  """A run may be killed between a file's name and its line."""
  csv_of(tmp_path / 'rows.csv', [('train', 'zumba', i, 5) for i in IDS[:3]])
  folder = tmp_path / 'out/train/zumba'
  folder.mkdir(parents=True)
  data = fake.good.read_bytes()
  whole, half = (folder / f'{i}_000005_000006.mp4' for i in IDS[:2])
  whole.write_bytes(data)
  half.write_bytes(data[: len(data) // 2])
  assert youtube() == 0
  assert [len(fake.calls(i)) for i in IDS[:3]] == [0, 1, 1]
  assert half.read_bytes() == data
  assert len(lines_of(tmp_path / 'out')) == 3


def test_a_bot_check_stops_the_run_with_advice(fake, youtube, tmp_path, capfd):
  csv_of(tmp_path / 'rows.csv', [('train', 'zumba', i, 5) for i in IDS])
  for youtube_id in IDS:
    fake.will(youtube_id, 'bot_check')
  assert youtube() == 1
  out, err = capfd.readouterr()
  assert '--cookies' in err
  assert '9 not tried' in out
  assert len(fake.calls()) == len(lines_of(tmp_path / 'out')) == 3


def test_two_runs_at_once_are_refused(tool, fake, tmp_path):
  csv_of(tmp_path / 'rows.csv', [('train', 'zumba', IDS[0], 5)])
  fake.will(IDS[0], 'hang')
  first = start(tool, fake, tmp_path)
  try:
    wait_for(lambda: fake.calls())
    result = tool.wait(start(tool, fake, tmp_path))
    assert_one_line(result, 'in use by another run')
  finally:
    os.kill(first, signal.SIGKILL)
    tool.wait(first)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_the_commands_as_well(tool, fake, tmp_path, number):
  csv_of(tmp_path / 'rows.csv', [('train', 'zumba', IDS[0], 5)])
  fake.will(IDS[0], 'hang')
  start_s = time.monotonic()
  pid = start(tool, fake, tmp_path)
  wait_for(lambda: list((tmp_path / 'out/.partial').glob('*/*.part')))
  os.kill(pid, number)
  result = tool.wait(pid)
  assert result.returncode == 128 + number
  assert 'Traceback' not in result.stderr and 'goes on' in result.stderr
  assert time.monotonic() - start_s < 20
  assert not (tmp_path / 'out/.partial').exists()


def start(tool, fake, tmp_path):
  arguments = ['--source=youtube', '--accept_tos', '--num_workers=2']
  arguments += ['--annotations', tmp_path / 'rows.csv']
  return tool.start(
    *('--output', tmp_path / 'out', *arguments),
    environ=fake.environ(
      FAKE_OUTPUT=str(tmp_path / 'out'), FAKE_SLEEP_S='0.05'
    ),
  )


def kill_at_random_moments(tool, fake, tmp_path, num_kills, num_clips, seed):
  """Kill runs at random moments, most of them while commands run."""
  draw = random.Random(seed)
  ids = [f'{"-_"[n % 2]}kill{n:03d}_-x' for n in range(num_clips)]
  csv_of(tmp_path / 'rows.csv', [('train', 'zumba', i, 5) for i in ids])
  for youtube_id in ids[::5]:
    fake.will(youtube_id, 'private')
  good = [youtube_id for youtube_id in ids if youtube_id not in ids[::5]]
  out = tmp_path / 'out'
  num_killed = 0
  for _ in range(num_kills):
    num_calls = len(fake.calls())
    pid = start(tool, fake, tmp_path)
    if draw.random() < 0.8:  # else perhaps before anything happens
      wait_for(
        lambda n=num_calls: (
          len(fake.calls()) > n or len(lines_of(out)) >= len(ids)
        )
      )
    time.sleep(draw.uniform(0, 1.5))
    os.kill(pid, signal.SIGKILL)
    num_killed += tool.wait(pid).returncode == -signal.SIGKILL
  assert tool.wait(start(tool, fake, tmp_path)).returncode == 0
  entries = check_output(
    out, [f'train/zumba/{i}_000005_000006.mp4' for i in good]
  )
  data = fake.good.read_bytes()
  assert all(path.read_bytes() == data for path in out.rglob('*.mp4'))
  # One line each, and no finished one was asked for again.
  assert len(entries) == len(lines_of(out)) == len(ids)
  assert not any(call['was_there'] for call in fake.calls())
  return num_killed


def test_killed_runs_go_on(tool, fake, tmp_path):
  assert kill_at_random_moments(tool, fake, tmp_path, 5, 16, seed=3) >= 3


@pytest.mark.slow
def test_killed_runs_go_on_twenty_times(tool, fake, tmp_path):
  assert kill_at_random_moments(tool, fake, tmp_path, 20, 80, seed=4) >= 10
