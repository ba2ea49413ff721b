"""Prints what the door costs and how fast it is, beside three others that get the same events in the same run.

(a) is a FastAPI route with pydantic and one send() per event; (b) an ASGI application that reads a request and answers
202; (c) Kafka's own producer performance tool with records of the same bytes, at its default batch size. Everything
that is measured has one core to itself; load, broker and database have the others. The door answers when every event is
durable, with validation, limits, metrics and tracing on. Nothing is asserted: rates depend on the machine, ratios less.
"""

import argparse
import os
from collections.abc import Sequence
from typing import Final

from bench.ingest.events import BATCH, SINGLE
from bench.ingest.measuring import CONNECTIONS, Figures, bare, door_on_files, doors, fed, measured, plain
from bench.ingest.producer_performance import Performed, perform
from bench.ingest.setting import PERFORMANCE_TOPIC, Setting, setting, stored_bytes

__all__ = ["main"]

_PARTS: Final = ("plain", "bare", "producer", "embedded", "two", "memory")
_RECORDS: Final = 20_000
_NAMES: Final = {SINGLE: "single events", BATCH: f"batches of {BATCH}"}
_PLAIN: Final = "(a) FastAPI, pydantic, send()"
_BARE: Final = "(b) bare ASGI, answers 202"
_PRODUCER: Final = "(c) Kafka's producer tool"


def _line(name: str, found: Figures) -> None:
    print(
        f"  {name:<30} {found.rate:>9,.0f} events/s {found.cpu:>7.1f} µs CPU each {found.busy:>5.0%} of a core"
        f"   p50 {found.p50:>5.1f} ms  p99 {found.p99:>5.1f} ms  {found.resident:>4.0f} MB",
        flush=True,
    )


def _title(what: str) -> None:
    print(f"{what}:", flush=True)


def _ratio(name: str, ours: tuple[float, float], theirs: tuple[float, float]) -> None:
    rate, cpu = ours[0] / theirs[0], theirs[1] / ours[1]
    print(f"  {'parcours / ' + name:<30} {rate:>9.2f} x events/s {cpu:>6.2f} x in CPU", flush=True)


def _compared(name: str, ours: Figures, theirs: Figures) -> None:
    _ratio(name, (ours.rate, ours.cpu), (theirs.rate, theirs.cpu))


def _performed(name: str, found: Performed) -> None:
    print(
        f"  {name:<30} {found.rate:>9,.0f} records/s {found.cpu:>6.1f} µs CPU each {found.rate * found.cpu / 1e6:>5.0%}"
        f" of a core   mean {found.wait:>4.1f} ms  {'':>13}{found.resident:>4.0f} MB",
        flush=True,
    )


class _Report:
    """One run: what was measured first is what the others are compared with."""

    def __init__(self, where: Setting, seconds: float) -> None:
        self._where = where
        self._seconds = seconds
        self._ours: dict[int, Figures] = {}

    def door(self) -> None:
        """The door on Apache Kafka, which everything else is compared with."""
        _title("Apache Kafka, one worker")
        with doors(self._where) as servers:
            for size, name in _NAMES.items():
                self._ours[size] = measured(servers, size, self._seconds)
                _line(f"parcours, {name}", self._ours[size])

    def plain(self) -> None:
        """(a), with both kinds of request."""
        with plain(self._where) as servers:
            for size, name in _NAMES.items():
                _title(f"against {_PLAIN}, {name}, {CONNECTIONS[size]} connections")
                found = measured(servers, size, self._seconds)
                _line("(a)", found)
                _compared("(a)", self._ours[size], found)

    def bare(self) -> None:
        """(b), with single events."""
        _title(f"against {_BARE}, {_NAMES[SINGLE]}, {CONNECTIONS[SINGLE]} connections")
        with bare(self._where) as servers:
            found = measured(servers, SINGLE, self._seconds)
        _line("(b)", found)
        _compared("(b)", self._ours[SINGLE], found)

    def producer(self) -> None:
        """(c), with the records that the door has stored."""
        records = stored_bytes(self._where.bootstrap_servers, _RECORDS)
        mean = sum(map(len, records)) / len(records)
        _title(f"against {_PRODUCER}, {mean:.0f} bytes per record, acks=all")
        found = perform(self._where.bootstrap_servers, PERFORMANCE_TOPIC, records, self._where.cores.workers[0])
        _performed("(c)", found)
        ours = self._ours[BATCH]
        _ratio("(c), batches", (ours.rate, ours.cpu), (found.rate, found.cpu))

    def embedded(self) -> None:
        """The door on the embedded log."""
        _title("embedded log, each event synchronized to disk before its answer, one worker")
        with door_on_files(self._where) as servers:
            for size, name in _NAMES.items():
                found = measured(servers, size, self._seconds)
                _line(f"parcours, {name}", found)
                _compared("the same on Kafka", found, self._ours[size])

    def two(self) -> None:
        """Two workers, each with a core of its own, as far as there are that many."""
        first, second = self._where.cores.workers
        shared = "; the second shares its core with load and broker" if second <= self._where.cores.rest else ""
        _title(f"Apache Kafka, two workers{shared if first else ''}")
        with doors(self._where, 2) as servers:
            for size, name in _NAMES.items():
                found = measured(servers, size, self._seconds)
                _line(f"parcours, {name}", found)
                _compared("one worker", found, self._ours[size])

    def memory(self, events: int) -> None:
        """How memory grows with the events."""
        _title(f"resident memory of one worker over {events:,} events in {_NAMES[BATCH]}")
        with doors(self._where) as (server,):
            found = fed(server, events).resident
        print("  " + " ".join(f"{size:.1f}" for size in found) + " MB after each tenth")
        print(f"  {found[1]:.1f} MB after the first tenth, {found[-1]:.1f} MB at the end, {max(found):.1f} MB at most")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.ingest", description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement (default 4)")
    parser.add_argument("--events", type=int, default=1_000_000, help="of the look at memory (default 1,000,000)")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"beside the door: {', '.join(_PARTS)} (default: all)")
    given = parser.parse_args(arguments)
    if unknown := [part for part in given.parts if part not in _PARTS]:
        parser.error(f"There is no part {unknown[0]}. Choose from {', '.join(_PARTS)}.")
    with setting() as where:
        cores = where.cores
        placed = (
            f"workers on {_named(cores.workers[0])} and {_named(cores.workers[1])}, all else on {_named(cores.rest)}"
        )
        print(f"{os.cpu_count()} cores, by number: {placed if cores.rest else 'nothing is bound to a core'}")
        report = _Report(where, given.seconds)
        report.door()
        for part in given.parts or _PARTS:
            if part == "memory":
                report.memory(given.events)
            else:
                getattr(report, part)()


def _named(cores: frozenset[int]) -> str:
    return "+".join(map(str, sorted(cores)))
