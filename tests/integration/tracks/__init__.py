"""The shared library of the engines, on real databases."""
