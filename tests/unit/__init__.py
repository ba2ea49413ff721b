"""Guarantees of one module alone."""
