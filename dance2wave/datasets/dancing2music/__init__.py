"""Dance units of Dancing to Music: poses, beats, styles, audio features."""
