"""A new model of the sizes in options."""

from flax import nnx

from dance2wave.errors import InputError
from dance2wave.media.audio_features import NUM_AUDIO_FEATURES
from dance2wave.models.dance2wave import Dance2Wave
from dance2wave.models.graph import JointGraph
from dance2wave.options import Options
from dance2wave.pose.clean import CLEAN_DELAY_S
from dance2wave.pose.features import FEATURE_LOOK_AHEAD_FRAMES, joint_columns
from dance2wave.pose.skeleton import CORE14_EDGES, joint_names
from dance2wave.training.contrast import match_sizes


def transformer_look_ahead_s(options: Options) -> float | None:
  """Return what cleaning and features leave of `pose.look_ahead_s`.

  The cleaner waits, the derivatives reach ahead, and the WaveNet needs one
  more frame to interpolate its context towards.

  Raises:
    InputError: they leave less than nothing.
  """
  if options.pose.look_ahead_s is None:
    return None
  frames = FEATURE_LOOK_AHEAD_FRAMES + 1
  spent_s = CLEAN_DELAY_S + frames / options.pose_rate_hz
  left_s = options.pose.look_ahead_s - spent_s
  if left_s < 0:
    raise InputError(
      f'pose.look_ahead_s={options.pose.look_ahead_s}; expected at least '
      f'{spent_s:g}, which cleaning and motion features need; set '
      '--config.pose.look_ahead_s, or None in a config file for all of a clip'
    )
  return left_s


def _graph(options: Options) -> JointGraph | None:
  """Return the graph that motion is embedded over, where it is wanted."""
  if options.pose.encoder != 'st_gcn':
    return None
  centre = joint_names('core14').index('neck')
  return JointGraph(CORE14_EDGES, centre, joint_columns())


def make_model(options: Options, motion_dim: int, key) -> Dance2Wave:
  """Return a new model of the sizes in options."""
  pose = {
    'motion_dim': motion_dim,
    'width': options.pose.width,
    'num_heads': options.pose.num_heads,
    'num_blocks': options.pose.num_blocks,
    'stem_dilations': options.pose.stem_dilations,
    'top_dilations': options.pose.top_dilations,
    'kernel': options.pose.kernel,
    'window_s': options.pose.window_s,
    'look_ahead_s': transformer_look_ahead_s(options),
    'pose_rate_hz': options.pose_rate_hz,
    'dropout': options.pose.dropout,
    'num_styles': len(options.styles) * ('style' in options.pose.describes),
    'num_features': NUM_AUDIO_FEATURES
    * ('audio_features' in options.pose.describes),
    'remat': options.train.remat,
    'graph': _graph(options),
  }
  wave = {
    'num_styles': len(options.styles),
    'dilations': options.wave.dilations,
    'kernel': options.wave.kernel,
    'residual': options.wave.residual,
    'gate': options.wave.gate,
    'skip': options.wave.skip,
    'num_outputs': options.wave.num_outputs,
    'samples_per_frame': options.samples_per_frame,
    'is_mixture': options.wave.output == 'mixture',
    'num_bands': options.wave.num_bands,
    'is_whitened': options.wave.is_whitened,
    'remat': options.train.remat,
    'scan': options.train.scan,
  }
  return Dance2Wave(
    pose=pose,
    wave=wave,
    hears_heads=options.wave.hears_heads,
    hears_pulse=options.wave.hears_pulse,
    match=match_sizes(options),
    context_stack=options.wave.context_stack,
    rngs=nnx.Rngs(key),
  )
