"""MagnaTagATune: 29 s clips of music with the tags that listeners gave."""
