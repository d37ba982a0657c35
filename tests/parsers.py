"""Our own parsers, as one function for fuzzers to call.

python tests/parsers.py NAME FOLDER SECONDS    guided by coverage (atheris)
"""

import inspect
import io
import json
import pathlib
import sys
import wave
import zipfile

import numpy as np

from configs import debug
from dance2wave.datasets import parts
from dance2wave.datasets.clip_folder import folder as clip_folder
from dance2wave.datasets.kinetics_dance.annotations import read_annotations
from dance2wave.errors import InputError
from dance2wave.media import audio
from dance2wave.metrics.embedding import LOG_MEL_DIM
from dance2wave.metrics.style_classifier import StyleClassifier
from dance2wave.pose.bvh import read_bvh
from dance2wave.pose.deepmimic import read_deepmimic
from dance2wave.pose.joints3d import read_pose_npz
from dance2wave.training import manifest, workdir

_ARM = {'Arm': {'ForeArm': {'Hand': {}}}}
_LEG = {'UpLeg': {'Leg': {'Foot': {}}}}
_AXES = 'Zrotation Xrotation Yrotation'


def _sided(side, tree):
  return {f'{side}{k}': _sided(side, inner) for k, inner in tree.items()}


def _joint(name, tree, kind='JOINT'):
  """Yield the lines of a joint and of those below it."""
  is_root = kind == 'ROOT'
  places = 'Xposition Yposition Zposition ' if is_root else ''
  y = 40 if name in ('Spine', 'Head') else -40
  x = {'L': 15, 'R': -15}.get(name[0], 0)
  yield f'{kind} {name} {{'
  yield f'OFFSET {x} {90 if is_root else y} 0'
  yield f'CHANNELS {6 if is_root else 3} {places}{_AXES}'
  for below, inner in tree.items():
    yield from _joint(below, inner)
  if not tree:
    yield from ('End Site {', 'OFFSET 0 5 0', '}')
  yield '}'


def _bvh():
  arms, legs = (
    _sided('Left', limb) | _sided('Right', limb) for limb in (_ARM, _LEG)
  )
  tree = {'Spine': {'Head': {}, **arms}, **legs}
  lines = ['HIERARCHY', *_joint('Hips', tree, 'ROOT'), 'MOTION']
  num_values = 3 * sum(line.startswith('CHANNELS') for line in lines) + 3
  frames = [' '.join(['0.5'] * num_values)] * 3
  return '\n'.join([*lines, 'Frames: 3', 'Frame Time: 0.04', *frames]).encode()


CSV = b"""label,youtube_id,time_start,time_end,split
zumba,abcdefghijk,1,11,train
"salsa dancing",-bcdefghijk,20,30,val
"""
_ENTRY = {
  'annotations': {'label': 'zumba', 'segment': [1.0, 11.0]},
  'subset': 'train',
}
_FRAME = [0.04, 0.0, 0.9, *(float(k % 4 == 0) for k in range(1, 42))]
for _start in (4, 8, 12, 16, 21, 25, 30, 35, 39):  # of unit quaternions
  _FRAME[_start : _start + 4] = [1.0, 0.0, 0.0, 0.0]


def _npz(**changes):
  file = io.BytesIO()
  pose_FJD = np.full((3, 14, 3), 0.5, np.float32)
  fields = {'pose': pose_FJD, 'pose_time_s': np.arange(3) / 10}
  np.savez(file, skeleton='core14', **(fields | changes))
  return file.getvalue()


def _member(name):
  with zipfile.ZipFile(io.BytesIO(_npz())) as file:
    return file.read(name)


def _npy(path):
  """Read an array as the pose of a whole npz: its checksum is right."""
  with zipfile.ZipFile(path.with_suffix('.npz'), 'w') as whole:
    with zipfile.ZipFile(io.BytesIO(_npz())) as good:
      for name in {*good.namelist()} - {'pose.npy'}:
        whole.writestr(name, good.read(name))
    whole.writestr('pose.npy', path.read_bytes())
  return read_pose_npz(path.with_suffix('.npz'))


def _classifier():
  file = io.BytesIO()
  np.savez(
    file,
    styles=np.array(['house', 'pop']),
    clips=np.array([3, 4]),
    sample_rate_hz=8000,
    mean=np.zeros(LOG_MEL_DIM),
    scale=np.ones(LOG_MEL_DIM),
    weight=np.zeros((LOG_MEL_DIM + 1, 2)),
  )
  return file.getvalue()


def _wav():
  file = io.BytesIO()
  with wave.open(file, 'wb') as sound:
    sound.setnchannels(1)
    sound.setsampwidth(2)
    sound.setframerate(8000)
    sound.writeframes(bytes(400))
  return file.getvalue()


def _styles(path):
  (path.parent / 'a.mp4').touch()
  path.replace(path.with_name('styles.csv'))
  return clip_folder.find_videos(path.parent)


def _config(path):
  path.replace(path.with_name('config.json'))
  return workdir.read_options(path.parent)


def _config_example():
  return json.dumps(debug.get_config().to_dict()).encode()


def _part(path):
  try:
    return parts.unpack(path.read_bytes())
  except ValueError as error:
    raise InputError(f'{path}: {error}; expected a whole part') from None


def _manifest(path):
  path.replace(path.with_name('manifest.json'))
  return manifest.problem(path.parent)


# name -> (ending, a good example, what reads it)
PARSERS = {
  'bvh': ('.bvh', _bvh(), read_bvh),
  'csv': ('.csv', CSV, read_annotations),
  'json': (
    '.json',
    json.dumps({'abcdefghijk': _ENTRY}).encode(),
    read_annotations,
  ),
  'motion': (
    '.txt',
    json.dumps({'Loop': 'wrap', 'Frames': [_FRAME, _FRAME]}).encode(),
    read_deepmimic,
  ),
  'npz': ('.npz', _npz(), read_pose_npz),
  'npy': ('.npy', _member('pose.npy'), _npy),
  'npz3d': (
    '.npz',
    _npz(pose3d=np.random.default_rng(0).normal(size=(3, 14, 3))),
    read_pose_npz,
  ),
  'classifier': ('.npz', _classifier(), StyleClassifier.load),
  'styles': ('.csv', b'file,style,song\na.mp4,pop,x\n', _styles),
  'list': ('.txt', b'a.mp4\nsub/b.mov\n', clip_folder.find_videos),
  'config': ('.json', _config_example(), _config),
  'wav': ('.wav', _wav(), audio.read_audio),
  'part': ('.part', parts.pack([('a#0', b'example')]), _part),
  'manifest': ('.json', b'{"content": {}, "sha256": ""}', _manifest),
}


def read_one(name, content, folder):
  """Give bytes to a parser; raise AssertionError for a bad refusal.

  Returns whether they were accepted.
  """
  ending, _, parser = PARSERS[name]
  folder.mkdir(exist_ok=True)
  path = folder / f'fuzzed{ending}'
  path.write_bytes(content)
  try:
    parser(path)
    return True
  except InputError as error:
    message = str(error)
    assert 'expected' in message or 'nearest' in message, message
    assert len(message) < 2000 and '\n' not in message, message
    return False


def _functions():
  """Yield the functions of our package and of the formats that it reads."""
  for name, module in list(sys.modules.items()):
    if name.split('.')[0] in ('dance2wave', 'csv', 'json', 'wave', 'zipfile'):
      owners = [module, *filter(inspect.isclass, vars(module).values())]
      for owner in owners:
        for thing in list(vars(owner).values()):
          if inspect.isfunction(thing) and thing.__module__ == name:
            yield thing


def main(name, folder, seconds):
  """Let coverage find inputs that end in anything else than an InputError."""
  import atheris

  inside = pathlib.Path(folder) / 'work'
  corpus = pathlib.Path(folder) / 'corpus'
  corpus.mkdir(parents=True)
  (corpus / 'good').write_bytes(PARSERS[name][1])
  for function in _functions():
    atheris.instrument_func(function)
  flags = [f'-max_total_time={seconds}', '-max_len=20000', str(corpus)]
  atheris.Setup(
    [sys.argv[0], *flags], lambda content: read_one(name, content, inside)
  )
  atheris.Fuzz()


if __name__ == '__main__':
  main(*sys.argv[1:])
