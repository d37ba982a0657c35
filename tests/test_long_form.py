"""Two minutes of a dance, asked for by its duration."""

import numpy as np
import pytest
from small_config import options_with

from dance2wave import long_form
from dance2wave.datasets.synthetic_dance.generate import Task, make_clip
from dance2wave.datasets.synthetic_dance.natural_plan import draw_natural_plan
from dance2wave.datasets.synthetic_dance.plan import draw_plan


@pytest.mark.parametrize('draw', [draw_plan, draw_natural_plan])
def test_a_plan_of_another_length_is_the_same_dancer(draw):
  short, long = draw(3, 'test'), draw(3, 'test', duration_s=30.0)
  assert long.duration_s == 30.0 > short.duration_s
  assert (long.tempo_bpm, long.seed) == (short.tempo_bpm, short.seed)
  assert len(long.beats_s) > len(short.beats_s)


def test_a_clip_has_the_length_that_is_asked_for():
  clip = make_clip(Task(0, 'test', duration_s=20.0))
  assert len(clip['audio']) == 20 * 16000 and clip['duration_s'] == 20.0
  assert clip['beats_s'][-1] > 19


class Perfect:
  """A generator whose sound is a click on every true beat but the last."""

  def __init__(self, options, wrong_from_s):
    self.options = options
    self._rate_hz, self._wrong_s = options.sample_rate_hz, wrong_from_s

  def generate(self, dances, *, seed, progress, rows):
    del seed, progress
    return [self._clicks(n, dances[n].num_samples) for n in rows]

  def _clicks(self, number, num_samples):
    audio_T = np.zeros(num_samples, np.float32)
    rng = np.random.default_rng(number)
    burst = rng.normal(size=400) * np.exp(-np.arange(400) / 80)
    for beat_s in self.beats_s[number]:
      late_s = 0.2 * (beat_s >= self._wrong_s)
      at = round((beat_s + late_s) * self._rate_hz)
      part = audio_T[at : at + 400]
      part += 0.3 * burst[: len(part)].astype(np.float32)
    return np.clip(audio_T, -1, 1)


def test_the_ends_are_scored_apart(monkeypatch):
  """A sound that loses the beat is told from one that keeps it."""
  monkeypatch.setattr(long_form, 'DURATION_S', 40.0)
  options = options_with()
  found = {}
  for wrong_s in (100.0, 25.0):
    generator = Perfect(options, wrong_s)
    clips = long_form.long_clips(options, 2, is_natural=False)
    generator.beats_s = [clip.clip.beats_s for clip in clips]
    monkeypatch.setattr(long_form, '_KINDS', {'two_minutes': False})
    figures = long_form.measure(options, generator, 2)
    found[wrong_s] = {figure.key: figure for figure in figures}
  right, lost = found[100.0], found[25.0]
  assert right['two_minutes_f70'].value > 0.95
  assert right['two_minutes_f70_last'].value > 0.9
  assert lost['two_minutes_f70_first'].value > 0.9
  assert lost['two_minutes_f70_last'].value < 0.5
  shuffled, _, _ = right['two_minutes_f70'].controls['shuffled']
  assert shuffled < 0.6


def test_chance_is_as_sure_as_its_dances_not_as_their_pairs():
  """One dance of five spoils eight pairs of twenty."""
  ticks_s = np.arange(0.1, 40, 0.5)
  true = [ticks_s] * 4 + [ticks_s + 0.25]
  value, low, high = long_form._of_others(true, true)
  assert value == pytest.approx(0.6)
  assert low < 0.4 and high == 1
  value, low, high = long_form._of_others(true[:2], true[:2])
  assert value == 1 and np.isnan([low, high]).all()
