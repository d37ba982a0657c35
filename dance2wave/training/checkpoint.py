"""Checkpoints on disk: the only file that knows orbax.

    directory/<step>/state           step, params, opt_state
    directory/<step>/ema             averaged params, all that sampling needs
    directory/<step>/config          JSON
    directory/<step>/manifest.json   size and SHA-256 of every file

A step is there whole or not at all, also after a SIGKILL, and it is read only
where every byte is as it was written: else the newest good step before it is.
"""

import contextlib
import json
import logging
import os
import pathlib
import re
import shutil
from concurrent import futures

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.sharding import SingleDeviceSharding

from dance2wave.errors import InputError
from dance2wave.training import manifest
from dance2wave.training.state import TrainState, leaf_name, not_finite
from dance2wave.training.steps import UNSIGNED, Steps
from dance2wave.training.workdir import as_flag, differences, filled_in


def barrier(name: str, timeout_s: int) -> None:
  """Wait, without any collective, until all processes are at a new barrier."""
  meet = ocp.multihost.get_barrier_sync_fn()
  meet(key=name, timeout_ms=1000 * timeout_s)


def _is_worth_saying(record: logging.LogRecord) -> bool:
  """Drop what orbax says: it raises its errors, and `Steps` warns of damage."""
  return f'{os.sep}orbax{os.sep}' not in record.pathname


@contextlib.contextmanager
def _disk_errors(place: pathlib.Path):
  """Make an `OSError` again of what tensorstore made a `ValueError`."""
  try:
    yield
  except ValueError as error:
    found = re.search(r"os_error_code='(\d+)'", str(error))
    if not found:
      raise
    number = int(found[1])
    raise OSError(number, os.strerror(number), str(place)) from error


def _uninterrupted(read, *args, **kwargs):
  """Return `read(...)` of a thread, which no signal comes to.

  One that ended the event loop in which orbax reads would leave threads that
  complain of it, or be taken for a file that cannot be read.
  """
  with futures.ThreadPoolExecutor(1) as reader:
    reader.submit(int).result()  # Its thread is waited for from now on.
    return reader.submit(read, *args, **kwargs).result()


class _SignedStep(ocp.path.atomicity.AtomicRenameTemporaryPath):
  """A step that has its manifest when it gets its name.

  7.orbax-checkpoint-tmp  ──>  7.unsigned  ──>  7
    orbax writes                 manifest.json
  """

  async def finalize(self):
    """Let orbax commit under another name, sign what it wrote, rename it."""
    final = self._final_path
    if not final.name.isdecimal():  # It is an item within a step.
      return await super().finalize()
    self._final_path = final.with_name(final.name + UNSIGNED)
    folder = pathlib.Path(self._final_path)
    shutil.rmtree(folder, ignore_errors=True)  # what a killed run left
    await super().finalize()
    config = json.loads((folder / 'config' / 'metadata').read_text())
    manifest.write(folder, config)
    os.rename(folder, final)
    self._final_path = final


class Checkpoints:
  """The checkpoints of one run; a context manager, and closed at its end.

  Making one neither makes nor changes the directory. Every step is checked
  against its manifest once, before it is used. A directory without any
  manifest was written before there were manifests: its newest step is used
  with a warning.

  Args:
    directory: of this run's checkpoints.
    max_to_keep: newest steps that are kept; None keeps all.
    keep_period: steps divisible by it are kept as well, for ever.
  """

  def __init__(
    self,
    directory,
    *,
    max_to_keep: int | None,
    keep_period: int | None = None,
  ):
    logging.getLogger('absl').addFilter(_is_worth_saying)
    self.directory = pathlib.Path(directory).absolute()
    self._steps = Steps(self.directory)
    self._has_saved = False
    self._manager = ocp.CheckpointManager(
      self.directory,
      options=ocp.CheckpointManagerOptions(
        max_to_keep=max_to_keep,
        keep_period=keep_period,
        create=False,
        temporary_path_class=_SignedStep,
      ),
      item_handlers={
        'state': ocp.StandardCheckpointHandler(),
        'ema': ocp.StandardCheckpointHandler(),
        'config': ocp.JsonCheckpointHandler(),
      },
    )

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self._manager.close()

  def save(self, step: int, state: TrainState, config: dict) -> bool:
    """Start to save state as `step`; return False where it is there already.

    Returns as soon as the arrays are safe from changes, also from donation;
    writing goes on behind.

    Raises:
      InputError: a later step is there, which would be restored instead, or
        the state holds a NaN or an infinity.
      TypeError: JSON cannot hold the config.
      OSError: the disk is full or refuses.
      Exception: whatever made the previous save fail.
    """
    self.wait()
    _require_finite(step, state)
    json.dumps(config)  # here a TypeError is harmless, in the writer it is not
    if not self._has_saved and self._has_made_room():
      self._manager.reload()
    self._has_saved = True
    latest = max(self._steps.numbers(), default=step)
    if latest > step:
      raise InputError(
        f'cannot save step {step} in {self.directory}: it holds the later '
        f'step {latest}; remove the later steps or use another --workdir'
      )
    self.directory.mkdir(parents=True, exist_ok=True)
    rest = {
      'step': state.step,
      'params': state.params,
      'opt_state': state.opt_state,
    }
    items = ocp.args.Composite(
      state=ocp.args.StandardSave(rest),
      ema=ocp.args.StandardSave(state.ema),
      config=ocp.args.JsonSave(config),
    )
    with _disk_errors(self.directory):
      return self._manager.save(step, args=items)

  def wait(self) -> None:
    """Wait for the save under way; raise what went wrong with it."""
    try:
      with _disk_errors(self.directory):
        self._manager.wait_until_finished()
    except BaseException:
      # It has forgotten the steps that the failed one was to replace.
      self._manager.reload()
      raise

  def latest_step(self) -> int | None:
    """Return the newest good step, or None; waits for a save under way.

    Raises:
      InputError: there are steps, and all are damaged.
    """
    self.wait()
    return self._steps.newest_good()

  def restore_state(
    self,
    abstract_state: TrainState,
    step: int | None = None,
    *,
    config: dict | None = None,
  ) -> TrainState:
    """Restore a train state bit by bit, onto any mesh.

    Args:
      abstract_state: arrays or `ShapeDtypeStruct`s; each leaf's sharding
        says where it goes, which is the first device where it has none.
      step: the newest good one where it is None.
      config: of the model that is to hold it; None to compare parameters only.

    Raises:
      InputError: no such step or no good one, a parameter of other shape,
        dtype or name, or a model of another config.
    """
    step = self._find(step)
    self._require_same(step, abstract_state, ('state', 'ema'), config)
    target = _placed(abstract_state)
    rest = {
      'step': target.step,
      'params': target.params,
      'opt_state': target.opt_state,
    }
    restored = self._read(
      step,
      state=ocp.args.StandardRestore(rest),
      ema=ocp.args.StandardRestore(target.ema),
    )
    return TrainState(ema=restored['ema'], **restored['state'])

  def restore_ema(
    self,
    abstract_ema: dict,
    step: int | None = None,
    *,
    config: dict | None = None,
  ) -> dict:
    """Restore the averaged parameters alone; else as `restore_state`."""
    step = self._find(step)
    self._require_same(step, {'ema': abstract_ema}, ('ema',), config)
    ema = ocp.args.StandardRestore(_placed(abstract_ema))
    return self._read(step, ema=ema)['ema']

  def restore_config(self, step: int | None = None) -> dict:
    """Return the config that was saved; its tuples have become lists.

    Raises:
      InputError: no such step.
    """
    step = self._find(step)
    self._require_items(step, ('config',))
    return self._read(step, config=ocp.args.JsonRestore())['config']

  def _read(self, step, **items):
    """Return items of a step by name."""
    items = ocp.args.Composite(**items)
    return _uninterrupted(self._manager.restore, step, args=items)

  def _has_made_room(self) -> bool:
    """Let the first process make room; another cannot know if it did."""
    is_first = jax.process_index() == 0
    return self._steps.make_room() if is_first else True

  def _find(self, step):
    self.wait()
    return self._steps.find(step)

  def _require_items(self, step, items):
    for item in items:
      folder = self._steps.folder(step)
      if not (folder / item).is_dir():
        raise InputError(
          f'the checkpoint in {folder} holds no item '
          f'{item}; expected one that dance2wave saved; use the --workdir of '
          'a training run'
        )

  def _require_same(self, step, target, items, config):
    """Compare names, shapes, dtypes and config on disk with the target's."""
    self._require_items(step, items)
    metadata = _uninterrupted(self._manager.item_metadata, step)
    parts = {'ema': metadata['ema'].tree}
    if 'state' in items:
      parts |= metadata['state'].tree
    stored = {}
    for part in ('step', 'params', 'ema', 'opt_state'):
      if part in parts:
        stored |= _signature({part: parts[part]})
    leaf = _first_difference(stored, _signature(target))
    saved = config and self.restore_config(step)
    keys = differences(filled_in(saved), config) if saved else {}
    if leaf or keys:
      raise InputError(
        f'the checkpoint in {self._steps.folder(step)} is of another model: '
        f'{_describe(leaf, keys)}'
      )


def _require_finite(step, state):
  names = not_finite(state)
  if names:
    raise InputError(
      f'{names[0]} and {len(names) - 1} other parameter(s) of step {step} hold '
      'a NaN or an infinity; expected finite numbers; the newest checkpoint is '
      'good: lower train.learning_rate or train.joint_learning_rate and run '
      'again in a new --workdir'
    )


def _first_difference(stored, wanted) -> str | None:
  """Return which parameter differs and how, if one does."""
  for name in [*wanted, *stored]:
    there, here = stored.get(name, 'absent'), wanted.get(name, 'absent')
    if there != here:
      return f'{name} is {there} there and {here} here'
  return None


def _describe(leaf: str | None, keys: dict[str, tuple]) -> str:
  """Say how a model differs, and which keys of the config make the same."""
  said = [f'{key}={a!r} there and {b!r} here' for key, (a, b) in keys.items()]
  flags = ' '.join(as_flag(key, there) for key, (there, _) in keys.items())
  cure = f'set {flags}' if flags else "use the workdir's own config"
  return f'{", ".join([leaf] * bool(leaf) + said)}; {cure} or another --workdir'


def _signature(tree) -> dict[str, str]:
  """Return dtype and shape by name; orbax's str keys equal our int keys."""
  return {
    leaf_name(path): f'{np.dtype(leaf.dtype).name}{list(leaf.shape)}'
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]
  }


def _placed(tree):
  """Give each leaf without a sharding the first device."""
  first = SingleDeviceSharding(jax.local_devices()[0])

  def place(leaf):
    sharding = getattr(leaf, 'sharding', None) or first
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

  return jax.tree.map(place, tree)
