"""What a user may ask of the whole sound: its tempo and its energy.

    tempo, energy, or nothing ──> controls ──> added to every frame of motion

A dance often leaves open whether a pulse is the beat or every second one; who
knows the tempo may say so.
"""

import math

import jax.numpy as jnp

NUM_CONTROLS = 6
MIN_TEMPO_BPM, MAX_TEMPO_BPM = 40.0, 240.0
_MIDDLE_BPM = 110.0
_MIDDLE_DB, _UNIT_DB = -20.0, 6.0


def encode_controls(tempo_bpm_B, energy_db_B):
  """Return the controls (B, NUM_CONTROLS) of clips; NaN says nothing.

  A tempo is its place in octaves, and on a circle on which tempi an octave
  apart are the same. What is not said is all zero.

  Args:
    tempo_bpm_B: (B,) beats per minute.
    energy_db_B: (B,) mean level, in dB of full scale.
  """
  octave = jnp.log2(tempo_bpm_B / _MIDDLE_BPM)
  turn = 2 * math.pi * octave
  tempo = [jnp.ones_like(octave), octave, jnp.cos(turn), jnp.sin(turn)]
  level = (energy_db_B - _MIDDLE_DB) / _UNIT_DB
  energy = [jnp.ones_like(level), level]
  said = [jnp.isfinite(tempo_bpm_B)] * 4 + [jnp.isfinite(energy_db_B)] * 2
  return jnp.where(jnp.stack(said, -1), jnp.stack([*tempo, *energy], -1), 0.0)
