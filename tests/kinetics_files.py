"""Folders of Kinetics clips for tests: annotations, archives, ledgers."""

import contextlib
import hashlib
import io
import json
import pathlib
import tarfile
import time

from dance2wave.media.video import probe
from data_prep.kinetics_run import Request
from data_prep.ledger import read_ledger

# The downloader, and what imports all that it imports.
TOOL = 'data_prep.download_kinetics', 'data_prep.kinetics_run'
HEADER = 'label,youtube_id,time_start,time_end,split\n'


def ask(tmp_path, *labels, **more):
  """Return a request for clips of these classes into tmp_path/out."""
  more = {'release': 'k700_2020', 'splits': ('train', 'validation')} | more
  return Request(output=tmp_path / 'out', labels=labels, **more)


def csv_of(path, clips):
  """Write annotations of {(split, label, youtube id, start)}."""
  rows = [
    f'{label},{youtube_id},{start_s},{start_s + 1},{split}'
    for split, label, youtube_id, start_s in clips
  ]
  path.write_text(HEADER + '\n'.join(rows) + '\n')
  return path


def check_output(output, expected):
  """Assert that exactly these files are there, as the ledger says."""
  files = {
    path.relative_to(output).as_posix()
    for path in output.rglob('*')
    if path.is_file() and path.suffix not in ('.jsonl', '.csv', '.txt')
  }
  assert files == set(expected)
  entries = read_ledger(output / 'ledger.jsonl')
  for name in files:
    path, entry = output / name, entries[pathlib.Path(name).stem]
    data = path.read_bytes()
    assert entry['state'] == 'done' and entry['num_bytes'] == len(data)
    assert entry['sha256'] == hashlib.sha256(data).hexdigest()
    assert probe(path).audio_stream_index is not None
  assert not (output / '.partial').exists()
  return entries


def tar_of(members):
  """Return a .tar.gz of (name, bytes); None is a link out of it."""
  file = io.BytesIO()
  with tarfile.open(fileobj=file, mode='w:gz') as tar:
    for name, content in members:
      info = tarfile.TarInfo(name)
      if content is None:
        info.type, info.linkname = tarfile.SYMTYPE, '/etc/passwd'
      info.size = len(content or b'')
      tar.addfile(info, io.BytesIO(content or b''))
  return file.getvalue()


def lines_of(output):
  """Return the lines of a ledger without those that a kill has torn."""
  path = output / 'ledger.jsonl'
  lines = []
  for line in path.read_text().splitlines() if path.exists() else []:
    with contextlib.suppress(ValueError):
      lines.append(json.loads(line))
  return lines


def wait_for(happens, limit_s=60):
  end_s = time.monotonic() + limit_s
  while not happens():
    assert time.monotonic() < end_s
    time.sleep(0.01)
