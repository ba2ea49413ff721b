"""The stage engine's tables."""

from tracks.tables import TrackTables

__all__ = ["metadata", "tables"]

tables = TrackTables("stage_engine_")
metadata = tables.metadata
