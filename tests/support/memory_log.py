"""An event log in memory whose failures a test decides. It keeps the promises of the port, and forgets at the end."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from schemas.records import Record, StoredRecord
from schemas.topics import TopicSpec
from services.eventlog.port import (
    Answered,
    Fenced,
    HistoryLost,
    LogError,
    LogUnavailable,
    PublisherState,
    RebalanceListener,
    SequencedRecord,
    TopicPartition,
)

__all__ = ["MemoryLog", "MemoryPublisher", "MemoryReader"]


class MemoryLog:
    """Topics with `partitions` partitions; made when first used. `clock` answers wall ms.

    `lagging`: topic partitions whose readers are not told that they are caught up. `publish_fails`: called before a
    publication with what is to be published; it may raise. `unknown_outcomes`: so many publications are stored, and
    then reported as `LogUnavailable`. `poll_fails`, `join_fails`: so many polls and new readers raise `LogUnavailable`.
    `marks`: so many offsets at the end of a partition that hold no record, like the marks of transactions.
    """

    def __init__(self, clock: Callable[[], int], partitions: int = 1) -> None:
        """Empty."""
        self.clock = clock
        self.partitions = partitions
        self.stored: dict[TopicPartition, list[StoredRecord]] = {}
        self.sequences: dict[tuple[str, int], int] = {}
        self.owners: dict[tuple[str, int], object] = {}
        self.readers: dict[str, list[MemoryReader]] = {}
        self.lagging: set[TopicPartition] = set()
        self.marks: dict[TopicPartition, int] = {}
        self.publish_fails: Callable[[Sequence[SequencedRecord]], None] | None = None
        self.unknown_outcomes = 0
        self.poll_fails = 0
        self.join_fails = 0
        self.published = asyncio.Condition()
        self.seeks: list[tuple[TopicPartition, int]] = []

    def of(self, topic: str, partition: int = 0) -> list[StoredRecord]:
        """The records of a partition."""
        return self.stored.setdefault(TopicPartition(topic, partition), [])

    def put(self, record: Record) -> StoredRecord:
        """Append at once."""
        log = self.of(record.topic, record.partition)
        fields = (record.key, record.value, record.headers, record.timestamp)
        log.append(StoredRecord(record.topic, record.partition, len(log), *fields))
        for readers in self.readers.values():
            for reader in readers:
                reader.news.set()
        return log[-1]

    async def start(self) -> None:
        """Nothing to do."""

    async def close(self) -> None:
        """Nothing to do."""

    async def create_topics(self, specs: Sequence[TopicSpec], partitions: int) -> list[str]:
        """All topics exist."""
        self.partitions = partitions
        return [spec.name for spec in specs]

    async def check_topics(self, specs: Sequence[TopicSpec], partitions: int) -> None:
        """All topics exist."""

    def writer(self) -> "MemoryWriter":
        """A writer."""
        return MemoryWriter(self)

    async def reader(self, group: str, topics: Sequence[str], listener: RebalanceListener) -> "MemoryReader":
        """Join the group as its first member; the others lose partitions at once."""
        if self.join_fails:
            self.join_fails -= 1
            raise LogUnavailable("The log was told to be unavailable.")
        reader = MemoryReader(self, group, tuple(topics), listener)
        members = self.readers.setdefault(group, [])
        members.insert(0, reader)
        await self._rebalance(members)
        return reader

    async def leave(self, reader: "MemoryReader") -> None:
        """Leave the group; the others take over."""
        members = self.readers[reader.group]
        if reader in members:
            members.remove(reader)
            owned, reader.owned = reader.owned, frozenset()
            await reader.listener.revoked(owned)
            await self._rebalance(members)

    async def _rebalance(self, members: list["MemoryReader"]) -> None:
        wanted = {
            reader: frozenset(p for p in range(self.partitions) if p % len(members) == index)
            for index, reader in enumerate(members)
        }
        for reader in members:
            if gone := reader.owned - wanted[reader]:
                reader.owned -= gone
                await reader.listener.revoked(gone)
        for reader in members:
            if new := wanted[reader] - reader.owned:
                offsets = await reader.listener.assigned(new)
                for place, offset in offsets.items():
                    reader.seek(place, offset)
                reader.owned |= new

    def publisher(self, processor: str, partition: int) -> "MemoryPublisher":
        """A publisher."""
        return MemoryPublisher(self, processor, partition)

    async def read(self, position: TopicPartition, offset: int, limit: int) -> Sequence[StoredRecord]:
        """Records from an offset."""
        return self.of(*position)[offset : offset + limit]

    async def bounds(self, position: TopicPartition) -> tuple[int, int]:
        """First and next offset."""
        return 0, len(self.of(*position))


class MemoryWriter:
    """Appends at once."""

    def __init__(self, log: MemoryLog) -> None:
        """Of a log."""
        self._log = log

    async def append(self, records: Sequence[Record]) -> list[LogError | None]:
        """Append all."""
        for record in records:
            self._log.put(record)
        return [None] * len(records)

    def submit(self, records: Sequence[Record], answered: Answered) -> bool:
        """Append all."""
        for record in records:
            self._log.put(record)
        asyncio.get_running_loop().call_soon(answered, [None] * len(records))
        return True

    async def close(self) -> None:
        """Nothing to do."""


class MemoryReader:
    """A member of a group."""

    def __init__(self, log: MemoryLog, group: str, topics: tuple[str, ...], listener: RebalanceListener) -> None:
        """Made by the log."""
        self.log, self.group, self.topics, self.listener = log, group, topics, listener
        self.owned: frozenset[int] = frozenset()
        self.offsets: dict[TopicPartition, int] = {}
        self.paused: set[int] = set()
        self.caught: dict[TopicPartition, int] = {}
        self.news = asyncio.Event()
        self.commits: list[Mapping[TopicPartition, int]] = []

    async def poll(self, max_records: int, timeout_ms: int) -> Mapping[TopicPartition, Sequence[StoredRecord]]:
        """What follows."""
        if self.log.poll_fails:
            self.log.poll_fails -= 1
            raise LogUnavailable("The log was told to be unavailable.")
        found = self._take(max_records)
        if not found:
            self.news.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self.news.wait(), timeout_ms / 1_000)
            found = self._take(max_records)
        else:
            await asyncio.sleep(0)
        return found

    def _take(self, limit: int) -> dict[TopicPartition, Sequence[StoredRecord]]:
        found: dict[TopicPartition, Sequence[StoredRecord]] = {}
        for partition in sorted(self.owned - self.paused):
            for topic in self.topics:
                place = TopicPartition(topic, partition)
                offset = self.offsets.get(place, 0)
                records = self.log.of(*place)[offset : offset + limit]
                if records:
                    found[place] = records
                    limit -= len(records)
                    self.offsets[place] = offset + len(records)
                if self.offsets.get(place, 0) >= len(self.log.of(*place)) and place not in self.log.lagging:
                    self.caught[place] = self.log.clock()
        return found

    def seek(self, position: TopicPartition, offset: int) -> None:
        """Read from there."""
        self.log.seeks.append((position, offset))
        self.offsets[position] = offset
        self.caught.pop(position, None)

    def pause(self, partitions: frozenset[int]) -> None:
        """Return nothing of these."""
        self.paused |= partitions

    def resume(self, partitions: frozenset[int]) -> None:
        """Undo."""
        self.paused -= partitions
        self.news.set()

    def caught_up_at(self, position: TopicPartition) -> int | None:
        """When."""
        return self.caught.get(position)

    def read_to(self, position: TopicPartition) -> int | None:
        """What is polled next."""
        offset = self.offsets.get(position)
        if offset is not None and offset == len(self.log.of(*position)):
            offset += self.log.marks.get(position, 0)
        return offset

    def end_offset(self, position: TopicPartition) -> int | None:
        """The end."""
        return len(self.log.of(*position)) + self.log.marks.get(position, 0)

    @property
    def assignment(self) -> frozenset[int]:
        """Owned."""
        return self.owned

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Kept to be looked at."""
        self.commits.append(dict(offsets))

    async def close(self) -> None:
        """Leave."""
        await self.log.leave(self)


class MemoryPublisher:
    """Publishes with dense sequences; fenced by the next one that opens."""

    def __init__(self, log: MemoryLog, processor: str, partition: int) -> None:
        """Made by the log."""
        self.log, self.name = log, (processor, partition)

    async def open(self, state: PublisherState) -> int:
        """Fence the others."""
        self.log.owners[self.name] = self
        last = max(self.log.sequences.get(self.name, 0), state.published_through)
        if last > state.highest:
            raise HistoryLost(f"The log has the record {last}, but the database only gave {state.highest}.")
        return last

    async def publish(self, records: Sequence[SequencedRecord]) -> None:
        """All or nothing."""
        if self.log.publish_fails is not None:
            self.log.publish_fails(records)
        if self.log.owners.get(self.name) is not self:
            raise Fenced("Another publisher took over.")
        last = self.log.sequences.get(self.name, 0)
        assert [row.sequence for row in records] == list(range(last + 1, last + 1 + len(records)))
        for sequence, record in records:
            processor, partition = self.name
            own = (("processor", processor.encode()), ("partition", str(partition).encode()))
            numbered = (*record.headers, *own, ("sequence", str(sequence).encode()))
            fields = (record.key, record.value, numbered, record.timestamp)
            self.log.put(Record(record.topic, record.partition, *fields))
            self.log.sequences[self.name] = sequence
        async with self.log.published:
            self.log.published.notify_all()
        if self.log.unknown_outcomes:
            self.log.unknown_outcomes -= 1
            raise LogUnavailable("The outcome of the publication is unknown.")

    async def close(self) -> None:
        """Nothing to do."""
