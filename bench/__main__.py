"""All benchmarks, one after the other: `python -m bench`, or some of them: `python -m bench door start`."""

import argparse
import importlib
from typing import Final

__all__ = ["main"]

BENCHMARKS: Final = {
    "machine": "bench.machine",
    "eventlog": "bench.eventlog",
    "door": "bench.ingest.report",
    "engine": "bench.engine",
    "start": "bench.start",
}


def main(arguments: list[str] | None = None) -> None:
    """Run the named benchmarks, or all of them. Nothing is asserted: the figures are to be read."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(BENCHMARKS)} (default: all)")
    names: list[str] = parser.parse_args(arguments).names
    if unknown := [name for name in names if name not in BENCHMARKS]:
        parser.error(f"There is no benchmark {unknown[0]}. Choose from {', '.join(BENCHMARKS)}.")
    for name in names or BENCHMARKS:
        print(f"== {name}", flush=True)
        importlib.import_module(BENCHMARKS[name]).main([])


if __name__ == "__main__":
    main()
