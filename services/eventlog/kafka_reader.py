"""Reading Apache Kafka as a member of a group whose positions are kept elsewhere.

The client runs its rebalance callbacks beside the poll, starts to read newly assigned partitions from the group's own
offsets before the callback has sought the right ones, and only logs what a callback raises. So a gate keeps polls out
from the first word of a rebalance until every position is sought, a lock keeps callbacks out of a poll, and an error
of a callback ends the reader.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener
from aiokafka import TopicPartition as KafkaPartition
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import ConsumerStoppedError, CorruptRecordException, KafkaError, OffsetOutOfRangeError
from aiokafka.structs import ConsumerRecord

from schemas.records import Place, StoredRecord
from services.eventlog.kafka_client import Cluster, answering, error_of, stop_within
from services.eventlog.port import (
    CorruptRecord,
    LogClosed,
    LogError,
    LogUnavailable,
    OffsetOutOfRange,
    RebalanceListener,
    TopicPartition,
)

__all__ = ["KafkaReader", "stored"]

log = logging.getLogger(__name__)

SESSION_MS = 10_000
HEARTBEAT_MS = 3_000
JOIN_SECONDS = 45.0
_REBALANCE_MS = 15_000
_REQUEST_MS = 20_000  # joining waits for every other member, so it must outlast a rebalance
_SILENCE_SECONDS = 10.0
_SLICE_MS = 200
_COMMIT_SECONDS = 5.0
_LEAVE_SECONDS = 10.0


class KafkaReader(ConsumerRebalanceListener):  # type: ignore[misc]  # the client ships no types
    """The `Reader` of the Kafka log."""

    def __init__(self, cluster: Cluster, group: str, listener: RebalanceListener, clock: Callable[[], int]) -> None:
        """`group` is the port's name of the group; `clock` tells wall time in ms. `join` comes first."""
        self._cluster = cluster
        self._listener = listener
        self._clock = clock
        self._topics: tuple[str, ...] = ()
        self._consumer = AIOKafkaConsumer(
            **cluster.options() | {"request_timeout_ms": _REQUEST_MS},
            group_id=cluster.named(group),
            auto_offset_reset="none",
            enable_auto_commit=False,
            isolation_level="read_committed",
            partition_assignment_strategy=[RangePartitionAssignor],
            session_timeout_ms=SESSION_MS,
            heartbeat_interval_ms=HEARTBEAT_MS,
            rebalance_timeout_ms=_REBALANCE_MS,
            max_poll_interval_ms=300_000,
            fetch_max_wait_ms=250,
            fetch_max_bytes=16 * 1_048_576,
            max_partition_fetch_bytes=2 * 1_048_576,
            retry_backoff_ms=50,
        )
        self._lock = asyncio.Lock()
        self._changed = asyncio.Event()
        self._open = False
        self._owned: frozenset[int] = frozenset()
        self._paused: frozenset[int] = frozenset()
        self._partitions: dict[TopicPartition, KafkaPartition] = {}
        self._answers: dict[TopicPartition, int] = {}
        self._caught_up: dict[TopicPartition, int] = {}
        self._read_to: dict[TopicPartition, int] = {}
        self._looked_at = 0
        self._silence: asyncio.TimerHandle | None = None
        self._silent = False
        self._failure: Exception | None = None
        self._fetching: asyncio.Future[dict[KafkaPartition, list[ConsumerRecord]]] | None = None
        self.closed = False

    async def join(self, topics: Sequence[str]) -> None:
        """Join the group for `topics`, all of which exist. Raises `LogUnavailable`."""
        self._topics = tuple(topics)
        self._consumer.subscribe([self._cluster.named(topic) for topic in topics], listener=self)
        try:
            async with answering(self._cluster, JOIN_SECONDS):
                await self._consumer.start()
        except BaseException:
            self.closed = True
            await stop_within(self._consumer)
            raise

    @property
    def assignment(self) -> frozenset[int]:
        """See `Reader.assignment`."""
        return self._owned

    async def poll(self, max_records: int, timeout_ms: int) -> Mapping[TopicPartition, Sequence[StoredRecord]]:
        """See `Reader.poll`."""
        expired = timeout_ms <= 0

        def expire() -> None:
            nonlocal expired
            expired = True
            self._changed.set()

        timer = asyncio.get_running_loop().call_later(timeout_ms / 1_000, expire)
        try:
            while True:
                last_look = expired
                self._changed.clear()
                async with self._lock:
                    self._raise_if_over()
                    looking = self._open and bool(self._owned - self._paused)
                    found = await self._look(max_records, 0 if last_look else min(timeout_ms, _SLICE_MS))
                if found or last_look:
                    return found
                if not looking and not expired:
                    await self._changed.wait()
        finally:
            timer.cancel()

    def seek(self, position: TopicPartition, offset: int) -> None:
        """See `Reader.seek`."""
        if position in self._partitions:
            self._caught_up.pop(position, None)
            self._read_to.pop(position, None)
            self._consumer.seek(self._partitions[position], offset)

    def pause(self, partitions: frozenset[int]) -> None:
        """See `Reader.pause`."""
        self._paused |= partitions
        self._consumer.pause(*self._of(partitions))

    def resume(self, partitions: frozenset[int]) -> None:
        """See `Reader.resume`."""
        self._paused -= partitions
        self._consumer.resume(*self._of(partitions))
        self._changed.set()

    def caught_up_at(self, position: TopicPartition) -> int | None:
        """See `Reader.caught_up_at`."""
        return self._caught_up.get(position)

    def read_to(self, position: TopicPartition) -> int | None:
        """See `Reader.read_to`."""
        return self._read_to.get(position)

    def end_offset(self, position: TopicPartition) -> int | None:
        """See `Reader.end_offset`."""
        partition = self._partitions.get(position)
        if partition is None or partition not in self._consumer.assignment():
            return None
        end: int | None = self._consumer.last_stable_offset(partition)
        return end

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """See `Reader.commit`."""
        named = {
            self._partitions[position]: offset for position, offset in offsets.items() if position in self._partitions
        }
        if not named or self.closed:
            return
        try:
            async with asyncio.timeout(_COMMIT_SECONDS):
                await self._consumer.commit(named)
        except (KafkaError, TimeoutError, OSError) as error:
            log.warning("eventlog.group_commit_failed", extra={"reason": type(error).__name__})

    async def close(self) -> None:
        """See `Reader.close`."""
        if self.closed:
            return
        self.closed = True
        self._shut()
        self._changed.set()
        try:
            async with self._lock:
                await self._give_up()
        finally:
            self._rest()
            await stop_within(self._consumer, _LEAVE_SECONDS)

    async def on_partitions_revoked(self, revoked: Collection[KafkaPartition]) -> None:
        """Called by the client beside the poll: close the gate, wait for the poll, tell the listener."""
        self._shut()
        async with self._lock:
            try:
                await self._give_up()
            except Exception as error:
                self._fail(error)

    async def on_partitions_assigned(self, assigned: Collection[KafkaPartition]) -> None:
        """Called by the client beside the poll: take the listener's offsets, seek them, open the gate."""
        async with self._lock:
            if self.closed or self._failure is not None:
                return
            try:
                await self._take(assigned)
            except Exception as error:
                self._fail(error)

    async def _take(self, assigned: Collection[KafkaPartition]) -> None:
        partitions = {self._cluster.position(partition): partition for partition in assigned}
        numbers = self._common_numbers(partitions)
        if numbers:
            offsets = await self._listener.assigned(numbers)
            for position, partition in partitions.items():
                if position not in offsets:
                    raise OffsetOutOfRange(f"The listener gave no offset for {position.topic}/{position.partition}.")
                self._consumer.seek(partition, offsets[position])
        self._partitions = partitions
        self._owned = numbers
        self._consumer.pause(*self._of(self._paused))
        self._looked_at = self._clock()
        self._open = True
        self._heard()
        self._changed.set()

    def _common_numbers(self, positions: Collection[TopicPartition]) -> frozenset[int]:
        """The partition numbers, which must be the same for every topic: they hold the same customers."""
        sets = {
            topic: frozenset(position.partition for position in positions if position.topic == topic)
            for topic in self._topics
        }
        if len(set(sets.values())) > 1:
            raise LogError(
                f"The group gave other partitions of one topic than of another ({sets}). Every member must read the"
                " same topics, and every topic must have the same number of partitions."
            )
        return next(iter(sets.values()), frozenset())

    async def _give_up(self) -> None:
        self._open = False
        owned, self._owned = self._owned, frozenset()
        self._partitions = {}
        self._answers.clear()
        self._caught_up.clear()
        self._read_to.clear()
        self._rest()
        if owned and self._failure is None:
            await self._listener.revoked(owned)

    def _fail(self, error: Exception) -> None:
        self._open = False
        self._failure = error
        self._changed.set()

    def _raise_if_over(self) -> None:
        if self._failure is not None:
            raise self._failure
        if self.closed:
            raise LogClosed

    async def _look(self, max_records: int, timeout_ms: int) -> Mapping[TopicPartition, Sequence[StoredRecord]]:
        """What the client has for us. The caller holds the lock, so the assignment stands still."""
        if not self._open or not self._owned:
            return {}
        await self._observe()
        try:
            found = await self._fetch(max_records, timeout_ms)
        except OffsetOutOfRangeError as error:
            raise self._out_of_range(error) from error
        except CorruptRecordException as error:
            raise await self._corrupt(error) from error
        except ConsumerStoppedError as error:
            raise LogClosed from error
        except KafkaError as error:
            raise error_of(error, self._cluster) from error
        if self._rebalancing():
            return {}  # their positions are sought anew
        await self._observe()
        for position, partition in self._partitions.items():
            self._read_to[position] = await self._consumer.position(partition)
        if found:
            self._heard()
            return {
                (position := self._cluster.position(partition)): [stored(record, position) for record in records]
                for partition, records in found.items()
            }
        if self._silent and self._owned - self._paused:
            raise LogUnavailable(
                f"Apache Kafka at {self._cluster.bootstrap_servers} has not answered for {_SILENCE_SECONDS:g} s."
            )
        return {}

    async def _fetch(self, max_records: int, timeout_ms: int) -> dict[KafkaPartition, list[ConsumerRecord]]:
        """What the client has; nothing when the gate is shut meanwhile.

        Left alone, the client would wait for the end of the rebalance, which waits for the end of this poll.
        """
        self._fetching = asyncio.ensure_future(self._consumer.getmany(timeout_ms=timeout_ms, max_records=max_records))
        try:
            return await self._fetching
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if self._open or (caller is not None and caller.cancelling()):
                raise
            return {}
        finally:
            self._fetching = None

    def _shut(self) -> None:
        """Close the gate, and end a fetch that is under way; what it had is read again from the sought positions."""
        self._open = False
        if self._fetching is not None:
            self._fetching.cancel()

    def _rebalancing(self) -> bool:
        return not self._open

    async def _observe(self) -> None:
        """Note which partitions were answered since the last look, and which of them held nothing more."""
        now = self._clock()
        for position, partition in self._partitions.items():
            answered: int | None = self._consumer.last_poll_timestamp(partition)
            if answered is None or answered == self._answers.get(position):
                continue
            self._answers[position] = answered
            self._heard()
            if await self._consumer.position(partition) == self._consumer.last_stable_offset(partition):
                # The answer came after the look before this one; the client's own clock is not ours.
                self._caught_up[position] = self._looked_at
        self._looked_at = now

    def _heard(self) -> None:
        """The broker is there: count its silence anew."""
        self._rest()
        self._silence = asyncio.get_running_loop().call_later(_SILENCE_SECONDS, self._note_silence)

    def _note_silence(self) -> None:
        self._silent = True

    def _rest(self) -> None:
        self._silent = False
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None

    def _of(self, numbers: frozenset[int]) -> list[KafkaPartition]:
        return [partition for position, partition in self._partitions.items() if position.partition in numbers]

    def _out_of_range(self, error: OffsetOutOfRangeError) -> OffsetOutOfRange:
        places = ", ".join(
            f"offset {offset} of {position.topic}/{position.partition}"
            for position, offset in (
                (self._cluster.position(partition), offset) for partition, offset in error.args[0].items()
            )
        )
        return OffsetOutOfRange(
            f"The log does not hold {places} any more, or not yet. Restore the log or the state from a backup that"
            " belongs to the other."
        )

    async def _corrupt(self, error: CorruptRecordException) -> LogError:
        """The client names the partition only in its message; the damaged batch begins at or after the position."""
        for position, partition in self._partitions.items():
            if str(partition) in str(error):
                return CorruptRecord(Place(*position, await self._consumer.position(partition)))
        return error_of(error, self._cluster)


def stored(record: ConsumerRecord, position: TopicPartition) -> StoredRecord:
    """A record of the client as a record of the port; a header without a value, which others may send, is empty."""
    headers = record.headers
    if any(value is None for _, value in headers):
        headers = tuple((name, value or b"") for name, value in headers)
    return StoredRecord(
        position.topic,
        position.partition,
        record.offset,
        record.key,
        record.value,
        headers,
        record.timestamp,
    )
