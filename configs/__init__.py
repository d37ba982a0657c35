"""Configs: files that only assign."""
