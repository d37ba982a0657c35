"""What `sample` reads and writes: every dance once, and nothing of the user's.

The model is a stand-in; the files are real.
"""

import numpy as np
import pytest
from small_config import options_with

from dance2wave.errors import InputError
from dance2wave.media import clip, mux, video
from dance2wave.pose.clean import NEUTRAL_POSE_J2
from dance2wave.pose.track import PoseTrack, write_pose_file
from dance2wave.sampling import files


def write_video(path, num_frames=9):
  frames = np.zeros((num_frames, 32, 48, 3), np.uint8)
  path.parent.mkdir(exist_ok=True)
  return mux.write_video(path, frames, np.arange(num_frames) / 30)


def write_dance(path, num_frames=9):
  pose_FJD = np.random.default_rng(0).uniform(0.3, 0.7, (num_frames, 14, 3))
  time_s = np.arange(num_frames) / 30
  path.parent.mkdir(exist_ok=True)
  pose_FJD = pose_FJD.astype(np.float32)
  write_pose_file(path, PoseTrack(pose_FJD, time_s, 'core14', num_frames / 30))
  return path


def encode(path, codec, pix_fmt='yuv420p', num_frames=9):
  import av

  if codec not in av.codecs_available:
    pytest.skip(f'this build of PyAV has no encoder {codec}')
  with av.open(str(path), 'w') as sink:
    stream = sink.add_stream(codec, rate=30)
    stream.width, stream.height, stream.pix_fmt = 48, 32, pix_fmt
    for _ in range(num_frames):
      picture = np.zeros((32, 48, 3), np.uint8)
      sink.mux(stream.encode(av.VideoFrame.from_ndarray(picture, 'rgb24')))
    sink.mux(stream.encode(None))
  return path


def plan(inputs, output=None):
  found = files.find_inputs([str(path) for path in inputs])
  return files.plan_jobs(found, output and str(output))


def test_a_result_in_a_folder_never_has_the_name_of_a_video(tmp_path):
  write_video(tmp_path / 'dance.mp4')
  dance = write_dance(tmp_path / 'dance.npz')
  before = (tmp_path / 'dance.mp4').read_bytes()
  (job,) = plan([dance], tmp_path)
  options = options_with()
  written = files.write_result(
    job, options, np.zeros(2400, np.float32), np.zeros((8, 14, 3), np.float32)
  )
  assert written == tmp_path / 'dance_dance2wave.mp4'
  assert video.probe(written).duration_s > 0
  assert (tmp_path / 'dance.mp4').read_bytes() == before


@pytest.mark.parametrize('pose_rate_hz', [20, 50])
def test_a_stick_figure_moves_when_its_dancer_does(tmp_path, pose_rate_hz):
  job = files.Job(write_dance(tmp_path / 'a.npz'), tmp_path / 'a.mp4')
  options = options_with(pose_rate_hz=pose_rate_hz)
  pose_FJD = np.ones((pose_rate_hz, 14, 3), np.float32)
  pose_FJD[..., :2] = NEUTRAL_POSE_J2
  pose_FJD[pose_rate_hz // 2 :, :, 1] -= 0.5  # A jump after half a second.
  silence_T = np.zeros(options.sample_rate_hz, np.float32)
  written = files.write_result(job, options, silence_T, pose_FJD)
  assert video.probe(written).duration_s == pytest.approx(1.0, abs=1e-3)
  times_s, pictures = zip(*video.read_frames(written))
  moved = [np.abs(p - pictures[0].astype(float)).mean() for p in pictures]
  first = np.flatnonzero(np.array(moved) > 0.5 * max(moved))[0]
  assert times_s[first] == pytest.approx(0.5, abs=1 / 24)


@pytest.mark.parametrize('output', [None, 'out'])
def test_a_video_takes_its_poses_from_the_file_beside_it(tmp_path, output):
  folder = tmp_path / 'in'
  dance = write_video(folder / 'dance.mp4')
  poses = write_dance(folder / 'dance.npz')
  alone = write_dance(folder / 'alone.npz')
  encode(folder / 'old.avi', 'mpeg4')
  target = output and tmp_path / output
  jobs = {job.input: job for job in plan([folder], target)}
  assert set(jobs) == {dance, alone, folder / 'old.avi'}
  assert jobs[dance].poses == poses
  assert jobs[folder / 'old.avi'].poses is None
  place = target or folder
  assert [jobs[path].output for path in sorted(jobs)] == [
    place / 'alone_dance2wave.mp4',
    place / 'dance_dance2wave.mp4',
    place / 'old_dance2wave.avi',
  ]


@pytest.mark.parametrize('output', [None, 'out'])
def test_results_that_would_replace_each_other_are_refused(tmp_path, output):
  write_video(tmp_path / 'a.mp4')
  write_dance(tmp_path / 'b.npz')
  target = output and tmp_path / output
  assert len(plan([tmp_path], target)) == 2
  (tmp_path / 'b.bvh').touch()
  with pytest.raises(InputError, match=r'b_dance2wave.*result of another'):
    plan([tmp_path], target)


def test_a_result_that_would_replace_an_input_is_refused(tmp_path):
  one = write_dance(tmp_path / 'a.npz')
  other = write_video(tmp_path / 'a_dance2wave.mp4')
  with pytest.raises(InputError, match='would replace the input'):
    plan([one, other])


def test_an_input_by_another_name_is_not_replaced(tmp_path):
  one = write_dance(tmp_path / 'a.npz')
  write_video(tmp_path / 'a_dance2wave.mp4')
  (tmp_path / 'link').symlink_to(tmp_path)
  with pytest.raises(InputError, match='would replace the input'):
    plan([one, tmp_path / 'link' / 'a_dance2wave.mp4'])


def test_the_container_of_a_result_is_one_that_holds_the_picture(tmp_path):
  (job,) = plan([encode(tmp_path / 'a.avi', 'mpeg4')])
  sound = clip.Waveform(np.zeros(2400, np.float32), 8000)
  assert mux.mux_audio(job.input, sound) == job.output


@pytest.mark.parametrize(
  'name, codec, pix_fmt, better',
  [
    ('a.avi', 'mpeg4', 'yuv420p', r'mpeg4.*expected \.avi;'),
    ('a.webm', 'libvpx', 'yuv420p', r'vp8.*expected \.webm or \.mkv;'),
    ('a.mov', 'prores', 'yuv422p10le', r'prores.*expected \.mkv or \.mov;'),
  ],
)
def test_a_container_that_cannot_hold_the_picture_is_refused_at_once(
  tmp_path, name, codec, pix_fmt, better
):
  dance = encode(tmp_path / name, codec, pix_fmt)
  (job,) = plan([dance], tmp_path / 'out' / 'o.mp4')
  with pytest.raises(InputError, match=better):
    files.held_outputs([job]).__enter__()
  assert list(tmp_path.iterdir()) == [dance]
  with files.held_outputs(plan([dance], tmp_path / 'out' / 'o.wav')):
    pass


def test_a_damaged_video_is_left_to_its_turn(tmp_path):
  (tmp_path / 'a.mp4').touch()
  write_dance(tmp_path / 'b.npz')
  with files.held_outputs(plan([tmp_path])):
    pass


def test_hidden_files_of_a_folder_are_no_dances(tmp_path):
  dance = write_dance(tmp_path / 'dance.npz')
  (tmp_path / '._dance.npz').write_bytes(b'of macOS')
  assert files.find_inputs([str(tmp_path)]) == [dance]


def test_results_in_a_folder_are_not_sampled_again(tmp_path):
  dance = write_dance(tmp_path / 'dance.npz')
  result = write_video(tmp_path / 'dance_dance2wave.mp4')
  assert files.find_inputs([str(tmp_path)]) == [dance]
  assert files.find_inputs([str(result)]) == [result]


def test_an_existing_folder_may_have_a_dot_in_its_name(tmp_path):
  for name in ('a.npz', 'b.npz'):
    write_dance(tmp_path / 'in' / name)
  target = tmp_path / 'takes.v2'
  target.mkdir()
  for job in plan([tmp_path / 'in'], target):
    assert job.output.parent == target
  with pytest.raises(InputError, match=r'takes\.v3 is one file for 2 inputs'):
    plan([tmp_path / 'in'], tmp_path / 'takes.v3')


def test_a_folder_of_one_dance_may_go_to_a_new_folder(tmp_path):
  dance = write_dance(tmp_path / 'in' / 'dance.npz')
  target = tmp_path / 'new'
  jobs = plan([dance.parent], target)
  assert jobs == [files.Job(dance, target / 'dance_dance2wave.mp4', dance)]
  with files.held_outputs(jobs):
    pass


def test_a_dance_that_is_named_twice_is_sampled_once(tmp_path):
  dance = write_dance(tmp_path / 'dance.npz')
  (job,) = plan([tmp_path, dance, tmp_path / '..' / tmp_path.name])
  assert job.input.samefile(dance)
