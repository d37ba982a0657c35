import dataclasses
import fractions
import resource
import threading
from concurrent import futures

import numpy as np
import pytest

from dance2wave.errors import InputError
from dance2wave.media import audio, clip, mux, video

RATE_HZ = 16000
FLASHES = (7, 20, 33)  # frames
TICK = fractions.Fraction(1, 90000)
RATES = {
  '15': fractions.Fraction(15),
  '23.976': fractions.Fraction(24000, 1001),
  '29.97': fractions.Fraction(30000, 1001),
  '60': fractions.Fraction(60),
}


def _frames(count=40, height=48, width=64):
  for k in range(count):
    grey = 250 if k in FLASHES else 30
    yield np.full((height, width, 3), grey, np.uint8)


def _times(count=40, rate_hz=30.0):
  return np.arange(count) / float(rate_hz)


def _variable_times(count=40):
  gaps_s = np.random.default_rng(0).uniform(0.01, 0.09, count - 1)
  return np.append(0.0, np.cumsum(np.rint(gaps_s * 90000)) / 90000)


def _clicks(times_s, duration_s, rate_hz=RATE_HZ):
  samples_T = np.zeros(round(duration_s * rate_hz), np.float32)
  time_s = np.arange(int(0.01 * rate_hz)) / rate_hz
  click_T = 0.8 * np.sin(2 * np.pi * 2000 * time_s) * np.exp(-time_s / 0.002)
  for start in np.rint(np.asarray(times_s) * rate_hz).astype(int):
    samples_T[start : start + len(click_T)] = click_T
  return samples_T


def _clicking(times_F):
  """A waveform that clicks at the flashes and lasts as long as the frames."""
  duration_s = times_F[-1] + np.median(np.diff(times_F))
  click_s = times_F[list(FLASHES)]
  return clip.Waveform(_clicks(click_s, duration_s), RATE_HZ)


def _encode(path, codec, ticks_F, tick, container_format=None, **options):
  """Write silent video with PyAV at times of one's own choice."""
  import av

  if codec not in av.codecs_available:
    pytest.skip(f'this build of PyAV has no encoder {codec}')
  if codec.startswith('libvpx'):
    options |= {'deadline': 'realtime', 'cpu-used': '8'}
  with av.open(str(path), 'w', format=container_format) as sink:
    stream = sink.add_stream(codec, rate=30, options=options, time_base=tick)
    stream.width, stream.height = 64, 48
    stream.pix_fmt = 'yuvj420p' if codec == 'mjpeg' else 'yuv420p'
    for ticks, rgb_HWC in zip(ticks_F, _frames(len(ticks_F))):
      frame = av.VideoFrame.from_ndarray(rgb_HWC, 'rgb24')
      frame.pts, frame.time_base = int(ticks), tick
      sink.mux(stream.encode(frame))
    sink.mux(stream.encode(None))
  return path


def _copy(path, output, keep, shift=0):
  """Copy the packets k, packet for which keep(k, packet), later by shift."""
  import av

  with av.open(str(path)) as source, av.open(str(output), 'w') as sink:
    stream = source.streams.video[0]
    copy = sink.add_stream_from_template(stream, opaque=True)
    for k, packet in enumerate(source.demux(stream)):
      if packet.dts is not None and keep(k, packet):
        packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
        packet.stream = copy
        sink.mux(packet)
  return output


def _flash_times(path):
  return [t for t, rgb_HWC in video.read_frames(path) if rgb_HWC.mean() > 140]


def _click_times(path):
  """Measure when the clicks sound, to a sample, by matching their shape."""
  samples_T = audio.read_audio(path, RATE_HZ).samples_T
  shape_T = _clicks([0.0], 0.01)
  match_T = np.correlate(samples_T, shape_T, 'valid')
  found = []
  for _ in FLASHES:
    peak = int(np.argmax(match_T))
    match_T[max(0, peak - 400) : peak + 400] = 0
    found.append(peak / RATE_HZ)
  return np.sort(found)


def _check_in_step(path, times_F):
  info = video.probe(path)
  expected_s = times_F[list(FLASHES)]
  np.testing.assert_allclose(_flash_times(path), expected_s, atol=1e-3)
  np.testing.assert_allclose(_click_times(path), expected_s, atol=1e-3)
  waveform = audio.read_audio(path, RATE_HZ)
  expected = clip.num_samples(info.duration_s, RATE_HZ)
  assert len(waveform.samples_T) == expected


def _packets(path):
  import av

  with av.open(str(path)) as source:
    stream = source.streams.video[0]
    return [bytes(p) for p in source.demux(stream) if p.dts is not None]


def _declared_s(path):
  import av

  with av.open(str(path)) as source:
    return source.duration / 1e6


def _cut(path, share, to):
  content = path.read_bytes()
  to.write_bytes(content[: int(len(content) * share)])
  return to


@pytest.mark.parametrize('ending', ['mp4', 'm4v', 'mov', 'mkv'])
def test_written_picture_and_sound_are_in_step(tmp_path, ending):
  path, times_F = tmp_path / f'a.{ending}', _times()
  waveform = _clicking(times_F)
  assert mux.write_video(path, _frames(), times_F, waveform) == path
  _check_in_step(path, times_F)
  if ending != 'mkv':
    assert abs(_declared_s(path) - 40 / 30) < 1e-3


@pytest.mark.parametrize('ending', ['mp4', 'm4v', 'mov', 'mkv'])
def test_muxed_picture_and_sound_are_in_step(tmp_path, ending):
  silent = mux.write_video(tmp_path / 'silent.mp4', _frames(), _times())
  before = silent.read_bytes()
  path = mux.mux_audio(silent, _clicking(_times()), tmp_path / f'a.{ending}')
  _check_in_step(path, _times())
  assert _packets(path) == _packets(silent)
  assert silent.read_bytes() == before
  if ending != 'mkv':
    content = path.read_bytes()
    assert content.index(b'moov') < content.index(b'mdat')  # plays at once
    info = video.probe(path)
    assert info.duration_s == pytest.approx(40 / 30, abs=1e-9)
    assert abs(_declared_s(path) - info.duration_s) < 1e-3


@pytest.mark.parametrize(
  'codec,name,sound',
  [
    ('libvpx', 'a.webm', 'opus'),
    ('libvpx-vp9', 'a.webm', 'opus'),
    ('mpeg4', 'a.avi', 'pcm_s16le'),
    ('mjpeg', 'a.avi', 'pcm_s16le'),
    ('libx264', 'a.avi', 'pcm_s16le'),
    ('libx264', 'a.mkv', 'aac'),
  ],
)
def test_other_containers_are_kept_and_in_step(tmp_path, codec, name, sound):
  import av

  path = tmp_path / name
  _encode(path, codec, np.arange(40), fractions.Fraction(1, 30))
  output = mux.mux_audio(path, _clicking(_times()))
  assert output == tmp_path / f'a_dance2wave{path.suffix}'
  assert _packets(output) == _packets(path)
  _check_in_step(output, _times())
  with av.open(str(output)) as source:
    assert source.streams.audio[0].codec_context.name == sound


def test_hidden_reference_frames_of_vp8_are_no_frames(tmp_path):
  import av

  path, hiding = tmp_path / 'a.webm', tmp_path / 'hiding.webm'
  _encode(path, 'libvpx', np.arange(40), fractions.Fraction(1, 30))
  with av.open(str(path)) as source, av.open(str(hiding), 'w') as sink:
    stream = source.streams.video[0]
    copy = sink.add_stream_from_template(stream, opaque=True)
    for k, packet in enumerate(source.demux(stream)):
      if packet.dts is None:
        continue
      if k in (10, 20):
        content = bytearray(bytes(packet))
        content[0] &= ~0x10  # a reference that is not shown
        hidden = av.Packet(bytes(content))
        hidden.pts = hidden.dts = packet.pts - 10
        hidden.time_base, hidden.stream = packet.time_base, copy
        sink.mux(hidden)
      packet.stream = copy
      sink.mux(packet)
  assert len(_packets(hiding)) == 42
  info = video.probe(hiding)
  np.testing.assert_allclose(info.frame_time_s, _times(), atol=1e-3)
  assert [t for t, _ in video.read_frames(hiding)] == info.frame_time_s.tolist()


@pytest.mark.parametrize('rate', RATES)
def test_frame_rates_are_exact(tmp_path, rate):
  times_F = _times(40, RATES[rate])
  path = mux.write_video(tmp_path / 'a.mp4', _frames(), times_F)
  info = video.probe(path)
  np.testing.assert_allclose(info.frame_time_s, times_F, rtol=0, atol=6e-6)
  assert info.duration_s == pytest.approx(40 / float(RATES[rate]), abs=1e-5)
  output = mux.mux_audio(path, _clicking(times_F))
  _check_in_step(output, times_F)
  assert video.probe(output).duration_s == pytest.approx(info.duration_s)


@pytest.mark.parametrize('ending', ['mp4', 'mov', 'mkv'])
def test_variable_frame_rate_keeps_every_time(tmp_path, ending):
  times_F = _variable_times()
  path = tmp_path / f'a.{ending}'
  mux.write_video(path, _frames(), 5.0 + times_F, _clicking(times_F))
  info = video.probe(path)
  atol = 1e-3 if ending == 'mkv' else 1e-9
  np.testing.assert_allclose(info.frame_time_s, times_F, rtol=0, atol=atol)
  last_s = np.median(np.diff(times_F))
  assert info.duration_s == pytest.approx(times_F[-1] + last_s, abs=atol + 1e-5)
  if ending != 'mkv':
    assert abs(_declared_s(path) - info.duration_s) < 1e-4
  _check_in_step(path, times_F)
  _check_in_step(mux.mux_audio(path, _clicking(times_F)), times_F)


@pytest.mark.parametrize('ending', ['mp4', 'mkv'])
def test_a_last_picture_that_stays_is_part_of_the_dance(tmp_path, ending):
  import av

  times_F = _times()
  path = mux.write_video(tmp_path / 'a.mp4', _frames(), times_F)
  longer = tmp_path / f'b.{ending}'
  with av.open(str(path)) as source, av.open(str(longer), 'w') as sink:
    stream = source.streams.video[0]
    copy = sink.add_stream_from_template(stream, opaque=True)
    packets = [p for p in source.demux(stream) if p.dts is not None]
    packets[-1].duration *= 15
    for packet in packets:
      packet.stream = copy
      sink.mux(packet)
  info = video.probe(longer)
  assert info.duration_s == pytest.approx(times_F[-1] + 0.5, abs=1.5e-3)
  sound_s = info.duration_s
  muxed = mux.mux_audio(longer, clip.Waveform(_clicks([1.6], 2.0), RATE_HZ))
  assert video.probe(muxed).duration_s == pytest.approx(sound_s, abs=1.5e-3)
  heard_T = audio.read_audio(muxed, RATE_HZ).samples_T
  assert np.abs(heard_T[round(1.59 * RATE_HZ) :]).max() > 0.3


@pytest.mark.parametrize('ending', ['mp4', 'mkv', 'ts'])
@pytest.mark.parametrize('start', [45000, -3000])
def test_time_stamps_need_not_start_at_zero(tmp_path, ending, start):
  # With B frames: decoding order differs from the order of showing.
  if ending != 'mp4' and start < 0:
    pytest.skip('mkv and ts have no negative times')
  path = tmp_path / f'a.{ending}'
  _encode(path, 'libx264', start + 3000 * np.arange(40), TICK)
  info = video.probe(path)
  hidden = 1 if start < 0 else 0  # an mp4 hides what is before zero
  assert info.start_s == pytest.approx(0.5 if start > 0 else 0.0)
  assert len(info.frame_time_s) == 40 - hidden
  times_F = info.frame_time_s
  np.testing.assert_allclose(times_F, _times(40 - hidden), atol=1e-3)
  output = mux.mux_audio(path, _clicking(_times(40)), tmp_path / 'out.mp4')
  np.testing.assert_allclose(
    video.probe(output).frame_time_s, times_F, atol=1e-6
  )
  clicks_s = _click_times(output)
  np.testing.assert_allclose(clicks_s, _times()[list(FLASHES)], atol=1e-3)


def test_stream_that_begins_between_key_frames(tmp_path):
  path = tmp_path / 'a.mp4'
  _encode(path, 'libx264', 3000 * np.arange(60), TICK, g='20')
  late = _copy(path, tmp_path / 'late.ts', lambda k, _: k >= 10)
  info = video.probe(late)
  assert len(info.frame_time_s) == 40
  assert [t for t, _ in video.read_frames(late)] == info.frame_time_s.tolist()


def test_damaged_start_before_the_first_key_frame_is_left_out(tmp_path):
  path = tmp_path / 'a.webm'
  tick = fractions.Fraction(1, 30)
  _encode(path, 'libvpx-vp9', np.arange(40), tick, g='20', keyint_min='20')
  late = _copy(path, tmp_path / 'late.webm', lambda k, _: k >= 10)
  times_s = [time_s for time_s, _ in video.read_frames(late)]
  np.testing.assert_allclose(times_s, _times(20), atol=1e-3)


def test_pictures_shown_before_the_first_key_frame_are_left_out(tmp_path):
  # HEVC may send frames 18 and 19 after the key frame 20 that they refer to.
  parameters = 'keyint=20:min-keyint=20:open-gop=0:radl=2:log-level=none'
  path, ticks_F = tmp_path / 'a.mp4', 3000 * np.arange(60)
  _encode(path, 'libx265', ticks_F, TICK, **{'x265-params': parameters})
  late = _copy(path, tmp_path / 'late.mkv', lambda k, _: k >= 18)
  assert len(video.probe(late).frame_time_s) == 40
  flashes_s = [0.0, 13 / 30]  # frames 20 and 33
  np.testing.assert_allclose(_flash_times(late), flashes_s, atol=2e-3)


@pytest.mark.parametrize('ending', ['mp4', 'mkv', 'ts'])
def test_sound_of_a_video_that_starts_late_is_in_step(tmp_path, ending):
  import av

  path = tmp_path / 'a.mp4'
  mux.write_video(path, _frames(), _times(), _clicking(_times()))
  late = tmp_path / f'late.{ending}'
  with av.open(str(path)) as source, av.open(str(late), 'w') as sink:
    copies = {
      stream.index: sink.add_stream_from_template(stream, opaque=True)
      for stream in source.streams
    }
    for packet in source.demux():
      if packet.dts is not None:
        shift = round(fractions.Fraction(1, 2) / packet.time_base)
        packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
        packet.stream = copies[packet.stream_index]
        sink.mux(packet)
  assert video.probe(late).start_s == pytest.approx(0.5, abs=0.1)
  _check_in_step(late, _times())


def test_frames_outside_an_edit_list_are_not_shown(tmp_path, caplog):
  path = _encode(tmp_path / 'a.mp4', 'libx264', 3000 * np.arange(60), TICK)
  # As a lossless cut does: frames 0 to 9 are needed but lie before zero.
  cut = _copy(path, tmp_path / 'cut.mp4', lambda *_: True, -30000)
  assert len(video.probe(cut).frame_time_s) == 50
  (record,) = caplog.records
  assert 'cut.mp4: 0.33 s of its pictures lie outside' in record.getMessage()
  flashes_s = (np.array(FLASHES[1:]) - 10) / 30
  np.testing.assert_allclose(_flash_times(cut), flashes_s, atol=1e-6)
  waveform = clip.Waveform(_clicks(flashes_s, 50 / 30), RATE_HZ)
  output = mux.mux_audio(cut, waveform)
  np.testing.assert_allclose(_flash_times(output), flashes_s, atol=1e-6)
  np.testing.assert_allclose(_click_times(output)[-2:], flashes_s, atol=1e-3)
  with pytest.raises(InputError, match=r'\.mkv cannot keep the frame times'):
    mux.mux_audio(cut, waveform, tmp_path / 'b.mkv')
  assert not (tmp_path / 'b.mkv').exists()


def test_pixels_that_are_not_square_are_stretched(tmp_path):
  import av

  path = tmp_path / 'a.mp4'
  with av.open(str(path), 'w') as sink:
    stream = sink.add_stream('libx264', rate=30, width=64, height=48)
    stream.codec_context.sample_aspect_ratio = fractions.Fraction(3, 2)
    for rgb_HWC in _frames(5):
      sink.mux(stream.encode(av.VideoFrame.from_ndarray(rgb_HWC, 'rgb24')))
    sink.mux(stream.encode(None))
  assert (video.probe(path).width, video.probe(path).height) == (96, 48)
  assert next(video.read_frames(path))[1].shape == (48, 96, 3)


@pytest.mark.parametrize('height,width', [(48, 64), (51, 67), (2, 2)])
def test_pictures_survive_and_odd_sizes_gain_a_line(tmp_path, height, width):
  ramp = np.linspace(0, 255, width)[None, :, None]
  ramp_HWC = np.broadcast_to(ramp, (height, width, 3)).astype(np.uint8)
  path = mux.write_video(tmp_path / 'a.mp4', [ramp_HWC] * 3, _times(3))
  info = video.probe(path)
  assert (info.height, info.width) == (
    height + height % 2,
    width + width % 2,
  )
  for _, rgb_HWC in video.read_frames(path):
    assert rgb_HWC.dtype == np.uint8
    seen_HWC = rgb_HWC[:height, :width].astype(int)
    assert np.abs(seen_HWC - ramp_HWC).mean() < 6


def test_rotation_is_honoured_and_kept(shared_data, tmp_path):
  path = shared_data / 'decord/video_90.mov'
  info = video.probe(path)
  assert (info.rotation_deg, info.width, info.height) == (270, 320, 568)
  for ending in ('mov', 'mp4', 'mkv'):
    waveform = clip.Waveform(np.zeros(1600, np.float32), RATE_HZ)
    output = mux.mux_audio(path, waveform, tmp_path / f'a.{ending}')
    copy = video.probe(output)
    assert (copy.rotation_deg, copy.width, copy.height) == (270, 320, 568)
    for (_, a_HWC), (_, b_HWC) in zip(
      video.read_frames(path), video.read_frames(output)
    ):
      np.testing.assert_array_equal(a_HWC, b_HWC)


def test_rotation_turns_the_picture_upright(shared_data):
  import av

  path = shared_data / 'decord/video_90.mov'
  _, rgb_HWC = next(video.read_frames(path))
  with av.open(str(path)) as source:
    coded_HWC = next(source.decode(video=0)).to_ndarray(format='rgb24')
  np.testing.assert_array_equal(rgb_HWC[0, :], coded_HWC[::-1, 0])


@pytest.mark.parametrize(
  'name,size,count,duration_s',
  [
    ('magic-animate/dancing2.mp4', (512, 512), 100, 4.0),
    ('tfjs-pose/pose_1.mp4', (576, 576), 120, 4.0),
    ('moore-animateanyone/anyone-video-2_kps.mp4', (512, 768), 136, 136 / 30),
  ],
)
def test_real_videos(shared_data, name, size, count, duration_s):
  info = video.probe(shared_data / name)
  assert (info.width, info.height) == size
  assert info.duration_s == pytest.approx(duration_s, abs=1e-6)
  assert info.audio_stream_index is None
  read_s = []
  for time_s, rgb_HWC in video.read_frames(shared_data / name):
    assert rgb_HWC.shape == (*size[::-1], 3)
    read_s.append(time_s)
  assert read_s == info.frame_time_s.tolist()
  assert len(read_s) == count and (np.diff(read_s) > 0).all()


def test_first_of_two_streams_is_taken_and_said_once(shared_data, caplog):
  caplog.set_level('INFO', logger='absl')
  info = video.probe(shared_data / 'torchcodec/nasa_13013.mp4')
  assert (info.video_stream_index, info.audio_stream_index) == (0, 1)
  assert (info.width, info.height, len(info.frame_time_s)) == (320, 180, 325)
  assert info.duration_s == 13.0
  assert caplog.text.count('2 usable video streams') == 1
  assert caplog.text.count('2 usable audio streams') == 1


def test_real_video_gets_a_new_sound_only(shared_data, tmp_path):
  import av

  path = shared_data / 'torchcodec/nasa_13013.mp4'
  rng = np.random.default_rng(0)
  noise_T = rng.uniform(-0.5, 0.5, 13 * RATE_HZ).astype(np.float32)
  output = mux.mux_audio(
    path, clip.Waveform(noise_T, RATE_HZ), tmp_path / 'a.mp4'
  )
  assert _packets(output) == _packets(path)
  with av.open(str(output)) as source:
    assert [s.type for s in source.streams] == ['video', 'audio']
  heard_T = audio.read_audio(output, RATE_HZ).samples_T
  assert np.corrcoef(heard_T, noise_T)[0, 1] > 0.6


@pytest.mark.parametrize('sound_s,said', [(2.0, 'cut'), (0.5, 'silence')])
def test_sound_is_fitted_to_the_picture(tmp_path, caplog, sound_s, said):
  caplog.set_level('WARNING')
  waveform = clip.Waveform(np.full(int(sound_s * RATE_HZ), 0.3, 'f'), RATE_HZ)
  silent = mux.write_video(tmp_path / 'a.mp4', _frames(), _times())
  output = mux.mux_audio(silent, waveform)
  assert said in caplog.text and '1.333' in caplog.text
  assert abs(_declared_s(output) - 40 / 30) < 1e-3
  assert len(audio.read_audio(output).samples_T) == 21333


def test_sound_rates_that_a_codec_lacks(tmp_path):
  silent = mux.write_video(tmp_path / 'a.mp4', _frames(), _times())
  click_s = _times()[list(FLASHES)]
  for rate_hz in (8000, 20000, 96000):
    samples_T = _clicks(click_s, 40 / 30, rate_hz)
    output = mux.mux_audio(silent, clip.Waveform(samples_T, rate_hz))
    np.testing.assert_allclose(_click_times(output), click_s, atol=1e-3)


def test_hevc_is_named_as_players_want_it(tmp_path):
  import av

  path = tmp_path / 'a.mp4'
  parameters = {'x265-params': 'log-level=none'}
  _encode(path, 'libx265', 3000 * np.arange(3), TICK, **parameters)
  output = mux.mux_audio(
    path, clip.Waveform(np.zeros(1600, np.float32), RATE_HZ)
  )
  assert _packets(output) == _packets(path)
  with av.open(str(output)) as source:
    assert source.streams.video[0].codec_context.codec_tag == 'hvc1'


@pytest.mark.parametrize('change', ['time', 'count', 'rotation'])
def test_a_copy_of_another_picture_is_no_result(tmp_path, monkeypatch, change):
  path = mux.write_video(tmp_path / 'a.mp4', _frames(), _times())
  probe = video.probe

  def changed(place):
    info = probe(place)
    if place == path:
      return info
    time_F = info.frame_time_s.copy()
    time_F[20] += 0.01 * (change == 'time')
    time_F = time_F[: 39 if change == 'count' else 40]
    turned = 90 if change == 'rotation' else 0
    return dataclasses.replace(info, frame_time_s=time_F, rotation_deg=turned)

  monkeypatch.setattr(video, 'probe', changed)
  with pytest.raises(InputError, match='cannot keep the frame times or the'):
    mux.mux_audio(path, _clicking(_times()))
  assert list(tmp_path.iterdir()) == [path]


def test_default_output_stands_beside_the_video(tmp_path):
  silent = mux.write_video(tmp_path / 'my dance.MP4', _frames(), _times())
  output = mux.mux_audio(silent, _clicking(_times()))
  assert output == tmp_path / 'my dance_dance2wave.mp4'
  stream = _encode(tmp_path / 'b.ts', 'libx264', 3000 * np.arange(9), TICK)
  waveform = clip.Waveform(np.zeros(4800, np.float32), RATE_HZ)
  assert mux.mux_audio(stream, waveform).name == 'b_dance2wave.mp4'


@pytest.mark.parametrize(
  'codec,source,ending,better',
  [
    ('libvpx', 'a.webm', 'mp4', r'vp8.*expected \.webm or \.mkv'),
    ('libvpx-vp9', 'a.webm', 'avi', r'vp9.*\.mp4'),
    ('libx264', 'a.mp4', 'webm', r'h264.*\.mp4 or \.mkv'),
    ('libx264', 'a.mp4', 'avi', r'h264.*\.mp4 or \.mkv'),
    ('libx264', 'a.mp4', 'gif', r'\.gif.*h264.*\.mp4'),
    ('mpeg4', 'a.avi', 'mp4', r'mpeg4.*expected \.avi'),
  ],
)
def test_wrong_container_names_a_right_one(
  tmp_path, codec, source, ending, better
):
  path = tmp_path / source
  _encode(path, codec, np.arange(40), fractions.Fraction(1, 30))
  output = tmp_path / f'b.{ending}'
  with pytest.raises(InputError, match=better):
    mux.mux_audio(path, _clicking(_times()), output)
  assert [p.name for p in tmp_path.iterdir()] == [source]


def test_input_is_never_overwritten(tmp_path):
  path = mux.write_video(tmp_path / 'a.mp4', _frames(), _times())
  before = path.read_bytes()
  (tmp_path / 'link.mp4').symlink_to(path)
  for output in (path, tmp_path / 'link.mp4', tmp_path / '.' / 'a.mp4'):
    with pytest.raises(InputError, match='is the input video'):
      mux.mux_audio(path, _clicking(_times()), output)
  assert path.read_bytes() == before


def test_full_disk_leaves_the_old_file(tmp_path):
  path = mux.write_video(tmp_path / 'a.mp4', _frames(), _times())
  output = tmp_path / 'b.mp4'
  output.write_bytes(b'old')
  old = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (4096, old[1]))
  try:
    with pytest.raises(InputError, match=r'b\.mp4 cannot be written'):
      mux.mux_audio(path, _clicking(_times()), output)
    with pytest.raises(InputError, match=r'b\.mp4 cannot be written'):
      mux.write_video(output, _frames(), _times(), _clicking(_times()))
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, old)
  assert output.read_bytes() == b'old'
  assert sorted(p.name for p in tmp_path.iterdir()) == ['a.mp4', 'b.mp4']


@pytest.mark.parametrize(
  'frames,times_s,message',
  [
    (3, [0, 1], '3 frames and 2 times'),
    (1, [0, 1], '1 frames and 2 times'),
    (0, [0, 1], 'first frame'),
    (1, [0], 'at least two'),
    (3, [0, 1, 1], 'from 1.0 to 1.0 at frame 2'),
    (3, [0, np.nan, 1], 'finite'),
  ],
)
def test_frames_and_times_that_do_not_fit(tmp_path, frames, times_s, message):
  with pytest.raises(InputError, match=message):
    mux.write_video(tmp_path / 'a.mp4', _frames(frames), times_s)
  assert list(tmp_path.iterdir()) == []


def test_frames_of_other_sizes_and_types(tmp_path):
  first_HWC = np.zeros((48, 64, 3), np.uint8)
  for other_HWC in (first_HWC[:40], first_HWC.astype(np.float32)):
    with pytest.raises(InputError, match='expected uint8'):
      mux.write_video(tmp_path / 'a.mp4', [first_HWC, other_HWC], [0, 1])


def test_wrong_ending_and_folder(tmp_path):
  with pytest.raises(InputError, match=r'\.mp4'):
    mux.write_video(tmp_path / 'a.webm', _frames(), _times())
  with pytest.raises(InputError, match='No such file'):
    mux.write_video(tmp_path / 'no' / 'a.mp4', _frames(), _times())


def test_missing_empty_and_pictureless_files(tmp_path, shared_data):
  empty = tmp_path / 'empty.mp4'
  empty.touch()
  music = shared_data / 'librosa-data/Kevin_MacLeod_-_Vibe_Ace.ogg'
  for path, message in [
    (tmp_path / 'gone.mp4', 'is not a file'),
    (empty, 'is empty'),
    (music, 'has no video stream'),  # it has a cover picture
    (shared_data / 'SOURCES.md', 'cannot be decoded'),
    (shared_data / 'tfjs-pose/pose.jpg', 'at least two frames'),
  ]:
    for function in (video.probe, video.read_frames):
      with pytest.raises(InputError, match=f'{path.name}.*{message}'):
        function(path)


def test_one_frame_is_no_dance(tmp_path):
  path = _encode(tmp_path / 'a.mp4', 'libx264', [0], TICK)
  with pytest.raises(InputError, match='a dance needs at least two frames'):
    video.probe(path)


def test_wild_time_stamp_is_damage(tmp_path):
  path = tmp_path / 'a.mp4'
  _encode(path, 'libx264', [0, 3000, 90000 * 4000], TICK, bf='0')
  with pytest.raises(InputError, match='jumps by 4000 s'):
    video.probe(path)


def test_corrupted_pictures_are_noticed_while_reading(shared_data):
  frames = video.read_frames(shared_data / 'decord/corrupted.mp4')
  with pytest.raises(InputError, match=r'corrupted\.mp4 cannot be decoded'):
    list(frames)


def test_pictures_are_converted_without_threads_for_each(tmp_path):
  path, count = tmp_path / 'long.mp4', 300
  mux.write_video(path, _frames(count), _times(count), None)

  def newest_thread():
    with futures.ThreadPoolExecutor(1) as threads:
      return threads.submit(threading.get_native_id).result()

  before = newest_thread()
  assert sum(1 for _ in video.read_frames(path)) == count
  assert newest_thread() - before < count


def test_frames_that_decode_to_nothing_are_noticed(tmp_path, monkeypatch):
  path = tmp_path / 'a.mp4'
  mux.write_video(path, _frames(), _times())
  info = video.probe(path)
  more_F = np.append(info.frame_time_s, 40 / 30 + _times(2))
  damaged = dataclasses.replace(info, frame_time_s=more_F)
  monkeypatch.setattr(video, 'probe', lambda _: damaged)
  with pytest.raises(InputError, match=r'a\.mp4.*2 of its 42 frames'):
    list(video.read_frames(path))


def test_real_videos_cut_at_60_percent(shared_data, tmp_path):
  for name in (
    'sam2/05_default_juggle.mp4',  # header in front: opens, ends early
    'torchcodec/nasa_13013.mp4',  # header at the end: lost
  ):
    path = _cut(shared_data / name, 0.6, tmp_path / 'cut.mp4')
    for function in (video.probe, video.read_frames):
      with pytest.raises(InputError, match=r'cut\.mp4.*again'):
        function(path)


@pytest.mark.parametrize('share', [0.6, 0.9])
@pytest.mark.parametrize('ending', ['mp4', 'mov', 'mkv', 'webm', 'avi'])
def test_every_container_cut_short(tmp_path, ending, share):
  path = tmp_path / f'a.{ending}'
  if ending in ('webm', 'avi'):
    codec = 'libvpx' if ending == 'webm' else 'mjpeg'
    silent = tmp_path / f'silent.{ending}'
    _encode(silent, codec, np.arange(60), fractions.Fraction(1, 30))
    mux.mux_audio(silent, _clicking(_times(60)), path)
  else:
    mux.write_video(path, _frames(60), _times(60), _clicking(_times(60)))
  cut = _cut(path, share, tmp_path / f'cut.{ending}')
  for function in (video.probe, audio.read_audio):
    with pytest.raises(InputError, match=rf'cut\.{ending}'):
      function(cut)
