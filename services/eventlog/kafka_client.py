"""What every part of the Kafka adapter shares: names, options of the client, deadlines, and errors of the port."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from aiokafka import AIOKafkaProducer
from aiokafka import TopicPartition as KafkaPartition
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    InvalidProducerEpoch,
    KafkaError,
    MessageSizeTooLargeError,
    ProducerFenced,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)
from aiokafka.producer.message_accumulator import BatchBuilder

from schemas.records import Record
from services.eventlog.kafka_security import PLAINTEXT, Security
from services.eventlog.port import Fenced, LogError, LogUnavailable, RecordTooLarge, TopicPartition

__all__ = ["BATCH_BYTES", "START_SECONDS", "Cluster", "Stoppable", "add_to_batch", "answering", "error_of"]
__all__ += ["hush", "stop_within"]

log = logging.getLogger(__name__)

START_SECONDS = 10.0
BATCH_BYTES = 512 * 1024
"""Bytes of one batch of records: under the limit of every topic, so that a batch is never refused for its size."""

_REQUEST_MS = 5_000
_WAY_OUT = "Check that it runs, and check KAFKA_BOOTSTRAP_SERVERS."
_STOP_SECONDS = 3.0
_SIZES = (MessageSizeTooLargeError, RecordListTooLargeError)
_FENCED = (ProducerFenced, InvalidProducerEpoch)
_FORBIDDEN = (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)


@dataclass(frozen=True, slots=True)
class Cluster:
    """An Apache Kafka cluster, and the prefix of everything that this log names in it."""

    bootstrap_servers: str
    prefix: str = ""
    security: Security = PLAINTEXT

    def options(self) -> dict[str, Any]:
        """Arguments of every client. Raises `LogRefused` when a certificate cannot be read."""
        return self.security.options() | {
            "bootstrap_servers": self.bootstrap_servers,
            "request_timeout_ms": _REQUEST_MS,
            "metadata_max_age_ms": 60_000,
        }

    def named(self, name: str) -> str:
        """The cluster's name of a topic, group or transaction."""
        return self.prefix + name

    def kafka_partition(self, position: TopicPartition) -> KafkaPartition:
        """A partition by the cluster's name."""
        return KafkaPartition(self.named(position.topic), position.partition)

    def position(self, partition: KafkaPartition) -> TopicPartition:
        """A partition by the port's name."""
        return TopicPartition(partition.topic.removeprefix(self.prefix), partition.partition)


def add_to_batch(batch: BatchBuilder, record: Record) -> bool:
    """Add the record unless the batch is full; an empty batch takes any record."""
    added = batch.append(timestamp=record.timestamp, key=record.key, value=record.value, headers=list(record.headers))
    return added is not None


class Stoppable(Protocol):
    """A producer or consumer."""

    async def stop(self) -> None:
        """Flush and close; may wait for ever while the broker is away."""


def error_of(error: BaseException, cluster: Cluster) -> LogError:
    """The port's error for an error of the client.

    A topic that the client does not find is no `UnknownTopic`: everybody asks for the topics' facts first, and a
    broker that just came back says so for a moment of topics that it has.
    """
    if isinstance(error, LogError):
        return error
    if isinstance(error, _SIZES):
        return RecordTooLarge("Apache Kafka refused a batch for its size. Nothing of it was stored.")
    if isinstance(error, _FENCED):
        return Fenced("Another publisher of the same name took over. This one stops.")
    kind = type(error).__name__
    if isinstance(error, _FORBIDDEN):
        return LogUnavailable(
            f"Apache Kafka at {cluster.bootstrap_servers} forbids this user what it asked for ({kind})."
            " Give it the rights on its topics, groups and transactional ids."
        )
    return LogUnavailable(f"Apache Kafka at {cluster.bootstrap_servers} does not answer ({kind}). {_WAY_OUT}")


@asynccontextmanager
async def answering(cluster: Cluster, seconds: float) -> AsyncIterator[None]:
    """Inside, errors of the client become errors of the port, and `LogUnavailable` comes after `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise LogUnavailable(
            f"Apache Kafka at {cluster.bootstrap_servers} did not answer within {seconds:g} s. {_WAY_OUT}"
        ) from error
    except (KafkaError, OSError, AssertionError) as error:
        # The client asserts that it knows a broker; one that just came back may have told it of none.
        raise error_of(error, cluster) from error


async def stop_within(client: Stoppable, seconds: float = _STOP_SECONDS) -> None:
    """Stop a client; drop its connections when it has not stopped in time (it would wait for a broker that is away)."""
    try:
        async with asyncio.timeout(seconds):
            await client.stop()
    except Exception as error:
        log.warning("eventlog.client_dropped", extra={"reason": type(error).__name__})
        await _drop(client)
    finally:
        # A connection that was being made while the client stopped is left open by it.
        for connection in tuple(_connections(client)._conns.values()):
            connection.close()
        if isinstance(client, AIOKafkaProducer):
            hush(client)


def hush(producer: AIOKafkaProducer) -> None:
    """Look at the errors of a failed producer's inner futures, or asyncio prints a trace for each of them."""
    accumulator, transactions = producer._message_accumulator, producer._txn_manager
    waiting = [batch for batches in accumulator._batches.values() for batch in batches]
    futures = [batch._drain_waiter for batch in (*waiting, *accumulator._pending_batches)]
    if transactions is not None:
        futures += [transactions._transaction_waiter, transactions._pid_waiter]
    for future in futures:
        if future is not None and future.done() and not future.cancelled():
            future.exception()


def _connections(client: Stoppable) -> Any:
    """The part of a producer or consumer that holds its connections; the client offers no way to it."""
    return getattr(client, "client" if isinstance(client, AIOKafkaProducer) else "_client")


async def _drop(client: Stoppable) -> None:
    """End a client's tasks without the broker's answer."""
    closing = [_connections(client).close]
    if isinstance(client, AIOKafkaProducer):
        closing.append(client._sender.close)
    for close in closing:
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await close()
        except Exception as error:
            log.warning("eventlog.client_left", extra={"reason": type(error).__name__})
