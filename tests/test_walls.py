"""Who may import whom, and how long functions and files may be."""

import ast
import pathlib
import statistics
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
FILES = sorted((ROOT / 'dance2wave').rglob('*.py'))

# Folder or file -> packages of ours and others that it must not import.
FORBIDDEN = {
  'media': (
    'jax',
    'dance2wave.pose',
    'dance2wave.datasets',
    'dance2wave.models',
    'dance2wave.training',
    'dance2wave.sampling',
  ),
  'pose': (
    'jax',
    'dance2wave.datasets',
    'dance2wave.models',
    'dance2wave.training',
    'dance2wave.sampling',
    'dance2wave.metrics',
  ),
  'datasets': (
    'jax',
    'dance2wave.models',
    'dance2wave.training',
    'dance2wave.sampling',
  ),
  'pipeline.py': ('jax', 'dance2wave.models', 'dance2wave.training'),
  'metrics': (
    'jax',
    'dance2wave.models',
    'dance2wave.training',
    'dance2wave.sampling',
    'dance2wave.datasets',
  ),
  'models': (
    'numpy.random',
    'dance2wave.options',
    'dance2wave.model_options',
    'dance2wave.media',
    'dance2wave.pose',
    'dance2wave.datasets',
    'dance2wave.pipeline',
    'dance2wave.training',
    'dance2wave.sampling',
    'ml_collections',
  ),
}
ONLY_IN = {
  'librosa': ('metrics/librosa_loading.py',),
  'orbax': ('training/checkpoint.py',),
  'ml_collections': ('options.py', 'config_file.py'),
}


def imports_of(path, *, top_level_only):
  """Yield the dotted names that a file imports."""
  tree = ast.parse(path.read_text())
  nodes = tree.body if top_level_only else ast.walk(tree)
  for node in nodes:
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      yield node.module
      yield from (f'{node.module}.{alias.name}' for alias in node.names)


def is_within(name, package):
  return name == package or name.startswith(package + '.')


@pytest.mark.parametrize('place', FORBIDDEN)
def test_stages_import_only_what_is_upstream(place):
  files = [
    f for f in FILES if f.relative_to(ROOT / 'dance2wave').parts[0] == place
  ]
  assert files
  for path in files:
    for name in imports_of(path, top_level_only=False):
      for package in FORBIDDEN[place]:
        assert not is_within(name, package), f'{path} imports {name}'


@pytest.mark.parametrize('package', ONLY_IN)
def test_libraries_behind_one_door(package):
  for path in FILES:
    place = path.relative_to(ROOT / 'dance2wave').as_posix()
    if place not in ONLY_IN[package]:
      for name in imports_of(path, top_level_only=False):
        assert not is_within(name, package), f'{path} imports {name}'


@pytest.mark.parametrize('package', ['av', 'mediapipe'])
def test_heavy_libraries_are_imported_inside_functions(package):
  for path in FILES:
    for name in imports_of(path, top_level_only=True):
      assert not is_within(name, package), f'{path} imports {name}'


def test_no_tensorflow():
  for path in FILES:
    for name in imports_of(path, top_level_only=False):
      assert not is_within(name, 'tensorflow'), f'{path} imports {name}'


@pytest.mark.parametrize(
  'modules, unwanted',
  [
    (
      'experiment, dance2wave.sampling.files',
      {'tensorflow', 'av', 'mediapipe'},
    ),
    # What sampling would wait for before it begins.
    (
      'sampling.files, dance2wave.training.warm_start, dance2wave.pose.source',
      {'tensorflow_datasets', 'scipy.signal', 'librosa', 'matplotlib'},
    ),
    ('main, dance2wave.options', {'jax', 'numpy'}),
  ],
)
def test_entry_points_load_no_more_than_they_need(modules, unwanted):
  code = (
    f'import sys, dance2wave.{modules}; bad = {unwanted} & set(sys.modules); '
    'sys.exit(str(bad) if bad else 0)'
  )
  subprocess.run([sys.executable, '-c', code], check=True, cwd=ROOT)


def test_functions_and_files_are_short():
  lengths = []
  for path in FILES:
    text = path.read_text()
    assert text.count('\n') <= 350, f'{path} is too long'
    for node in ast.walk(ast.parse(text)):
      if isinstance(node, ast.FunctionDef):
        length = node.end_lineno - node.lineno + 1
        assert length <= 90, f'{path}: {node.name} has {length} lines'
        lengths.append(length)
  assert statistics.median(lengths) <= 14


def test_entry_points_are_short():
  for name in ('main.py', 'sample.py', 'evaluate.py', 'benchmark.py'):
    assert (ROOT / 'dance2wave' / name).read_text().count('\n') <= 110
