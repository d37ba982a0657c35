"""Folders of builds that were killed: removed once nobody owns them.

TFDS builds in `incomplete.XXXXXX_<version>` and renames that folder at the end.
A build locks its folder for as long as it lives, and the system gives the lock
back however it ends:

    <data_dir>/<dataset>/                     locked while a build begins
                        /incomplete.AAAAAA_1.0.0    locked: under way
                        /incomplete.BBBBBB_1.0.0    not locked: left by a kill
"""

import contextlib
import pathlib
import shutil
from collections.abc import Callable, Iterator

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

  Yields:
    What to call with this build's own folder as soon as there is one; until
    then no other build of the dataset begins.
  """
  with contextlib.ExitStack() as beginning, contextlib.ExitStack() as owned:
    dataset.parent.mkdir(parents=True, exist_ok=True)
    beginning.enter_context(locks.existing(dataset.parent))
    _remove_left(dataset)

    def own(folder: pathlib.Path) -> None:
      owned.enter_context(locks.existing(folder))
      beginning.close()

    yield own
