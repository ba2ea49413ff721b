"""The pure part of tracks."""
