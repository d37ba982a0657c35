"""The main job: dataset, training, sampling of test dances, figures."""

import contextlib
import dataclasses
import hashlib
import json
import pathlib
import re
import time

import jax
import numpy as np
import tensorflow_datasets as tfds
import tqdm
from absl import logging

from dance2wave import pipeline
from dance2wave.datasets import opening
from dance2wave.errors import InputError
from dance2wave.media.clip import Waveform
from dance2wave.metrics import score, showcase
from dance2wave.options import Options
from dance2wave.sampling import offline, together
from dance2wave.training import (
  hosts,
  loop,
  manifest,
  new_model,
  sharding,
  warm_start,
  workdir,
)
from dance2wave.training.writer import MetricWriter


def make_builders(options: Options) -> list[tfds.core.DatasetBuilder]:
  """Return the builder of each dataset.

  Raises:
    InputError: unknown dataset or config, one under two names, or one folder
      for several datasets.
  """
  data_dir = options.dataset.data_dir or None
  builders = [
    opening.make_builder(name, data_dir) for name in options.dataset.names
  ]
  manual = [b.name for b in builders if b.MANUAL_DOWNLOAD_INSTRUCTIONS]
  if options.dataset.manual_dir and len(manual) > 1:
    raise InputError(
      f'dataset.manual_dir={options.dataset.manual_dir} for '
      f'{", ".join(manual)}; expected a folder for each; build them first with '
      'python -m dance2wave.datasets.build NAME --manual_dir=... and drop '
      '--config.dataset.manual_dir'
    )
  full = [builder.info.full_name for builder in builders]
  twice = [name for name in full if full.count(name) > 1]
  if twice:
    raise InputError(
      f'dataset.name={options.dataset.name} names {twice[0]} twice; expected '
      'each once; drop one, or set --config.dataset.weights'
    )
  return builders


def prepare_datasets(options: Options) -> None:
  """Build each dataset unless it is there.

  Raises:
    InputError: one needs files that it was not given; names the command.
  """
  builders = make_builders(options)
  for builder in builders:  # What is missing is told before one is built.
    if builder.MANUAL_DOWNLOAD_INSTRUCTIONS and not builder.is_prepared():
      builder.manual_folder(_download_config(options, builder))
  for builder in builders:
    config = _download_config(options, builder)
    if not builder.is_prepared():
      print(f'Building {builder.name} in {builder.data_dir}', flush=True)
    if not builder.is_prepared() or config.manual_dir:
      builder.download_and_prepare(download_config=config)
    _warn_of_styles(builder, options)


def _download_config(options, builder):
  """Return the config of a build, with the folder of files if it wants one."""
  manual_dir = options.dataset.manual_dir or None
  if not builder.MANUAL_DOWNLOAD_INSTRUCTIONS:
    manual_dir = None
  return tfds.download.DownloadConfig(manual_dir=manual_dir)


def _warn_of_styles(builder: tfds.core.DatasetBuilder, options: Options):
  unknown = set(builder.info.metadata.get('styles', ())) - {*options.styles}
  if unknown:
    logging.warning(
      '%s: the styles %s are not among those of the config and will not be '
      'learned; add them with --config.styles',
      builder.name,
      ', '.join(sorted(unknown)),
    )


def read_clips(options: Options, split: str) -> list[pipeline.EvalClip]:
  """Return the clips of a split that are sampled and scored, whole."""
  source = loop.open_split(options, split)
  clips = pipeline.eval_clips(
    source,
    sample_rate_hz=options.sample_rate_hz,
    pose_rate_hz=options.pose_rate_hz,
    num_clips=options.sample.num_clips,
  )
  return list(clips)


def sample_clips(generator, clips) -> list[np.ndarray]:
  """Draw a waveform for every clip; the style is left to the dance.

  Processes share the clips, and each gets all waveforms.
  """
  dances = [offline.Dance(c.motion_FM, len(c.audio_T)) for c in clips]
  with tqdm.tqdm(
    total=100, desc='sample', unit='%', disable=not hosts.is_first()
  ) as bar:
    return together.generate(
      generator,
      dances,
      seed=generator.options.sample.seed,
      progress=lambda share: bar.update(int(100 * share) - bar.n),
    )


def file_name(clip_id: str) -> str:
  """Return a name that is safe in every file system, and its own for each id.

  An id may be a path, hold any letters or be too long for a name.
  """
  plain = clip_id.replace('/', '_')
  safe = re.sub(r'[^\w.#+ -]', '_', plain, flags=re.ASCII).lstrip('.-')[:120]
  digest = hashlib.sha256(clip_id.encode('utf-8', 'replace')).hexdigest()
  return safe if safe == plain else f'{safe}-{digest[:8]}'


def write_samples(options, folder, clips, generated, heard) -> None:
  """Write videos, pictures and TensorBoard entries of the first clips."""
  samples = folder / 'samples'
  samples.mkdir(exist_ok=True)
  with MetricWriter(folder) as writer:
    rows = list(zip(clips, generated, heard))[: options.sample.num_videos]
    for clip, audio_T, beats_s in tqdm.tqdm(rows, desc='videos'):
      waveform = Waveform(audio_T, options.sample_rate_hz)
      pose_FJD = clip.clip.pose_FJD
      name = file_name(clip.clip.clip_id)
      rate = options.pose_rate_hz
      showcase.write_dance_video(
        samples / f'{name}.mp4', pose_FJD, rate, waveform, clip.clip.beats_s
      )
      picture = showcase.draw_clip(
        waveform, pose_FJD, rate, beats_s, clip.clip.beats_s, name
      )
      showcase.write_picture(samples / f'{name}.png', picture)
      last = options.train.num_steps
      writer.write_image(last, name, picture)
      writer.write_audio(last, name, audio_T, options.sample_rate_hz)


def _versions() -> dict[str, str]:
  found = manifest.versions()
  return {f'version_{k.replace("-", "_")}': v for k, v in found.items()}


def _score_samples(options, folder, trained) -> dict:
  """Sample test dances, write some, and return how they score."""
  clips = read_clips(options, 'test')
  # Clips are spread over threads, which share one copy of the weights.
  params = jax.device_put(hosts.fetch(trained.params), jax.local_devices()[0])
  generator = offline.Generator(
    options, trained.graphdef, params, offline.make_draw(options)
  )
  generated = sample_clips(generator, clips)
  figures, heard = score.score_beats(
    generated,
    [clip.audio_T for clip in clips],
    [clip.clip.beats_s for clip in clips],
    options.sample_rate_hz,
    [clip.clip.group for clip in clips],
  )
  if hosts.is_first():
    write_samples(options, folder, clips, generated, heard)
  return figures | {'num_clips': len(clips)}


def _report(figures: dict, folder: pathlib.Path) -> None:
  """Print the table of a finished run, and where the rest is; once."""
  if not hosts.is_first():
    return
  if 'num_clips' in figures:
    print(score.format_table(figures, figures['num_clips']))
    print(f'Videos, pictures: {folder / "samples"}')
  else:
    print(score.format_held_out(figures))
  print(f'Figures: {folder / "result.json"}')


def run(options: Options, folder: pathlib.Path, profile=None) -> dict:
  """Do the main job in a workdir; go on where an earlier run stopped.

  A run without joint steps, or of sound alone, is scored on held-out clips;
  every other one samples test dances as well.

  `profile` is the first and the last step that are traced, or None.

  Returns:
    The figures that are also in `result.json`.

  Raises:
    InputError: what options or folder do not allow; another run is in it.
  """
  hosts.on_first(make_builders, options)  # Unknown ones are refused first.
  hosts.on_all(_check, options, folder)
  is_finished = workdir.is_finished(folder)
  hosts.check_same(
    workdir.in_common(options) | {'result.json in --workdir': is_finished}
  )
  with contextlib.ExitStack() as stack:
    hosts.on_first(_hold_workdir, options, folder, stack)
    return _run(options, folder, profile)


def _check(options: Options, folder: pathlib.Path) -> None:
  new_model.transformer_look_ahead_s(options)
  sharding.make_mesh(*dataclasses.astuple(options.mesh))
  if not workdir.has_checkpoints(folder):  # Nothing is taken a second time.
    warm_start.check_sources(options)


def _hold_workdir(options, folder: pathlib.Path, stack) -> None:
  stack.enter_context(workdir.hold_workdir(folder))
  workdir.check_config(folder, options)


def _open_datasets(options: Options) -> dict:
  """Build what is not there, and return what all processes find the same.

  Only now do the others look for it: a disk of the network may go on saying for
  half a minute that what was looked for once is not there.
  """
  hosts.on_first(prepare_datasets, options)
  names, data_dir = options.dataset.names, options.dataset.data_dir or None
  found = hosts.on_all(opening.contents, names, data_dir)
  hosts.check_same(found)
  return found


def _say_finished(options: Options, folder: pathlib.Path) -> None:
  """Say that figures are there, and of which other options they are."""
  changes = workdir.check_config(folder, options)
  kept = ', '.join(
    f'{k}={old!r}, not {new!r}' for k, (old, new) in changes.items()
  )
  print(
    f'{folder} is finished{kept and f" with {kept}"}; remove '
    f'{folder / "result.json"} to sample and score again'
  )


def _run(options: Options, folder: pathlib.Path, profile) -> dict:
  began = time.monotonic()
  result_path = folder / 'result.json'
  if workdir.is_finished(folder):
    figures = json.loads(result_path.read_text())
    hosts.on_first(_say_finished, options, folder)
    _report(figures, folder)
    return figures
  contents = _open_datasets(options)
  # Not before, so that a run that is refused or finished keeps its config.
  hosts.on_first(workdir.open_workdir, folder, options, contents)
  trained = loop.train(options, folder, profile)
  figures = dict(trained.figures)
  if options.samples_dances:
    figures |= _score_samples(options, folder, trained)
  figures |= {
    'num_steps': trained.num_steps,
    'seconds_train': trained.seconds,
    'seconds_total': time.monotonic() - began,
  }
  if hosts.is_first():
    about = {'dataset': contents, **_versions()}
    workdir.write_json(result_path, figures | about)
  hosts.wait('result')
  _report(figures, folder)
  return figures
