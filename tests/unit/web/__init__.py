"""The pages' pure parts."""
