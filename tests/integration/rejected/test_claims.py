"""Two processes that redrive at once: each event is appended by one of them, and a dead one holds nothing for long."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest

from ingest.errors import Refused
from ingest.handlers import Door
from ingest.ports import Source
from schemas.ids import partition_of, record_key
from schemas.processing import DeadLetter
from schemas.records import Record, StoredRecord, cloud_event_headers
from schemas.times import DAY
from schemas.topics import EVENTS, topic_table
from services.eventlog.embedded import EmbeddedEventLog
from services.eventlog.port import LogUnavailable, TopicPartition
from services.redrive import Redrive, Redriven, Redriver
from services.rejected_index import RejectedIndex
from services.runtime.transact import rejected_output
from services.storage.database import Database
from services.storage.errors import StorageUnavailable
from services.storage.rejected import CLAIMED_FOR, RejectedFilter, RejectedPlace, RejectedStore, metadata
from tests.support.databases import BOTH, made_database

NOW = 1_795_358_000_000
PARTITIONS = 2
MANY = 450
KEY = record_key("default", "user:ada")


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[EmbeddedEventLog]:
    """A log on which many records stand that an engine gave up."""
    found = EmbeddedEventLog(tmp_path / "log.db", lambda: NOW)
    await found.start()
    await found.create_topics(topic_table(DAY), PARTITIONS)
    assert not any(await found.writer().append([given_up(number) for number in range(MANY)]))
    yield found
    await found.close()


def given_up(number: int) -> Record:
    """What an engine writes about a record that it gives up."""
    headers = cloud_event_headers(f"m-{number}", "Signed In", "/sources/shop", NOW, "user:ada")
    letter = DeadLetter(StoredRecord(EVENTS, 1, number, KEY, b"{}", headers, NOW), "processing_failed", "It failed.")
    output = rejected_output("stage_engine", letter, NOW)
    return Record(
        output.topic, partition_of(output.key, PARTITIONS), output.key, output.value, output.headers, output.timestamp
    )


@pytest.fixture(params=BOTH)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database of each kind."""
    yield from made_database(request, tmp_path, metadata)


class Process:
    """What redrives in one process; `now` is its clock (ms)."""

    def __init__(self, log: EmbeddedEventLog, database: Database) -> None:
        self.now = NOW
        self.log = log
        self.writer = log.writer()
        self.store = RejectedStore(database)
        self.index = RejectedIndex(log, self.store, PARTITIONS)
        door = Door(self, NoKeys(), lambda: self.now, PARTITIONS)
        self.redriver = Redriver(door, log, self.store, lambda _: {}, PARTITIONS)
        self.failures: list[Exception] = []

    async def append(self, records: Sequence[Record]) -> Sequence[Exception | None]:
        """Append, after the others had their turn."""
        await asyncio.sleep(0.01)
        if self.failures:
            raise self.failures.pop()
        return await self.writer.append(records)

    async def run(self) -> Redriven:
        """Redrive everything."""
        await self.index.catch_up()
        return await self.redriver.run("default", Redrive())


class NoKeys:
    """Nobody sends anything."""

    async def source(self, write_key: str) -> Source | None:
        return None


async def appended(log: EmbeddedEventLog) -> list[StoredRecord]:
    """Everything on the topic of events."""
    found: list[StoredRecord] = []
    for partition in range(PARTITIONS):
        place = TopicPartition(EVENTS, partition)
        start, end = await log.bounds(place)
        while start < end and (records := await log.read(place, start, 1_000)):
            found += records
            start = records[-1].offset + 1
    return found


async def test_two_processes_at_once_append_each_event_once(log: EmbeddedEventLog, database: Database) -> None:
    processes = [Process(log, database) for _ in range(2)]
    await processes[0].index.catch_up()
    results = await asyncio.gather(*(process.run() for process in processes))
    assert sum(result.accepted for result in results) == MANY
    assert len(await appended(log)) == MANY
    for result in results:
        assert result.rejected == {}
        assert set(result.skipped) <= {"under_way"}
    assert await processes[1].run() == Redriven()


async def test_what_a_dead_process_claimed_is_free_a_minute_later(
    log: EmbeddedEventLog, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead, living = Process(log, database), Process(log, database)
    with monkeypatch.context() as patched:
        for step in ("mark", "release"):
            patched.setattr(dead.store, step, away)
        with pytest.raises(StorageUnavailable):
            await dead.run()
    first = len(await appended(log))
    assert 0 < first < MANY
    living.now += CLAIMED_FOR
    assert await living.run() == Redriven(accepted=MANY - first, skipped=Counter(under_way=first))
    living.now += 1
    assert await living.run() == Redriven(accepted=first)
    ids = [dict(record.headers)["ce_id"] for record in await appended(log)]
    assert len(ids) == MANY + first
    assert len(set(ids)) == MANY, "those that came twice have the id that they had"


def away(*_: object) -> None:
    raise StorageUnavailable


async def test_what_the_log_did_not_take_is_free_at_once(log: EmbeddedEventLog, database: Database) -> None:
    process = Process(log, database)
    process.failures.append(LogUnavailable("it is away"))
    with pytest.raises(Refused) as refused:
        await process.run()
    assert refused.value.code == "log_unavailable"
    assert await appended(log) == []
    assert await Process(log, database).run() == Redriven(accepted=MANY)


def test_a_clock_that_was_set_back_claims_nothing_for_ever(database: Database) -> None:
    place = RejectedPlace(0, 0)
    store = RejectedStore(database)
    with database.transaction() as transaction:
        table = metadata.tables["ingest_rejected"]
        texts = dict.fromkeys(("event_id", "reason", "detail", "origin", "source", "call", "place"), "x")
        transaction.connection.execute(
            table.insert().values(**texts, workspace="default", partition=0, position=0, size=1, at=NOW)
        )
    assert store.claim([place], NOW + DAY) == {place}
    assert store.claim([place], NOW) == {place}
    assert store.claim([place], NOW + CLAIMED_FOR) == set()
    store.release([place], NOW - 1)
    assert store.claim([place], NOW) == set(), "only who claimed it may release it"
    store.release([place], NOW)
    assert store.claim([place], NOW) == {place}
    store.mark([place], NOW)
    assert store.claim([place], NOW + DAY) == set()
    (item,) = store.in_order("default", RejectedFilter(redriven=None), None, 10)
    assert item.redriven_at == NOW
