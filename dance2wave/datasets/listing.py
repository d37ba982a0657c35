"""The files of a user's folder, also those behind links to other folders."""

import os
import pathlib


def visible_files(folder: pathlib.Path) -> list[pathlib.Path]:
  """List the files of a folder and its sub-folders, by name.

  Names that begin with a dot are passed over. Links to folders are followed,
  but no folder is entered twice: a link into the folder itself adds nothing,
  and of two links to one place the first counts. Links to no file are listed:
  who reads them says what is wrong.
  """
  found, seen, roots = [], set(), [os.fspath(folder)]
  # It grows: what is linked comes last, so that no file is known by a link
  # that is in the folder anyway.
  for root in roots:
    for place, folders, names in os.walk(root):
      status = os.stat(place)
      if (status.st_dev, status.st_ino) in seen:
        folders.clear()
        continue
      seen.add((status.st_dev, status.st_ino))
      folders[:] = sorted(n for n in folders if not n.startswith('.'))
      inside = [os.path.join(place, name) for name in folders]
      roots += [path for path in inside if os.path.islink(path)]
      names = [name for name in names if not name.startswith('.')]
      found += [pathlib.Path(place, name) for name in names]
  return sorted(found)
