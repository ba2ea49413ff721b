"""Publishing an outbox to Apache Kafka exactly once.

One transaction carries the records and, as the offset of a group that nobody reads with, the last sequence. Taking
over begins with fencing: a new producer of the same transactional id ends whatever an earlier one left open. Only then
is it read how far the earlier one came.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence

from aiokafka import AIOKafkaProducer
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.structs import OffsetAndMetadata

from schemas.records import Record
from schemas.topics import EVENTS
from services.eventlog.kafka_browser import KafkaBrowser
from services.eventlog.kafka_client import BATCH_BYTES, Cluster, add_to_batch, answering, error_of, stop_within
from services.eventlog.kafka_topics import KafkaTopics
from services.eventlog.port import (
    HistoryLost,
    LogClosed,
    LogError,
    LogUnavailable,
    PublisherState,
    SequencedRecord,
    TopicPartition,
    UnknownTopic,
)
from services.eventlog.sequences import check_dense, numbered
from services.eventlog.topic_lines import size_error

__all__ = ["KafkaPublisher", "last_published"]

log = logging.getLogger(__name__)

_TRANSACTION_MS = 20_000
_OPEN_SECONDS = 20.0
_PUBLISH_SECONDS = 15.0
_ABORT_SECONDS = 3.0
_DAY_SECONDS = 86_400.0


class KafkaPublisher:
    """The `SequencedPublisher` of the Kafka log."""

    def __init__(
        self, cluster: Cluster, topics: KafkaTopics, browser: KafkaBrowser, processor: str, partition: int
    ) -> None:
        """One publisher of (processor, partition); `open` makes it the only one."""
        self._cluster = cluster
        self._topics = topics
        self._browser = browser
        self._processor = processor
        self._partition = partition
        self._group = f"relay.{processor}"
        self._place = TopicPartition(EVENTS, partition)
        self._producer: AIOKafkaProducer | None = None
        self._lock = asyncio.Lock()
        self._last = 0
        self._renewing: asyncio.Task[None] | None = None
        self._published = False
        self._clearing: set[asyncio.Task[None]] = set()
        self.closed = False

    async def open(self, state: PublisherState) -> int:
        """See `SequencedPublisher.open`."""
        async with self._lock:
            if self.closed:
                raise LogClosed
            await self._throw_away()
            known = await self._topics.learn(self._topics.names())
            if EVENTS not in known:
                raise UnknownTopic(f"The topic {EVENTS} does not exist. Create the topics with `parcours migrate`.")
            producer = await self._fence()
            try:
                offset = await self._browser.group_offset(self._group, self._place)
                outputs = [topic for topic, facts in known.items() if self._partition < facts.partitions]
                tail, history = await self._browser.last_sequence(outputs, self._processor, self._partition)
                self._last = last_published(f"{self._processor}/{self._partition}", state, offset, (tail, history))
            except BaseException:
                await stop_within(producer)
                raise
            self._producer = producer
            if self._renewing is None:
                self._renewing = asyncio.create_task(self._renew_daily(), name=f"renew {self._group}")
            return self._last

    async def publish(self, records: Sequence[SequencedRecord]) -> None:
        """See `SequencedPublisher.publish`."""
        if not records:
            return
        async with self._lock:
            if self.closed:
                raise LogClosed
            check_dense(records, self._last)
            numbers = [numbered(item, self._processor, self._partition) for item in records]
            for record in numbers:
                self._check(record)
            await self._transact(lambda producer: self._send(producer, numbers), records[-1].sequence)
            self._published = True

    async def close(self) -> None:
        """See `SequencedPublisher.close`."""
        if self.closed:
            return
        self.closed = True
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.wait({self._renewing})
        async with self._lock:
            await self._throw_away()
        if self._clearing:
            await asyncio.wait(set(self._clearing))

    async def _fence(self) -> AIOKafkaProducer:
        """A producer that is certain to have its id, so that every earlier one of this name is fenced."""
        producer = AIOKafkaProducer(
            **self._cluster.options(),
            transactional_id=self._cluster.named(f"relay:{self._processor}:{self._partition}"),
            transaction_timeout_ms=_TRANSACTION_MS,
            acks="all",
            max_batch_size=BATCH_BYTES,
            linger_ms=0,
            retry_backoff_ms=20,
        )
        try:
            async with answering(self._cluster, _OPEN_SECONDS):
                await producer.start()
                await producer.begin_transaction()
                await producer.abort_transaction()
        except BaseException:
            await stop_within(producer)
            raise
        return producer

    async def _transact(self, send: Callable[[AIOKafkaProducer], Awaitable[None]], last: int) -> None:
        """One transaction: what `send` sends, and `last` as the group's offset. The caller holds the lock."""
        producer = self._producer
        if producer is None:
            raise LogUnavailable("This publisher is not open, or its last outcome is unknown. Open a new one.")
        try:
            async with answering(self._cluster, _PUBLISH_SECONDS):
                await producer.begin_transaction()
                await send(producer)
                offsets = {self._cluster.kafka_partition(self._place): OffsetAndMetadata(last, "")}
                await producer.send_offsets_to_transaction(offsets, self._cluster.named(self._group))
                await producer.commit_transaction()
        except LogError:
            self._abandon(producer)
            raise
        except Exception as error:
            self._abandon(producer)
            raise error_of(error, self._cluster) from error
        except BaseException:
            self._abandon(producer)  # cancelled: the outcome is unknown
            raise
        self._last = last

    async def _send(self, producer: AIOKafkaProducer, records: Iterable[Record]) -> None:
        """Send records as batches per partition and wait for every answer: a refusal would not abort by itself."""
        builders: dict[tuple[str, int], BatchBuilder] = {}
        answers: list[Awaitable[object]] = []

        async def send(place: tuple[str, int]) -> None:
            topic, partition = place
            batch = builders.pop(place)
            answers.append(await producer.send_batch(batch, self._cluster.named(topic), partition=partition))

        for record in records:
            place = (record.topic, record.partition)
            while not add_to_batch(builders.setdefault(place, producer.create_batch()), record):
                await send(place)
        for place in tuple(builders):
            await send(place)
        await asyncio.gather(*answers)

    def _abandon(self, producer: AIOKafkaProducer) -> None:
        """Never use this producer again; whoever publishes hears of the failure before it is cleared away."""
        self._producer = None
        task = asyncio.create_task(self._clear_away(producer), name=f"clear away {self._group}")
        self._clearing.add(task)
        task.add_done_callback(self._clearing.discard)

    async def _clear_away(self, producer: AIOKafkaProducer) -> None:
        """Abort if that is still possible, so that readers need not wait for the timeout, then stop."""
        try:
            async with asyncio.timeout(_ABORT_SECONDS):
                await producer.abort_transaction()
        except Exception as error:
            log.warning("eventlog.abort_failed", extra={"group": self._group, "reason": type(error).__name__})
        await stop_within(producer)

    async def _throw_away(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            await stop_within(producer)

    async def _renew_daily(self) -> None:
        """Offsets of a group expire after seven days without a commit: store an unchanged one again each day."""
        while True:
            self._published = False
            await asyncio.sleep(_DAY_SECONDS)
            if not self._published:
                await self.renew()

    async def renew(self) -> None:
        """Store the last sequence again. A failure is logged: the next day, or the next publish, does it too."""
        async with self._lock:
            if self.closed or self._last == 0 or self._producer is None:
                return
            try:
                await self._transact(_nothing, self._last)
            except LogError as error:
                log.warning("eventlog.renew_failed", extra={"group": self._group, "reason": str(error)})

    def _check(self, record: Record) -> None:
        facts = self._topics.known(record.topic)
        if facts is None or not 0 <= record.partition < facts.partitions:
            raise UnknownTopic(
                f"{record.topic}/{record.partition} does not exist. Create the topics with `parcours migrate`."
            )
        if error := size_error(record, facts.max_record_bytes):
            raise error


async def _nothing(_producer: AIOKafkaProducer) -> None:
    return


def last_published(name: str, state: PublisherState, offset: int | None, tail: tuple[int | None, bool]) -> int:
    """The last sequence that is on the log, from the three places that know of it.

    `offset` is the group's offset, `tail` the highest sequence found in the output partitions and whether these ever
    held anything. Raises `HistoryLost` when they and the database cannot both be right.
    """
    found, history = tail
    if offset is None and found is None and not history and state.published_through > 0:
        raise HistoryLost(
            f"The log knows nothing of {name}, and the database says that it published {state.published_through}"
            " records. Restore the log that belongs to this database, or start with a new database."
        )
    if offset is not None and offset < state.published_through:
        raise HistoryLost(
            f"The log holds {offset} records of {name} and the database says {state.published_through}: the log was"
            " rolled back. Restore the log that belongs to this database."
        )
    last = max(offset or 0, found or 0, state.published_through)
    if last > state.highest:
        raise HistoryLost(
            f"The log holds {last} records of {name} and the database gave only {state.highest}: the database was"
            " rolled back. Restore the database that belongs to this log."
        )
    return last
