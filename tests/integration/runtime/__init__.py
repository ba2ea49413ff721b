"""The runtime on real databases."""
