"""A miniature of what the zips of Dancing2Music unpack to.

Three styles, two or three videos each, two chunks a video. Chunk 3 has a
sequence of four units, and its last three again as a sequence of three; chunk
10 has a sequence of three. Every unit of a sequence is also a file of its own,
and each chunk has a unit that is in no sequence.
"""

import dataclasses

import numpy as np
import soundfile

VIDEOS = {
  'ballet': ('aBcDeFgHiJ0', '-startsDash', '_under_scor'),
  'hiphop': ('hipHOPhip01', 'hipHOPhip02'),
  'zumba': ('zfwOSEZ8CkQ', 'zumbaZUMBA1', 'zumbaZUMBA2'),
}
# Files that are listed and cannot be used, and why.
BAD = {
  'ballet/aBcDeFgHiJ0/3/unit/99.npy': 'does not exist',
  'hiphop/hipHOPhip01/3/unit/66.npy': 'Object arrays cannot be loaded',
  'zumba/zfwOSEZ8CkQ/3/unit/77.npy': r'(31, 14, 2)',
  'zumba/zfwOSEZ8CkQ/3/unitseq4/78.npy': r'(3, 32, 14, 2)',
  'zumba/zumbaZUMBA1/10/unit/88.npy': 'has no joint',
  'zumba/zumbaZUMBA2/10/aud/c10_fps15.npy': 'does not exist',
}
TOLERANCE = 'zumba/zfwOSEZ8CkQ/3/unit/20.npy'
WITH_MISSING_JOINT = 'ballet/aBcDeFgHiJ0/3/unit/7.npy'
BEAT_FRAMES = (3, 11, 19, 27)
NUM_ROWS = {'3': 120, '10': 90}  # of audio features: 8 s and 6 s


@dataclasses.dataclass
class Made:
  """What was written: arrays by their paths."""

  units: dict
  sequences: dict
  features: dict


def dance(rng, num_units):
  """Key poses on the beats, eased in between: the dancer stops on each."""
  num_beats = 4 * num_units
  key = rng.uniform((100, 40), (400, 220), (num_beats + 2, 14, 2))
  frame = np.arange(32 * num_units)
  position = (frame - 3) / 8 + 1
  last = np.clip(np.floor(position).astype(int), 0, num_beats)
  ease = (1 - np.cos(np.pi * (position - last)))[:, None, None] / 2
  pixels = key[last] * (1 - ease) + key[last + 1] * ease
  return pixels.reshape(num_units, 32, 14, 2).astype(np.float32)


def _save(root, name, array):
  path = root / name
  path.parent.mkdir(parents=True, exist_ok=True)
  np.save(path, array)


def _make(rng):
  made = Made({}, {}, {})
  for word, videos in VIDEOS.items():
    for video in videos:
      for chunk, num_units in (('3', 4), ('10', 3)):
        folder = f'{word}/{video}/{chunk}'
        sequence = dance(rng, num_units)
        made.sequences[f'{folder}/unitseq{num_units}/1.npy'] = sequence
        if num_units == 4:
          made.sequences[f'{folder}/unitseq3/2.npy'] = sequence[1:]
        for k, unit in enumerate(sequence):
          made.units[f'{folder}/unit/{k}.npy'] = unit
        made.units[f'{folder}/unit/7.npy'] = dance(rng, 1)[0]
        rows = rng.normal(2, 3, (NUM_ROWS[chunk], 28)).astype(np.float32)
        made.features[f'{folder}/aud/c{chunk}_fps15.npy'] = rows
  made.units[WITH_MISSING_JOINT][5:9, 4] = -1
  repeated = made.sequences['zumba/zfwOSEZ8CkQ/3/unitseq4/1.npy'][:1]
  made.units[TOLERANCE] = np.concatenate([dance(rng, 4), repeated])
  del made.features['zumba/zumbaZUMBA2/10/aud/c10_fps15.npy']
  return made


def _write_bad(data):
  _save(data, 'zumba/zfwOSEZ8CkQ/3/unit/77.npy', np.ones((31, 14, 2)))
  _save(data, 'zumba/zfwOSEZ8CkQ/3/unitseq4/78.npy', np.ones((3, 32, 14, 2)))
  _save(data, 'zumba/zumbaZUMBA1/10/unit/88.npy', np.full((32, 14, 2), -1.0))
  objects = np.array([{'can': 'run code'}], dtype=object)
  _save(data, 'hiphop/hipHOPhip01/3/unit/66.npy', objects)


def _write_lists(data, made):
  folder = data / 'unitList'
  folder.mkdir()
  names = [*made.units, *made.sequences, *BAD]
  for word in VIDEOS:
    for kind in ('unit', 'unitseq3', 'unitseq4'):
      mine = [n for n in names if n.startswith(word) and f'/{kind}/' in n]
      lines = [f'data/{name} 0 {index}\n' for index, name in enumerate(mine)]
      (folder / f'{word}_{kind}.txt').write_text(''.join(lines))


def _write_statistics(data, made):
  """By numpy over everything at once; -1 counts as a position."""
  folder = data / 'stats'
  folder.mkdir()
  poses = np.concatenate([u.reshape(-1, 28) for u in made.units.values()])
  sounds = np.concatenate(list(made.features.values()))
  for name, rows in (('all_onbeat', poses), ('all_aud', sounds)):
    rows = rows.astype(np.float64)
    np.save(folder / f'{name}_mean.npy', np.mean(rows, axis=0))
    np.save(folder / f'{name}_std.npy', np.std(rows, axis=0))


def write_tree(root):
  """Write root/data; return what is in it."""
  made = _make(np.random.default_rng(7))
  data = root / 'data'
  for arrays in (made.units, made.sequences, made.features):
    for name, array in arrays.items():
      _save(data, name, array)
  _write_bad(data)
  _write_lists(data, made)
  _write_statistics(data, made)
  _save(data, 'zumba/zfwOSEZ8CkQ/3/unit/500.npy', np.ones((32, 14, 2)))
  return made


def write_clicks(path, beats_s, duration_s, rate_hz=44100):
  """Write a stereo click track with a bright click on every beat."""
  sound = np.zeros((round(duration_s * rate_hz), 2), np.float32)
  length = rate_hz // 30
  click = np.sin(np.arange(length) * 0.3) * np.exp(-np.arange(length) / 200)
  for beat_s in beats_s:
    start = round(beat_s * rate_hz)
    sound[start : start + length] += 0.7 * click[: len(sound) - start, None]
  path.parent.mkdir(parents=True, exist_ok=True)
  soundfile.write(path, sound, rate_hz)
