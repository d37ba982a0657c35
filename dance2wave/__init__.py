"""dance2wave: a video of a dancer goes in, a waveform comes out."""

__version__ = '0.1.0'
