"""Cores that draw the same clips together: how they wait for one another.

A layer's units are shared out over the members of a team, and so is the skip
path. Each member reads its own part of the weights only, which is what takes
the time of a few clips; they meet once in each layer, where the units are put
together. Sums run in the same order as on one core: so do bits.
"""

import ctypes
import platform
import time
from concurrent import futures

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from dance2wave.sampling.vectors import LINE, emit_fetch

_APART = 16  # Whole numbers: no two counters on the same lines of a cache.
_SPINS = 300  # Some microseconds; then others may have the core.
# Members who get less than this share of the time wait for others who do not.
_LEAST_SHARE, _TOO_SHORT_S = 0.9, 0.02
_IS_X86 = platform.machine().lower() in ('x86_64', 'amd64')
if not hasattr(ctypes.CDLL(None), 'sched_yield'):
  raise ImportError('this system has no sched_yield')  # Code would abort.
# By name, as compiled code that is kept on disk may not hold an address.
_give_way = types.ExternalFunction('sched_yield', types.int32())


def make_flags(members):
  """Return the counters of a team that has not met: the turn of each."""
  return np.zeros((members, _APART), np.int64)


@intrinsic
def _read(_, address):
  """Return the number at an address, and what was written before it was."""

  def emit(context, builder, signature, values):
    place = builder.inttoptr(values[0], ir.IntType(64).as_pointer())
    return builder.load_atomic(place, 'acquire', 8)

  return types.int64(types.uintp), emit


@intrinsic
def _write(_, address, value):
  """Write a number to an address after all that was written before."""

  def emit(context, builder, signature, values):
    place = builder.inttoptr(values[0], ir.IntType(64).as_pointer())
    builder.store_atomic(values[1], place, 'release', 8)
    return context.get_dummy_value()

  return types.void(types.uintp, types.int64), emit


@intrinsic
def _pause(_):
  """Tell the core that it waits."""

  def emit(context, builder, signature, values):
    if _IS_X86:
      signature = ir.FunctionType(ir.VoidType(), [])
      name = 'llvm.x86.sse2.pause'
      builder.call(
        cgutils.get_or_insert_function(builder.module, signature, name), []
      )
    return context.get_dummy_value()

  return types.void(), emit


@intrinsic
def _fetch(_, address):
  """Fetch a line, to be read soon."""

  def emit(context, builder, signature, values):
    place = builder.inttoptr(values[0], ir.IntType(8).as_pointer())
    emit_fetch(builder, place)
    return context.get_dummy_value()

  return types.void(types.uintp), emit


@numba.njit(nogil=True)
def fetch(flags, numbers_RI, rows):
  """Fetch rows that others have written, all of them at once.

  A product would wait for the lines of few rows at a time.
  """
  if len(flags) > 1:
    begin = numbers_RI.ctypes.data
    for offset in range(0, rows * numbers_RI.strides[0], LINE):
      _fetch(begin + offset)


@numba.njit(nogil=True, inline='always')
def tell(flags, number, what):
  """Say a number to the others, after all that was written before."""
  _write(flags[number:].ctypes.data, what)


@numba.njit(nogil=True, inline='always')
def hear(flags, number):
  """Return what a member said last."""
  return _read(flags[number:].ctypes.data)


@numba.njit(nogil=True, inline='always')
def pause(spins):
  """Wait a little, after so many times; return one more."""
  if spins < _SPINS:
    _pause()
  else:
    _give_way()
  return spins + 1


@numba.njit(nogil=True)
def meet(flags, number, turn):
  """Wait until all members have come as far; return the next turn."""
  turn = arrive(flags, number, turn)
  wait(flags, turn)
  return turn


@numba.njit(nogil=True)
def arrive(flags, number, turn):
  """Say that a member has come to a turn, counted from 1; return the next."""
  if len(flags) > 1:
    tell(flags, number, turn)
  return turn + 1


@numba.njit(nogil=True)
def wait(flags, turn):
  """Return when all members have come to the turn before this one."""
  if len(flags) == 1:
    return
  for other in range(len(flags)):
    spins = 0
    while hear(flags, other) < turn - 1:
      spins = pause(spins)


def all_at_once(one_member, members):
  """Call a function with every member's number, all at the same time.

  Returns:
    Whether all of them had a core nearly all the time.
  """
  if members == 1:
    one_member(0)
    return True

  def timed(number):
    began = time.thread_time()
    one_member(number)
    return time.thread_time() - began

  began = time.perf_counter()
  with futures.ThreadPoolExecutor(members - 1) as threads:
    others = threads.map(timed, range(1, members))
    least = min(timed(0), *others)
  wall = time.perf_counter() - began
  return least > _LEAST_SHARE * wall or wall < _TOO_SHORT_S
