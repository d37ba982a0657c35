"""What a saved folder must hold, so that damage to it is noticed.

folder/manifest.json    {"content": {"files": {"state/_METADATA":
                          {"size": 812, "sha256": "9f..."}, ...},
                          "config_sha256": "c1...",
                          "versions": {"jax": "0.10.2", ...}},
                         "sha256": of the content}
"""

import hashlib
import importlib.metadata
import json
import os
import pathlib
import platform

NAME = 'manifest.json'
_PACKAGES = ('jax', 'flax', 'optax', 'orbax-checkpoint', 'numpy')


def versions() -> dict[str, str]:
  """Return the version of Python and of the packages that shape a run."""
  found = {name: importlib.metadata.version(name) for name in _PACKAGES}
  return {'python': platform.python_version()} | found


def write(folder: pathlib.Path, config: dict) -> None:
  """Write the manifest of a folder whose files are complete.

  Args:
    folder: with all its files.
    config: what JSON made of the config that is saved in it.
  """
  content = {
    'files': {name: _describe(folder / name) for name in _names(folder)},
    'config_sha256': _digest(config),
    'versions': versions(),
  }
  temporary = folder / f'.{NAME}.part'
  temporary.write_text(_render(content))
  os.replace(temporary, folder / NAME)


def problem(folder: pathlib.Path) -> str | None:
  """Return what is wrong with a folder and in which file; None if nothing is.

  Every byte that the manifest knows of is read, and the manifest's own.
  Files that it does not know of are passed over.
  """
  try:
    text = (folder / NAME).read_bytes()
    content = json.loads(text)['content']
    if _render(content).encode() != text:
      return f'{NAME} has other bytes than were written'
    for name, wanted in content['files'].items():
      wrong = _difference(folder / name, wanted)
      if wrong:
        return f'{name} {wrong}'
  except FileNotFoundError:
    return f'{NAME} is missing'
  except OSError as error:
    return f'{NAME} cannot be read ({error.strerror})'
  except (ValueError, KeyError, TypeError):
    return f'{NAME} is not what was written'
  return None


def _names(folder) -> list[str]:
  files = (path for path in folder.rglob('*') if path.is_file())
  names = sorted(path.relative_to(folder).as_posix() for path in files)
  return [name for name in names if name != NAME]


def _describe(path) -> dict:
  with path.open('rb') as file:
    digest = hashlib.file_digest(file, 'sha256').hexdigest()
  return {'size': path.stat().st_size, 'sha256': digest}


def _difference(path, wanted) -> str | None:
  """Return what a file has become, such as 'is missing'."""
  try:
    size = path.stat().st_size
    if size != wanted['size']:
      return f'has {size} bytes and not {wanted["size"]}'
    if _describe(path) != wanted:
      return 'has other bytes than were written'
  except FileNotFoundError:
    return 'is missing'
  except OSError as error:
    return f'cannot be read ({error.strerror})'
  return None


def _digest(values) -> str:
  text = json.dumps(values, sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()


def _render(content: dict) -> str:
  whole = {'content': content, 'sha256': _digest(content)}
  return json.dumps(whole, indent=1, sort_keys=True) + '\n'
