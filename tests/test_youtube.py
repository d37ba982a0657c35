import pathlib
import shlex
import threading
import time

import pytest
from fake_yt_dlp import STDERR, FakeYtDlp, write_clip

from dance2wave.datasets.kinetics_dance.annotations import (
  Annotation,
  read_annotations,
)
from dance2wave.errors import InputError
from dance2wave.media.video import probe
from data_prep import youtube
from data_prep.kinetics_clips import Check, Outcome, check_clip
from data_prep.youtube import Blocked, YouTubeOptions, command, fetch_clips

GOLDEN = pathlib.Path(__file__).parent / 'golden'
# Real clips whose ids are hard to write on a command line.
HARD = (
  '-05qSkAhM6Y_000205_000215',
  '-2JgjPsy4Eo_000077_000087',
  '_usikou9Muc_000031_000041',
  's_nTjVyg-qo_000133_000143',
  '404_0x0fP78_000000_000010',
)


@pytest.fixture
def fake(tmp_path, monkeypatch):
  fake = FakeYtDlp(tmp_path)
  monkeypatch.setenv('PATH', fake.environ()['PATH'])
  monkeypatch.setattr(youtube, 'PAUSE_S', 0.0)
  return fake


def clip(youtube_id, start_s=5):
  return Annotation(youtube_id, 'zumba', start_s, start_s + 1, 'train')


def fetch(clips, tmp_path, num_workers=1, is_retry=False, **options):
  """Return {youtube id: outcome} and what stopped the run."""
  scratch = tmp_path / 'scratch'
  scratch.mkdir(exist_ok=True)
  jobs = [(each, tmp_path / 'out' / f'{each.clip_id}.mp4') for each in clips]
  outcomes, blocked = {}, None
  try:
    options = YouTubeOptions(**options)
    fetched = fetch_clips(jobs, options, scratch, num_workers, is_retry)
    for each, outcome in fetched:
      outcomes[each.youtube_id] = outcome
  except Blocked as error:
    blocked = error
  assert list(scratch.iterdir()) == []
  return outcomes, blocked


def test_real_clips_become_the_golden_commands(shared_data):
  rows = read_annotations(
    shared_data / 'kinetics' / 'kinetics-400_val_dance.csv'
  )
  by_id = {row.clip_id: row for row in rows}
  lines = [shlex.join(command(by_id[name], YouTubeOptions())) for name in HARD]
  assert '\n'.join(lines) + '\n' == (GOLDEN / 'yt_dlp_k400.txt').read_text()


def test_every_real_clip_is_one_safe_command(shared_data):
  rows = read_annotations(
    shared_data / 'kinetics' / 'kinetics-400_val_dance.csv'
  )
  for row in rows:
    arguments = command(row, YouTubeOptions())
    assert arguments[-2:] == [
      '--',
      f'https://www.youtube.com/watch?v={row.youtube_id}',
    ]
    output = arguments[arguments.index('--output') + 1]
    assert output == f'./{row.clip_id}.%(ext)s'
    section = arguments[arguments.index('--download-sections') + 1]
    assert section == f'*{row.start_s}-{row.end_s}'
    assert shlex.split(shlex.join(arguments)) == arguments


def test_options_reach_the_command():
  options = YouTubeOptions(
    cookies=pathlib.Path('/c.txt'),
    min_sleep_s=1.5,
    max_sleep_s=3,
    limit_rate='2M',
  )
  arguments = command(clip('abcdefghijk'), options)
  assert '--force-keyframes-at-cuts' in arguments
  for name, value in {
    '--cookies': '/c.txt',
    '--limit-rate': '2M',
    '--sleep-interval': '1.5',
    '--max-sleep-interval': '3',
  }.items():
    assert arguments[arguments.index(name) + 1] == value


@pytest.mark.parametrize('word', STDERR)
def test_what_yt_dlp_writes_has_a_reason(word):
  same = {
    'terminated': 'removed',
    'session_limited': 'rate_limited',
    'overused': 'rate_limited',
  }
  text = f'ERROR: [youtube] abcdefghijk: {STDERR[word]}'
  assert youtube.reason_of(text) == same.get(word, word)


def test_a_good_clip_takes_its_name(fake, tmp_path):
  outcomes, blocked = fetch([clip('-rfAAAAAA_A')], tmp_path)
  path = tmp_path / 'out' / '-rfAAAAAA_A_000005_000006.mp4'
  assert path.read_bytes() == fake.good.read_bytes()
  assert outcomes['-rfAAAAAA_A'].reason == ''
  assert outcomes['-rfAAAAAA_A'].facts['num_bytes'] == path.stat().st_size
  assert probe(path).audio_stream_index is not None
  assert blocked is None
  [call] = fake.calls()
  assert call['argv'] == command(clip('-rfAAAAAA_A'), YouTubeOptions())[1:]


def test_every_fault_is_one_outcome_or_a_retry(fake, tmp_path):
  expected = {  # reason, calls, permanent
    'private': (1, True),
    'removed': (1, True),
    'unavailable': (1, True),
    'geo_blocked': (1, True),
    'age_restricted': (1, True),
    'copyright': (1, True),
    'no_audio': (1, True),
    'bot_check': (1, False),
    'rate_limited': (1, False),
    'forbidden': (1, False),
    'no_format': (1, False),
    'client_refused': (1, False),
    'network': (3, False),
    'unknown': (3, False),
  }
  # A permanent one between any two, so that the run goes on.
  order = sorted(expected, key=lambda word: expected[word][1])
  order = [
    word for pair in zip(order[:6], order[6:12]) for word in pair
  ] + order[12:]
  clips = []
  for number, word in enumerate(order):
    youtube_id = f'{number:02d}_______-z'
    fake.will(youtube_id, word)
    clips.append(clip(youtube_id))
  outcomes, blocked = fetch(clips, tmp_path)
  assert blocked is None
  for each, word in zip(clips, order):
    num_calls, is_permanent = expected[word]
    outcome = outcomes[each.youtube_id]
    assert outcome.reason == word, outcome
    assert outcome.is_permanent == is_permanent, word
    assert len(fake.calls(each.youtube_id)) == num_calls, word
    assert outcome.message and '\n' not in outcome.message
  assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize(
  ('word', 'reason'),
  [
    ('short', 'wrong_length'),
    ('long', 'wrong_length'),
    ('half', 'damaged'),
    ('nothing', 'unknown'),
  ],
)
def test_files_that_are_no_clip_are_fetched_again(fake, tmp_path, word, reason):
  fake.will('twiceAAAAAA', word, 'ok')
  fake.will('neverAAAAAA', word)
  clips = [clip('twiceAAAAAA'), clip('neverAAAAAA')]
  outcomes, _ = fetch(clips, tmp_path)
  assert outcomes['twiceAAAAAA'].reason == ''
  assert outcomes['neverAAAAAA'].reason == reason
  assert len(fake.calls('twice')) == 2
  assert len(fake.calls('never')) == 3
  names = [path.name for path in (tmp_path / 'out').iterdir()]
  assert names == ['twiceAAAAAA_000005_000006.mp4']


def test_a_command_that_hangs_is_stopped_with_its_children(fake, tmp_path):
  fake.will('hangsAAAAAA', 'hang', 'ok')
  start_s = time.monotonic()
  outcomes, _ = fetch([clip('hangsAAAAAA')], tmp_path, clip_timeout_s=1.0)
  assert outcomes['hangsAAAAAA'].reason == ''
  assert len(fake.calls('hangs')) == 2
  assert time.monotonic() - start_s < 20  # its child would go on for 30 s


@pytest.mark.parametrize('word', ['bot_check', 'rate_limited'])
@pytest.mark.parametrize('num_workers', [1, 3])
def test_a_refusal_ends_the_run_early(fake, tmp_path, word, num_workers):
  ids = [f'{number:02d}_________' for number in range(30)]
  for youtube_id in ids:
    fake.will(youtube_id, word)
  clips = [clip(youtube_id) for youtube_id in ids]
  outcomes, blocked = fetch(clips, tmp_path, num_workers)
  assert '--cookies' in str(blocked)
  assert word in str(blocked)
  refused = [each for each in outcomes.values() if each.reason == word]
  assert 3 <= len(refused) < 3 + num_workers
  assert len(fake.calls()) < 3 + num_workers


def test_faults_of_the_moment_end_the_run_as_well(fake, tmp_path):
  for number in range(15):
    fake.will(f'{number:02d}_________', 'forbidden')
  clips = [clip(f'{number:02d}_________') for number in range(15)]
  outcomes, blocked = fetch(clips, tmp_path)
  assert len(outcomes) == 10
  assert 'update yt-dlp' in str(blocked)


@pytest.mark.parametrize('num_workers', [1, 3])
def test_one_message_for_all_is_not_believed(
  fake, tmp_path, monkeypatch, num_workers
):
  monkeypatch.setattr(youtube, 'MAX_SAME', 5)
  clips = [clip(f'{number:02d}_________') for number in range(9)]
  for each in clips:
    fake.will(each.youtube_id, 'unavailable')
  outcomes, blocked = fetch(clips, tmp_path, num_workers)
  assert '--retry=unavailable' in str(blocked)
  assert 5 <= len(outcomes) < 5 + num_workers
  assert not any(each.is_permanent for each in outcomes.values())
  assert {each.reason for each in outcomes.values()} == {'unavailable'}
  # Who asks for them once more knows that all may say the same.
  outcomes, blocked = fetch(clips, tmp_path, num_workers, is_retry=True)
  assert blocked is None and len(outcomes) == 9
  assert all(each.is_permanent for each in outcomes.values())
  # One that differs, and they are the clips' own.
  fake.will(clips[4].youtube_id, 'private')
  outcomes, blocked = fetch(clips, tmp_path)
  assert blocked is None and len(outcomes) == 9
  assert all(each.is_permanent for each in outcomes.values())


def test_a_full_disk_is_the_users(fake, tmp_path):
  fake.will('fullAAAAAAA', 'disk_full')
  with pytest.raises(InputError, match='free some space'):
    fetch([clip('fullAAAAAAA')], tmp_path)


def test_cookies_are_copied_for_every_command(fake, tmp_path):
  cookies = tmp_path / 'my cookies.txt'
  cookies.write_text('# Netscape HTTP Cookie File\n')
  fetch([clip('cookieAAAAA')], tmp_path, cookies=cookies)
  [call] = fake.calls()
  assert call['cookies'] == cookies.read_text()
  assert str(cookies) not in call['argv']


def test_a_stopped_run_says_nothing_of_clips_it_did_not_try(fake, tmp_path):
  stop = threading.Event()
  stop.set()
  outcome = youtube.fetch_clip(
    clip('abcdefghijk'), tmp_path / 'x.mp4', YouTubeOptions(), tmp_path, stop
  )
  assert outcome is None
  assert fake.calls() == []


def test_a_command_that_cannot_be_started_is_tried_again(
  fake, tmp_path, monkeypatch
):
  refusals, popen = [None], youtube.subprocess.Popen

  def start(*arguments, **keywords):
    if refusals:
      refusals.pop()
      raise OSError(14, 'Bad address', 'yt-dlp')
    return popen(*arguments, **keywords)

  monkeypatch.setattr(youtube.subprocess, 'Popen', start)
  outcomes, blocked = fetch([clip('aaaaaaaaaaa')], tmp_path)
  assert blocked is None and outcomes['aaaaaaaaaaa'].reason == ''
  refusals += [None] * 3
  outcomes, _ = fetch([clip('bbbbbbbbbbb')], tmp_path)
  assert outcomes['bbbbbbbbbbb'].reason == 'not_started'
  assert 'Bad address' in outcomes['bbbbbbbbbbb'].message


def test_missing_programs_are_one_clear_error(tmp_path, monkeypatch):
  monkeypatch.setenv('PATH', str(tmp_path))
  with pytest.raises(InputError) as error:
    youtube.check_programs()
  for word in ('yt-dlp', 'ffmpeg', 'pip install', '--source=mirror'):
    assert word in str(error.value)


def test_lengths_are_compared_with_the_segment(tmp_path):
  path = write_clip(tmp_path / 'clip.mp4', 1.0)
  exact = lambda segment_s: check_clip(Check(path, segment_s, True))[0]  # noqa: E731
  assert exact(1.0) == exact(1.2) == exact(0.8) == ''
  assert exact(1.3) == exact(0.7) == 'wrong_length'
  # The mirror's may be shorter, but not much longer.
  assert check_clip(Check(path, 10.0)) == ('', '')
  assert check_clip(Check(path, -0.1))[0] == 'wrong_length'


def test_outcomes_do_not_share_facts():
  assert Outcome().facts == {} and Outcome().facts is not Outcome().facts
