"""A log to test, engines that read it, and records to put there."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from schemas.ids import partition_of, record_key
from schemas.records import Record, StoredRecord
from schemas.topics import CONTROL, EVENTS, REJECTED, ROUTED, STAGE_CHANGES, TOPICS
from services.eventlog.embedded import EmbeddedEventLog
from services.eventlog.kafka import KafkaEventLog
from services.eventlog.port import EventLog, Reader, SequencedRecord, TopicPartition
from services.runtime.clock import ManualClock

__all__ = ["NOW", "PARTITIONS", "SPECS", "Engine", "Store", "event", "outbox", "poll_on", "read_all", "sequences"]
__all__ += ["take"]

NOW = 1_790_000_000_000
PARTITIONS = 4
SPECS = tuple(spec for spec in TOPICS if spec.name in (EVENTS, ROUTED, CONTROL, STAGE_CHANGES, REJECTED))


@dataclass
class Store:
    """Where the logs of one test lie. Every log made here sees the same topics."""

    kind: str
    make: Callable[[], EventLog]
    clock: ManualClock
    address: str
    prefix: str = ""
    logs: list[EventLog] = field(default_factory=list)

    def log(self) -> EventLog:
        """Another log object on the same store, not yet started. It is closed after the test."""
        made = self.make()
        self.logs.append(made)
        return made

    async def open(self) -> EventLog:
        """A started log whose topics exist."""
        log = self.log()
        await log.start()
        await log.create_topics(SPECS, PARTITIONS)
        return log

    async def close(self) -> None:
        """Close every log."""
        for log in self.logs:
            await log.close()

    @classmethod
    def embedded(cls, folder: Path) -> "Store":
        """In a file of that folder."""
        clock = ManualClock(NOW)
        path = folder / "log.db"
        return cls("embedded", lambda: EmbeddedEventLog(path, clock.now), clock, str(path))

    @classmethod
    def kafka(cls, bootstrap_servers: str, prefix: str) -> "Store":
        """On a cluster, under a prefix of its own."""
        clock = ManualClock(NOW)
        return cls(
            "kafka", lambda: KafkaEventLog(bootstrap_servers, clock.now, prefix), clock, bootstrap_servers, prefix
        )


class Engine:
    """A listener that keeps its own positions, like an engine that keeps them in its database."""

    def __init__(self, topics: Sequence[str] = (EVENTS,), stored: dict[TopicPartition, int] | None = None) -> None:
        """`stored` are positions shared with other members of the same engine."""
        self.topics = tuple(topics)
        self.stored = {} if stored is None else stored
        self.told: list[tuple[str, frozenset[int]]] = []
        self.owned: frozenset[int] = frozenset()

    async def assigned(self, partitions: frozenset[int]) -> Mapping[TopicPartition, int]:
        """Answer the stored positions."""
        self.told.append(("assigned", partitions))
        self.owned |= partitions
        places = [TopicPartition(topic, partition) for topic in self.topics for partition in partitions]
        return {place: self.stored.get(place, 0) for place in places}

    async def revoked(self, partitions: frozenset[int]) -> None:
        """Note it."""
        self.told.append(("revoked", partitions))
        self.owned -= partitions

    def store(self, batch: Mapping[TopicPartition, Sequence[StoredRecord]]) -> None:
        """Store the positions after a batch."""
        for place, records in batch.items():
            self.stored[place] = records[-1].offset + 1

    async def join(self, log: EventLog, group: str = "engine") -> Reader:
        """Read the engine's topics as a member of `group`."""
        return await log.reader(group, self.topics, self)


def event(number: int, subject: str | None = None, topic: str = EVENTS, partition: int | None = None) -> Record:
    """Record `number`: its value is the number, its key the subject's, its partition the key's unless given."""
    key = record_key("default", subject if subject is not None else f"user:u-{number}")
    chosen = partition_of(key, PARTITIONS) if partition is None else partition
    return Record(topic, chosen, key, str(number).encode(), (("ce_id", f"m-{number}".encode()),), NOW + number)


def outbox(first: int, last: int, partition: int = 1) -> list[SequencedRecord]:
    """Rows `first` to `last` of an outbox, alternating between two topics."""
    topics = (STAGE_CHANGES, ROUTED)
    return [
        SequencedRecord(number, event(number, topic=topics[number % 2], partition=partition))
        for number in range(first, last + 1)
    ]


async def take(
    reader: Reader, count: int, engine: Engine | None = None, max_records: int = 1_000
) -> dict[TopicPartition, list[StoredRecord]]:
    """Poll until `count` records have come; `engine` stores its positions after each batch."""
    found: dict[TopicPartition, list[StoredRecord]] = defaultdict(list)
    async with asyncio.timeout(20):
        while sum(map(len, found.values())) < count:
            batch = await reader.poll(max_records, 500)
            for place, records in batch.items():
                found[place] += records
            if engine is not None:
                engine.store(batch)
    return dict(found)


async def read_all(log: EventLog, topic: str, partitions: Iterable[int] = range(PARTITIONS)) -> list[StoredRecord]:
    """Every committed record of a topic, partition by partition."""
    found: list[StoredRecord] = []
    for partition in partitions:
        place = TopicPartition(topic, partition)
        first, end = await log.bounds(place)
        found += await log.read(place, first, end - first + 1)
    return found


async def sequences(log: EventLog, at_least: int, partition: int = 1) -> list[int]:
    """The sequences on the output topics of the outbox of that partition, sorted, as often as they are there.

    Waits for so many: Apache Kafka answers a commit a little before it shows the records in every partition.
    """
    async with asyncio.timeout(20):
        while True:
            found = [record for topic in (STAGE_CHANGES, ROUTED) for record in await read_all(log, topic, (partition,))]
            numbers = [dict(record.headers).get("sequence") for record in found]
            published = sorted(int(number) for number in numbers if number is not None)
            if len(published) >= at_least:
                return published


async def poll_on(reader: Reader) -> None:
    """Poll until the reader raises; it must find no records before."""
    async with asyncio.timeout(20):
        while True:
            assert await reader.poll(10, 500) == {}
