"""The index of rejected events: a row for each record, however strange, and whoever else writes it."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from schemas.records import Headers, Record
from schemas.times import DAY
from schemas.topics import REJECTED, topic_table
from services import rejected_index
from services.eventlog.embedded import EmbeddedEventLog
from services.eventlog.port import LogUnavailable, TopicPartition
from services.rejected_index import RejectedIndex
from services.storage.database import Database
from services.storage.errors import StorageUnavailable
from services.storage.rejected import RejectedFilter, RejectedPlace, RejectedStore, metadata

NOW = 1_795_358_000_000
PARTITIONS = 4
EVERYTHING = RejectedFilter(redriven=None)

DATABASES = [
    pytest.param("sqlite", id="sqlite"),
    pytest.param("postgresql", id="postgresql", marks=[pytest.mark.postgres]),
]


class Clock:
    """Wall time that stands still until it is moved."""

    now = NOW

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def log(tmp_path: Path, clock: Clock) -> AsyncIterator[EmbeddedEventLog]:
    found = EmbeddedEventLog(tmp_path / "log.db", clock)
    await found.start()
    await found.create_topics(topic_table(DAY), PARTITIONS)
    yield found
    await found.close()


@pytest.fixture(params=DATABASES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RejectedStore]:
    address = str(tmp_path / "ingest.db")
    if request.param == "postgresql":
        fresh: Callable[[], str] = request.getfixturevalue("fresh_database")
        address = fresh()
    database = Database(address)
    database.create(metadata)
    yield RejectedStore(database)
    database.close()


def record(number: int, partition: int = 0, key: bytes | None = b"default", headers: Headers | None = None) -> Record:
    """A record of the door."""
    if headers is None:
        headers = (("ce_id", b"rejected-%d" % number), ("ce_source", b"/sources/shop"), ("ce_reason", b"no_identity"))
    return Record(REJECTED, partition, key, b"{}", headers, NOW + number)


async def append(log: EmbeddedEventLog, *records: Record) -> None:
    writer = log.writer()
    assert not any(await writer.append(records))


async def test_every_record_has_one_row_whoever_reads_and_however_often(
    log: EmbeddedEventLog, store: RejectedStore
) -> None:
    indexes = [RejectedIndex(log, store, PARTITIONS) for _ in range(3)]
    drawn = random.Random(7)
    for batch in range(10):
        count = drawn.randrange(60)
        await append(log, *(record(batch * 100 + each, drawn.randrange(PARTITIONS)) for each in range(count)))
        await asyncio.gather(*(index.catch_up() for index in indexes))
    for index in indexes:
        await index.catch_up()
    ends = {number: (await log.bounds(TopicPartition(REJECTED, number)))[1] for number in range(PARTITIONS)}
    rows = store.in_order("default", EVERYTHING, None, 10_000)
    assert [row.where for row in rows] == [
        RejectedPlace(partition, position) for partition, end in ends.items() for position in range(end)
    ]
    assert store.positions() == ends


async def test_whatever_stands_on_the_topic_has_a_row(log: EmbeddedEventLog, store: RejectedStore) -> None:
    strange: list[tuple[bytes | None, Headers]] = [
        (None, ()),
        (b"\x00\xff", (("ce_reason", b"\x00nul"), ("ce_detail", b"\xff" * 2_000), ("ce_source", b"\xff"))),
        (b"default", (("ce_reason", b"x" * 5_000), ("ce_id", b"y" * 5_000), ("ce_source", b"/sources/" + b"s" * 500))),
        (b"default\x1fuser:ada", (("ce_reason", b"first"), ("ce_reason", b"second"), ("ce_call", b"c" * 500))),
        (b"UPPER CASE", (("ce_source", b"/processors/" + b"p" * 500), ("ce_place", b"\xed\xa0\xbd"))),
    ]
    await append(log, *(record(number, 0, key, headers) for number, (key, headers) in enumerate(strange)))
    await append(log, Record(REJECTED, 0, b"default", None, (), NOW))
    await RejectedIndex(log, store, PARTITIONS).catch_up()
    rows = store.in_order("default", EVERYTHING, None, 100)
    assert len(rows) == len(strange) + 1
    assert [row.reason for row in rows][:1] == ["unreadable"]
    assert rows[3].reason == "first"
    assert rows[-1].size == 0


async def test_each_workspace_sees_its_own(log: EmbeddedEventLog, store: RejectedStore) -> None:
    await append(log, record(1, key=b"default"), record(2, key=b"other"), record(3, key=b"other"))
    await RejectedIndex(log, store, PARTITIONS).catch_up()
    assert store.counts("default", EVERYTHING) == {"no_identity": 1}
    assert store.counts("other", EVERYTHING) == {"no_identity": 2}
    places = [RejectedPlace(0, position) for position in range(3)]
    assert [row.where.position for row in store.at("default", places)] == [0]
    assert store.in_order("nobody", EVERYTHING, None, 10) == []


async def test_a_row_goes_with_its_record(log: EmbeddedEventLog, store: RejectedStore, clock: Clock) -> None:
    index = RejectedIndex(log, store, PARTITIONS)
    await append(log, record(1))
    await index.catch_up()
    assert store.counts("default", EVERYTHING) == {"no_identity": 1}
    clock.now += 3 * DAY
    await append(log, Record(REJECTED, 0, b"default", b"{}", (("ce_reason", b"too_deep"),), clock.now))
    await log.prune()
    await index.catch_up()
    assert store.counts("default", EVERYTHING) == {"too_deep": 1}


async def test_an_index_that_is_ahead_of_its_log_begins_anew(log: EmbeddedEventLog, store: RejectedStore) -> None:
    assert store.add(0, None, 50, ())
    await append(log, record(1))
    await RejectedIndex(log, store, PARTITIONS).catch_up()
    assert store.counts("default", EVERYTHING) == {"no_identity": 1}
    assert store.positions()[0] == 1


async def test_what_was_redriven_is_noted_once(log: EmbeddedEventLog, store: RejectedStore) -> None:
    await append(log, record(1), record(2))
    await RejectedIndex(log, store, PARTITIONS).catch_up()
    store.mark([RejectedPlace(0, 0)], NOW + 5)
    store.mark([RejectedPlace(0, 0)], NOW + 9)
    assert [row.redriven_at for row in store.in_order("default", EVERYTHING, None, 10)] == [NOW + 5, None]
    assert store.counts("default", RejectedFilter()) == {"no_identity": 1}
    assert store.counts("default", RejectedFilter(redriven=True)) == {"no_identity": 1}


async def test_filters_and_pages_fit_together(log: EmbeddedEventLog, store: RejectedStore) -> None:
    await append(log, *(record(number, number % PARTITIONS) for number in range(40)))
    await RejectedIndex(log, store, PARTITIONS).catch_up()
    wanted = RejectedFilter("no_identity", "shop", NOW + 10, NOW + 30)
    found, after = [], None
    while page := store.newest("default", wanted, after, 7):
        found += [row.at for row in page]
        after = page[-1].at, *page[-1].where
    assert found == list(range(NOW + 29, NOW + 9, -1))
    assert store.counts("default", wanted) == {"no_identity": 20}
    assert store.newest("default", RejectedFilter(source="elsewhere"), None, 10) == []


class Trouble(EmbeddedEventLog):
    """A log that answers as it is told to."""

    def __init__(self, path: Path, clock: Clock) -> None:
        super().__init__(path, clock)
        self.error: Exception | None = None
        self.hanging = asyncio.Event()

    async def bounds(self, position: TopicPartition) -> tuple[int, int]:
        if self.error is not None:
            raise self.error
        self.hanging.set()
        await asyncio.Event().wait()
        return 0, 0


@pytest.mark.parametrize(
    "error", [LogUnavailable("It is away."), StorageUnavailable("It is away."), ZeroDivisionError()], ids=type
)
async def test_whatever_happens_to_the_index_ends_nothing_else(
    tmp_path: Path, clock: Clock, store: RejectedStore, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rejected_index, "LOOK_EVERY", 0.01)
    log = Trouble(tmp_path / "other.db", clock)
    log.error = error
    index = RejectedIndex(log, store, PARTITIONS)
    running = asyncio.create_task(index.run())
    await asyncio.sleep(0.05)
    assert not running.done()
    log.error = None
    await log.hanging.wait()
    index.stop()
    async with asyncio.timeout(5):
        await running


async def test_an_index_that_is_cancelled_leaves_nothing_behind(
    tmp_path: Path, clock: Clock, store: RejectedStore
) -> None:
    log = Trouble(tmp_path / "other.db", clock)
    before = asyncio.all_tasks()
    running = asyncio.create_task(RejectedIndex(log, store, PARTITIONS).run())
    await log.hanging.wait()
    running.cancel()
    await asyncio.wait({running})
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


def test_a_filter_that_no_database_could_hold_finds_nothing(store: RejectedStore) -> None:
    for wanted in (RejectedFilter(reason="no\x00identity"), RejectedFilter(source="\x00")):
        assert store.counts("default", wanted) == {}
        assert store.newest("default", wanted, None, 10) == []
        assert store.in_order("default", wanted, None, 10) == []
