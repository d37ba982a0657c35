"""Videos whose edit list cuts their end off, as phones and editors write."""

import struct

import numpy as np
import pytest

from dance2wave.errors import InputError
from dance2wave.media import clip, mux, video


def encode(path, b_frames, num_frames=24):
  import av

  first_HWC = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
  params = f'bframes={b_frames}:b-adapt=0:b-pyramid=none:scenecut=0'
  with av.open(str(path), 'w') as sink:
    stream = sink.add_stream('libx264', rate=30)
    stream.options = {'x264-params': params}
    stream.width, stream.height, stream.pix_fmt = 64, 48, 'yuv420p'
    for k in range(num_frames):
      rgb_HWC = np.roll(first_HWC, 2 * k, axis=1)
      sink.mux(stream.encode(av.VideoFrame.from_ndarray(rgb_HWC, 'rgb24')))
    sink.mux(stream.encode(None))
  return path


def cut_end(path, output, num_frames):
  """Let the edit list show so many frames only; the rest stays in the file."""
  data = bytearray(path.read_bytes())
  (scale,) = struct.unpack_from('>I', data, data.find(b'mvhd') + 16)
  for box, offset in ((b'mvhd', 20), (b'tkhd', 24), (b'elst', 12)):
    place = data.find(box) + offset
    struct.pack_into('>I', data, place, num_frames * scale // 30)
  output.write_bytes(data)
  return output


def sounding(path, output):
  n = round(video.probe(path).duration_s * 8000)
  return mux.mux_audio(
    path, clip.Waveform(np.zeros(n, np.float32), 8000), output
  )


def assert_same_pictures(path, output):
  for (a_s, a_HWC), (b_s, b_HWC) in zip(
    video.read_frames(path), video.read_frames(output), strict=True
  ):
    assert a_s == pytest.approx(b_s, abs=1e-3)
    np.testing.assert_array_equal(a_HWC, b_HWC)


@pytest.mark.parametrize('ending', ['mp4', 'mkv'])
def test_what_is_cut_off_at_the_end_is_not_copied(tmp_path, ending):
  whole = encode(tmp_path / 'a.mp4', 0)
  path = cut_end(whole, tmp_path / 'cut.mp4', 15)
  assert len(video.probe(path).frame_time_s) == 15
  assert_same_pictures(path, sounding(path, tmp_path / f'out.{ending}'))


def test_what_is_cut_off_before_the_start_is_kept_for_what_is_shown(tmp_path):
  whole = encode(tmp_path / 'a.mp4', 0)
  path = cut_end(whole, tmp_path / 'cut.mp4', 4)
  data = bytearray(path.read_bytes())
  (scale,) = struct.unpack_from('>I', data, data.find(b'mdhd') + 16)
  struct.pack_into('>I', data, data.find(b'elst') + 16, 16 * scale // 30)
  path.write_bytes(data)
  assert len(video.probe(path).frame_time_s) == 4
  shown = [rgb_HWC for _, rgb_HWC in video.read_frames(whole)][16:20]
  for (_, rgb_HWC), expected_HWC in zip(
    video.read_frames(path), shown, strict=True
  ):
    np.testing.assert_array_equal(rgb_HWC, expected_HWC)
  assert_same_pictures(path, sounding(path, tmp_path / 'out.mp4'))


def test_pictures_that_others_need_are_never_left_out(tmp_path):
  """B-frames are made of a later one: where that is cut off, no copy is."""
  whole, refused = encode(tmp_path / 'a.mp4', 2), 0
  for num_frames in range(12, 18):
    path = cut_end(whole, tmp_path / 'cut.mp4', num_frames)
    assert len(video.probe(path).frame_time_s) == num_frames
    output = tmp_path / f'{num_frames}.mp4'
    try:
      assert_same_pictures(path, sounding(path, output))
    except InputError as error:
      assert 'cannot keep the frame times' in str(error)
      assert not output.exists()
      refused += 1
  assert refused == 4  # Two of three cuts go between a B-frame and its later.
