"""One-shot sounds of the band: drums and pitched tones, cached per process.

Every sound is short and decays by itself, so that a clip is a sum of one-shots
at sample positions. All are mono float32 at RATE_HZ, peak 1, read-only.
"""

import dataclasses
import functools

import numpy as np

RATE_HZ = 16000
DRUM_LAYERS = 3  # velocity layers: soft, medium, hard
BRIGHTNESS_LEVELS = 5

_FADE_SAMPLES = 80  # every sound ends in silence


@dataclasses.dataclass(frozen=True)
class Drum:
  """A struck sound: a falling tone, further partials, and filtered noise.

  Attributes:
    tone_hz: frequency that the tone settles on.
    sweep_hz: extra frequency at the stroke, gone after some 20 ms.
    tone_decay_s: time constant of the tone.
    partials: (ratio, level) of further partials.
    noise: level of the noise relative to the tone.
    noise_band_hz: lower and upper edge of the noise.
    noise_decay_s: time constant of the noise.
    strokes_s: onsets of the noise; a clap has several.
  """

  tone_hz: float
  sweep_hz: float = 0.0
  tone_decay_s: float = 0.05
  partials: tuple[tuple[float, float], ...] = ()
  noise: float = 0.0
  noise_band_hz: tuple[float, float] = (1000.0, 7000.0)
  noise_decay_s: float = 0.03
  strokes_s: tuple[float, ...] = (0.0,)


@dataclasses.dataclass(frozen=True)
class Tone:
  """A pitched sound: partials whose upper ones decay sooner.

  Attributes:
    partials: (ratio, level) pairs.
    decay_s: time constant of the lowest partial.
    damping: how much sooner a partial decays per step of its ratio.
    attack_s: time of the rise.
    drive: amount of soft clipping, 0 for none.
    vibrato: depth of a 6 Hz vibrato as a share of the frequency.
  """

  partials: tuple[tuple[float, float], ...]
  decay_s: float
  damping: float = 0.15
  attack_s: float = 0.002
  drive: float = 0.0
  vibrato: float = 0.0


def _series(count: int, power: float, step: int = 1, start: int = 1):
  """Return harmonics with levels that fall as ratio ** -power."""
  ratios = range(start, start + count * step, step)
  return tuple((float(n), float(n) ** -power) for n in ratios)


DRUMS = {
  'kick_club': Drum(52, 160, 0.10, ((2.0, 0.15),), 0.35, (900, 3500), 0.004),
  'kick_deep': Drum(46, 110, 0.15, ((2.0, 0.10),), 0.25, (700, 2500), 0.004),
  'kick_rock': Drum(64, 120, 0.07, ((1.6, 0.3),), 0.50, (1500, 4500), 0.005),
  'kick_tight': Drum(70, 140, 0.05, ((2.0, 0.2),), 0.45, (1200, 4000), 0.004),
  'kick_soft': Drum(58, 90, 0.08, ((2.0, 0.2),), 0.30, (800, 3000), 0.004),
  'snare_rock': Drum(190, 60, 0.06, ((1.7, 0.6),), 1.0, (900, 6500), 0.070),
  'snare_tight': Drum(240, 50, 0.04, ((1.6, 0.6),), 0.9, (1200, 7000), 0.045),
  'snare_fat': Drum(170, 40, 0.08, ((1.8, 0.4),), 0.9, (700, 5000), 0.060),
  'clap': Drum(1000, 0, 0.01, (), 1.6, (800, 4000), 0.040, (0.0, 0.006, 0.012)),
  'hat': Drum(3600, 0, 0.008, ((1.4, 0.7),), 2.0, (2300, 7800), 0.016),
  'hat_open': Drum(3600, 0, 0.03, ((1.4, 0.7),), 2.0, (2300, 7800), 0.060),
  'shaker': Drum(3000, 0, 0.01, (), 3.0, (2500, 6500), 0.022),
  'ride': Drum(2900, 0, 0.07, ((1.34, 0.8), (1.83, 0.6)), 0.6, (3000, 7500)),
  'cowbell': Drum(562, 0, 0.07, ((1.5, 0.9), (3.0, 0.3), (4.5, 0.25))),
  'conga_low': Drum(175, 40, 0.09, ((1.6, 0.3),), 0.25, (500, 2000), 0.006),
  'conga_high': Drum(265, 40, 0.06, ((1.6, 0.3),), 0.25, (700, 2500), 0.006),
  'slap': Drum(330, 80, 0.03, ((2.1, 0.8),), 1.2, (1000, 4500), 0.025),
  'clave': Drum(2450, 0, 0.016, ((1.5, 0.2),)),
}

TONES = {
  # Basses.
  'bass_house': Tone(_series(5, 1.0), 0.13, 0.4),
  'bass_808': Tone(((1.0, 1.0), (2.0, 0.35), (3.0, 0.12)), 0.32, 0.3),
  'bass_pick': Tone(_series(7, 0.8), 0.22, 0.25, drive=1.5),
  'bass_slap': Tone(_series(9, 0.6), 0.14, 0.35, attack_s=0.001),
  'bass_upright': Tone(_series(5, 1.3), 0.20, 0.5, attack_s=0.004),
  'bass_round': Tone(_series(4, 1.2), 0.24, 0.3, attack_s=0.003),
  # Chords.
  'stab': Tone(_series(9, 0.7), 0.10, 0.08),
  'rhodes': Tone(((1.0, 1.0), (2.0, 0.3), (3.0, 0.1), (7.0, 0.2)), 0.30, 0.2),
  'power': Tone(_series(8, 0.9), 0.22, 0.05, drive=4.0),
  'clavinet': Tone(_series(9, 0.5, step=2), 0.07, 0.04, attack_s=0.001),
  'piano': Tone(_series(7, 1.1), 0.18, 0.2, attack_s=0.001),
  'pluck': Tone(_series(5, 1.4, step=2), 0.16, 0.25),
  # Leads.
  'lead_saw': Tone(_series(8, 0.9), 0.16, 0.05, attack_s=0.004),
  'lead_bell': Tone(((1.0, 1.0), (2.76, 0.5), (5.4, 0.25)), 0.22, 0.25),
  'lead_guitar': Tone(
    _series(6, 0.9), 0.26, 0.04, 0.005, drive=5.0, vibrato=0.006
  ),
  'lead_brass': Tone(_series(8, 0.7), 0.15, 0.08, 0.012, drive=1.0),
  'lead_trumpet': Tone(_series(8, 0.5), 0.22, 0.08, 0.015, vibrato=0.004),
  'lead_whistle': Tone(((1.0, 1.0), (3.0, 0.12)), 0.24, 0.1, 0.012, 0, 0.006),
}


def _finish(sound_T: np.ndarray) -> np.ndarray:
  """Fade the end, remove the mean, scale the peak to 1, freeze."""
  sound_T[-_FADE_SAMPLES:] *= np.linspace(1.0, 0.0, _FADE_SAMPLES)
  window_T = np.hanning(len(sound_T))
  sound_T = sound_T - window_T * (sound_T.sum() / window_T.sum())
  sound_T = (sound_T / np.abs(sound_T).max()).astype(np.float32)
  sound_T.setflags(write=False)
  return sound_T


def _noise(seed: int, num_samples: int, band_hz: tuple[float, float]):
  """White noise of standard deviation 0.35, limited to a band."""
  noise_T = np.random.default_rng(seed).normal(size=num_samples)
  spectrum = np.fft.rfft(noise_T)
  freq_hz = np.fft.rfftfreq(num_samples, 1 / RATE_HZ)
  spectrum[(freq_hz < band_hz[0]) | (freq_hz > band_hz[1])] = 0
  noise_T = np.fft.irfft(spectrum, num_samples)
  return 0.35 * noise_T / noise_T.std()


@functools.cache
def drum(name: str, layer: int) -> np.ndarray:
  """Return the one-shot of a drum in a velocity layer, 0 soft to 2 hard.

  A harder stroke has more noise and click and rings a little longer.
  """
  spec, force = DRUMS[name], layer / (DRUM_LAYERS - 1)
  decay_s = spec.tone_decay_s * (0.85 + 0.15 * force)
  longest_s = max(decay_s, spec.noise_decay_s if spec.noise else 0.0)
  num_samples = int((5 * longest_s + max(spec.strokes_s)) * RATE_HZ) + 160
  time_s = np.arange(num_samples) / RATE_HZ
  turns = spec.tone_hz * time_s + spec.sweep_hz * 0.02 * (
    1 - np.exp(-time_s / 0.02)
  )
  sound_T = np.zeros(num_samples)
  for ratio, level in ((1.0, 1.0), *spec.partials):
    envelope_T = np.exp(-time_s / (decay_s / ratio**0.5))
    sound_T += level * envelope_T * np.sin(2 * np.pi * ratio * turns)
  if spec.noise:
    noise_T = _noise(list(DRUMS).index(name), num_samples, spec.noise_band_hz)
    for stroke_s in spec.strokes_s:
      past_s = time_s - stroke_s
      envelope_T = (past_s >= 0) * np.exp(-past_s / spec.noise_decay_s)
      sound_T += spec.noise * (0.7 + 0.3 * force) * envelope_T * noise_T
  return _finish(sound_T)


@functools.lru_cache(maxsize=4096)
def tone(name: str, pitch: int, brightness: int) -> np.ndarray:
  """Return the one-shot of a pitch (MIDI number) at a brightness level.

  Level 0 is dull: each octave above the fundamental loses 12 dB more than at
  the highest level, BRIGHTNESS_LEVELS - 1. Partials above 7 kHz are left out.
  """
  spec = TONES[name]
  base_hz = 440.0 * 2 ** ((pitch - 69) / 12)
  dullness = 2.0 * (1 - brightness / (BRIGHTNESS_LEVELS - 1))
  time_s = np.arange(int(4 * spec.decay_s * RATE_HZ) + 160) / RATE_HZ
  wobble = spec.vibrato * np.sin(2 * np.pi * 6 * time_s) / (2 * np.pi * 6)
  turns = base_hz * (time_s + wobble)
  sound_T = np.zeros(len(time_s))
  for ratio, level in spec.partials:
    if ratio * base_hz < 7000:
      decay_s = spec.decay_s / (1 + spec.damping * (ratio - 1))
      # Phases spread over the partials keep the peak low.
      wave_T = np.sin(2 * np.pi * ratio * turns + 2.4 * ratio**2)
      sound_T += level * ratio**-dullness * np.exp(-time_s / decay_s) * wave_T
  sound_T *= 1 - np.exp(-time_s / (spec.attack_s / 2))
  if spec.drive:
    peak = np.abs(sound_T).max()
    sound_T = np.tanh(spec.drive * sound_T / peak)
    sound_T *= np.exp(-time_s / (2 * spec.decay_s))
  return _finish(sound_T)
