"""Files and names from strangers run nothing and write nowhere else."""

import ast
import html.parser
import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from command_line import ROOT
from hostile_files import IDS, NAMES
from report_fixture import example_clip, example_rows, write_example

from dance2wave import experiment
from dance2wave.datasets import video_clips
from dance2wave.datasets.clip_folder.folder import find_videos
from dance2wave.datasets.work import Failure


@pytest.fixture(scope='module')
def tried(tmp_path_factory):
  folder = tmp_path_factory.mktemp('hostile')
  program = pathlib.Path(__file__).with_name('hostile_files.py')
  done = subprocess.run(
    [sys.executable, str(program), str(folder)],
    cwd=ROOT,
    capture_output=True,
    text=True,
    timeout=300,
  )
  assert done.returncode == 0, done.stderr[-2000:]
  return folder, json.loads(done.stdout.splitlines()[-1])


def test_every_attack_is_refused_by_name(tried):
  _, result = tried
  said = result['said']
  assert result['num'] == len(said) > 200
  wrong = {k: v for k, v in said.items() if 'expected' not in v or '\n' in v}
  assert not wrong
  starts = ('was read', 'did ', 'does not name')
  assert not {k: v for k, v in said.items() if v.startswith(starts)}
  assert not {k: len(v) for k, v in said.items() if len(v) > 1200}


def test_nothing_ran_and_nothing_was_written(tried):
  folder, _ = tried
  assert sorted(p.name for p in folder.iterdir()) == [
    'archives',
    'arrays',
    'texts',
  ]
  assert not pathlib.Path('/tmp/d2w_evil').exists()


FILES = [
  *('-rf.mp4', 'a;b.mp4', '$(touch x).mp4', '`touch x`.mp4', 'a|b&c.mp4'),
  *('two\nlines.mp4', 'tab\t.mp4', '"quoted\'.mp4', 'ünïcödé 🕺.mp4'),
  *('%s%n{0}.mp4', '<img src=x onerror=y>.mp4', 'x' * 200 + '.mp4'),
]


def test_names_of_files_are_only_names(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  for name in FILES:
    (tmp_path / name).write_bytes(b'no video')
    np.savez(
      (tmp_path / name).with_suffix('.npz'),
      pose=np.full((20, 14, 3), 0.5),
      pose_time_s=np.arange(20) / 10,
      skeleton='core14',
    )
  before = sorted(tmp_path.iterdir())
  videos = find_videos(tmp_path)
  assert sorted(v.name for v in videos) == sorted(FILES)
  for video in videos:
    failure = video_clips.read_video(video)
    assert isinstance(failure, Failure) and failure.path == video.name
    assert 'cannot be decoded' in failure.message
    assert '\n' not in failure.message
  assert sorted(tmp_path.iterdir()) == before


def test_ids_of_clips_become_safe_names_of_files(tmp_path):
  ids = [*NAMES, *IDS, *FILES, 'sub/c.mp4#0', 'b.mp4#1', '', '.', 'con.mp4#0']
  names = [experiment.file_name(clip_id) for clip_id in ids]
  assert len(set(names)) == len(set(ids))
  for name in names:
    (tmp_path / f'{name}.png').touch()
  assert len(list(tmp_path.iterdir())) == len(names)
  assert experiment.file_name('sub/c.mp4#0') == 'sub_c.mp4#0'


HTML = [
  '<script>alert(1)</script>',
  '</script><script>alert(1)</script>',
  '<img src=x onerror=alert(1)>',
  '"><svg onload=alert(1)>',
  "' onmouseover='alert(1)",
  '" autofocus onfocus="alert(1)',
  '<iframe src=javascript:alert(1)>',
  '<a href="javascript:alert(1)">x</a>',
  '<style>*{background:url(//evil)}</style>',
  '<meta http-equiv=refresh content="0;url=//evil">',
  '<base href=//evil>',
  '<!--<script>',
  '-->',
  ']]>',
  '&lt;script&gt;',
  '<form action=//evil><input type=submit>',
  '<link rel=stylesheet href=//evil>',
  '{{7*7}}${7*7}<%= 7*7 %>',
  '\u2028\u2029</title><script>',
  '<textarea><plaintext>',
]


class Tags(html.parser.HTMLParser):
  """Counts tags, and keeps the names of attributes."""

  def __init__(self, text):
    super().__init__()
    self.tags, self.attributes = [], set()
    self.feed(text)
    self.close()

  def handle_starttag(self, tag, attrs):
    self.tags.append(tag)
    self.attributes |= {name for name, _ in attrs}


def page_with(texts, path):
  rows = [
    row | {'clip_id': t, 'style': t}
    for t in texts
    for row in example_rows()[:1]
  ]
  clips = [example_clip(t, style=t, video_mp4=None) for t in texts[:5]]
  facts = {f'{n} {t}': t for n, t in enumerate(texts)}
  changes = {'title': texts[0], 'rows': rows, 'clips': clips, 'facts': facts}
  return Tags(write_example(path, **changes))


def test_clip_names_in_the_report_are_text(tmp_path):
  evil = page_with(HTML, tmp_path / 'evil.html')
  plain = [f'clip {number}' for number in range(len(HTML))]
  good = page_with(plain, tmp_path / 'good.html')
  assert evil.tags == good.tags
  assert evil.attributes == good.attributes


def _is_true(node):
  return isinstance(node, ast.Constant) and node.value is True


def _name(node):
  parts = []
  while isinstance(node, ast.Attribute):
    parts.append(node.attr)
    node = node.value
  return '.'.join([getattr(node, 'id', '?'), *reversed(parts)])


_CALLS = (
  *('eval', 'exec', 'pickle.load', 'pickle.loads', 'pickle.Unpickler'),
  *('os.system', 'os.popen', 'marshal.load', 'marshal.loads', 'yaml.load'),
  *('np.loads', 'tarfile.TarFile.extractall', 'dill.load', 'joblib.load'),
)


def dangers(text):
  """Yield (line, what) of the calls that run what a file says."""
  for node in ast.walk(ast.parse(text)):
    if not isinstance(node, ast.Call):
      continue
    name = _name(node.func)
    if name in _CALLS or name.endswith(('.extractall', '.extract')):
      yield node.lineno, name
    for word in node.keywords:
      if word.arg in ('allow_pickle', 'shell') and not (
        isinstance(word.value, ast.Constant) and word.value.value is False
      ):
        yield node.lineno, f'{word.arg}='


def test_nothing_in_the_tree_runs_what_a_file_says():
  found = []
  for folder in ('dance2wave', 'data_prep', 'configs'):
    for path in sorted((ROOT / folder).rglob('*.py')):
      found += [(str(path), *each) for each in dangers(path.read_text())]
  assert found == []


@pytest.mark.parametrize(
  'text',
  [
    'np.load(f, allow_pickle=True)',
    'np.load(f, allow_pickle=x)',
    'pickle.load(f)',
    'subprocess.run(c, shell=True)',
    'eval(t)',
    'exec(t)',
    'archive.extractall(p)',
    'os.system(c)',
  ],
)
def test_the_search_finds_what_it_looks_for(text):
  assert list(dangers(text))
