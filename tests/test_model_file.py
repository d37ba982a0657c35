import concurrent.futures
import errno
import hashlib
import os
import subprocess
import zipfile

import flatbuffers
import pytest

from dance2wave.errors import InputError
from dance2wave.pose import model_file
from dance2wave.pose.model_file import find_model, import_mediapipe

MEMBERS = {'pose_detector.tflite', 'pose_landmarks_detector.tflite'}


def _network(schema):
  """A TFLite network of one input and one output, without metadata."""
  graph, model = schema.SubGraphT(), schema.ModelT()
  graph.tensors = [schema.TensorT(), schema.TensorT()]
  graph.inputs, graph.outputs, graph.operators = [0], [1], []
  model.version, model.subgraphs = 3, [graph]
  model.buffers, model.operatorCodes = [schema.BufferT()], []
  builder = flatbuffers.Builder(64)
  builder.Finish(model.Pack(builder), file_identifier=b'TFL3')
  return bytes(builder.Output())


@pytest.fixture
def fake_index(tmp_path, monkeypatch):
  """Replace pip by a copy of a tiny wheel; returns the commands it got."""
  schema = import_mediapipe('mediapipe.tasks.metadata.schema_py_generated')
  network = _network(schema)
  digest = hashlib.sha256(network).hexdigest()
  wheel = tmp_path / 'index' / 'mediapipe-0.10.21-any.whl'
  wheel.parent.mkdir()
  networks = {}
  with zipfile.ZipFile(wheel, 'w') as file:
    for name, (member, _, mean, std) in model_file._NETWORKS.items():
      file.writestr(member, network)
      networks[name] = (member, digest, mean, std)
  monkeypatch.setattr(model_file, '_NETWORKS', networks)
  monkeypatch.setattr(
    model_file, '_WHEEL_SHA256', hashlib.sha256(wheel.read_bytes()).hexdigest()
  )
  commands = []

  def run(command, **_):
    commands.append(command)
    folder = command[command.index('--dest') + 1]
    with open(os.path.join(folder, wheel.name), 'wb') as file:
      file.write(wheel.read_bytes())
    return subprocess.CompletedProcess(command, 0, '', '')

  monkeypatch.setattr(subprocess, 'run', run)
  return commands


def _normalisation(model):
  """Mean and std that the metadata of each network states."""
  tflite = import_mediapipe('mediapipe.tasks.metadata.schema_py_generated')
  described = import_mediapipe(
    'mediapipe.tasks.metadata.metadata_schema_py_generated'
  )
  found = {}
  with zipfile.ZipFile(model) as file:
    for name in file.namelist():
      network = tflite.ModelT.InitFromObj(
        tflite.Model.GetRootAs(file.read(name), 0)
      )
      (entry,) = network.metadata
      assert entry.name == b'TFLITE_METADATA'
      data = bytes(network.buffers[entry.buffer].data)
      assert data[4:8] == b'M001'
      metadata = described.ModelMetadataT.InitFromObj(
        described.ModelMetadata.GetRootAs(data, 0)
      )
      tensor = metadata.subgraphMetadata[0].inputTensorMetadata[0]
      options = tensor.processUnits[0].options
      found[name] = (float(options.mean[0]), float(options.std[0]))
  return found


def test_assembled_once_and_complete(fake_index, tmp_path):
  cache = tmp_path / 'cache'
  model = find_model(cache_dir=cache)
  assert _normalisation(model) == {
    'pose_detector.tflite': (127.5, 127.5),
    'pose_landmarks_detector.tflite': (0.0, 255.0),
  }
  with zipfile.ZipFile(model) as file:
    for info in file.infolist():
      assert info.compress_type == zipfile.ZIP_STORED
      start = info.header_offset + 30 + len(info.filename) + len(info.extra)
      assert start % 64 == 0  # Networks are read in place.
  before = model.read_bytes()
  assert find_model(cache_dir=cache) == model
  assert len(fake_index) == 1 and 'mediapipe==0.10.21' in fake_index[0]
  model.write_bytes(before[:1000])  # A broken one is made again, the same.
  assert find_model(cache_dir=cache).read_bytes() == before
  assert [path.name for path in cache.iterdir()] == [model.name]


def test_two_at_once_do_no_harm(fake_index, tmp_path):
  with concurrent.futures.ThreadPoolExecutor(4) as pool:
    models = set(pool.map(lambda _: find_model(cache_dir=tmp_path), range(4)))
  (model,) = models
  assert set(_normalisation(model)) == MEMBERS
  assert not [path for path in tmp_path.iterdir() if '.part' in path.name]


def test_cache_folder_follows_xdg(fake_index, tmp_path, monkeypatch):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'xdg'))
  assert find_model().parent == tmp_path / 'xdg' / 'dance2wave'


def test_own_path_wins_and_must_exist(fake_index, tmp_path):
  own = tmp_path / 'own.task'
  own.write_bytes(b'x')
  assert find_model(own, cache_dir=tmp_path / 'cache') == own
  with pytest.raises(InputError, match=r'no\.task, which is no file'):
    find_model(tmp_path / 'no.task')
  assert not fake_index and not (tmp_path / 'cache').exists()


def _fail_with(monkeypatch, run):
  monkeypatch.setattr(subprocess, 'run', run)


def test_no_network_says_what_to_do(tmp_path, monkeypatch):
  _fail_with(
    monkeypatch,
    lambda command, **_: subprocess.CompletedProcess(
      command, 1, '', 'WARNING: Retrying\nERROR: No matching distribution'
    ),
  )
  with pytest.raises(
    InputError, match=r'ERROR: No matching distribution.*--pose_model'
  ) as caught:
    find_model(cache_dir=tmp_path)
  assert '\n' not in str(caught.value) and not list(tmp_path.iterdir())


def test_no_answer_says_what_to_do(tmp_path, monkeypatch):
  def never(command, timeout, **_):
    raise subprocess.TimeoutExpired(command, timeout)

  _fail_with(monkeypatch, never)
  with pytest.raises(InputError, match=r'no answer within.*--pose_model'):
    find_model(cache_dir=tmp_path)


def test_wrong_wheel_is_refused(fake_index, tmp_path, monkeypatch):
  monkeypatch.setattr(model_file, '_WHEEL_SHA256', '0' * 64)
  with pytest.raises(InputError, match=r'whl has sha256 .*--pose_model'):
    find_model(cache_dir=tmp_path / 'a')


def test_wrong_network_is_refused(fake_index, tmp_path, monkeypatch):
  networks = {
    name: (member, '0' * 64, mean, std)
    for name, (member, _, mean, std) in model_file._NETWORKS.items()
  }
  monkeypatch.setattr(model_file, '_NETWORKS', networks)
  with pytest.raises(InputError, match=r'tflite has sha256 .*--pose_model'):
    find_model(cache_dir=tmp_path / 'a')
  assert not list((tmp_path / 'a').iterdir())


def test_full_disk_says_what_to_do(fake_index, tmp_path, monkeypatch):
  def full(*_):
    raise OSError(errno.ENOSPC, 'No space left on device')

  monkeypatch.setattr(model_file, '_assemble', full)
  with pytest.raises(InputError, match=r'No space left.*--pose_model'):
    find_model(cache_dir=tmp_path / 'cache')
  assert not list((tmp_path / 'cache').iterdir())


@pytest.mark.parametrize(
  'error,advice',
  [
    ('libGL.so.1: cannot open shared object file', 'libgl1 libegl1 libgles2'),
    ('libEGL.so.1: cannot open shared object file', 'apt-get install -y'),
    ("No module named 'mediapipe'", 'pip install mediapipe==1.2.2'),
  ],
)
def test_failing_import_says_what_to_install(monkeypatch, error, advice):
  def fail(_):
    raise ImportError(error)

  monkeypatch.setattr(model_file.importlib, 'import_module', fail)
  with pytest.raises(InputError, match=advice):
    import_mediapipe()
