"""The band: format, loudness, brightness, metre, harmony and styles."""

import dataclasses
import itertools

import numpy as np
import pytest
import scipy.stats

from dance2wave.datasets.synthetic_dance import bands, instruments, music
from dance2wave.datasets.synthetic_dance.plan import STYLES, draw_plan
from dance2wave.errors import InputError

RATE_HZ = music.SAMPLE_RATE_HZ


def constant(value):
  return np.array([0.0]), np.array([value])


def make_plan(style, index=0, tempo_bpm=None, **changes):
  plan = draw_plan(index, 'train')
  if tempo_bpm is not None:
    period_s = 60 / tempo_bpm
    beats_s = np.arange(-7.6, plan.duration_s / period_s + 8) * period_s
    changes |= {'beats_s': beats_s, 'tempo_bpm': tempo_bpm}
  return dataclasses.replace(plan, style=style, **changes)


def windows(audio_T, size=RATE_HZ // 2):
  count = len(audio_T) // size
  return audio_T[: count * size].reshape(count, size)


def rms_db(audio_T):
  return 10 * np.log10((windows(audio_T) ** 2).mean(axis=1) + 1e-12)


def centroid_hz(audio_T):
  power_WF = np.abs(np.fft.rfft(windows(audio_T))) ** 2
  freq_hz = np.fft.rfftfreq(RATE_HZ // 2, 1 / RATE_HZ)
  return (power_WF * freq_hz).sum(axis=1) / power_WF.sum(axis=1)


def opposite_curves(plan):
  time_s = np.linspace(0, plan.duration_s, 200)
  value = 0.5 - 0.5 * np.cos(2 * np.pi * time_s / plan.duration_s)
  centre_s = 0.25 + 0.5 * np.arange(int(plan.duration_s / 0.5))
  return (
    (time_s, value),
    (time_s, 1 - value),
    np.interp(centre_s, time_s, value),
  )


@pytest.mark.parametrize('style', STYLES)
@pytest.mark.parametrize('tempo_bpm', [70.0, 170.0])
def test_format(style, tempo_bpm):
  plan = make_plan(style, 1, tempo_bpm)
  audio_T = music.render(plan, constant(1.0), constant(1.0))
  assert audio_T.dtype == np.float32
  assert audio_T.shape == (round(plan.duration_s * RATE_HZ),)
  assert 0.4 < np.abs(audio_T).max() <= 0.95
  assert abs(audio_T.mean()) < 1e-6
  soft_T = music.render(plan, constant(0.0), constant(0.5))
  quiet = np.abs(soft_T) < 2e-3
  runs = [len(list(r)) for is_quiet, r in itertools.groupby(quiet) if is_quiet]
  assert max(runs) / RATE_HZ < 60 / tempo_bpm


def test_a_plan_and_its_curves_decide_everything():
  plan = make_plan('pop', 2)
  first_T = music.render(plan, constant(0.7), constant(0.5))
  instruments.tone.cache_clear()
  again_T = music.render(plan, constant(0.7), constant(0.5))
  np.testing.assert_array_equal(first_T, again_T)
  other = dataclasses.replace(plan, seed=(9, 9, 9))
  assert not np.array_equal(
    first_T, music.render(other, constant(0.7), constant(0.5))
  )


@pytest.mark.parametrize('style', STYLES)
def test_loudness_follows_size(style):
  plan = make_plan(style, 3)
  curve, opposite, value = opposite_curves(plan)
  one_db = rms_db(music.render(plan, curve, constant(0.5)))
  two_db = rms_db(music.render(plan, opposite, constant(0.5)))
  correlation = scipy.stats.spearmanr(one_db - two_db, 2 * value - 1)[0]
  assert correlation > 0.9
  loud_db, soft_db = (
    rms_db(music.render(plan, constant(size), constant(0.5))).mean()
    for size in (1.0, 0.0)
  )
  assert 10 < loud_db - soft_db < 14


@pytest.mark.parametrize('style', STYLES)
def test_brightness_follows_hands(style):
  found = []
  for index in (3, 4, 5):
    plan = make_plan(style, index)
    curve, opposite, value = opposite_curves(plan)
    one_hz = centroid_hz(music.render(plan, constant(0.7), curve))
    two_hz = centroid_hz(music.render(plan, constant(0.7), opposite))
    ratio = np.log(one_hz / two_hz)
    found.append(scipy.stats.spearmanr(ratio, value)[0])
  assert np.median(found) > 0.8 and min(found) > 0.7


@pytest.mark.parametrize('style', STYLES)
@pytest.mark.parametrize('tempo_bpm', [72.0, 165.0])
def test_beats_carry_the_strongest_drums(style, tempo_bpm):
  plan = make_plan(style, 5, tempo_bpm)
  audio_T = music.render(plan, constant(0.8), constant(0.5))
  power_T = np.cumsum(np.append(0.0, audio_T.astype(float) ** 2))

  def rise(time_s):
    at = (time_s * RATE_HZ).astype(int)
    after = power_T[at + 480] - power_T[at - 160]
    return after - (power_T[at - 160] - power_T[at - 800])

  inside = plan.beats_s[(plan.beats_s > 0.1) & (plan.beats_s < 5.0)]
  halves_s = inside + 30 / tempo_bpm
  assert np.median(rise(inside)) > 3 * np.median(rise(halves_s))
  assert rise(inside).min() > 0


def test_micro_timing_is_small_and_drums_on_beats_are_tight():
  plan = make_plan('rock', 6)
  grid = music._grid(plan, constant(0.5), constant(0.5))
  notes = music._compose(plan, grid)
  step = np.array([note[0] for note in notes])
  late_s = music._onsets_s(plan, grid, notes) - grid.time_s[step]
  strict = np.array([n[2] < 0 and n[0] % 4 == 0 for n in notes])
  assert (
    np.std(late_s[strict]) > 1e-3 and np.abs(late_s[strict]).max() < 3.001e-3
  )
  assert 2e-3 < np.std(late_s[~strict]) < 4e-3


@pytest.mark.parametrize('key', [0, 5])
@pytest.mark.parametrize('is_minor', [False, True])
def test_tones_are_in_the_key(key, is_minor):
  plan = make_plan('hip_hop', 7, key=key, is_minor=is_minor)
  grid = music._grid(plan, constant(0.5), constant(0.5))
  pitches = [n[2] for n in music._compose(plan, grid) if n[2] >= 0]
  scale = (0, 2, 3, 5, 7, 8, 10) if is_minor else (0, 2, 4, 5, 7, 9, 11)
  in_key = np.isin((np.array(pitches) - key) % 12, scale)
  assert in_key.mean() > 0.9


def test_styles_sound_different():
  def portrait(style):
    spectra = []
    for index in range(3):
      plan = make_plan(style, index, 110.0)
      audio_T = music.render(plan, constant(0.8), constant(0.5))
      power_WF = np.abs(np.fft.rfft(windows(audio_T, 1024))) ** 2
      edges = np.unique(np.geomspace(2, 512, 24).astype(int))
      bands_WB = np.log(np.add.reduceat(power_WF, edges, axis=1)[:, :-1] + 1e-6)
      spectra.append(np.append(bands_WB.mean(axis=0), bands_WB.std(axis=0)))
    return np.stack(spectra)

  portraits = {style: portrait(style) for style in STYLES}
  centres = np.stack([portraits[style].mean(axis=0) for style in STYLES])
  for i, style in enumerate(STYLES):
    for vector in portraits[style]:
      assert np.linalg.norm(centres - vector, axis=1).argmin() == i


def test_style_tables_are_whole():
  assert tuple(bands.BANDS) == STYLES
  for band in bands.BANDS.values():
    drum_bars = [bar for kit in band.drums for bar in kit.values()]
    pairs = [text for bar in band.bass_bars + band.chord_bars for text in bar]
    for text in drum_bars + pairs:
      assert len(text.replace(' ', '')) == 16
    for text in band.lead_bars:
      assert len(text.replace(' ', '')) == 32
    for velocities, notes in band.bass_bars + band.chord_bars:
      assert [c == '.' for c in velocities] == [c == '.' for c in notes]
    for kit in band.drums:
      assert set(kit) <= set(instruments.DRUMS) & set(bands.DRUM_LEVELS)


@pytest.mark.parametrize('name', instruments.DRUMS)
def test_one_shots_are_short_and_audible_at_8_khz(name):
  for layer in range(instruments.DRUM_LAYERS):
    sound_T = instruments.drum(name, layer)
    assert len(sound_T) < 0.9 * RATE_HZ and np.abs(sound_T).max() == 1
    power_F = np.abs(np.fft.rfft(sound_T, RATE_HZ)) ** 2
    assert power_F[:3900].sum() > 0.15 * power_F.sum()
    assert power_F[:10].sum() < 0.02 * power_F.sum()


@pytest.mark.parametrize(
  'curve',
  [
    (np.zeros(0), np.zeros(0)),
    (np.zeros(2), np.zeros(3)),
    (np.zeros(1), np.array([np.nan])),
  ],
)
def test_bad_curves_are_refused(curve):
  plan = draw_plan(0, 'train')
  with pytest.raises(InputError, match='hands_curve'):
    music.render(plan, constant(0.5), curve)
