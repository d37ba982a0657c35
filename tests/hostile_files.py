"""Hostile files, and what reads them: run as a program, under an audit hook.

    python tests/hostile_files.py FOLDER    -> {attack: message} as JSON

Every attack is (name, how to read it); the reading must end in an InputError.
"""

import io
import json
import os
import pathlib
import pickle
import stat
import struct
import sys
import tarfile
import zipfile

import numpy as np

_SOURCE = pathlib.Path(__file__).parents[1]
NAMES = (
  '../evil',
  'a/../../evil',
  'a/..',
  '..',
  '/tmp/d2w_evil',
  '//evil',
  'C:/evil',
  'c:evil',
  'a\\..\\evil',
  '\\\\host\\evil',
  'a\x01b',
  'a\nb',
  'a' * 300,
  'ä' * 130,
)
IDS = (
  '-rf',
  '../x',
  'a;b',
  'a\0bcdefghij',
  'x' * 300,
  'abcdefghij\u00e9',
  '$(touch x)a',
  '`touch xxx`',
  '--exec=touch',
  '%(title)s--',
  "a'; DROP --",
  '<script>abc',
  'abcdefghij\n',
  '\u202eabcdefghij',
)
DEEP = '[' * 200_000


class Call:
  """Pickles as a call of the system's shell."""

  def __init__(self, canary):
    self._command = f'touch {canary}'

  def __reduce__(self):
    return os.system, (self._command,)


class Eval:
  """Pickles as an eval."""

  def __init__(self, canary):
    self._text = f'open({str(canary)!r}, "w")'

  def __reduce__(self):
    return eval, (self._text,)


def _npy(payload):
  file = io.BytesIO()
  array = np.empty(1, object)
  array[0] = payload
  np.save(file, array, allow_pickle=True)
  return file.getvalue()


def _header(text, version=b'\x01\x00'):
  raw = text.encode() + b'\n'
  return b'\x93NUMPY' + version + struct.pack('<H', len(raw)) + raw


HEADERS = {
  'call': "{'descr': __import__('os').system('x'), 'shape': ()}",
  'huge': "{'descr': '<f8', 'fortran_order': False, 'shape': (1<<62,)}",
  'large': "{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999,)}",
  'negative': "{'descr': '<f8', 'fortran_order': False, 'shape': (-5,)}",
  'objects': "{'descr': '|O', 'fortran_order': False, 'shape': (3,)}",
  'text': "{'descr': '<U999999999', 'fortran_order': False, 'shape': (9,)}",
  'fields': "{'descr': [('a', '|O')], 'fortran_order': False, 'shape': (1,)}",
  'deep': '(' * 5000 + ')' * 5000,
  'no dict': '[1, 2]',
}


def _zip(path, files):
  with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
    for name, content in files.items():
      archive.writestr(name, content)
  return path


def _good_npz():
  arrays = {
    'pose': np.full((4, 14, 3), 0.5),
    'pose3d': np.zeros((4, 14, 3)),
    'pose_time_s': np.arange(4) / 10,
    'skeleton': np.array('core14'),
    'rate_hz': np.array(10.0),
    'duration_s': np.array(0.4),
  }
  files = {}
  for name, array in arrays.items():
    file = io.BytesIO()
    np.save(file, array)
    files[f'{name}.npy'] = file.getvalue()
  return files


def arrays_attacks(folder, canary):
  """Arrays that would run code, or need more memory than there is."""
  from dance2wave.datasets.dancing2music import units
  from dance2wave.metrics.style_classifier import StyleClassifier
  from dance2wave.pose.joints3d import read_pose_npz
  from dance2wave.pose.track import read_pose_file

  evil = {'call': _npy(Call(canary)), 'eval': _npy(Eval(canary))}
  evil |= {f'header {k}': _header(v) for k, v in HEADERS.items()}
  evil['version 9'] = _header(HEADERS['huge'], b'\x09\x00')
  evil['raw pickle'] = pickle.dumps(Call(canary))
  readers = {'track': read_pose_file, 'joints': read_pose_npz}
  for kind, content in evil.items():
    for member in ('pose', 'pose_time_s', 'skeleton'):
      files = _good_npz() | {f'{member}.npy': content}
      path = _zip(folder / f'{kind} {member}.npz', files)
      for name, reader in readers.items():
        yield f'npz {kind} in {member}, {name}', path, reader
    path = folder / f'{kind}.npy'
    path.write_bytes(content)
    yield f'npy {kind}', path, units.read_array
    yield f'npy {kind} as npz', path, read_pose_file
    yield f'npy {kind} as classifier', path, StyleClassifier.load
    files = {'styles.npy': content, 'clips.npy': content}
    path = _zip(folder / f'{kind} classifier.npz', files)
    yield f'npz {kind} as classifier', path, StyleClassifier.load
  bomb = _header(HEADERS['objects']) + bytes(70 << 20)
  path = _zip(folder / 'bomb.npz', _good_npz() | {'pose.npy': bomb})
  yield 'npz bomb', path, read_pose_file


def _tar(path, members, mode='w'):
  with tarfile.open(path, mode) as archive:
    for name, member in members:
      info = (
        member if isinstance(member, tarfile.TarInfo) else tarfile.TarInfo()
      )
      info.name = name
      content = b'' if info is member else member
      info.size = len(content)
      archive.addfile(info, io.BytesIO(content))
  return path


def _special(kind, target='/tmp'):
  info = tarfile.TarInfo()
  info.type, info.linkname = kind, target
  return info


def archives_attacks(folder, out):
  """Archives that would write outside of their folder, or fill the disk."""
  from data_prep.archives import unpack

  def into(path):
    return unpack(path, out)

  for number, name in enumerate(NAMES):
    path = _zip(folder / f'{number}.zip', {'good': b'1', name: b'evil'})
    yield f'zip {name!r:.30}', path, into
    for mode in ('w', 'w:gz'):
      path = folder / f'{number}{mode[1:].replace(":", ".")}.tar'
      path = _tar(path, [('good', b'1'), (name, b'evil')], mode)
      yield f'tar {mode} {name!r:.30}', path, into
  kinds = {
    'symlink': tarfile.SYMTYPE,
    'hard link': tarfile.LNKTYPE,
    'character device': tarfile.CHRTYPE,
    'block device': tarfile.BLKTYPE,
    'fifo': tarfile.FIFOTYPE,
  }
  for name, kind in kinds.items():
    for target in ('/etc', '..', 'good'):
      members = [('good', b'1'), ('evil', _special(kind, target))]
      members.append(('evil/passwd', b'root'))
      place = folder / f'{name} {target.replace("/", "_")}.tar'
      yield f'tar {name} to {target}', _tar(place, members), into
  for kind in (stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO):
    info = zipfile.ZipInfo('evil')
    info.external_attr = (kind | 0o777) << 16
    path = folder / f'special {kind}.zip'
    with zipfile.ZipFile(path, 'w') as archive:
      archive.writestr(info, '/etc/passwd')
    yield f'zip special {kind:o}', path, into
  bomb = bytes(70 << 20)
  yield 'zip bomb', _zip(folder / 'bomb.zip', {'bomb': bomb}), into
  yield 'tar bomb', _tar(folder / 'b.tar', [('b', bomb)], 'w:gz'), into
  yield 'zip twice', _zip(folder / 'two.zip', {'a': b'1', 'a/b': b'2'}), into


def texts_attacks(folder):
  """Ids, lists and configs that are somebody's commands, or never end."""
  from dance2wave.datasets.clip_folder.folder import find_videos
  from dance2wave.datasets.kinetics_dance.annotations import read_annotations
  from dance2wave.pose.bvh import read_bvh
  from dance2wave.pose.deepmimic import read_deepmimic
  from dance2wave.training.workdir import read_options

  def write(name, text):
    path = folder / name
    path.write_text(text)
    return path

  head = 'label,youtube_id,time_start,time_end,split\n'
  entry = {
    'annotations': {'label': 'zumba', 'segment': [1, 2]},
    'subset': 'train',
  }
  for number, bad in enumerate(IDS):
    row = f'zumba,"{bad}",1,11,train\n'
    yield (
      f'id {bad!r:.30} csv',
      write(f'{number}.csv', head + row),
      (read_annotations),
    )
    path = write(f'{number}.json', json.dumps({bad: entry}))
    yield f'id {bad!r:.30} json', path, read_annotations
    path = write(f'{number}_list.txt', f'{bad}\n'.replace('\0', ''))
    yield f'id {bad!r:.30} in a list', path, find_videos
  digits = '9' * 5000
  yield 'deep json', write('deep.json', DEEP), read_annotations
  yield 'json digits', write('digits.json', f'[{digits}]'), read_annotations
  yield 'deep motion', write('deep.txt', '{"Frames": ' + DEEP), read_deepmimic
  numbers = '{"Frames": [[' + digits + ']]}'
  yield 'motion digits', write('digits.txt', numbers), read_deepmimic
  many = 'HIERARCHY\n' + 'JOINT a {\n' * 100_000
  yield 'deep bvh', write('deep.bvh', many), read_bvh
  root = 'HIERARCHY\nROOT a\n{\nOFFSET 0 0 0\nCHANNELS 3 Xrotation Yrotation '
  root += 'Zrotation\n}\nMOTION\nFrames: 99999999999\nFrame Time: 0.01\n0 0 0\n'
  yield 'endless bvh', write('endless.bvh', root), read_bvh
  for name, text in (('deep', DEEP), ('digits', f'{{"seed": {digits}}}')):
    (folder / name).mkdir()
    write(f'{name}/config.json', text)
    yield f'config {name}', folder / name, read_options


def all_attacks(folder):
  """Yield (name, path, reader) of every attack on a folder."""
  for part in ('arrays', 'archives', 'texts'):
    (folder / part).mkdir()
  yield from arrays_attacks(folder / 'arrays', folder / 'canary')
  yield from archives_attacks(folder / 'archives', folder / 'out')
  yield from texts_attacks(folder / 'texts')


_NEVER = (
  *('os.system', 'os.exec', 'os.posix_spawn', 'os.fork', 'os.forkpty'),
  *('subprocess.Popen', 'pty.spawn', 'socket.connect', 'socket.bind'),
  *('os.symlink', 'os.link', 'os.mknod', 'ctypes.dlopen', 'os.putenv'),
)
_CHANGING = (
  *('os.mkdir', 'os.remove', 'os.rename', 'os.rmdir', 'os.chmod'),
  *('os.truncate', 'shutil.move', 'shutil.rmtree'),
)


def watch(seen, target):
  """Return an audit hook that notes what no file may make us do."""

  def hook(event, args):
    if not seen['on']:
      return
    is_open = event == 'open' and isinstance(args[0], str | os.PathLike)
    writes = is_open and isinstance(args[2], int) and args[2] & 0o3
    if event in _NEVER or (event == 'pickle.find_class'):
      seen['events'].append(f'{event} {args!r:.200}')
    elif writes or event in _CHANGING:
      place = os.path.abspath(os.fspath(args[0]))
      if not place.startswith(f'{target}{os.sep}') and place != str(target):
        seen['events'].append(f'{event} {args!r:.200}')

  return hook


def main(folder):
  """Try every attack; print what was said of each."""
  sys.path.insert(0, str(_SOURCE))
  from dance2wave.errors import InputError

  folder = pathlib.Path(folder)
  attacks = list(all_attacks(folder))
  seen, said = {'on': False, 'events': []}, {}
  sys.addaudithook(watch(seen, folder / 'out'))
  for name, path, reader in attacks:
    seen['on'] = True
    try:
      reader(path)
      said[name] = 'was read'
    except InputError as error:
      said[name] = str(error)
      named = path.name in said[name] or path.stem in said[name]
      said[name] = said[name] if named else f'does not name it: {error}'
    except Exception as error:
      said[name] = f'{type(error).__name__}: {error!s:.200}'
    seen['on'] = False
    if seen['events']:
      said[name] = f'did {seen["events"]}'
      seen['events'].clear()
  print(json.dumps({'num': len(attacks), 'said': said}))


if __name__ == '__main__':
  main(sys.argv[1])
