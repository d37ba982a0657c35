"""Start from what earlier runs have learned: parameters by name."""

import dataclasses
import pathlib
import re

import jax

from dance2wave.errors import InputError
from dance2wave.options import Options, to_dict
from dance2wave.pose.features import MOTION_DIM
from dance2wave.training import sharding, step, workdir
from dance2wave.training.checkpoint import Checkpoints
from dance2wave.training.state import TrainState, leaf_name

# One row or column for each label: other labels are another parameter.
_PER_LABEL = r'(^|/)(style|style_head/(kernel|bias))$'
_TIMBRE = 'wave/timbre/'
_READ_CONTEXT = 'wave/context/', _TIMBRE, 'context_stack/'
# What gives parameters their meaning, and leaves their shapes as they are.
_MEANINGS = {
  True: (  # of the WaveNet
    'sample_rate_hz',
    'wave.num_cycles',
    'wave.layers_per_cycle',
    'wave.is_levelled',
    'wave.is_whitened',
    'wave.levels',
  ),
  False: (
    'pose_rate_hz',
    'pose.num_heads',
    'pose.stem_dilations',
    'pose.top_dilations',
    'pose.window_s',
    'pose.look_ahead_s',
  ),
}


def load_ema(folder: pathlib.Path) -> tuple[Options, object, dict]:
  """Return options, graph and averaged weights of a run's newest checkpoint.

  Raises:
    InputError: the folder is no workdir, holds no checkpoint yet, or one of
      another model.
  """
  return _load(folder)[:3]


def _load(folder) -> tuple[Options, object, dict, int]:
  """Do what `load_ema` does; return the checkpoint's step as well."""
  options = workdir.read_options(folder)
  graphdef, init = step.split_model(options, MOTION_DIM)
  abstract = jax.eval_shape(init, jax.random.key(0))
  # Of several processes, each has all weights for itself.
  mesh = sharding.mesh_of(jax.local_devices()[:1], 1, 1)
  abstract = sharding.with_shardings(abstract, mesh)
  with Checkpoints(folder / 'checkpoints', max_to_keep=None) as checkpoints:
    made = checkpoints.latest_step()
    if made is None:
      raise InputError(
        f'{folder} holds no checkpoint yet; expected a run that has saved one; '
        f'train it with python -m dance2wave.main --workdir={folder}'
      )
    config = to_dict(options)
    params = checkpoints.restore_ema(abstract, made, config=config)
  return options, graphdef, params, made


def so_far(options: Options, step: int) -> Options:
  """Return the options of a run as if what is made at a step were all of it."""
  pose_steps = min(step, options.train.pose_steps)
  joint_steps = step - pose_steps
  steps = {'pose_steps': pose_steps, 'joint_steps': joint_steps}
  train = dataclasses.replace(options.train, **steps)
  return dataclasses.replace(options, train=train)


def load_player(folder: pathlib.Path) -> tuple[Options, object, dict]:
  """Do what `load_ema` does, of a run that has trained sound for dances.

  Raises:
    InputError: as `load_ema` does, or the run has trained none, or none yet.
  """
  options, graphdef, params, made = _load(folder)
  if not options.samples_dances:
    raise InputError(
      f'--workdir={folder} has trained no sound for dances '
      f'(train.joint_steps={options.train.joint_steps}, '
      f'train.is_audio_only={options.train.is_audio_only}); expected a run of '
      f'both; train one with --config.train.init_from="(\'{folder}\',)"'
    )
  if not so_far(options, made).samples_dances:
    raise InputError(
      f'--workdir={folder} has made {made} of its {options.train.pose_steps} '
      'steps of poses alone, and has trained no sound yet; expected some of '
      f'its {options.train.joint_steps} steps of both; let it go on with '
      f'python -m dance2wave.main --workdir={folder}'
    )
  return options, graphdef, params


def is_trained(options: Options, name: str) -> bool:
  """Return whether a run of these options has trained a parameter."""
  train = options.train
  is_timbre = name.startswith(_TIMBRE)  # trained in both stages
  if name.startswith(('wave/', 'context_stack/')) and not is_timbre:
    # Of sound alone, what reads a dance has met none.
    is_context = name.startswith(_READ_CONTEXT)
    return bool(train.joint_steps) and not (train.is_audio_only and is_context)
  return bool(train.pose_steps) or not train.is_audio_only


def _by_name(tree) -> dict[str, jax.Array]:
  leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
  return {leaf_name(path): leaf for path, leaf in leaves}


@dataclasses.dataclass(frozen=True)
class Coverage:
  """How much of a model an earlier run gave.

  Attributes:
    folder: of the earlier run.
    taken: names of the parameters that were taken.
    left: names that the earlier run has trained but that do not fit here.
    share: of all values of this model that were taken.
  """

  folder: pathlib.Path
  taken: tuple[str, ...]
  left: tuple[str, ...]
  share: float

  def __str__(self) -> str:
    text = (
      f'Took {len(self.taken)} parameters ({100 * self.share:.1f} % of all '
      f'values) from {self.folder}'
    )
    return text + (f'; left: {", ".join(self.left)}' if self.left else '')


def _fit(folder, options, keys, name, value, params) -> bool:
  """Return whether a trained value has a place here.

  Raises:
    InputError: it has the name of a parameter, and another shape.
  """
  if name not in params:
    return False
  # A run of poses alone is welcome whatever WaveNet it was to have.
  if name.startswith(_TIMBRE) and not options[0].train.joint_steps:
    others = [k for k in keys if k.startswith(('wave.', 'sample_rate_hz'))]
    if others:
      return False
  if value.shape == params[name].shape:
    same_labels = options[0].styles == options[1].styles
    return same_labels or not re.search(_PER_LABEL, name)
  if re.search(_PER_LABEL, name):
    return False
  sizes = [
    f'{key}={a!r} there and {b!r} here'
    for key, (a, b) in keys.items()
    if key.startswith(('pose', 'wave.', 'sample_rate_hz'))
  ]
  raise InputError(
    f'train.init_from={folder}: {name} has the shape {value.shape} there and '
    f'{params[name].shape} here ({", ".join(sizes) or "same config"}); '
    'expected equal sizes; take the sizes under pose and wave from '
    f'{folder / "config.json"}'
  )


def _check_meaning(folder, keys, taken) -> None:
  """Raise InputError if parameters fit, but would mean something else."""
  for is_wave in {name.startswith('wave/') for name in taken}:
    for key in _MEANINGS[is_wave]:
      if key in keys:
        there, here = keys[key]
        raise InputError(
          f'train.init_from={folder} was trained with {key}={there!r}, but '
          f'the config says {here!r}; expected the same; set '
          f'{workdir.as_flag(key, there)} or start from another run'
        )


def check_sources(options: Options) -> None:
  """Raise InputError where `train.init_from` names no run, before any work."""
  for place in options.train.init_from:
    try:
      workdir.read_options(pathlib.Path(place).expanduser().absolute())
    except InputError as error:
      raise InputError(f'train.init_from: {error}') from None


def warm_start(
  options: Options, state: TrainState
) -> tuple[TrainState, list[Coverage]]:
  """Return the state with what the runs of `train.init_from` have trained.

  A parameter that a run did not train for dances with sound (in a run of poses
  alone a WaveNet but for its `timbre`; in a run of sound alone the context's
  projection and `timbre`, which met no dance) is not taken from it; nor is the
  `timbre` of poses alone where the WaveNet is another here. Rows and columns
  for labels are taken only where the labels are the same. Of several runs the
  later one wins.

  Raises:
    InputError: no such run, other sizes, rates or dilations, or a run that
      gives nothing.
  """
  coverages = []
  params = _by_name(state.params)
  total = sum(leaf.size for leaf in params.values())
  for place in options.train.init_from:
    folder = pathlib.Path(place).expanduser().absolute()
    their_options, _, theirs, made = _load(folder)
    both = (so_far(their_options, made), options)
    trained = {
      name: value
      for name, value in _by_name(theirs).items()
      if is_trained(both[0], name)
    }
    keys = workdir.differences(*map(to_dict, both))
    taken = {
      k: v for k, v in trained.items() if _fit(folder, both, keys, k, v, params)
    }
    if not taken:
      raise InputError(
        f'train.init_from={folder} has trained nothing that this model has; '
        'expected a run with parts of the same names; drop it'
      )
    _check_meaning(folder, keys, taken)
    params |= {k: _like(v, params[k]) for k, v in taken.items()}
    coverages.append(
      Coverage(
        folder,
        tuple(taken),
        tuple(sorted(trained.keys() - taken.keys())),
        sum(v.size for v in taken.values()) / total,
      )
    )
  return _with_params(state, params), coverages


def _like(value: jax.Array, other: jax.Array) -> jax.Array:
  return jax.device_put(jax.device_get(value), other.sharding)


def _with_params(state: TrainState, params: dict[str, jax.Array]):
  def find(path, _):
    return params[leaf_name(path)]

  mine = jax.tree_util.tree_map_with_path(find, state.params)
  # The average starts at the same values, in memory of its own: the state's
  # buffers are given away at every step.
  return dataclasses.replace(
    state, params=mine, ema=jax.tree.map(lambda leaf: leaf.copy(), mine)
  )
