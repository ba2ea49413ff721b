"""Hostile input in volume: whatever is sent to the door, it answers, stays quick and keeps its memory."""
