"""The servers that the tests run against are the real ones."""
