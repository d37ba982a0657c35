"""Eight virtual CPU devices and the folder of real media for all tests."""

import fcntl
import gc
import os
import pathlib
import shutil
import signal
import tempfile
import time

# Tests compile many programs and run each for a moment. Virtual processors that
# start collectives in any order wait for each other without end.
os.environ.setdefault(
  'XLA_FLAGS',
  '--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false '
  '--xla_cpu_enable_concurrency_optimized_scheduler=false '
  '--xla_cpu_parallel_codegen_split_count=1',  # Other tests use the cores.
)

import jax
import pytest
from command_line import run
from small_config import options_with

_PREFIX = 'dance2wave-tests-'
for folder in pathlib.Path(tempfile.gettempdir()).glob(f'{_PREFIX}*'):
  if folder.stat().st_mtime < time.time() - 86400:  # of tests that were killed
    shutil.rmtree(folder, ignore_errors=True)
_FOLDER = tempfile.TemporaryDirectory(prefix=_PREFIX)
# Of the process that starts the others, for all of them.
_CACHE = _FOLDER.name
if 'PYTEST_XDIST_WORKER' in os.environ:
  _CACHE = os.environ['JAX_COMPILATION_CACHE_DIR']
jax.config.update('jax_compilation_cache_dir', _CACHE)
jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.2)
# What tests start shares the cache, and leaves here what it leaves.
os.environ['TMPDIR'] = _FOLDER.name
os.environ['JAX_COMPILATION_CACHE_DIR'] = _CACHE
os.environ['JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'] = '0.2'
# Tracing makes many objects of which few are garbage.
gc.set_threshold(100_000, 50, 100)
jax.config.update('jax_num_cpu_devices', 8)
jax.config.update('jax_numpy_rank_promotion', 'raise')

# Files that take longest, or make what others wait for, begin first.
_FIRST = (
  'test_promises_of_sampling',  # compiles kernels that others then find
  'test_training',
  'test_kill',
  'test_numbers',
  'test_hosts',
  'test_stages',
  'test_mesh',
  'test_evaluate',
  'test_ahead',
  'test_cpu_engine',  # likewise
)
_RUN = 'PYTEST_XDIST_TESTRUNUID'
SHARED_DATA = pathlib.Path(__file__).parents[2] / 'shared' / 'data'


def pytest_collection_modifyitems(items):
  """Leave no long file for the end, where other processes would be idle."""
  place = {name: index for index, name in enumerate(_FIRST)}
  items.sort(key=lambda item: place.get(item.path.stem, len(_FIRST)))


@pytest.fixture
def shared_data() -> pathlib.Path:
  """The folder of real media, or a skip that says where it should be."""
  if not SHARED_DATA.is_dir():
    pytest.skip(f'real media not found: {SHARED_DATA} does not exist')
  return SHARED_DATA


@pytest.fixture
def hears_sigint():
  """A shell's background job is deaf to it, and so is what it starts."""
  before = signal.signal(signal.SIGINT, signal.default_int_handler)
  yield
  signal.signal(signal.SIGINT, before)


def _made_once(tmp_path_factory, name, make) -> pathlib.Path:
  """Return a folder that `make` has filled, once for all test processes.

  `make` returns the text of the folder's printed.txt.
  """
  base, uid = tmp_path_factory.getbasetemp(), os.environ.get(_RUN)
  folder = (base.parent / f'{name}-{uid}') if uid else base / name
  folder.mkdir(exist_ok=True)
  printed = folder / 'printed.txt'
  with (folder / 'lock').open('w') as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    if not printed.exists():
      printed.write_text(make(folder))
  return folder


@pytest.fixture(scope='session')
def trained(tmp_path_factory):
  """A finished run of the debug config: (workdir, what it printed)."""

  def train(folder):
    left = tempfile.mkdtemp(dir=_FOLDER.name)
    result = run(
      'dance2wave.main',
      '--config=configs/debug.py',
      f'--config.dataset.data_dir={folder / "tfds"}',
      f'--workdir={folder / "run"}',
      TMPDIR=left,
    )
    assert result.returncode == 0, result.stderr
    (folder / 'left.txt').write_text('\n'.join(os.listdir(left)))
    return result.stdout

  folder = _made_once(tmp_path_factory, 'main', train)
  return folder / 'run', (folder / 'printed.txt').read_text()


@pytest.fixture(scope='session')
def data_dir(tmp_path_factory):
  """Where the dataset of the debug config is built; not to be changed."""

  def build(folder):
    from dance2wave import experiment

    experiment.prepare_datasets(options_with(dataset__data_dir=str(folder)))
    return ''

  return _made_once(tmp_path_factory, 'data', build)
