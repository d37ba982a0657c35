import signal
import sys
import time

import pytest

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
