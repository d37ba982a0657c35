"""Six small clips of Kinetics, in every layout that its mirrors have."""

import dataclasses
import gzip
import io
import json
import pathlib
import tarfile

import av
import numpy as np

from dance2wave.datasets.kinetics_dance.annotations import Annotation
from dance2wave.datasets.kinetics_dance.classes import k700_archive_number
from dance2wave.pose.track import PoseTrack, write_pose_file

ROWS = tuple(
  Annotation(*fields)
  for fields in (
    ('-05qSkAhM6x', 'belly dancing', 205, 215, 'train'),
    ('_bZx3Q9-k1w', 'salsa dancing', 3, 13, 'train'),
    ('--Zr8_Jq2mE', 'tap dancing', 0, 10, 'train'),
    ('0GJ_wzY-7wo', 'belly dancing', 1346, 1356, 'validation'),
    ('__9x-Y2kQ0s', 'salsa dancing', 28, 38, 'validation'),
    ('Qw3rTy-_u1o', 'tap dancing', 86, 96, 'test'),
  )
)
OTHER = Annotation('zzzzzzzzzz_', 'abseiling', 5, 15, 'train')
COUNTS = {'train': 3, 'validation': 2, 'test': 1}
FPS = 10
DURATION_S = 1.5
RATE_HZ = 16000


def make_video(path, number, *, sound='clicks'):
  """Write 64x64 pixels and a tone that differs from clip to clip."""
  with av.open(str(path), 'w') as file:
    video = file.add_stream('libx264', rate=FPS)
    video.width = video.height = 64
    video.pix_fmt = 'yuv420p'
    audio = sound and file.add_stream('aac', rate=RATE_HZ)
    for k in range(round(DURATION_S * FPS)):
      picture = np.full((64, 64, 3), (40 * number + k) % 256, np.uint8)
      frame = av.VideoFrame.from_ndarray(picture, format='rgb24')
      frame.pts = k
      file.mux(video.encode(frame))
    file.mux(video.encode(None))
    if sound:
      _add_sound(file, audio, number, sound)


def _add_sound(file, audio, number, sound):
  time_s = np.arange(round(DURATION_S * RATE_HZ)) / RATE_HZ
  tone = 0.5 * np.sin(2 * np.pi * (220 + 55 * number) * time_s)
  tone *= (time_s % 0.5 < 0.1) if sound == 'clicks' else 0
  for start in range(0, len(tone), 1024):
    part = tone[None, start : start + 1024].astype(np.float32)
    frame = av.AudioFrame.from_ndarray(part, format='fltp', layout='mono')
    frame.sample_rate, frame.pts = RATE_HZ, start
    file.mux(audio.encode(frame))
  file.mux(audio.encode(None))


def make_pose(path, number):
  time_s = np.arange(round(DURATION_S * FPS)) / FPS
  pose = np.full((len(time_s), 17, 3), 0.5, np.float32)
  pose[:, :, 0] += np.linspace(-0.2, 0.2, 17)
  pose[:, 5, 1] = 0.3 + number / 100
  write_pose_file(path, PoseTrack(pose, time_s, 'coco17', DURATION_S))


def make_clips(folder):
  """Return {annotation: bytes of its video} and write the pose files."""
  contents = {OTHER: b'never opened'}
  for number, row in enumerate(ROWS):
    path = folder / f'{row.clip_id}.mp4'
    make_video(path, number)
    contents[row] = path.read_bytes()
    path.unlink()
    make_pose(folder / f'{row.clip_id}.npz', number)
  return contents


def write(path, content):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_bytes(content)


def add_member(tar, name, content=b'', **fields):
  info = tarfile.TarInfo(name)
  info.size = len(content)
  for key, value in fields.items():
    setattr(info, key, value)
  tar.addfile(info, io.BytesIO(content))


def make_tar(path, members):
  """Write {name: bytes} as a tar, compressed if it is named so."""
  path.parent.mkdir(parents=True, exist_ok=True)
  raw = io.BytesIO()
  with tarfile.open(fileobj=raw, mode='w') as tar:
    for name, content in members.items():
      add_member(tar, name, content)
  content = raw.getvalue()
  is_plain = path.suffix == '.tar'
  path.write_bytes(content if is_plain else gzip.compress(content, mtime=0))


SHORT = {'train': 'train', 'validation': 'val', 'test': 'test'}


def downloader_folders(folder, contents):
  """Showmax/kinetics-downloader: no times, underscores, what it leaves."""
  words = {'train': 'train', 'validation': 'valid', 'test': 'test'}
  for row, content in contents.items():
    place = folder / words[row.split] / row.label.replace(' ', '_')
    write(place / f'{row.youtube_id}.mp4', content)
  write(folder / 'train/belly_dancing/abcdefghijk_raw.mp4', b'left over')
  (folder / 'failed.txt').write_text('abcdefghijk\n-bcdefghijk\n')


def class_folders(folder, contents):
  """ActivityNet's crawler and data_prep.download_kinetics."""
  for row, content in contents.items():
    place = folder / SHORT[row.split] / row.label
    write(place / f'{row.clip_id}.mp4', content)


def folders_without_splits(folder, contents):
  for row, content in contents.items():
    write(folder / row.label / f'{row.clip_id}.mp4', content)


def _by_class(contents):
  classes = {}
  for row, content in contents.items():
    name = f'{row.clip_id}.mp4'
    members = classes.setdefault((row.split, row.label), {})
    members[f'._{name}'] = b'of macOS'
    members[f'./more/{name}'] = content
  return classes.items()


def class_archives(folder, contents):
  """Kinetics-600: by name, with a level more and what macOS adds."""
  for (split, label), members in _by_class(contents):
    make_tar(folder / SHORT[split] / f'{label}.tar.gz', members)


def numbered_archives(folder, contents):
  """Kinetics-700: by number; the other class is number 1."""
  for (split, label), members in _by_class(contents):
    number = 1 if label == OTHER.label else k700_archive_number(label)
    name = f'k700_{SHORT[split]}_{number:03d}.tar.gz'
    make_tar(folder / '700_2020' / SHORT[split] / name, members)


def flat_archives(folder, contents):
  """Kinetics-400: parts of any class; one of them is not compressed."""
  names = [{f'{r.clip_id}.mp4': c} for r, c in contents.items()]
  parts = names[::2], names[1::2]
  for part, name in zip(parts, ('part_0.tar.gz', 'part_1.tar')):
    members = {k: v for one in reversed(part) for k, v in one.items()}
    make_tar(folder / name, members)


def flat_folder(folder, contents):
  for row, content in contents.items():
    write(folder / f'{row.clip_id}.mp4', content)


def mixed(folder, contents):
  """Every clip twice, in two of the layouts."""
  layouts = (downloader_folders, class_folders, flat_archives, flat_folder)
  for k, (row, content) in enumerate(contents.items()):
    for layout in (layouts[k % 4], layouts[(k + 1) % 4]):
      layout(folder / f'{k}_{layout.__name__}', {row: content})


def write_annotations(folder, kind, rows=(*ROWS, OTHER)):
  """Write one of the formats of the releases: k400, k700, txt or json."""
  folder.mkdir(parents=True, exist_ok=True)
  if kind == 'json':
    (folder / 'kinetics.json').write_text(json.dumps(_json(rows)))
    return
  word = {**SHORT, 'validation': 'validate' if kind == 'k700' else 'val'}
  lines = ['label,youtube_id,time_start,time_end,split']
  lines = [] if kind == 'txt' else lines
  for row in rows:
    fields = dataclasses.astuple(row)
    youtube_id, label, start_s, end_s, split = map(str, fields)
    lines.append(f'"{label}",{youtube_id},{start_s},{end_s},{word[split]}')
  if kind == 'k400':
    lines = [lines[0] + ',is_cc', *(f'{line},0' for line in lines[1:])]
  name = {'txt': 'rows.txt', 'k400': 'with_cc.csv'}.get(kind, 'rows.csv')
  (folder / name).write_text('\n'.join(lines) + '\n')


def _json(rows):
  return {
    row.youtube_id: {
      'annotations': {
        'label': row.label,
        'segment': [float(row.start_s), float(row.end_s)],
      },
      'duration': 10.0,
      'subset': 'validate' if row.split == 'validation' else row.split,
      'url': row.url,
    }
    for row in rows
  }


def add_poses(folder, poses: pathlib.Path):
  for path in poses.glob('*.npz'):
    write(folder / 'poses' / path.name, path.read_bytes())
