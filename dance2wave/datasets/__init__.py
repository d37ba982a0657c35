"""TFDS builders of dance clips, all with the one schema of `schema.py`.

Importing this package is enough for `tfds.builder('synthetic_dance')`: every
folder `<name>/<name>_dataset_builder.py` here is a dataset that TFDS can find
by name. A builder's module is imported only when somebody asks for it.
"""

import importlib
import pathlib

from tensorflow_datasets.core import registered

_HERE = pathlib.Path(__file__).parent


def dataset_names() -> tuple[str, ...]:
  """Return the names of the datasets of this package."""
  modules = sorted(_HERE.glob('*/*_dataset_builder.py'))
  return tuple(
    path.parent.name
    for path in modules
    if path.stem == f'{path.parent.name}_dataset_builder'
  )


class _Provider:
  """What TFDS asks for a builder, see `registered.DatasetBuilderProvider`."""

  def has_dataset(self, name: str) -> bool:
    return name in dataset_names()

  def get_builder_cls(self, name: str) -> type:
    module = f'{__name__}.{name}.{name}_dataset_builder'
    return importlib.import_module(module).Builder


# First, because TFDS's own provider imports all of TFDS to look for a name.
registered.add_dataset_builder_provider(_Provider(), index=0)
