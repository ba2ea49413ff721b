"""The segmenter's tables."""

from tracks.tables import TrackTables

__all__ = ["metadata", "tables"]

tables = TrackTables("segmenter_")
metadata = tables.metadata
