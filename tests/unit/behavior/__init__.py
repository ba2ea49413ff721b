"""The machine: definitions, the fold, its proofs."""
