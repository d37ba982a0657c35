"""Entry points, run as a user runs them, but what they import only once.

    with WarmTool('data_prep.download_kinetics', 'data_prep.youtube') as tool:
      result = tool('--output', folder, '--dry_run')
      assert result.returncode == 0, result.stderr

A process imports what the entry point needs and waits; every run is a fork of
it that does what `python -m` does and can be killed by its pid.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

from command_line import ROOT

_SERVER = """
import importlib, json, os, runpy, signal, sys, traceback
for name in sys.argv[2:]:
  importlib.import_module(name)
for line in sys.stdin:
  job = json.loads(line)
  if 'wait' in job:
    pid, status = os.waitpid(job['wait'], 0 if job['blocks'] else os.WNOHANG)
    code = os.waitstatus_to_exitcode(status) if pid else None
    print(json.dumps(code), flush=True)
    continue
  pid = os.fork()
  if pid:
    print(pid, flush=True)
    continue
  signal.signal(signal.SIGINT, signal.default_int_handler)
  os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
  for name, number in (('out', 1), ('err', 2)):
    os.dup2(os.open(job[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
  os.environ.clear()
  os.environ.update(job['environ'])
  sys.argv[:] = [sys.argv[1], *job['argv']]
  code = 0
  try:
    runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)
  except SystemExit as error:
    code = error.code or 0
  except BaseException:
    traceback.print_exc()
    code = 70
  sys.stdout.flush()
  sys.stderr.flush()
  os._exit(code)
"""


class WarmTool:
  """Run one module many times; call it, or `start` and `wait` apart.

  Args:
    module: the entry point.
    *imported: modules that are imported beforehand.
  """

  def __init__(self, module, *imported):
    self._folder = tempfile.TemporaryDirectory(prefix='dance2wave-warm-')
    self._files, self._ended = {}, {}
    self._server = subprocess.Popen(
      [sys.executable, '-c', _SERVER, module, *imported],
      cwd=ROOT,
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      env=os.environ | {'JAX_PLATFORMS': 'cpu'},
      text=True,
    )

  def _ask(self, **job):
    self._server.stdin.write(json.dumps(job) + '\n')
    self._server.stdin.flush()
    return json.loads(self._server.stdout.readline())

  def start(self, *arguments, environ=None, stderr=None):
    """Start a run, which says its errors to a file; return its pid."""
    base = pathlib.Path(self._folder.name) / str(len(self._files))
    files = {'out': f'{base}.out', 'err': str(stderr or f'{base}.err')}
    pid = self._ask(
      argv=list(map(str, arguments)),
      environ=environ or dict(os.environ),
      **files,
    )
    self._files[pid] = files
    return pid

  def poll(self, pid, *, blocks=False):
    """Return the exit status of a run, None while it goes on."""
    if self._ended.get(pid) is None:
      self._ended[pid] = self._ask(wait=pid, blocks=blocks)
    return self._ended[pid]

  def wait(self, pid):
    """Wait for the end of a run; return what `subprocess.run` would."""
    code = self.poll(pid, blocks=True)
    out, err = (
      pathlib.Path(name).read_text() for name in self._files[pid].values()
    )
    return subprocess.CompletedProcess([], code, out, err)

  def __call__(self, *arguments, environ=None):
    return self.wait(self.start(*arguments, environ=environ))

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self._server.stdin.close()
    self._server.wait()
    self._server.stdout.close()
    self._folder.cleanup()
