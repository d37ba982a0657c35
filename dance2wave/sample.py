r"""Give a dance its sound.

    python -m dance2wave.sample --workdir=runs/wavenet --input=dance.mp4 \
        --output=out.mp4

Inputs: videos, pose files (.npz), motion captures (.bvh, DeepMimic's .txt), or
a folder of them; give --input several times for several. Outputs: a video with
the generated sound (the picture is copied as it is), or .wav. With --multihost
several processes share the inputs; each writes the results of its own.
"""

import os
import pathlib

from absl import flags, logging

from dance2wave.errors import InputError, one_line_errors, run_tool

_WORKDIR = flags.DEFINE_string('workdir', 'runs/wavenet', 'Of a training run.')
_INPUT = flags.DEFINE_multi_string('input', [], 'Dance, or folder of dances.')
_OUTPUT = flags.DEFINE_string('output', None, 'File, or folder for several.')
_SEED = flags.DEFINE_integer('seed', 0, 'Of the draws.')
_TEMPERATURE = flags.DEFINE_float('temperature', None, 'Default: the config.')
_TOP_P = flags.DEFINE_float('top_p', None, 'Default: as in the config.')
_GUIDANCE = flags.DEFINE_float('guidance', None, 'Default: as in the config.')
_STYLE = flags.DEFINE_string('style', None, 'Default: the dance decides.')
_STYLE_STRENGTH = flags.DEFINE_float(
  'style_strength', None, 'Of --style. Default: as in the config.'
)
_WEIGHTS = flags.DEFINE_enum(
  'weights', None, ['float32', 'int8'], 'Of the WaveNet. Default: the config.'
)
_DRAW = (_TEMPERATURE, _TOP_P, _GUIDANCE, _STYLE_STRENGTH)
_TEMPO = flags.DEFINE_float('tempo', None, 'Beats per minute that are wanted.')
_ENERGY = flags.DEFINE_float('energy', None, 'Mean level wanted, in dB.')
_CHORDS = flags.DEFINE_string('chords', None, 'Such as Am,F,C,G.')
_BEST_OF = flags.DEFINE_integer(
  'best_of', None, 'Draws of which the best is kept. Default: the config.'
)
_ENGINE = flags.DEFINE_enum(
  'engine', 'auto', ['auto', 'xla', 'cpu', 'gpu'], 'What draws samples.'
)
_MULTIHOST = flags.DEFINE_bool(
  'multihost', False, 'This is one of several processes that share the inputs.'
)
_POSE_MODEL = flags.DEFINE_string('pose_model', None, 'A .task file.')


def _sample() -> None:
  from dance2wave import compiled
  from dance2wave.pose import source
  from dance2wave.sampling import files, offline, rounds, wishes
  from dance2wave.training import hosts, warm_start

  workdir = pathlib.Path(_WORKDIR.value).absolute()
  compiled.keep_compiled_programs(workdir if _MULTIHOST.value else None)
  changes = {flag.name: flag.value for flag in _DRAW}
  asked = {flag.name: flag.value for flag in (_TEMPO, _ENERGY, _CHORDS)}
  wishes.check_flags(changes | asked | {'best_of': _BEST_OF.value})
  jobs = files.plan_jobs(files.find_inputs(_INPUT.value), _OUTPUT.value)
  mine = [jobs[row] for row in hosts.share(len(jobs))]
  with files.held_outputs(jobs, mine):
    options, graphdef, params = warm_start.load_player(workdir)
    wanted = wishes.wanted(options.styles, _STYLE.value, **asked)
    draw = offline.make_draw(options, **changes, weights=_WEIGHTS.value)
    generator = offline.Generator(
      options,
      graphdef,
      params,
      draw,
      _ENGINE.value,
      best_of=_BEST_OF.value,
    )
    print(f'engine: {generator.engine_name}', flush=True)

    def read(job):
      poses = job.poses or job.input
      track = source.read_pose(poses, model_path=_POSE_MODEL.value)
      dance, pose_FJD = files.to_dance(track, options, **wanted)
      return dance, (pose_FJD, track.duration_s)

    def write(job, audio_T, seen):
      pose_FJD, duration_s = seen
      output = files.write_result(job, options, audio_T, pose_FJD)
      return f'{job.input} -> {output} ({duration_s:.2f} s)'

    for line in rounds.sample(mine, generator, read, write, _SEED.value):
      print(line, flush=True)


def main(argv: list[str]) -> None:
  """Sample every input; bad input is one line and exit status 2."""
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
  with one_line_errors():
    if len(argv) > 1:
      raise InputError(
        f'unexpected argument {argv[1]!r}; expected flags; write '
        f'--input={argv[1]}'
      )
    from dance2wave.training import hosts

    with hosts.joined(_MULTIHOST.value):
      _sample()


if __name__ == '__main__':
  logging.set_verbosity(logging.WARNING)
  run_tool(main)
