"""What a reader promises."""

import asyncio
from collections.abc import Mapping

import pytest

from schemas.topics import EVENTS, ROUTED
from services.eventlog.port import EventLog, LogError, OffsetOutOfRange, TopicPartition
from tests.conformance.eventlog.support import PARTITIONS, Engine, Store, event, poll_on, take

PLACE = TopicPartition(EVENTS, 1)


async def fill(log: EventLog, count: int, topic: str = EVENTS, partition: int | None = None) -> None:
    """Append `count` events."""
    answers = await log.writer().append([event(number, topic=topic, partition=partition) for number in range(count)])
    assert answers == [None] * count


async def test_two_groups_both_see_everything(log: EventLog) -> None:
    await fill(log, 100)
    for group in ("stage_engine", "segmenter"):
        reader = await Engine().join(log, group)
        found = await take(reader, 100)
        assert sorted(int(record.value or b"") for records in found.values() for record in records) == list(range(100))
        await reader.close()


async def test_records_of_a_partition_come_in_the_order_of_their_offsets(log: EventLog) -> None:
    await fill(log, 200)
    found = await take(await Engine().join(log), 200, max_records=17)
    for place, records in found.items():
        assert [record.offset for record in records] == list(range(len(records)))
        assert {(record.topic, record.partition) for record in records} == {place}


async def test_a_poll_returns_at_most_what_was_asked_for(log: EventLog) -> None:
    await fill(log, 100)
    reader = await Engine().join(log)
    for _ in range(5):
        assert sum(map(len, (await reader.poll(7, 5_000)).values())) <= 7


async def test_an_engine_goes_on_from_its_own_positions(log: EventLog) -> None:
    await fill(log, 100, partition=1)
    engine = Engine(stored={PLACE: 60})
    found = await take(await engine.join(log), 40)
    assert [record.offset for record in found[PLACE]] == list(range(60, 100))


async def test_the_offsets_of_the_group_are_never_used(log: EventLog) -> None:
    await fill(log, 100, partition=1)
    reader = await Engine().join(log)
    await take(reader, 100)
    await reader.commit({PLACE: 90})
    await reader.close()
    found = await take(await Engine(stored={PLACE: 10}).join(log), 90)
    assert found[PLACE][0].offset == 10


async def test_what_was_not_stored_is_delivered_again(log: EventLog) -> None:
    await fill(log, 50, partition=1)
    engine = Engine()
    reader = await engine.join(log)
    engine.store(await take(reader, 20, max_records=20))
    await take(reader, 20, max_records=20)
    await reader.close()
    found = await take(await engine.join(log), 30)
    assert [record.offset for record in found[PLACE]] == list(range(20, 50))


async def test_nothing_is_skipped_after_a_failure(log: EventLog) -> None:
    await fill(log, 60, partition=1)
    engine = Engine()
    reader = await engine.join(log)
    engine.store(await take(reader, 20, max_records=20))
    failed = await take(reader, 20, max_records=20)
    reader.seek(PLACE, engine.stored[PLACE])
    again = await take(reader, 40, engine, max_records=20)
    assert [record.offset for record in failed[PLACE]] == list(range(20, 40))
    assert [record.offset for record in again[PLACE]] == list(range(20, 60))


async def test_a_waiting_poll_returns_when_a_record_is_appended(log: EventLog) -> None:
    reader = await Engine().join(log)
    await reader.poll(1, 500)
    waiting = asyncio.create_task(reader.poll(10, 600_000))
    await asyncio.sleep(0)
    await fill(log, 1)
    async with asyncio.timeout(20):
        assert sum(map(len, (await waiting).values())) == 1


async def test_a_poll_without_records_is_empty_in_time(log: EventLog) -> None:
    reader = await Engine().join(log)
    async with asyncio.timeout(10):
        assert await reader.poll(10, 300) == {}
        assert await reader.poll(10, 0) == {}


async def test_paused_partitions_are_silent_and_lose_nothing(log: EventLog) -> None:
    await fill(log, 100)
    reader = await Engine().join(log)
    await take(reader, 100)
    reader.pause(frozenset({0, 2}))
    await fill(log, 100)
    expected = {place: records for place, records in (await everything(log)).items() if place.partition in (1, 3)}
    found = await take(reader, sum(count - count // 2 for count in expected.values()))
    assert {place.partition for place in found} == {1, 3}
    assert await reader.poll(100, 300) == {}
    reader.resume(frozenset({0, 2}))
    found = await take(reader, 100 - sum(map(len, found.values())))
    assert {place.partition for place in found} == {0, 2}


async def everything(log: EventLog) -> Mapping[TopicPartition, int]:
    """How many events each partition holds."""
    places = [TopicPartition(EVENTS, partition) for partition in range(PARTITIONS)]
    return {place: (await log.bounds(place))[1] for place in places}


async def test_a_position_beyond_the_log_stops_the_reader_loudly(log: EventLog) -> None:
    await fill(log, 10, partition=1)
    reader = await Engine(stored={PLACE: 11}).join(log)
    with pytest.raises(OffsetOutOfRange, match=r"parcours\.events/1"):
        await poll_on(reader)


async def test_a_sought_position_that_the_log_does_not_hold_is_refused(log: EventLog) -> None:
    await fill(log, 10, partition=1)
    reader = await Engine().join(log)
    await take(reader, 10)
    reader.seek(PLACE, 500)
    with pytest.raises(OffsetOutOfRange):
        await poll_on(reader)


async def test_a_partition_counts_as_caught_up_only_when_nothing_more_is_there(store: Store, log: EventLog) -> None:
    await fill(log, 30, partition=1)
    reader = await Engine().join(log)
    await take(reader, 10, max_records=10)
    assert reader.caught_up_at(PLACE) is None
    await take(reader, 20, max_records=10)
    before = store.clock.now()
    async with asyncio.timeout(20):
        while reader.caught_up_at(PLACE) is None:
            assert await reader.poll(10, 300) == {}
    assert reader.caught_up_at(PLACE) == before
    assert reader.end_offset(PLACE) == reader.read_to(PLACE) == 30


async def test_the_time_of_being_caught_up_follows_the_clock_and_never_runs_ahead_of_a_look(
    store: Store, log: EventLog
) -> None:
    reader = await Engine().join(log)
    async with asyncio.timeout(20):
        while reader.caught_up_at(PLACE) is None:
            await reader.poll(10, 300)
        first = reader.caught_up_at(PLACE)
        await fill(log, 1, partition=1)
        store.clock.move(60_000)
        assert reader.caught_up_at(PLACE) == first
        await take(reader, 1)
        while reader.caught_up_at(PLACE) != store.clock.now():
            await reader.poll(10, 300)


async def test_a_sought_partition_is_not_caught_up(log: EventLog) -> None:
    await fill(log, 5, partition=1)
    reader = await Engine().join(log)
    await take(reader, 5)
    async with asyncio.timeout(20):
        while reader.caught_up_at(PLACE) is None:
            await reader.poll(10, 300)
    reader.seek(PLACE, 0)
    assert reader.caught_up_at(PLACE) is None


async def test_several_topics_are_read_beside_each_other(log: EventLog) -> None:
    await fill(log, 40)
    await fill(log, 40, topic=ROUTED)
    found = await take(await Engine([EVENTS, ROUTED]).join(log), 80)
    assert {place.topic for place in found} == {EVENTS, ROUTED}


async def test_an_error_of_the_listener_ends_its_reader_and_surfaces_from_poll(log: EventLog) -> None:
    class Failing(Engine):
        async def assigned(self, partitions: frozenset[int]) -> Mapping[TopicPartition, int]:
            raise LogError("the database is away")

    await fill(log, 10)
    reader = await Failing().join(log)
    for _ in range(2):
        with pytest.raises(LogError, match="the database is away"):
            await poll_on(reader)
    assert reader.assignment == frozenset()


async def test_a_listener_that_forgets_a_position_ends_its_reader(log: EventLog) -> None:
    class Forgetful(Engine):
        async def assigned(self, partitions: frozenset[int]) -> Mapping[TopicPartition, int]:
            return {PLACE: 0}

    reader = await Forgetful().join(log)
    with pytest.raises(OffsetOutOfRange, match="gave no offset"):
        await poll_on(reader)
