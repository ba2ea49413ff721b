"""The pure part of segmenter: no I/O, no clock, no ids drawn."""
