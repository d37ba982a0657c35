"""From a video file to a batch: the flash stays at the click.

Real files are written with flashes in the picture and clicks in the sound;
the picture is read back and brightness lifts a dancer's arms; the folder is
built into a dataset, cropped, augmented and batched.
"""

import numpy as np
import pytest
import tensorflow_datasets as tfds
from flashing import ARMS, body, film_times, flash_errors, flashing_clip

import dance2wave.datasets  # noqa: F401  (makes the builder known)
from dance2wave import pipeline
from dance2wave.datasets import augment
from dance2wave.datasets.mixture import Mixture
from dance2wave.media import mux, video
from dance2wave.media.clip import Waveform
from dance2wave.pose.track import PoseTrack, write_pose_file

av = pytest.importorskip('av')
tfds.disable_progress_bar()

RATES_HZ = {
  '12': 12.0,
  '15': 15.0,
  '23.976': 24000 / 1001,
  '25': 25.0,
  '29.97': 30000 / 1001,
  '50': 50.0,
  '59.94': 60000 / 1001,
  '60': 60.0,
  'variable': None,
}
DURATION_S = 13.0  # is cut in two
POSE_RATE_HZ, SAMPLE_RATE_HZ = 50, 8000


def write_flashes(path, rate_hz):
  """A video whose brightness is the height of the arms of a flashing clip."""
  clip = flashing_clip(DURATION_S, rate_hz, first_s=0.77)
  time_s = film_times(rate_hz, DURATION_S)
  lift_F = -(clip['pose'][:, ARMS[0], 1] - body()[ARMS[0], 1]) / 0.25
  frames = (
    np.full((32, 32, 3), round(40 + 180 * lift), np.uint8) for lift in lift_F
  )
  waveform = Waveform(clip['audio'].astype(np.float32) / 32768, 16000)
  mux.write_video(path, frames, time_s, waveform)


def watch(path):
  """Poses of a dancer whose arms follow the brightness of the picture."""
  rows = [(time_s, rgb.mean()) for time_s, rgb in video.read_frames(path)]
  time_F, light_F = np.array(rows).T
  lift_F = np.maximum(light_F - np.median(light_F), 0) / 180
  pose_FJD = np.ones((len(rows), 14, 3), np.float32)
  pose_FJD[..., :2] = body()
  pose_FJD[:, ARMS, 1] -= 0.25 * lift_F[:, None].astype(np.float32)
  info = video.probe(path)
  return PoseTrack(pose_FJD, time_F, 'core14', info.duration_s)


@pytest.fixture(scope='module')
def built(tmp_path_factory):
  folder = tmp_path_factory.mktemp('flashes')
  for name, rate_hz in RATES_HZ.items():
    path = folder / f'{name}.mp4'
    write_flashes(path, rate_hz)
    write_pose_file(path.with_suffix('.npz'), watch(path))
  builder = tfds.builder(
    'clip_folder', folder=folder, data_dir=str(tmp_path_factory.mktemp('data'))
  )
  builder.download_and_prepare()
  return Mixture(list(builder.as_data_source().values()))


@pytest.mark.parametrize('name', RATES_HZ)
@pytest.mark.parametrize('is_augmented', [False, True])
def test_the_flash_stays_at_the_click(built, name, is_augmented, monkeypatch):
  monkeypatch.setattr(
    pipeline, 'motion_features', lambda pose, _: pose.reshape(len(pose), -1)
  )
  source = [c for c in built if c['clip_id'].startswith(f'{name}.mp4'.encode())]
  assert len(source) == 2
  # Noise and lost joints move the found centre, not the dancer; see
  # test_pipeline.py for each alone.
  change = augment.Augmentation(noise=0.0, joint_dropout=0.0)
  batch = pipeline.Pipeline(
    source,
    batch_size=8,
    crop_s=4.0,
    sample_rate_hz=SAMPLE_RATE_HZ,
    pose_rate_hz=POSE_RATE_HZ,
    augmentation=change if is_augmented else augment.NONE,
  ).batch(1)
  errors_s = np.concatenate(
    [
      flash_errors(batch, row, POSE_RATE_HZ, SAMPLE_RATE_HZ)[0]
      for row in range(8)
    ]
  )
  assert len(errors_s) > 20
  frame_s = 1 / min(RATES_HZ[name] or 24.0, POSE_RATE_HZ)
  assert np.abs(errors_s).max() <= frame_s
  assert abs(errors_s.mean()) <= 0.5 / POSE_RATE_HZ
