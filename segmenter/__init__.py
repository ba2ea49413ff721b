"""Segments, run on the machine."""
