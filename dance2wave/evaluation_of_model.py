"""Score a trained model: test dances, as they are and changed."""

import dataclasses
import pathlib

from dance2wave import counterfactuals, evaluation, experiment, long_form
from dance2wave import options as options_lib
from dance2wave.datasets import opening
from dance2wave.errors import InputError, check_folder
from dance2wave.sampling import offline
from dance2wave.training import hosts, warm_start


def write(
  workdir: pathlib.Path,
  output: pathlib.Path,
  num_clips: int | None,
  num_changed: int,
  num_long: int = 0,
  data_dir: str | None = None,
) -> dict[str, float]:
  """Sample and score test dances of a run; return the figures.

  Several processes share the dances; the first alone writes the report, and
  the others return no figures.

  Args:
    workdir: of the run.
    output: folder of the report.
    num_clips: test clips that are scored; None for `evaluation.NUM_CLIPS`.
    num_changed: of them, whose dance is changed.
    num_long: synthetic dances of two minutes that are played too; none, or two
      and more, as each is scored beside another.
    data_dir: where the dataset is; None where it was in training.

  Raises:
    InputError: the run has trained no sound for dances, or num_long is 1.
  """
  if num_long == 1:
    raise InputError(
      '--num_long=1 has no other dance beside it; expected 0, or 2 and more; '
      'correct the flag'
    )
  options, graphdef, params = hosts.on_all(warm_start.load_player, workdir)
  hosts.on_first(check_folder, output, output)
  num_clips = num_clips or evaluation.NUM_CLIPS
  sample = dataclasses.replace(options.sample, num_clips=num_clips)
  dataset = dataclasses.replace(
    options.dataset, data_dir=data_dir or options.dataset.data_dir
  )
  options = dataclasses.replace(options, sample=sample, dataset=dataset)
  generator = offline.Generator(
    options, graphdef, params, offline.make_draw(options)
  )
  clips = hosts.on_all(experiment.read_clips, options, 'test')
  generated = experiment.sample_clips(generator, clips)
  rates = options.sample_rate_hz, options.pose_rate_hz
  scored = [
    evaluation.scored(clip, audio_T, *rates)
    for clip, audio_T in zip(clips, generated)
  ]
  classifier = evaluation.train_classifier(
    options.dataset.names[0],
    options.dataset.data_dir or None,
    *rates,
  )
  changed = []
  if num_changed:
    changed += counterfactuals.measure(
      options, generator, clips[:num_changed], classifier
    )
  if num_long:
    changed += long_form.measure(options, generator, num_long)
  if not hosts.is_first():
    return {}
  return evaluation.write(
    output,
    f'{workdir.name} on {options.dataset.name}',
    scored,
    classifier=classifier,
    counterfactuals=changed,
    facts={
      'dataset': opening.contents(
        options.dataset.names, options.dataset.data_dir or None
      ),
      'config': options_lib.to_dict(options),
    },
  )
