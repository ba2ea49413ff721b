"""What was seen is written down in the background, loses nothing, and fills no table, on both databases."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ingest.domain.plan import TrackingPlan
from ingest.domain.seen import MAX_NAMES, OTHER, Seen
from ingest.ports import Source
from schemas.times import MINUTE
from services.event_catalog import load_catalog
from services.storage.database import Database, Transaction
from services.storage.errors import StorageUnavailable
from services.storage.seen import SeenName, SeenReads, SeenWriter, seen_metadata
from tests.contract.test_catalog import SHIPPED
from tests.support.databases import BOTH, made_database

CATALOG = load_catalog(SHIPPED)
OPEN, WARN = Source("default", "shop"), Source("default", "shop", "warn")


@pytest.fixture(params=BOTH)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database of each kind with the table."""
    yield from made_database(request, tmp_path, seen_metadata)


class Process:
    """What one process counts and writes; `now` is its clock (ms)."""

    def __init__(self, database: Database) -> None:
        self.now = 0
        self.seen = Seen(frozenset((*CATALOG.entries, *CATALOG.aliases)))
        self.plan = TrackingPlan(CATALOG, self.seen)
        self.writer = SeenWriter(database, self.seen, CATALOG, lambda: self.now)

    def send(self, name: str, at: int = 1, source: Source = OPEN) -> None:
        self.plan.check(source, name, {}, at)


async def test_processes_add_up_what_they_saw(database: Database) -> None:
    one, two = Process(database), Process(database)
    for at, process in ((50, one), (20, two), (70, one), (90, two)):
        process.send("Signed In", at)
        await process.writer.flush()
    one.send("Signed In", 5, OPEN._replace(name="app"))
    one.send("Lamp Lit", 60)
    await one.writer.flush()
    await one.writer.flush()
    reads = SeenReads(database)
    assert reads.all_of("default") == [
        SeenName("app", "Signed In", 5, 5, 1, 0),
        SeenName("shop", "Lamp Lit", 60, 60, 1, 1),
        SeenName("shop", "Signed In", 20, 90, 4, 0),
    ]
    assert reads.all_of("other") == []


async def test_the_table_has_room_for_so_many_strange_names_whichever_process_brings_them(database: Database) -> None:
    for number in range(3):
        process = Process(database)
        for each in range(1_500):
            process.send(f"Noise {number} {each}")
        process.send("Signed In")
        await process.writer.flush()
    found = {each.name: each for each in SeenReads(database).all_of("default")}
    assert len(found) == MAX_NAMES + 2
    assert found[OTHER].events == 4_500 - MAX_NAMES
    assert found["Signed In"].events == 3
    again = Process(database)
    again.send("Noise 0 7")
    await again.writer.flush()
    found = {each.name: each for each in SeenReads(database).all_of("default")}
    assert (found["Noise 0 7"].events, found[OTHER].events) == (2, 4_500 - MAX_NAMES)


class Away(Database):
    """A database that can be away."""

    away = False

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        if self.away:
            raise StorageUnavailable("It is away.")
        with super().transaction() as transaction:
            yield transaction


async def test_a_database_that_is_away_loses_nothing(tmp_path: Path) -> None:
    database = Away(tmp_path / "seen.db")
    database.create(seen_metadata)
    process = Process(database)
    database.away = True
    for at in (1, 2):
        process.send("Signed In", at)
        await process.writer.flush()
    database.away = False
    await process.writer.flush()
    assert SeenReads(database).all_of("default") == [SeenName("shop", "Signed In", 1, 2, 2, 0)]
    database.close()


async def test_a_source_that_is_to_be_warned_is_named_once_a_minute(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    database = Database(tmp_path / "seen.db")
    database.create(seen_metadata)
    process = Process(database)

    async def flushed(now: int) -> list[int]:
        process.now = now
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            await process.writer.flush()
        assert {record.message for record in caplog.records} <= {"catalog.events_off_plan"}
        return [record.__dict__["events"] for record in caplog.records]

    process.send("Lamp Lit")
    assert await flushed(0) == []
    process.send("Lamp Lit", source=WARN)
    process.send("Signed In", source=WARN)
    assert await flushed(1) == [1]
    assert caplog.records[0].__dict__["source"] == "shop"
    process.send("Lamp Lit", source=WARN)
    assert await flushed(2) == []
    process.send("Lamp Lit", source=WARN)
    assert await flushed(MINUTE + 1) == [2]
    assert await flushed(3 * MINUTE) == []
    database.close()
