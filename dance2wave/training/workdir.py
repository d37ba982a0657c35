"""A run's folder: its config, and whether another config may go on in it."""

import contextlib
import json
import math
import pathlib
import shlex
from collections.abc import Iterator

from dance2wave import locks
from dance2wave import options as options_lib
from dance2wave.errors import InputError
from dance2wave.media.audio import replacing
from dance2wave.options import Options

# What may change between a run and its continuation.
_MAY_CHANGE = (
  'sample.',
  'mesh.',
  'dataset.data_dir',
  'dataset.manual_dir',
  'dataset.cache_bytes',
  'train.log_every',
  'train.eval_every',
  'train.eval_batches',
  'train.save_every',
  'train.max_to_keep',
  'train.max_skipped',
  'train.accumulate',
  'train.remat',
  'train.scan',
)

# What each of several processes may have of its own.
_OWN = ('dataset.data_dir', 'dataset.manual_dir', 'dataset.cache_bytes')


def _finite(value):
  """Return the value, None in place of what JSON has no number for."""
  is_odd = isinstance(value, float) and not math.isfinite(value)
  return None if is_odd else value


def write_json(path: pathlib.Path, values: dict) -> None:
  """Write values to path as JSON: whole or not at all."""
  plain = {k: _finite(v) for k, v in values.items()}
  with replacing(path) as temporary:
    temporary.write_text(json.dumps(plain, indent=2, allow_nan=False) + '\n')


def _flat(values, prefix=''):
  for key, value in values.items():
    if isinstance(value, dict):
      yield from _flat(value, f'{prefix}{key}.')
    else:
      yield prefix + key, list(value) if isinstance(value, tuple) else value


def in_common(options: Options) -> dict:
  """Return by key what several processes that train together must share."""
  flat = dict(_flat(options_lib.to_dict(options)))
  return {key: value for key, value in flat.items() if key not in _OWN}


def filled_in(config: dict) -> dict:
  """Return a run's config with what its release did not know yet, as it was.

  A config that this release cannot read is returned as it is.
  """
  try:
    return options_lib.to_dict(options_lib.parse(config))
  except InputError:
    return config


def _changes(old: dict, new: dict) -> dict[str, tuple]:
  """Return (old, new) by key where two configs differ."""
  old, new = dict(_flat(old)), dict(_flat(new))
  # Another dataset changes more: it is named first.
  keys = sorted(old | new, key=lambda key: (key != 'dataset.name', key))
  return {
    key: (old.get(key), new.get(key))
    for key in keys
    if old.get(key) != new.get(key)
  }


def differences(old: dict, new: dict) -> dict[str, tuple]:
  """Return (old, new) by key where two configs cannot share their weights.

  Args:
    old: nested config of a run, as `options.to_dict` or JSON gives it.
    new: another one.
  """
  changes = _changes(old, new).items()
  return {k: v for k, v in changes if not k.startswith(_MAY_CHANGE)}


def as_flag(key: str, value) -> str:
  """Return the flag, as a shell takes it, that sets a config key to a value."""
  value = tuple(value) if isinstance(value, list) else value
  return shlex.quote(f'--config.{key}={value}')


def read_options(workdir: pathlib.Path) -> Options:
  """Return the options that a workdir was made with."""
  path = workdir / 'config.json'
  if not path.is_file():
    raise InputError(
      f'{workdir} holds no config.json; expected the --workdir of a training '
      'run; train one with python -m dance2wave.main --workdir=...'
    )
  return options_lib.parse(_read_json(path))


def _read_json(path: pathlib.Path) -> dict:
  """Return what `write_json` wrote."""
  try:
    values = json.loads(path.read_text())
    if not isinstance(values, dict):
      raise ValueError('it holds no keys')
  except (ValueError, RecursionError) as error:
    raise InputError(
      f'{path} is not JSON ({error}); expected the file that training wrote; '
      'restore it or train again in a new --workdir'
    ) from error
  return values


def has_checkpoints(workdir: pathlib.Path) -> bool:
  """Return whether a run has saved anything into a folder."""
  folder = workdir / 'checkpoints'
  return folder.is_dir() and any(folder.iterdir())


@contextlib.contextmanager
def hold_workdir(workdir: pathlib.Path) -> Iterator[None]:
  """Make the folder, and keep every other run out of it.

  Raises:
    InputError: another run is at work in it, or it cannot be written.
  """
  busy = (
    f'--workdir={workdir} is in use by another run; expected one run at a '
    'time in a folder; wait for it, or choose another --workdir'
  )
  with contextlib.ExitStack() as stack:
    try:
      workdir.mkdir(parents=True, exist_ok=True)
      stack.enter_context(locks.held(workdir / '.lock', busy))
    except OSError as error:
      raise InputError(
        f'--workdir={workdir} cannot be made ({error.strerror}); expected a '
        'folder with permission to write; choose another --workdir'
      ) from error
    yield


def is_finished(workdir: pathlib.Path) -> bool:
  """Return whether the figures of a run are in a folder."""
  return (workdir / 'result.json').exists()


def check_config(workdir: pathlib.Path, options: Options) -> dict[str, tuple]:
  """Check that a folder's run may go on, or be finished, with other options.

  Returns:
    (of the run, of options) by key, where they differ and may.

  Raises:
    InputError: the folder belongs to another config.
  """
  if not has_checkpoints(workdir) and not is_finished(workdir):
    return {}
  old = options_lib.to_dict(read_options(workdir))
  new = options_lib.to_dict(options)
  for key, (there, here) in differences(old, new).items():
    raise InputError(
      f'--workdir={workdir} was made with {key}={there!r}, but the config '
      f'says {here!r}; expected the same config; set {as_flag(key, there)}'
      ' or choose another --workdir'
    )
  return _changes(old, new)


def open_workdir(
  workdir: pathlib.Path, options: Options, data: dict | None = None
) -> None:
  """Write config and data into a folder, or check that they are the same.

  Args:
    workdir: the folder.
    options: of the run that begins or goes on there.
    data: by name, what its datasets are known by; None to leave them out.

  Raises:
    InputError: the folder belongs to another config or to other data.
  """
  check_config(workdir, options)
  if data is not None:
    _keep_data(workdir, data)
  write_json(workdir / 'config.json', options_lib.to_dict(options))


def _keep_data(workdir: pathlib.Path, data: dict) -> None:
  """Write what a run trains on; once it has begun, check that it is that.

  What only one of them knows, such as a config's younger field, is passed over.
  """
  path = workdir / 'dataset.json'
  if has_checkpoints(workdir) and path.exists():
    for name, there in _read_json(path).items():
      here = data.get(name, there)
      if here != there:
        raise InputError(
          f'--workdir={workdir} was made with {name}={there!r}, but the data '
          f'has {here!r}; expected the same data, in any folder; set '
          '--config.dataset.data_dir to it, choose another --workdir, or '
          f'remove {path} to go on with other data'
        )
  else:
    write_json(path, data)
