"""The beat detector: own music whole and damaged, clicks, foreign music."""

import dataclasses

import mir_eval
import numpy as np
import pytest
import scipy.signal
import soundfile

from dance2wave.datasets.synthetic_dance import music
from dance2wave.datasets.synthetic_dance.plan import STYLES, draw_plan
from dance2wave.errors import InputError
from dance2wave.metrics.beat_detector import detect_beats

DAMAGES = {
  'none': {},
  'snr 20 dB': {'snr_db': 20},
  'snr 10 dB': {'snr_db': 10},
  'a fifth of the drums missing': {'missing': 0.2},
  'onsets jittered by 15 ms': {'jitter_s': 0.015},
  'gain changes of 20 dB': {'gain_db': 10},
  'all of it': {
    'snr_db': 10,
    'missing': 0.2,
    'jitter_s': 0.015,
    'gain_db': 10,
  },
}


def render_clip(
  style, index, *, snr_db=None, missing=0.0, jitter_s=0.0, gain_db=0.0
):
  """Play a clip of the test split, with the damage that is asked for."""
  plan = dataclasses.replace(draw_plan(index, 'test'), style=style)
  rng = np.random.default_rng([index, 7])
  hands = 0.5 + 0.5 * np.sin(plan.beats_s)
  compose, onsets_s = music._compose, music._onsets_s
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(
      music,
      '_compose',
      lambda *a: [
        n for n in compose(*a) if n[2] >= 0 or rng.random() > missing
      ],
    )
    patch.setattr(
      music,
      '_onsets_s',
      lambda *a: (t := onsets_s(*a)) + jitter_s * rng.normal(size=len(t)),
    )
    audio_T = music.render(
      plan, (plan.beats_s, plan.size_K), (plan.beats_s, hands)
    )
  if snr_db is not None:
    noise_T = rng.normal(size=len(audio_T)) * audio_T.std()
    audio_T = audio_T + noise_T * 10 ** (-snr_db / 20)
  position = np.linspace(0, 8, len(audio_T))
  curve_db = np.interp(position, np.arange(9), rng.uniform(-1, 1, 9))
  return plan, audio_T * 10 ** (gain_db * curve_db / 20)


def f_measure(reference_s, estimate_s, tolerance_s=0.07):
  return mir_eval.beat.f_measure(
    reference_s, estimate_s, f_measure_threshold=tolerance_s
  )


def mean_f(style, indices, rate_hz=16000, tolerance_s=0.07, **damage):
  scores = []
  for index in indices:
    plan, audio_T = render_clip(style, index, **damage)
    audio_T = scipy.signal.resample_poly(audio_T, rate_hz // 1000, 16)
    beats_s = detect_beats(audio_T, rate_hz)
    scores.append(f_measure(plan.beats_in_clip_s, beats_s, tolerance_s))
  return np.mean(scores)


def click_track(tempo_bpm, rng, noise_db, rate_hz=16000, duration_s=8.0):
  period_s = 60 / tempo_bpm
  beats_s = np.arange(rng.uniform(0, period_s), duration_s, period_s)
  train_T = np.zeros(round(duration_s * rate_hz))
  train_T[(beats_s * rate_hz).astype(int)] = 1.0
  time_s = np.arange(rate_hz // 40) / rate_hz
  click = np.exp(-time_s / 0.006) * np.sin(2 * np.pi * 1000 * time_s)
  sound_T = np.convolve(train_T, click)[: len(train_T)]
  return beats_s, sound_T + rng.normal(size=len(sound_T)) * 10 ** (
    noise_db / 20
  )


@pytest.mark.parametrize('style', STYLES)
def test_finds_the_beats_of_every_style(style):
  assert mean_f(style, range(2), tolerance_s=0.035) > 0.95


@pytest.mark.parametrize('damage', list(DAMAGES)[1:])
def test_survives_damage(damage):
  scores = [
    mean_f(style, [10 + i], **DAMAGES[damage]) for i, style in enumerate(STYLES)
  ]
  assert np.mean(scores) > 0.9


@pytest.mark.parametrize('rate_hz', [8000, 22050, 44100])
def test_rate_does_not_matter(rate_hz):
  _, audio_T = render_clip('funk', 3)
  beats_s = detect_beats(audio_T, 16000)
  resampled_T = scipy.signal.resample_poly(audio_T, rate_hz // 50, 320)
  again_s = detect_beats(resampled_T, rate_hz)
  assert len(again_s) == len(beats_s)
  assert np.abs(again_s - beats_s).max() < 0.01


@pytest.mark.parametrize('noise_db', [-40, -30])
def test_clicks_at_random_tempi(noise_db):
  rng = np.random.default_rng(0)
  for tempo_bpm in rng.uniform(64, 186, size=6):
    beats_s, sound_T = click_track(tempo_bpm, rng, noise_db)
    assert f_measure(beats_s, detect_beats(sound_T, 16000), 0.035) > 0.9


def test_beats_go_on_to_both_ends():
  _, sound_T = click_track(120, np.random.default_rng(1), -60)
  sound_T[:24000] *= 1e-3  # three beats are gone at each end
  sound_T[-24000:] *= 1e-3
  beats_s = detect_beats(sound_T, 16000)
  assert beats_s[0] < 0.52 and beats_s[-1] > 7.48
  assert np.ptp(np.diff(beats_s)) < 0.1


def test_integers_and_scale_do_not_matter():
  _, audio_T = render_clip('house', 4)
  beats_s = detect_beats(audio_T, 16000)
  whole_T = np.round(audio_T * 32767).astype(np.int16)
  np.testing.assert_allclose(detect_beats(whole_T, 16000), beats_s, atol=0.004)
  np.testing.assert_allclose(
    detect_beats(audio_T * 1e-3, 16000), beats_s, atol=0.004
  )


@pytest.mark.parametrize(
  'sound_T',
  [
    np.zeros(0),
    np.zeros(1),
    np.ones(8000),
    np.zeros(80000),
    np.full(80000, 0.3),
    np.full(80000, np.nan),
    np.random.default_rng(0).normal(size=4000),
  ],
)
def test_nothing_to_hear_gives_no_beats(sound_T):
  beats_s = detect_beats(sound_T, 16000)
  assert beats_s.shape == (0,) and beats_s.dtype == np.float64


def test_odd_sounds_give_finite_increasing_beats():
  rng = np.random.default_rng(2)
  impulse_T = np.zeros(80000)
  impulse_T[40000] = 1.0
  for sound_T in (
    rng.normal(size=80000),
    np.sin(np.arange(80000) * 0.1),
    np.linspace(-1, 1, 80000),
    impulse_T,
    np.where(np.arange(80000) % 999 < 9, np.nan, 0.1),
  ):
    beats_s = detect_beats(sound_T, 16000)
    assert np.isfinite(beats_s).all() and (np.diff(beats_s) > 0).all()


def test_channels_and_rates_are_checked():
  with pytest.raises(InputError, match='one channel'):
    detect_beats(np.zeros((16000, 2)), 16000)
  with pytest.raises(InputError, match='0 Hz'):
    detect_beats(np.zeros(16000), 0)


def test_foreign_music_keeps_its_tempo(shared_data):
  tempi_bpm = []
  for name in ('Vibe_Ace.ogg', 'Vibe_Ace.hq.ogg'):
    path = shared_data / 'librosa-data' / f'Kevin_MacLeod_-_{name}'
    for offset_s in (10, 30):
      rate_hz = soundfile.info(path).samplerate
      audio_TC, _ = soundfile.read(
        path, start=offset_s * rate_hz, frames=8 * rate_hz, always_2d=True
      )
      audio_T = audio_TC.mean(axis=1)
      intervals_s = np.diff(detect_beats(audio_T, rate_hz))
      tempi_bpm.append(60 / np.median(intervals_s))
  np.testing.assert_allclose(tempi_bpm, 130, rtol=0.02)


@pytest.mark.slow
@pytest.mark.parametrize('style', STYLES)
@pytest.mark.parametrize('rate_hz', [8000, 16000])
def test_sweep_of_originals(style, rate_hz):
  assert mean_f(style, range(100, 130), rate_hz) >= 0.97
  assert mean_f(style, range(100, 130), rate_hz, 0.035) >= 0.97


@pytest.mark.slow
@pytest.mark.parametrize('damage', list(DAMAGES)[1:])
@pytest.mark.parametrize('style', STYLES)
def test_sweep_of_damages(style, damage):
  assert mean_f(style, range(200, 230), 8000, **DAMAGES[damage]) >= 0.95
