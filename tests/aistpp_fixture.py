"""A miniature of AIST++: the published layout, generated, of a few sequences.

Poses tell what they are: the x of the nose grows with time and differs by
camera, so that a test can see which frames of which camera came out.
"""

import json
import pickle
import pickletools

import av
import numpy as np

from dance2wave.media.audio import write_wav
from dance2wave.media.clip import Waveform

FPS = 60
# Sequence -> number of frames; 16 beats of its music, where it is basic dance.
FRAMES = {
  'gBR_sBM_cAll_d04_mBR1_ch03': 640,
  'gHO_sFM_cAll_d19_mHO2_ch07': 780,
  'gLH_sBM_cAll_d16_mLH0_ch04': 720,
  'gKR_sBM_cAll_d28_mKR4_ch09': 480,
  'gBR_sBM_cAll_d04_mBR0_ch01': 720,
  'gMH_sBM_cAll_d22_mMH3_ch01': 524,
  'gBR_sBM_cAll_d04_mBR0_ch02': 720,
  'gJB_sBM_cAll_d08_mJB5_ch02': 443,
}
NAMES = tuple(FRAMES)
SPLITS = {'train': NAMES[:4], 'val': NAMES[4:6], 'test': NAMES[6:]}
IGNORED = NAMES[3]
WITH_NAN = NAMES[2]
WITH_MUSIC = NAMES[0]
WITH_WRONG_MUSIC = NAMES[1]
WITH_VIDEO = NAMES[6]
FIRST_BEAT_S = 0.1
# The camera stands 400 cm in front of the dancer, 100 cm above the floor.
CAMERA = {
  'name': 'c01',
  'size': [1920, 1080],
  'matrix': [[1500.0, 0.0, 960.0], [0.0, 1500.0, 540.0], [0.0, 0.0, 1.0]],
  'rotation': [np.pi, 0.0, 0.0],
  'translation': [0.0, 100.0, 400.0],
  'distortions': [0.0, 0.0, 0.0, 0.0, 0.0],
}


def nose_x(frames, camera=1):
  """Pixels of the nose."""
  return 100.0 * camera + np.asarray(frames) / 4


def keypoints2d(name):
  """What a pickle of keypoints2d holds."""
  num = FRAMES[name]
  points = np.full((9, num, 17, 3), 0.75, np.float32)
  points[..., 1] = np.linspace(200, 900, 17)
  for camera in range(9):
    points[camera, :, :, 0] = nose_x(np.arange(num), camera + 1)[:, None]
  if name == WITH_NAN:
    points[0, 7] = np.nan  # nobody was found
    points[0, 9, 4, :2] = np.nan
    points[0, 11, 5, 2] = 1.25
  return {
    'keypoints2d': points,
    'det_scores': np.ones((9, num), np.float32),
    'timestamps': np.arange(num) * 1_000_000 // FPS,  # whole microseconds
  }


def keypoints3d(name):
  """What a pickle of keypoints3d holds: centimetres, y up."""
  num = FRAMES[name]
  points = np.zeros((num, 17, 3))
  points[..., 1] = np.linspace(170, 0, 17)
  points[..., 0] = np.linspace(0, 50, num)[:, None]
  if name == WITH_NAN:
    points[5, 2] = np.nan
  return {'keypoints3d': points + 1.0, 'keypoints3d_optim': points}


def motions(name):
  """What a pickle of motions holds; poses are flat in some files."""
  num = FRAMES[name]
  poses = np.arange(num * 72, dtype=np.float64).reshape(num, 72) / 1000
  if name == NAMES[0]:
    poses = poses.reshape(num, 24, 3)
  return {
    'smpl_loss': 0.25,
    'smpl_poses': poses,
    'smpl_scaling': np.array([93.5]),
    'smpl_trans': np.ones((num, 3)),
  }


def as_numpy_1(data):
  """Rewrite a pickle as numpy 1 names its modules, without frames."""
  if data[1] < 4:
    return data.replace(b'numpy._core.', b'numpy.core.')
  for opcode, _, pos in reversed(list(pickletools.genops(data))):
    if opcode.name == 'FRAME':
      data = data[:pos] + data[pos + 9 :]
  for module in (b'multiarray', b'numeric'):
    new, old = b'numpy._core.' + module, b'numpy.core.' + module
    data = data.replace(
      b'\x8c' + bytes([len(new)]) + new, b'\x8c' + bytes([len(old)]) + old
    )
  return data


def write_pickle(path, value, *, protocol=4, is_numpy_1=False):
  data = pickle.dumps(value, protocol=protocol)
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_bytes(as_numpy_1(data) if is_numpy_1 else data)


def beats(tempo_bpm, duration_s):
  return np.arange(FIRST_BEAT_S, duration_s, 60 / tempo_bpm)


def clicks(tempo_bpm, duration_s, rate_hz=16000):
  """Decaying clicks on each beat, every other one lower."""
  audio = np.zeros(round(duration_s * rate_hz), np.float32)
  for number, beat_s in enumerate(beats(tempo_bpm, duration_s)):
    start = round(beat_s * rate_hz)
    time_s = np.arange(min(1600, len(audio) - start)) / rate_hz
    tone_hz = 110 if number % 2 == 0 else 180
    sound = np.sin(2 * np.pi * tone_hz * time_s) * np.exp(-time_s * 40)
    audio[start : start + len(time_s)] += 0.7 * sound
  return audio


def write_video(path, audio, num_frames, rate_hz=16000):
  """A grey film at 60 fps with a sound."""
  path.parent.mkdir(parents=True, exist_ok=True)
  with av.open(str(path), 'w') as file:
    video = file.add_stream(
      'libx264', rate=FPS, options={'preset': 'ultrafast'}
    )
    video.width = video.height = 32
    video.pix_fmt = 'yuv420p'
    sound = file.add_stream('aac', rate=rate_hz)
    picture = np.full((32, 32, 3), 128, np.uint8)
    for k in range(num_frames):
      frame = av.VideoFrame.from_ndarray(picture, format='rgb24')
      frame.pts = k
      file.mux(video.encode(frame))
    file.mux(video.encode(None))
    for start in range(0, len(audio), 1024):
      part = audio[None, start : start + 1024]
      frame = av.AudioFrame.from_ndarray(part, format='fltp', layout='mono')
      frame.sample_rate, frame.pts = rate_hz, start
      file.mux(sound.encode(frame))
    file.mux(sound.encode(None))


def write_lists(folder):
  (folder / 'splits').mkdir(parents=True, exist_ok=True)
  for word, names in SPLITS.items():
    path = folder / 'splits' / f'crossmodal_{word}.txt'
    path.write_text('\n'.join(names))
  (folder / 'ignore_list.txt').write_text(f'{IGNORED}\n')


def write_tree(folder):
  """Write everything: lists, annotations, one video, two pieces of music."""
  write_lists(folder)
  for index, name in enumerate(NAMES):
    how = {'protocol': (2, 4, 5)[index % 3], 'is_numpy_1': index % 2 == 0}
    for part in (keypoints2d, keypoints3d, motions):
      path = folder / part.__name__ / f'{name}.pkl'
      write_pickle(path, part(name), **how)
  cameras = folder / 'cameras'
  cameras.mkdir()
  lines = [f'{name} setting{1 + index % 2}' for index, name in enumerate(NAMES)]
  (cameras / 'mapping.txt').write_text('\n'.join(lines) + '\n')
  other = {**CAMERA, 'name': 'c02', 'translation': [9.0, 9.0, 9.0]}
  for setting in ('setting1', 'setting2'):
    (cameras / f'{setting}.json').write_text(json.dumps([other, CAMERA]))
  (folder / 'music').mkdir()
  write_wav(folder / 'music/mBR1.wav', Waveform(clicks(90, 20.0), 16000))
  # The name says 120 bpm.
  write_wav(folder / 'music/mHO2.wav', Waveform(clicks(100, 20.0), 16000))
  film = folder / 'videos' / f'{WITH_VIDEO.replace("cAll", "c01")}.mp4'
  write_video(film, clicks(80, 12.0), 720)
  return folder
