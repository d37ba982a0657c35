"""Landmarks from pictures, their cleaning, and motion features."""
