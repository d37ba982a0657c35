"""Sound and video files in and out; `Waveform` and clip arithmetic."""
