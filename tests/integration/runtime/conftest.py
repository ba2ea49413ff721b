"""A worker with the counting processor on either database, an event log in memory and a clock that stands still."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import select

from schemas.ids import record_key
from schemas.records import Record, StoredRecord, cloud_event_headers
from schemas.topics import EVENTS, STAGE_CHANGES
from services.runtime.clock import ManualClock
from services.runtime.options import Runtime, WorkerOptions
from services.runtime.threads import Threads
from services.runtime.worker import Worker
from services.storage.database import Database
from tests.support.counting import CountingProcessor, counts, metadata
from tests.support.databases import BOTH, made_database
from tests.support.memory_log import MemoryLog

START = 1_790_000_000_000
SETTLE = 5_000


class Bench:
    """What a test of the runtime works with."""

    def __init__(self, database: Database, partitions: int = 1) -> None:
        """Nothing runs yet."""
        self.database = database
        self.clock = ManualClock(START)
        self.log = MemoryLog(self.clock.now, partitions)
        self.options = WorkerOptions(
            settle=SETTLE,
            poll_ms=20,
            progress_every=0.02,
            first_backoff=0.01,
            last_backoff=0.05,
            take_patience=5.0,
            drain_seconds=2.0,
        )
        self.processor = CountingProcessor()

    def runtime(self, database: Database | None = None) -> Runtime:
        """As the processes make it."""
        threads = (Threads(1, "batches"), Threads(1, "relays"))
        return Runtime(self.log, database or self.database, self.clock, self.options, *threads)

    def put(self, key: str, value: str = "+", *, topic: str = EVENTS, received: int | None = None) -> StoredRecord:
        """Append an event of a customer to partition 0."""
        subject = f"user:{key}"
        headers = cloud_event_headers(f"m-{key}", "Signed In", "/sources/test", START, subject)
        at = self.clock.now() if received is None else received
        return self.log.put(Record(topic, 0, record_key("default", subject), value.encode(), headers, at))

    @asynccontextmanager
    async def working(
        self, processor: CountingProcessor | None = None, database: Database | None = None
    ) -> AsyncIterator[Worker]:
        """A worker that runs until the block ends, and then drains; its own error is raised here."""
        runtime = self.runtime(database)
        worker = Worker(runtime, processor or self.processor)
        task = asyncio.create_task(worker.run())
        try:
            yield worker
        finally:
            worker.stop()
            await task
            runtime.batches.close()
            runtime.relays.close()

    async def failing(self) -> BaseException:
        """The error with which a worker ends by itself."""
        worker = Worker(self.runtime(), self.processor)
        outcome = await asyncio.gather(worker.run(), return_exceptions=True)
        assert isinstance(outcome[0], BaseException), "the worker ended without an error"
        return outcome[0]

    def changes(self, partition: int = 0) -> list[str]:
        """What the processor published: ``<key>=<count>``, without keys' workspace, in order."""
        records = self.log.of(STAGE_CHANGES, partition)
        values = [record.value or b"" for record in records if record.key != b"progress"]
        return [value.decode().rpartition(":")[2] for value in values]

    def counted(self) -> dict[str, int]:
        """What the processor's own table says."""
        with self.database.reading() as transaction:
            rows = transaction.connection.execute(select(counts.c.key, counts.c["count"]).order_by(counts.c.key)).all()
        return {key.rpartition(":")[2]: number for key, number in rows}


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition of another thread or task; the test's own time limit bounds it."""
    while not condition():  # noqa: ASYNC110 - nobody tells when a thread's transaction has made it true
        await asyncio.sleep(0.005)


@pytest.fixture(params=BOTH)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    """A bench on each kind of database."""
    for database in made_database(request, tmp_path, metadata):
        yield Bench(database)
