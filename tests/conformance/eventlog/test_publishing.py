"""What the publisher of an outbox promises: exactly once, whatever happens to it."""

import asyncio

import pytest

from schemas.records import Record, StoredRecord
from schemas.topics import CONTROL, ROUTED, STAGE_CHANGES
from services.eventlog.port import (
    EventLog,
    Fenced,
    HistoryLost,
    LogError,
    PublisherState,
    RecordTooLarge,
    SequencedRecord,
    TopicPartition,
    UnknownTopic,
)
from tests.conformance.eventlog.support import NOW, Engine, Store, outbox, read_all, sequences, take

FRESH = PublisherState(0, 0)


async def test_records_are_published_in_order_with_the_headers_of_their_sequence(log: EventLog) -> None:
    publisher = log.publisher("stage_engine", 1)
    assert await publisher.open(FRESH) == 0
    await publisher.publish(outbox(1, 7))
    await publisher.publish(outbox(8, 10))
    assert await sequences(log, 10) == list(range(1, 11))
    found: list[StoredRecord] = await read_all(log, STAGE_CHANGES, (1,))
    assert [record.value for record in found] == [b"2", b"4", b"6", b"8", b"10"]
    assert found[0].headers == (
        ("ce_id", b"m-2"),
        ("processor", b"stage_engine"),
        ("partition", b"1"),
        ("sequence", b"2"),
    )


async def test_a_publisher_that_opens_again_goes_on_after_what_is_on_the_log(store: Store, log: EventLog) -> None:
    publisher = log.publisher("stage_engine", 1)
    await publisher.open(FRESH)
    await publisher.publish(outbox(1, 5))
    await publisher.close()
    await log.close()
    restarted = await store.open()
    again = restarted.publisher("stage_engine", 1)
    assert await again.open(PublisherState(9, 5)) == 5
    await again.publish(outbox(6, 9))
    assert await sequences(restarted, 9) == list(range(1, 10))


async def test_a_crash_between_publishing_and_marking_publishes_nothing_twice(store: Store, log: EventLog) -> None:
    publisher = log.publisher("stage_engine", 1)
    await publisher.open(FRESH)
    await publisher.publish(outbox(1, 5))
    after_the_crash = (await store.open()).publisher("stage_engine", 1)
    assert await after_the_crash.open(PublisherState(12, 0)) == 5
    await after_the_crash.publish(outbox(6, 12))
    assert await sequences(log, 12) == list(range(1, 13))


async def test_a_zombie_is_fenced_and_publishes_nothing_more(store: Store, log: EventLog) -> None:
    zombie = log.publisher("stage_engine", 1)
    await zombie.open(FRESH)
    await zombie.publish(outbox(1, 3))
    successor = (await store.open()).publisher("stage_engine", 1)
    assert await successor.open(PublisherState(6, 0)) == 3
    with pytest.raises(Fenced):
        await zombie.publish(outbox(4, 6))
    await successor.publish(outbox(4, 5))
    with pytest.raises(LogError):
        await zombie.publish(outbox(4, 6))
    await successor.publish(outbox(6, 6))
    assert await sequences(log, 6) == list(range(1, 7))


async def test_publishers_of_other_partitions_and_processors_do_not_disturb_each_other(log: EventLog) -> None:
    publishers = [log.publisher(*name) for name in (("stage_engine", 0), ("stage_engine", 1), ("segmenter", 1))]
    for publisher in publishers:
        assert await publisher.open(FRESH) == 0
    for publisher, partition in zip(publishers, (0, 1, 1), strict=True):
        await publisher.publish(outbox(1, 4, partition))
    assert await sequences(log, 4, partition=0) == [1, 2, 3, 4]
    assert await sequences(log, 8, partition=1) == [1, 1, 2, 2, 3, 3, 4, 4]


async def test_many_records_for_several_topics_are_published_together(log: EventLog) -> None:
    publisher = log.publisher("stage_engine", 1)
    await publisher.open(FRESH)
    await publisher.publish(outbox(1, 3_000))
    assert await sequences(log, 3000) == list(range(1, 3_001))


async def test_large_records_are_published(log: EventLog) -> None:
    publisher = log.publisher("stage_engine", 1)
    await publisher.open(FRESH)
    large = [
        SequencedRecord(number, Record(STAGE_CHANGES, 1, b"key", b"x" * 400_000, (), NOW)) for number in range(1, 9)
    ]
    await publisher.publish(large)
    assert await sequences(log, 8) == list(range(1, 9))
    assert [len(record.value or b"") for record in await read_all(log, STAGE_CHANGES, (1,))] == [400_000] * 8


async def test_nothing_to_publish_is_nothing(log: EventLog) -> None:
    publisher = log.publisher("stage_engine", 1)
    await publisher.open(FRESH)
    await publisher.publish([])
    assert await sequences(log, 0) == []


async def test_a_gap_in_the_outbox_is_refused(log: EventLog) -> None:
    publisher = log.publisher("stage_engine", 1)
    await publisher.open(FRESH)
    await publisher.publish(outbox(1, 3))
    for rows in (outbox(5, 6), outbox(3, 4), [*outbox(4, 4), *outbox(6, 6)]):
        with pytest.raises(HistoryLost):
            await publisher.publish(rows)
    await publisher.publish(outbox(4, 4))
    assert await sequences(log, 4) == [1, 2, 3, 4]


async def test_a_record_that_cannot_be_published_is_refused_before_any_is(log: EventLog) -> None:
    publisher = log.publisher("stage_engine", 1)
    await publisher.open(FRESH)
    too_large = SequencedRecord(2, Record(STAGE_CHANGES, 1, b"key", b"x" * 1_100_000, (), NOW))
    nowhere = SequencedRecord(2, Record("parcours.unheard-of", 1, b"key", b"x", (), NOW))
    for row, refusal in ((too_large, RecordTooLarge), (nowhere, UnknownTopic)):
        with pytest.raises(refusal):
            await publisher.publish([*outbox(1, 1), row, *outbox(3, 3)])
    assert await sequences(log, 0) == []
    await publisher.publish(outbox(1, 3))
    assert await sequences(log, 3) == [1, 2, 3]


async def test_a_publisher_that_was_not_opened_publishes_nothing(log: EventLog) -> None:
    with pytest.raises(LogError):
        await log.publisher("stage_engine", 1).publish(outbox(1, 1))
    assert await sequences(log, 0) == []


async def test_a_database_that_was_rolled_back_stops_the_publisher_loudly(store: Store, log: EventLog) -> None:
    publisher = log.publisher("stage_engine", 1)
    await publisher.open(FRESH)
    await publisher.publish(outbox(1, 8))
    with pytest.raises(HistoryLost, match="the database was rolled back"):
        await log.publisher("stage_engine", 1).open(PublisherState(5, 5))


async def test_a_log_that_was_rolled_back_stops_the_publisher_loudly(log: EventLog) -> None:
    publisher = log.publisher("stage_engine", 1)
    await publisher.open(FRESH)
    await publisher.publish(outbox(1, 3))
    with pytest.raises(HistoryLost, match="the log was rolled back"):
        await log.publisher("stage_engine", 1).open(PublisherState(8, 6))


async def test_a_new_log_beside_an_old_database_stops_the_publisher_loudly(log: EventLog) -> None:
    with pytest.raises(HistoryLost, match="knows nothing of stage_engine/1"):
        await log.publisher("stage_engine", 1).open(PublisherState(8, 6))


async def test_an_outbox_of_which_nothing_was_published_yet_begins_at_its_beginning(log: EventLog) -> None:
    publisher = log.publisher("stage_engine", 1)
    assert await publisher.open(PublisherState(5, 0)) == 0
    await publisher.publish(outbox(1, 5))
    assert await sequences(log, 5) == [1, 2, 3, 4, 5]


async def test_a_reader_behind_a_publisher_catches_up_to_the_very_end(log: EventLog) -> None:
    publisher = log.publisher("stage_engine", 1)
    await publisher.open(FRESH)
    reader = await Engine([STAGE_CHANGES]).join(log)
    place = TopicPartition(STAGE_CHANGES, 1)
    for first in (1, 11):
        await publisher.publish(outbox(first, first + 9))
        await take(reader, 5)
        async with asyncio.timeout(20):
            while reader.caught_up_at(place) is None or reader.end_offset(place) != (await log.bounds(place))[1]:
                assert await reader.poll(10, 300) == {}
        assert reader.read_to(place) == reader.end_offset(place)


async def test_publishing_works_beside_appends_to_the_same_partition(log: EventLog) -> None:
    publisher, writer = log.publisher("stage_engine", 1), log.writer()
    await publisher.open(FRESH)
    for number in range(10):
        plain = [Record(CONTROL, 1, b"key", b"plain", (), NOW), Record(ROUTED, 1, b"key", b"plain", (), NOW)]
        answers, _ = await asyncio.gather(
            writer.append(plain), publisher.publish(outbox(2 * number + 1, 2 * number + 2))
        )
        assert answers == [None, None]
    assert await sequences(log, 20) == list(range(1, 21))
    assert len(await read_all(log, ROUTED, (1,))) == 20
    assert len(await read_all(log, CONTROL, (1,))) == 10
