"""Appending to Apache Kafka for many callers at once: one open batch per partition shared by all appends in flight.

A partition has at most one batch on its way, so its order is kept; what arrives meanwhile gathers in the next batch,
which leaves when the first is answered. When a batch is not answered within the deadline its partition refuses at once
whatever follows, until the answer comes. What may gather is bounded: beyond that an append is refused before any of it
is taken, so that one partition that is slow, or one customer that is loud, neither fills the memory nor slows others.

A batch that the broker refuses for its size (the limit of a topic was lowered) is sent again in parts: its neighbors
shall not suffer from a record that is too large.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Iterator, Sequence

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.producer.message_accumulator import BatchBuilder

from schemas.records import Record, record_size
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
from services.eventlog.port import Answered, LogBusy, LogClosed, LogError, LogUnavailable, RecordTooLarge, UnknownTopic
from services.eventlog.topic_lines import size_error

__all__ = ["KafkaWriter"]

log = logging.getLogger(__name__)

WAITING_BYTES = 8 * 1024 * 1024
"""What may wait for one partition; an append that finds more there is refused."""

_PRODUCERS = 2
_RELEARN_SECONDS = 1.0
_SILENT = "Apache Kafka did not answer for {} in time. Nothing is known to be stored; send again later."
_BUSY = "Too much waits for the partitions of this append already. Nothing of it was taken; send it again in a second."
_CUT = "Apache Kafka does not answer for {} now. Nothing was stored; send again later."


class _Batch:
    """Records of several callers for one partition, and the one answer to all of them: None or why they failed.

    `refused` holds the answers of records that fared otherwise, by identity of the record.
    """

    def __init__(self, most_bytes: int) -> None:
        self.builder = BatchBuilder(most_bytes, 0)
        self.records: list[Record] = []
        self.size = 0
        self.refused: dict[int, LogError] = {}
        self.answer: asyncio.Future[LogError | None] = asyncio.get_running_loop().create_future()
        self.watching: list[_Submitted] = []

    def add(self, record: Record, size: int) -> bool:
        """Take a record of so many bytes, unless the batch is full."""
        if not add_to_batch(self.builder, record):
            return False
        self.records.append(record)
        self.size += size
        return True

    def settle(self, error: LogError | None) -> None:
        """Answer all callers, once."""
        if not self.answer.done():
            self.answer.set_result(error)
            # Whoever watches a batch holds it, too: without the way back neither waits for the garbage collector.
            watching, self.watching = self.watching, []
            for each in watching:
                each.one_settled()


class _Submitted:
    """Records of one caller who waits for no task: called back when the last of their batches is answered."""

    def __init__(self, writer: "KafkaWriter", records: Sequence[Record], answered: Answered) -> None:
        self._writer = writer
        self._records = records
        self._answered = answered
        self._placed: list[_Batch | LogError] = []
        self._open = 1

    def put(self, placed: Sequence[_Batch | LogError]) -> None:
        """Where the records went. What needs no answer of the broker is told in the next turn of the loop."""
        self._placed = list(placed)
        for batch in {batch for batch in placed if isinstance(batch, _Batch)}:
            batch.watching.append(self)
            self._open += 1
        if self._open == 1:
            asyncio.get_running_loop().call_soon(self.one_settled)
        else:
            self._open -= 1

    def one_settled(self) -> None:
        """One of the batches is answered."""
        self._open -= 1
        if self._open == 0:
            outcome = self._writer.outcome
            self._answered([outcome(*pair) for pair in zip(self._placed, self._records, strict=True)])


class _Lane:
    """One partition: batches that wait, whether one is on its way, and the bytes of them all."""

    def __init__(self, topic: str, partition: int) -> None:
        self.topic = topic
        self.partition = partition
        self.waiting: deque[_Batch] = deque()
        self.task: asyncio.Task[None] | None = None
        self.size = 0
        self.cut = False

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}"

    @property
    def full(self) -> bool:
        """Whether no more may come."""
        return self.size > WAITING_BYTES

    def add(self, record: Record, size: int, most_bytes: int) -> _Batch:
        """Put a record of so many bytes into the open batch, or into a new one of `most_bytes`."""
        self.size += size
        batch = self.waiting[-1] if self.waiting else None
        if batch is None or not batch.add(record, size):
            batch = _Batch(most_bytes)
            batch.add(record, size)
            self.waiting.append(batch)
        return batch

    def cut_off(self) -> None:
        """The batch on its way is overdue: refuse what waits and what comes."""
        self.cut = True
        while self.waiting:
            batch = self.waiting.popleft()
            self.size -= batch.size
            batch.settle(LogUnavailable(_CUT.format(self)))


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
        self._refuse_when_full(records)
        placed = [self._place(record) for record in records]
        waiting = {batch.answer for batch in placed if isinstance(batch, _Batch)}
        if waiting:
            answered, _ = await asyncio.wait(waiting, timeout=self._within)
            if not answered:
                raise LogUnavailable(_SILENT.format(self._cluster.bootstrap_servers))
        return [self.outcome(batch, record) for batch, record in zip(placed, records, strict=True)]

    def submit(self, records: Sequence[Record], answered: Answered) -> bool:
        """See `Submitting.submit`."""
        if self.closed or any(self._topics.known(record.topic) is None or self._full(record) for record in records):
            return False
        _Submitted(self, records, answered).put([self._place(record) for record in records])
        return True

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

    def _refuse_when_full(self, records: Sequence[Record]) -> None:
        if any(self._full(record) for record in records):
            raise LogBusy(_BUSY)

    def _full(self, record: Record) -> bool:
        lane = self._lanes.get((record.topic, record.partition))
        return lane is not None and lane.full

    def _place(self, record: Record) -> _Batch | LogError:
        """The batch that takes this record, or why none does."""
        facts = self._topics.known(record.topic)
        if facts is None or not 0 <= record.partition < facts.partitions:
            return UnknownTopic(
                f"{record.topic}/{record.partition} does not exist. Create the topics with `parcours migrate`."
            )
        size = record_size(record)
        if size > facts.max_record_bytes and (error := size_error(record, facts.max_record_bytes)):
            return error
        lane = self._lanes.get((record.topic, record.partition))
        if lane is None:
            lane = self._lanes[record.topic, record.partition] = _Lane(record.topic, record.partition)
        if lane.cut:
            return LogUnavailable(_CUT.format(lane))
        batch = lane.add(record, size, min(BATCH_BYTES, facts.max_record_bytes))
        if lane.task is None:
            lane.task = asyncio.create_task(self._drain(lane), name=f"append to {lane}")
        return batch

    def outcome(self, placed: _Batch | LogError, record: Record) -> LogError | None:
        """What became of a record that was put there."""
        if isinstance(placed, LogError):
            return placed
        if placed.answer.done():
            return placed.refused.get(id(record)) or placed.answer.result()
        return LogUnavailable(_SILENT.format(self._cluster.bootstrap_servers))

    async def _drain(self, lane: _Lane) -> None:
        """Send what waits in a lane, one batch after the other, until nothing waits."""
        try:
            while lane.waiting:
                batch = lane.waiting.popleft()
                overdue = asyncio.get_running_loop().call_later(self._within, lane.cut_off)
                try:
                    error = await self._send(lane, batch.builder)
                    if isinstance(error, RecordTooLarge):
                        error = await self._send_in_parts(lane, batch, error)
                    batch.settle(error)
                finally:
                    overdue.cancel()
                    lane.cut = False
                    lane.size -= batch.size
                    batch.settle(LogUnavailable(_SILENT.format(lane)))
        finally:
            lane.task = None

    async def _send_in_parts(self, lane: _Lane, batch: _Batch, error: RecordTooLarge) -> RecordTooLarge | None:
        """Send the records of a refused batch again: those that fit together, then each that was refused once more.

        What each of them came to is in `batch.refused`. Returns the error when the batch had one record only.
        """
        limit = await self._limit_anew(lane.topic)
        if len(batch.records) == 1:
            return error
        fitting = [record for record in batch.records if limit is None or record_size(record) <= limit]
        batch.refused |= {id(record): error for record in batch.records}
        parts = [[record] for record in fitting] if limit is None else list(_parts(fitting, min(limit, BATCH_BYTES)))
        for part in parts:
            failed = await self._send_together(lane, part)
            if isinstance(failed, RecordTooLarge) and len(part) > 1:
                for record in part:
                    self._note(batch, (record,), await self._send_together(lane, (record,)))
            else:
                self._note(batch, part, failed)
        return None

    @staticmethod
    def _note(batch: _Batch, records: Sequence[Record], error: LogError | None) -> None:
        for record in records:
            if error is None:
                batch.refused.pop(id(record), None)
            else:
                batch.refused[id(record)] = error

    async def _send_together(self, lane: _Lane, records: Sequence[Record]) -> LogError | None:
        builder = BatchBuilder(BATCH_BYTES, 0)
        for record in records:
            add_to_batch(builder, record)
        return await self._send(lane, builder)

    async def _limit_anew(self, topic: str) -> int | None:
        """The size that a record of the topic may have by now, so that the next are refused before they are sent."""
        try:
            async with asyncio.timeout(_RELEARN_SECONDS):
                await self._topics.learn_anew([topic])
        except (LogError, TimeoutError):
            return None
        facts = self._topics.known(topic)
        return None if facts is None else facts.max_record_bytes

    async def _send(self, lane: _Lane, builder: BatchBuilder) -> LogError | None:
        slot = self._slot(lane.partition)
        producer: AIOKafkaProducer | None = None
        try:
            producer = await slot.ready()
            answer = await producer.send_batch(builder, self._cluster.named(lane.topic), partition=lane.partition)
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


def _parts(records: Sequence[Record], most_bytes: int) -> Iterator[list[Record]]:
    """The records in order, cut where a part would be larger than `most_bytes`."""
    part: list[Record] = []
    room = most_bytes
    for record in records:
        size = record_size(record)
        if part and size > room:
            yield part
            part, room = [], most_bytes
        part.append(record)
        room -= size
    if part:
        yield part
