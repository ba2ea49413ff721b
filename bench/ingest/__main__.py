"""The command `python -m bench.ingest`."""

from bench.ingest.report import main

if __name__ == "__main__":
    main()
