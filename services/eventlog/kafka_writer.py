"""Appending to Apache Kafka for many callers at once: one open batch per partition shared by all appends in flight.

A partition has at most one batch on its way, so its order is kept; what arrives meanwhile gathers in the next batch,
which leaves when the first is answered. When a batch is not answered within the deadline its partition refuses at once
whatever follows, until the answer comes.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.producer.message_accumulator import BatchBuilder

from schemas.records import Record
from services.eventlog.kafka_client import (
    BATCH_BYTES,
    START_SECONDS,
    Cluster,
    add_to_batch,
    answering,
    error_of,
    stop_within,
)
from services.eventlog.kafka_topics import KafkaTopics
from services.eventlog.port import LogClosed, LogError, LogUnavailable, UnknownTopic
from services.eventlog.topic_lines import size_error

__all__ = ["KafkaWriter"]

log = logging.getLogger(__name__)

_PRODUCERS = 2
_SILENT = "Apache Kafka did not answer for {} in time. Nothing is known to be stored; send again later."
_CUT = "Apache Kafka does not answer for {} now. Nothing was stored; send again later."


class _Batch:
    """Records of several callers for one partition, and the one answer to all of them: None or why they failed."""

    def __init__(self, builder: BatchBuilder) -> None:
        self.builder = builder
        self.answer: asyncio.Future[LogError | None] = asyncio.get_running_loop().create_future()

    def settle(self, error: LogError | None) -> None:
        if not self.answer.done():
            self.answer.set_result(error)


class _Lane:
    """One partition: batches that wait, and whether one is on its way."""

    def __init__(self, topic: str, partition: int) -> None:
        self.topic = topic
        self.partition = partition
        self.waiting: deque[_Batch] = deque()
        self.task: asyncio.Task[None] | None = None
        self.cut = False

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}"

    def cut_off(self) -> None:
        """The batch on its way is overdue: refuse what waits and what comes."""
        self.cut = True
        while self.waiting:
            self.waiting.popleft().settle(LogUnavailable(_CUT.format(self)))


class _Slot:
    """A producer that is replaced when it broke."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._building: asyncio.Task[AIOKafkaProducer] | None = None
        self._stopping: set[asyncio.Task[None]] = set()

    @property
    def producer(self) -> AIOKafkaProducer | None:
        """The producer, if it is usable at once."""
        building = self._building
        if building is None or not building.done() or building.cancelled() or building.exception() is not None:
            return None
        return building.result()

    async def ready(self) -> AIOKafkaProducer:
        """The producer, started if need be. Raises `LogUnavailable`."""
        if (producer := self.producer) is not None:
            return producer
        if self._building is None or self._building.done():
            self._building = asyncio.create_task(self._build(), name="event log producer")
        return await asyncio.shield(self._building)

    def replace(self, broken: AIOKafkaProducer) -> None:
        """Never use this producer again."""
        if self.producer is broken:
            self._building = asyncio.create_task(self._build(), name="event log producer")
            self._stop(broken)

    async def close(self) -> None:
        """Stop the producer, within seconds even when the broker is away."""
        if self._building is not None and not self._building.done():
            self._building.cancel()
        if self._building is not None:
            await asyncio.wait({self._building})
        if (producer := self.producer) is not None:
            self._stop(producer)
        if self._stopping:
            await asyncio.wait(set(self._stopping))

    def _stop(self, producer: AIOKafkaProducer) -> None:
        task = asyncio.create_task(stop_within(producer), name="stop event log producer")
        self._stopping.add(task)
        task.add_done_callback(self._stopping.discard)

    async def _build(self) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            **self._cluster.options(),
            enable_idempotence=True,
            acks="all",
            max_batch_size=BATCH_BYTES,
            linger_ms=0,
            retry_backoff_ms=50,
        )
        try:
            async with answering(self._cluster, START_SECONDS):
                await producer.start()
        except BaseException:
            await stop_within(producer)
            raise
        return producer


class KafkaWriter:
    """The `Writer` of the Kafka log."""

    def __init__(self, cluster: Cluster, topics: KafkaTopics, within: float) -> None:
        """`within` is the deadline of an append in seconds."""
        self._cluster = cluster
        self._topics = topics
        self._within = within
        self._slots = [_Slot(cluster) for _ in range(_PRODUCERS)]
        self._lanes: dict[tuple[str, int], _Lane] = {}
        self.closed = False

    async def append(self, records: Sequence[Record]) -> list[LogError | None]:
        """See `Writer.append`."""
        if self.closed:
            raise LogClosed
        unknown = {record.topic for record in records if self._topics.known(record.topic) is None}
        if unknown:
            async with answering(self._cluster, self._within):
                await self._topics.learn(unknown)
        placed = [self._place(record) for record in records]
        waiting = {batch.answer for batch in placed if isinstance(batch, _Batch)}
        if waiting:
            answered, _ = await asyncio.wait(waiting, timeout=self._within)
            if not answered:
                raise LogUnavailable(_SILENT.format(self._cluster.bootstrap_servers))
        return [self._outcome(batch) for batch in placed]

    async def close(self) -> None:
        """See `Writer.close`."""
        if self.closed:
            return
        self.closed = True
        tasks = {lane.task for lane in self._lanes.values() if lane.task is not None}
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=self._within)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await asyncio.gather(*(slot.close() for slot in self._slots))

    def _place(self, record: Record) -> _Batch | LogError:
        """The batch that takes this record, or why none does."""
        facts = self._topics.known(record.topic)
        if facts is None or not 0 <= record.partition < facts.partitions:
            return UnknownTopic(
                f"{record.topic}/{record.partition} does not exist. Create the topics with `parcours migrate`."
            )
        if error := size_error(record, facts.max_record_bytes):
            return error
        lane = self._lanes.get((record.topic, record.partition))
        if lane is None:
            lane = self._lanes[record.topic, record.partition] = _Lane(record.topic, record.partition)
        if lane.cut:
            return LogUnavailable(_CUT.format(lane))
        batch = lane.waiting[-1] if lane.waiting else None
        if batch is None or not add_to_batch(batch.builder, record):
            batch = _Batch(BatchBuilder(BATCH_BYTES, 0))
            add_to_batch(batch.builder, record)
            lane.waiting.append(batch)
            if lane.task is None:
                lane.task = asyncio.create_task(self._drain(lane), name=f"append to {lane}")
        return batch

    def _outcome(self, placed: _Batch | LogError) -> LogError | None:
        if isinstance(placed, LogError):
            return placed
        if placed.answer.done():
            return placed.answer.result()
        return LogUnavailable(_SILENT.format(self._cluster.bootstrap_servers))

    async def _drain(self, lane: _Lane) -> None:
        """Send what waits in a lane, one batch after the other, until nothing waits."""
        try:
            while lane.waiting:
                batch = lane.waiting.popleft()
                overdue = asyncio.get_running_loop().call_later(self._within, lane.cut_off)
                try:
                    batch.settle(await self._send(lane, batch))
                finally:
                    overdue.cancel()
                    lane.cut = False
                    batch.settle(LogUnavailable(_SILENT.format(lane)))
        finally:
            lane.task = None

    async def _send(self, lane: _Lane, batch: _Batch) -> LogError | None:
        slot = self._slot(lane.partition)
        producer: AIOKafkaProducer | None = None
        try:
            producer = await slot.ready()
            answer = await producer.send_batch(batch.builder, self._cluster.named(lane.topic), partition=lane.partition)
            await answer
        except (LogError, KafkaError, OSError) as error:
            log.warning("eventlog.append_failed", extra={"topic": lane.topic, "reason": type(error).__name__})
            if producer is not None:
                # Not even a retriable error reaches us while the producer is sound: it retries by itself.
                slot.replace(producer)
            return error_of(error, self._cluster)
        return None

    def _slot(self, partition: int) -> _Slot:
        """The partition's own producer, or another one while that is being rebuilt."""
        own = self._slots[partition % len(self._slots)]
        return own if own.producer is not None else next((slot for slot in self._slots if slot.producer), own)
