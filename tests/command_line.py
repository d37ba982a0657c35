"""Entry points, run as a user runs them."""

import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[1]
# Resets SIGINT, to which a shell's background job is deaf, and becomes the
# command that follows.
HEARS_SIGINT = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])
"""


def environment(**variables):
  return os.environ | {'JAX_PLATFORMS': 'cpu'} | variables


def run(module, *arguments, check=False, **variables):
  return subprocess.run(
    [sys.executable, '-m', module, *map(str, arguments)],
    cwd=ROOT,
    env=environment(**variables),
    capture_output=True,
    text=True,
    check=check,
  )


def assert_one_line(result, *words):
  lines = result.stderr.strip().splitlines()
  assert result.returncode not in (0, None)
  assert len(lines) == 1, result.stderr
  assert 'Traceback' not in result.stderr
  for word in words:
    assert word in lines[0], lines[0]
