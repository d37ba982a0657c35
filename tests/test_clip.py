import numpy as np
import pytest

from dance2wave.errors import InputError
from dance2wave.media import clip


def _ramp(n=1600, rate_hz=16000):
  return clip.Waveform(np.linspace(-1, 1, n, dtype=np.float32), rate_hz)


def test_waveform_is_float32_and_read_only():
  samples_T = np.zeros(10, np.float64)
  waveform = clip.Waveform(samples_T, np.int64(8000))
  assert waveform.samples_T.dtype == np.float32
  assert type(waveform.sample_rate_hz) is int
  assert waveform.duration_s == 10 / 8000
  with pytest.raises(ValueError, match='read-only'):
    waveform.samples_T[0] = 1.0


def test_waveform_leaves_the_callers_array_writeable():
  samples_T = np.zeros(10, np.float32)
  clip.Waveform(samples_T, 8000)
  samples_T[0] = 0.5


@pytest.mark.parametrize(
  'samples_T,rate_hz,message',
  [
    (np.zeros((2, 5), np.float32), 8000, r'shape \(2, 5\).*mono'),
    (np.zeros(5, np.int16), 8000, 'int16.*floats'),
    (np.array([0, np.nan], np.float32), 8000, 'nan.*finite'),
    (np.array([0, np.inf], np.float32), 8000, 'inf.*finite'),
    (np.array([0, -1.01], np.float32), 8000, r'1\.0.*\[-1, 1\]'),
    (np.zeros(5, np.float32), 0, 'sample_rate_hz is 0'),
    (np.zeros(5, np.float32), 16000.0, r'sample_rate_hz is 16000\.0'),
    (np.zeros(5, np.float32), True, 'sample_rate_hz is True'),
  ],
)
def test_bad_waveforms_are_refused(samples_T, rate_hz, message):
  with pytest.raises(InputError, match=message):
    clip.Waveform(samples_T, rate_hz)


def test_num_samples_is_the_nearest_count():
  assert clip.num_samples(390 * 1001 / 30000, 16000) == 208208
  assert clip.num_samples(0.1, 44100) == 4410
  assert clip.num_samples(1 / 3, 16000) == 5333


@pytest.mark.parametrize('n', [0, 3, 5, 9])
def test_fit_samples_cuts_and_fills_the_end(n):
  fitted_T = clip.fit_samples(np.arange(1, 6, dtype=np.float32), n)
  assert fitted_T.dtype == np.float32
  np.testing.assert_array_equal(fitted_T, [1, 2, 3, 4, 5, 0, 0, 0, 0][:n])


def test_samples_per_frame_is_whole_or_names_both_keys():
  assert clip.samples_per_frame(16000, 50) == 320
  with pytest.raises(
    InputError, match=r'sample_rate_hz = 16000.*pose_rate_hz = 30'
  ):
    clip.samples_per_frame(16000, 30)
  with pytest.raises(InputError, match='pose_rate_hz = 0'):
    clip.samples_per_frame(16000, 0)


def test_crops_at_every_frame_meet_without_gap_or_overlap():
  waveform = _ramp(16000)
  frame_s = 1 / 50
  pieces = [clip.crop(waveform, k * frame_s, frame_s) for k in range(50)]
  assert {len(piece.samples_T) for piece in pieces} == {320}
  joined_T = np.concatenate([piece.samples_T for piece in pieces])
  np.testing.assert_array_equal(joined_T, waveform.samples_T)


def test_crop_between_samples_is_an_error():
  with pytest.raises(InputError, match=r'sample 533\.333.*pose frame'):
    clip.crop(_ramp(), 1 / 30, 0.01)


@pytest.mark.parametrize('start_s,length_s', [(0.05, 0.06), (-0.01, 0.02)])
def test_crop_outside_is_an_error(start_s, length_s):
  with pytest.raises(InputError, match=r'leaves the sound of 0\.100 s'):
    clip.crop(_ramp(), start_s, length_s)


def test_crop_may_reach_the_very_end():
  assert clip.crop(_ramp(), 0.05, 0.05).samples_T[-1] == 1.0


def test_a_sound_ends_at_the_sample_nearest_to_its_end():
  assert clip.num_samples(1.0, 16000) == 16000
  assert clip.num_samples(0.29, 100) == 29  # 28.999999999999996
  assert clip.num_samples(2 + 0.6 / 8000, 8000) == 16001
