"""The one error that a user is meant to read."""

import contextlib
import errno
import itertools
import os
import pathlib
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence

from absl import app, flags


class InputError(ValueError):
  """Bad input: what is wrong with its value; what was expected; what to do.

  Entry points print it as one line and exit with status 2; every other
  exception is a defect and keeps its traceback.
  """


def first_line(error: Exception) -> str:
  """Return what an error of a library says, without its further advice.

  It may quote the file, so that it is cut to 200 characters.
  """
  return next(iter(str(error).splitlines()), type(error).__name__)[:200]


def check_folder(folder: pathlib.Path, output: pathlib.Path) -> None:
  """Make the folder of an `--output` and write to it, before hours are spent.

  Raises:
    InputError: it cannot be made, or nothing can be written there.
  """
  try:
    folder.mkdir(parents=True, exist_ok=True)
    probe = folder / f'.{output.name}.probe'
    probe.touch()
    probe.unlink(missing_ok=True)  # another process may have looked too
  except OSError as error:
    raise InputError(
      f'--output={output} cannot be written ({error.strerror}); expected a '
      'folder with room and permission to write; choose another --output'
    ) from error


class Interrupted(Exception):
  """A signal stopped a run between two steps.

  Entry points exit with status 128 + the signal's number, as a shell does:
  143 for SIGTERM and 130 for SIGINT.
  """

  def __init__(self, number: signal.Signals, what: str):
    super().__init__(
      f'stopped by {number.name}: {what}; run the same command to go on'
    )
    self.status = 128 + number


class Terminated(KeyboardInterrupt):
  """SIGTERM, heard as Ctrl-C is: what is temporary is removed on the way."""


def signal_of(error: KeyboardInterrupt) -> signal.Signals:
  """Return the signal that raised an error."""
  is_term = isinstance(error, Terminated)
  return signal.SIGTERM if is_term else signal.SIGINT


_AGAIN_S = 0.05
_held: list[list[int]] = []  # who holds SIGTERM back, and what was heard


def _terminate(number: int, _) -> None:
  if _held:
    _held[-1].append(number)
    return
  signal.signal(number, signal.SIG_DFL)  # A second one ends all at once.
  raise Terminated


@contextlib.contextmanager
def sigterm_later() -> Iterator[None]:
  """Hold back what SIGTERM raises.

  No handler is set: of several processes JAX's own hears it.
  """
  heard: list[int] = []
  _held.append(heard)
  try:
    yield
  finally:
    _held.pop()
    for number in heard[:1]:
      _terminate(number, None)


@contextlib.contextmanager
def _hearing_sigterm() -> Iterator[None]:
  is_ours = threading.current_thread() is threading.main_thread()
  if not is_ours or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
    yield
    return
  signal.signal(signal.SIGTERM, _terminate)
  try:
    yield
  finally:
    if signal.getsignal(signal.SIGTERM) is _terminate:
      signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextlib.contextmanager
def _hearing_again() -> Iterator[None]:
  """Hear a signal again whose exception nobody could catch.

  It was raised in a destructor or in a callback of the garbage collector, where
  Python prints it and goes on.
  """
  before = sys.unraisablehook

  def hook(unraisable):
    error = unraisable.exc_value
    if not isinstance(error, KeyboardInterrupt):
      before(unraisable)
      return
    if isinstance(error, Terminated):
      signal.signal(signal.SIGTERM, _terminate)
    again = (os.getpid(), signal_of(error))
    threading.Timer(_AGAIN_S, os.kill, again).start()

  sys.unraisablehook = hook
  try:
    yield
  finally:
    sys.unraisablehook = before


# What the disk may refuse; anything else of the system is a defect.
_DISK = (
  errno.ENOSPC,
  errno.EDQUOT,
  errno.EFBIG,
  errno.EACCES,
  errno.EPERM,
  errno.EROFS,
)


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
  """Turn an `InputError` into one line on stderr and exit status 2.

  A full disk and a lack of permission are the user's to mend as well. A
  stopped run is one line and exit status 128 + the number of the signal, and
  so are Ctrl-C and SIGTERM at any other time.
  """
  try:
    with _hearing_sigterm(), _hearing_again():
      yield
  except InputError as error:
    leave(str(error))
  except Interrupted as error:
    for number in (signal.SIGTERM, signal.SIGINT):
      signal.signal(number, signal.SIG_IGN)  # All is saved: leave in peace.
    leave(str(error), error.status)
  except KeyboardInterrupt as error:
    number = signal_of(error)
    leave(f'stopped by {number.name}', 128 + number)
  except OSError as error:
    if error.errno not in _DISK:
      raise
    leave(
      f'{error.filename or "a file"}: {error.strerror}; expected a place with '
      'room and permission; free some space or choose another place'
    )


def leave(line: str, status: int = 2) -> None:
  """Print one line to stderr and exit, in the handler of an error.

  What the error's frames hold is ended first: a progress bar speaks before.
  """
  traceback.clear_frames(sys.exception().__traceback__)
  print(error_line(line), file=sys.stderr)
  sys.exit(status)


def error_line(error: Exception | str) -> str:
  """Return what an entry point prints of an error."""
  return f'dance2wave: {" ".join(str(error).split())}'


def _check_keys(argv: list[str]) -> None:
  """Refuse `--config.pose.with=1` with the key that was meant.

  ml_collections would name a part of it, or end in a traceback.
  """
  for argument in argv:
    name = argument.partition('=')[0]
    key = name.removeprefix('--config.')
    if key == name:
      continue
    from dance2wave import option_names  # seldom needed, and not for nothing

    if key not in option_names.all_keys():
      raise InputError(
        f'unknown config key "{key}"; did you mean '
        f'"{option_names.nearest_key(key)}"? Correct the flag, or see --help'
      )


def _expanded(argument: str) -> str:
  """Return `--flag=~/place` with the home folder, which no shell puts there."""
  name, equals, value = argument.partition('=')
  if name.startswith('-') and value.startswith('~'):
    value = os.path.expanduser(value)
  return f'{name}{equals}{value}'


def parse_flags(argv: list[str]) -> list[str]:
  """Parse absl flags; a bad one is an `InputError`."""
  _check_keys(argv)
  try:
    return flags.FLAGS([argv[0], *map(_expanded, argv[1:])])
  except (flags.Error, AttributeError, KeyError, TypeError, OSError) as error:
    raise InputError(f'{error}; correct the flag, or see --help') from error


def run_tool(
  main: Callable[[list[str]], None], argv: list[str] | None = None
) -> None:
  """Run an entry point; a bad flag, too, is one line and exit status 2."""
  with one_line_errors():
    app.run(main, argv, flags_parser=parse_flags)


def check_heeded(heeds: Mapping[str, Sequence[str]], way: str) -> None:
  """Refuse flags that the chosen way to use a tool would ignore.

  Args:
    heeds: flag that chooses a way -> flags that not every way heeds.
    way: the flag that was given of these.

  Raises:
    InputError: a flag has a value and belongs to other ways alone.
  """
  for name in dict.fromkeys(itertools.chain(*heeds.values())):
    flag = flags.FLAGS[name]
    if flag.present and flag.value and name not in heeds[way]:
      ways = ' or '.join(
        f'--{w}' for w, names in heeds.items() if name in names
      )
      raise InputError(
        f'--{name} with --{way}; expected it with {ways}, as nothing else '
        'heeds it; drop it'
      )
