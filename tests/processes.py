"""Processes of one machine that are joined as those of several would be."""

import os
import socket
import subprocess
import sys
import time

from command_line import ROOT


def free_port():
  with socket.socket() as found:
    found.bind(('127.0.0.1', 0))
    return found.getsockname()[1]


# That something hangs, and not how long it takes where others are at work too:
# two and then four processes were seen to need twelve minutes at nice 19.
PATIENCE_S = 1200


class Hosts:
  """Processes that are joined, each with its devices.

  Args:
    count: of processes.
    devices: of each process.
    flags: of the entry point.
    module: the entry point.
    own: flags of the last process alone.
  """

  def __init__(self, count, devices, *flags, module='dance2wave.main', own=()):
    address = f'127.0.0.1:{free_port()}'
    self.children = [
      subprocess.Popen(
        [
          sys.executable,
          '-m',
          module,
          '--multihost',
          *map(str, flags),
          *(map(str, own) if index == count - 1 else ()),
        ],
        cwd=ROOT,
        env=os.environ
        | {
          'JAX_PLATFORMS': 'cpu',
          'JAX_NUM_CPU_DEVICES': str(devices),
          'JAX_COORDINATOR_ADDRESS': address,
          'JAX_NUM_PROCESSES': str(count),
          'JAX_PROCESS_ID': str(index),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
      )
      for index in range(count)
    ]

  def finish(self):
    """Return exit status, output and errors of each."""
    try:
      said = [child.communicate(timeout=PATIENCE_S) for child in self.children]
    finally:
      for child in self.children:
        child.kill()
    return [
      (c.returncode, out, err) for c, (out, err) in zip(self.children, said)
    ]


def finish_well(running):
  """Return what each printed, once all have ended well."""
  ended = running.finish()
  for status, _, errors in ended:
    assert status == 0, errors
  return [printed for _, printed, _ in ended]


def wait_for(path):
  deadline = time.monotonic() + PATIENCE_S
  while not path.exists():
    assert time.monotonic() < deadline, path
    time.sleep(0.02)
