"""Benchmarks: ours against others in one run."""
