"""Know the archives of the CVDF mirror of Kinetics, and read clips out of them.

https://github.com/cvdfoundation/kinetics-dataset lists them, under
https://s3.amazonaws.com/kinetics:

    k400       400/{train,val,test}/k400_{split}_path.txt   lists numbered
               parts, each of clips of any class; some clips are replaced by
               400/replacement_for_corrupted_k400.tgz
    k600       600/{train,val}/<class name>.tar.gz
    k700_2020  700_2020/{train,val}/k700_{split}_<number>.tar.gz

The test splits of the later two are in parts of any class as well. Members
are <youtube_id>_<start %06d>_<end %06d>.mp4.
"""

import dataclasses
import lzma
import pathlib
import re
import shutil
import tarfile
import urllib.parse
import zlib
from collections.abc import Collection, Sequence

from absl import logging

from dance2wave.datasets.kinetics_dance.annotations import is_youtube_id
from dance2wave.datasets.kinetics_dance.classes import k700_archive_number
from dance2wave.errors import InputError

MIRROR_URL = 'https://s3.amazonaws.com/kinetics'
# Of the archives that hold one class: 1.2 GB together.
_CLASS_BYTES = {'train': 1.1e9, 'validation': 0.1e9}
# Of the parts, by their share of all clips.
_PARTS_BYTES = {
  ('k400', 'train'): 351e9,
  ('k400', 'validation'): 29e9,
  ('k400', 'test'): 56e9,
  ('k600', 'test'): 73e9,
  ('k700_2020', 'test'): 87e9,
}
# No clip of ten seconds is larger; what is, is no clip.
MAX_CLIP_BYTES = 256 << 20
_FOLDERS = {'k400': '400', 'k600': '600', 'k700_2020': '700_2020'}
_SHORT = {'train': 'train', 'validation': 'val', 'test': 'test'}
_CHUNK_BYTES = 1 << 20
_DAMAGE = (tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError)
_CLIP_ID = re.compile(r'([A-Za-z0-9_-]{11})_\d{6}_\d{6}', re.ASCII)


@dataclasses.dataclass(frozen=True)
class Archive:
  """One archive of the mirror.

  Attributes:
    url: where it is.
    label: the class whose clips it holds; '' for clips of any class.
    split: of its clips; '' for any.
  """

  url: str
  label: str = ''
  split: str = ''

  @property
  def name(self) -> str:
    """A file name that no other archive has."""
    path = urllib.parse.unquote(urllib.parse.urlsplit(self.url).path)
    folder, _, last = path.rpartition('/')
    return re.sub(r'[^\w .-]', '_', f'{folder.rpartition("/")[2]}_{last}')


@dataclasses.dataclass(frozen=True)
class Plan:
  """What to fetch of a release.

  Attributes:
    archives: known by name.
    part_lists: URLs of texts that list further archives.
    num_bytes: about how much the archives hold.
  """

  archives: tuple[Archive, ...]
  part_lists: tuple[str, ...]
  num_bytes: float


def annotation_urls(release: str, root: str = MIRROR_URL) -> tuple[str, ...]:
  """Return the URLs of a release's annotations: train, validation, test."""
  folder = f'{root}/{_FOLDERS[release]}/annotations'
  table = 'txt' if release == 'k600' else 'csv'
  return (
    f'{folder}/train.{table}',
    f'{folder}/val.{table}',
    f'{folder}/test.csv',
  )


def plan_of(
  release: str,
  splits: Sequence[str],
  labels: Sequence[str],
  root: str = MIRROR_URL,
) -> Plan:
  """Return which archives hold the clips of some classes."""
  by_class = [
    split for split in splits if release != 'k400' and split != 'test'
  ]
  archives = [
    Archive(_class_url(release, split, label, root), label, split)
    for split in by_class
    for label in labels
  ]
  in_parts = [split for split in splits if split not in by_class]
  if release == 'k400' and in_parts:
    # First: a clip that is there is not taken from a later archive.
    replacement = f'{root}/400/replacement_for_corrupted_k400.tgz'
    archives.append(Archive(replacement))
  num_bytes = len(labels) * sum(_CLASS_BYTES[split] for split in by_class)
  return Plan(
    tuple(archives),
    tuple(_part_list(release, split, root) for split in in_parts),
    num_bytes + sum(_PARTS_BYTES[release, split] for split in in_parts),
  )


def _class_url(release: str, split: str, label: str, root: str) -> str:
  short = _SHORT[split]
  name = label
  if release == 'k700_2020':
    name = f'k700_{short}_{k700_archive_number(label):03d}'
  name = urllib.parse.quote(f'{name}.tar.gz')
  return f'{root}/{_FOLDERS[release]}/{short}/{name}'


def _part_list(release: str, split: str, root: str) -> str:
  short = _SHORT[split]
  return f'{root}/{_FOLDERS[release]}/{short}/{release}_{short}_path.txt'


def read_part_list(path: pathlib.Path, root: str = MIRROR_URL) -> list[Archive]:
  """Read the archives that a list of parts names; other hosts are refused.

  Args:
    path: of the fetched list: one URL of the mirror on every line.
    root: stands for the mirror's address in them.

  Raises:
    InputError: a line is no URL of the mirror, or there is none.
  """
  archives = []
  lines = path.read_text(encoding='utf-8', errors='replace').splitlines()
  for number, line in enumerate(map(str.strip, lines), 1):
    if not line:
      continue
    rest = line.removeprefix(MIRROR_URL)
    if rest == line or not rest.startswith('/') or '..' in rest.split('/'):
      raise InputError(
        f'{path}, line {number} is {line!r:.80}; expected a URL that begins '
        f'with {MIRROR_URL}/; fetch the list again'
      )
    archives.append(Archive(root + urllib.parse.quote(rest, safe='/%')))
  if not archives:
    raise InputError(
      f'{path} lists no archive; expected one URL a line; fetch it again'
    )
  return archives


def clip_name(name: str) -> str | None:
  """Return the clip id, or bare YouTube id, that a file's name stands for."""
  stem, dot, suffix = name.rpartition('/')[2].rpartition('.')
  is_name = _CLIP_ID.fullmatch(stem) or is_youtube_id(stem)
  return stem if is_name and dot and suffix.lower() == 'mp4' else None


def unpack_clips(
  archive: pathlib.Path,
  wanted: Collection[str],
  folder: pathlib.Path,
  held: set[str] | None = None,
) -> dict[str, pathlib.Path]:
  """Unpack the wanted clips of a tar, whatever folders they are in.

  Names in the archive are only read, never used as paths. What macOS adds is
  skipped; wanted names that leave the archive's folder, links, devices and
  files too large for a clip are refused and logged.

  Args:
    archive: a tar, compressed or not.
    wanted: clip ids or bare YouTube ids.
    folder: existing, for the files <name>.mp4.
    held: gets the names of all its clips, wanted or not.

  Returns:
    {name: file}, once the archive has been read to its end.

  Raises:
    InputError: it is damaged or cut off.
  """
  found: dict[str, pathlib.Path] = {}
  try:
    with tarfile.open(archive) as tar:
      for member in tar:
        name = clip_name(member.name)
        if name and held is not None:
          held.add(name)
        if name is None or name not in wanted or name in found:
          continue
        wrong = _what_is_wrong(member)
        if wrong:
          logging.warning('%s: %r refused: %s', archive, member.name, wrong)
          continue
        found[name] = folder / f'{name}.mp4'
        with tar.extractfile(member) as source, found[name].open('xb') as file:
          shutil.copyfileobj(source, file, _CHUNK_BYTES)
      _check_end(tar)
  except _DAMAGE as error:
    if isinstance(error, OSError) and error.errno is not None:
      raise
    raise InputError(
      f'{archive} cannot be read ({error or type(error).__name__}); expected a '
      'whole tar file; fetch it again'
    ) from error
  return found


def _what_is_wrong(member: tarfile.TarInfo) -> str:
  parts = member.name.split('/')
  if member.name.startswith('/') or '..' in parts:
    return 'its name leaves the folder'
  if not member.isreg() or member.issparse():
    return 'it is no plain file'
  if member.size > MAX_CLIP_BYTES:
    return f'{member.size} bytes are too many for a clip'
  return ''


def _check_end(tar: tarfile.TarFile) -> None:
  """Read on to the end of the file, so that a checksum there is compared."""
  tar.fileobj.seek(tar.offset)
  if tar.fileobj.read(512) != bytes(512):
    raise tarfile.ReadError('its end is missing')
  while tar.fileobj.read(_CHUNK_BYTES):
    pass
