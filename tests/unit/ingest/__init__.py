"""The door, its keys and its answers."""
