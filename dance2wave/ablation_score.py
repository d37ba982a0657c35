"""What counts in an ablation: the figures of the validation split."""

import dataclasses
import pathlib
import time

import numpy as np

from dance2wave import counterfactuals, evaluation, experiment
from dance2wave.metrics import ruler, whole_set
from dance2wave.metrics.style_classifier import StyleClassifier
from dance2wave.options import SampleOptions
from dance2wave.sampling import offline
from dance2wave.training import warm_start


def score(
  workdir: pathlib.Path, sample: SampleOptions, classifier: pathlib.Path
) -> dict[str, float]:
  """Return the figures of a run that is finished.

  Args:
    workdir: of the run.
    sample: how it is sampled.
    classifier: of the dataset's styles; if it is not there, no style is asked
      for.
  """
  trained, graphdef, params = warm_start.load_ema(workdir)
  options = dataclasses.replace(trained, sample=sample)
  clips = experiment.read_clips(options, 'validation')
  began = time.process_time()
  generator = offline.Generator(
    options, graphdef, params, offline.make_draw(options)
  )
  sounds = experiment.sample_clips(generator, clips)
  seconds = time.process_time() - began
  rates = options.sample_rate_hz, options.pose_rate_hz
  scored = [evaluation.scored(c, a, *rates) for c, a in zip(clips, sounds)]
  measured = [ruler.measure(clip, clip.audio_T) for clip in scored]
  rows, heard = zip(*measured)
  figures = {
    key: float(np.nanmean([row[key] for row in rows]))
    for key in ('beat_f70', 'beat_f35', 'tempo_acc1', 'loudness_motion')
  }
  figures |= whole_set.of_the_set(scored, rows, heard)
  if classifier.exists():
    listener = StyleClassifier.load(classifier)
    poses = [clip.clip.pose_FJD for clip in clips]
    asked = counterfactuals.ask_styles(options, generator, poses, listener)
    if obeyed := listener.is_heard(*asked):
      figures['style_obeyed'] = float(np.mean(obeyed))
  return figures | {'seconds_sample': seconds}
