import fractions
import resource
import struct

import numpy as np
import pytest
import soundfile

from dance2wave.errors import InputError
from dance2wave.media import audio, clip, mux, placing, video
from dance2wave.media.container import num_skipped, open_media

RATE_HZ = 16000


def _tone(duration_s=1.0, rate_hz=RATE_HZ, tone_hz=440.0):
  time_s = np.arange(round(duration_s * rate_hz)) / rate_hz
  return 0.5 * np.sin(2 * np.pi * tone_hz * time_s).astype(np.float32)


def _clicks(times_s, duration_s, rate_hz=RATE_HZ):
  samples_T = np.zeros(round(duration_s * rate_hz), np.float32)
  time_s = np.arange(int(0.01 * rate_hz)) / rate_hz
  click_T = 0.8 * np.sin(2 * np.pi * 2000 * time_s) * np.exp(-time_s / 0.002)
  for start in np.rint(np.asarray(times_s) * rate_hz).astype(int):
    samples_T[start : start + len(click_T)] = click_T
  return samples_T


def _lag(heard_T, expected_T):
  """Return by how many samples `heard_T` is late."""
  n = 2 * len(expected_T)
  spectrum = np.fft.rfft(heard_T, n) * np.conj(np.fft.rfft(expected_T, n))
  lag = int(np.argmax(np.fft.irfft(spectrum)))
  return lag if lag < n // 2 else lag - n


def _encode(path, codec, samples_T, rate_hz, container_format=None):
  """Write a sound file with PyAV, each frame with its time."""
  import av

  with av.open(str(path), 'w', format=container_format) as sink:
    stream = sink.add_stream(codec, rate=rate_hz)
    stream.codec_context.layout = 'mono'
    stream.codec_context.bit_rate = 128_000
    frame = av.AudioFrame.from_ndarray(samples_T[None], 'fltp', 'mono')
    frame.sample_rate, frame.pts = rate_hz, 0
    frame.time_base = fractions.Fraction(1, rate_hz)
    sink.mux(stream.encode(frame))
    sink.mux(stream.encode(None))
  return path


def _cut(path, share):
  content = path.read_bytes()
  short = path.with_stem(f'{path.stem}_cut')
  short.write_bytes(content[: int(len(content) * share)])
  return short


@pytest.mark.parametrize('rate_hz', [8000, 16000, 44100])
def test_wav_round_trip_is_exact_to_the_bit(tmp_path, rate_hz):
  path, again = tmp_path / 'a.wav', tmp_path / 'b.wav'
  audio.write_wav(path, clip.Waveform(_tone(rate_hz=rate_hz), rate_hz))
  waveform = audio.read_audio(path)
  assert waveform.sample_rate_hz == rate_hz
  np.testing.assert_allclose(
    waveform.samples_T, _tone(rate_hz=rate_hz), atol=0.5001 / 32768
  )
  audio.write_wav(again, waveform)
  assert again.read_bytes() == path.read_bytes()
  assert soundfile.info(path).subtype == 'PCM_16'


def test_write_wav_keeps_full_scale(tmp_path):
  path = tmp_path / 'a.wav'
  audio.write_wav(path, clip.Waveform(np.array([1.0, -1.0], np.float32), 8000))
  levels, _ = soundfile.read(path, dtype='int16')
  assert levels.tolist() == [32767, -32768]


@pytest.mark.parametrize(
  'subtype,atol',
  [('PCM_U8', 1 / 127), ('PCM_24', 2**-23), ('PCM_32', 1e-7), ('FLOAT', 0)],
)
def test_wav_sample_formats(tmp_path, subtype, atol):
  path = tmp_path / 'a.wav'
  soundfile.write(path, _tone(rate_hz=8000), 8000, subtype=subtype)
  waveform = audio.read_audio(path)
  np.testing.assert_allclose(
    waveform.samples_T, _tone(rate_hz=8000), atol=atol, rtol=0
  )


def test_surround_is_averaged(tmp_path):
  path = tmp_path / 'a.wav'
  six_TC = np.zeros((800, 6), np.float32)
  six_TC[:, 2], six_TC[:, 5] = 0.6, -0.3
  soundfile.write(path, six_TC, 8000, subtype='FLOAT')
  np.testing.assert_allclose(audio.read_audio(path).samples_T, 0.05, atol=1e-7)


@pytest.mark.parametrize('ending', ['flac', 'wav', 'aiff'])
def test_lossless_files_decode_exactly(tmp_path, ending):
  levels = np.random.default_rng(0).integers(-9999, 9999, 5001).astype('int16')
  path = tmp_path / f'a.{ending}'
  soundfile.write(path, levels, 22050)
  samples_T = audio.read_audio(path).samples_T
  np.testing.assert_array_equal(samples_T, levels.astype(np.float32) / 32768)


@pytest.mark.parametrize(
  'ending,codec', [('m4a', 'aac'), ('mka', 'aac'), ('mp3', 'libmp3lame')]
)
def test_coded_sound_is_not_delayed(tmp_path, ending, codec):
  samples_T = _clicks([0.1, 0.5, 0.8], 1.0)
  container_format = {'m4a': 'mp4', 'mka': 'matroska'}.get(ending)
  path = tmp_path / f'a.{ending}'
  _encode(path, codec, samples_T, RATE_HZ, container_format)
  waveform = audio.read_audio(path)
  assert _lag(waveform.samples_T, samples_T) == 0
  # Matroska does not tell where the padding of the last block begins.
  extra = len(waveform.samples_T) - RATE_HZ
  assert 0 <= extra < (1024 if ending == 'mka' else 1)


@pytest.mark.parametrize(
  'subtype,rate_hz', [('VORBIS', 16000), ('OPUS', 48000)]
)
def test_ogg_is_not_delayed(tmp_path, subtype, rate_hz):
  samples_T = _clicks([0.1, 0.5, 0.8], 1.0, rate_hz)
  path = tmp_path / 'a.ogg'
  soundfile.write(path, samples_T, rate_hz, format='OGG', subtype=subtype)
  waveform = audio.read_audio(path)
  assert len(waveform.samples_T) == rate_hz
  assert abs(_lag(waveform.samples_T, samples_T)) <= 1


@pytest.mark.parametrize(
  'n,from_hz,to_hz',
  [
    (44100, 44100, 16000),
    (12345, 16000, 44100),
    (999, 8000, 48000),
    (1, 48000, 16000),
  ],
)
def test_resample_has_the_exact_length(n, from_hz, to_hz):
  resampled_T = audio.resample(np.ones(n, np.float32), from_hz, to_hz)
  assert resampled_T.shape == (round(n * to_hz / from_hz),)
  assert resampled_T.dtype == np.float32


def test_resample_is_in_phase_and_band_limited():
  kept_T = audio.resample(_tone(rate_hz=44100), 44100, 16000)
  np.testing.assert_allclose(kept_T[200:-200], _tone()[200:-200], atol=1e-5)
  removed_T = audio.resample(_tone(rate_hz=44100, tone_hz=12000), 44100, 16000)
  assert np.abs(removed_T[200:-200]).max() < 1e-5


def test_resampling_on_reading_keeps_the_clicks(tmp_path):
  path = tmp_path / 'a.wav'
  times_s = [0.25, 0.5, 0.75]
  soundfile.write(path, _clicks(times_s, 1.0, 44100), 44100)
  waveform = audio.read_audio(path, RATE_HZ)
  assert waveform.sample_rate_hz == RATE_HZ
  assert abs(_lag(waveform.samples_T, _clicks(times_s, 1.0))) <= 1


@pytest.mark.parametrize(
  'ending', ['wav', 'flac', 'ogg', 'mp3', 'aiff', 'm4a', 'mka']
)
def test_cut_off_files_are_refused(tmp_path, ending):
  path = tmp_path / f'a.{ending}'
  if ending in ('m4a', 'mka'):
    container_format = 'mp4' if ending == 'm4a' else 'matroska'
    _encode(path, 'aac', _tone(3.0), RATE_HZ, container_format)
  else:
    soundfile.write(path, _tone(3.0), RATE_HZ)
  with pytest.raises(InputError, match=rf'a_cut\.{ending}.*(whole|again)'):
    audio.read_audio(_cut(path, 0.6))


def test_cut_off_wav_names_both_durations(tmp_path):
  path = tmp_path / 'a.wav'
  soundfile.write(path, _tone(2.0), RATE_HZ)
  with pytest.raises(InputError, match=r'1\.\d+ s.*declares 2\.000 s'):
    audio.read_audio(_cut(path, 0.6))


def test_wav_of_a_stream_may_leave_its_length_open(tmp_path):
  path = tmp_path / 'a.wav'
  soundfile.write(path, _tone(), RATE_HZ)
  content = bytearray(path.read_bytes())
  content[40:44] = struct.pack('<I', 0xFFFFFFFF)
  path.write_bytes(content)
  assert len(audio.read_audio(path).samples_T) == RATE_HZ


@pytest.mark.parametrize(
  'value,message', [(np.nan, 'NaN'), (np.inf, 'infinite'), (30000, 'reaches')]
)
def test_impossible_samples_are_refused(tmp_path, value, message):
  samples_T = _tone()
  samples_T[77] = value
  path = tmp_path / 'a.wav'
  soundfile.write(path, samples_T, RATE_HZ, subtype='FLOAT')
  with pytest.raises(InputError, match=rf'a\.wav.*{message}'):
    audio.read_audio(path)


def test_small_overshoot_is_clipped(tmp_path):
  path = tmp_path / 'a.wav'
  samples_T = np.array([0.5, 1.2, -1.5], np.float32)
  soundfile.write(path, samples_T, RATE_HZ, subtype='FLOAT')
  np.testing.assert_array_equal(audio.read_audio(path).samples_T, [0.5, 1, -1])


def test_missing_empty_silent_and_strange_files(tmp_path):
  empty, text = tmp_path / 'empty.wav', tmp_path / 'text.mp3'
  none = tmp_path / 'none.wav'
  empty.touch()
  text.write_text('not a sound at all\n' * 50)
  soundfile.write(none, _tone()[:0], RATE_HZ)
  for path, message in [
    (tmp_path / 'gone.wav', 'is not a file'),
    (tmp_path, 'is not a file'),
    (empty, 'is empty'),
    (text, 'cannot be decoded'),
    (none, 'no samples'),
  ]:
    with pytest.raises(InputError, match=f'{path.name}.*{message}'):
      audio.read_audio(path)


def test_bad_target_rate_is_named(tmp_path):
  with pytest.raises(InputError, match='sample_rate_hz is -1'):
    audio.read_audio(tmp_path / 'a.wav', -1)


def test_write_wav_leaves_nothing_behind_when_it_fails(tmp_path):
  path = tmp_path / 'a.wav'
  waveform = clip.Waveform(_tone(), RATE_HZ)
  old = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (8192, old[1]))
  try:
    with pytest.raises(InputError, match=r'a\.wav cannot be written'):
      audio.write_wav(path, waveform)
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, old)
  assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
  'name,message', [('no/folder.wav', 'No such file'), ('a.mp3', r'\.wav')]
)
def test_write_wav_refuses_bad_places(tmp_path, name, message):
  with pytest.raises(InputError, match=message):
    audio.write_wav(tmp_path / name, clip.Waveform(_tone(0.1), RATE_HZ))


def _video_with_sound(path, sound_s, picture_s=2.0):
  count = round(picture_s * 20)
  frames = [np.full((32, 48, 3), k, np.uint8) for k in range(count)]
  times_s = np.arange(count) / 20
  silent = path.with_stem('silent')
  mux.write_video(silent, frames, times_s)
  return _join(silent, path, _tone(sound_s))


def _join(silent, path, samples_T, delay_s=0.0):
  """Mux like a careless tool: sound as long and as late as it comes."""
  import av

  with av.open(str(silent)) as source, av.open(str(path), 'w') as sink:
    stream = source.streams.video[0]
    copy = sink.add_stream_from_template(stream, opaque=True)
    sound = sink.add_stream('aac', rate=RATE_HZ)
    sound.codec_context.layout = 'mono'
    for packet in source.demux(stream):
      if packet.dts is not None:
        packet.stream = copy
        sink.mux(packet)
    frame = av.AudioFrame.from_ndarray(samples_T[None], 'fltp', 'mono')
    frame.sample_rate = RATE_HZ
    frame.pts = round(delay_s * RATE_HZ)
    frame.time_base = fractions.Fraction(1, RATE_HZ)
    sink.mux(sound.encode(frame))
    sink.mux(sound.encode(None))
  return path


@pytest.mark.parametrize(
  'sound_s,said', [(3.0, 'cut'), (1.2, 'silence'), (2.0, '')]
)
def test_sound_of_a_video_is_as_long_as_its_picture(
  tmp_path, caplog, sound_s, said
):
  path = _video_with_sound(tmp_path / 'a.mp4', sound_s)
  caplog.set_level('WARNING')
  for rate_hz in (None, 22050):
    waveform = audio.read_audio(path, rate_hz)
    assert len(waveform.samples_T) == 2 * (rate_hz or RATE_HZ)
  assert (said in caplog.text) if said else not caplog.records
  if said == 'silence':
    assert np.abs(waveform.samples_T[-22050 // 2 :]).max() < 1e-3


@pytest.mark.parametrize('ending', ['mp4', 'mov', 'mkv'])
@pytest.mark.parametrize('delay_s', [0.3, -0.2])
def test_sound_that_starts_late_or_early_keeps_its_place(
  tmp_path, ending, delay_s
):
  frames = [np.full((32, 48, 3), k, np.uint8) for k in range(40)]
  times_s = np.arange(40) / 20
  silent = mux.write_video(tmp_path / 'silent.mp4', frames, times_s)
  path = tmp_path / f'a.{ending}'
  _join(silent, path, _clicks([0.5, 1.0, 1.1], 1.5), delay_s)
  expected_T = _clicks(np.array([0.5, 1.0, 1.1]) + delay_s, 2.0)
  waveform = audio.read_audio(path, RATE_HZ)
  assert len(waveform.samples_T) == 2 * RATE_HZ
  assert abs(_lag(waveform.samples_T, expected_T)) <= RATE_HZ // 1000


def _remux(path, output, change):
  """Copy a video; change(k, packet) says if sound packet k is kept."""
  import av

  with (
    av.open(str(path)) as source,
    av.open(str(output), 'w') as sink,
  ):
    copies = {
      stream.index: sink.add_stream_from_template(stream, opaque=True)
      for stream in source.streams
    }
    k = 0
    for packet in source.demux():
      if packet.dts is None:
        continue
      if packet.stream.type == 'audio':
        is_kept, k = change(k, packet), k + 1
        if not is_kept:
          continue
      packet.stream = copies[packet.stream_index]
      sink.mux(packet)
  return output


def _later(packet, by_s):
  """Move a packet by whole ticks, and say that it is kept."""
  ticks = round(by_s / packet.time_base)
  packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks
  return True


CLICKS_S = np.array([0.3, 0.5, 1.2, 1.5, 1.8])


@pytest.fixture(scope='module')
def clicking(tmp_path_factory):
  """A video of 2 s with clicks in AAC packets of 64 ms."""
  folder = tmp_path_factory.mktemp('clicking')
  frames = [np.full((32, 48, 3), k, np.uint8) for k in range(40)]
  silent = mux.write_video(folder / 'silent.mp4', frames, np.arange(40) / 20)
  return _join(silent, folder / 'a.mp4', _clicks(CLICKS_S, 2.0))


def _assert_clicks(samples_T, times_s):
  """Each click lies within a millisecond of its time."""
  shape_T = _clicks([0.0], 0.01)
  match_T = np.correlate(samples_T, shape_T, 'valid')
  near = round(0.06 * RATE_HZ)
  for start in np.rint(times_s * RATE_HZ).astype(int):
    part_T = match_T[start - near : start + near]
    assert abs(int(np.argmax(part_T)) - near) <= RATE_HZ // 1000, start


@pytest.mark.parametrize('ending', ['mp4', 'mkv'])
@pytest.mark.parametrize('lost,at_s', [(2, 0.1), (13, 0.8)])
def test_sound_after_a_lost_packet_keeps_its_place(
  clicking, tmp_path, ending, lost, at_s, caplog
):
  # Of its 64 ms 40 are missing: what comes after is earlier by the others.
  path = tmp_path / f'lost.{ending}'

  def change(k, packet):
    return k != lost and (k < lost or _later(packet, -0.024))

  _remux(clicking, path, change)
  samples_T = audio.read_audio(path, RATE_HZ).samples_T
  _assert_clicks(samples_T, CLICKS_S - 0.024 * (at_s < CLICKS_S))
  assert f'{path}: its sound has 1 gaps' in caplog.messages


def test_sound_that_overlaps_follows_its_time_stamps(clicking, tmp_path):
  path = tmp_path / 'early.mkv'
  _remux(clicking, path, lambda k, p: k < 14 or _later(p, -0.03))
  samples_T = audio.read_audio(path, RATE_HZ).samples_T
  _assert_clicks(samples_T, CLICKS_S - 0.03 * (CLICKS_S > 1))


@pytest.mark.parametrize('delay_s', [0.0, 0.4, -0.1])
def test_sound_without_time_stamps_follows_what_has_one(tmp_path, delay_s):
  silent = _video_with_sound(tmp_path / 'a.mp4', 0.1)
  info = video.probe(silent)
  sound_T = _clicks(CLICKS_S, 1.9)
  pieces = [
    (delay_s + info.start_s if k == 0 else None, part_T)
    for k, part_T in enumerate(np.split(sound_T, [1000, 2500, 9000]))
  ]
  placed_T = placing.place(pieces, RATE_HZ, info)
  assert len(placed_T) == 2 * RATE_HZ
  _assert_clicks(placed_T, (CLICKS_S + delay_s)[CLICKS_S + delay_s < 1.95])


def _write_avi(path, samples_T, delay_s):
  """Write 3 s of pictures, and sound in packets of 64 ms that starts late."""
  import av

  with av.open(str(path), 'w') as sink:
    picture = sink.add_stream('mpeg4', rate=20)
    picture.width, picture.height, picture.pix_fmt = 48, 32, 'yuv420p'
    sound = sink.add_stream('aac', rate=RATE_HZ)
    sound.codec_context.layout = 'mono'
    packets = []
    for k in range(60):
      grey_HWC = np.full((32, 48, 3), k, np.uint8)
      packets += picture.encode(av.VideoFrame.from_ndarray(grey_HWC, 'rgb24'))
    frame = av.AudioFrame.from_ndarray(samples_T[None], 'fltp', 'mono')
    frame.sample_rate, frame.pts = RATE_HZ, round(delay_s * RATE_HZ)
    frame.time_base = fractions.Fraction(1, RATE_HZ)
    packets += [*picture.encode(None), *sound.encode(frame)]
    packets += sound.encode(None)
    for packet in sorted(packets, key=lambda p: p.dts * p.time_base):
      sink.mux(packet)
  return path


@pytest.mark.parametrize('delay_s', [0.0, 0.1, 0.6])
def test_late_sound_of_an_avi_is_whole_and_late(tmp_path, delay_s):
  """Its delay is written as empty packets, which libav does not return."""
  path = tmp_path / 'a.avi'
  _write_avi(path, _clicks(CLICKS_S, 2.0), delay_s)
  with open_media(path) as container:
    empty = num_skipped(container, container.streams.audio[0])
  assert abs(empty - max(0, delay_s / 0.064 - 1)) <= 1
  assert bool(empty) == bool(delay_s)
  assert video.probe(path).duration_s == pytest.approx(3.0, abs=0.11)
  samples_T = audio.read_audio(path, RATE_HZ).samples_T
  lag_s = _lag(samples_T, _clicks(CLICKS_S + delay_s, 3.0)) / RATE_HZ
  assert abs(lag_s) < 0.1  # The encoder's delay, and that of one packet.


def test_late_sound_of_an_avi_cut_off_is_refused(tmp_path):
  path = _write_avi(tmp_path / 'a.avi', _tone(2.4), 0.6)
  audio.read_audio(path)
  for share in (0.5, 0.8):
    cut = _cut(path, share)
    for read in (video.probe, audio.read_audio):
      with pytest.raises(InputError, match=r'a_cut\.avi'):
        read(cut)


@pytest.mark.parametrize('jitter_s', [0.001, 0.004, 0.02])
def test_time_stamps_that_waver_neither_add_nor_drop_samples(
  clicking, tmp_path, jitter_s, caplog
):
  steady = _remux(clicking, tmp_path / 'a.mkv', lambda *_: True)
  path = _remux(
    clicking,
    tmp_path / 'b.mkv',
    lambda k, packet: _later(packet, jitter_s * (0, 1, 0, -1)[k % 4]),
  )
  np.testing.assert_array_equal(
    audio.read_audio(path).samples_T, audio.read_audio(steady).samples_T
  )
  assert not caplog.records


def test_vorbis_of_real_music_stays_whole(shared_data, tmp_path, caplog):
  """libav is 6 to 10 ms off for a block wherever their size changes."""
  import av

  music = shared_data / 'librosa-data/Kevin_MacLeod_-_Vibe_Ace.ogg'
  path = tmp_path / 'a.mkv'
  with av.open(str(music)) as source, av.open(str(path), 'w') as sink:
    sound = source.streams.audio[0]
    copy = sink.add_stream_from_template(sound, opaque=True)
    picture = sink.add_stream('libx264', rate=20)
    picture.width = picture.height = 32
    picture.pix_fmt = 'yuv420p'
    for k in range(60):
      grey_HWC = np.full((32, 32, 3), 4 * k, np.uint8)
      sink.mux(picture.encode(av.VideoFrame.from_ndarray(grey_HWC, 'rgb24')))
    sink.mux(picture.encode(None))
    for packet in source.demux(sound):
      if packet.dts is not None and packet.pts * packet.time_base < 3.2:
        packet.stream = copy
        sink.mux(packet)
  joined_T = audio.read_audio(music).samples_T[: 3 * 22050]
  samples_T = audio.read_audio(path).samples_T
  assert abs(_lag(samples_T, joined_T)) <= 22
  lag = _lag(samples_T, joined_T)
  np.testing.assert_allclose(
    samples_T[1000 + lag : -1000], joined_T[1000 : -1000 - lag], atol=1e-4
  )
  assert not [m for m in caplog.messages if 'gaps' in m]


def test_silent_video_says_so(shared_data):
  with pytest.raises(InputError, match=r'pose_1\.mp4 has no sound track'):
    audio.read_audio(shared_data / 'tfjs-pose/pose_1.mp4')


def test_first_sound_of_several_fits_the_first_picture(shared_data, caplog):
  caplog.set_level('INFO', logger='absl')
  path = shared_data / 'torchcodec/nasa_13013.mp4'
  waveform = audio.read_audio(path, RATE_HZ)
  assert len(waveform.samples_T) == 13 * RATE_HZ
  assert '2 usable audio streams' in caplog.text
  assert len(audio.read_audio(path).samples_T) == 13 * 8000


def test_aac_and_mp3_of_one_sound_agree(shared_data):
  folder = shared_data / 'torchcodec'
  aac = audio.read_audio(folder / 'nasa_13013.mp4').samples_T
  mp3 = audio.read_audio(folder / 'nasa_13013.mp4.audio.mp3').samples_T
  assert len(mp3) == 104448
  assert _lag(mp3, aac) == 0
  assert np.corrcoef(mp3[: len(aac)], aac)[0, 1] > 0.99


def test_real_music_has_its_declared_length(shared_data):
  for name, n in [
    ('librosa-data/Kevin_MacLeod_-_Vibe_Ace.ogg', 1355168),  # with a cover
    ('mirdata-guitarset/03_BN3-119-G_solo_mic.wav', 88200),
    ('tensorflow-io/gs-16b-2c-44100hz.wav', 698368),
    ('tensorflow-io/gs-16b-2c-44100hz.mp4', 698191),
  ]:
    assert len(audio.read_audio(shared_data / name).samples_T) == n
