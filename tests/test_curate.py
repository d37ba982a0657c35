import contextlib
import csv
import itertools
import json
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
from command_line import run as run_command

from dance2wave.datasets.clip_folder.folder import find_videos
from dance2wave.datasets.synthetic_dance.generate import Task, make_clip
from dance2wave.datasets.workers import WorkerDied
from dance2wave.errors import InputError
from dance2wave.media.audio import read_audio
from dance2wave.media.clip import Waveform
from dance2wave.media.mux import mux_audio, write_video
from dance2wave.media.video import probe, read_frames
from dance2wave.pose.draw import draw_dance, view_box
from dance2wave.pose.skeleton import CORE14_EDGES
from dance2wave.pose.track import PoseTrack, read_pose_file, write_pose_file
from data_prep import curate as tool
from data_prep import curation
from data_prep.contact_sheet import SheetRow, choose_rows, draw_row
from data_prep.curation import CurationJob, alignment, find_scene_cuts, measure

ROOT = pathlib.Path(__file__).parents[1]
HEIGHT, WIDTH = 96, 128


def _sound(clip):
  return clip['audio'].astype(np.float32) / 32768


def _write(path, clip, sound_T, pose_FJD=None):
  """Film a clip as a stick figure, with sound, and its poses beside it."""
  path.parent.mkdir(parents=True, exist_ok=True)
  pose_FJD = np.array(clip['pose'] if pose_FJD is None else pose_FJD)
  time_s, duration_s = clip['pose_time_s'], clip['duration_s']
  box = view_box(pose_FJD, height=HEIGHT, width=WIDTH)
  num = int(duration_s * 12.5)
  shown_s = np.arange(num) * duration_s / num
  index = np.minimum(np.searchsorted(time_s, shown_s), len(time_s) - 1)
  frames = draw_dance(pose_FJD[index], CORE14_EDGES, height=HEIGHT, width=WIDTH)
  wave = None
  if sound_T is not None:
    wave = Waveform(np.resize(sound_T, round(duration_s * 16000)), 16000)
  write_video(path, frames, shown_s, wave)
  pose_FJD[..., :2] = (pose_FJD[..., :2] - box[:2]) * box[2] / HEIGHT
  track = PoseTrack(pose_FJD, time_s, 'core14', duration_s)
  write_pose_file(path.with_suffix('.npz'), track)


@pytest.fixture(scope='module')
def clips():
  return [make_clip(Task(index, 'test')) for index in (0, 2, 4)]


@pytest.fixture(scope='module')
def videos(clips, tmp_path_factory):
  """A right and a wrong pair, silence, no sound, no movement, damage."""
  folder = tmp_path_factory.mktemp('curate') / 'videos'
  one, two, three = clips
  _write(folder / 'good' / 'one.mp4', one, _sound(one))
  _write(folder / 'good' / 'two.mp4', two, _sound(two))
  _write(folder / 'wrong.mp4', three, _sound(two))
  _write(folder / 'silent.mp4', two, np.zeros(8))
  _write(folder / 'mute.mp4', two, None)
  still = np.repeat(one['pose'][:1], len(one['pose']), axis=0)
  _write(folder / 'still.mp4', one, _sound(one), still)
  whole = (folder / 'wrong.mp4').read_bytes()
  (folder / 'damaged.mp4').write_bytes(whole[: len(whole) // 2])
  shutil.copy(folder / 'wrong.npz', folder / 'damaged.npz')
  (folder / '.hidden.mp4').write_bytes(b'')
  return folder


@pytest.fixture(scope='module')
def curated(videos):
  """Output of the command line with a child process, and what it printed."""
  output = videos.parent / 'out'
  done = run_command(
    'data_prep.curate',
    f'--input={videos}',
    f'--output={output}',
    '--num_workers=1',
  )
  assert done.returncode == 0, done.stderr
  return output, done.stdout


def _table(output):
  with (output / 'scores.csv').open(newline='') as file:
    return {row['path']: row for row in csv.DictReader(file)}


def test_good_clips_are_kept_and_the_others_say_why(curated, clips, videos):
  output, printed = curated
  rows = _table(output)
  names = ('good/one.mp4', 'good/two.mp4')
  lines = [f'{videos / name}\n' for name in names]
  assert (output / 'keep.txt').read_text() == ''.join(lines)
  kept = {path for path, row in rows.items() if row['keep'] == '1'}
  assert kept == {'good/one.mp4', 'good/two.mp4'}
  assert not rows['good/one.mp4']['reasons']
  assert 'tempo_z' in rows['wrong.mp4']['reasons']
  assert 'silent_share 1.00 > 0.3' in rows['silent.mp4']['reasons']
  assert rows['mute.mp4']['reasons'] == 'no sound'
  assert 'motion_size 0.00 < 0.15' in rows['still.mp4']['reasons']
  assert 'no movement' in rows['still.mp4']['reasons']
  assert 'damaged.mp4' in rows['damaged.mp4']['reasons']
  assert len(rows) == 7
  assert 'kept 2 of 7 clips' in printed and 'frames/s' in printed
  assert 'unreadable 1' in printed and 'has_sound 1' in printed


def test_columns_hold_what_the_clip_is(curated, clips):
  output, _ = curated
  row = _table(output)['good/one.mp4']
  assert tuple(row) == tool.COLUMNS
  number = {k: float(v) for k, v in row.items() if v and k != 'path'}
  true_bpm = 60 / np.median(np.diff(clips[0]['beats_s']))
  assert number['tempo_bpm'] == pytest.approx(true_bpm, rel=0.04)
  assert number['duration_s'] == pytest.approx(clips[0]['duration_s'], abs=0.01)
  assert number['frame_rate_hz'] == pytest.approx(12.5, rel=0.02)
  rms = np.sqrt(np.mean(_sound(clips[0]) ** 2))
  assert number['loudness_db'] == pytest.approx(20 * np.log10(rms), abs=0.5)
  assert number['has_sound'] == 1 and number['clipped_share'] == 0
  assert number['alignment'] > 0.5 and number['alignment_p'] < 0.05
  assert row['num_people'] == '' and row['scene_cuts_s'] == ''


def test_contact_sheet_shows_pictures_curves_and_verdicts(curated, videos):
  from PIL import Image

  sheet = np.asarray(Image.open(curated[0] / 'contact_sheet.png'))
  assert sheet.shape[0] > 7 * 200 and sheet.shape[2] == 3
  row = measure(_job(videos / 'good' / 'one.mp4'))
  pose_path = videos / 'good' / 'one.npz'
  drawn = draw_row(SheetRow(videos / 'good' / 'one.mp4', pose_path, row))
  plain = draw_row(SheetRow(videos / 'good' / 'one.mp4', None, row))
  for green_blue in ((22, 130, 60), (50, 100, 190)):
    assert (drawn == green_blue).all(axis=-1).any()
  assert not (plain == (50, 100, 190)).all(axis=-1).any()
  dropped = draw_row(SheetRow(videos / 'gone.mp4', None, row, ('why',)))
  assert (dropped == (190, 40, 40)).all(axis=-1).any()


def test_contact_sheet_has_best_and_worst():
  def row(z, *reasons, error=''):
    score = {'path': str(z), 'alignment_z': z, 'error': error}
    return SheetRow(pathlib.Path('x'), None, score, reasons)

  rows = [row(1, 'a'), row(None, 'e', error='e'), row(3), row(2), row(9, 'a')]
  (_, best), (_, worst) = choose_rows(rows, 3)
  assert [r.score['alignment_z'] for r in best] == [3, 2]
  assert [r.score['alignment_z'] for r in worst] == [None]
  ((heading, everything),) = choose_rows(rows, 5)
  assert 'all 5' in heading
  assert [r.score['alignment_z'] for r in everything] == [3, 2, 9, 1, None]


def _job(video, **more):
  return CurationJob(video, video.name, video.with_suffix('.npz'), **more)


@pytest.fixture
def counted(monkeypatch):
  """Names of the clips that are measured."""
  names = []

  def counting(job):
    names.append(job.name)
    return measure(job)

  monkeypatch.setattr(tool, 'measure', counting)
  return names


def _run(videos, output, **thresholds):
  return tool.run(
    [videos], output, thresholds=thresholds, num_workers=0, num_rows=0
  )


def test_thresholds_change_without_measuring_again(
  curated, videos, counted, tmp_path, capsys
):
  output = tmp_path / 'out'
  shutil.copytree(curated[0], output)
  _run(videos, output, min_alignment_z=100.0)
  assert counted == ['damaged.mp4']  # what failed is tried again
  assert not (output / 'keep.txt').read_text()
  assert '6 clips were measured before' in capsys.readouterr().out
  _run(videos, output, min_alignment_z=-np.inf, min_tempo_z=-np.inf)
  assert '/wrong.mp4\n' in (output / 'keep.txt').read_text()


def test_changed_files_and_half_lines_are_measured_again(
  curated, videos, counted, tmp_path
):
  folder, output = tmp_path / 'videos', tmp_path / 'out'
  shutil.copytree(videos / 'good', folder)
  _run(folder, output)
  assert counted == ['one.mp4', 'two.mp4']
  before = (output / 'scores.csv').read_bytes()
  ledger = output / 'scores.jsonl'
  ledger.write_bytes(ledger.read_bytes()[:-40])
  os.utime(folder / 'one.npz', (1, 1))
  counted.clear()
  _run(folder, output)
  assert counted == ['one.mp4', 'two.mp4']
  assert (output / 'scores.csv').read_bytes() == before
  counted.clear()
  _run(folder, output)
  assert not counted
  for line in ledger.read_text().splitlines()[-2:]:
    assert json.loads(line)['row']['path'] in ('one.mp4', 'two.mp4')


def test_every_name_that_is_kept_is_found_by_clip_folder(videos, tmp_path):
  folder, output = tmp_path / 'videos', tmp_path / 'out'
  folder.mkdir()
  good = ('plain.mp4', 'a\u2028b\x85c.mp4', 'd\re.mp4', 'f\x0cg.MPG')
  bad = ('h\ni.mp4', os.fsdecode(b'caf\xe9.mp4'))
  for name in good + bad:
    shutil.copy(videos / 'good' / 'one.mp4', folder / name)
    pose_path = (folder / name).with_suffix('.npz')
    shutil.copy(videos / 'good' / 'one.npz', pose_path)
  rows = _run(folder, output)
  assert not any(row['error'] for row in rows)
  found = {video.path for video in find_videos(output / 'keep.txt')}
  assert found == {folder / name for name in good}
  text = (output / 'scores.csv').read_text(errors='surrogateescape')
  assert text.count('path holds a line break or is not UTF-8') == len(bad)
  folder.rename(tmp_path / bad[0])
  with pytest.raises(InputError, match=r'is in .*h\\ni\.mp4.*rename'):
    _run(tmp_path / bad[0], output)


def test_killed_process_is_a_row(videos, tmp_path, monkeypatch):
  monkeypatch.setattr(
    tool, 'ordered_map', lambda f, jobs, num_workers: map(WorkerDied, jobs)
  )
  rows = tool.run([videos / 'good'], tmp_path, num_workers=1, num_rows=0)
  assert [row['error'] for row in rows] == ['its process was killed twice'] * 2
  assert not (tmp_path / 'keep.txt').read_text()


def test_several_inputs_are_named_from_their_common_folder(
  videos, counted, tmp_path, monkeypatch
):
  monkeypatch.setattr(tool, 'measure', lambda job: {'path': 'x', 'error': 'e'})
  poses = tmp_path / 'poses'
  poses.mkdir()
  shutil.copy(videos / 'wrong.npz', poses / 'two.npz')
  inputs = [videos / 'good', videos / 'wrong.mp4', videos / 'good' / 'one.mp4']
  root, jobs = tool.find_jobs(inputs, tmp_path / 'out', poses)
  assert root == videos.resolve()
  names = ['good/one.mp4', 'good/two.mp4', 'wrong.mp4']
  assert [job.name for job in jobs] == names
  assert jobs[0].pose_path == videos.resolve() / 'good' / 'one.npz'
  assert jobs[1].pose_path == poses / 'two.npz'


def test_bad_arguments_are_named_before_any_work(videos, tmp_path):
  output = tmp_path / 'out'
  with pytest.raises(InputError, match='none, which does not exist'):
    tool.run([tmp_path / 'none'], output)
  (tmp_path / 'void').mkdir()
  with pytest.raises(InputError, match=r'no video.*\.mp4'):
    tool.run([tmp_path / 'void'], output)
  with pytest.raises(InputError, match=r'pose_dir is .*no folder'):
    tool.run([videos], output, pose_dir=tmp_path / 'none')
  for name in ('a.mp4', 'a.mov'):
    (tmp_path / 'void' / name).write_bytes(b'x')
  with pytest.raises(InputError, match='would share one pose file'):
    tool.run([tmp_path / 'void'], output)
  assert not output.exists()
  (tmp_path / 'file').write_text('')
  with pytest.raises(InputError, match='cannot be made'):
    tool.run([videos / 'good'], tmp_path / 'file' / 'out', num_workers=0)


def test_missing_flags_are_one_line():
  done = subprocess.run(
    [sys.executable, '-m', 'data_prep.curate'],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 2
  assert done.stderr.strip().count('\n') == 0
  assert 'input or output is missing' in done.stderr


# --- alignment ---------------------------------------------------------------


def _beats(tempo_bpm, duration_s=8.0, first_s=0.1):
  """Pulses at a tempo with a little unevenness, on the 50 Hz grid."""
  gap_s = 60 / tempo_bpm
  times_s = np.arange(first_s, duration_s, gap_s)
  uneven = np.random.default_rng(round(tempo_bpm)).normal(size=len(times_s))
  times_s = times_s + 0.02 * uneven
  grid_s = np.arange(round(duration_s * 50)) / 50
  return np.exp(-(((grid_s[:, None] - times_s) / 0.03) ** 2)).sum(axis=1)


def test_alignment_tells_tempo_and_phase():
  sound_F = _beats(110)
  right = alignment([sound_F], sound_F)
  assert right['alignment'] > 0.95
  assert right['alignment_p'] < 0.01 and right['tempo_z'] > 5
  late = alignment([np.roll(sound_F, 14)], sound_F)
  assert late['alignment_z'] < 0.5 and late['alignment_p'] > 0.1
  other = alignment([_beats(83)], sound_F)
  assert other['tempo_z'] < 2 and other['alignment'] < 0.3
  # 40 ms late is how people dance; both definitions are looked at.
  shifted = alignment([_beats(83), np.roll(sound_F, 2)], sound_F)
  assert shifted['alignment'] > 0.9


def test_alignment_says_what_it_cannot_test():
  sound_F = _beats(110)
  short = alignment([sound_F[:180]], sound_F[:180])
  assert short['alignment_z'] is None
  assert short['note'].endswith('3.6 s, 4 s needed')
  assert 'no movement' in alignment([np.ones(400)], sound_F)['note']
  assert 'no onset' in alignment([sound_F], np.zeros(400))['note']


def _kept(clips, delay=0):
  """Verdicts on dances with the sound of the clip that many places on."""
  limits = {name: limit for name, (limit, _) in tool.THRESHOLDS.items()}
  kept = []
  for clip, other in zip(clips, np.roll(np.array(clips), -delay)):
    track = PoseTrack(
      clip['pose'], clip['pose_time_s'], 'core14', clip['duration_s']
    )
    sound_T = np.resize(_sound(other), round(16000 * clip['duration_s']))
    row = curation.measure_dance(track, sound_T)
    kept.append(
      all(row[k] >= limits[f'min_{k}'] for k in ('alignment_z', 'tempo_z'))
    )
  return np.mean(kept)


def test_right_pairs_are_kept_and_wrong_ones_are_not():
  clips = [make_clip(Task(index, 'validation')) for index in range(24)]
  assert _kept(clips) >= 0.7
  assert _kept(clips, 5) <= 0.15


@pytest.mark.slow
def test_sweep_over_videos(tmp_path):
  """120 right pairs and as many wrong ones, as real files with AAC sound."""
  clips = [make_clip(Task(index, 'test')) for index in range(120)]
  for index, clip in enumerate(clips):
    other = clips[(index + 7) % len(clips)]
    _write(tmp_path / 'in' / 'right' / f'{index}.mp4', clip, _sound(clip))
    _write(tmp_path / 'in' / 'wrong' / f'{index}.mp4', clip, _sound(other))
  tool.run([tmp_path / 'in'], tmp_path / 'out', num_rows=0)
  kept = (tmp_path / 'out' / 'keep.txt').read_text().splitlines()
  share = {
    kind: sum(f'/in/{kind}/' in name for name in kept) / len(clips)
    for kind in ('right', 'wrong')
  }
  assert share['right'] >= 0.7 and share['wrong'] <= 0.1, share


# --- pictures ----------------------------------------------------------------


def _scene(seed, num):
  """A fixed picture with a bar that moves fast."""
  rng = np.random.default_rng(seed)
  coarse = rng.integers(0, 200, size=(6, 6))
  greys = np.repeat([np.kron(coarse, np.ones((4, 4)))], num, axis=0)
  for frame in range(num):
    greys[frame, :, frame * 3 % 20 : frame * 3 % 20 + 4] = 230
  return greys.astype(np.uint8)


def _cuts(greys, rate_hz=30):
  return find_scene_cuts(greys, np.arange(len(greys)) / rate_hz)


def test_scene_cuts_are_found_at_their_frame():
  greys = np.concatenate([_scene(1, 50), _scene(2, 40), _scene(1, 30)])
  assert _cuts(greys) == [50, 90]
  assert _cuts(_scene(1, 90)) == []
  # What moves keeps its brightness: half the picture changes sides.
  turned = _scene(1, 90)
  turned[45:] = turned[45:, :, ::-1]
  assert _cuts(turned) == []
  assert _cuts(greys[:5]) == [] and _cuts(greys[48:52]) == []


@pytest.mark.parametrize('rate_hz', [12.5, 30, 60])
def test_flash_is_no_cut_and_a_long_one_is_two(rate_hz):
  short, long = max(2, int(0.17 * rate_hz)), int(0.5 * rate_hz)
  for start, num in ((40, 1), (40, 2), (40, short)):
    greys = _scene(1, 120)
    greys[start : start + num] = 255
    assert _cuts(greys, rate_hz) == []
  greys = _scene(1, 120)
  greys[40 : 40 + long] = 255
  assert _cuts(greys, rate_hz) == [40, 40 + long]
  strobe = _scene(1, 120)
  strobe[::15] = 255
  strobe[1::15] = 255
  assert _cuts(strobe, 30) == []


def test_fast_dance_and_beat_flashes_are_no_cuts(clips):
  pose_FJD = clips[0]['pose'][::3]  # three times as fast
  flashes = np.where(np.arange(len(pose_FJD)) % 9 < 3, 1.0, 0.0)
  frames = draw_dance(
    pose_FJD, CORE14_EDGES, height=96, width=96, beat_F=flashes
  )
  greys = np.stack([curation.small_grey(frame) for frame in frames])
  assert greys.shape[1:] == (24, 24)
  assert _cuts(greys, 25) == []


def _person(x, size=0.5):
  """Landmarks in units of the picture's width and height."""
  points = np.random.default_rng(3).uniform(size=(33, 2)) * (size / 3, size)
  return np.concatenate([points + np.array([x, 0.2]), np.ones((33, 1))], axis=1)


def test_one_main_dancer_is_alone_or_clearly_largest():
  dancer, twin, child = _person(0.2), _person(0.6), _person(0.6, 0.3)
  double = dancer + np.array([0.001, 0.0, 0.0])
  frames = [[dancer], [child, dancer], [dancer, twin], [dancer, double], []]
  share = curation.main_dancer_share
  assert share(frames, [0, 1, 0, 0, None]) == 0.75
  assert share([[]], [None]) is None


@pytest.fixture
def landmarker(monkeypatch, tmp_path):
  """Puts a detector in the place of mediapipe's."""
  (tmp_path / 'some.task').write_bytes(b'')
  monkeypatch.setattr(tool, 'import_mediapipe', lambda: None)
  monkeypatch.setattr(tool, 'find_model', lambda path: tmp_path / 'some.task')

  def install(people_of_frame):
    @contextlib.contextmanager
    def open_landmarker(model):
      assert model.name == 'some.task'
      frame, last_ms = itertools.count(), [-1]

      def detect(rgb_HWC, time_ms):
        assert time_ms > last_ms[0]
        last_ms[0] = time_ms
        return people_of_frame(next(frame))

      yield detect

    monkeypatch.setattr(curation, 'open_landmarker', open_landmarker)

  return install


def test_people_are_found_counted_and_kept(videos, landmarker, tmp_path):
  folder, output = tmp_path / 'in', tmp_path / 'out'
  folder.mkdir()
  shutil.copy(videos / 'good' / 'two.mp4', folder / 'a.mp4')
  landmarker(lambda f: [] if f % 10 == 9 else [_person(0.2), _person(0.6)])
  (row,) = _run(folder, output)
  assert row['num_people'] == 2 and row['main_dancer_share'] == 0
  assert row['person_share'] == pytest.approx(0.9, abs=0.02)
  assert 'main_dancer_share 0.00 < 0.8' in _table(output)['a.mp4']['reasons']
  track = read_pose_file(output / 'poses' / 'a.npz')
  assert track.skeleton == 'blazepose33'
  np.testing.assert_allclose(
    track.pose_FJD[0, :, 0], _person(0.2)[:, 0] * WIDTH / HEIGHT, atol=1e-6
  )
  np.testing.assert_array_equal(
    track.pose_time_s, probe(folder / 'a.mp4').frame_time_s
  )


def test_nobody_is_a_row(videos, landmarker, tmp_path):
  folder, output = tmp_path / 'in', tmp_path / 'out'
  folder.mkdir()
  shutil.copy(videos / 'good' / 'two.mp4', folder / 'a.mp4')
  landmarker(lambda frame: [])
  (row,) = tool.run([folder], output, num_workers=0)
  assert row['error'] == '' and row['motion_size'] is None
  assert _table(output)['a.mp4']['reasons'] == 'person_share 0.00 < 0.8'
  assert not (output / 'poses').exists()


def test_another_model_measures_again(videos, landmarker, counted, tmp_path):
  folder, output = tmp_path / 'in', tmp_path / 'out'
  folder.mkdir()
  shutil.copy(videos / 'good' / 'two.mp4', folder / 'a.mp4')
  shutil.copy(videos / 'good' / 'one.mp4', folder / 'b.mp4')
  shutil.copy(videos / 'good' / 'one.npz', folder / 'b.npz')
  landmarker(lambda frame: [_person(0.2)])
  model = tmp_path / 'some.task'
  arguments = {'pose_model': str(model), 'num_workers': 0, 'num_rows': 0}
  expected = ['a.mp4', 'b.mp4']
  for content, new in ((b'', []), (b'other', ['a.mp4']), (b'other', [])):
    model.write_bytes(content)
    tool.run([folder], output, **arguments)
    expected += new
    assert counted == expected


def test_a_model_that_is_not_there_is_refused_with_poses(videos, tmp_path):
  with pytest.raises(InputError, match='which is no file'):
    tool.run([videos], tmp_path / 'out', pose_model=str(tmp_path / 'no.task'))
  assert not (tmp_path / 'out').exists()


def test_pose_file_of_another_video_is_refused(videos, tmp_path):
  shutil.copy(videos / 'good' / 'one.mp4', tmp_path / 'a.mp4')
  shutil.copy(videos / 'good' / 'two.npz', tmp_path / 'a.npz')
  assert (
    'expected poses of this video' in measure(_job(tmp_path / 'a.mp4'))['error']
  )


@pytest.mark.slow
def test_real_videos(shared_data, tmp_path):
  """A real dancer alone, cut to another scene, and beside a second one."""
  source = shared_data / 'tfjs-pose' / 'pose_1.mp4'
  folder = tmp_path / 'in'
  folder.mkdir()
  music = shared_data / 'librosa-data' / 'Kevin_MacLeod_-_Vibe_Ace.ogg'
  music_T = read_audio(music, 16000).samples_T[160_000:]
  duration_s = probe(source).duration_s
  wave = Waveform(music_T[: round(16000 * duration_s)], 16000)
  mux_audio(source, wave, folder / 'alone.mp4')
  frames = [rgb_HWC for _, rgb_HWC in read_frames(source)]
  time_s = np.arange(len(frames)) / 30
  pairs = [np.concatenate(p, axis=1) for p in zip(frames, frames[::-1])]
  write_video(folder / 'pair.mp4', pairs, time_s, wave)
  other = shared_data / 'sam2' / '05_default_juggle.mp4'
  second = [f[:576, :576] for _, (_, f) in zip(range(60), read_frames(other))]
  write_video(folder / 'cut.mp4', frames[:60] + second, time_s, wave)
  rows = {row['path']: row for row in tool.run([folder], tmp_path / 'out')}
  alone, pair = rows['alone.mp4'], rows['pair.mp4']
  assert alone['person_share'] > 0.95 and alone['num_people'] == 1
  assert alone['num_scene_cuts'] == 0 and alone['main_dancer_share'] == 1
  assert pair['num_people'] == 2 and pair['main_dancer_share'] < 0.8
  assert rows['cut.mp4']['scene_cuts_s'] == [2.0]
  assert not (tmp_path / 'out' / 'keep.txt').read_text()  # unrelated music
