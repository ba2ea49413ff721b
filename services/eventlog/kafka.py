"""The event log on Apache Kafka, through aiokafka and with our own rules for it."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from schemas.records import StoredRecord
from schemas.topics import TopicSpec
from services.eventlog.kafka_admission import seek_admission
from services.eventlog.kafka_browser import KafkaBrowser
from services.eventlog.kafka_client import START_SECONDS, Cluster, answering
from services.eventlog.kafka_publisher import KafkaPublisher
from services.eventlog.kafka_reader import KafkaReader
from services.eventlog.kafka_security import PLAINTEXT, Security
from services.eventlog.kafka_topics import KafkaTopics
from services.eventlog.kafka_writer import KafkaWriter
from services.eventlog.port import LogClosed, RebalanceListener, TopicMismatch, TopicPartition, UnknownTopic

__all__ = ["KafkaEventLog"]

APPEND_SECONDS = 3.0


class _Part(Protocol):
    closed: bool

    async def close(self) -> None: ...


class KafkaEventLog:
    """The `EventLog` on an Apache Kafka cluster."""

    def __init__(
        self, bootstrap_servers: str, clock: Callable[[], int], prefix: str = "", security: Security = PLAINTEXT
    ) -> None:
        """`bootstrap_servers` is ``host:port`` with commas between several; `clock` tells wall time in ms.

        `prefix` goes before every name of a topic, group and transaction, so that several logs can share a cluster.
        `security` says how clients and brokers show each other who they are.
        """
        self._cluster = Cluster(bootstrap_servers, prefix, security)
        self._clock = clock
        self._topics = KafkaTopics(self._cluster)
        self._browser = KafkaBrowser(self._cluster)
        self._parts: list[_Part] = []
        self._started = False
        self._closed = False

    async def start(self) -> None:
        """See `EventLog.start`."""
        if self._closed:
            raise LogClosed
        if not self._started:
            async with answering(self._cluster, START_SECONDS):
                await seek_admission(self._cluster)
            await self._topics.start(START_SECONDS)
            self._started = True

    async def close(self) -> None:
        """See `EventLog.close`."""
        if self._closed:
            return
        self._closed = True
        try:
            await asyncio.gather(self._browser.close(), *(part.close() for part in self._parts))
        finally:
            await self._topics.close()

    async def create_topics(self, specs: Sequence[TopicSpec], partitions: int) -> list[str]:
        """See `EventLog.create_topics`."""
        self._check_open()
        return await self._topics.create(specs, partitions)

    async def check_topics(self, specs: Sequence[TopicSpec], partitions: int) -> None:
        """See `EventLog.check_topics`."""
        self._check_open()
        await self._topics.check(specs, partitions)

    def writer(self) -> KafkaWriter:
        """See `EventLog.writer`."""
        self._check_open()
        writer = KafkaWriter(self._cluster, self._topics, APPEND_SECONDS)
        self._keep(writer)
        return writer

    async def reader(self, group: str, topics: Sequence[str], listener: RebalanceListener) -> KafkaReader:
        """See `EventLog.reader`."""
        self._check_open()
        known = await self._topics.learn(topics)
        for topic in topics:
            if topic not in known:
                raise UnknownTopic(f"The topic {topic} does not exist. Create the topics with `parcours migrate`.")
        if len({known[topic].partitions for topic in topics}) > 1:
            raise TopicMismatch(
                f"The topics {', '.join(topics)} have different numbers of partitions. Make them equal."
            )
        reader = KafkaReader(self._cluster, group, listener, self._clock)
        await reader.join(topics)
        self._keep(reader)
        return reader

    def publisher(self, processor: str, partition: int) -> KafkaPublisher:
        """See `EventLog.publisher`."""
        self._check_open()
        publisher = KafkaPublisher(self._cluster, self._topics, self._browser, processor, partition)
        self._keep(publisher)
        return publisher

    async def read(self, position: TopicPartition, offset: int, limit: int) -> Sequence[StoredRecord]:
        """See `EventLog.read`."""
        await self._check_position(position)
        return await self._browser.read(position, offset, limit)

    async def bounds(self, position: TopicPartition) -> tuple[int, int]:
        """See `EventLog.bounds`."""
        await self._check_position(position)
        return await self._browser.bounds(position)

    async def _check_position(self, position: TopicPartition) -> None:
        self._check_open()
        facts = (await self._topics.learn([position.topic])).get(position.topic)
        if facts is None or not 0 <= position.partition < facts.partitions:
            raise UnknownTopic(
                f"{position.topic}/{position.partition} does not exist. Create the topics with `parcours migrate`."
            )

    def _keep(self, part: "_Part") -> None:
        """Remember what must be closed with the log."""
        self._parts = [*(other for other in self._parts if not other.closed), part]

    def _check_open(self) -> None:
        if self._closed or not self._started:
            raise LogClosed
