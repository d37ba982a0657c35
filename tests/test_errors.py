import signal
import time

import pytest

from dance2wave.errors import one_line_errors

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
