"""A sound is whole, repeatable, in range and exactly as long as its dance."""

import contextlib
import fcntl
import random
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from command_line import HEARS_SIGINT, ROOT, assert_one_line, run
from small_config import options_with

from dance2wave import experiment, locks
from dance2wave.errors import InputError
from dance2wave.media import audio
from dance2wave.pose.track import PoseTrack, write_pose_file
from dance2wave.sampling import files, offline
from dance2wave.training import warm_start


def track(duration_s, fps=30):
  time_s = np.arange(max(2, round(duration_s * fps))) / fps
  pose_FJD = np.full((len(time_s), 14, 3), 0.5, np.float32)
  pose_FJD[..., 0] += np.linspace(-0.2, 0.2, 14)
  pose_FJD[..., 1] += 0.1 * np.sin(12 * time_s)[:, None]
  return PoseTrack(pose_FJD, time_s, 'core14', max(duration_s, time_s[-1]))


def generator_of(options, graphdef, params):
  draw = offline.make_draw(options)
  return options, offline.Generator(options, graphdef, params, draw)


@pytest.fixture(scope='module')
def parts(trained):
  return warm_start.load_ema(trained[0])


@pytest.fixture(scope='module')
def model(parts):
  return generator_of(*parts)


def written(model, duration_s, seed, path):
  """What `sample` does with one dance, in this process."""
  options, generator = model
  dance, pose_FJD = files.to_dance(track(duration_s), options)
  (audio_T,) = generator.generate([dance], seed=seed)
  job = files.Job(path.with_suffix('.npz'), path)
  files.write_result(job, options, audio_T, pose_FJD)
  return path.read_bytes()


def test_one_seed_gives_the_same_bytes_again(model, tmp_path):
  for name in ('a.wav', 'a.mp4'):
    one = written(model, 1.3, 7, tmp_path / name)
    assert one == written(model, 1.3, 7, tmp_path / f'again_{name}')
  assert one != written(model, 1.3, 8, tmp_path / f'other_{name}')


@pytest.mark.parametrize('duration_s', [0.05, 0.3337, 1.0, 2.71828])
def test_a_sound_is_finite_in_range_and_exactly_as_long(
  model, tmp_path, duration_s
):
  path = tmp_path / 'a.wav'
  written(model, duration_s, 0, path)
  samples_T = audio.read_audio(path).samples_T
  assert len(samples_T) == round(track(duration_s).duration_s * 8000)
  assert np.isfinite(samples_T).all() and np.abs(samples_T).max() <= 1


def test_a_model_of_nans_is_one_line_and_no_file(parts, tmp_path):
  options, graphdef, params = parts
  broken = jax.tree.map(lambda leaf: leaf * np.nan, params)
  with pytest.raises(InputError, match='expected finite'):
    written(generator_of(options, graphdef, broken), 0.3, 0, tmp_path / 'a.wav')
  assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('name', ['a.wav', 'a.mp4'])
def test_an_interrupted_write_leaves_what_was_there(
  model, tmp_path, monkeypatch, name
):
  def stop(*_):
    raise KeyboardInterrupt

  path = tmp_path / name
  path.write_bytes(b'old')
  monkeypatch.setattr(audio.os, 'replace', stop)
  with pytest.raises(KeyboardInterrupt):
    written(model, 0.3, 0, path)
  assert list(tmp_path.iterdir()) == [path]
  assert path.read_bytes() == b'old'


@contextlib.contextmanager
def held_by_another(path):
  with path.open('w') as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    yield


def test_a_second_run_in_a_workdir_is_refused_before_it_writes(tmp_path):
  (tmp_path / 'config.json').write_text('of the first')
  options = options_with(dataset__data_dir=str(tmp_path / 'data'))
  with (
    held_by_another(tmp_path / '.lock'),
    pytest.raises(InputError, match=r'in use by another run.*--workdir'),
  ):
    experiment.run(options, tmp_path)
  assert (tmp_path / 'config.json').read_text() == 'of the first'


def test_a_second_run_to_one_output_is_refused(tmp_path):
  one = files.Job(tmp_path / 'in.npz', tmp_path / 'out.wav')
  other = files.Job(tmp_path / 'in.npz', tmp_path / 'other.wav')
  with files.held_outputs([one]):
    with pytest.raises(InputError, match=r'out\.wav: another run'):
      files.held_outputs([other, one]).__enter__()
    with files.held_outputs([other]):
      pass
  assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_left_is_no_hindrance(tmp_path):
  path = tmp_path / 'lock'
  code = (
    'import os, pathlib, sys; from dance2wave import locks\n'
    'with locks.held(pathlib.Path(sys.argv[1]), "busy"): os._exit(9)'
  )
  subprocess.run([sys.executable, '-c', code, str(path)], cwd=ROOT)
  assert path.exists()
  with locks.held(path, 'busy'):
    pass
  assert not path.exists()


def test_a_file_that_is_removed_meanwhile_is_no_lock(tmp_path, monkeypatch):
  path, real, removed = tmp_path / 'lock', fcntl.flock, []

  def slow(handle, how):
    if not removed:
      removed.append(path.unlink())  # The one who held it goes just now.
    real(handle, how)

  monkeypatch.setattr(fcntl, 'flock', slow)
  with (
    locks.held(path, 'busy'),
    pytest.raises(InputError, match='busy'),
    locks.held(path, 'busy'),
  ):
    pass
  assert removed and not path.exists()


@pytest.mark.slow
def test_sampling_stopped_at_random_moments_leaves_no_half_file(
  trained, tmp_path
):
  write_pose_file(tmp_path / 'dance.npz', track(20.0))
  output, lock = tmp_path / 'out.mp4', tmp_path / '.out.mp4.lock'
  command = [
    *(sys.executable, '-c', HEARS_SIGINT),
    *(sys.executable, '-m', 'dance2wave.sample', f'--workdir={trained[0]}'),
    *(f'--input={tmp_path / "dance.npz"}', f'--output={output}'),
  ]
  for _ in range(2):  # The first one compiles.
    began = time.monotonic()
    subprocess.run(command, cwd=ROOT, check=True)
    whole_s, whole = time.monotonic() - began, output.read_bytes()
  rng, ended, said = random.Random(0), 0, 0
  for trial in range(10):
    for path in (output, lock):  # A kill leaves the lock's file.
      path.unlink(missing_ok=True)
    number = (signal.SIGKILL, signal.SIGINT)[trial % 2]
    with subprocess.Popen(
      command, cwd=ROOT, stderr=subprocess.PIPE, text=True
    ) as child:
      while child.poll() is None and not lock.exists():
        time.sleep(0.01)
      time.sleep(rng.uniform(0.0, 0.7) * whole_s)
      child.send_signal(number)
      _, stderr = child.communicate()
    if output.exists():
      ended += 1
      assert output.read_bytes() == whole
    elif number == signal.SIGINT:
      said += 'dance2wave: stopped by SIGINT' in stderr
      assert 'Traceback' not in stderr
      assert child.returncode == 130
  print(f'10 stops: {ended} after the end, {said} interrupts in one line')
  subprocess.run(command, cwd=ROOT, check=True)
  assert output.read_bytes() == whole


@pytest.mark.slow
def test_of_two_runs_at_once_the_second_is_refused(trained, tmp_path):
  flags = (
    '--config=configs/debug.py',
    f'--config.dataset.data_dir={trained[0].parent / "tfds"}',
    f'--workdir={tmp_path / "run"}',
  )
  command = [sys.executable, '-m', 'dance2wave.main', *flags]
  with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as first:
    while not (tmp_path / 'run' / 'config.json').exists():
      time.sleep(0.05)
    second = run('dance2wave.main', *flags)
    assert first.poll() is None
    assert first.wait() == 0
  assert_one_line(second, 'in use by another run', str(tmp_path / 'run'))
  assert second.returncode == 2
  whole = (trained[0] / 'metrics.jsonl').read_text()
  assert (tmp_path / 'run' / 'metrics.jsonl').read_text() == whole
  assert not (tmp_path / 'run' / '.lock').exists()
