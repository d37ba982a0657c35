"""Kinetics-400, -600 and -700-2020: the clips of their dance classes."""
