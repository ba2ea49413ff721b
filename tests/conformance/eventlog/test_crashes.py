"""Processes that are killed with SIGKILL while they use a log."""

import asyncio
import signal
import sys
from collections import Counter
from pathlib import Path

import pytest

from schemas.topics import EVENTS
from services.eventlog.port import PublisherState
from tests.conformance.eventlog.support import Store, outbox, read_all, sequences

ROOT = Path(__file__).resolve().parents[3]
pytestmark = [pytest.mark.faults, pytest.mark.timeout(90)]


async def killed(store: Store, what: str, acknowledgments: int, start: int = 0) -> int:
    """Run a process until so many acknowledgments, kill it, and return the highest number it printed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.conformance.eventlog.crashing", store.kind, store.address, store.prefix, what, str(start)),
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    assert process.stdout is not None
    highest = 0
    for _ in range(acknowledgments):
        highest = int(await process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    rest = await process.stdout.read()
    await process.wait()
    complete = rest.rpartition(b"\n")[0].split()
    return int(complete[-1]) if complete else highest


async def test_what_a_killed_process_had_acknowledged_is_there_once(store: Store) -> None:
    acknowledged: set[int] = set()
    for run, acknowledgments in enumerate((3, 9)):
        start = run * 100_000
        highest = await killed(store, "append", acknowledgments, start)
        acknowledged |= set(range(start, highest + 1))
    log = await store.open()
    found = Counter(int(record.value or b"") for record in await read_all(log, EVENTS))
    assert acknowledged <= found.keys()
    assert set(found.values()) == {1}


async def test_a_killed_publisher_publishes_every_sequence_once(store: Store) -> None:
    highest = 0
    for acknowledgments in (2, 5, 3):
        highest = await killed(store, "publish", acknowledgments)
    log = await store.open()
    publisher = log.publisher("stage_engine", 1)
    last = await publisher.open(PublisherState(10_000_000, 0))
    assert last >= highest >= 70
    await publisher.publish(outbox(last + 1, last + 5))
    assert await sequences(log, last + 5) == list(range(1, last + 6))
