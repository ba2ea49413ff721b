"""The segmenter's pure parts."""
