"""Looking into an Apache Kafka cluster without a group: bounds, records, and the last sequences of an outbox."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as KafkaPartition

from schemas.records import StoredRecord
from services.eventlog.kafka_client import Cluster, answering, stop_within
from services.eventlog.kafka_reader import stored
from services.eventlog.port import LogClosed, OffsetOutOfRange, TopicPartition
from services.eventlog.sequences import sequence_of

__all__ = ["KafkaBrowser"]

_START_SECONDS = 10.0
_READ_SECONDS = 30.0
_WAIT_MS = 500
TAIL_RECORDS = 500


class KafkaBrowser:
    """One consumer without a group, used by one caller at a time."""

    def __init__(self, cluster: Cluster) -> None:
        """The consumer is made at its first use."""
        self._cluster = cluster
        self._lock = asyncio.Lock()
        self._consumer: AIOKafkaConsumer | None = None
        self._closed = False

    async def bounds(self, position: TopicPartition) -> tuple[int, int]:
        """See `EventLog.bounds`; the partition exists."""
        partition = self._cluster.kafka_partition(position)
        async with self._consuming() as consumer:
            return await self._bounds(consumer, partition)

    async def read(self, position: TopicPartition, offset: int, limit: int) -> Sequence[StoredRecord]:
        """See `EventLog.read`; the partition exists."""
        partition = self._cluster.kafka_partition(position)
        async with self._consuming() as consumer:
            first, end = await self._bounds(consumer, partition)
            if not first <= offset <= end:
                raise OffsetOutOfRange(
                    f"Offset {offset} of {position.topic}/{position.partition} is not in the log, which holds {first}"
                    f" to {end}."
                )
            if offset == end:
                return []
            if consumer.assignment() != {partition}:
                consumer.assign([partition])
                consumer.seek(partition, offset)
            elif await consumer.position(partition) != offset:
                consumer.seek(partition, offset)
            found: list[StoredRecord] = []
            while len(found) < limit and await consumer.position(partition) < end:
                batch = await consumer.getmany(timeout_ms=_WAIT_MS, max_records=limit - len(found))
                found += [stored(record, position) for record in batch.get(partition, ())]
            if len(found) < limit:
                consumer.assign([])  # a fetch that waits for more would hold up the next question on its connection
            return found

    async def last_sequence(self, topics: Iterable[str], processor: str, partition: int) -> tuple[int | None, bool]:
        """What the tails of partition `partition` of `topics` say of the outbox of (processor, partition).

        Returns its highest sequence among the last records of each, or None, and whether the partitions ever held
        anything.
        """
        tails = [self._cluster.kafka_partition(TopicPartition(topic, partition)) for topic in topics]
        highest: int | None = None
        async with self._consuming() as consumer:
            firsts, ends = await asyncio.gather(consumer.beginning_offsets(tails), consumer.end_offsets(tails))
            left = {tail for tail in tails if ends[tail] > firsts[tail]}
            consumer.assign(list(left))
            for tail in left:
                consumer.seek(tail, max(firsts[tail], ends[tail] - TAIL_RECORDS))
            while left:
                for tail, records in (await consumer.getmany(timeout_ms=_WAIT_MS)).items():
                    position = self._cluster.position(tail)
                    for record in records:
                        sequence = sequence_of(stored(record, position), processor, partition)
                        if sequence is not None and (highest is None or sequence > highest):
                            highest = sequence
                left = {tail for tail in left if await consumer.position(tail) < ends[tail]}
            consumer.assign([])
        return highest, any(end > 0 for end in ends.values())

    async def group_offset(self, group: str, position: TopicPartition) -> int | None:
        """The offset that a group without members stored for a partition, or None."""
        consumer = AIOKafkaConsumer(
            **self._cluster.options(),
            group_id=self._cluster.named(group),
            enable_auto_commit=False,
            retry_backoff_ms=20,
        )
        try:
            async with answering(self._cluster, _START_SECONDS):
                await consumer.start()
                offset: int | None = await consumer.committed(self._cluster.kafka_partition(position))
                return offset
        finally:
            await stop_within(consumer)

    async def close(self) -> None:
        """Close the consumer."""
        self._closed = True
        if self._consumer is not None:
            await stop_within(self._consumer)

    @asynccontextmanager
    async def _consuming(self) -> AsyncIterator[AIOKafkaConsumer]:
        """The consumer for one caller. After an error it is thrown away: it may have stopped fetching for good."""
        async with self._lock:
            try:
                async with answering(self._cluster, _READ_SECONDS):
                    yield await self._ready()
            except OffsetOutOfRange:
                raise
            except BaseException:
                broken, self._consumer = self._consumer, None
                if broken is not None:
                    await stop_within(broken)
                raise

    async def _ready(self) -> AIOKafkaConsumer:
        if self._closed:
            raise LogClosed
        if self._consumer is None:
            consumer = AIOKafkaConsumer(
                **self._cluster.options(),
                auto_offset_reset="none",
                enable_auto_commit=False,
                isolation_level="read_committed",
                fetch_max_wait_ms=50,
                retry_backoff_ms=20,
                max_partition_fetch_bytes=2 * 1_048_576,
            )
            try:
                await consumer.start()
            except BaseException:
                await stop_within(consumer)
                raise
            self._consumer = consumer
        return self._consumer

    async def _bounds(self, consumer: AIOKafkaConsumer, partition: KafkaPartition) -> tuple[int, int]:
        firsts, ends = await asyncio.gather(consumer.beginning_offsets([partition]), consumer.end_offsets([partition]))
        return firsts[partition], ends[partition]
