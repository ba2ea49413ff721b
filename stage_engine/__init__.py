"""Lifecycles, run on the machine."""
