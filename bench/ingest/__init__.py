"""What the door costs and how fast it is, against three others in the same run: `python -m bench.ingest`."""
