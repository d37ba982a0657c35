"""The steps in a folder of checkpoints, and which of them are good."""

import logging
import pathlib
import shutil

from dance2wave.errors import InputError
from dance2wave.training import manifest

# Beside the steps: one whose manifest is being written, one set aside, and
# what orbax is writing.
UNSIGNED, _DAMAGED, _TEMPORARY = (
  '.unsigned',
  '.damaged',
  '.orbax-checkpoint-tmp',
)


class Steps:
  """The steps in a folder, each checked once and before its first use.

  A folder without any manifest was written before there were manifests: its
  newest step counts as good, with a warning.

  Args:
    directory: of the steps; it may be missing.
  """

  def __init__(self, directory: pathlib.Path):
    self.directory = directory
    self._problems: dict[int, str | None] = {}  # of the steps checked so far
    self._said = set()

  def numbers(self) -> list[int]:
    """Return the steps on disk, good or not, in order."""
    if not self.directory.is_dir():
      return []
    names = (path.name for path in self.directory.iterdir())
    return sorted(int(name) for name in names if name.isdecimal())

  def folder(self, step: int) -> pathlib.Path:
    """Return where a step is."""
    return self.directory / str(step)

  def newest_good(self) -> int | None:
    """Return the newest good step, or None where there are no steps.

    Warns once of each damaged step that is passed over.

    Raises:
      InputError: there are steps, and all are damaged.
    """
    steps = self.numbers()[::-1]
    if not steps:
      return None
    if self._are_unsigned(steps):
      return steps[0]
    for number, step in enumerate(steps):
      if self._problem(step) is None:
        self._warn_of(steps[:number], step)
        return step
    said = '; '.join(self._describe(step) for step in steps)
    raise InputError(
      f'no good checkpoint is left in {self.directory}: {said}; expected one '
      'whole step; restore the folder from a copy, or train again in a new '
      '--workdir'
    )

  def find(self, step: int | None) -> int:
    """Return the step, or the newest good one where it is None.

    Raises:
      InputError: it is not there, or damaged.
    """
    steps = self.numbers()
    if not steps:
      raise InputError(
        f'no checkpoint in {self.directory}; expected the checkpoints of a '
        'run; train first, or use the --workdir of a run that has saved'
      )
    if step is None:
      return self.newest_good()
    if step not in steps:
      raise InputError(
        f'no checkpoint of step {step} in {self.directory}; expected one of '
        f'{", ".join(map(str, steps))}; ask for one of these'
      )
    if not self._are_unsigned(steps[::-1]) and self._problem(step):
      raise InputError(
        f'the checkpoint in {self.directory}: {self._describe(step)}; expected '
        'a whole one; ask for another step'
      )
    return step

  def make_room(self) -> bool:
    """Drop halves that killed runs left, and set damaged steps aside.

    For the one process that saves here, before its first save. A step is
    set aside only if it was found to be damaged; it keeps its files.

    Returns:
      Whether anything has changed.
    """
    if not self.directory.is_dir():
      return False
    halves = [
      path
      for path in self.directory.iterdir()
      if path.name.endswith(UNSIGNED) or _TEMPORARY in path.name
    ]
    for path in halves:
      shutil.rmtree(path)
    damaged = [step for step, wrong in self._problems.items() if wrong]
    for step in damaged:
      aside = self.directory / f'{step}{_DAMAGED}'
      shutil.rmtree(aside, ignore_errors=True)
      self.folder(step).rename(aside)
      del self._problems[step]
    return bool(halves or damaged)

  def _problem(self, step) -> str | None:
    if step not in self._problems:
      self._problems[step] = manifest.problem(self.folder(step))
    return self._problems[step]

  def _describe(self, step) -> str:
    return f'step {step} is damaged ({self._problems[step]})'

  def _warn_of(self, damaged, good):
    for step in damaged:
      self._warn(
        f'The checkpoint in {self.directory}: {self._describe(step)}; step '
        f'{good} is used'
      )

  def _are_unsigned(self, steps) -> bool:
    """Return whether all steps are from before manifests; warn of it."""
    if any((self.folder(step) / manifest.NAME).exists() for step in steps):
      return False
    self._warn(
      f'The checkpoints in {self.directory} have no {manifest.NAME}, as those '
      f'of an older version: they are used without a check of their files'
    )
    return True

  def _warn(self, line):
    """Say it, once."""
    if line not in self._said:
      logging.getLogger('absl').warning(line)
      self._said.add(line)
