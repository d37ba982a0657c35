"""Checkpoints on disk: the only file that knows orbax.

    directory/<step>/state    step, params, opt_state
    directory/<step>/ema      averaged params, all that sampling needs
    directory/<step>/config   JSON

A step is there whole or not at all, also after a SIGKILL.
"""

import json
import logging
import os
import pathlib

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.sharding import SingleDeviceSharding

from dance2wave.errors import InputError
from dance2wave.training.state import TrainState, leaf_name


def _is_worth_saying(record: logging.LogRecord) -> bool:
  """Drop what orbax says of every save and restore below a warning."""
  is_orbax = f'{os.sep}orbax{os.sep}' in record.pathname
  return record.levelno >= logging.WARNING or not is_orbax


class Checkpoints:
  """The checkpoints of one run; a context manager, and closed at its end.

  Making one neither makes nor changes the directory.

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
    self._manager = ocp.CheckpointManager(
      self.directory,
      options=ocp.CheckpointManagerOptions(
        max_to_keep=max_to_keep, keep_period=keep_period, create=False
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
      InputError: a later step is there, which would be restored instead.
      TypeError: JSON cannot hold the config.
      Exception: whatever made the previous save fail.
    """
    latest = self.latest_step()
    if latest is not None and latest > step:
      raise InputError(
        f'cannot save step {step} in {self.directory}: it holds the later '
        f'step {latest}; remove the later steps or use another --workdir'
      )
    json.dumps(config)  # here a TypeError is harmless, in the writer it is not
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
    return self._manager.save(step, args=items)

  def wait(self) -> None:
    """Wait for the save under way; raise what went wrong with it."""
    try:
      self._manager.wait_until_finished()
    except BaseException:
      # It has forgotten the steps that the failed one was to replace.
      self._manager.reload()
      raise

  def latest_step(self) -> int | None:
    """Return the newest whole step, or None; waits for a save under way."""
    self.wait()
    return self._manager.latest_step()

  def restore_state(
    self, abstract_state: TrainState, step: int | None = None
  ) -> TrainState:
    """Restore a train state bit by bit, onto any mesh.

    Args:
      abstract_state: arrays or `ShapeDtypeStruct`s; each leaf's sharding
        says where it goes, which is the first device where it has none.
      step: the newest where it is None.

    Raises:
      InputError: no such step, or a parameter of other shape, dtype or name.
    """
    step = self._find(step)
    self._require_same(step, abstract_state, ('state', 'ema'))
    target = _placed(abstract_state)
    rest = {
      'step': target.step,
      'params': target.params,
      'opt_state': target.opt_state,
    }
    items = ocp.args.Composite(
      state=ocp.args.StandardRestore(rest),
      ema=ocp.args.StandardRestore(target.ema),
    )
    restored = self._manager.restore(step, args=items)
    return TrainState(ema=restored['ema'], **restored['state'])

  def restore_ema(self, abstract_ema: dict, step: int | None = None) -> dict:
    """Restore the averaged parameters alone; else as `restore_state`."""
    step = self._find(step)
    self._require_same(step, {'ema': abstract_ema}, ('ema',))
    items = ocp.args.Composite(
      ema=ocp.args.StandardRestore(_placed(abstract_ema))
    )
    return self._manager.restore(step, args=items)['ema']

  def restore_config(self, step: int | None = None) -> dict:
    """Return the config that was saved; its tuples have become lists.

    Raises:
      InputError: no such step.
    """
    step = self._find(step)
    self._require_items(step, ('config',))
    items = ocp.args.Composite(config=ocp.args.JsonRestore())
    return self._manager.restore(step, args=items)['config']

  def _find(self, step):
    """Return step, or the newest; it is known to be there."""
    latest = self.latest_step()
    if latest is None:
      raise InputError(
        f'no checkpoint in {self.directory}; expected the checkpoints of a '
        'run; train first, or use the --workdir of a run that has saved'
      )
    steps = self._manager.all_steps()
    if step is not None and step not in steps:
      raise InputError(
        f'no checkpoint of step {step} in {self.directory}; expected one of '
        f'{", ".join(map(str, sorted(steps)))}; ask for one of these'
      )
    return latest if step is None else step

  def _require_items(self, step, items):
    for item in items:
      if not (self.directory / str(step) / item).is_dir():
        raise InputError(
          f'the checkpoint in {self.directory / str(step)} holds no item '
          f'{item}; expected one that dance2wave saved; use the --workdir of '
          'a training run'
        )

  def _require_same(self, step, target, items):
    """Compare names, shapes and dtypes on disk with the target's."""
    self._require_items(step, items)
    metadata = self._manager.item_metadata(step)
    parts = {'ema': metadata['ema'].tree}
    if 'state' in items:
      parts |= metadata['state'].tree
    stored = {}
    for part in ('step', 'params', 'ema', 'opt_state'):
      if part in parts:
        stored |= _signature({part: parts[part]})
    wanted = _signature(target)
    for name in [*wanted, *stored]:
      there, here = stored.get(name, 'absent'), wanted.get(name, 'absent')
      if there != here:
        raise InputError(
          f'the checkpoint in {self.directory / str(step)} is of another '
          f'model: {name} is {there} there and {here} here; use the '
          "workdir's own config or another --workdir"
        )


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
