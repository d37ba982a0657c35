"""Find the clips of Kinetics in a folder, in whatever layout they lie.

    train/belly_dancing/<id>.mp4                downloader, no times
    val/belly dancing/<id>_000205_000215.mp4    class folders, split or not
    train/belly dancing.tar.gz                  an archive for each class,
    k700_train_032.tar.gz                       by its name or its number
    train/part_0.tar.gz                         archives of any class
    <id>_000205_000215.mp4                      all in one folder

Layouts may be mixed, folders more than these are passed over, and so is what
macOS adds. A clip has the label and the split of its annotation; where there
is none, of the folders and the archive above it. An archive's names are only
read, never used as paths. What is compressed is read once: the clips of an
archive go, one after the other, into a file from which they can be read in any
order.
"""

import collections
import dataclasses
import errno
import gzip
import hashlib
import os
import pathlib
import re
import shutil
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator

from dance2wave.datasets.kinetics_dance.annotations import (
  Annotation,
  unified_split,
)
from dance2wave.datasets.kinetics_dance.classes import (
  RELEASES,
  k700_archive_number,
  known_classes,
  plain_label,
)
from dance2wave.datasets.listing import visible_files
from dance2wave.datasets.video_clips import SUFFIXES
from dance2wave.datasets.work import Failure

ARCHIVE_SUFFIXES = ('.tar', '.tar.gz', '.tgz')
# No clip of ten seconds is larger.
MAX_CLIP_BYTES = 256 << 20
_CHUNK_BYTES = 1 << 20
_LABELS = {
  k700_archive_number(label): label for label in known_classes(RELEASES[-1])
}
_NAME = re.compile(r'([A-Za-z0-9_-]{11})(?:_(\d{6})_(\d{6}))?', re.ASCII)
_K700_ARCHIVE = re.compile(r'k700_([a-z]+)_(\d{3})')
_NO_LABEL = re.compile(r'part_?\d+|k[467]00.*|replacement.*|', re.IGNORECASE)
_GZIP = b'\x1f\x8b'
_STREAM_BYTES = 1 << 16  # what is lost before a damage
_DAMAGE = (tarfile.TarError, zlib.error, EOFError, OSError)
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclasses.dataclass(frozen=True)
class Piece:
  """Where the bytes of a clip are.

  Attributes:
    path: of a file.
    start: the clip's first byte in it.
    num_bytes: of the clip; None if it is all of the file.
  """

  path: pathlib.Path
  start: int = 0
  num_bytes: int | None = None


@dataclasses.dataclass(frozen=True)
class Found:
  """A file that has the name of a clip, and what its place says of it.

  Attributes:
    origin: path in the folder; that of an archive, '/', the member's name.
    youtube_id: of the video.
    times_s: start and end; None if the name has none.
    label: of a folder or an archive; '' if none names a class.
    split: likewise; None if none names a split.
    piece: None until it is known to be wanted.
  """

  origin: str
  youtube_id: str
  times_s: tuple[int, int] | None
  label: str
  split: str | None
  piece: Piece | None = None

  def to_annotation(self) -> Annotation:
    """Return what an annotation would say; 0 s to 0 s for unknown times."""
    start_s, end_s = self.times_s or (0, 0)
    split = self.split or ''
    return Annotation(self.youtube_id, self.label, start_s, end_s, split)


def clip_name(row: Annotation) -> str:
  """Return the name of a clip: the YouTube id alone if times are unknown."""
  return row.clip_id if row.end_s else row.youtube_id


def describe(origin: str) -> Found | None:
  """Read a path or a member's name; None if it is not the name of a clip."""
  *above, name = origin.split('/')
  match = _NAME.fullmatch(name.rpartition('.')[0])
  if not match:
    return None
  youtube_id, start, end = match.groups()
  label, split = '', None
  for part in map(_without_suffix, above):  # the innermost one wins
    k700 = _K700_ARCHIVE.fullmatch(part)
    word, number = k700.groups() if k700 else (part, None)
    split = unified_split(word) or split
    label = _label(part, _LABELS.get(int(number or 0)), label)
  times_s = (int(start), int(end)) if start else None
  return Found(origin, youtube_id, times_s, label, split)


def _label(part: str, of_number: str | None, outer: str) -> str:
  """Return the class of a folder; a name that is no class does not hide one."""
  label = of_number or plain_label(part)
  known = _LABELS.values()
  is_name = not (unified_split(part) or _NO_LABEL.fullmatch(part))
  if label in known or (is_name and outer not in known):
    return label
  return outer


def _without_suffix(part: str) -> str:
  for suffix in ARCHIVE_SUFFIXES:
    if part.lower().endswith(suffix):
      return part[: -len(suffix)]
  return part


def files_of(folder: pathlib.Path) -> list[pathlib.Path]:
  """List all files of a folder that are not hidden, by name."""
  return [
    path
    for path in visible_files(folder)
    if not _is_junk(path.relative_to(folder).as_posix()) and path.is_file()
  ]


def _is_junk(name: str) -> bool:
  parts = [part for part in name.split('/') if part not in ('.', '..')]
  return any(part.startswith('.') or part == '__MACOSX' for part in parts)


class Table:
  """Annotations by clip and by video; the first of equal ones counts."""

  def __init__(self, rows: Iterable[Annotation]):
    self.rows = list(rows)
    self.by_clip: dict[str, Annotation] = {}
    self.by_video = collections.defaultdict(list)
    for row in self.rows:
      self.by_clip.setdefault(row.clip_id, row)
      self.by_video[row.youtube_id].append(row)

  def find(self, found: Found) -> Annotation | None:
    """Return the annotation of a file, or None.

    A name without times is the video's first segment of the folder's class,
    which is what a downloader keeps of several; or else its first one.
    """
    if found.times_s:
      return self.by_clip.get(found.to_annotation().clip_id)
    rows = self.by_video.get(found.youtube_id, [])
    same = [row for row in rows if row.label == found.label]
    return next(iter(same + rows), None)


def scan(
  folder: pathlib.Path,
  paths: Iterable[pathlib.Path],
  is_wanted: Callable[[Found], bool],
  spool: pathlib.Path,
) -> Iterator[Found | Failure | None]:
  """Look through files and archives.

  Args:
    folder: to which all names are relative.
    paths: of its files.
    is_wanted: asked for every clip, before its bytes are read.
    spool: folder for the wanted clips of compressed archives.

  Yields:
    Wanted clips with their piece; None for a video that has no clip's name;
    a failure for a member that is refused or an archive that is damaged.
  """
  for path in paths:
    name = path.relative_to(folder).as_posix()
    if path.suffix.lower() in SUFFIXES:
      found = describe(name)
      if found is None:
        yield None
      elif is_wanted(found):
        yield dataclasses.replace(found, piece=Piece(path))
    elif path.name.lower().endswith(ARCHIVE_SUFFIXES):
      try:
        yield from _scan_archive(path, name, is_wanted, spool)
      except _DAMAGE as error:
        if getattr(error, 'errno', None) in _DISK_FULL:
          raise
        wrong = Failure.of(name, 'archive', error).message
        message = (
          f'{name} cannot be read to its end ({wrong}); expected a whole tar '
          'file; fetch it again'
        )
        yield Failure(name, 'archive', 'damaged', message)


def _scan_archive(
  path: pathlib.Path,
  name: str,
  is_wanted: Callable[[Found], bool],
  spool: pathlib.Path,
) -> Iterator[Found | Failure | None]:
  with path.open('rb') as raw:
    is_gzip = raw.read(2) == _GZIP
    raw.seek(0)
    file = gzip.GzipFile(fileobj=raw) if is_gzip else raw
    mode = 'r|' if is_gzip else 'r:'
    with tarfile.open(fileobj=file, mode=mode, bufsize=_STREAM_BYTES) as tar:
      for member in tar:
        origin = f'{name}/{member.name}'
        if wrong := _what_is_wrong(member):
          message = (
            f'{member.name!r} in {name} {wrong}; expected plain files inside '
            'the folder; it was not read'
          )
          yield Failure(origin, 'archive', 'unsafe', message)
        elif _is_video(member):
          found = describe(origin)
          if found is None:
            yield None
          elif is_wanted(found):
            piece = Piece(path, member.offset_data, member.size)
            if is_gzip:
              piece = _unpack(tar, member, path, spool)
            yield dataclasses.replace(found, piece=piece)
      _check_end(tar, file, is_gzip)


def _what_is_wrong(member: tarfile.TarInfo) -> str:
  parts = member.name.replace('\\', '/').split('/')
  if not parts[0] or parts[0].endswith(':'):
    return 'is an absolute path'
  if '..' in parts:
    return 'leaves the folder'
  if member.issym() or member.islnk():
    return 'is a link'
  if member.issparse() or not (member.isreg() or member.isdir()):
    return 'is no plain file'
  if member.size > MAX_CLIP_BYTES and _is_video(member):
    return f'has {member.size} bytes, too many for a clip,'
  return ''


def _is_video(member: tarfile.TarInfo) -> bool:
  is_video = member.name.lower().endswith(SUFFIXES)
  return member.isreg() and is_video and not _is_junk(member.name)


def _unpack(
  tar: tarfile.TarFile,
  member: tarfile.TarInfo,
  archive: pathlib.Path,
  spool: pathlib.Path,
) -> Piece:
  """Append a member to the file of its archive.

  The file has the archive's time, so that a build on Beam that goes on with
  parts of one that was killed sees that nothing has changed.
  """
  spool.mkdir(exist_ok=True)
  digest = hashlib.sha256(os.fsencode(archive)).hexdigest()
  path = spool / digest[:16]
  with tar.extractfile(member) as source, path.open('ab') as target:
    start = target.tell()
    shutil.copyfileobj(source, target, _CHUNK_BYTES)
  time_ns = archive.stat().st_mtime_ns
  os.utime(path, ns=(time_ns, time_ns))
  return Piece(path, start, member.size)


def _check_end(tar: tarfile.TarFile, file, is_gzip: bool) -> None:
  """Raise TarError unless the last member is followed by zeros.

  A stream cannot go back to look at them: then they must be there, and gzip's
  own checksum, compared at its end, says whether they are zeros.
  """
  if is_gzip:
    while file.read(_CHUNK_BYTES):
      pass
    is_whole = file.tell() >= tar.offset + tarfile.BLOCKSIZE
  else:
    file.seek(tar.offset)
    is_whole = file.read(tarfile.BLOCKSIZE) == bytes(tarfile.BLOCKSIZE)
  if not is_whole:
    raise tarfile.ReadError('its end is missing')
