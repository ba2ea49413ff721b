"""The pure machine: digests of what a subject did, the conditions asked of them, the tracks."""
