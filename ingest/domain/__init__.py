"""The pure part of ingest: no I/O, no clock, no ids drawn."""
