import collections
import io
import pathlib
import pickle
import random
import struct
import subprocess
import sys
import time

import numpy as np
import pytest
from aistpp_fixture import as_numpy_1

from dance2wave.datasets import unpickle
from dance2wave.datasets.unpickle import load_pickle
from dance2wave.errors import InputError

GOOD = {
  'floats': np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4),
  'empty': np.zeros((0, 3)),
  'fortran': np.asfortranarray(np.arange(6.0).reshape(2, 3)),
  'turned': np.arange(24).reshape(2, 3, 4).transpose(1, 0, 2),
  'sliced': np.arange(10)[::3],
  'texts': np.array(['ab', 'c']),
  'bytes': np.array([b'x', b'yz']),
  'flags': np.array([True, False]),
  'complex': np.array([1 + 2j]),
  'big_endian': np.arange(3, dtype='>i4'),
  'point': np.array(5),
  'objects': np.array([{'k': np.arange(2)}, None], dtype=object),
}
PLAIN = {
  'scalar': np.float64(3.5),
  'ordered': collections.OrderedDict([('b', 1), ('a', [2, (3, None)])]),
  'number': 2**70,
  'text': 'ein Tänzer',
  'raw': b'\x00\xff',
  'nothing': [{}, [], (), True, -1.5],
}


def assert_same(found, expected):
  assert isinstance(found, np.ndarray) and type(found) is np.ndarray
  assert found.shape == expected.shape and found.dtype.isnative
  assert found.dtype == expected.dtype.newbyteorder('=')
  assert found.flags.writeable
  if found.dtype.kind == 'O':
    np.testing.assert_array_equal(found[0]['k'], expected[0]['k'])
  else:
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize('is_numpy_1', [True, False])
@pytest.mark.parametrize('protocol', range(6))
def test_what_numpy_writes_is_read(protocol, is_numpy_1):
  data = pickle.dumps({**GOOD, **PLAIN}, protocol=protocol)
  data = as_numpy_1(data) if is_numpy_1 and protocol > 1 else data
  assert (b'numpy.core.multiarray' in data) == (is_numpy_1 and protocol > 1)
  found = load_pickle(io.BytesIO(data))
  assert list(found) == [*GOOD, *PLAIN]
  for name, expected in GOOD.items():
    assert_same(found[name], expected)
  for name, expected in PLAIN.items():
    assert found[name] == expected


def test_what_is_shared_stays_shared():
  array, some = np.arange(3), []
  some.append(some)
  found = load_pickle(io.BytesIO(pickle.dumps([array, [array], some])))
  assert found[0] is found[1][0]
  assert found[2][0] is found[2]


def test_a_real_npy_of_objects(shared_data):
  path = shared_data / 'isaacgymenvs' / 'amp_humanoid_dance.npy'
  with pytest.raises(ValueError, match='allow_pickle'):
    np.load(path)
  motion = load_pickle(path).item()
  assert list(motion)[:2] == ['rotation', 'root_translation']
  rotation = motion['rotation']['arr']
  assert rotation.shape == (902, 15, 4) and rotation.dtype == np.float32
  np.testing.assert_allclose(np.linalg.norm(rotation, axis=-1), 1, atol=1e-5)
  assert motion['fps'] == 60 and motion['is_local'] is True
  assert motion['skeleton_tree']['node_names'][0] == 'pelvis'


# Attacks. Each is a name, the bytes, and a word of the refusal.

WORDS = """
os.system posix.system os.popen os.execl os._exit os.remove os.kill
subprocess.Popen subprocess.check_output subprocess.getoutput pty.spawn
builtins.eval builtins.exec builtins.compile builtins.getattr builtins.setattr
builtins.__import__ builtins.open builtins.type builtins.object builtins.vars
builtins.globals builtins.map builtins.bytearray builtins.memoryview
builtins.breakpoint __builtin__.eval __builtin__.getattr __builtin__.file
runpy.run_path code.interact pickle.loads _pickle.Unpickler marshal.loads
types.FunctionType types.CodeType importlib.import_module ctypes.CDLL
shutil.rmtree pathlib.Path io.open socket.socket webbrowser.open sys.exit
operator.attrgetter operator.methodcaller functools.partial functools.reduce
copyreg._reconstructor copyreg.__newobj__ copy_reg._reconstructor
collections.UserDict collections.namedtuple collections.defaultdict
_codecs.decode _codecs.lookup codecs.encode codecs.decode
numpy.load numpy.save numpy.fromfile numpy.memmap numpy.frombuffer
numpy.vectorize numpy.void numpy.record numpy.matrix numpy.ufunc
numpy.testing.rundocs numpy.testing._private.utils.runstring
numpy.f2py.compile numpy.f2py.crackfortran.myeval
numpy.distutils.exec_command.exec_command numpy.ctypeslib.load_library
numpy.core.multiarray.fromfile numpy.core.multiarray.array
numpy._core.multiarray.fromfile numpy.core.numeric.fromfunction
numpy.core._internal._reconstruct numpy.core.records.fromfile
numpy.lib.npyio.load numpy.ma.core._mareconstruct numpy.random._pickle.x
pandas.read_pickle torch._utils._rebuild_tensor joblib.load
dance2wave.datasets.unpickle._Token dance2wave.errors.InputError
"""
DOTTED = (
  ('numpy', 'ndarray.tofile'),
  ('numpy', 'dtype.__class__'),
  ('NUMPY', 'ndarray'),
  ('collections', 'OrderedDict.fromkeys'),
  ('numpy.core.multiarray', '_reconstruct.__globals__'),
  ('numpy.core.multiarray.os', 'system'),
)


def text(value):
  raw = value.encode()
  return b'X' + struct.pack('<I', len(raw)) + raw


def number(value):
  raw = value.to_bytes(9, 'little', signed=True)
  return b'\x8a' + bytes([len(raw)]) + raw


def wanting(module, name, argument):
  """A call of a name, by the old and by the new way to ask for one."""
  old = f'c{module}\n{name}\n'.encode() + b'(' + text(argument) + b'tR.'
  new = b'\x80\x04' + text(module) + text(name) + b'\x93'
  return old, new + text(argument) + b'\x85R.'


def dtype_of(code, state=None):
  made = b'cnumpy\ndtype\n' + text(code) + b'\x85R'
  if state is None:
    state = (
      b'(K\x03' + text('<') + b'NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t'
    )
  return made + state + b'b'


def array_of(state):
  head = b'cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n'
  return head + b'K\x00\x85C\x01b\x87R' + state + b'b.'


def array_state(shape, dtype, data):
  shape = b'(' + b''.join(number(n) for n in shape) + b't'
  return b'(K\x01' + shape + dtype + b'\x89' + data + b't'


def raw(data):
  return b'B' + struct.pack('<I', len(data)) + data


def attacks(canary):
  """Yield (name, bytes, word of the refusal)."""
  argument = f'touch {canary}'
  for dotted in WORDS.split():
    module, _, name = dotted.rpartition('.')
    for how, data in zip(('old', 'new'), wanting(module, name, argument)):
      yield f'{how} {dotted}', data, f'asks for {dotted}'
  for module, name in DOTTED:
    for how, data in zip(('old', 'new'), wanting(module, name, argument)):
      yield f'{how} {module}.{name}', data, f'asks for {module}.{name}'
  for codec in ('utf-8', 'latin-1', 'rot13', 'zlib', 'hex', 'punycode', 'os'):
    call = b'c_codecs\nencode\n' + text('payload') + text(codec) + b'\x86R.'
    yield f'codec {codec}', call, 'encodes as'
  yield 'codec none', b'c_codecs\nencode\n' + text('x') + b'\x85R.', 'TypeError'
  for module, name in (('numpy', ''), ('', 'ndarray'), ('numpy\ndtype', 'x')):
    data = wanting(module, name, argument)[1]
    yield f'new {module!r}.{name}', data, 'asks for '
  yield from nested_attacks(argument)
  yield from opcode_attacks(argument)
  yield from state_attacks()
  yield from bombs()
  yield from torn_files()


def nested_attacks(argument):
  call = wanting('os', 'system', argument)[0][:-1]
  yield 'in a dict', b'}' + text('a') + call + b's.', 'asks for os.system'
  yield 'as a key', b'}' + call + b'K\x01s.', 'asks for os.system'
  yield 'thrown away', call + b'0N.', 'asks for os.system'
  yield 'after the end', b'N.' + call + b'.', None
  yield (
    'in a state',
    array_of(array_state([1], dtype_of('f8'), call)),
    'asks for os.system',
  )
  yield (
    'in a dtype',
    b'cnumpy\ndtype\n' + call + b'\x85R.',
    'asks for os.system',
  )
  yield (
    'in an OrderedDict',
    b'ccollections\nOrderedDict\n](' + text('a') + call + b'tatR.',
    'asks for os.system',
  )
  twice = b"cpickle\nloads\n(cpickle\ndumps\n(S'x'\ntRtR."
  yield 'a pickle in a pickle', twice, 'asks for pickle.loads'


def opcode_attacks(argument):
  quoted = argument.encode()
  yield 'INST', b"(S'" + quoted + b"'\nios\nsystem\n.", 'opcode INST'
  yield 'OBJ', b'(cos\nsystem\n' + text(argument) + b'o.', 'opcode OBJ'
  yield 'NEWOBJ', b'\x80\x02cnumpy\nndarray\n)\x81.', 'opcode NEWOBJ'
  yield 'NEWOBJ_EX', b'\x80\x04cnumpy\nndarray\n)}\x92.', 'opcode NEWOBJ_EX'
  for name, code in (('EXT1', b'\x82\x01'), ('EXT2', b'\x83\x01\x00')):
    yield name, code + b'.', f'opcode {name}'
  yield 'EXT4', b'\x84\x01\x00\x00\x00.', 'opcode EXT4'
  yield 'PERSID', b'P' + quoted + b'\n.', 'opcode PERSID'
  yield 'BINPERSID', text(argument) + b'Q.', 'opcode BINPERSID'
  yield 'EMPTY_SET', b'\x80\x04\x8f.', 'opcode EMPTY_SET'
  yield 'FROZENSET', b'\x80\x04(K\x01\x91.', 'opcode FROZENSET'
  yield 'DUP', b'N2.', 'opcode DUP'
  yield 'NEXT_BUFFER', b'\x80\x05\x97.', 'opcode NEXT_BUFFER'
  yield 'a class', b'cnumpy\nndarray\n.', 'holds names'
  yield 'a dtype', dtype_of('f8') + b'.', 'holds names'
  yield 'a class in a list', b']cnumpy\ndtype\na.', 'holds names'


def state_attacks():
  good, raw8 = dtype_of('f8'), raw(bytes(8))
  pointers = raw(struct.pack('<Q', 0xDEAD0000))
  make = b'cnumpy.core.multiarray\n_reconstruct\n'
  front = b'cnumpy.core.numeric\n_frombuffer\n'
  yield 'state of a name', b'cnumpy\nndarray\n}b.', 'changes numpy.ndarray'
  yield (
    'slots of a name',
    b'cnumpy\ndtype\nN}' + text('__init__') + b'K\x01s\x86b.',
    'changes numpy.dtype',
  )
  yield (
    'slots of a function',
    make + b'N}' + text('__defaults__') + b')s\x86b.',
    'changes _reconstruct',
  )
  yield (
    'call of an array',
    b'cnumpy\nndarray\n(' + number(1 << 40) + b'tR.',
    ('calls numpy.ndarray'),
  )
  yield (
    'huge array',
    make + b'cnumpy\nndarray\n' + number(1 << 40) + (b'\x85C\x01b\x87R.'),
    'no plain numpy.ndarray',
  )
  yield (
    'array of dtype',
    make + b'cnumpy\ndtype\nK\x00\x85C\x01b\x87R.',
    ('no plain numpy.ndarray'),
  )
  # Numbers declared as objects: numpy itself would follow the pointers.
  fields = b'(K\x03' + text('|') + b'N' + text('a') + b'\x85}K\x08K\x01K\x3ft'
  for name, dtype, data, word in (
    ('pointers', dtype_of('O8'), pointers, 'more or less'),
    ('fields', dtype_of('f8', fields), pointers, 'forges the state'),
    ('flags', dtype_of('f8', b'K\x3f\x85'), pointers, 'forges the state'),
    ('no dtype', b'K\x08', raw8, 'something else than'),
    ('void', dtype_of('V8'), raw8, "numpy.dtype of 'V8'"),
    ('fields in code', dtype_of('f8,O'), raw8, "numpy.dtype of 'f8,O'"),
    ('unknown code', dtype_of('f7'), raw8, 'TypeError'),
    ('wide text', dtype_of('U99999999'), raw8, 'numpy.dtype of'),
    ('too few', good, raw(bytes(7)), 'more or less'),
    ('too many', good, raw(bytes(16)), 'more or less'),
    ('a list', good, b']K\x01a', 'more or less'),
  ):
    yield f'state: {name}', array_of(array_state([1], dtype, data)), word
  for shape in ([1 << 40], [1 << 61, 8], [-1], [2, -1], [1] * 33):
    state = array_state(shape, good, raw8)
    yield f'shape {shape[:2]}', array_of(state), 'array'
  yield 'short state', array_of(b'(K\x01t'), 'forges the state of a numpy.nd'
  yield 'dict state', array_of(b'}'), 'forges the state of a numpy.nd'
  yield (
    'scalar of an object',
    b'cnumpy.core.multiarray\nscalar\n' + dtype_of('O8') + pointers + b'\x86R.',
    'more or less',
  )
  yield (
    'buffer of objects',
    front
    + b'('
    + pointers
    + dtype_of('O8')
    + b'K\x01\x85'
    + text('C')
    + b'tR.',
    'more or less',
  )
  yield (
    'forged axes',
    front + b'(' + raw8 + good + b'K\x01\x85' + text('K') + b'K\x07\x85tR.',
    'forges the axes',
  )
  yield (
    'OrderedDict of a text',
    b'ccollections\nOrderedDict\n' + text('ab') + b'\x85R.',
    'of no list',
  )


def bombs():
  far = struct.pack('<I', (1 << 31) - 1)
  yield 'far memo', b'Nr' + far + b'.', 'of its memo'
  yield 'far memo in text', b'Np2147483647\n.', 'of its memo'
  yield (
    'long bytes',
    b'\x80\x04\x8e' + struct.pack('<Q', 1 << 62) + b'.',
    'read',
  )
  yield (
    'long array',
    b'\x80\x05\x96' + struct.pack('<Q', 1 << 62) + b'.',
    'read',
  )
  yield (
    'long frame',
    b'\x80\x04\x95' + struct.pack('<Q', 1 << 62) + b'N.',
    'read',
  )
  yield 'long number', b'\x8b' + far + b'.', 'read'
  yield 'many digits', b'I' + b'9' * 100_000 + b'\n.', 'read'
  block = b'cnumpy\ndtype\nq\x00' + raw(bytes(1 << 20)) + b'q\x01'
  one = array_of(array_state([1 << 17], dtype_of('f8'), b'h\x01'))[:-1]
  yield 'one block often', block + b']' + one * 64 + b'.', None
  yield 'one block in a list', block + b'00](' + one * 64 + b'e.', 'grows to'
  call = b'c_codecs\nencode\nh\x00' + text('latin1') + b'\x86R'
  often = text('a' * (1 << 20)) + b'q\x000](' + call * 64 + b'e.'
  yield 'one text often', often, 'grows to'
  yield 'deep lists', b']' * 100_000 + b'a' * 99_999 + b'.', 'Recursion'
  deep = b')' + b'\x85' * 1_000_000
  yield 'deep key', b'}' + deep + b'Ns.', 'tuples'
  yield 'many parts', b']' + b'Na' * 300_000 + b'.', 'parts'


def torn_files():
  good = pickle.dumps({'a': GOOD['floats'], 'b': [1, 'x']}, protocol=4)
  for length in range(0, len(good), 7):
    yield f'cut at {length}', good[:length], 'cannot be read'
  for name, data in (
    ('words', b'no pickle at all'),
    ('a page', b'<!DOCTYPE html><html></html>'),
    ('zip', b'PK\x03\x04' + bytes(40)),
    ('zeros', bytes(1000)),
    ('protocol 9', b'\x80\x09N.'),
  ):
    yield name, data, 'cannot be read'
  file = io.BytesIO()
  np.save(file, np.arange(3))
  yield 'npy of numbers', file.getvalue(), 'which numpy.load reads'
  header = b"{'descr': __import__('os').system('x'), 'shape': ()}\n"
  magic = b'\x93NUMPY\x01\x00' + struct.pack('<H', len(header))
  yield 'npy with a call', magic + header, 'cannot be read'
  yield 'npy of version 9', b'\x93NUMPY\x09\x00' + header, 'npy of version'


ATTACKS = list(attacks('CANARY'))


def test_every_attack_is_refused_with_its_name(tmp_path):
  assert len(ATTACKS) > 250
  assert len({name for name, _, _ in ATTACKS}) == len(ATTACKS)
  path = tmp_path / 'evil.pkl'
  for name, data, word in ATTACKS:
    path.write_bytes(data)
    start_s = time.monotonic()
    try:
      load_pickle(path)
      assert word is None, f'{name} was read'
    except InputError as error:
      message = str(error)
      assert word and word in message, f'{name}: {message}'
      assert str(path) in message and '\n' not in message, name
      assert 'expected a' in message and len(message) < 600, name
    assert time.monotonic() - start_s < 5, name


WATCHED = """
import pathlib, sys
from dance2wave.datasets.unpickle import load_pickle
from dance2wave.errors import InputError

paths = sorted(pathlib.Path(sys.argv[1]).glob('*.pkl'))
allowed = {str(path) for path in paths}
seen, is_on = [], False
quiet = ('object.__getattr__', 'builtins.id', 'pickle.find_class')

def hook(event, args):
  if not is_on or event in quiet:
    return
  if event == 'open' and str(args[0]) in allowed:
    return
  if event == 'compile' and args[1] == '<unknown>':
    return  # ast.literal_eval reads the header of an .npy; nothing runs
  seen.append((event, args))

sys.addaudithook(hook)
for path in paths:
  is_on = True
  try:
    load_pickle(path)
  except InputError:
    pass
  is_on = False
  assert not seen, (path, seen)
print(len(paths))
"""


def watch(folder):
  root = pathlib.Path(__file__).parents[1]
  return subprocess.run(
    [sys.executable, '-c', WATCHED, str(folder)],
    cwd=root,
    capture_output=True,
    text=True,
    timeout=120,
  )


def test_nothing_runs_opens_or_crashes(tmp_path):
  canary = tmp_path / 'canary'
  (tmp_path / 'evil').mkdir()
  some = list(attacks(canary))
  for index, (_, data, _) in enumerate(some):
    (tmp_path / f'evil/{index:03}.pkl').write_bytes(data)
  done = watch(tmp_path / 'evil')
  assert done.returncode == 0, done.stderr[-2000:]
  assert done.stdout.strip() == str(len(some))
  assert not canary.exists()


def test_the_attacks_are_real(tmp_path):
  """The same bytes run code in the plain unpickler."""
  canary = tmp_path / 'canary'
  data = dict((n, d) for n, d, _ in attacks(canary))['new os.system']
  code = 'import pickle, sys; pickle.loads(sys.stdin.buffer.read())'
  subprocess.run([sys.executable, '-c', code], input=data, check=True)
  assert canary.exists()


def test_damaged_files_never_crash(tmp_path):
  rng = random.Random(0)
  for index in range(600):
    protocol = index % 6
    data = bytearray(pickle.dumps({**GOOD, **PLAIN}, protocol=protocol))
    for _ in range(rng.choice((1, 2, 8))):
      data[rng.randrange(len(data))] = rng.randrange(256)
    (tmp_path / f'{index:03}.pkl').write_bytes(data)
  done = watch(tmp_path)
  assert done.returncode == 0, done.stderr[-2000:]


def test_laughter_of_lists_costs_nothing():
  """10**30 items, if they were counted: each list holds the last ten times."""
  levels = b''.join(
    b']('
    + b'h'
    + bytes([n]) * 1
    + (b'h' + bytes([n])) * 9
    + b'eq'
    + bytes([n + 1])
    for n in range(30)
  )
  found = load_pickle(io.BytesIO(b']q\x00' + levels + b'.'))
  assert found[0] is found[9]


def test_a_file_that_is_too_large_is_refused(tmp_path):
  path = tmp_path / 'large.pkl'
  path.write_bytes(pickle.dumps(np.zeros(1000)))
  assert load_pickle(path).shape == (1000,)
  with pytest.raises(InputError, match=r'large.pkl has more than 4000 bytes'):
    load_pickle(path, max_bytes=4000)


def test_no_file_is_one_line(tmp_path):
  for path in (tmp_path / 'none.pkl', tmp_path):
    with pytest.raises(InputError) as error:
      load_pickle(path)
    assert str(path) in str(error.value) and '\n' not in str(error.value)


def test_the_table_holds_nothing_else():
  table = unpickle._Unpickler(b'')._table
  assert set(table) == {
    ('numpy', 'ndarray'),
    ('numpy', 'dtype'),
    ('numpy.core.multiarray', '_reconstruct'),
    ('numpy._core.multiarray', '_reconstruct'),
    ('numpy.core.multiarray', 'scalar'),
    ('numpy._core.multiarray', 'scalar'),
    ('numpy.core.numeric', '_frombuffer'),
    ('numpy._core.numeric', '_frombuffer'),
    ('_codecs', 'encode'),
    ('collections', 'OrderedDict'),
    ('__builtin__', 'bytes'),
    ('builtins', 'bytes'),
  }
