"""Bring a folder of downloads to completion, whatever happened before.

    OUTPUT/ledger.jsonl     what was done, file by file, and what failed and why
    OUTPUT/checksums.json   sha256 of every file when it first came
    OUTPUT/downloads/…      archives; they may be deleted once unpacked

Where a publisher gives no checksums, those of the first download are trusted,
and a file that is another one later is refused.
"""

import dataclasses
import json
import os
import pathlib
import signal
import sys
import urllib.parse
from collections.abc import Callable, Collection, Iterable, Sequence

import tqdm
from absl import flags

from dance2wave.errors import InputError
from dance2wave.media.audio import replacing
from data_prep.answers import ADVICE, PASSING
from data_prep.archives import ArchiveError, roots_of, test_archive, unpack
from data_prep.fetch import Fetched, FetchError, fetch
from data_prep.ledger import Ledger, is_done
from data_prep.part import Part

REASONS = (*ADVICE, 'damaged', 'unsafe', 'all')
LEDGER_NAME = 'ledger.jsonl'
CHECKSUMS_NAME = 'checksums.json'


@dataclasses.dataclass(frozen=True)
class Wanted:
  """A file to have.

  Attributes:
    name: path inside the output folder, and key in the ledger.
    urls: where it is, tried in this order.
    kind: what its first bytes must look like, as for `fetch`.
  """

  name: str
  urls: tuple[str, ...]
  kind: str = 'binary'


@dataclasses.dataclass(frozen=True)
class Unpacking:
  """An archive to unpack.

  Attributes:
    volumes: names of its files, in order; one for most.
    place: makes the folder inside the output out of the first parts of the
      names in the archive.
  """

  volumes: tuple[str, ...]
  place: Callable[[Sequence[str]], str] = lambda roots: '.'

  @property
  def key(self) -> str:
    """Of its line in the ledger."""
    return f'unpacked {self.volumes[0]}'


def define_flags() -> None:
  """Define what all download tools share; not at import: names clash."""
  flags.DEFINE_string('output', None, 'Folder for everything.')
  flags.DEFINE_bool('dry_run', False, 'Print every URL and target, and stop.')
  flags.DEFINE_list(
    'retry',
    [],
    'Reasons in the ledger for which to try again what would otherwise stay '
    f'given up: {", ".join(REASONS)}.',
  )
  for name in ('output', 'dry_run', 'retry'):  # So that --help shows them.
    flags.FLAGS.register_key_flag_for_module(sys.argv[0], flags.FLAGS[name])


def output_folder(argv: Sequence[str]) -> pathlib.Path:
  """Return --output and check the rest of the shared flags.

  Raises:
    InputError: it is missing, --retry names no reason, or there is more.
  """
  if len(argv) > 1:
    raise InputError(
      f'{argv[1]!r} is no flag; expected --name=value only; see --help'
    )
  for reason in flags.FLAGS.retry:
    if reason not in REASONS:
      raise InputError(
        f'retry is {reason!r}; expected some of {", ".join(REASONS)}, joined '
        'by commas; correct --retry'
      )
  if not flags.FLAGS.output:
    raise InputError(
      'output is missing; expected --output=DIR; name a folder with room'
    )
  return pathlib.Path(flags.FLAGS.output)


def at_roots(roots: Iterable[str], name: str) -> tuple[str, ...]:
  """Return the URLs of a file below several hosts."""
  return tuple(f'{root.rstrip("/")}/{name}' for root in roots)


def print_plan(output: pathlib.Path, wanted: Iterable[Wanted]) -> None:
  """Print every URL and its target, one line each."""
  signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # '| head' is no error
  for file in wanted:
    for url in file.urls:
      print(f'{url} -> {output / file.name}')


def download_all(
  output: pathlib.Path,
  wanted: Sequence[Wanted],
  unpackings: Sequence[Unpacking] = (),
  retry: Collection[str] = (),
) -> int:
  """Download and unpack what is not there yet; return how much failed.

  What failed for a reason that does not pass by itself stays given up until
  `retry` names the reason.

  Raises:
    InputError: another run uses the folder, or the disk is full.
  """
  with Ledger(output / LEDGER_NAME) as ledger:
    run = _Run(output, ledger, retry)
    ready = [
      name for step in unpackings if run.has(step) for name in step.volumes
    ]
    todo = [file for file in wanted if file.name not in ready]
    with tqdm.tqdm(unit='B', unit_scale=True, unit_divisor=1024) as bar:
      for index, file in enumerate(todo):
        bar.set_description(f'{file.name} ({index + 1}/{len(todo)})')
        run.get(file, unpackings, bar.update)
    for step in unpackings:
      if not run.has(step):
        run.unpack(step)
  run.print_summary()
  return len(run.failures)


class _Run:
  """One run over a folder, with what it did and what failed."""

  def __init__(
    self, output: pathlib.Path, ledger: Ledger, retry: Collection[str]
  ):
    self._output = output
    self._ledger = ledger
    self._retry = retry
    self._checksums = _Checksums(output / CHECKSUMS_NAME)
    self._slow_hosts: set[str] = set()
    self._num_kept = self._num_new = self._num_unpacked = 0
    self.failures: list[str] = []

  def has(self, step: Unpacking) -> bool:
    """Return whether an archive was unpacked, and still is."""
    entry = self._ledger.latest().get(step.key)
    if entry is None or entry['state'] != 'done':
      return False
    return all((self._output / root).exists() for root in entry['roots'])

  def _is_given_up(self, key: str) -> bool:
    entry = self._ledger.latest().get(key)
    if entry is None or entry['state'] != 'failed':
      return False
    reason = entry['reason']
    if reason in PASSING or {reason, 'all'} & set(self._retry):
      return False
    self.failures.append(
      f'{entry["message"]} (--retry={reason} tries it again)'
    )
    return True

  def _fail(self, key: str, reason: str, message: str) -> None:
    self._ledger.append(key, 'failed', reason=reason, message=message)
    if reason == 'disk_full':
      raise InputError(message)
    self.failures.append(message)

  def get(
    self,
    file: Wanted,
    unpackings: Sequence[Unpacking],
    on_bytes: Callable[[int], object],
  ) -> None:
    """Download a file that is not there, from the first host that has it."""
    target = self._output / file.name
    entry = self._ledger.latest().get(file.name)
    if is_done(entry, target):
      self._num_kept += 1
      return
    if self._is_given_up(file.name):
      return
    if entry is not None and entry['reason'] == 'damaged':
      target.unlink(missing_ok=True)
      self._checksums.forget(file.name)
    is_unpacked = any(file.name in step.volumes for step in unpackings)
    try:
      url, fetched = self._fetch(file, target, on_bytes)
      if file.kind == 'archive' and not is_unpacked:
        test_archive(target)
    except (FetchError, ArchiveError) as error:
      self._fail(file.name, error.reason, self._advised(error))
      return
    self._num_new += 1
    if fetched.is_verified:
      self._checksums.remember(file.name, fetched.sha256)
    facts = dataclasses.asdict(fetched)
    self._ledger.append(file.name, 'done', url=url, **facts)

  def _fetch(
    self,
    file: Wanted,
    target: pathlib.Path,
    on_bytes: Callable[[int], object],
  ) -> tuple[str, Fetched]:
    """Try the hosts in turn; raise the error that gives most hope."""
    version = Part(target).version()
    begun = version.url if version else ''
    urls = sorted(
      file.urls, key=lambda url: (url != begun, _host(url) in self._slow_hosts)
    )
    errors = []
    for url in urls:
      try:
        return url, fetch(
          url,
          target,
          sha256=self._checksums.get(file.name),
          kind=file.kind,
          on_bytes=on_bytes,
        )
      except FetchError as error:
        errors.append(error)
        if error.reason in ('connection', 'stalled'):
          self._slow_hosts.add(_host(url))
        if error.reason == 'disk_full':
          break
    raise next((e for e in errors if e.reason in PASSING), errors[-1])

  def _advised(self, error: FetchError | ArchiveError) -> str:
    if error.reason != 'checksum':
      return str(error)
    return (
      f'{error}; if the change is meant, remove the file from '
      f'{self._output / CHECKSUMS_NAME}'
    )

  def unpack(self, step: Unpacking) -> None:
    """Unpack an archive whose volumes are all there."""
    latest = self._ledger.latest()
    volumes = [self._output / name for name in step.volumes]
    are_there = [
      is_done(latest.get(name), path)
      for name, path in zip(step.volumes, volumes)
    ]
    if not all(are_there) or self._is_given_up(step.key):
      return
    try:
      place = step.place(roots_of(volumes))
      with tqdm.tqdm(unit='file', desc=step.key) as bar:
        unpacked = unpack(volumes, self._output / place, bar.update)
    except ArchiveError as error:
      if error.reason == 'damaged':
        for name in step.volumes:
          self._ledger.append(
            name, 'failed', reason='damaged', message=str(error)
          )
      self._fail(step.key, error.reason, str(error))
      return
    os.sync()
    self._num_unpacked += 1
    facts = dataclasses.asdict(unpacked)
    facts['roots'] = [f'{place}/{root}' for root in unpacked.roots]
    self._ledger.append(step.key, 'done', **facts)

  def print_summary(self) -> None:
    """Print what was done, and each failure on a line of stderr."""
    print(
      f'{self._num_new} files downloaded, {self._num_kept} were there, '
      f'{self._num_unpacked} archives unpacked, {len(self.failures)} failed'
      + (f', see {self._ledger.path}' if self.failures else '')
    )
    for message in self.failures:
      print(f'failed: {message}', file=sys.stderr)


def _host(url: str) -> str:
  return urllib.parse.urlsplit(url).netloc


class _Checksums:
  """The digests of the first downloads, by name."""

  def __init__(self, path: pathlib.Path):
    self._path = path
    self._digests: dict[str, str] = {}
    if path.exists():
      try:
        self._digests = dict(json.loads(path.read_text()))
      except (ValueError, TypeError) as error:
        raise InputError(
          f'{path} is no JSON object of names and sha256 ({error}); expected '
          'what an earlier run wrote; mend or delete it'
        ) from error

  def get(self, name: str) -> str | None:
    """Return the digest that a file must have, if it came before."""
    return self._digests.get(name)

  def remember(self, name: str, sha256: str) -> None:
    """Trust what came first."""
    if self._digests.setdefault(name, sha256) == sha256:
      self._write()

  def forget(self, name: str) -> None:
    """Trust whatever comes next."""
    self._digests.pop(name, None)
    self._write()

  def _write(self) -> None:
    text = json.dumps(self._digests, indent=2, sort_keys=True) + '\n'
    with replacing(self._path) as temporary, temporary.open('w') as file:
      file.write(text)
      file.flush()
      os.fsync(file.fileno())
