"""Contracts: records on topics, HTTP bodies, problem codes, the definition language. No I/O."""
