"""The tests, by what they guarantee."""
