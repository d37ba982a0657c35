"""Whatever a file holds, a parser reads it or refuses it in one line."""

import os
import pathlib
import subprocess
import sys

import hypothesis
import pytest
from command_line import ROOT
from hypothesis import strategies as st
from parsers import PARSERS, read_one
from small_config import config_with

from dance2wave import options
from dance2wave.errors import InputError

# numpy reads arrays of Python 2, and says so.
pytestmark = pytest.mark.filterwarnings('ignore:Reading .*npy.* file required')
TOKENS = (
  *(b'0', b'-1', b'1e999', b'nan', b'inf', b'99999999999', b'', b'\xff', b'\0'),
  *(b'{', b'}', b'[', b']', b'"', b',', b'\n', b'\r', b' ', b'JOINT', b'End'),
  *(
    b'null',
    b'true',
    b'Frames:',
    b'CHANNELS',
    b'\xef\xbb\xbf',
    b'-0.0',
    b'1_0',
  ),
)


@st.composite
def damaged(draw, good):
  """Bytes that differ from a good file here and there."""
  content = bytearray(good)
  for _ in range(draw(st.integers(1, 4))):
    at = draw(st.integers(0, len(content)))
    size = draw(st.sampled_from((0, 1, 1, 4, 40)))
    new = draw(st.one_of(st.sampled_from(TOKENS), st.binary(max_size=8)))
    content[at : at + size] = new
  return bytes(content)


def fuzz(name, folder, count):
  accepted = []

  @hypothesis.settings(
    max_examples=count,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(hypothesis.HealthCheck),
  )
  @hypothesis.given(damaged(PARSERS[name][1]))
  def check(content):
    accepted.append(read_one(name, content, folder))

  check()
  return accepted


@pytest.mark.parametrize('name', PARSERS)
def test_damaged_text_is_read_or_refused_in_one_line(name, tmp_path):
  fuzz(name, tmp_path, 50)


@pytest.mark.slow
@pytest.mark.parametrize('name', PARSERS)
def test_much_damaged_text_is_read_or_refused_in_one_line(name, tmp_path):
  accepted = fuzz(name, tmp_path, 3000)
  print(f'{name}: {len(accepted)} files, {sum(accepted)} accepted')


def test_good_examples_are_accepted(tmp_path):
  refused = [
    name
    for name, (_, good, _) in PARSERS.items()
    if name not in ('list', 'manifest')  # of files that are not there
    and not read_one(name, good, tmp_path / name)
  ]
  assert not refused


# Of the first entry in the list at the end of a zip: where, what to write.
ZIP_FIELDS = {
  'a version to come': (6, 187),
  'a password': (8, 0x01),
  'patched data': (8, 0x20),
  'strong encryption': (8, 0x40),
  'bzip2': (10, 12),
  'lzma': (10, 14),
  'no known compression': (10, 99),
}


@pytest.mark.parametrize('name', ['npz', 'classifier'])
@pytest.mark.parametrize('wrong', ZIP_FIELDS)
def test_zips_that_zipfile_cannot_read_are_refused(name, wrong, tmp_path):
  content = bytearray(PARSERS[name][1])
  place, value = ZIP_FIELDS[wrong]
  for start, shift in ((b'PK\x03\x04', -2), (b'PK\x01\x02', 0)):
    content[content.index(start) + place + shift] = value
  assert not read_one(name, bytes(content), tmp_path)


VALUES = st.recursive(
  st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
  ),
  lambda inner: st.one_of(
    st.lists(inner, max_size=3),
    st.dictionaries(st.text(max_size=5), inner, max_size=3),
  ),
  max_leaves=5,
)


def paths_of(config, path=()):
  for key, value in config.items():
    yield (*path, key)
    if isinstance(value, dict):
      yield from paths_of(value, (*path, key))


@hypothesis.settings(
  max_examples=100, deadline=None, derandomize=True, database=None
)
@hypothesis.given(st.sampled_from(list(paths_of(config_with()))), VALUES)
def test_any_value_of_a_config_is_taken_or_refused_by_its_key(path, value):
  try:
    options.parse(config_with(**{'__'.join(path): value}))
  except InputError as error:
    assert '=' in str(error) or 'missing' in str(error)


@pytest.mark.slow
@pytest.mark.parametrize('name', PARSERS)
def test_coverage_finds_nothing_else(name, tmp_path):
  pytest.importorskip('atheris', reason='pip install dance2wave[fuzz]')
  program = pathlib.Path(__file__).with_name('parsers.py')
  done = subprocess.run(
    [sys.executable, str(program), name, str(tmp_path), '20'],
    cwd=ROOT,
    env=os.environ | {'PYTHONPATH': f'{ROOT}:{os.getenv("PYTHONPATH", "")}'},
    capture_output=True,
    text=True,
  )
  lines = [x for x in done.stderr.splitlines() if x.startswith('Done ')]
  print(name, *lines)
  assert done.returncode == 0, done.stderr[-3000:]
