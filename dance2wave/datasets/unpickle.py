"""Read pickled arrays from strangers without running any of their code.

A pickle is a program. Three walls stand between it and this process:

1. its opcodes are read first and only those that build numbers, texts, lists,
   tuples and dicts, call, or set the state of an array may occur; counts that
   make a small file fill the memory or the stack are refused;
2. a name that it asks for is looked up in a table of full (module, name)
   pairs, never imported;
3. behind every pair lies a stand-in of this file: no code of numpy reads the
   state of an array or dtype before it has been checked, because a forged one
   (such as numbers declared to be objects) makes numpy follow wild pointers.

Reads what numpy 1 and 2 write with protocols 0 to 5, `.pkl` and `.npy`.
"""

import io
import math
import os
import pathlib
import pickle
import pickletools
import re
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np

from dance2wave.errors import InputError

MAX_BYTES = 1 << 28  # AIST++'s longest file of keypoints has 11 MB.
_MAX_OPCODES = 1 << 18
_GROWTH = 8  # A reference has 8 bytes, in a pickle 1 or more.
# Hashing nested tuples recurses in C, without a limit of its own.
_MAX_TUPLES = 20_000
_NPY_MAGIC = b'\x93NUMPY'

_VALUES = (
  'NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT '
  'BINFLOAT STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE '
  'SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8'
)
_TUPLES = frozenset(('EMPTY_TUPLE', 'TUPLE', 'TUPLE1', 'TUPLE2', 'TUPLE3'))
_CONTAINERS = 'EMPTY_LIST LIST APPEND APPENDS EMPTY_DICT DICT SETITEM SETITEMS'
_PUTS = frozenset(('PUT', 'BINPUT', 'LONG_BINPUT', 'MEMOIZE'))
_OTHERS = (
  'PROTO STOP FRAME MARK POP POP_MARK GET BINGET LONG_BINGET GLOBAL '
  'STACK_GLOBAL REDUCE BUILD'
)
_OPCODES = frozenset(
  (*_VALUES.split(), *_CONTAINERS.split(), *_OTHERS.split(), *_TUPLES, *_PUTS)
)

# Booleans, numbers, byte strings, texts and objects; all are of fixed size.
_DTYPE = re.compile(r'[?biufcSUO]\d{0,5}')


class _Refused(Exception):
  """What the file asked for and may not have."""


class _Token:
  """Stands for a name of the table; a pickle can pass or call it, no more."""

  __slots__ = ('_call', '_name')
  __hash__ = None

  def __init__(self, name: str, call: Callable | None):
    self._name, self._call = name, call

  def __call__(self, *args: Any) -> Any:
    if self._call is None:
      raise _Refused(f'calls {self._name}')
    return self._call(*args)

  def __setstate__(self, state: Any) -> None:
    raise _Refused(f'changes {self._name}')


class _Dtype:
  """Stands for a numpy.dtype while a pickle is read."""

  __slots__ = ('dtype',)
  __hash__ = None

  def __init__(self, code: Any, *flags: Any):
    if not isinstance(code, str) or not _DTYPE.fullmatch(code):
      raise _Refused(f'makes a numpy.dtype of {str(code)[:40]!r}')
    self.dtype = np.dtype(object if code[0] == 'O' else code)

  def __setstate__(self, state: Any) -> None:
    """Take the byte order; all else is known from the code."""
    is_plain = isinstance(state, tuple) and state[2:5] == (None, None, None)
    if not is_plain or state[1] not in ('<', '>', '|', '='):
      raise _Refused('forges the state of a numpy.dtype')
    self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
  """Stands for a numpy.ndarray while a pickle is read."""

  __slots__ = ('axes', 'data', 'dtype', 'order', 'shape')
  __hash__ = None

  def __init__(self):
    self.shape, self.dtype, self.data = (0,), np.dtype('b'), b''
    self.order, self.axes = 'C', None

  def __setstate__(self, state: Any) -> None:
    if not isinstance(state, tuple) or len(state) != 5:
      raise _Refused('forges the state of a numpy.ndarray')
    _, shape, dtype, is_fortran, data = state
    self.fill(shape, dtype, 'F' if is_fortran else 'C', data)

  def fill(self, shape: Any, dtype: Any, order: Any, data: Any) -> None:
    """Check that the data are exactly those of the shape and dtype."""
    if not isinstance(dtype, _Dtype):
      raise _Refused('gives an array something else than a numpy.dtype')
    is_shape = isinstance(shape, tuple) and len(shape) <= 32
    if not is_shape or not all(type(n) is int and n >= 0 for n in shape):
      raise _Refused(f'gives an array the shape {type(shape).__name__}')
    if isinstance(data, str):  # Python 2 had bytes there.
      data = data.encode('latin1')
    is_object = dtype.dtype.kind == 'O'
    length = math.prod(shape) * (1 if is_object else dtype.dtype.itemsize)
    kind = list if is_object else bytes | bytearray
    if not isinstance(data, kind) or len(data) != length:
      raise _Refused('fills an array with more or less than its shape holds')
    self.shape, self.dtype = shape, dtype.dtype
    self.order, self.data = 'F' if order == 'F' else 'C', data

  def make(self, items: list | None) -> np.ndarray:
    """Return the array; `items` are the finished data if it has objects."""
    if items is not None:
      array = np.empty(len(items), object)
      for index, item in enumerate(items):
        array[index] = item
      return array.reshape(self.shape, order=self.order)
    array = np.frombuffer(self.data, self.dtype)
    array = array.reshape(self.shape, order=self.order)
    native = array.astype(self.dtype.newbyteorder('='))  # A copy, writable.
    return native if self.axes is None else native.transpose(self.axes)


class _Unpickler(pickle.Unpickler):
  """Looks names up in a table; all that they make stays within a budget."""

  def __init__(self, data: bytes):
    super().__init__(io.BytesIO(data), encoding='latin1')
    # Bytes that the file does not hold, such as one block in many arrays.
    self._room = self._limit = _GROWTH * len(data) + (1 << 20)
    self._ndarray = _Token('numpy.ndarray', None)
    self._table = {
      ('numpy', 'ndarray'): self._ndarray,
      ('numpy', 'dtype'): _Token('numpy.dtype', _Dtype),
      ('_codecs', 'encode'): _Token('_codecs.encode', self._encode),
      ('collections', 'OrderedDict'): _Token('OrderedDict', self._ordered),
      ('__builtin__', 'bytes'): _Token('bytes', lambda: b''),
      ('builtins', 'bytes'): _Token('bytes', lambda: b''),
    }
    for core in ('numpy.core', 'numpy._core'):
      for module, name, call in (
        ('multiarray', '_reconstruct', self._reconstruct),
        ('multiarray', 'scalar', self._scalar),
        ('numeric', '_frombuffer', self._frombuffer),
      ):
        self._table[f'{core}.{module}', name] = _Token(name, call)

  def find_class(self, module: str, name: str) -> _Token:
    if (module, name) not in self._table:
      asked = f'{module}.{name}'[:150].encode('unicode_escape').decode()
      raise _Refused(f'asks for {asked}')
    return self._table[module, name]

  def _spend(self, num_bytes: int) -> None:
    self._room -= num_bytes
    if self._room < 0:
      raise _Refused(f'grows to more than {self._limit} bytes')

  def _encode(self, text: Any, codec: Any) -> bytes:
    if codec != 'latin1' or not isinstance(text, str):
      raise _Refused(f'encodes as {str(codec)[:40]!r}')
    self._spend(len(text))
    return text.encode('latin1')

  def _ordered(self, items: Any = ()) -> dict:
    if not isinstance(items, list | tuple):
      raise _Refused('makes an OrderedDict of no list')
    self._spend(100 * len(items))
    return dict(items)

  def _reconstruct(self, kind: Any, shape: Any, code: Any) -> _Array:
    if kind is not self._ndarray or shape != (0,):
      raise _Refused('makes an array that is no plain numpy.ndarray')
    return _Array()

  def _frombuffer(
    self, data: Any, dtype: Any, shape: Any, order: Any, axes: Any = None
  ) -> _Array:
    array = _Array()
    array.fill(shape, dtype, order, data)
    if axes is not None and sorted(axes) != list(range(len(shape))):
      raise _Refused('forges the axes of a numpy.ndarray')
    array.axes = axes
    return array

  def _scalar(self, dtype: Any, data: Any) -> Any:
    array = _Array()
    array.fill((1,), dtype, 'C', data)
    if array.dtype.kind == 'O':
      raise _Refused('makes a scalar of an object')
    return array.make(None)[0]

  def finished(self, value: Any, done: dict[int, Any]) -> Any:
    """Return a value with arrays for their stand-ins, shared as it shares.

    Args:
      value: of `load`; it outlives `done`.
      done: id -> finished value, of everything met so far.
    """
    if id(value) in done:
      return done[id(value)]
    if isinstance(value, list):
      done[id(value)] = result = []
      result.extend(self.finished(item, done) for item in value)
    elif isinstance(value, dict):
      done[id(value)] = result = {}
      for key, item in value.items():
        result[key] = self.finished(item, done)
    elif isinstance(value, tuple):
      result = tuple(self.finished(item, done) for item in value)
    elif isinstance(value, _Array):
      self._spend(len(value.data) * (8 if value.dtype.kind == 'O' else 1))
      is_object = value.dtype.kind == 'O'
      result = value.make(
        self.finished(value.data, done) if is_object else None
      )
    elif isinstance(value, _Token | _Dtype):
      raise _Refused('holds names where values belong')
    else:
      result = value
    done[id(value)] = result
    return result


def _check_opcodes(data: bytes) -> None:
  """Refuse opcodes and counts that no file of arrays needs."""
  num_tuples = num_puts = 0
  for number, (opcode, arg, _) in enumerate(pickletools.genops(data)):
    if opcode.name not in _OPCODES:
      raise _Refused(f'uses the opcode {opcode.name}')
    num_tuples += opcode.name in _TUPLES
    num_puts += opcode.name in _PUTS
    if num_tuples > _MAX_TUPLES or number > _MAX_OPCODES:
      raise _Refused(f'has over {_MAX_TUPLES} tuples or {_MAX_OPCODES} parts')
    # The memo is an array: one far index would fill the memory.
    if opcode.name in _PUTS and arg is not None and arg > num_puts:
      raise _Refused(f'puts into place {arg} of its memo')


def _after_npy_header(data: bytes) -> bytes:
  """Return the pickle of an .npy of objects; others are returned as is."""
  if not data.startswith(_NPY_MAGIC):
    return data
  file = io.BytesIO(data)
  version = np.lib.format.read_magic(file)
  read = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
  }.get(version)
  if read is None:
    raise _Refused(f'is an .npy of version {version}')
  if not read(file)[2].hasobject:
    raise _Refused('is an .npy of numbers, which numpy.load reads')
  return file.read()


def _read(source: str | os.PathLike | BinaryIO, max_bytes: int) -> bytes:
  if hasattr(source, 'read'):
    data = source.read(max_bytes + 1)
  else:
    with pathlib.Path(source).open('rb') as file:
      data = file.read(max_bytes + 1)
  if len(data) > max_bytes:
    raise _Refused(f'has more than {max_bytes} bytes')
  return data


def load_pickle(
  source: str | os.PathLike | BinaryIO, *, max_bytes: int = MAX_BYTES
) -> Any:
  """Return what a pickle of arrays, numbers, texts and containers holds.

  Args:
    source: path, or open binary file, of a pickle or of an .npy of objects.
    max_bytes: of the file; the result takes a small multiple of it.

  Returns:
    Arrays are `numpy.ndarray`; an `OrderedDict` comes as a dict.

  Raises:
    InputError: names the file, and the class or trick that was refused or
      what is damaged. Nothing of the file has run by then.
  """
  name = getattr(source, 'name', 'the pickle')
  path = name if hasattr(source, 'read') else source
  try:
    data = _after_npy_header(_read(source, max_bytes))
    _check_opcodes(data)
    unpickler = _Unpickler(data)
    value = unpickler.load()
    return unpickler.finished(value, {})
  except _Refused as error:
    raise InputError(
      f'{path} {error}; expected a pickle of plain arrays and containers, '
      'which cannot run code; do not use the file, or save its arrays as .npz'
    ) from None
  except FileNotFoundError:
    raise InputError(
      f'{path} does not exist; expected a pickle of arrays; check the path'
    ) from None
  except Exception as error:
    # A damaged file can end in any exception of the unpickler or of numpy.
    text = ' '.join(f'{type(error).__name__}: {error}'.split())[:200]
    raise InputError(
      f'{path} cannot be read as a pickle ({text}); expected a whole pickle of '
      'arrays; fetch it again'
    ) from None
