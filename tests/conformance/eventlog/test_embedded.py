"""What only the embedded log has to do: damaged files, full disks, retention, other processes."""

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from schemas.records import Place, Record, StoredRecord
from schemas.times import DAY
from schemas.topics import CONTROL, EVENTS
from services.eventlog.embedded import EmbeddedEventLog
from services.eventlog.embedded_store import Stream, connect, encoded_record, frame, read_stream
from services.eventlog.port import (
    CorruptRecord,
    EventLog,
    LogError,
    LogUnavailable,
    OffsetOutOfRange,
    PublisherState,
    TopicPartition,
)
from services.runtime.clock import ManualClock
from tests.conformance.eventlog.support import (
    NOW,
    PARTITIONS,
    SPECS,
    Engine,
    Store,
    event,
    outbox,
    poll_on,
    read_all,
    take,
)

PLACE = TopicPartition(EVENTS, 1)


async def filled(store: Store, commits: int = 3, each: int = 5) -> EventLog:
    """A log with some records in partition 1, several commits of them."""
    log = await store.open()
    writer = log.writer()
    for number in range(commits):
        await writer.append([event(number * each + more, partition=1) for more in range(each)])
    return log


def alter(store: Store, statement: str, *values: object) -> None:
    """Change the file behind the log's back."""
    with sqlite3.connect(store.address, isolation_level=None) as connection:
        assert connection.execute(statement, values).rowcount >= 1
    connection.close()


def flip(store: Store, segment: int, byte: int) -> None:
    """Change one bit of one byte of a segment."""
    with sqlite3.connect(store.address) as connection:
        number, data = connection.execute("SELECT id, data FROM segments ORDER BY id").fetchall()[segment]
        damaged = bytearray(data)
        damaged[byte] ^= 1
        connection.execute("UPDATE segments SET data = ? WHERE id = ?", (bytes(damaged), number))
    connection.close()


async def test_a_damaged_record_is_reported_with_its_place_and_never_skipped(embedded_store: Store) -> None:
    log = await filled(embedded_store)
    flip(embedded_store, segment=1, byte=-1)
    engine = Engine()
    reader = await engine.join(log)
    before = await take(reader, 9, engine)
    assert [record.offset for record in before[PLACE]] == list(range(9))
    for _ in range(3):
        with pytest.raises(CorruptRecord, match=r"parcours\.events/1@9") as damage:
            await poll_on(reader)
        assert damage.value.place == Place(EVENTS, 1, 9)
    with pytest.raises(CorruptRecord):
        await log.read(PLACE, 9, 10)
    assert [record.offset for record in await log.read(PLACE, 10, 10)] == [10, 11, 12, 13, 14]


@pytest.mark.parametrize(
    ("statement", "place"),
    [
        ("DELETE FROM segments WHERE id = (SELECT min(id) + 5 FROM segments)", 5),
        ("DELETE FROM segments WHERE id = (SELECT min(id) + 10 FROM segments)", 10),
        ("DELETE FROM segments", 0),
        ("UPDATE segments SET data = substr(data, 1, length(data) - 10) WHERE id = (SELECT min(id) FROM segments)", 4),
        ("UPDATE segments SET records = 4 WHERE id = (SELECT min(id) FROM segments)", 4),
        ("UPDATE segments SET data = (SELECT data FROM segments ORDER BY id DESC LIMIT 1)", 0),
    ],
    ids=["a commit in the middle", "the last commit", "everything", "the end of a commit", "a count", "another place"],
)
async def test_what_is_missing_or_lies_elsewhere_is_reported_at_its_place(
    embedded_store: Store, statement: str, place: int
) -> None:
    log = await filled(embedded_store)
    alter(embedded_store, statement)
    found = list(await log.read(PLACE, 0, 100)) if place else []
    assert [record.offset for record in found] == list(range(place))
    with pytest.raises(CorruptRecord) as damage:
        await log.read(PLACE, place, 100)
    assert damage.value.place == Place(EVENTS, 1, place)


def intact_prefix(connection: sqlite3.Connection, stream: Stream) -> list[StoredRecord]:
    """What is returned before the first damaged record."""
    try:
        return read_stream(connection, stream, 0, 10, 1_000_000)
    except CorruptRecord:
        return []


def test_whatever_byte_is_damaged_only_the_records_before_it_are_returned(tmp_path: Path) -> None:
    connection = connect(tmp_path / "log.db")
    stream = Stream(1, EVENTS, 1)
    connection.execute("INSERT INTO streams VALUES (1, ?, 1, 0, 4)", (EVENTS,))
    records = [event(number) for number in range(4)]
    (row,) = frame(stream, 0, [encoded_record(record) for record in records])
    connection.execute("INSERT INTO segments VALUES (?, ?, ?, ?)", row)
    intact = read_stream(connection, stream, 0, 10, 1_000_000)
    assert [record.value for record in intact] == [record.value for record in records]
    for byte in range(len(row[3])):
        damaged = bytearray(row[3])
        damaged[byte] ^= 0x10
        connection.execute("UPDATE segments SET data = ?", (bytes(damaged),))
        found = intact_prefix(connection, stream)
        assert len(found) < 4
        assert found == intact[: len(found)]
    connection.close()


async def test_a_full_disk_refuses_loses_nothing_that_was_acknowledged_and_goes_on_when_there_is_room(
    tmp_path: Path,
) -> None:
    clock = ManualClock(NOW)
    log = EmbeddedEventLog(tmp_path / "log.db", clock.now, max_bytes=600_000)
    await log.start()
    await log.create_topics(SPECS, PARTITIONS)
    writer, publisher = log.writer(), log.publisher("stage_engine", 1)
    await publisher.open(PublisherState(0, 0))
    acknowledged: list[int] = []
    refusals: set[str] = set()

    def large(number: int) -> Record:
        return Record(EVENTS, 1, b"key", str(number).encode() + b"." * 20_000, (), clock.now())

    for number in range(100):
        try:
            assert await writer.append([large(number)]) == [None]
            acknowledged.append(number)
        except LogUnavailable as full:
            refusals.add(str(full))
    assert refusals == {"The disk of the event log is full. Nothing was stored; make room and send again."}
    assert 10 < len(acknowledged) < 40
    with pytest.raises(LogUnavailable):
        await publisher.publish(outbox(1, 400))
    found = [int((record.value or b"").partition(b".")[0]) for record in await read_all(log, EVENTS, (1,))]
    assert found == acknowledged
    clock.move(31 * DAY)
    assert await log.prune() > 0
    assert await writer.append([large(1_000)]) == [None]
    again = log.publisher("stage_engine", 1)
    assert await again.open(PublisherState(400, 0)) == 0
    await again.publish(outbox(1, 400))
    await log.close()


async def test_old_records_go_after_their_retention_but_none_that_a_member_still_has_to_read(
    embedded_store: Store,
) -> None:
    log = await filled(embedded_store)
    assert isinstance(log, EmbeddedEventLog)
    await log.writer().append([event(1, topic=CONTROL, partition=1)])
    engine = Engine()
    reader = await engine.join(log)
    await take(reader, 10, engine, max_records=5)
    assert await log.prune() == 0
    embedded_store.clock.move(31 * DAY)
    assert await log.prune() == 2
    assert await log.bounds(PLACE) == (10, 15)
    assert await log.bounds(TopicPartition(CONTROL, 1)) == (0, 1)
    assert [record.offset for record in (await take(reader, 5))[PLACE]] == list(range(10, 15))
    assert await log.prune() == 1
    assert await log.bounds(PLACE) == (15, 15)
    await log.writer().append([event(15, partition=1)])
    assert [record.offset for record in (await take(reader, 1))[PLACE]] == [15]


async def test_a_position_whose_records_are_gone_stops_the_reader_loudly(embedded_store: Store) -> None:
    log = await filled(embedded_store)
    assert isinstance(log, EmbeddedEventLog)
    embedded_store.clock.move(31 * DAY)
    await log.prune()
    with pytest.raises(OffsetOutOfRange, match="which holds 15 to 15"):
        await poll_on(await Engine(stored={PLACE: 3}).join(log))


async def test_a_file_that_another_process_holds_gives_a_typed_error_and_works_afterwards(
    embedded_store: Store,
) -> None:
    log = await embedded_store.open()
    writer = log.writer()
    holder = sqlite3.connect(embedded_store.address, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    async with asyncio.timeout(10):
        with pytest.raises(LogUnavailable):
            await writer.append([event(1)])
    holder.execute("ROLLBACK")
    holder.close()
    assert await writer.append([event(2)]) == [None]
    assert [record.value for record in await read_all(log, EVENTS)] == [b"2"]


async def test_another_process_may_append_and_is_heard(embedded_store: Store) -> None:
    here, there = await embedded_store.open(), await embedded_store.open()
    reader = await Engine().join(here)
    writers = (here.writer(), there.writer())
    for number in range(20):
        await writers[number % 2].append([event(number, partition=1)])
    found = await take(reader, 20)
    assert [record.value for record in found[PLACE]] == [str(number).encode() for number in range(20)]


async def test_appends_that_wait_at_once_share_a_commit(embedded_store: Store) -> None:
    log = await embedded_store.open()
    writer = log.writer()
    await asyncio.gather(*(writer.append([event(number, partition=1)]) for number in range(500)))
    with sqlite3.connect(embedded_store.address) as connection:
        (commits,) = connection.execute("SELECT count(*) FROM segments").fetchone()
    connection.close()
    assert commits < 100
    assert len(await log.read(PLACE, 0, 1_000)) == 500


async def test_the_offsets_of_a_group_are_kept_for_tools(embedded_store: Store) -> None:
    log = await filled(embedded_store)
    reader = await Engine().join(log, "segmenter")
    await reader.commit({PLACE: 7})
    await reader.commit({PLACE: 9})
    with sqlite3.connect(embedded_store.address) as connection:
        rows = connection.execute("SELECT * FROM positions").fetchall()
    connection.close()
    assert rows == [("segmenter", EVENTS, 1, 9)]


async def test_members_that_read_other_topics_are_refused(embedded_store: Store) -> None:
    log = await embedded_store.open()
    await Engine([EVENTS]).join(log)
    with pytest.raises(LogError, match="every member must read the same topics"):
        await Engine([EVENTS, CONTROL]).join(log)


def foreign(path: Path) -> None:
    """A text file."""
    path.write_text("This is a letter, not a log. " * 100)


def other_database(path: Path) -> None:
    """Somebody else's database."""
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE recipes (name TEXT)")
    connection.close()


def newer(path: Path) -> None:
    """A log of a later version."""
    connect(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (foreign, "is not an event log of Parcours"),
        (other_database, "is not an event log of Parcours"),
        (newer, "was written by a newer version of Parcours. Start the newer program, or choose another"),
        (lambda path: path.mkdir(), "cannot be opened"),
    ],
    ids=["text", "another database", "newer version", "folder"],
)
async def test_what_is_no_log_is_refused_in_a_sentence_and_left_alone(
    tmp_path: Path, make: Callable[[Path], None], sentence: str
) -> None:
    path = tmp_path / "log.db"
    make(path)
    before = path.read_bytes() if path.is_file() else b""
    log = EmbeddedEventLog(path, ManualClock(NOW).now)
    with pytest.raises(LogError, match=sentence):
        await log.start()
    await log.close()
    assert (path.read_bytes() if path.is_file() else b"") == before
