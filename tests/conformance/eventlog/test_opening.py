"""Opening, closing, and topics."""

from dataclasses import replace

import pytest

from schemas.topics import CONTROL, EVENTS, Cleanup, TopicSpec
from services.eventlog.port import (
    EventLog,
    LogClosed,
    LogError,
    PublisherState,
    TopicMismatch,
    TopicPartition,
    UnknownTopic,
)
from tests.conformance.eventlog.support import PARTITIONS, SPECS, Engine, Store, event, outbox, read_all

PLACE = TopicPartition(EVENTS, 0)


async def test_a_log_opens_and_closes_twice(store: Store) -> None:
    first = store.log()
    await first.start()
    await first.start()
    assert await first.create_topics(SPECS, PARTITIONS) == [spec.name for spec in SPECS]
    assert await first.writer().append([event(1)]) == [None]
    await first.close()
    await first.close()
    second = store.log()
    await second.start()
    assert [record.value for record in await read_all(second, EVENTS)] == [b"1"]
    await second.close()


async def test_topics_are_created_once(store: Store, log: EventLog) -> None:
    assert await log.create_topics(SPECS, PARTITIONS) == []
    await log.check_topics(SPECS, PARTITIONS)
    other = store.log()
    await other.start()
    assert await other.create_topics(SPECS, PARTITIONS) == []


async def test_only_missing_topics_are_created(log: EventLog) -> None:
    added = TopicSpec("parcours.added", "key", "what is added later")
    assert await log.create_topics((*SPECS, added), PARTITIONS) == ["parcours.added"]


async def test_another_number_of_partitions_is_refused(store: Store, log: EventLog) -> None:
    with pytest.raises(TopicMismatch, match=r"parcours\.events: partitions is 4, should be 5\."):
        await log.check_topics(SPECS, 5)
    with pytest.raises(TopicMismatch, match="partitions is 4, should be 3"):
        await log.create_topics(SPECS, 3)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"retention": 7 * 86_400_000}, "retention.ms is 2592000000, should be 604800000"),
        ({"retention": None}, "retention.ms is 2592000000, should be -1"),
        ({"cleanup": Cleanup.COMPACT}, "cleanup.policy is delete, should be compact"),
        ({"max_record_bytes": 2_000_000}, "max.message.bytes is 1064960, should be 2016384"),
    ],
)
async def test_a_topic_that_differs_is_refused_and_the_line_is_named(
    log: EventLog, change: dict[str, object], line: str
) -> None:
    spec = replace(SPECS[0], **change)  # type: ignore[arg-type]  # the parameters are fields of TopicSpec
    for refusing in (log.check_topics, log.create_topics):
        with pytest.raises(TopicMismatch) as refused:
            await refusing([spec], PARTITIONS)
        assert f"{EVENTS}: {line}." in str(refused.value)


async def test_nothing_is_created_beside_a_topic_that_differs(log: EventLog) -> None:
    added = TopicSpec("parcours.added", "key", "what is added later")
    with pytest.raises(TopicMismatch):
        await log.create_topics([added, replace(SPECS[0], retention=1)], PARTITIONS)
    with pytest.raises(UnknownTopic, match=r"parcours\.added"):
        await log.check_topics([added], PARTITIONS)


async def test_an_unknown_topic_is_refused_by_type(log: EventLog) -> None:
    nowhere = TopicPartition("parcours.unheard-of", 0)
    for attempt in (log.bounds(nowhere), log.read(nowhere, 0, 1), log.bounds(TopicPartition(EVENTS, PARTITIONS))):
        with pytest.raises(UnknownTopic):
            await attempt
    with pytest.raises(UnknownTopic, match="unheard-of"):
        await Engine([EVENTS, "parcours.unheard-of"]).join(log)
    with pytest.raises(UnknownTopic, match="unheard-of"):
        await log.check_topics([TopicSpec("parcours.unheard-of", "key", "nothing")], PARTITIONS)


async def test_a_topic_that_another_process_created_is_found(store: Store) -> None:
    early = store.log()
    await early.start()
    with pytest.raises(UnknownTopic):
        await early.bounds(PLACE)
    await store.open()
    assert await early.bounds(PLACE) == (0, 0)
    assert [type(answer) for answer in await early.writer().append([event(1)])] == [type(None)]


async def test_everything_of_a_closed_log_says_that_it_is_closed(log: EventLog) -> None:
    writer, publisher = log.writer(), log.publisher("engine", 1)
    reader = await Engine().join(log)
    await publisher.open(PublisherState(0, 0))
    await log.close()
    for attempt in (
        writer.append([event(1)]),
        reader.poll(10, 0),
        publisher.publish(outbox(1, 1)),
        publisher.open(PublisherState(0, 0)),
        log.read(PLACE, 0, 1),
        log.bounds(PLACE),
        log.start(),
        log.create_topics(SPECS, PARTITIONS),
        Engine().join(log),
    ):
        with pytest.raises(LogClosed):
            await attempt
    with pytest.raises(LogClosed):
        log.writer()
    with pytest.raises(LogClosed):
        log.publisher("engine", 1)


async def test_parts_of_a_log_close_alone_and_twice(log: EventLog) -> None:
    writer, publisher = log.writer(), log.publisher("engine", 1)
    reader = await Engine().join(log)
    for part in (writer, publisher, reader):
        await part.close()
        await part.close()
    with pytest.raises(LogClosed):
        await writer.append([event(1)])
    with pytest.raises(LogClosed):
        await reader.poll(1, 0)
    assert await log.writer().append([event(1)]) == [None]


async def test_the_bounds_and_any_stretch_of_a_partition_can_be_read(log: EventLog) -> None:
    place = TopicPartition(CONTROL, 2)
    await log.writer().append([event(number, topic=CONTROL, partition=2) for number in range(50)])
    assert await log.bounds(place) == (0, 50)
    assert [record.offset for record in await log.read(place, 10, 5)] == [10, 11, 12, 13, 14]
    assert [record.value for record in await log.read(place, 48, 100)] == [b"48", b"49"]
    assert list(await log.read(place, 50, 100)) == []
    with pytest.raises(LogError):
        await log.read(place, 51, 1)
