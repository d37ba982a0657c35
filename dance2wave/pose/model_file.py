"""The landmark model: found, or assembled once from the package index.

MediaPipe's package holds no model. An older wheel of the same project
(Apache-2.0) holds the two networks of the full pose model; with metadata that
says how to scale their input they make a `.task` file that today's
`PoseLandmarker` accepts.
"""

import hashlib
import importlib
import os
import pathlib
import struct
import subprocess
import sys
import tempfile
import zipfile
import zlib

from absl import logging

from dance2wave.errors import InputError

SYSTEM_PACKAGES = (
  'apt-get install -y --no-install-recommends '
  'libgl1 libegl1 libgles2 libglib2.0-0'
)
_REQUIREMENT = 'mediapipe==0.10.21'
_WHEEL_SHA256 = (
  '05dc4a9e593655a79558d05d6227d31018c2537a4bd3362b51e230cf22aecfe3'
)
_PIP = (
  *('-m', 'pip', 'download', '--no-deps', '--only-binary=:all:'),
  *('--python-version', '3.11', '--platform', 'manylinux_2_28_x86_64'),
  *('--disable-pip-version-check', '--quiet', '--retries', '2'),
)
_DOWNLOAD_LIMIT_S = 900

# Member of the .task file: member of the wheel, its sha256, mean, std.
_NETWORKS = {
  'pose_detector.tflite': (
    'mediapipe/modules/pose_detection/pose_detection.tflite',
    '9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c',
    127.5,
    127.5,
  ),
  'pose_landmarks_detector.tflite': (
    'mediapipe/modules/pose_landmark/pose_landmark_full.tflite',
    'e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f',
    0.0,
    255.0,
  ),
}
_CACHE_NAME = 'pose_landmarker_full-0.10.21.task'
_METADATA_NAME = 'TFLITE_METADATA'
_ZIP_HEADER_BYTES, _ALIGNMENT, _ALIGNMENT_ID = 30, 64, 0xD935


def import_mediapipe(module: str = 'mediapipe'):
  """Import MediaPipe or a module of it, quietly.

  Raises:
    InputError: it, or a system library that it needs, is not installed.
  """
  os.environ.setdefault('GLOG_minloglevel', '2')
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
  try:
    return importlib.import_module(module)
  except (ImportError, OSError) as error:
    if '.so' in str(error):
      advice = f'run: {SYSTEM_PACKAGES}'
    else:
      advice = 'run: pip install mediapipe==1.2.2'
    raise InputError(
      f'mediapipe cannot be imported ({error}); expected the package and its '
      f'system libraries; {advice}'
    ) from error


def find_model(
  path: str | os.PathLike | None = None,
  cache_dir: str | os.PathLike | None = None,
) -> pathlib.Path:
  """Return a pose landmark model (.task).

  In this order: `path` if given; the cache folder; assembled into the cache
  folder, which downloads 36 MB once.

  Args:
    path: the user's own model (flag --pose_model).
    cache_dir: the cache folder; by default dance2wave in $XDG_CACHE_HOME or
      in ~/.cache.

  Raises:
    InputError: `path` is no such file, or the model cannot be assembled.
  """
  if path is not None:
    path = pathlib.Path(path).expanduser()
    if not path.is_file():
      raise InputError(
        f'pose_model is {path}, which is no file; expected a pose landmarker '
        '.task file; correct the path, or leave it out to use the default'
      )
    return path
  folder = pathlib.Path(cache_dir) if cache_dir else _default_cache_dir()
  model = folder / _CACHE_NAME
  if not _is_complete(model):
    _build(model)
  return model


def _default_cache_dir() -> pathlib.Path:
  root = os.environ.get('XDG_CACHE_HOME') or pathlib.Path.home() / '.cache'
  return pathlib.Path(root) / 'dance2wave'


def _is_complete(model: pathlib.Path) -> bool:
  try:
    with zipfile.ZipFile(model) as file:
      return file.testzip() is None and set(file.namelist()) == set(_NETWORKS)
  except (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error):
    return False


def _build(model: pathlib.Path) -> None:
  """Assemble the model in a folder of its own and move it into place.

  Two processes at once do the work twice and either result is whole.
  """
  logging.info('Assembling the pose model %s from %s.', model, _REQUIREMENT)
  try:
    model.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=model.parent, prefix='.part-') as part:
      part = pathlib.Path(part)
      _assemble(_download(part), part / model.name)
      os.replace(part / model.name, model)
  except OSError as error:
    raise _failure(f'{error.strerror or error} in {model.parent}') from error


def _failure(reason: str) -> InputError:
  return InputError(
    f'the pose model cannot be assembled ({reason}); expected access to the '
    f'package index for {_REQUIREMENT} and 120 MB of disk; give a pose '
    'landmarker .task file with --pose_model instead'
  )


def _download(folder: pathlib.Path) -> pathlib.Path:
  """Download the wheel with pip and check its sha256."""
  command = [sys.executable, *_PIP, '--dest', str(folder), _REQUIREMENT]
  try:
    done = subprocess.run(
      command,
      capture_output=True,
      text=True,
      check=False,
      stdin=subprocess.DEVNULL,
      timeout=_DOWNLOAD_LIMIT_S,
    )
  except subprocess.TimeoutExpired as error:
    raise _failure(f'no answer within {_DOWNLOAD_LIMIT_S} s') from error
  wheels = sorted(folder.glob('*.whl'))
  if done.returncode or not wheels:
    lines = (done.stderr or done.stdout).strip().splitlines()
    reason = lines[-1] if lines else f'status {done.returncode}'
    raise _failure(f'pip download failed: {reason}')
  _check_sha256(wheels[0].name, wheels[0].read_bytes(), _WHEEL_SHA256)
  return wheels[0]


def _check_sha256(name: str, content: bytes, expected: str) -> None:
  actual = hashlib.sha256(content).hexdigest()
  if actual != expected:
    raise _failure(f'{name} has sha256 {actual}, not {expected}')


def _assemble(wheel: pathlib.Path, model: pathlib.Path) -> None:
  """Write the .task file: an uncompressed zip of both networks."""
  with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(model, 'w') as task:
    for name, (member, sha256, mean, std) in _NETWORKS.items():
      network = source.read(member)
      _check_sha256(member, network, sha256)
      info = zipfile.ZipInfo(name)  # A fixed date: the same bytes every time.
      info.extra = _padding(task.fp.tell() + _ZIP_HEADER_BYTES + len(name))
      task.writestr(info, _with_normalisation(network, mean, std))


def _padding(offset: int) -> bytes:
  """Return a zip extra field after which the content is aligned in memory."""
  num_zeros = -(offset + 4) % _ALIGNMENT
  return struct.pack('<HH', _ALIGNMENT_ID, num_zeros) + bytes(num_zeros)


def _with_normalisation(network: bytes, mean: float, std: float) -> bytes:
  """Return a TFLite network whose metadata says (pixel - mean) / std."""
  flatbuffers = importlib.import_module('flatbuffers')
  tflite = import_mediapipe('mediapipe.tasks.metadata.schema_py_generated')
  model = tflite.ModelT.InitFromObj(tflite.Model.GetRootAs(network, 0))
  graph = model.subgraphs[0]
  described = _metadata(len(graph.inputs), len(graph.outputs), mean, std)
  buffer = tflite.BufferT()
  buffer.data = list(described)
  model.buffers.append(buffer)
  entry = tflite.MetadataT()
  entry.name, entry.buffer = _METADATA_NAME, len(model.buffers) - 1
  model.metadata = [*(model.metadata or []), entry]
  builder = flatbuffers.Builder(len(network) + 4096)
  builder.Finish(model.Pack(builder), file_identifier=b'TFL3')
  return bytes(builder.Output())


def _metadata(
  num_inputs: int, num_outputs: int, mean: float, std: float
) -> bytes:
  flatbuffers = importlib.import_module('flatbuffers')
  schema = import_mediapipe(
    'mediapipe.tasks.metadata.metadata_schema_py_generated'
  )
  options = schema.NormalizationOptionsT()
  options.mean, options.std = [mean], [std]
  unit = schema.ProcessUnitT()
  unit.optionsType = schema.ProcessUnitOptions.NormalizationOptions
  unit.options = options
  inputs = [schema.TensorMetadataT() for _ in range(num_inputs)]
  inputs[0].processUnits = [unit]
  graph = schema.SubGraphMetadataT()
  graph.inputTensorMetadata = inputs
  graph.outputTensorMetadata = [
    schema.TensorMetadataT() for _ in range(num_outputs)
  ]
  model = schema.ModelMetadataT()
  model.subgraphMetadata = [graph]
  builder = flatbuffers.Builder(1024)
  builder.Finish(model.Pack(builder), file_identifier=b'M001')
  return bytes(builder.Output())
