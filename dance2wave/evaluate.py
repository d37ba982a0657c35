r"""Does the sound follow the dancer, and would chance have done as well?

    python -m dance2wave.evaluate --workdir=runs/wavenet
    python -m dance2wave.evaluate --audio=SOUNDS --poses=POSES --output=DIR
    python -m dance2wave.evaluate --videos=VIDEOS_WITH_SOUND --output=DIR
    python -m dance2wave.evaluate --controls=synthetic_dance --output=DIR

The first scores a trained model on the test split of its dataset and changes
the dances to see what the sound does; the second and third score anybody's
sounds; the last the originals and controls of a dataset. All write a report.
"""

import pathlib

from absl import flags, logging

from dance2wave import errors

_WORKDIR = flags.DEFINE_string('workdir', None, 'Of a training run.')
_AUDIO = flags.DEFINE_string('audio', None, 'Folder of sounds.')
_POSES = flags.DEFINE_string('poses', None, 'Folder of pose files.')
_VIDEOS = flags.DEFINE_string('videos', None, 'Folder of videos.')
_CONTROLS = flags.DEFINE_string('controls', None, 'Name of a built dataset.')
_DATA_DIR = flags.DEFINE_string('tfds_dir', None, 'Where the dataset is now.')
_OUTPUT = flags.DEFINE_string(
  'output', None, 'Folder of the report; WORKDIR/evaluation for a model.'
)
_NUM_CLIPS = flags.DEFINE_integer(
  'num_clips', None, 'By default 64 of a dataset, all of a folder.', 2
)
_NUM_CHANGED = flags.DEFINE_integer(
  'num_changed', 16, 'Of them, whose dance is changed; 0 = none.', lower_bound=0
)
_NUM_LONG = flags.DEFINE_integer(
  'num_long', 0, 'Dances of two minutes: 0 = none, 2 or more.', lower_bound=0
)
_MULTIHOST = flags.DEFINE_bool(
  'multihost', False, 'This is one of several processes that share the clips.'
)
_HEEDS = {
  'workdir': ('multihost', 'num_changed', 'num_long', 'tfds_dir'),
  'controls': ('tfds_dir',),
  **dict.fromkeys(('audio', 'videos'), ('poses',)),
}


def _output() -> pathlib.Path:
  if not _OUTPUT.value:
    what = 'expected a folder for the report; give --output=DIR'
    raise errors.InputError(f'--output is missing; {what}')
  return pathlib.Path(_OUTPUT.value)


def _model() -> tuple[pathlib.Path, dict]:
  from dance2wave import compiled, evaluation_of_model
  from dance2wave.training import hosts

  workdir = pathlib.Path(_WORKDIR.value).absolute()
  compiled.keep_compiled_programs(workdir if _MULTIHOST.value else None)
  output = pathlib.Path(_OUTPUT.value or workdir / 'evaluation')
  with hosts.joined(_MULTIHOST.value):
    given = _NUM_CLIPS.value, _NUM_CHANGED.value, _NUM_LONG.value
    given = workdir, output, *given, _DATA_DIR.value
    return output, evaluation_of_model.write(*given)


def _folder() -> tuple[pathlib.Path, dict]:
  from dance2wave import evaluated_folder

  output = _output()
  sounds = pathlib.Path(_AUDIO.value or _VIDEOS.value)
  dances = pathlib.Path(_POSES.value or _VIDEOS.value or sounds)
  given = sounds, dances, _NUM_CLIPS.value
  return output, evaluated_folder.write(output, *given)


def _controls() -> tuple[pathlib.Path, dict]:
  from dance2wave import evaluation

  output = _output()
  given = _CONTROLS.value, _DATA_DIR.value, _NUM_CLIPS.value
  return output, evaluation.write_controls(output, *given)


def main(argv: list[str]) -> None:
  """Score what the flags name; bad input is one line and exit status 2."""
  with errors.one_line_errors():
    given = [f for f in (_WORKDIR, _CONTROLS) if f.value]
    folder = _AUDIO if _AUDIO.value else _VIDEOS
    given += [folder] if folder.value else []
    if len(given) != 1 or len(argv) > 1:
      raise errors.InputError(
        f'{len(given)} things to score are named; expected one of --workdir, '
        '--audio with --poses or --videos, --videos, or --controls; give one'
      )
    errors.check_heeded(_HEEDS, given[0].name)
    ways = {'workdir': _model, 'controls': _controls}
    output, flat = ways.get(given[0].name, _folder)()
    if not flat:  # The first process of several tells.
      return
    from dance2wave import evaluation

    print(evaluation.format_table(flat))
    print(f'Report: {output}/report.html  Figures: {output}/report.json')


if __name__ == '__main__':
  logging.set_verbosity(logging.WARNING)
  errors.run_tool(main)
