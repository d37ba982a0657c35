"""Package metadata; what is installed is in requirements.txt."""

import pathlib
import re

import setuptools

ROOT = pathlib.Path(__file__).parent


def read_version() -> str:
  """Return `__version__` of the package without importing it."""
  text = (ROOT / 'dance2wave' / '__init__.py').read_text()
  return re.search(r"^__version__ = '(.+)'$", text, re.MULTILINE)[1]


def read_requirements() -> list[str]:
  """Return the lines of requirements.txt without comments."""
  lines = (ROOT / 'requirements.txt').read_text().splitlines()
  bare = (line.split('#')[0].strip() for line in lines)
  return [line for line in bare if line]


setuptools.setup(
  name='dance2wave',
  version=read_version(),
  description='A video of a dancer goes in, a waveform comes out.',
  license='Apache-2.0',
  license_files=['LICENSE'],
  python_requires='>=3.11',
  packages=setuptools.find_packages(
    include=['dance2wave', 'dance2wave.*', 'configs', 'data_prep']
  ),
  package_data={'': ['*.md', '*.bib', '*.txt', '*.html']},
  install_requires=read_requirements(),
  extras_require={
    # As jax names them: its wheels for NVIDIA's GPUs and for TPUs.
    'cuda': ['jax[cuda13]'],
    'tpu': ['jax[tpu]'],
    # In an environment of its own: it moves protobuf, pyarrow and pillow.
    'beam': ['apache-beam>=2.70,<3'],
    # Lets coverage guide the search for files that our parsers cannot bear.
    'fuzz': ['atheris>=3,<4'],
    'dev': [
      'hypothesis>=6.100',
      'pytest>=9',
      'pytest-xdist>=3.6',  # two cores test in little more than half the time
      'ruff>=0.17,<0.18',
    ],
  },
)
