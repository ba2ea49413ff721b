"""The lane of one owned partition: records in, one transaction after the other, never two at once."""

import asyncio
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from itertools import count
from typing import NamedTuple

from schemas.records import StoredRecord
from services.errors import code_of
from services.runtime.options import Runtime
from services.runtime.processor import Processor
from services.runtime.relay import Relay
from services.runtime.threads import Backoff
from services.runtime.transact import Committed, PartitionTransactor, ProcessorFailed, Reached, Work, dead_letter
from services.storage.errors import StorageUnavailable
from services.storage.positions import Ownership

__all__ = ["Lane", "LaneState"]

log = logging.getLogger(__name__)

_TRIES = 3
_TRIES_WHOLE = 8


class _Stopped(Exception):
    """The lane was stopped while it waited for the database."""


class _TooMuch(Exception):
    """The database answers, but does not take the batch: it may be too large for the time or room that there is."""


class LaneState(NamedTuple):
    """How a lane is doing: stored positions and clock (ms), records that wait, and since when it makes no headway.

    `next_wake` in ms by the partition's clock; `stuck_since` on the monotonic counter while a transaction is under way
    or being tried again, else None; `trouble` is the code of the latest failure that still lasts; `held_since` the same
    while the relay lets nothing more in.
    """

    owned: Ownership
    waiting: int
    next_wake: int | None
    last_commit: float
    stuck_since: float | None
    trouble: str | None
    held_since: float | None


class Lane:
    """Stores what its partition's topics bring. The worker offers records and ticks it; `run` does the rest."""

    def __init__(
        self, runtime: Runtime, processor: Processor, partition: int, transactor: PartitionTransactor, owned: Ownership
    ) -> None:
        """`owned` is what was stored when the partition was taken; reading begins at its positions."""
        self._runtime = runtime
        self._processor = processor
        self._partition = partition
        self._transactor = transactor
        self._owned = owned
        self.relay = Relay(runtime, processor, partition, owned)
        self._waiting: dict[str, deque[StoredRecord]] = {topic: deque() for topic in processor.inputs}
        self._bytes = 0
        self._reached: dict[str, Reached] = {}
        self._next_wake: int | None = None
        self._signal = asyncio.Event()
        self._stop = asyncio.Event()
        now = runtime.clock.monotonic()
        self._last_commit = self._last_record = now
        self._last_progress = now - runtime.options.progress_every
        self._progress_of: Ownership | None = None
        self._stuck_since: float | None = None
        self._trouble: str | None = None
        self._held_since: float | None = None
        self._no_wake_before = now

    def offer(self, topic: str, records: Sequence[StoredRecord]) -> None:
        """Records that follow, in offset order, what was offered before."""
        self._waiting[topic].extend(records)
        self._bytes += sum(len(record.value or b"") for record in records)

    def tick(self, reached: Mapping[str, Reached]) -> None:
        """After every poll: the topics whose ends were reached by what was offered."""
        self._reached = dict(reached)
        self._signal.set()

    @property
    def full(self) -> bool:
        """Whether two batches wait: the worker then polls no more for this partition."""
        options = self._runtime.options
        waiting = sum(len(records) for records in self._waiting.values())
        return waiting >= 2 * options.batch_records or self._bytes >= 2 * options.batch_bytes

    @property
    def state(self) -> LaneState:
        """How this lane is doing."""
        return LaneState(
            owned=self._owned,
            waiting=sum(len(records) for records in self._waiting.values()),
            next_wake=self._next_wake,
            last_commit=self._last_commit,
            stuck_since=self._stuck_since,
            trouble=self._trouble,
            held_since=self._held_since,
        )

    def stop(self) -> None:
        """End after the transaction under way."""
        self._stop.set()
        self._signal.set()
        self.relay.stop_waiting()

    async def run(self) -> None:
        """Work until stopped. Raises `OwnershipLost`, `StorageBroken`, `StorageMissing`, or what no retry can mend."""
        try:
            while not self._stop.is_set():
                while await self._step():
                    pass
                await self._signal.wait()
                self._signal.clear()
        except _Stopped:
            return

    async def _step(self) -> bool:
        """One batch, then one slice of what is due; whether more of either waits."""
        self._held_since = self._runtime.clock.monotonic()
        await self.relay.room()
        self._held_since = None
        if self._stop.is_set():
            return False
        records = self._compose()
        if records:
            self._last_record = self._runtime.clock.monotonic()
            await self._store(records, last=True)
        more_due = await self._wake_if_due()
        if not records and not more_due:
            await self._tell_progress()
        return not self._stop.is_set() and (more_due or any(self._waiting.values()))

    def _compose(self) -> list[StoredRecord]:
        """The next batch: a fair share of every topic that has records waiting, in the order of the inputs."""
        options = self._runtime.options
        records_left, bytes_left = options.batch_records, options.batch_bytes
        chosen: dict[str, list[StoredRecord]] = {}
        waiting = sorted(
            (topic for topic, queue in self._waiting.items() if queue), key=lambda t: len(self._waiting[t])
        )
        for index, topic in enumerate(waiting):
            queue = self._waiting[topic]
            share = max(1, records_left // (len(waiting) - index))
            taken: list[StoredRecord] = []
            while queue and len(taken) < share and bytes_left > 0:
                record = queue.popleft()
                size = len(record.value or b"")
                bytes_left -= size
                self._bytes -= size
                taken.append(record)
            records_left -= len(taken)
            chosen[topic] = taken
        return [record for topic in self._waiting if topic in chosen for record in chosen[topic]]

    def _drained(self) -> dict[str, Reached]:
        """The topics that are read to their ends and of which nothing waits."""
        return {topic: reached for topic, reached in self._reached.items() if not self._waiting[topic]}

    def _progress_due(self) -> bool:
        waited = self._runtime.clock.monotonic() - self._last_progress
        return waited >= self._runtime.options.progress_every

    async def _store(self, records: Sequence[StoredRecord], *, last: bool) -> None:
        """Store records in one transaction, or in smaller ones down to the record that is at fault.

        `last`: nothing that was composed follows them, so the clock may move as far as the log's answers allow.
        """
        work = Work(self._drained() if last else {}, records=records, progress=self._progress_due())
        try:
            await self._attempt(work)
            return
        except _TooMuch:
            pass
        except ProcessorFailed as failure:
            if len(records) == 1:
                await self._store_alone(work, failure)
                return
        half = len(records) // 2
        await self._store(records[:half], last=False)
        await self._store(records[half:], last=last)

    async def _store_alone(self, work: Work, failure: ProcessorFailed) -> None:
        for _ in range(_TRIES - 1):
            try:
                await self._attempt(work)
                return
            except ProcessorFailed as again:
                failure = again
        record = work.records[0]
        letter = dead_letter(record, failure)
        await self._attempt(Work(work.reached, dead=(letter,), progress=work.progress))

    async def _attempt(self, work: Work) -> Committed | None:
        """Run the transaction until the database takes it; None when an earlier try turns out to have been stored.

        Raises `ProcessorFailed` (what is cached was dropped then), `_TooMuch` for several records that it does not
        take, `OwnershipLost`, `StorageBroken`, `StorageMissing`.
        """
        runtime = self._runtime
        backoff = Backoff(runtime.options.first_backoff, runtime.options.last_backoff)
        self._stuck_since = runtime.clock.monotonic()
        for tries in count(1):
            before = self._owned.positions
            try:
                committed = await runtime.batches.run(self._transactor.run, self._owned, work, runtime.clock.now())
            except StorageUnavailable as error:
                self._note("retried", error)
                await backoff.wait()
                self._heed_stop(error)
                await self._recover(backoff)
                if self._owned.positions != before:
                    return None
                if tries >= _TRIES_WHOLE and len(work.records) > 1:
                    raise _TooMuch from error
            except ProcessorFailed as error:
                self._note("failed", error)
                await self._recover(backoff)
                raise
            else:
                self._stored(committed)
                return committed
        return None

    async def _recover(self, backoff: Backoff) -> None:
        """Drop what is cached and read what is stored, as soon as the database answers."""
        while True:
            try:
                owned = await self._runtime.batches.run(self._transactor.recover, self._owned.epoch)
            except StorageUnavailable as error:
                self._note("waits", error)
                await backoff.wait()
                self._heed_stop(error)
                continue
            self._owned = owned
            self.relay.added(owned.highest)
            return

    def _heed_stop(self, error: StorageUnavailable) -> None:
        if self._stop.is_set():
            raise _Stopped from error

    def _note(self, what: str, error: BaseException) -> None:
        """Log what goes wrong. Messages of foreign errors may quote data, so only their kind is told."""
        cause = error.__cause__ or error
        self._trouble = code_of(error)
        place = {"processor": self._processor.name, "partition": self._partition}
        fields = {**place, "what": what, "code": code_of(error), "kind": type(cause).__name__}
        log.warning("lane.trouble", extra=fields, exc_info=cause if log.isEnabledFor(logging.DEBUG) else None)

    def _stored(self, committed: Committed) -> None:
        now = self._runtime.clock.monotonic()
        self._owned = committed.ownership
        self._next_wake = committed.next_wake
        self._last_commit = now
        self._stuck_since = self._trouble = None
        if committed.outputs:
            self._last_progress = now
            self._progress_of = committed.ownership
            self.relay.added(committed.ownership.highest)
        if committed.dead:
            fields = {"processor": self._processor.name, "partition": self._partition, "count": committed.dead}
            log.warning("records.rejected", extra=fields)

    async def _wake_if_due(self) -> bool:
        """Run one slice of the due instants, if there are any; whether more are due at once."""
        work = Work(self._drained(), wake_limit=self._runtime.options.wake_limit)
        if not self._is_due(work) or self._runtime.clock.monotonic() < self._no_wake_before:
            return False
        for limit in (self._runtime.options.wake_limit, 1, 1):
            try:
                committed = await self._attempt(Work(work.reached, wake_limit=limit))
            except ProcessorFailed:
                continue
            return committed is None or committed.more
        self._no_wake_before = self._runtime.clock.monotonic() + self._runtime.options.wake_pause
        log.error("wake.failed", extra={"processor": self._processor.name, "partition": self._partition})
        return False

    def _is_due(self, work: Work) -> bool:
        self._next_wake = self._transactor.next_wake()
        return self._next_wake is not None and self._next_wake <= self._transactor.after(self._owned, work).clock

    async def _tell_progress(self) -> None:
        """When idle: store the clock and send a progress record, if there is anything new to say."""
        if not self._progress_due():
            return
        options = self._runtime.options
        work = Work(self._drained(), progress=True)
        after, told = self._transactor.after(self._owned, work), self._progress_of
        if after.clock == 0:
            return
        moved = after.clock - (told.clock if told is not None else 0)
        recently = self._runtime.clock.monotonic() - self._last_record < options.quiet_after
        read_on = told is None or told.positions != after.positions
        tells = self._processor.progress_topic is not None
        if (tells and (read_on or (moved > 0 and recently))) or moved >= options.quiet_clock_ms:
            await self._attempt(work)
            self._last_progress = self._runtime.clock.monotonic()
            self._progress_of = self._owned
