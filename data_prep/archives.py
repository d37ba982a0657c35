"""Unpack zip and tar files from strangers.

Every name is checked before the first byte is written. What would leave the
folder, links, devices and bombs are refused by name; nothing is dropped in
silence. A file takes its final name when it is whole and its checksum holds,
so that unpacking which was killed is continued by the same call.
"""

import contextlib
import dataclasses
import io
import lzma
import os
import pathlib
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO

from dance2wave.errors import InputError
from data_prep.volumes import JoinedFile

# More than this many times the archive's own size is a bomb, if it is large.
MAX_RATIO = 200
SMALL_BYTES = 64 << 20
_CHUNK_BYTES = 1 << 20
_END_BYTES = 22 + 0xFFFF  # a zip's end record and the longest comment
# What macOS leaves in archives: no part of any data set.
_JUNK_NAMES = ('__MACOSX', '.DS_Store')
_DAMAGE = (
  zipfile.BadZipFile,
  tarfile.TarError,
  zlib.error,
  lzma.LZMAError,
  EOFError,
  UnicodeDecodeError,
  struct.error,
  OverflowError,
  RuntimeError,  # zipfile: a password is needed
  NotImplementedError,  # zipfile: an unknown compression
)


class ArchiveError(InputError):
  """An archive that is refused.

  Attributes:
    reason: 'damaged' | 'unsafe' | 'disk_full'.
  """

  def __init__(self, reason: str, message: str):
    super().__init__(message)
    self.reason = reason


@dataclasses.dataclass(frozen=True)
class Unpacked:
  """What came out of an archive.

  Attributes:
    num_files: without folders and without what was skipped.
    num_bytes: of all files.
    num_skipped: files that macOS had added (`__MACOSX/`, `._*`, `.DS_Store`).
    roots: the first parts of the names, sorted.
  """

  num_files: int
  num_bytes: int
  num_skipped: int
  roots: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class _Member:
  """A file in an archive; `crc` is None in a tar."""

  name: str
  num_bytes: int
  crc: int | None
  open: Callable[[], BinaryIO]


def unpack(
  archive: pathlib.Path | Sequence[pathlib.Path],
  folder: pathlib.Path,
  on_file: Callable[[], object] = lambda: None,
) -> Unpacked:
  """Unpack a zip or tar, or the volumes of a split one, into a folder.

  Files that are there already with the right size and checksum are kept.

  Args:
    archive: a file, or the volumes in their order.
    folder: where the names of the archive are relative to.
    on_file: called after every file.

  Raises:
    ArchiveError: nothing was written if it is unsafe or does not fit.
  """
  with _opened(archive) as (members, label, num_bytes):
    wanted = [member for member in members if not _is_junk(member.name)]
    _check(wanted, label, num_bytes, folder)
    for member in wanted:
      _write(member, folder / member.name, label)
      on_file()
  return Unpacked(
    len(wanted),
    sum(member.num_bytes for member in wanted),
    len(members) - len(wanted),
    _roots_of(wanted),
  )


def roots_of(
  archive: pathlib.Path | Sequence[pathlib.Path],
) -> tuple[str, ...]:
  """Return the first parts of the names in an archive, sorted.

  Raises:
    ArchiveError: it is damaged or unsafe.
  """
  with _opened(archive) as (members, _, _):
    return _roots_of(members)


def test_archive(archive: pathlib.Path | Sequence[pathlib.Path]) -> None:
  """Read an archive to its end, checksums included, and write nothing.

  Raises:
    ArchiveError: it is damaged or not whole.
  """
  with _opened(archive) as (members, _, _):
    for member in members:
      with member.open() as source:
        while source.read(_CHUNK_BYTES):
          pass


test_archive.__test__ = False  # pytest: this is no test


@contextlib.contextmanager
def _opened(
  archive: pathlib.Path | Sequence[pathlib.Path],
) -> Iterator[tuple[list[_Member], str, int]]:
  """Yield the files, the name for messages and the size of an archive."""
  paths = [archive] if isinstance(archive, pathlib.Path) else list(archive)
  label = str(paths[0])
  num_bytes = sum(path.stat().st_size for path in paths)
  try:
    with io.BufferedReader(JoinedFile(paths), _CHUNK_BYTES) as file:
      if file.peek(2)[:2] == b'PK':
        with zipfile.ZipFile(file) as opened:
          yield _zip_members(opened, label), label, num_bytes
      else:
        with tarfile.open(fileobj=file) as opened:
          yield _tar_members(opened, label, num_bytes), label, num_bytes
  except _DAMAGE as error:
    raise _damaged(label, error) from error
  except OSError as error:
    if error.errno is not None:
      raise
    raise _damaged(label, error) from error  # gzip and bz2 say so


def _damaged(label: str, error: Exception) -> ArchiveError:
  return ArchiveError(
    'damaged',
    f'{label} cannot be read ({error or type(error).__name__}); expected a '
    'whole zip or tar file; download it again',
  )


def _unsafe(label: str, name: str, what: str) -> ArchiveError:
  return ArchiveError(
    'unsafe',
    f'{label} holds {name!r}, which {what}; expected plain files inside the '
    'folder; do not use this archive',
  )


def _check_name(label: str, name: str) -> None:
  parts = name.split('/')
  if name.startswith('/') or (len(name) > 1 and name[1] == ':'):
    raise _unsafe(label, name, 'is an absolute path')
  if '..' in parts:
    raise _unsafe(label, name, 'leaves the folder')
  if '\\' in name or any(ord(letter) < 32 for letter in name):
    raise _unsafe(label, name, 'has a backslash or a control character')
  if any(len(os.fsencode(part)) > 240 for part in parts):
    raise _unsafe(label, name, 'is too long a name')


def _check_count(archive: zipfile.ZipFile) -> None:
  """Compare the names with their number in the end record (APPNOTE 4.3.16).

  A damaged directory may swallow some, and zipfile would not notice.
  """
  size = archive.fp.seek(0, os.SEEK_END)
  archive.fp.seek(max(0, size - _END_BYTES))
  tail = archive.fp.read()
  end = tail.rfind(b'PK\x05\x06')
  wanted = int.from_bytes(tail[end + 10 : end + 12], 'little')
  if wanted not in (len(archive.infolist()), 0xFFFF):  # 0xFFFF: in zip64's
    raise zipfile.BadZipFile(
      f'lists {len(archive.infolist())} of {wanted} names'
    )


def _zip_members(archive: zipfile.ZipFile, label: str) -> list[_Member]:
  _check_count(archive)
  members = []
  for info in archive.infolist():
    _check_name(label, info.orig_filename)
    mode = info.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
      raise _unsafe(label, info.filename, 'is a link or a device')
    if not info.is_dir():
      open_it = lambda info=info: archive.open(info)  # noqa: E731
      members.append(_Member(info.filename, info.file_size, info.CRC, open_it))
  return members


def _tar_members(
  archive: tarfile.TarFile, label: str, num_bytes: int
) -> list[_Member]:
  members, total = [], 0
  for info in archive:
    _check_name(label, info.name)
    if not (info.isreg() or info.isdir()):
      raise _unsafe(label, info.name, 'is a link or a device')
    total += info.size
    _check_ratio(label, info.name, total, num_bytes)
    if info.isreg():
      open_it = lambda info=info: archive.extractfile(info)  # noqa: E731
      members.append(_Member(info.name, info.size, None, open_it))
  _check_end(archive)
  return members


def _check_end(archive: tarfile.TarFile) -> None:
  """Read the zeros after the last file, and with them gzip's checksum."""
  archive.fileobj.seek(archive.offset)
  if archive.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
    raise tarfile.ReadError('its end is missing')
  num_bytes = 0
  while chunk := archive.fileobj.read(_CHUNK_BYTES):
    num_bytes += len(chunk)
    if num_bytes > SMALL_BYTES:
      raise tarfile.ReadError(f'{num_bytes} bytes follow its end')


def _roots_of(members: Sequence[_Member]) -> tuple[str, ...]:
  wanted = [member.name for member in members if not _is_junk(member.name)]
  return tuple(
    sorted({pathlib.PurePosixPath(name).parts[0] for name in wanted})
  )


def _is_junk(name: str) -> bool:
  parts = pathlib.PurePosixPath(name).parts
  return any(part in _JUNK_NAMES or part.startswith('._') for part in parts)


def _check_ratio(label: str, name: str, total: int, num_bytes: int) -> None:
  if total > max(SMALL_BYTES, MAX_RATIO * num_bytes):
    raise _unsafe(
      label, name, f'brings {total} bytes out of an archive of {num_bytes}'
    )


def _check(
  members: Sequence[_Member], label: str, num_bytes: int, folder: pathlib.Path
) -> None:
  """Refuse bombs, files that are also folders, and what does not fit."""
  total = missing = 0
  names = set()
  for member in members:
    total += member.num_bytes
    _check_ratio(label, member.name, total, num_bytes)
    names.add(pathlib.PurePosixPath(member.name))
    path = folder / member.name
    if not path.is_file():
      missing += member.num_bytes
  for name in names:
    for parent in name.parents:
      if parent in names:
        raise _unsafe(label, str(parent), 'is a file and a folder')
  folder.mkdir(parents=True, exist_ok=True)
  free = shutil.disk_usage(folder).free
  if missing > free:
    raise ArchiveError(
      'disk_full',
      f'{label} needs {missing} bytes in {folder}, where {free} are free; '
      'expected room for all of them; free some space',
    )


def _is_there(member: _Member, path: pathlib.Path) -> bool:
  if member.crc is None or not path.is_file():
    return False
  if path.stat().st_size != member.num_bytes:
    return False
  return _crc_of(path) == member.crc


def _crc_of(path: pathlib.Path) -> int:
  crc = 0
  with path.open('rb') as file:
    while chunk := file.read(_CHUNK_BYTES):
      crc = zlib.crc32(chunk, crc)
  return crc


def _write(member: _Member, path: pathlib.Path, label: str) -> None:
  if _is_there(member, path):
    return
  path.parent.mkdir(parents=True, exist_ok=True)
  temporary = path.with_name(f'.{path.name}.part')
  with member.open() as source, temporary.open('wb') as file:
    shutil.copyfileobj(source, file, _CHUNK_BYTES)
  size = temporary.stat().st_size
  if size != member.num_bytes:
    raise ArchiveError(
      'damaged',
      f'{label} holds {size} bytes of {member.name!r}; expected '
      f'{member.num_bytes}; download it again',
    )
  os.replace(temporary, path)
