"""The segmenter on real databases."""
