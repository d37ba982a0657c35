"""Flax modules: pose transformer, WaveNet, and both joined."""
