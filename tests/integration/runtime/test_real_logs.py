"""The worker on the real event logs: several members, failures in between, everything once."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from schemas.ids import partition_of, record_key
from schemas.records import Record, StoredRecord, cloud_event_headers, header
from schemas.topics import EVENTS, STAGE_CHANGES, TOPICS
from services.eventlog.embedded import EmbeddedEventLog
from services.eventlog.port import EventLog, TopicPartition
from services.runtime.clock import SystemClock
from services.runtime.options import Runtime, WorkerOptions
from services.runtime.threads import Threads
from services.runtime.worker import Worker
from services.storage import tables
from services.storage.database import Database
from tests.integration.runtime.conftest import until
from tests.support.counting import CountingProcessor, metadata

PARTITIONS = 4
CLOCK = SystemClock()

SHAPES = [
    pytest.param("embedded", id="embedded"),
    pytest.param("cluster", id="cluster", marks=[pytest.mark.kafka, pytest.mark.postgres]),
]


@dataclass
class Shape:
    """A started log with all topics, and a database with all tables."""

    log: EventLog
    database: Database
    options: WorkerOptions

    @asynccontextmanager
    async def working(self) -> AsyncIterator[Worker]:
        """A member with a processor and threads of its own."""
        runtime = Runtime(self.log, self.database, CLOCK, self.options, Threads(2, "batches"), Threads(2, "relays"))
        worker = Worker(runtime, CountingProcessor())
        task = asyncio.create_task(worker.run())
        try:
            yield worker
        finally:
            worker.stop()
            await task
            runtime.batches.close()
            runtime.relays.close()

    async def published(self) -> dict[int, list[StoredRecord]]:
        """All records on the output topic, by partition."""
        found: dict[int, list[StoredRecord]] = {}
        for partition in range(PARTITIONS):
            place = TopicPartition(STAGE_CHANGES, partition)
            offset, end = await self.log.bounds(place)
            records: list[StoredRecord] = []
            while offset < end and (more := await self.log.read(place, offset, 1_000)):
                records.extend(more)
                offset = more[-1].offset + 1
            found[partition] = records
        return found


@pytest.fixture(params=SHAPES)
async def shape(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Shape]:
    """Each of the two shapes."""
    log: EventLog
    if request.param == "cluster":
        from services.eventlog.kafka import KafkaEventLog

        address = request.getfixturevalue("kafka_server").bootstrap_servers
        fresh: Callable[[], str] = request.getfixturevalue("fresh_database")
        log = KafkaEventLog(address, CLOCK.now, request.getfixturevalue("kafka_prefix"))
        database = Database(fresh())
        options = WorkerOptions(poll_ms=100, batch_records=200, publish_every=0.05, threads=2)
    else:
        log = EmbeddedEventLog(tmp_path / "log.db", CLOCK.now)
        database = Database(tmp_path / "state.db")
        options = WorkerOptions(poll_ms=100, batch_records=200)
    for each in (tables.metadata, metadata):
        database.create(each)
    await log.start()
    await log.create_topics(TOPICS, PARTITIONS)
    yield Shape(log, database, options)
    await log.close()
    database.close()


def event(number: int, key: str) -> Record:
    """An event of a customer, in the partition of its key."""
    subject = f"user:{key}"
    whole = record_key("default", subject)
    headers = cloud_event_headers(f"m-{number}", "Signed In", "/sources/test", CLOCK.now(), subject)
    return Record(EVENTS, partition_of(whole, PARTITIONS), whole, b"+", headers, CLOCK.now())


def changes(published: dict[int, list[StoredRecord]]) -> Counter[str]:
    """How often each change was published."""
    values = [record.value or b"" for records in published.values() for record in records if record.key != b"progress"]
    return Counter(value.decode() for value in values)


@pytest.mark.timeout(90)
async def test_members_come_and_go_and_everything_is_counted_and_published_once(shape: Shape) -> None:
    writer = shape.log.writer()
    customers, rounds = 40, 30

    async def post() -> None:
        for number in range(rounds):
            events = [event(number * customers + each, f"c{each}") for each in range(customers)]
            assert await writer.append(events) == [None] * customers
            await asyncio.sleep(0.02)

    async with shape.working() as first:
        posting = asyncio.create_task(post())
        await until(lambda: len(first.health().partitions) == PARTITIONS)
        async with AsyncExitStack() as others:
            second = await others.enter_async_context(shape.working())
            third = await others.enter_async_context(shape.working())
            members = (first, second, third)
            await until(lambda: sorted(len(member.health().partitions) for member in members) == [1, 1, 2])
            await posting
        await until(lambda: len(first.health().partitions) == PARTITIONS)
        await until(lambda: all(settled(worker_lag) for worker_lag in lags(first)))
    published = await shape.published()
    expected = {f"default\x1fuser:c{each}={count + 1}": 1 for each in range(customers) for count in range(rounds)}
    assert changes(published) == expected
    for records in published.values():
        numbers = [int(header(record.headers, "sequence") or 0) for record in records]
        assert numbers == list(range(1, len(numbers) + 1))
    await writer.close()


@pytest.mark.timeout(90)
async def test_members_join_and_leave_while_records_never_stop_coming(shape: Shape) -> None:
    writer = shape.log.writer()
    ended = asyncio.Event()
    posted = 0

    async def post() -> None:
        nonlocal posted
        while not ended.is_set():
            assert await writer.append([event(posted, f"c{posted % 40}")]) == [None]
            posted += 1
            await asyncio.sleep(0.002)

    async with shape.working() as first:
        posting = asyncio.create_task(post())
        await until(lambda: read(first) > 50)
        for _ in range(2):
            async with shape.working() as second:
                await until(lambda: len(second.health().partitions) == len(first.health().partitions) == 2)
                await goes_on(second)
            await until(lambda: len(first.health().partitions) == PARTITIONS)
        ended.set()
        await posting
        await until(lambda: read(first) == posted and all(settled(worker_lag) for worker_lag in lags(first)))
    assert changes(await shape.published()).total() == posted
    await writer.close()


async def goes_on(worker: Worker) -> None:
    """Wait until a worker has stored more events."""
    seen = read(worker)
    await until(lambda: read(worker) > seen)


def read(worker: Worker) -> int:
    """How many events are stored as read, of the partitions that the worker owns."""
    return sum(part.positions[EVENTS] for part in worker.health().partitions)


def lags(worker: Worker) -> list[tuple[int | None, ...]]:
    """Per partition: what is left to read, to store and to publish."""
    return [(*each.lag.values(), each.waiting, each.outbox) for each in worker.health().partitions]


def settled(lag: tuple[int | None, ...]) -> bool:
    """Whether nothing is left."""
    return all(part == 0 for part in lag)
