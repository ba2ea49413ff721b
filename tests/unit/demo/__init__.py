"""The demonstration's population."""
