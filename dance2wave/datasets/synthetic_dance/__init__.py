"""The embedded default: synthetic dancers and their music."""
