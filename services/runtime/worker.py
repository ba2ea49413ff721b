"""One group member of a processor: polls its input topics and keeps a lane for every partition it owns."""

import asyncio
import logging
from collections import deque
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from typing import Any

from services.errors import code_of
from services.eventlog.port import LogClosed, LogError, LogUnavailable, Reader, TopicPartition
from services.runtime.health import PartitionHealth, WorkerHealth
from services.runtime.lane import Lane
from services.runtime.options import Runtime
from services.runtime.processor import Processor
from services.runtime.threads import Backoff
from services.runtime.transact import PartitionTransactor, Reached
from services.storage.errors import StorageUnavailable
from services.storage.positions import Ownership, OwnershipLost

__all__ = ["Worker"]

log = logging.getLogger(__name__)

_PAUSED_POLL_MS = 50


class _Tenure:
    """An owned partition: its lane and relay, and their tasks."""

    def __init__(
        self, lane: Lane, transactor: PartitionTransactor, work: asyncio.Task[None], relay: asyncio.Task[None]
    ):
        self.lane = lane
        self.transactor = transactor
        self.work = work
        self.relay = relay
        self.committed: Mapping[str, int] = {}


class Worker:
    """Joins the group named like the processor and processes what it is assigned, until `stop`."""

    def __init__(self, runtime: Runtime, processor: Processor) -> None:
        """The processor's tables and the runtime's must exist in the runtime's database, its topics on the log."""
        self._runtime = runtime
        self._processor = processor
        self._tenures: dict[int, _Tenure] = {}
        self._reader: Reader | None = None
        self._group: asyncio.TaskGroup | None = None
        self._paused: frozenset[int] = frozenset()
        self._assigned = False
        self._joined_at = runtime.clock.monotonic()
        self._polled_at: float | None = None
        self._lag_committed_at = 0.0
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Finish the batches in flight, publish the outbox, leave the group; then `run` returns."""
        self._stopping.set()

    async def run(self) -> None:
        """Work until stopped. A partition lost to another worker makes this one join again.

        Raises the first error that no retry can mend: `HistoryLost`, `CorruptRecord`, `OffsetOutOfRange`,
        `UnknownTopic`, `StorageBroken`, `StorageMissing`, `OwnershipLost` when it happens again and again, or a bug.
        """
        losses: deque[float] = deque(maxlen=self._runtime.options.rejoins_a_minute)
        while not self._stopping.is_set():
            try:
                await self._be_member()
            except OwnershipLost:
                now = self._runtime.clock.monotonic()
                if len(losses) == losses.maxlen and now - losses[0] < 60:
                    raise
                losses.append(now)
                log.warning("worker.ownership_lost", extra={"processor": self._processor.name})

    async def _be_member(self) -> None:
        self._joined_at = self._runtime.clock.monotonic()
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                try:
                    self._reader = await self._join()
                    await self._poll_until_stopped(self._reader)
                finally:
                    self._group = None
                    await self._leave()
        except BaseExceptionGroup as errors:
            raise _first(errors) from errors

    async def _join(self) -> Reader:
        options, monotonic = self._runtime.options, self._runtime.clock.monotonic
        backoff = Backoff(options.first_backoff, options.last_backoff)
        give_up_at = monotonic() + options.take_patience
        while True:
            try:
                return await self._runtime.event_log.reader(self._processor.name, self._processor.inputs, self)
            except LogUnavailable as error:
                log.warning("join.retried", extra={"processor": self._processor.name, "code": code_of(error)})
                if self._stopping.is_set() or monotonic() > give_up_at:
                    raise
                await backoff.wait()

    async def _poll_until_stopped(self, reader: Reader) -> None:
        options, monotonic = self._runtime.options, self._runtime.clock.monotonic
        backoff = Backoff(options.first_backoff, options.last_backoff)
        limit = 2 * options.batch_records
        while not self._stopping.is_set():
            wait = _PAUSED_POLL_MS if self._paused else options.poll_ms
            try:
                polled = await reader.poll(limit, wait)
            except LogUnavailable as error:
                log.warning("poll.failed", extra={"processor": self._processor.name, "code": code_of(error)})
                await backoff.wait()
                continue
            backoff.reset()
            self._polled_at = monotonic()
            for (topic, partition), records in polled.items():
                if (tenure := self._tenures.get(partition)) is not None:
                    tenure.lane.offer(topic, records)
            for partition, tenure in self._tenures.items():
                tenure.lane.tick(self._reached(reader, partition))
            self._hold_back(reader)
            await self._commit_for_lag_tools(reader)

    def _reached(self, reader: Reader, partition: int) -> dict[str, Reached]:
        reached: dict[str, Reached] = {}
        for topic in self._processor.inputs:
            place = TopicPartition(topic, partition)
            at, offset = reader.caught_up_at(place), reader.read_to(place)
            if at is not None and offset is not None:
                reached[topic] = Reached(at, offset)
        return reached

    def _hold_back(self, reader: Reader) -> None:
        full = frozenset(partition for partition, tenure in self._tenures.items() if tenure.lane.full)
        if more := full - self._paused:
            reader.pause(more)
        if fewer := (self._paused & self._tenures.keys()) - full:
            reader.resume(frozenset(fewer))
        self._paused = full

    async def _commit_for_lag_tools(self, reader: Reader) -> None:
        now = self._runtime.clock.monotonic()
        if now - self._lag_committed_at < self._runtime.options.lag_commit_every:
            return
        self._lag_committed_at = now
        offsets: dict[TopicPartition, int] = {}
        for partition, tenure in self._tenures.items():
            stored = tenure.lane.state.owned.positions
            if stored != tenure.committed:
                tenure.committed = stored
                offsets.update({TopicPartition(topic, partition): offset for topic, offset in stored.items()})
        if offsets:
            await reader.commit(offsets)

    async def assigned(self, partitions: frozenset[int]) -> Mapping[TopicPartition, int]:
        """Take the partitions in the database; answer the stored positions. Raises when the database cannot be had."""
        self._assigned = True
        offsets: dict[TopicPartition, int] = {}
        for partition in sorted(partitions):
            await self._end({partition})
            for topic, offset in (await self._begin(partition)).positions.items():
                offsets[TopicPartition(topic, partition)] = offset
        fields = {"processor": self._processor.name, "partitions": sorted(partitions)}
        log.info("worker.assigned", extra=fields)
        return offsets

    async def revoked(self, partitions: frozenset[int]) -> None:
        """End the lanes of these partitions, once their transactions in flight are done."""
        await self._end(set(partitions))
        log.info("worker.revoked", extra={"processor": self._processor.name, "partitions": sorted(partitions)})

    async def _begin(self, partition: int) -> Ownership:
        runtime, processor = self._runtime, self._processor
        transactor = PartitionTransactor(processor, runtime.database, partition, runtime.options.settle)
        owned = await self._take(transactor)
        lane = Lane(runtime, processor, partition, transactor, owned)
        name = f"{processor.name}/{partition}"
        self._tenures[partition] = _Tenure(
            lane,
            transactor,
            self._spawn(lane.run(), f"lane {name}"),
            self._spawn(lane.relay.run(), f"relay {name}"),
        )
        return owned

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """A task that ends the worker when it fails. Raises `LogClosed` when the worker is ending already."""
        try:
            if self._group is not None:
                return self._group.create_task(work, name=name)
        except RuntimeError:  # the group is shutting down
            pass
        work.close()
        raise LogClosed("This worker is ending.")

    async def _take(self, transactor: PartitionTransactor) -> Ownership:
        options, monotonic = self._runtime.options, self._runtime.clock.monotonic
        backoff = Backoff(options.first_backoff, options.last_backoff)
        give_up_at = monotonic() + options.take_patience
        while True:
            try:
                return await self._runtime.batches.run(transactor.take)
            except StorageUnavailable as error:
                log.warning("take.retried", extra={"processor": self._processor.name, "code": code_of(error)})
                if self._stopping.is_set() or monotonic() > give_up_at:
                    raise
                await backoff.wait()

    async def _end(self, partitions: set[int]) -> None:
        """End the lanes, then flush and end their relays; both within the time that a stop may take."""
        ending = [tenure for number in sorted(partitions) if (tenure := self._tenures.pop(number, None)) is not None]
        if not ending:
            return
        # A reader keeps its pauses; whoever owns the partition next begins without one.
        if self._reader is not None and (paused := self._paused & partitions):
            self._reader.resume(frozenset(paused))
        self._paused -= partitions
        for tenure in ending:
            tenure.lane.stop()
        await _within(self._runtime.options.drain_seconds, [tenure.work for tenure in ending])
        for tenure in ending:
            tenure.lane.relay.stop()
        await _within(self._runtime.options.drain_seconds, [tenure.relay for tenure in ending])
        for tenure in ending:
            await self._runtime.batches.run(tenure.transactor.release)

    async def _leave(self) -> None:
        await self._end(set(self._tenures))
        reader, self._reader = self._reader, None
        self._assigned, self._paused, self._polled_at = False, frozenset(), None
        if reader is not None:
            with suppress(LogError):
                await reader.close()

    def health(self) -> WorkerHealth:
        """How this worker is doing now."""
        now = self._runtime.clock.monotonic()
        return WorkerHealth(
            processor=self._processor.name,
            assigned=self._assigned,
            member_for=now - self._joined_at,
            poll_age=None if self._polled_at is None else now - self._polled_at,
            partitions=tuple(
                self._partition_health(number, self._tenures[number].lane) for number in sorted(self._tenures)
            ),
        )

    def _partition_health(self, partition: int, lane: Lane) -> PartitionHealth:
        state, clock = lane.state, self._runtime.clock
        owned = state.owned
        monotonic = clock.monotonic()
        stuck = 0.0 if state.stuck_since is None else monotonic - state.stuck_since
        held = 0.0 if state.held_since is None else monotonic - state.held_since
        idle = state.waiting == 0 and state.stuck_since is None
        overdue = 0 if state.next_wake is None else owned.clock - state.next_wake
        return PartitionHealth(
            partition=partition,
            positions=owned.positions,
            lag={topic: self._lag(TopicPartition(topic, partition), at, idle) for topic, at in owned.positions.items()},
            clock=owned.clock,
            clock_lag=max(0, clock.now() - owned.clock),
            next_wake=state.next_wake,
            timer_lag=max(0, overdue),
            outbox=lane.relay.backlog,
            waiting=state.waiting,
            commit_age=monotonic - state.last_commit,
            stuck=stuck,
            trouble=state.trouble,
            held=held,
        )

    def _lag(self, place: TopicPartition, stored: int, idle: bool) -> int | None:
        reader = self._reader
        end = reader.end_offset(place) if reader is not None else None
        if reader is None or end is None:
            return None
        # What a log keeps between records is only stored as read along with the next transaction.
        through = reader.read_to(place) if idle else None
        return max(0, end - max(stored, through or 0))


async def _within(seconds: float, tasks: list[asyncio.Task[None]]) -> None:
    """Wait for tasks, cancel those that are late, and wait for these too. Their errors are the group's business."""
    _, late = await asyncio.wait(tasks, timeout=seconds)
    for task in late:
        task.cancel()
    if late:
        await asyncio.wait(late)


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error to tell: the first that is not merely a consequence of another."""
    leaves: list[BaseException] = []
    _collect(errors, leaves)
    return next((error for error in leaves if not isinstance(error, OwnershipLost)), leaves[0])


def _collect(error: BaseException, into: list[BaseException]) -> None:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            _collect(inner, into)
    else:
        into.append(error)
