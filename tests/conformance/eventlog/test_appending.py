"""What an append promises."""

import asyncio
from collections import defaultdict

import pytest

from schemas.ids import partition_of
from schemas.records import Record, record_size
from schemas.topics import EVENTS, REJECTED
from services.eventlog.port import EventLog, RecordTooLarge, TopicPartition, UnknownTopic
from tests.conformance.eventlog.support import NOW, PARTITIONS, event, read_all


async def test_records_of_one_key_keep_their_order(log: EventLog) -> None:
    writer = log.writer()
    for first in range(0, 300, 100):
        records = [event(number, subject=f"user:u-{number % 7}") for number in range(first, first + 100)]
        assert await writer.append(records) == [None] * 100
    by_key: dict[bytes | None, list[int]] = defaultdict(list)
    for record in await read_all(log, EVENTS):
        by_key[record.key].append(int(record.value or b""))
    assert len(by_key) == 7
    assert all(numbers == sorted(numbers) for numbers in by_key.values())
    assert sum(map(len, by_key.values())) == 300


async def test_appends_in_flight_at_once_keep_the_order_of_each_caller(log: EventLog) -> None:
    writer = log.writer()

    async def caller(name: int) -> None:
        for number in range(20):
            assert await writer.append([event(number, subject=f"user:{name}")]) == [None]

    await asyncio.gather(*(caller(name) for name in range(10)))
    by_key: dict[bytes | None, list[int]] = defaultdict(list)
    for record in await read_all(log, EVENTS):
        by_key[record.key].append(int(record.value or b""))
    assert list(by_key.values()) == [list(range(20))] * 10


async def test_records_of_one_key_are_in_one_partition(log: EventLog) -> None:
    await log.writer().append([event(number, subject=f"user:u-{number % 13}") for number in range(130)])
    places: dict[bytes | None, set[int]] = defaultdict(set)
    for record in await read_all(log, EVENTS):
        places[record.key].add(record.partition)
    assert {key: {partition_of(key or b"", PARTITIONS)} for key in places} == places
    assert len(places) == 13


@pytest.mark.parametrize(
    "record",
    [
        Record(EVENTS, 0, b"key", bytes(range(256)), (("ce_id", bytes(range(256))),), NOW),
        Record(EVENTS, 1, b"key", b"", (), 0),
        Record(EVENTS, 2, b"tombstone", None, (("a", b"1"), ("a", b"2"), ("b", b"")), NOW),
        Record(EVENTS, 3, None, b"no key", (("header-ü", b"x"),), NOW),
        Record(REJECTED, 0, b"key", b"x" * 3_000_000, (), NOW),
    ],
    ids=["all bytes", "empty value", "tombstone", "no key", "large"],
)
async def test_bytes_headers_and_timestamp_come_back_unchanged(log: EventLog, record: Record) -> None:
    assert await log.writer().append([record]) == [None]
    (found,) = await read_all(log, record.topic)
    assert (found.topic, found.partition, found.offset) == (record.topic, record.partition, 0)
    assert (found.key, found.value, found.headers) == (record.key, record.value, record.headers)
    assert found.timestamp == record.timestamp


def sized(size: int) -> Record:
    """An event that counts as `size` bytes."""
    empty = Record(EVENTS, 0, b"key", b"", (("ce_id", b"m-1"),), NOW)
    return Record(EVENTS, 0, b"key", b"x" * (size - record_size(empty)), empty.headers, NOW)


async def test_a_record_at_the_limit_is_stored_and_one_byte_more_is_refused_before_it_is_appended(
    log: EventLog,
) -> None:
    writer = log.writer()
    (refusal,) = await writer.append([sized(1_048_577)])
    assert isinstance(refusal, RecordTooLarge)
    assert await log.bounds(TopicPartition(EVENTS, 0)) == (0, 0)
    assert await writer.append([sized(1_048_576)]) == [None]
    assert await log.bounds(TopicPartition(EVENTS, 0)) == (0, 1)


async def test_one_bad_record_does_not_fail_its_batch(log: EventLog) -> None:
    bad = [sized(1_048_577), event(1, topic="parcours.unheard-of"), event(2, partition=PARTITIONS)]
    answers = await log.writer().append([event(3), bad[0], event(4), bad[1], event(5), bad[2], event(6)])
    kinds = [type(answer) for answer in answers]
    assert kinds == [type(None), RecordTooLarge, type(None), UnknownTopic, type(None), UnknownTopic, type(None)]
    assert sorted(int(record.value or b"") for record in await read_all(log, EVENTS)) == [3, 4, 5, 6]


async def test_an_append_of_nothing_is_answered(log: EventLog) -> None:
    assert await log.writer().append([]) == []


async def test_many_large_records_at_once_are_stored(log: EventLog) -> None:
    writer = log.writer()
    records = [Record(EVENTS, number % 2, b"key", b"x" * 200_000, (), NOW) for number in range(30)]
    assert await writer.append(records) == [None] * 30
    assert len(await read_all(log, EVENTS)) == 30


async def test_closing_a_writer_waits_for_what_is_in_flight(log: EventLog) -> None:
    writer = log.writer()
    appends = [asyncio.create_task(writer.append([event(number)])) for number in range(20)]
    await asyncio.sleep(0)
    await writer.close()
    assert await asyncio.gather(*appends) == [[None]] * 20
    assert len(await read_all(log, EVENTS)) == 20
