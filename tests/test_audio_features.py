import numpy as np
import pytest
import scipy.fft

from dance2wave.errors import InputError
from dance2wave.media import audio_features as af
from dance2wave.media.audio import read_audio, resample
from dance2wave.metrics.librosa_loading import load_librosa

RATE_HZ = 22050
HOP = 1470


def tone(hz, duration_s=1.0, rate_hz=RATE_HZ, peak=0.5):
  time_T = np.arange(round(duration_s * rate_hz)) / rate_hz
  return (peak * np.sin(2 * np.pi * hz * time_T)).astype(np.float32)


def noise(num_samples, seed=0):
  return np.random.default_rng(seed).uniform(-0.5, 0.5, num_samples)


def mel(hz):
  return 2595 * np.log10(1 + hz / 700)


def band_of(hz, high_hz=6855.4976):
  """The band whose peak is nearest in mel, from the definition alone."""
  step = (mel(high_hz) - mel(133.33334)) / 41
  return round((mel(hz) - mel(133.33334)) / step) - 1


@pytest.mark.parametrize('hz', [200, 440, 1000, 2500, 6000])
def test_a_sine_excites_its_mel_band(hz):
  bands_FB = af.log_mel(tone(hz).astype(np.float64) * 32768, 6855.4976)
  assert set(bands_FB[1:-1].argmax(axis=1)) == {band_of(hz)}
  far = abs(np.arange(40) - band_of(hz)) > 4
  assert (bands_FB[3].max() - bands_FB[3][far]).min() > 4  # nepers of power


def test_the_level_of_a_sine_is_known():
  # Whole periods in every window; a gain of the pre-emphasis; Parseval.
  edge_mel = np.linspace(mel(133.33334), mel(6855.4976), 42)
  left, peak, right = 700 * (10 ** (edge_mel[30:33] / 2595) - 1)
  hz = 15 * round(peak / 15)
  features_FA = af.audio_features(tone(hz), RATE_HZ)
  mean_square = (0.5 * 32768) ** 2 / 2
  np.testing.assert_allclose(features_FA[1:-1, 13], np.log1p(mean_square), 1e-5)

  turn = 2j * np.pi * hz / RATE_HZ
  energy = mean_square / 2 * np.sum(np.hamming(1470) ** 2) * 2048
  height = 2 / (right - left)
  power = abs(1 - 0.97 * np.exp(-turn)) ** 2 * energy * height
  bands_FB = af.log_mel(tone(hz).astype(np.float64) * 32768, 6855.4976)
  np.testing.assert_allclose(bands_FB[1:-1, 30], np.log(power), atol=0.1)


def test_silence():
  features_FA = af.audio_features(np.zeros(3 * HOP, np.float32), RATE_HZ)
  assert features_FA.shape == (3, 28)
  np.testing.assert_array_equal(features_FA[:, 13:], 0)
  # 40 equal bands of log 1e-5, of which the first counts half.
  first_C = np.log(1e-5) / 40
  order_C = np.arange(13)
  expected_C = -0.5 * first_C * np.cos(np.pi * order_C / 80)
  expected_C[0] += 40 * first_C
  np.testing.assert_allclose(features_FA[1, :13], expected_C, rtol=1e-5)


@pytest.mark.parametrize(
  'rate_hz, num_samples, num_frames',
  [
    (22050, 1470, 1),
    (22050, 1471, 2),
    (22050, 1469, 1),
    (16000, 32000, 30),
    (48000, 480000, 150),
    (44100, 44100 * 2 // 15, 2),
    (16000, 1, 1),
    (16000, 0, 0),
  ],
)
def test_fifteen_rows_a_second(rate_hz, num_samples, num_frames):
  sound_T = noise(num_samples).astype(np.float32)
  features_FA = af.audio_features(sound_T, rate_hz)
  assert features_FA.shape == (num_frames, 28)
  assert features_FA.dtype == np.float32
  assert np.isfinite(features_FA).all()


def test_a_shift_by_a_frame_shifts_the_rows():
  sound_T = noise(10 * HOP).astype(np.float32)
  features_FA = af.audio_features(sound_T, RATE_HZ)
  later_T = np.concatenate([np.zeros(2 * HOP, np.float32), sound_T])
  later_FA = af.audio_features(later_T, RATE_HZ)
  np.testing.assert_allclose(later_FA[2:, :14], features_FA[:, :14], rtol=1e-5)
  np.testing.assert_allclose(later_FA[3:], features_FA[1:], atol=1e-4)


def test_row_k_hears_the_fifteenth_from_k_on():
  sound_T = np.zeros(RATE_HZ, np.float32)
  sound_T[4 * HOP : 5 * HOP] = noise(HOP)
  loudness_F = af.audio_features(sound_T, RATE_HZ)[:, 13]
  assert np.flatnonzero(loudness_F).tolist() == [4]


def test_the_second_half_is_first_differences():
  features_FA = af.audio_features(noise(8 * HOP).astype(np.float32), RATE_HZ)
  np.testing.assert_array_equal(features_FA[0, 14:], 0)
  np.testing.assert_allclose(
    features_FA[1:, 14:], np.diff(features_FA[:, :14], axis=0), atol=1e-5
  )


def test_every_rate_gives_the_same_target():
  """The same sound at other rates: rows correlate, by column, almost fully."""
  rng = np.random.default_rng(3)
  gain_T = np.repeat(rng.uniform(0.05, 1, 60), 48000 // 15)
  colour_T = np.sin(np.cumsum(np.repeat(rng.uniform(0.01, 0.5, 60), 3200)))
  sound_T = ((noise(192000) * 0.3 + colour_T * 0.5) * gain_T).astype(np.float32)
  reference_FA = af.audio_features(sound_T, 48000)
  for rate_hz in (44100, 22050, 16000):
    other_T = resample(sound_T, 48000, rate_hz)
    other_FA = af.audio_features(other_T, rate_hz)
    assert other_FA.shape == reference_FA.shape
    for column in range(28):
      both = np.corrcoef(other_FA[:, column], reference_FA[:, column])
      assert both[0, 1] > 0.999, (rate_hz, column)


def test_the_top_edge_stays_below_the_half_rate():
  assert af.top_hz(48000) == af.top_hz(16000) == 6855.4976
  assert af.top_hz(8000) == 3600
  assert (af.mel_filters(af.top_hz(4000)).max(axis=1) > 0).all()
  # No band of an 8 kHz recording is empty, as those above 4 kHz would be.
  slow_T = noise(8000).astype(np.float32)
  at_22050_T = resample(slow_T, 8000, RATE_HZ).astype(np.float64) * 32768
  assert af.log_mel(at_22050_T, af.top_hz(8000))[2:-2].min() > 10
  clipped, whole = af.mel_filters(3600.0), af.mel_filters(6855.4976)
  assert np.flatnonzero(clipped[-1])[-1] < np.flatnonzero(whole[-1])[-1]


def test_a_gain_moves_the_level_alone():
  sound_T = noise(5 * HOP).astype(np.float32) / 4
  loud = af.audio_features(sound_T * 4, RATE_HZ)
  soft = af.audio_features(sound_T, RATE_HZ)
  np.testing.assert_allclose(
    loud[:, 0] - soft[:, 0], 0.9875 * 2 * np.log(4), rtol=1e-4
  )
  assert np.abs(loud - soft)[:, 1:13].max() < 0.025 * np.log(4) + 1e-4
  np.testing.assert_allclose(loud[1:, 14:27], soft[1:, 14:27], atol=1e-4)


def test_filters_are_those_of_librosa():
  librosa = load_librosa()
  theirs = librosa.filters.mel(
    sr=RATE_HZ,
    n_fft=2048,
    n_mels=40,
    fmin=133.33334,
    fmax=6855.4976,
    htk=True,
    norm='slaney',
    dtype=np.float64,
  )
  np.testing.assert_allclose(af.mel_filters(6855.4976), theirs, atol=1e-9)


def test_the_transform_is_a_dct_where_the_first_band_is_zero():
  log_mel_FB = np.random.default_rng(1).normal(size=(5, 40))
  log_mel_FB[:, 0] = 0
  ours = af.cepstra(log_mel_FB)
  # librosa.feature.mfcc keeps the first rows of the orthonormal DCT-II.
  theirs = scipy.fft.dct(log_mel_FB, axis=1, norm='ortho')[:, :13]
  theirs /= np.sqrt(80)
  theirs[:, 0] *= np.sqrt(2)
  np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_a_row_by_hand():
  """Row 1 of two frames of noise, step by step from the description."""
  sound_T = noise(2 * HOP).astype(np.float32)
  counts = sound_T.astype(float) * 32768
  lifted = [counts[t] - 0.97 * counts[t - 1] for t in range(HOP, 2 * HOP)]
  turn = 2 * np.pi * np.arange(HOP) / (HOP - 1)
  spectrum = np.fft.fft(lifted * (0.54 - 0.46 * np.cos(turn)), 2048)
  edge_mel = np.linspace(mel(133.33334), mel(6855.4976), 42)
  edge_hz = 700 * (10 ** (edge_mel / 2595) - 1)
  log_band = []
  for left, peak, right in zip(edge_hz, edge_hz[1:], edge_hz[2:]):
    power = 0.0
    for k in range(1025):
      hz = k * RATE_HZ / 2048
      if left < hz < right:
        up, down = (hz - left) / (peak - left), (right - hz) / (right - peak)
        power += min(up, down) * 2 / (right - left) * abs(spectrum[k]) ** 2
    log_band.append(np.log(power))
  expected = [
    sum(
      (0.5 if band == 0 else 1.0)
      * level
      * np.cos(np.pi * k * (band + 0.5) / 40)
      for band, level in enumerate(log_band)
    )
    / 40
    for k in range(13)
  ]
  expected.append(np.log(1 + np.mean(counts[HOP:] ** 2)))
  row = af.audio_features(sound_T, RATE_HZ)[1]
  np.testing.assert_allclose(row[:14], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
  'sound_T, rate_hz, message',
  [
    (np.zeros((100, 2)), 16000, r'shape \(100, 2\)'),
    (np.zeros(100), 2000, 'at 2000 Hz; expected .* 4000 Hz or more'),
    (np.full(100, np.nan), 16000, 'NaN or infinite'),
  ],
)
def test_bad_sound_is_one_line(sound_T, rate_hz, message):
  with pytest.raises(InputError, match=message):
    af.audio_features(sound_T, rate_hz)


def test_real_music_has_lively_features(shared_data):
  path = shared_data / 'librosa-data' / 'Kevin_MacLeod_-_Vibe_Ace.ogg'
  sound_T = read_audio(path, 16000).samples_T[: 16000 * 10]
  features_FA = af.audio_features(sound_T, 16000)
  assert features_FA.shape == (150, 28)
  assert (features_FA.std(axis=0) > 0.01).all()
