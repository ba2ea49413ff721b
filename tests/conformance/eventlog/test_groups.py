"""How the members of a group share partitions."""

import asyncio
from collections import Counter
from collections.abc import Sequence

import pytest

from schemas.topics import CONTROL, EVENTS, ROUTED
from services.eventlog.port import EventLog, Reader, TopicPartition
from tests.conformance.eventlog.support import PARTITIONS, Engine, event

TOPICS = (EVENTS, ROUTED, CONTROL)


async def settle(readers: Sequence[Reader], seen: Counter[tuple[str, int, int]] | None = None) -> None:
    """Poll all members until each partition number has exactly one owner."""
    async with asyncio.timeout(25):
        while sorted(number for reader in readers for number in reader.assignment) != list(range(PARTITIONS)) or (
            len(readers) <= PARTITIONS and not all(reader.assignment for reader in readers)
        ):
            await round_of_polls(readers, seen)


async def round_of_polls(readers: Sequence[Reader], seen: Counter[tuple[str, int, int]] | None) -> None:
    """Poll every member once."""
    for batch in await asyncio.gather(*(reader.poll(500, 200) for reader in readers)):
        if seen is not None:
            seen.update(
                (place.topic, place.partition, record.offset) for place, found in batch.items() for record in found
            )


async def test_three_members_share_four_partitions_of_three_topics_without_overlap(log: EventLog) -> None:
    engines = [Engine(TOPICS) for _ in range(3)]
    readers = [await engine.join(log) for engine in engines]
    await settle(readers)
    assert sorted(len(reader.assignment) for reader in readers) == [1, 1, 2]
    assert [engine.owned for engine in engines] == [reader.assignment for reader in readers]
    seen: Counter[tuple[str, int, int]] = Counter()
    await log.writer().append([event(number, topic=topic) for topic in TOPICS for number in range(100)])
    async with asyncio.timeout(20):
        while seen.total() < 300:
            await round_of_polls(readers, seen)
    assert len(seen) == seen.total() == 300


async def test_more_members_than_partitions_leave_some_without_work(log: EventLog) -> None:
    readers = [await Engine().join(log) for _ in range(PARTITIONS + 1)]
    await settle(readers)
    assert sorted(len(reader.assignment) for reader in readers) == [0, 1, 1, 1, 1]


async def test_a_member_leaves_and_nothing_is_lost(log: EventLog) -> None:
    stored: dict[TopicPartition, int] = {}
    engines = [Engine(stored=stored) for _ in range(2)]
    readers = [await engine.join(log) for engine in engines]
    await settle(readers)
    writer = log.writer()
    await writer.append([event(number) for number in range(200)])
    processed: Counter[tuple[int, int]] = Counter()

    async def work(engine: Engine, reader: Reader) -> None:
        batch = await reader.poll(20, 300)
        for place, records in batch.items():
            processed.update((place.partition, record.offset) for record in records)
        engine.store(batch)

    await asyncio.gather(*(work(engine, reader) for engine, reader in zip(engines, readers, strict=True)))
    left = readers[0].assignment
    await readers[0].close()
    assert ("revoked", left) in engines[0].told
    await writer.append([event(number) for number in range(200, 300)])
    async with asyncio.timeout(25):
        while len(processed) < 300:
            await work(engines[1], readers[1])
    assert processed.total() == 300
    assert readers[1].assignment == frozenset(range(PARTITIONS))


async def test_a_partition_that_moves_is_read_from_the_stored_position(log: EventLog) -> None:
    stored: dict[TopicPartition, int] = {}
    await log.writer().append([event(number, partition=number % PARTITIONS) for number in range(80)])
    first = Engine(stored=stored)
    reader = await first.join(log)
    async with asyncio.timeout(20):
        while sum(stored.values()) < 80:
            first.store(await reader.poll(30, 300))
    second = Engine(stored=stored)
    other = await second.join(log)
    seen: Counter[tuple[str, int, int]] = Counter()
    await settle([reader, other], seen)
    assert not seen
    await log.writer().append([event(number, partition=number % PARTITIONS) for number in range(40)])
    async with asyncio.timeout(20):
        while seen.total() < 40:
            await round_of_polls([reader, other], seen)
    assert min(offset for _, _, offset in seen) == 20
    assert len(seen) == 40


async def test_a_partition_is_given_to_the_next_owner_only_after_the_batch_in_flight_is_done(log: EventLog) -> None:
    class Busy(Engine):
        def __init__(self) -> None:
            super().__init__()
            self.asked = asyncio.Event()
            self.done = asyncio.Event()

        async def revoked(self, partitions: frozenset[int]) -> None:
            self.asked.set()
            await self.done.wait()
            await super().revoked(partitions)

    busy = Busy()
    reader = await busy.join(log)
    await settle([reader])
    joining = asyncio.create_task(Engine().join(log))
    polling = asyncio.create_task(keep_polling(reader))
    async with asyncio.timeout(20):
        await busy.asked.wait()
        assert busy.owned == frozenset(range(PARTITIONS))
        await asyncio.sleep(0.3)
        assert not any(kind == "revoked" for kind, _ in busy.told)
        busy.done.set()
        other = await joining
        while len(other.assignment) != 2 or len(reader.assignment) != 2:
            await other.poll(10, 100)
    polling.cancel()
    assert other.assignment | reader.assignment == frozenset(range(PARTITIONS))


async def keep_polling(reader: Reader) -> None:
    """Poll for ever."""
    while True:
        await reader.poll(10, 100)


async def test_callbacks_never_run_while_a_poll_collects_its_batch(log: EventLog) -> None:
    await log.writer().append([event(number) for number in range(400)])
    overlaps: list[str] = []
    polling: set[int] = set()

    class Watching(Engine):
        async def assigned(self, partitions: frozenset[int]) -> dict[TopicPartition, int]:
            await asyncio.sleep(0.05)
            return dict(await super().assigned(partitions))

        async def revoked(self, partitions: frozenset[int]) -> None:
            await asyncio.sleep(0.05)
            await super().revoked(partitions)

    engines = [Watching(), Watching()]
    reader = await engines[0].join(log)

    async def watched(which: int, one: Reader) -> None:
        owned = engines[which].owned
        polling.add(which)
        batch = await one.poll(50, 100)
        polling.discard(which)
        if batch and not {place.partition for place in batch} <= engines[which].owned | owned:
            overlaps.append(f"{which}: {batch.keys()} while owning {engines[which].owned}")

    await watched(0, reader)
    other = await engines[1].join(log)
    async with asyncio.timeout(20):
        while len(other.assignment) != 2 or len(reader.assignment) != 2:
            await asyncio.gather(watched(0, reader), watched(1, other))
    for _ in range(5):
        await asyncio.gather(watched(0, reader), watched(1, other))
    assert overlaps == []


@pytest.mark.parametrize("members", [1, 2, 4])
async def test_every_partition_has_one_owner_whatever_the_number_of_members(log: EventLog, members: int) -> None:
    readers = [await Engine(TOPICS).join(log) for _ in range(members)]
    await settle(readers)
    assert sum(len(reader.assignment) for reader in readers) == PARTITIONS
