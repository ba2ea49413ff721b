"""What no input may do to a door, looked at around a piece of a test."""

import asyncio
import gc
import logging
import time
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final, Literal

import pytest

from schemas.topics import TOPICS
from services.processes.running import collect_rarely
from tests.integration.ingest.serving import Served

__all__ = ["WATCHED", "Stalled", "Watched", "guarded"]

Watched = Literal["time", "memory"]
WATCHED: Final[tuple[Watched, ...]] = ("time", "memory")
"""One at a time: whoever traces memory makes everything slow."""

STALL_SECONDS: Final = 0.05
SLACK_BYTES: Final = 1024 * 1024
READ_BYTES: Final = 12 * 1024 * 1024
"""What one event of the greatest size can take while it is read (one is read at a time, whatever comes), or the records
of a batch of as many events as are allowed, however short (they count as in flight)."""

_PAUSE: Final = 0.001


class Stalled(AssertionError):
    """The loop was held up. Where the machine is busy with other things it may have been that: it is tried again."""


class _Loop:
    """The longest piece of CPU time that the loop's thread gave nobody else a turn; other processes do not count."""

    def __init__(self) -> None:
        self.longest = 0.0

    async def watch(self) -> None:
        while True:
            used = time.thread_time()
            await asyncio.sleep(_PAUSE)
            self.longest = max(self.longest, time.thread_time() - used - _PAUSE)


@asynccontextmanager
async def guarded(
    served: Served, caplog: pytest.LogCaptureFixture, watched: Watched, body: int = 0
) -> AsyncIterator[None]:
    """Around requests with `body` bytes in all: nothing is logged as an error, records lie only where they may.

    And the loop does not stall, or memory grows by no more than four times the bodies.
    """
    # As every process of Parcours does; and what the tests themselves have in memory is none of the door's.
    thresholds = gc.get_threshold()
    collect_rarely()
    gc.collect()
    gc.freeze()
    loop = _Loop()
    watching = asyncio.create_task(loop.watch())
    if watched == "memory":
        tracemalloc.start()
    try:
        yield
        if watched == "memory":
            _, most = tracemalloc.get_traced_memory()
            assert most <= 4 * body + SLACK_BYTES + READ_BYTES, most
    finally:
        tracemalloc.stop()
        gc.unfreeze()
        gc.set_threshold(*thresholds)
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
    if watched == "time" and loop.longest >= STALL_SECONDS:
        raise Stalled(f"{loop.longest:.3f} s")
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []
    assert served.door.in_flight.bytes == 0
    for topic in TOPICS:
        for record in await served.records(topic.name):
            assert record.key is not None
            assert record.key.split(b"\x1f")[0] == b"default"
