"""Fetch exact sections of YouTube videos with yt-dlp, one command per clip.

yt-dlp (https://github.com/yt-dlp/yt-dlp) is run as a program, never through a
shell. It works in a temporary folder; only a clip that was decoded, has sound
and is as long as its segment takes its final name.
"""

import contextlib
import dataclasses
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent import futures

from dance2wave.datasets.kinetics_dance.annotations import Annotation
from dance2wave.errors import InputError
from data_prep.kinetics_clips import Check, Outcome, check_apart, place
from data_prep.youtube_reasons import (
  BLOCKING,
  PASSING,
  PERMANENT,
  reason_of,
)

_MAX_ATTEMPTS = 3
PAUSE_S = 5.0
# So many clips in a row that YouTube refuses, that fail for reasons that are
# not the clip's own, or of which it says the same, end a run: the others would
# fail as well.
MAX_BLOCKED = 3
MAX_PASSING = 10
MAX_SAME = 25


@dataclasses.dataclass(frozen=True)
class YouTubeOptions:
  """How to ask YouTube.

  Attributes:
    cookies: a Netscape cookies file of a browser, or None.
    min_sleep_s, max_sleep_s: pause before every clip, drawn between the two.
    limit_rate: yt-dlp's own, such as '2M' bytes/s; '' for no limit.
    max_height: of the picture, in pixels.
    clip_timeout_s: a clip that takes longer is stopped.
  """

  cookies: pathlib.Path | None = None
  min_sleep_s: float = 10.0
  max_sleep_s: float = 20.0
  limit_rate: str = ''
  max_height: int = 480
  clip_timeout_s: float = 600.0


class Blocked(Exception):
  """Say why the rest of a run is not worth trying, and what to do."""


def command(clip: Annotation, options: YouTubeOptions) -> list[str]:
  """Return the arguments that fetch one clip into the current folder."""
  height = f'[height<={options.max_height}]'
  limits = ['--limit-rate', options.limit_rate] if options.limit_rate else []
  cookies = ['--cookies', str(options.cookies)] if options.cookies else []
  return [
    *('yt-dlp', '--ignore-config', '--quiet', '--no-warnings'),
    *('--no-progress', '--no-playlist'),
    *('--format', f'bv*[ext=mp4]{height}+ba[ext=m4a]/b[ext=mp4]{height}/b'),
    *('--merge-output-format', 'mp4', '--remux-video', 'mp4'),
    *('--download-sections', f'*{clip.start_s}-{clip.end_s}'),
    '--force-keyframes-at-cuts',
    *('--retries', '3', '--fragment-retries', '3', '--socket-timeout', '30'),
    *('--sleep-requests', '1', '--sleep-interval', f'{options.min_sleep_s:g}'),
    *('--max-sleep-interval', f'{options.max_sleep_s:g}'),
    *limits,
    *cookies,
    # Never a name that begins with '-', as ids may.
    *('--output', f'./{clip.clip_id}.%(ext)s', '--', clip.url),
  ]


def check_programs() -> None:
  """Raise InputError if yt-dlp or ffmpeg is not on the PATH."""
  missing = [name for name in ('yt-dlp', 'ffmpeg') if not shutil.which(name)]
  if missing:
    raise InputError(
      f'{" and ".join(missing)} not found on the PATH; expected yt-dlp (with a '
      'JavaScript runtime such as deno) and ffmpeg, which cuts the sections; '
      "install them: pip install 'yt-dlp[default]', and ffmpeg from your "
      'system, or use --source=mirror'
    )


def fetch_clips(
  jobs: Sequence[tuple[Annotation, pathlib.Path]],
  options: YouTubeOptions,
  scratch: pathlib.Path,
  num_workers: int,
  is_retry: bool = False,
) -> Iterator[tuple[Annotation, Outcome]]:
  """Fetch clips, several at once, and yield what became of each as it ends.

  Args:
    jobs: every clip and its final path.
    options: how to ask.
    scratch: existing folder, on the file system of the final paths.
    num_workers: commands at once.
    is_retry: whether many of one message are what must be expected.

  Raises:
    Blocked: after 3 clips in a row that YouTube refused this computer, 10 that
      failed for other reasons of the moment, or, unless it is a retry, 25 that
      failed for good with one message; all that ended before have been
      yielded, the 25 once more as failures of the moment.
    InputError: the disk is full.
  """
  stop, tally = threading.Event(), _Tally(is_retry)

  def fetch_one(clip: Annotation, target: pathlib.Path) -> Outcome | None:
    outcome = fetch_clip(clip, target, options, scratch, stop)
    if outcome is not None and tally.is_enough(clip, outcome):
      stop.set()  # before this thread takes the next clip
    return outcome

  pool = futures.ThreadPoolExecutor(num_workers)
  try:
    running = {pool.submit(fetch_one, *job): job[0] for job in jobs}
    for future in futures.as_completed(running):
      if outcome := future.result():
        yield running[future], outcome
  finally:
    stop.set()
    pool.shutdown(cancel_futures=True)
  for clip, outcome in tally.doubtful():
    yield clip, dataclasses.replace(outcome, is_permanent=False)
  if tally.last is not None:
    raise Blocked(_advice(tally.last))


class _Tally:
  """Count failures in a row that are not the clips' own, in all threads.

  Attributes:
    last: the failure that was enough, or None.
  """

  def __init__(self, is_retry: bool):
    self.last: Outcome | None = None
    self._is_retry = is_retry
    self._num_blocked = self._num_passing = 0
    self._message = ''
    self._same: list[tuple[Annotation, Outcome]] = []
    self._lock = threading.Lock()

  def is_enough(self, clip: Annotation, outcome: Outcome) -> bool:
    """Count one outcome; return whether the run should end."""
    is_passing = bool(outcome.reason) and not outcome.is_permanent
    is_blocked = outcome.reason in BLOCKING
    with self._lock:
      self._num_blocked = self._num_blocked + 1 if is_blocked else 0
      self._num_passing = self._num_passing + 1 if is_passing else 0
      self._compare(clip, outcome)
      is_enough = (
        self._num_blocked >= MAX_BLOCKED
        or self._num_passing >= MAX_PASSING
        or bool(self.doubtful())
      )
      if is_enough and self.last is None:
        self.last = outcome
    return is_enough

  def _compare(self, clip: Annotation, outcome: Outcome) -> None:
    """Keep the last clips that failed for good with one message."""
    message = outcome.message.replace(clip.clip_id, '')
    message = message.replace(clip.youtube_id, '')
    if message != self._message and not self.doubtful():
      self._message, self._same = message, []
    if outcome.is_permanent and message == self._message:
      self._same.append((clip, outcome))

  def doubtful(self) -> list[tuple[Annotation, Outcome]]:
    """Return clips that failed for good, but too many of them alike."""
    is_many = len(self._same) >= MAX_SAME and not self._is_retry
    return list(self._same) if is_many else []


def _advice(outcome: Outcome) -> str:
  if outcome.reason in BLOCKING:
    return (
      f'YouTube refuses this computer ({outcome.reason}: {outcome.message}); '
      'stopped before more clips fail; wait some hours, give --cookies of a '
      'browser that is logged in, use one worker and a longer --min_sleep_s, '
      'or take --source=mirror'
    )
  if outcome.is_permanent:
    return (
      f'{MAX_SAME} clips in a row failed with one message ({outcome.reason}: '
      f'{outcome.message}); stopped, as YouTube may refuse this computer; '
      'update yt-dlp and its JavaScript runtime, look at one of the videos '
      'and run the command again; if the message is true of them all, add '
      f'--retry={outcome.reason}, which does not stop so'
    )
  return (
    f'{MAX_PASSING} clips in a row failed, the last with {outcome.reason}: '
    f'{outcome.message}; stopped before more clips fail; check the network, '
    'update yt-dlp and its JavaScript runtime, and run the command again'
  )


def fetch_clip(
  clip: Annotation,
  target: pathlib.Path,
  options: YouTubeOptions,
  scratch: pathlib.Path,
  stop: threading.Event,
) -> Outcome | None:
  """Fetch one clip, with up to three attempts; say what became of it.

  Args:
    clip: what to fetch.
    target: its final path, on the file system of `scratch`.
    options: how to ask.
    scratch: existing folder for temporary folders.
    stop: ends the work as soon as it is set.

  Returns:
    None if it was stopped before anything was known.

  Raises:
    InputError: the disk is full.
  """
  outcome = None
  for attempt in range(_MAX_ATTEMPTS):
    if stop.wait(PAUSE_S * attempt):
      break
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
      outcome = _attempt(clip, target, options, pathlib.Path(folder), stop)
    if outcome is None or outcome.reason not in PASSING:
      break
  return outcome


def _attempt(
  clip: Annotation,
  target: pathlib.Path,
  options: YouTubeOptions,
  folder: pathlib.Path,
  stop: threading.Event,
) -> Outcome | None:
  if options.cookies:  # yt-dlp writes to it, and others may run beside
    copy = shutil.copy(options.cookies, folder / 'cookies.txt')
    options = dataclasses.replace(options, cookies=pathlib.Path(copy).resolve())
  arguments = command(clip, options)
  reason, message = _run(arguments, folder, options.clip_timeout_s, stop)
  if stop.is_set():
    return None
  path = folder / f'{clip.clip_id}.mp4'
  if not reason and not path.is_file():
    reason, message = 'unknown', 'yt-dlp ended well but wrote no mp4'
  if not reason:
    check = Check(path, clip.end_s - clip.start_s, is_exact=True)
    reason, message = check_apart(check)
  if reason == 'disk_full':
    raise InputError(
      f'{folder.parent}: the disk is full; expected room for the clips; free '
      'some space and run the command again'
    )
  if reason:
    return Outcome(reason, message, reason in PERMANENT)
  return Outcome(facts=place(path, target))


def _run(
  arguments: list[str],
  folder: pathlib.Path,
  timeout_s: float,
  stop: threading.Event,
) -> tuple[str, str]:
  """Run yt-dlp in a folder; return (reason, message), two '' if all is well."""
  try:
    process = subprocess.Popen(
      arguments,
      cwd=folder,
      stdin=subprocess.DEVNULL,
      stdout=subprocess.DEVNULL,
      stderr=subprocess.PIPE,
      start_new_session=True,  # so that its ffmpeg can be stopped as well
    )
  except OSError as error:  # no memory, no processes left
    return 'not_started', f'yt-dlp could not be started: {error.strerror}'
  stderr = _end_of(process, timeout_s, stop)
  if stderr is None:
    return 'timeout', f'yt-dlp was stopped after {timeout_s:g} s'
  if process.returncode == 0:
    return '', ''
  text = stderr.decode('utf-8', 'replace').strip()
  errors = [line for line in text.splitlines() if line.startswith('ERROR')]
  message = ' '.join((errors or text.splitlines() or [''])[-1].split())
  reason = reason_of('\n'.join(errors) or text)
  return reason, message[:500] or f'yt-dlp ended with {process.returncode}'


def _end_of(
  process: subprocess.Popen, timeout_s: float, stop: threading.Event
) -> bytes | None:
  """Wait for a command; return its stderr, or None if it had to be stopped."""
  end_s = time.monotonic() + timeout_s
  try:
    while time.monotonic() < end_s and not stop.is_set():
      with contextlib.suppress(subprocess.TimeoutExpired):
        return process.communicate(timeout=0.5)[1]
    return None
  finally:
    if process.poll() is None:
      os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
