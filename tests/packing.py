"""Small archives, and what lies in a folder."""

import io
import tarfile
import zipfile


def make_zip(files, path=None):
  file = io.BytesIO()
  with zipfile.ZipFile(file, 'w', zipfile.ZIP_DEFLATED) as archive:
    for name, data in files.items():
      archive.writestr(name, data)
  if path:
    path.write_bytes(file.getvalue())
  return file.getvalue()


def make_tar(files, path, mode='w:gz'):
  with tarfile.open(path, mode) as archive:
    for name, data in files.items():
      member = tarfile.TarInfo(name)
      if isinstance(data, tarfile.TarInfo):
        data.name = name
        archive.addfile(data)
      else:
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
  return path


def files_in(folder):
  return {
    path.relative_to(folder).as_posix(): path.read_bytes()
    for path in sorted(folder.rglob('*'))
    if path.is_file()
  }


FILES = {'a/1.npy': b'one' * 500, 'a/b/2.npy': b'two' * 500, 'c.txt': b''}
