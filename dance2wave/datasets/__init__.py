"""TFDS builders that share one example schema."""
