"""Engines that turn context into samples."""
