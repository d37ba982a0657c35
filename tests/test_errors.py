import signal
import sys
import time
import types

import pytest
from absl import flags

from dance2wave import errors
from dance2wave.errors import InputError, Terminated, one_line_errors

pytestmark = pytest.mark.usefixtures('hears_sigint')


class Heedless:
  """A destructor that a signal comes to: what it raises is not passed on."""

  def __init__(self, number):
    self.number = number

  def __del__(self):
    signal.raise_signal(self.number)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_heard_again_that_came_to_a_destructor(capfd, number):
  tidied = []
  with pytest.raises(SystemExit) as stop, one_line_errors():
    try:
      Heedless(number)
      time.sleep(20)
    finally:
      tidied.append(True)
  assert stop.value.code == 128 + number
  assert tidied
  assert capfd.readouterr().err == f'dance2wave: stopped by {number.name}\n'


@pytest.mark.parametrize(
  'error', [InputError('no'), Terminated(), OSError(28, 'no room', 'a')]
)
def test_a_progress_bar_ends_before_the_line(capfd, error):
  def progress():
    try:
      yield
    finally:
      print('100 %', file=sys.stderr)

  def work():
    bar = progress()
    next(bar)
    raise error

  with pytest.raises(SystemExit), one_line_errors():
    work()
  first, last = capfd.readouterr().err.splitlines()
  assert first == '100 %' and last.startswith('dance2wave: ')


def test_a_place_in_the_home_folder_is_found_there(monkeypatch):
  """A shell leaves `--workdir=~/runs` as it is: a folder named `~` is made."""
  found = flags.FlagValues()
  for name in ('workdir', 'title'):
    flags.DEFINE_string(name, '', '', flag_values=found)
  door = types.SimpleNamespace(FLAGS=found, Error=flags.Error)
  monkeypatch.setattr(errors, 'flags', door)
  monkeypatch.setenv('HOME', '/home/ada')
  given = ['', '--workdir=~/runs/x', '--title=about ~5 m', '~kept=~']
  assert errors.parse_flags(given) == ['', '~kept=~']
  assert found.workdir == '/home/ada/runs/x'
  assert found.title == 'about ~5 m'
