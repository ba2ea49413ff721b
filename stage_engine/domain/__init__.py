"""The pure part of stage_engine: no I/O, no clock, no ids drawn."""
