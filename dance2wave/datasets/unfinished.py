"""Folders of builds that were killed: removed once nobody owns them.

TFDS builds in `incomplete.XXXXXX_<version>` and renames that folder at the end.
A build locks the dataset's folder and its own for as long as it lives, and the
system gives the locks back however it ends:

    <data_dir>/<dataset>/                     locked: another build waits
                        /incomplete.AAAAAA_1.0.0    locked: under way
                        /incomplete.BBBBBB_1.0.0    not locked: left by a kill
"""

import contextlib
import pathlib
import shutil
from collections.abc import Callable, Iterator

from absl import logging

from dance2wave import locks


def _remove_left(dataset: pathlib.Path) -> None:
  for folder in dataset.parent.glob(f'incomplete.*_{dataset.name}'):
    with (
      contextlib.suppress(OSError),
      locks.existing_if_free(folder) as is_free,
    ):
      if is_free:
        shutil.rmtree(folder)


@contextlib.contextmanager
def begun(dataset: pathlib.Path) -> Iterator[Callable[[pathlib.Path], None]]:
  """Remove what killed builds of a dataset left; keep others from doing so.

  Another build of it is waited for, which may have made the dataset then.

  Yields:
    What to call with this build's own folder as soon as there is one.
  """

  def tell() -> None:
    logging.warning(
      'another process is building %s; waiting for it', dataset.parent
    )

  with contextlib.ExitStack() as held:
    dataset.parent.mkdir(parents=True, exist_ok=True)
    held.enter_context(locks.existing(dataset.parent, tell))
    _remove_left(dataset)
    yield lambda folder: held.enter_context(locks.existing(folder))
